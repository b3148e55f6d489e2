"""The result of a trace: one row per operation, and what can be read off the rows.

Totals are derived, never stored. All counts are for one image; MACs without bias.
"""

from __future__ import annotations

import shutil
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from functools import cached_property
from numbers import Integral
from typing import TYPE_CHECKING, overload

from torch import nn

from cnnlab import probes
from cnnlab._tools import counted, did_you_mean
from cnnlab.arithmetic import bytes_text, count_text
from cnnlab.trace import show
from cnnlab.trace.layer import Box, Layer, Output
from cnnlab.trace.memory import TrainingMemory

if TYPE_CHECKING:
    import pandas


class LayerTable(Sequence[Layer]):
    """The rows of a trace in execution order. `table[3]`, `table["layer1.0"]`, `table.macs`."""

    def __init__(
        self,
        rows: Iterable[Layer],
        outputs: Mapping[str, Output],
        inputs: tuple[tuple[int, ...], ...],
        image: Sequence[int],
        model: nn.Module,
        unused: dict[str, int],
        notes: Sequence[str],
    ):
        self.rows, self.outputs = tuple(rows), outputs
        self.inputs, self.image = inputs, tuple(image)
        self.model, self.unused, self.notes = model, unused, tuple(notes)
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
            try:
                return self.rows[key]
            except IndexError:
                rows = counted(len(self), "row")
                raise IndexError(f"row {key} of a table of {rows}") from None
        rows = [row for row in self.rows if row.path == key or row.path.startswith(f"{key}.")]
        if not rows:
            raise KeyError(self._missing(key))
        return self.merged(rows, key)

    def _missing(self, key: str) -> str:
        paths = list(dict.fromkeys(row.path for row in self.rows))
        above = next((p for p in reversed(paths) if p and key.startswith(f"{p}.")), None)
        hint = f" Did you mean {above!r}?" if above else did_you_mean(key, paths)
        if key in self.kinds:
            hint = " It did nothing in this pass."
        if len(paths) > 8:
            paths = list(dict.fromkeys(path.split(".")[0] for path in paths))
        more = f" and {len(paths) - 8} more" if len(paths) > 8 else ""
        known = f" Known: {', '.join(paths[:8])}{more}"
        return f"no operation was traced in a module {key!r}.{hint or known}"

    @cached_property
    def kinds(self) -> dict[str, str]:
        """Class names of the model's modules, by path."""
        return {path: type(module).__name__ for path, module in self.model.named_modules()}

    def merged(self, rows: Sequence[Layer], path: str, whole: bool = True) -> Layer:
        """Rows of one module as one: counts add up; the output is the module's, if the rows are
        the `whole` of it, with its last call."""
        alone = all(row.path == rows[0].path for row in rows)
        ops = Counter(row.op for row in rows)
        out = self.outputs.get(path) if path and whole else None
        last = rows[-1]
        out = out or Output(last.out_shape, last.sights, last.at, last.context, last.lost)
        return replace(
            last,
            path=path,
            module=rows[0].module if alone and rows[0].path == path else "",
            op=", ".join(op if n == 1 else f"{n} {op}" for op, n in ops.items()),
            inputs=rows[0].inputs,
            in_shapes=rows[0].in_shapes,
            out_shape=out.out_shape,
            params=sum(row.params for row in rows),
            macs=None if any(row.macs is None for row in rows) else sum(row.macs for row in rows),
            other_ops=sum(row.other_ops for row in rows),
            activations=sum(row.activations for row in rows),
            context=out.context,
            note="; ".join(dict.fromkeys(row.note for row in rows if row.note)),
            sights=out.sights,
            at=out.at,
            lost=out.lost,
            covers=tuple(index for row in rows for index in row.covers),
        )

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
        """Bytes autograd keeps for the backward pass of one image; rows in `unknown_kept` are not
        in it."""
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

    @property
    def unknown_kept(self) -> tuple[Layer, ...]:
        """Rows of which nobody can say what autograd keeps."""
        return tuple(row for row in self.rows if row.kept_bytes is None)

    @property
    def note(self) -> str:
        """How the batch is known, and whether the model had to be run for real."""
        return "; ".join(self.notes)

    @property
    def output(self) -> Output:
        """What the model returns (its first tensor), or its last row that sees the image."""
        last = next((row for row in reversed(self.rows) if row.sights != ()), self.rows[-1])
        out = self.outputs.get("")
        if out is None or (out.sights == () and self.image):
            return Output(last.out_shape, last.sights, last.at, last.context, last.note)
        return out

    def fold(self, depth: int | None = None) -> LayerTable:
        """One row per module, in order of first use; `depth` 1: per direct child of the model."""
        groups: dict[str, list[Layer]] = {}
        for row in self.rows:
            parts = row.path.split(".") if row.path else []
            groups.setdefault(".".join(parts[:depth]), []).append(row)
        rows = (self.merged(rows, path) for path, rows in groups.items())
        return LayerTable(
            rows, self.outputs, self.inputs, self.image, self.model, self.unused, self.notes
        )

    def box(self, layer: str | int, *unit: int) -> Box:
        """The input rectangle that one unit of a layer is connected to, inside the image.

        `table.box("layer1", 3, 4)` is ((top, bottom), (left, right)), inclusive: for a map of
        one value per image axis, one number per axis.

        Raises ValueError if the unit does not exist or the receptive field could not be followed.
        """
        row = self[layer]
        if row.sights is None:
            raise ValueError(
                f"what {row.path or row.module} sees is unknown; it was lost at {row.lost}"
            )
        sizes = [sight.units for sight in row.sights]
        whole = all(isinstance(u, Integral) for u in unit)
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
        state, kept = slots[optimizer] * trained, batch * self.kept_bytes
        return TrainingMemory(weights, trained, state, kept, unknown=bool(self.unknown_kept))

    def to_pandas(self) -> pandas.DataFrame:
        """One line per operation. Needs pandas, which `pip install cnnlab[pandas]` brings."""
        import pandas

        return pandas.DataFrame([{n: getattr(row, n) for n in show.FIELDS} for row in self.rows])

    def totals(self) -> dict[str, str]:
        """The totals as text, in the order they are shown."""
        totals = {
            "input": show.shape_text(self.input_shape),
            "parameters": count_text(self.params),
            "MACs": count_text(self.macs) + (" + unknown" if self.unknown else ""),
            "activations": count_text(self.activations),
            "kept for backward": bytes_text(self.kept_bytes)
            + (" + unknown" if self.unknown_kept else ""),
            "live in inference": bytes_text(self.peak_live_bytes),
        }
        if self.unused:
            totals["unused parameters"] = count_text(sum(self.unused.values()))
        if self.image:
            totals["receptive field"] = show.field_text(self.output)
        return totals

    def __str__(self) -> str:
        return show.text(self, shutil.get_terminal_size().columns)

    def __repr__(self) -> str:
        name = type(self.model).__name__
        return f"<LayerTable of {name}: {len(self)} operations, {count_text(self.params)} params>"

    def _repr_mimebundle_(self, include=None, exclude=None) -> dict[str, str]:
        return {"text/plain": show.text(self), "text/html": show.html(self)}

    def _notes(self) -> list[str]:
        """How the table was made, and what is unknown and where, each said once."""
        places: dict[str, list[str]] = {}
        lost = self.output.lost
        for row in self.rows:
            if row.note and lost != f"{row.path or row.module}: {row.note}":
                places.setdefault(row.note, []).append(row.path or row.module)
        said = list(self.notes)
        for note, where in places.items():
            more = f" and {len(where) - 2} more" if len(where) > 3 else ""
            said.append(f"{', '.join(where[: 2 if more else 3])}{more}: {note}")
        if any(row.kept_bytes is None for row in self.rows):
            said.append("bytes kept of an LSTM or with autocast on the meta device are unknown")
        if self.image and self.output.sights is None:
            said.append(f"the receptive field was lost at {lost}")
        return said
