"""The result of a trace: one row per operation, and what can be read off the rows.

Totals are derived, never stored. All counts are for one image; MACs without bias.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from math import prod
from typing import TYPE_CHECKING, overload

from torch import nn

from cnnlab import probes
from cnnlab._tools import did_you_mean
from cnnlab.arithmetic import Window, bytes_text, count_text
from cnnlab.trace import show
from cnnlab.trace.memory import Memory, TrainingMemory
from cnnlab.trace.sight import Sight

if TYPE_CHECKING:
    import pandas

Box = tuple[tuple[int, int], ...]  # (first, last) input pixel, inclusive, per image axis


@dataclass(frozen=True)
class Layer:
    """One operation of a forward pass, or several folded together.

    index:       its place in the table
    path, module: where it was called: "features.0", "Conv2d"; "" and the class for the model itself
    op:          PyTorch's name of the operation, without the underscore of its in-place form
    inputs:      rows it reads; -1 is the model's input
    in_shapes, out_shape: without the batch: (C, H, W)
    params:      parameters used here for the first time
    macs:        multiply-accumulates without bias; None where no rule knows
    other_ops:   bias, normalization, activation: about one per value; pooling: one per tap
    activations: values written to new memory: 0 for views and in-place operations
    context:     it also depends on the rest of the image (squeeze and excite, group norm)
    note:        what is unknown about it, and why
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
    itemsize: int = field(repr=False)
    storage: int = field(repr=False)
    reads: tuple[int, ...] = field(repr=False)
    sights: tuple[Sight, ...] | None = field(repr=False, compare=False)
    at: tuple[int | None, ...] = field(repr=False)
    memory: Memory = field(repr=False, compare=False)
    covers: tuple[int, ...] = field(repr=False)  # rows folded into this one

    @property
    def in_shape(self) -> tuple[int, ...]:
        """Shape of the first input."""
        return self.in_shapes[0] if self.in_shapes else ()

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
    def kept_bytes(self) -> int:
        """Bytes autograd keeps here for the backward pass, per image; parameters not counted."""
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


