"""Bytes: of activations while a network runs, and of one training step."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import accumulate

from cnnlab.arithmetic import bytes_text


class Memory:
    """What needs all rows to be known: computed once, when first asked for.

    `measure` returns what autograd keeps in a pass over `batch` images: row -> dtype -> bytes, and
    the rows of which that is unknown. The tracer sets it.
    """

    measure: Callable[[], tuple[dict[int, dict[str, int]], set[int]]]

    def __init__(self, batch: int) -> None:
        # Per row: the storage it writes to and its bytes, the storages it reads and theirs. No
        # reference to the rows: they refer to this, and in a circle the traced model would outlive
        # its table until the garbage collector looks.
        self._rows: list[tuple[int, int, Sequence[int], Sequence[int]]] = []
        self.batch = batch

    def add(self, storage: int, size: int, reads: Sequence[int], sizes: Sequence[int]) -> None:
        """The next row writes `size` bytes to `storage` and reads `reads`, of `sizes` bytes."""
        self._rows.append((storage, size, reads, sizes))

    @cached_property
    def _measured(self) -> tuple[dict[int, dict[str, int]], set[int]]:
        kept, unknown = self.measure()
        per_image = {
            row: {dtype: -(-count // self.batch) for dtype, count in here.items()}
            for row, here in kept.items()
        }
        return per_image, unknown

    @property
    def kept(self) -> dict[int, dict[str, int]]:
        """Bytes kept for backward, per image: row -> dtype -> bytes."""
        return self._measured[0]

    @property
    def unknown(self) -> set[int]:
        """The rows of which nobody can say what they keep."""
        return self._measured[1]

    @cached_property
    def live(self) -> list[int]:
        """Bytes alive after each row, per image: a tensor lives until it is last read."""
        size, birth, death = {}, {}, {}
        for index, (storage, nbytes, reads, sizes) in enumerate(self._rows):
            if storage not in size:
                size[storage], birth[storage] = nbytes, index
            for one in (storage, *reads):
                death[one] = index
            for one, read in zip(reads, sizes):
                if one not in birth:  # the input image
                    size[one], birth[one] = read, 0
        change = [0] * (len(self._rows) + 1)
        for storage, count in size.items():
            change[birth[storage]] += count
            change[death[storage] + 1] -= count
        return [-(-total // self.batch) for total in accumulate(change[:-1])]


@dataclass(frozen=True)
class TrainingMemory:
    """Estimated bytes for one training step; activations are measured, the rest is counted.

    unknown: some rows keep what nobody can say; it is not in `activations` and `total`
    """

    weights: int
    gradients: int
    optimizer: int
    activations: int
    unknown: bool = False

    @property
    def total(self) -> int:
        """Sum of the four; PyTorch's workspace and fragmentation come on top."""
        return self.weights + self.gradients + self.optimizer + self.activations

    def __str__(self) -> str:
        parts = ("weights", "gradients", "optimizer", "activations", "total")
        lines = [f"{part:<12}{bytes_text(getattr(self, part)):>9}" for part in parts]
        if self.unknown:
            lines[3:] = [f"{line} + unknown" for line in lines[3:]]  # activations, total
        return "\n".join(lines)
