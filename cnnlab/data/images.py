"""Labeled images in memory, and a data set in three parts."""

from __future__ import annotations

from dataclasses import dataclass, replace

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
        return splits_of(*(part.resized(size) for part in (self.train, self.val, self.test)))


def splits_of(train: Images, val: Images, test: Images) -> Splits:
    """The three parts with the mean and the deviation of `train`."""
    return Splits(train, val, test, *train.mean_std())


def stratified(images, parts: tuple[int, ...], seed: int) -> list:
    """Split `Images` or `Files` into len(parts) sets, sizes in the ratio of `parts`.

    Every part gets its share of every class to within sum(parts) images.
    """
    order = torch.randperm(len(images), generator=torch.Generator().manual_seed(seed))
    order = order[images.labels[order].argsort(stable=True)]  # by class, random within a class
    owner = torch.arange(len(parts)).repeat_interleave(torch.tensor(parts))
    owner = owner[torch.arange(len(images)) % len(owner)]  # dealt out like cards
    return [images[order[owner == part].sort().values] for part in range(len(parts))]
