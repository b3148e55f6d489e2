"""Batches of images that live on the device: shuffled, cut and normalized there.

The whole set is moved once, as uint8. A batch is then one gather and one subtraction, with no
worker processes. Every random choice is a pure function of the seed and the epoch.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import torch
from torch import Tensor

from cnnlab.data import DataError, Images, Splits

EVALUATION_BATCH = 500  # no gradients are kept, so it can be larger than a training batch


def plan(count: int, seed: int, epoch: int) -> Tensor:
    """The order of `count` images in one epoch: (count,) int64. The same arguments, the same order.

    The two numbers are mixed so that seed 0, epoch 1 is not seed 1, epoch 0.
    """
    generator = torch.Generator().manual_seed((seed * 1_000_003 + epoch) % 2**63)
    return torch.randperm(count, generator=generator)


class Batches:
    """Re-iterable batches `(images, labels)`: float32 (B, C, H, W) and int64 (B,), on `device`.

    Images are normalized as (x - mean) / std per channel, where x is in 0..1 if they are stored as
    uint8; without `mean` and `std`, x itself. The last batch of an epoch may be smaller;
    `drop_last` leaves it out.

    `at(epoch)` gives one epoch's batches and changes nothing: this is what `training.fit` uses, so
    two fits see the same batches. A plain `for` loop counts for you: the n-th one gives epoch n,
    starting from `self.epoch` = 0.
    """

    def __init__(
        self,
        images: Images,
        batch_size: int,
        *,
        shuffle: bool = False,
        seed: int = 0,
        device: torch.device | str = "cpu",
        mean: Sequence[float] | None = None,
        std: Sequence[float] | None = None,
        drop_last: bool = False,
    ) -> None:
        if batch_size < 1:
            raise DataError(f"batch_size {batch_size}; expected at least 1.")
        if not len(images):
            raise DataError(f"{images.name}: no images, so no batches. Check how it was chosen.")
        if drop_last and len(images) < batch_size:
            raise DataError(
                f"{images.name}: {len(images)} images are fewer than one batch of {batch_size}, "
                "and drop_last leaves out a smaller one. Use a smaller batch_size."
            )
        channels = images.images.shape[1]
        scale = 255.0 if images.images.dtype == torch.uint8 else 1.0
        self.images = images.images.to(device)
        self.labels = images.labels.to(device)
        self.classes = images.classes
        self.batch_size = batch_size
        self.shuffle = shuffle
        self.seed = seed
        self.drop_last = drop_last
        self.epoch = 0
        # (x / scale - mean) / std in two steps per batch
        self._shift = scale * _per_channel(mean, 0.0, channels, "mean").to(device)
        self._factor = 1 / (scale * _per_channel(std, 1.0, channels, "std").to(device))
        if not torch.isfinite(self._factor).all():
            raise DataError(f"std {std}; expected numbers above 0. A constant channel has none.")

    def __len__(self) -> int:
        whole, rest = divmod(len(self.images), self.batch_size)
        return whole + (rest > 0 and not self.drop_last)

    def __iter__(self) -> Iterator[tuple[Tensor, Tensor]]:
        self.epoch += 1
        return self.at(self.epoch - 1)

    def at(
        self, epoch: int, *, start: int = 0, rank: int = 0, world: int = 1
    ) -> Iterator[tuple[Tensor, Tensor]]:
        """The batches of one epoch, a pure function of seed and epoch.

        start        skip this many batches, at no cost: where a stopped run goes on
        rank, world  of each batch every `world`-th image, from image `rank` on: the share of one of
                     `world` processes. Together the shares are the batch
        """
        if not 0 <= rank < world:
            raise DataError(f"rank {rank} of {world}; expected 0 to {world - 1}.")
        count = len(self.images)
        order = plan(count, self.seed, epoch).to(self.images.device) if self.shuffle else None
        for first in range(start * self.batch_size, len(self) * self.batch_size, self.batch_size):
            part = slice(first + rank, min(first + self.batch_size, count), world)
            chosen = part if order is None else order[part]
            images = self.images[chosen].to(torch.float32, copy=True)  # never the stored images
            yield images.sub_(self._shift).mul_(self._factor), self.labels[chosen]


def train_val(
    splits: Splits, batch_size: int, *, seed: int = 0, device: torch.device | str = "cpu"
) -> tuple[Batches, Batches]:
    """Shuffled training batches and validation batches of one data set, normalized alike."""
    return (
        Batches(splits.train, batch_size, shuffle=True, seed=seed, device=device,
                mean=splits.mean, std=splits.std),
        evaluation(splits, splits.val, device=device),
    )  # fmt: skip


def evaluation(splits: Splits, images: Images, *, device: torch.device | str = "cpu") -> Batches:
    """Batches in stored order for `training.evaluate`: `evaluation(splits, splits.test)`."""
    return Batches(images, EVALUATION_BATCH, device=device, mean=splits.mean, std=splits.std)


def _per_channel(
    values: Sequence[float] | None, default: float, channels: int, name: str
) -> Tensor:
    values = [default] * channels if values is None else list(values)
    if len(values) != channels:
        raise DataError(
            f"{name} has {len(values)} numbers for images of {channels} channels; expected "
            f"{channels}, one per channel."
        )
    return torch.tensor(values, dtype=torch.float32).view(-1, 1, 1)
