"""Batches of images that live on the device: shuffled, cut and normalized there.

The whole set is moved once, as uint8. A batch is then one gather and one subtraction, with no
worker processes. Every random choice is a pure function of the seed and the epoch.
"""

from __future__ import annotations

import warnings
import zlib
from collections.abc import Iterator, Sequence

import torch
from torch import Tensor

from cnnlab.arithmetic import bytes_text
from cnnlab.data.augment import Augment, generator
from cnnlab.data.images import DataError, Images, Splits

EVALUATION_BATCH = 500  # no gradients are kept, so it can be larger than a training batch
ROOM = 0.5  # share of a GPU's free memory that a resident data set may take


def plan(count: int, seed: int, epoch: int) -> Tensor:
    """The order of `count` images in one epoch: (count,) int64; same arguments, same order."""
    return torch.randperm(count, generator=generator(seed, epoch))


def free_memory(device: torch.device) -> float:
    """Bytes free on a GPU; without limit elsewhere, where the images already are."""
    return torch.cuda.mem_get_info(device)[0] if device.type == "cuda" else float("inf")


class Batches:
    """Re-iterable batches `(images, labels)`: float32 (B, C, H, W) and int64 (B,), on `device`.

    Images are normalized as (x - mean) / std per channel, where x is in 0..1 if they are stored as
    uint8; without `mean` and `std`, x itself. The last batch of an epoch may be smaller;
    `drop_last` leaves it out. `augment` changes each image anew in every epoch.

    A set larger than half of the GPU's free memory stays where it is, and each batch is copied
    (`resident` is then False, and a warning says so).

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
        augment: Augment = Augment(),
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
        self.device, self.augment, self.name = torch.device(device), augment, images.name
        self.labels, self.shape, self.classes = images.labels, images.shape, images.classes
        if max(augment.crop, augment.cutout) >= min(self.shape[1:]):
            raise DataError(
                f"crop {augment.crop}, cutout {augment.cutout} for images of {self.shape[1]}x"
                f"{self.shape[2]}; expected less than a side, often an eighth of it."
            )
        if augment.jitter and images.images.is_floating_point():
            low, high = images.images.min().item(), images.images.max().item()
            if low < 0 or high > 1:
                raise DataError(
                    f"jitter {augment.jitter} for images that run from {low:g} to {high:g}; it "
                    "expects floats from 0 (black) to 1 (white), or uint8. Give it the images "
                    "before they are normalized, or leave jitter out."
                )
        self.white = 255.0 if images.images.dtype == torch.uint8 else 1.0
        self._keep(augment.pad(images.images))
        channels = self.shape[0]
        self.batch_size = batch_size
        self.shuffle = shuffle
        self.seed = seed
        self.drop_last = drop_last
        self.epoch = 0
        # (x / scale - mean) / std in two steps per batch
        self._shift = self.white * _per_channel(mean, 0.0, channels, "mean").to(device)
        self._factor = 1 / (self.white * _per_channel(std, 1.0, channels, "std").to(device))
        if not torch.isfinite(self._factor).all():
            raise DataError(f"std {std}; expected numbers above 0. A constant channel has none.")

    def _keep(self, padded: Tensor) -> None:
        """On the device if there is room, else where they are."""
        free = free_memory(self.device)
        self.resident = padded.nbytes <= ROOM * free
        if not self.resident:
            warnings.warn(
                f"{self.name}: {bytes_text(padded.nbytes)} of images do not fit in half of the "
                f"{bytes_text(free)} free on {self.device}, so each batch is copied to it.",
                stacklevel=3,
            )
        self.images = padded.to(self.device) if self.resident else padded
        self.labels = self.labels.to(self.images.device)

    def identity(self) -> str:
        """What the images are and what is done to them, in words: for a run that is to go on."""
        check = 0
        for tensor in (self.images, self.labels):
            check = zlib.crc32(tensor.cpu().contiguous().numpy(), check)
        normal = torch.stack([self._shift, self._factor]).flatten().tolist()
        shape = "x".join(map(str, self.shape))
        return (
            f"{len(self.labels)} images {shape} (checksum {check:08x}), {self.augment}, "
            + ", ".join(f"{value:.6g}" for value in normal)
        )

    @property
    def last_batch(self) -> int:
        """Images in the last batch of an epoch."""
        return self.batch_size if self.drop_last else (len(self.labels) - 1) % self.batch_size + 1

    def __len__(self) -> int:
        whole, rest = divmod(len(self.labels), self.batch_size)
        return whole + (rest > 0 and not self.drop_last)

    def __iter__(self) -> Iterator[tuple[Tensor, Tensor]]:
        self.epoch += 1
        return self.at(self.epoch - 1)

    def at(self, epoch: int, *, rank: int = 0, world: int = 1) -> Iterator[tuple[Tensor, Tensor]]:
        """The batches of one epoch, a pure function of seed and epoch.

        rank, world  of each batch every `world`-th image, from image `rank` on: the share of one of
                     `world` processes. Together the shares are the batch
        """
        if not 0 <= rank < world:
            raise DataError(f"rank {rank} of {world}; expected 0 to {world - 1}.")
        count, place = len(self.labels), self.labels.device
        order = plan(count, self.seed, epoch) if self.shuffle else torch.arange(count)
        order, draws = order.to(place), None
        if self.augment:
            draws = self.augment.draw(count, self.shape, self.seed, epoch).to(place)
        firsts = range(0, len(self) * self.batch_size, self.batch_size)
        parts = [slice(i + rank, min(i + self.batch_size, count), world) for i in firsts]
        for part in parts:
            chosen, drawn = order[part], draws[part] if draws is not None else None
            images = drawn.cut(self.images, chosen) if drawn else self.images[chosen]
            images = self._moved(images).to(torch.float32)
            drawn = drawn and drawn.to(self.device)
            if drawn:
                images = drawn.recolor(images, self.white)
            images = (images - self._shift).mul_(self._factor)  # a new tensor: also for floats
            yield drawn.punch(images) if drawn else images, self._moved(self.labels[chosen])

    def _moved(self, tensor: Tensor) -> Tensor:
        if tensor.device == self._shift.device:
            return tensor
        return tensor.pin_memory().to(self.device, non_blocking=True)


def train_val(
    splits: Splits,
    batch_size: int,
    *,
    seed: int = 0,
    device: torch.device | str = "cpu",
    augment: Augment = Augment(),
) -> tuple[Batches, Batches]:
    """Shuffled training batches and validation batches of one data set, normalized alike.

    `augment` is for training alone.
    """
    return (
        Batches(
            splits.train,
            batch_size,
            shuffle=True,
            seed=seed,
            device=device,
            mean=splits.mean,
            std=splits.std,
            augment=augment,
        ),
        evaluation(splits, splits.val, device=device),
    )


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
