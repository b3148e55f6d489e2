"""Random changes of training images, for a whole batch at once and different for every image.

What an epoch draws is a pure function of seed and epoch, so a stopped run goes on as if it had
never stopped, and several processes share a batch without talking to each other.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from cnnlab.data.images import DataError


def generator(seed: int, epoch: int, purpose: int = 0) -> torch.Generator:
    """Random numbers of one epoch. Mixed so that seed 0, epoch 1 is not seed 1, epoch 0."""
    mixed = (seed * 1_000_003 + epoch + purpose * 7_919_999_983) % 2**63
    return torch.Generator().manual_seed(mixed)


@dataclass(frozen=True)
class Augment:
    """What is done to training images; all off by default.

    crop    pad by so many black pixels on each side, then cut the old size out anywhere
    flip    mirror left and right, every second image. Not for digits and letters
    cutout  gray out a square of this side, its center anywhere (DeVries, Taylor 2017)
    jitter  multiply brightness, contrast and (of color images) saturation by 1 - jitter to
            1 + jitter
    """

    crop: int = 0
    flip: bool = False
    cutout: int = 0
    jitter: float = 0.0

    def __post_init__(self) -> None:
        if self.crop < 0 or self.cutout < 0 or not 0 <= self.jitter < 1:
            raise DataError(
                f"crop {self.crop}, cutout {self.cutout}, jitter {self.jitter}; expected whole "
                "pixels from 0 and a jitter from 0 to below 1. Zero leaves a change out."
            )

    def __bool__(self) -> bool:
        return bool(self.crop or self.flip or self.cutout or self.jitter)

    def pad(self, images: Tensor) -> Tensor:
        """The stored images with the border that `cut` needs; once for a whole set."""
        return F.pad(images, (self.crop,) * 4) if self.crop else images

    def draw(self, count: int, shape: tuple[int, int, int], seed: int, epoch: int) -> Draws:
        """The random choices of one epoch for `count` images (C, H, W), in order of use."""
        _, height, width = shape
        numbers = generator(seed, epoch, purpose=1)

        def pick(below: int) -> Tensor:
            return torch.randint(below, (count,), generator=numbers)

        return Draws(
            self,
            torch.stack([pick(2 * self.crop + 1), pick(2 * self.crop + 1)]),
            pick(2).bool(),
            torch.stack([pick(height), pick(width)]),
            1 + self.jitter * (2 * torch.rand(3, count, generator=numbers) - 1),
        )


@dataclass(frozen=True, eq=False)
class Draws:
    """One epoch's choices, each with the images along its last axis."""

    augment: Augment
    offsets: Tensor  # (2, N): row and column where the window begins
    flips: Tensor  # (N,)
    holes: Tensor  # (2, N): row and column of the hole's center
    factors: Tensor  # (3, N): brightness, contrast, saturation

    def to(self, device: torch.device | str) -> Draws:
        parts = (self.offsets, self.flips, self.holes, self.factors)
        return Draws(self.augment, *(part.to(device) for part in parts))

    def __getitem__(self, images: slice) -> Draws:
        parts = (self.offsets, self.flips, self.holes, self.factors)
        return Draws(self.augment, *(part[..., images] for part in parts))

    def cut(self, padded: Tensor, chosen: Tensor) -> Tensor:
        """Images `chosen` of the padded set, cut and mirrored: one gather, no loop."""
        height, width = (size - 2 * self.augment.crop for size in padded.shape[2:])
        if self.augment.crop:
            windows = padded.unfold(2, height, 1).unfold(3, width, 1)  # a view: no copies
            images = windows[chosen, :, self.offsets[0], self.offsets[1]]  # (B, C, H, W)
        else:
            images = padded[chosen]
        if self.augment.flip:
            images = torch.where(self.flips.view(-1, 1, 1, 1), images.flip(3), images)
        return images

    def recolor(self, images: Tensor, white: float) -> Tensor:
        """Jittered float images (B, C, H, W), kept within 0 (black) and `white`."""
        if not self.augment.jitter:
            return images
        bright, contrast, saturation = (factor.view(-1, 1, 1, 1) for factor in self.factors)
        images = (images * bright).clamp_(0, white)
        mean = images.mean(dim=(1, 2, 3), keepdim=True)
        images = (mean + (images - mean) * contrast).clamp_(0, white)
        if images.shape[1] == 3:
            gray = images.mean(dim=1, keepdim=True)
            images = (gray + (images - gray) * saturation).clamp_(0, white)
        return images

    def punch(self, images: Tensor) -> Tensor:
        """A square of zeros, which is the mean of normalized images, in each of (B, C, H, W)."""
        side = self.augment.cutout
        if not side:
            return images
        inside = []
        for size, center in zip(images.shape[2:], self.holes):
            first = (center - side // 2).view(-1, 1)
            place = torch.arange(size, device=images.device)
            inside.append((place >= first) & (place < first + side))
        return images.masked_fill(inside[0][:, None, :, None] & inside[1][:, None, None, :], 0)
