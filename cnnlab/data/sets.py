"""Labelled images, always split into train, validation and test.

`load("digits")` needs no network. `two_marks` makes images whose class can only be told by a
network that sees both marks at once. A folder with a subfolder of images for each class is a data
set too.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import torch

from cnnlab._tools import did_you_mean
from cnnlab.data.folder import image_folder
from cnnlab.data.images import DataError, Images, Splits, splits_of, stratified


def load(
    name: str,
    *,
    seed: int = 0,
    folder: str | Path | None = None,
    download: bool = True,
    size: int | None = None,
    workers: int = 0,
) -> Splits:
    """A data set by name, split into train, validation and test, the same split for the same seed.

    "digits"         1,797 images 1x8x8, ten classes, part of scikit-learn: 1,257 / 180 / 360
    "fashion-mnist"  70,000 images 1x28x28 (Xiao, Rasul, Vollgraf 2017): 54,000 / 6,000 / 10,000
    "cifar-10"       60,000 images 3x32x32 (Krizhevsky 2009): 45,000 / 5,000 / 10,000

    The last two are read from `folder` (default: `data_folder()`), downloaded there first if they
    are missing and `download` is true. Their test part is the publisher's and does not move with
    the seed. A `name` with a slash is the path of an image folder as in `image_folder`, decoded
    by `workers` processes. `size` scales all images to `size` x `size`; an image folder needs it.
    Raises `DataError` for an unknown name, and for files that can neither be found nor downloaded.
    """
    if "/" in str(name) or os.sep in str(name):
        if size is None:
            raise DataError(f"{name}: images of a folder differ in size. Give one: size=64.")
        return splits_of(*(part.decoded(size, workers) for part in image_folder(name, seed=seed)))
    readers: dict[str, Callable[[], Splits]] = {
        "digits": lambda: _digits(seed),
        "fashion-mnist": lambda: _published("FashionMNIST", name, seed, folder, download),
        "cifar-10": lambda: _published("CIFAR10", name, seed, folder, download),
    }
    if name not in readers:
        raise DataError(
            f"no data set {name!r}.{did_you_mean(name, readers)} Known: {', '.join(readers)}, or "
            "the path of an image folder, with a slash in it."
        )
    splits = readers[name]()
    return splits.resized(size) if size else splits


def data_folder() -> Path:
    """Where downloaded data sets are kept: $CNNLAB_DATA, or a folder in the user's cache."""
    return Path(os.environ.get("CNNLAB_DATA") or "~/.cache/cnnlab/data").expanduser()


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


def _published(
    dataset: str, name: str, seed: int, folder: str | Path | None, download: bool
) -> Splits:
    """A data set of `torchvision.datasets` that has `data`, `targets` and `classes`."""
    from cnnlab._torchvision import import_torchvision

    root = Path(folder).expanduser() if folder else data_folder()
    cls = getattr(import_torchvision().datasets, dataset)

    def read(train: bool) -> Images:
        try:
            try:
                part = cls(root, train=train)  # files in place: no network, no hash of the archive
            except RuntimeError:
                if not download:
                    raise
                _download(cls, Path(root))
                part = cls(root, train=train)
        except (OSError, RuntimeError, ValueError, EOFError) as error:
            wanted = getattr(cls, "resources", None) or [(cls.filename, cls.tgz_md5)]
            place = Path(root, dataset, "raw") if hasattr(cls, "resources") else root
            raise DataError(
                f"{name} cannot be read from {root} "
                f"{'or downloaded' if download else '(download=False)'}: {error}. To put it there "
                f"by hand, place {', '.join(file for file, _ in wanted)} in {place} (remove what "
                "is damaged there), or name another folder in CNNLAB_DATA. load('digits') needs no "
                "download."
            ) from error
        images = torch.as_tensor(part.data)
        images = images.unsqueeze(1) if images.ndim == 3 else images.permute(0, 3, 1, 2)
        return Images(
            images.contiguous(), torch.as_tensor(part.targets).long(), tuple(part.classes), name
        )

    val, train = stratified(read(train=True), (1, 9), seed)
    return _named(train, val, read(train=False))


def _download(cls: type, root: Path) -> None:
    """Fetch, check and unpack beside the place where the files belong, then move them there.

    So an interrupted download leaves nothing that looks like a data set.
    """
    root.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=".part-", dir=root) as part:
        cls(part, train=True, download=True)
        for item in Path(part).iterdir():
            if not (root / item.name).exists():
                os.replace(item, root / item.name)
