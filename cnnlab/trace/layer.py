"""One row of a table: what an operation got, made, cost and sees."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from math import prod

from cnnlab.arithmetic import Window
from cnnlab.trace.memory import Memory
from cnnlab.trace.sight import Sight

Box = tuple[tuple[int, int], ...]  # (first, last) input pixel, inclusive, per image axis


class _Sees:
    """What can be read off `sights`."""

    sights: tuple[Sight, ...] | None

    @property
    def windows(self) -> tuple[Window, ...] | None:
        """Theoretical receptive field per image axis; None where it could not be followed."""
        if self.sights is None:
            return None
        windows = tuple(sight.window for sight in self.sights)
        return None if None in windows else windows

    @property
    def receptive_field(self) -> tuple[int, ...] | None:
        """Its size, (height, width), in input pixels."""
        return self.windows and tuple(window.size for window in self.windows)

    @property
    def jump(self) -> tuple[int, ...] | None:
        """Input pixels between neighboring units."""
        return self.windows and tuple(window.jump for window in self.windows)

    @property
    def start(self) -> tuple[int, ...] | None:
        """First input pixel that unit 0 sees, negative where there is padding."""
        return self.windows and tuple(window.start for window in self.windows)

    @property
    def center(self) -> tuple[float, ...] | None:
        """Middle of what unit 0 sees."""
        return self.windows and tuple(window.center(0) for window in self.windows)


@dataclass(frozen=True)
class Output(_Sees):
    """What a module returned, and what it sees."""

    out_shape: tuple[int, ...]
    sights: tuple[Sight, ...] | None
    at: tuple[int | None, ...]
    context: bool
    lost: str  # where and why the receptive field was lost


@dataclass(frozen=True)
class Layer(_Sees):
    """One operation of a forward pass, or several folded together.

    index:       its place in the table
    path, module: where it was called: "features.0", "Conv2d"; "" and the class for the model itself
    op:          PyTorch's name of the operation, without the underscore of its in-place form
    inputs:      rows it reads; -1 is the model's input
    in_shapes, out_shape: (C, H, W); a dimension is left out only where it is the batch
    params:      parameters used here for the first time
    macs:        multiply-accumulates without bias; None where no rule knows
    other_ops:   bias, normalization, activation: about one per value; pooling: one per tap
    activations: values written to new memory: 0 for views and in-place operations
    context:     it also depends on the rest of the image (squeeze and excite, group norm), by
                 itself or by what it reads
    note:        what is unknown about it, and why
    lost:        where and why what it sees became unknown, here or in a row that it reads
    """

    index: int
    path: str
    module: str
    op: str
    inputs: tuple[int, ...]
    in_shapes: tuple[tuple[int, ...], ...]
    out_shape: tuple[int, ...]
    params: int
    macs: int | None
    other_ops: int
    activations: int
    context: bool
    note: str
    storage: int = field(repr=False)
    reads: tuple[int, ...] = field(repr=False)
    sights: tuple[Sight, ...] | None = field(repr=False, compare=False)
    at: tuple[int | None, ...] = field(repr=False)
    lost: str = field(repr=False)
    memory: Memory = field(repr=False, compare=False)
    covers: tuple[int, ...] = field(repr=False)  # rows folded into this one

    @property
    def in_shape(self) -> tuple[int, ...]:
        """Shape of the first input."""
        return self.in_shapes[0] if self.in_shapes else ()

    @property
    def share_seen(self) -> float | None:
        """Share of the image that the middle unit is connected to, 0 to 1."""
        if not self.sights:
            return None
        middle = [sight.units // 2 for sight in self.sights]
        box = self._box(middle)
        seen = prod(max(0, last - first + 1) for first, last in box)
        return seen / prod(_image_size(sight) for sight in self.sights)

    @property
    def kept_bytes(self) -> int | None:
        """Bytes autograd keeps here for the backward pass, per image; parameters not counted.

        None where nobody can say: an LSTM keeps what its library likes."""
        if not self.memory.unknown.isdisjoint(self.covers):
            return None
        return sum(sum(self.memory.kept.get(row, {}).values()) for row in self.covers)

    @property
    def live_bytes(self) -> int:
        """Bytes of activations alive in inference when this operation is done."""
        return max(self.memory.live[row] for row in self.covers)

    def _box(self, unit: Sequence[int]) -> Box:
        box = []
        for sight, position in zip(self.sights, unit):
            first, last = sight.seen()
            box.append((int(first[position]), int(last[position])))
        return tuple(box)


def _image_size(sight: Sight) -> int:
    while sight.parents:
        sight = sight.parents[0][0]
    return sight.units
