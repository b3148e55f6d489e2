"""A made task of segmentation: every pixel has a class of its own."""

from __future__ import annotations

import torch
from torch import Tensor

from cnnlab.data.images import DataError

CLASSES = ("ground", "shape", "line")


def scenes(count: int, seed: int, size: int = 32) -> tuple[Tensor, Tensor]:
    """Images (count, 1, size, size), about 0 to 1, and a class for each pixel (count, size, size).

    On a black ground three discs or squares, which may overlap, then three lines one pixel thin
    from border to border; each thing of one gray from 0.5 to 1, and noise over all. No gray tells
    a line from a shape: what lies around a pixel does. Where a line crosses a shape of its own
    gray it cannot be seen, so no network gets all pixels right.

    Raises `DataError` where the shapes would not fit.
    """
    if count < 1 or size < 16:
        raise DataError(f"{count} images of side {size}; expected at least 1, of side 16 or more.")
    generator = torch.Generator().manual_seed(seed)
    images = torch.zeros(count, 1, size, size)
    labels = torch.zeros(count, size, size, dtype=torch.long)
    rows, cols = torch.meshgrid(torch.arange(size), torch.arange(size), indexing="ij")
    along = torch.arange(size)

    def draw(low: int, high: int) -> int:
        return int(torch.randint(low, high, (), generator=generator))

    for image, label in zip(images[:, 0], labels):
        things = []
        for _ in range(3):
            down, right = (rows - draw(4, size - 4)).abs(), (cols - draw(4, size - 4)).abs()
            radius = draw(4, 8)
            disc, square = down**2 + right**2 <= radius**2, (down < radius) & (right < radius)
            things.append((disc if draw(0, 2) else square, 1))
        for _ in range(3):
            start, stop = draw(0, size), draw(0, size)
            across = (start + (stop - start) * along / (size - 1)).round().long()
            things.append(((along, across) if draw(0, 2) else (across, along), 2))
        for where, kind in things:
            image[where] = 0.5 + 0.5 * torch.rand((), generator=generator)
            label[where] = kind
    return images + 0.1 * torch.randn(images.shape, generator=generator), labels
