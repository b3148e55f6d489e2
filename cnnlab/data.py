"""Labelled images, always split into train, validation and test.

`load("digits")` needs no network. `two_marks` makes images whose class can only be told by a
network that sees both marks at once.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass, replace
from difflib import get_close_matches
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor


class DataError(ValueError):
    """Data that cannot be used: what was got, what was expected, what to do next."""


@dataclass(frozen=True, eq=False, repr=False)
class Images:
    """Images with one label each.

    images:  (N, C, H, W), uint8 in 0..255 or floating point (used as it is)
    labels:  (N,), int64, an index into `classes`
    """

    images: Tensor
    labels: Tensor
    classes: tuple[str, ...]
    name: str = "images"

    def __post_init__(self) -> None:
        images, labels = self.images, self.labels
        if images.ndim != 4 or not (images.dtype == torch.uint8 or images.is_floating_point()):
            raise DataError(
                f"{self.name}: images are {images.dtype} of shape {tuple(images.shape)}; expected "
                "uint8 or floating point of shape (N, C, H, W). Add a missing axis with unsqueeze."
            )
        if labels.dtype != torch.int64 or labels.shape != images.shape[:1]:
            raise DataError(
                f"{self.name}: labels are {labels.dtype} of shape {tuple(labels.shape)}; expected "
                f"int64 of shape ({len(images)},), one per image."
            )
        if len(labels) and not (0 <= int(labels.min()) and int(labels.max()) < len(self.classes)):
            raise DataError(
                f"{self.name}: labels run from {int(labels.min())} to {int(labels.max())}; "
                f"expected 0 to {len(self.classes) - 1} for {len(self.classes)} classes. "
                "Renumber the labels, or name the missing classes."
            )

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, index: int | slice | list[int] | Tensor) -> Images:
        """The chosen images, always as `Images`: one index gives a set of one."""
        if isinstance(index, int):
            index = [index]
        return replace(self, images=self.images[index], labels=self.labels[index])

    def __repr__(self) -> str:
        channels, height, width = self.images.shape[1:]
        dtype = str(self.images.dtype).removeprefix("torch.")
        return (
            f"Images({self.name!r}: {len(self)} of {channels}x{height}x{width} {dtype}, "
            f"{len(self.classes)} classes)"
        )

    @property
    def shape(self) -> tuple[int, int, int]:
        """(C, H, W) of one image."""
        channels, height, width = self.images.shape[1:]
        return channels, height, width

    def resized(self, size: int) -> Images:
        """Scaled to `size` x `size`, bilinear: an 8x8 digit for a network that wants 32x32."""
        images = F.interpolate(self.images.float(), (size, size), mode="bilinear", antialias=True)
        if self.images.dtype == torch.uint8:
            images = images.round_()
        return replace(self, images=images.to(self.images.dtype))

    def mean_std(self) -> tuple[tuple[float, ...], tuple[float, ...]]:
        """Mean and standard deviation per channel; of uint8 images in units of 255 (so 0..1)."""
        if not len(self):
            raise DataError(f"{self.name}: no images, so no mean. Check how the set was chosen.")
        values = self.images.double() / (255 if self.images.dtype == torch.uint8 else 1)
        std, mean = torch.std_mean(values, dim=(0, 2, 3), correction=0)
        return tuple(mean.tolist()), tuple(std.tolist())


@dataclass(frozen=True, eq=False)
class Splits:
    """One data set in three parts that share no image; `mean` and `std` are of `train` alone.

    Choose between models by `val`; look at `test` once, at the end.
    """

    train: Images
    val: Images
    test: Images
    mean: tuple[float, ...]
    std: tuple[float, ...]

    def resized(self, size: int) -> Splits:
        """All three parts scaled to `size` x `size`; mean and std are taken anew."""
        return _splits(*(part.resized(size) for part in (self.train, self.val, self.test)))


def load(
    name: str, *, seed: int = 0, folder: str | Path | None = None, download: bool = True
) -> Splits:
    """A data set by name, split into train, validation and test, the same split for the same seed.

    "digits"         1,797 images 1x8x8, ten classes, part of scikit-learn: 1,257 / 180 / 360
    "fashion-mnist"  70,000 images 1x28x28 (Xiao, Rasul, Vollgraf 2017): 54,000 / 6,000 / 10,000
    "cifar-10"       60,000 images 3x32x32 (Krizhevsky 2009): 45,000 / 5,000 / 10,000

    The last two are read from `folder` (default: `data_folder()`), downloaded there first if they
    are missing and `download` is true. Their test part is the publisher's and does not move with
    the seed. Raises `DataError` for an unknown name, and for files that can neither be found nor
    downloaded.
    """
    readers: dict[str, Callable[[], Splits]] = {
        "digits": lambda: _digits(seed),
        "fashion-mnist": lambda: _published("FashionMNIST", name, seed, folder, download),
        "cifar-10": lambda: _published("CIFAR10", name, seed, folder, download),
    }
    if name not in readers:
        close = get_close_matches(str(name), readers, n=1)
        hint = f"Did you mean {close[0]!r}? " if close else ""
        raise DataError(f"no data set {name!r}. {hint}Known: {', '.join(readers)}.")
    return readers[name]()


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


def stratified(images: Images, parts: tuple[int, ...], seed: int) -> list[Images]:
    """Split into len(parts) sets of sizes in the ratio of `parts`, each class in that ratio too.

    Every part gets its share of every class to within sum(parts) images.
    """
    order = torch.randperm(len(images), generator=torch.Generator().manual_seed(seed))
    order = order[images.labels[order].argsort(stable=True)]  # by class, random within a class
    owner = torch.arange(len(parts)).repeat_interleave(torch.tensor(parts))
    owner = owner[torch.arange(len(images)) % len(owner)]  # dealt out like cards
    return [images[order[owner == part].sort().values] for part in range(len(parts))]


def _splits(train: Images, val: Images, test: Images) -> Splits:
    return Splits(train, val, test, *train.mean_std())


def _named(train: Images, val: Images, test: Images) -> Splits:
    parts = {"train": train, "val": val, "test": test}
    return _splits(*(replace(part, name=f"{part.name} {key}") for key, part in parts.items()))


def _digits(seed: int) -> Splits:
    from sklearn.datasets import load_digits

    digits = load_digits()
    # Counts of ink 0..16 become 0..255, so that every set of the course has the same range.
    images = torch.from_numpy(digits.images).mul(255 / 16).round().to(torch.uint8).unsqueeze(1)
    labels = torch.from_numpy(digits.target).long()
    whole = Images(images, labels, tuple("0123456789"), "digits")
    test, val, train = stratified(whole, (2, 1, 7), seed)
    return _named(train, val, test)


def _published(
    dataset: str, name: str, seed: int, folder: str | Path | None, download: bool
) -> Splits:
    """A data set of `torchvision.datasets` that has `data`, `targets` and `classes`."""
    from cnnlab.torchvision_compat import import_torchvision

    root = Path(folder).expanduser() if folder else data_folder()
    cls = getattr(import_torchvision().datasets, dataset)

    def read(train: bool) -> Images:
        try:
            try:
                part = cls(root, train=train)  # files in place: no network, no hash of the archive
            except RuntimeError:
                if not download:
                    raise
                part = cls(root, train=train, download=True)
        except (OSError, RuntimeError, ValueError, EOFError) as error:
            wanted = getattr(cls, "resources", None) or [(cls.filename, cls.tgz_md5)]
            place = Path(root, dataset, "raw") if hasattr(cls, "resources") else root
            raise DataError(
                f"{name} cannot be read from {root} "
                f"{'or downloaded' if download else '(download=False)'}: {error}. To put it there "
                f"by hand, place {', '.join(file for file, _ in wanted)} in {place}, or name "
                "another folder in CNNLAB_DATA. load('digits') needs no download."
            ) from error
        images = torch.as_tensor(part.data)
        images = images.unsqueeze(1) if images.ndim == 3 else images.permute(0, 3, 1, 2)
        return Images(
            images.contiguous(), torch.as_tensor(part.targets).long(), tuple(part.classes), name
        )

    val, train = stratified(read(train=True), (1, 9), seed)
    return _named(train, val, read(train=False))