class LayerTable(Sequence[Layer]):
    """The rows of a trace in execution order. `table[3]`, `table["layer1.0"]`, `table.macs`."""

    def __init__(
        self,
        rows: Iterable[Layer],
        inputs: tuple[tuple[int, ...], ...],
        image: Sequence[int],
        model: nn.Module,
        unused: dict[str, int],
        note: str,
    ):
        self.rows = tuple(rows)
        self.inputs, self.image = inputs, tuple(image)
        self.model, self.unused, self.note = model, unused, note
        self._memory = self.rows[0].memory

    @overload
    def __getitem__(self, key: int) -> Layer: ...
    @overload
    def __getitem__(self, key: slice) -> tuple[Layer, ...]: ...
    @overload
    def __getitem__(self, key: str) -> Layer: ...
    def __getitem__(self, key):
        """A row by number, rows by slice, or everything a module did, folded, by its path."""
        if not isinstance(key, str):
            return self.rows[key]
        rows = [row for row in self.rows if row.path == key or row.path.startswith(f"{key}.")]
        if not rows:
            paths = list(dict.fromkeys(row.path for row in self.rows))
            hint = did_you_mean(key, paths) or f" Known: {', '.join(paths)}"
            raise KeyError(f"no operation was traced in a module {key!r}.{hint}")
        return _merge(rows, key, "" if len({row.path for row in rows}) > 1 else rows[0].module)

    def __len__(self) -> int:
        return len(self.rows)

    @property
    def input_shape(self) -> tuple[int, ...]:
        """Shape of the first input, without the batch."""
        return self.inputs[0]

    @property
    def params(self) -> int:
        """Parameters this forward pass used, each once."""
        return sum(row.params for row in self.rows)

    @property
    def macs(self) -> int:
        """MACs of one image, without bias; rows in `unknown` are not in it."""
        return sum(row.macs or 0 for row in self.rows)

    @property
    def other_ops(self) -> int:
        """Operations outside MACs: bias, normalization, activation, pooling."""
        return sum(row.other_ops for row in self.rows)

    @property
    def activations(self) -> int:
        """Values written to new memory, the input not counted."""
        return sum(row.activations for row in self.rows)

    @property
    def kept_bytes(self) -> int:
        """Bytes autograd keeps for the backward pass of one image."""
        return sum(self.kept_by_dtype.values())

    @property
    def kept_by_dtype(self) -> dict[str, int]:
        """The same by type: floats are activations, int64 are the indices of maximum pooling."""
        total: dict[str, int] = {}
        for kept in self._memory.kept.values():
            for dtype, count in kept.items():
                total[dtype] = total.get(dtype, 0) + count
        return total

    @property
    def peak_live_bytes(self) -> int:
        """Most bytes of activations alive at once in inference."""
        return max(self._memory.live)

    @property
    def unknown(self) -> tuple[Layer, ...]:
        """Rows whose MACs no rule knows."""
        return tuple(row for row in self.rows if row.macs is None)

    def fold(self, depth: int | None = None) -> LayerTable:
        """One row per module, in order of first use; `depth` 1: per direct child of the model."""
        groups: dict[str, list[Layer]] = {}
        for row in self.rows:
            parts = row.path.split(".") if row.path else []
            groups.setdefault(".".join(parts[:depth]), []).append(row)
        rows = (
            _merge(rows, path, rows[0].module if all(r.path == path for r in rows) else "")
            for path, rows in groups.items()
        )
        return LayerTable(rows, self.inputs, self.image, self.model, self.unused, self.note)

    def box(self, layer: str | int, *unit: int) -> Box:
        """The input rectangle that one unit of a layer is connected to, inside the image.

        `table.box("layer1", 3, 4)` is ((top, bottom), (left, right)), inclusive: for a map of
        one value per image axis, one number per axis.

        Raises ValueError if the unit does not exist or the receptive field could not be followed.
        """
        row = self[layer]
        if row.sights is None:
            raise ValueError(f"what {row.path or row.module} sees is unknown: {row.note}")
        sizes = [sight.units for sight in row.sights]
        whole = all(isinstance(u, int) for u in unit)
        if not whole or len(unit) != len(sizes) or any(not 0 <= u < n for u, n in zip(unit, sizes)):
            raise ValueError(
                f"unit {unit} does not exist: {row.path or row.module} has a map of "
                f"{' x '.join(map(str, sizes))} units"
            )
        return row._box(unit)

    def check(
        self, layers: Iterable[str] | None = None, unit: tuple[int, int] | None = None
    ) -> dict[str, tuple[Box, Box]]:
        """The table's rectangle of one unit per layer, and the one that its gradient proves.

        layers: module paths that return feature maps; by default the last of each resolution
        unit:   (row, column); by default the middle of each map

        Runs the model for real on a copy, once per layer: seconds for a large network.
        """
        if layers is None:
            maps = [row for row in self.rows if row.sights and None not in row.at]
            last = {row.path: row for row in self.rows}  # a module's output is its last operation
            maps = [row for row in maps if row.path and last[row.path] is row]
            layers = {row.out_shape[1:]: row.path for row in maps}.values()
        found = {}
        for path in layers:
            row = self[path]
            middle = unit or tuple(sight.units // 2 for sight in row.sights)
            proved = probes.support(self.model, self.input_shape, middle, path=path)
            found[path] = row._box(middle), proved
        return found

    def training_memory(self, batch: int = 1, optimizer: str = "momentum") -> TrainingMemory:
        """Estimated memory of one training step; optimizer "sgd", "momentum" or "adam"."""
        slots = {"sgd": 0, "momentum": 1, "adam": 2}
        if optimizer not in slots:
            raise ValueError(f"optimizer {optimizer!r} is unknown; expected one of {list(slots)}")
        if batch < 1:
            raise ValueError(f"batch must be at least 1, got {batch}")
        params = list(self.model.parameters())
        weights = sum(p.numel() * p.element_size() for p in params)
        trained = sum(p.numel() * p.element_size() for p in params if p.requires_grad)
        return TrainingMemory(weights, trained, slots[optimizer] * trained, batch * self.kept_bytes)

    def to_pandas(self) -> pandas.DataFrame:
        """One line per operation. Needs pandas, which `pip install cnnlab[pandas]` brings."""
        import pandas

        names = "path module op in_shape out_shape params macs other_ops activations kept_bytes "
        names += "live_bytes receptive_field jump start center share_seen context note"
        return pandas.DataFrame([{n: getattr(row, n) for n in names.split()} for row in self.rows])

    def totals(self) -> dict[str, str]:
        """The totals as text, in the order they are shown."""
        last = next((row for row in reversed(self.rows) if row.windows), None)
        totals = {
            "input": show.shape_text(self.input_shape),
            "parameters": count_text(self.params),
            "MACs": count_text(self.macs) + (" + unknown" if self.unknown else ""),
            "activations": count_text(self.activations),
            "kept for backward": bytes_text(self.kept_bytes),
            "live in inference": bytes_text(self.peak_live_bytes),
        }
        if self.unused:
            totals["unused parameters"] = count_text(sum(self.unused.values()))
        if last is not None:
            totals["receptive field"] = show.field_text(last)
        return totals

    def __str__(self) -> str:
        return show.text(self.rows, self.totals(), self._notes())

    def __repr__(self) -> str:
        name = type(self.model).__name__
        return f"<LayerTable of {name}: {len(self)} operations, {count_text(self.params)} params>"

    def _repr_mimebundle_(self, include=None, exclude=None) -> dict[str, str]:
        html = show.html(self.rows, self.totals(), self._notes())
        return {"text/plain": str(self), "text/html": html}

    def _notes(self) -> list[str]:
        notes = [f"{row.path or row.module}: {row.note}" for row in self.rows if row.note]
        return ([self.note] if self.note else []) + list(dict.fromkeys(notes))


def _merge(rows: Sequence[Layer], path: str, module: str) -> Layer:
    """Several operations as one row: counts add up, the output is the last one's."""
    last = rows[-1]
    known = [row.macs for row in rows if row.macs is not None]
    ops = Counter(row.op for row in rows)
    return replace(
        last,
        path=path,
        module=module,
        op=", ".join(op if n == 1 else f"{n} {op}" for op, n in ops.items()),
        inputs=rows[0].inputs,
        in_shapes=rows[0].in_shapes,
        params=sum(row.params for row in rows),
        macs=None if len(known) < len(rows) else sum(known),
        other_ops=sum(row.other_ops for row in rows),
        activations=sum(row.activations for row in rows),
        context=any(row.context for row in rows),
        covers=tuple(row.index for row in rows),
    )


def _image_size(sight: Sight) -> int:
    while sight.parents:
        sight = sight.parents[0][0]
    return sight.units
