"""Labeled images, always split into train, validation and test.

`load("digits")` and `load("letters")` need no network. `two_marks` makes images whose class can
only be told by a network that sees both marks at once. A folder with a subfolder of images for each
class is a data set too.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import replace
from importlib.util import find_spec
from numbers import Integral
from pathlib import Path

import numpy as np
import torch

from cnnlab._tools import did_you_mean
from cnnlab.data import published
from cnnlab.data.folder import GROUND, image_folder
from cnnlab.data.images import DataError, Images, Splits, splits_of, stratified
from cnnlab.data.letters import letters


def is_folder(name: str | Path) -> bool:
    """Whether `load` takes a name as the path of an image folder: one with a slash in it, or with
    what the system writes for it."""
    return "/" in str(name) or os.sep in str(name)


def load(
    name: str,
    *,
    seed: int = 0,
    folder: str | Path | None = None,
    download: bool = True,
    size: int | None = None,
    workers: int = 0,
    ground: str = GROUND,
) -> Splits:
    """A data set by name, split into train, validation and test, the same split for the same seed.

    "digits"         1,797 images 1x8x8, ten classes, part of scikit-learn: 1,257 / 180 / 360
    "letters"        33,800 images 1x28x28, 26 classes, drawn here from fonts: 26,000 / 2,600 /
                     5,200, each part with typefaces of its own; the same for every seed
    "fashion-mnist"  70,000 images 1x28x28 (Xiao, Rasul, Vollgraf 2017): 54,000 / 6,000 / 10,000
    "cifar-10"       60,000 images 3x32x32 (Krizhevsky 2009): 45,000 / 5,000 / 10,000

    The last two are read from `folder` (default: `data_folder()`) in any form in which they are
    published, downloaded there first if they are missing and `download` is true. Their test part is
    the publisher's and does not move with the seed. A `name` with a slash is the path of an image
    folder as in `image_folder`, decoded by `workers` processes, what is transparent laid on the
    color `ground`. `size` scales all images to `size` x `size`; an image folder needs it.
    Raises `DataError` for an unknown name, and for files that can neither be found nor downloaded.
    """
    if size is not None and not (isinstance(size, Integral) and size >= 1):
        raise DataError(f"size is {size!r}, expected the pixels of a side: a whole number from 1")
    if is_folder(name):
        parts = image_folder(name, seed=seed, ground=ground)
        if size is None:
            raise DataError(f"{name}: images of a folder differ in size. Give one: size=64.")
        return splits_of(*(part.decoded(size, workers) for part in parts))
    readers: dict[str, Callable[[], Splits]] = {
        "digits": lambda: _digits(seed),
        "letters": lambda: splits_of(*letters().values()),
        **{known: lambda: _published(name, seed, folder, download) for known in published.SETS},
    }
    if name not in readers:
        here = f" There is a folder of that name: say ./{name}" if Path(name).is_dir() else ""
        raise DataError(
            f"no data set {name!r}.{did_you_mean(name, readers)} Known: {', '.join(readers)}, or "
            f"the path of an image folder, with a slash in it.{here}"
        )
    splits = readers[name]()
    return splits.resized(size) if size else splits


def two_marks(distance: int, count: int, seed: int, size: int = 32) -> Images:
    """A task that needs a receptive field larger than `distance`.

    Each 1 x `size` x `size` image is black but for two marks on one row: a first of value 255 and,
    `distance` pixels to its left (class 0) or right (class 1), a second of value 128. Left and
    right continue at the opposite border, so the image has no border to orient by.

    Images come in pairs: 2k is "left" and 2k+1 "right" with the first mark in the same place.

    Why a network with circular padding, stride 1, global average pooling and a receptive field of
    at most `distance` cannot tell: no window that it sees holds both marks, so each window holds
    the first, the second or nothing. Both classes have the same windows the same number of times,
    only in other places, and the average forgets places. Its two images' logits are then equal for
    any weights (up to the order of summation). From a receptive field of `distance + 1` on, some
    windows hold both.
    """
    if not 1 <= distance < size / 2:
        raise DataError(
            f"distance {distance} in images {size} wide; expected 1 to {(size - 1) // 2}. "
            "Halfway around, left and right are the same place."
        )
    if count < 2:
        raise DataError(f"count {count}; expected at least 2, one image of each class.")
    generator = torch.Generator().manual_seed(seed)
    row, first = torch.randint(size, (2, (count + 1) // 2), generator=generator)
    row, first = row.repeat_interleave(2)[:count], first.repeat_interleave(2)[:count]
    index = torch.arange(count)
    labels = index % 2
    images = torch.zeros(count, 1, size, size, dtype=torch.uint8)
    images[index, 0, row, first] = 255
    images[index, 0, row, (first + distance * (2 * labels - 1)) % size] = 128
    return Images(images, labels, ("left", "right"), f"two marks {distance} apart")


def scattered(splits: Splits, side: int = 32, zoom: int = 3) -> Splits:
    """Every image drawn `zoom` times as large, at a random place of a black `side` x `side` field.

    The places are the same every time; mean and spread are those of the new training images.
    Raises `DataError` where an image does not fit into the field.
    """
    parts = (splits.train, splits.val, splits.test)
    return splits_of(*(_scattered(part, side, zoom, seed) for seed, part in enumerate(parts)))


def _scattered(part: Images, side: int, zoom: int, seed: int) -> Images:
    large = part.images.repeat_interleave(zoom, dim=2).repeat_interleave(zoom, dim=3)
    height, width = large.shape[2:]
    if max(height, width) > side:
        raise DataError(
            f"enlarged images of {height}x{width} do not fit a field of {side}x{side}; "
            "give a larger side, or a smaller zoom."
        )
    generator = torch.Generator().manual_seed(seed)
    fields = large.new_zeros(len(part), large.shape[1], side, side)
    for field, image in zip(fields, large):
        top = int(torch.randint(side - height + 1, (), generator=generator))
        left = int(torch.randint(side - width + 1, (), generator=generator))
        field[:, top : top + height, left : left + width] = image
    return replace(part, images=fields)


def _named(train: Images, val: Images, test: Images) -> Splits:
    parts = {"train": train, "val": val, "test": test}
    return splits_of(*(replace(part, name=f"{part.name} {key}") for key, part in parts.items()))


def _digits(seed: int) -> Splits:
    rows = torch.from_numpy(digits_table())  # 64 counts of ink, then the label
    # Counts of ink 0..16 become 0..255, so that every set of the course has the same range.
    images = rows[:, :-1].mul(255 / 16).round().to(torch.uint8).view(-1, 1, 8, 8)
    labels = rows[:, -1].long()
    whole = Images(images, labels, tuple("0123456789"), "digits")
    test, val, train = stratified(whole, (2, 1, 7), seed)
    return _named(train, val, test)


def digits_table() -> np.ndarray:
    """scikit-learn's digits, without importing scikit-learn, which takes seconds."""
    package = find_spec("sklearn")
    for folder in package.submodule_search_locations if package else ():
        if (file := Path(folder, "datasets", "data", "digits.csv.gz")).is_file():
            return np.loadtxt(file, delimiter=",")
    from sklearn.datasets import load_digits  # another place in another version

    digits = load_digits()
    return np.column_stack([digits.data, digits.target])


def _published(name: str, seed: int, folder: str | Path | None, download: bool) -> Splits:
    train, test = published.read(name, folder, download)
    val, train = stratified(train, (1, 9), seed)
    return _named(train, val, test)
