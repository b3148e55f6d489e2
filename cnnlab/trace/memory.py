"""Bytes: of activations while a network runs, and of one training step."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from math import prod
from typing import TYPE_CHECKING

from cnnlab.arithmetic import bytes_text

if TYPE_CHECKING:
    from cnnlab.trace.table import Layer


class Memory:
    """What needs all rows to be known: computed once, when first asked for.

    `measure` returns what autograd keeps: row -> dtype -> bytes. The tracer sets it.
    """

    measure: Callable[[], dict[int, dict[str, int]]]

    def __init__(self, rows: Sequence[Layer]):
        self._rows = rows

    @cached_property
    def kept(self) -> dict[int, dict[str, int]]:
        """Bytes kept for backward: row -> dtype -> bytes."""
        return self.measure()

    @cached_property
    def live(self) -> list[int]:
        """Bytes alive after each row: a tensor lives until the last operation that reads it."""
        size, birth, death = {}, {}, {}
        for row in self._rows:
            if row.storage not in size:
                size[row.storage] = prod(row.out_shape) * row.itemsize
                birth[row.storage] = row.index
            for storage in (row.storage, *row.reads):
                death[storage] = row.index
            for storage, shape in zip(row.reads, row.in_shapes):
                if storage not in birth:  # the input image
                    size[storage], birth[storage] = prod(shape) * row.itemsize, 0
        change = [0] * (len(self._rows) + 1)
        for storage, count in size.items():
            change[birth[storage]] += count
            change[death[storage] + 1] -= count
        live, total = [], 0
        for step in change[:-1]:
            total += step
            live.append(total)
        return live


@dataclass(frozen=True)
class TrainingMemory:
    """Estimated bytes for one training step; activations are measured, the rest is counted."""

    weights: int
    gradients: int
    optimizer: int
    activations: int

    @property
    def total(self) -> int:
        """Sum of the four; PyTorch's workspace and fragmentation come on top."""
        return self.weights + self.gradients + self.optimizer + self.activations

    def __str__(self) -> str:
        parts = ("weights", "gradients", "optimizer", "activations", "total")
        return "\n".join(f"{part:<12}{bytes_text(getattr(self, part)):>9}" for part in parts)
