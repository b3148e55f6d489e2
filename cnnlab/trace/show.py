"""How a table of layers looks: as text, HTML, Markdown, CSV or JSON, alone or beside others."""

from __future__ import annotations

import csv
import io
import json
import re
import textwrap
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from html import escape
from itertools import groupby
from math import prod
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cnnlab.arithmetic import bytes_text, count_text

if TYPE_CHECKING:
    from cnnlab.trace.layer import Layer, Output
    from cnnlab.trace.table import LayerTable

COLUMNS: dict[str, Callable[[Layer], str]] = {
    "layer": lambda row: row.path or row.module,
    "operation": lambda row: row.op,
    "output": lambda row: shape_text(row.out_shape),
    "parameters": lambda row: count_text(row.params) if row.params else "",
    "MACs": lambda row: "?" if row.macs is None else count_text(row.macs) if row.macs else "",
    "activations": lambda row: count_text(row.activations) if row.activations else "",
    "kept": lambda row: _kept(row.kept_bytes),
    "receptive field": lambda row: field_text(row),
    "jump": lambda row: _pair(row.jump) if row.jump and prod(_positions(row)) > 1 else "",
}
# What a narrow terminal does without, first to last.
_DISPENSABLE = ("jump", "activations", "kept")
# What a file holds of each row; shapes, windows and jumps per axis.
FIELDS = (
    "path module op in_shape out_shape params macs other_ops activations kept_bytes live_bytes "
    "receptive_field jump start center share_seen context note"
).split()
_OPEN = 60  # a table of more rows is shown folded
# The columns of all parts stand under each other also on a page that is not trusted yet, where
# JupyterLab takes the style sheet away.
_TABLE = (
    '<table style="width:100%;table-layout:fixed"><col width="22%"><col width="14%">'
    '<col width="13%"><col span="3" width="10%"><col span="3" width="7%">'
)
# Where a narrow page breaks the head's long words.
_BREAKS = {
    "parameters": "param&shy;eters",
    "activations": "activa&shy;tions",
    "receptive": "recep&shy;tive",
}


@dataclass(frozen=True)
class Grid:
    """Cells in lines, the first line the head; the first `left` columns are aligned to the left."""

    cells: Sequence[Sequence[str]]
    left: int

    def __str__(self) -> str:
        return _align(self.cells, self.left)

    def _repr_mimebundle_(self, include=None, exclude=None) -> dict[str, str]:
        lines = "".join(
            _line(values, "th" if i == 0 else "td") for i, values in enumerate(self.cells)
        )
        return {"text/plain": str(self), "text/html": f"<table>{lines}</table>"}


def compare(*tables: LayerTable, **named: LayerTable) -> Grid:
    """Totals side by side, with ratios to the first, then the same stage by stage.

    `compare(trace(...), trace(...))`, or with names: `compare(vgg16=..., resnet50=...)`. A stage is
    all rows whose maps have one size; what has no map any more is the head.
    """
    for one in (*tables, *named.values()):
        if not hasattr(one, "kept_by_dtype"):
            raise TypeError(
                f"compare got {type(one).__name__}, expected tables: compare(trace(model, ...))"
            )
    names: dict[str, LayerTable] = {}
    for table in tables:
        kind = type(table.model).__name__
        names[f"{kind} {len(names) + 1}" if kind in names or kind in named else kind] = table
    named = names | named
    if not named:
        raise TypeError("compare got no table, expected some: compare(trace(...), trace(...))")
    first, *others = named
    cells = [["", *named, *(f"{other} / {first}" for other in others)]]

    def line(label: str, values: list[Any], show: Callable[[Any], str]) -> None:
        base, rest = values[0], values[1:]
        ratios = [f"{v / base:.2f}" if v is not None and base else "" for v in rest]
        cells.append([label, *("?" if v is None else show(v) for v in values), *ratios])

    def lines(prefix: str, parts: list[Sequence[Layer]]) -> None:
        for label, name, show in (
            ("parameters", "params", count_text),
            ("MACs", "macs", count_text),
            ("kept for backward", "kept_bytes", bytes_text),
        ):
            values = [[getattr(row, name) for row in part] for part in parts]
            line(prefix + label, [None if None in v else sum(v) for v in values], show)

    of_each = list(named.values())
    lines("", of_each)
    line("activations", [table.activations for table in of_each], count_text)
    line("live in inference", [table.peak_live_bytes for table in of_each], bytes_text)
    cells.append(
        ["receptive field", *(field_text(t.output) for t in of_each), *("" for _ in others)]
    )
    stages: dict[str, list[list[Layer]]] = {}
    for number, table in enumerate(of_each):
        for row in table:
            stage = stages.setdefault(_stage(row), [[] for _ in of_each])
            stage[number].append(row)
    for name, parts in stages.items():
        lines(f"{name}: ", parts)
    return Grid(cells, 1)


def _stage(row: Layer) -> str:
    if row.sights is None:
        return "not followed"
    sizes = _positions(row)
    return shape_text(sizes) if prod(sizes) > 1 else "head"


def _positions(row: Layer) -> list[int]:
    """Sizes of the axes that the row still holds."""
    return [sight.units for sight, dim in zip(row.sights, row.at) if dim is not None]


def _kept(count: int | None) -> str:
    return "?" if count is None else bytes_text(count) if count else ""


def shape_text(shape: Sequence[int]) -> str:
    """Sizes with crosses: "64 x 56 x 56"."""
    return " x ".join(map(str, shape))


def _pair(values: Sequence) -> str:
    return str(values[0]) if len(set(values)) == 1 else " x ".join(map(str, values))


def field_text(row: Layer | Output) -> str:
    """The receptive field as the table says it; "?" where it could not be followed."""
    if row.sights == ():
        return ""
    if row.receptive_field is None:
        return "?"
    return _pair(row.receptive_field) + (" + context" if row.context else "")


def text(table: LayerTable, width: int = 80) -> str:
    """The table for a terminal of `width` columns; what does not fit is left out, and named."""
    columns = {name: [name, *map(show, table.rows)] for name, show in COLUMNS.items()}
    gone = []
    for name in _DISPENSABLE:
        if _total(columns) > width:
            gone.append(name)
            del columns[name]
        if gone == ["jump", "activations"] and _total(columns) > width:
            columns["output"] = [cell.replace(" ", "") for cell in columns["output"]]
            columns["receptive field"][0] = "sees"
            long = [c if len(c) < 17 else f"{c[:15]}…" for c in columns["operation"]]
            columns["operation"] = long
    most = max(12, width - _total(columns) + max(map(len, columns["layer"])))
    columns["layer"] = [c if len(c) <= most else f"…{c[1 - most :]}" for c in columns["layer"]]
    lines = [_align(list(zip(*columns.values())), left=3), ""]
    lines += [f"{name:<20}{value}" for name, value in table.totals().items()]
    notes = table._notes()
    if gone:
        notes.append(f"{', '.join(reversed(gone))} did not fit {width} columns")
    lines += [textwrap.fill(f"note: {note}", width, subsequent_indent=" " * 6) for note in notes]
    return "\n".join(lines)


def _total(columns: dict[str, list[str]]) -> int:
    return sum(max(map(len, column)) + 2 for column in columns.values()) - 2


def _align(cells: Sequence[Sequence[str]], left: int) -> str:
    widths = [max(map(len, column)) for column in zip(*cells)]
    lines = []
    for line in cells:
        aligned = [
            cell.ljust(width) if i < left else cell.rjust(width)
            for i, (cell, width) in enumerate(zip(line, widths))
        ]
        lines.append("  ".join(aligned).rstrip())
    return "\n".join(lines)


def html(table: LayerTable) -> str:
    """The table for a page: folded by module where it is long."""
    ends: dict[str, int] = {}  # of each module, the last row
    for row in table.rows:
        parts = row.path.split(".")
        ends |= {".".join(parts[:n]): row.index for n in range(1, len(parts) + 1)}
    style = Path(__file__).with_name("table.css").read_text(encoding="utf-8")
    opened = " open" if len(table) <= _OPEN else ""
    body = "".join(_folded(table, table.rows, 1, ends, opened))
    head = _line(list(COLUMNS), "th")
    for word, parts in _BREAKS.items():
        head = head.replace(word, parts)
    if "<details" in body:
        body = f'<div class="head">{_TABLE}{head}</table></div>{body}'
    else:  # one table, whose columns find their own widths; shapes and bytes stay in one line
        body = re.sub(" (?=x )|(?<= x) |(?<=[0-9]) (?=[kMG]?B<)", "\u00a0", body)
        body = body.replace(_TABLE, f'<table style="table-layout:auto;font-size:12px">{head}')
    totals = "".join(
        f"<span><i>{escape(name)}</i> <b>{escape(value)}</b></span> "
        for name, value in table.totals().items()
    )
    notes = "".join(f"<div><i>note: {escape(note)}</i></div>" for note in table._notes())
    shown = f'<div class="cnnlab-trace"><div>{body}</div><p>{totals}</p>{notes}</div>'
    return f"<style>{style}</style>{shown}"


def _folded(
    table: LayerTable, rows: Sequence[Layer], depth: int, ends: dict[str, int], opened: str
) -> Iterator[str]:
    """Rows as lines, and modules of several rows as one line that opens."""
    plain: list[str] = []
    for path, run in groupby(rows, lambda row: ".".join(row.path.split(".")[:depth])):
        run = list(run)
        inner = any(row.path != path for row in run)
        if len(run) == 1 or not inner:
            plain += [_line([show(row) for show in COLUMNS.values()], "td") for row in run]
            continue
        if plain:
            yield f"{_TABLE}{''.join(plain)}</table>"
            plain = []
        whole = table.merged(run, path, ends[path] == run[-1].index)
        cells = {name: show(whole) for name, show in COLUMNS.items()}
        cells["operation"] = table.kinds.get(path, "")
        line = _line(list(cells.values()), "td")
        below = "".join(_folded(table, run, depth + 1, ends, opened))
        yield f"<details{opened}><summary>{_TABLE}{line}</table></summary>{below}</details>"
    if plain:
        yield f"{_TABLE}{''.join(plain)}</table>"


def _line(values: Sequence[str], tag: str) -> str:
    return "<tr>" + "".join(f"<{tag}>{escape(value)}" for value in values)


def markdown(table: LayerTable) -> str:
    """The table for a README."""
    lines = [list(COLUMNS), ["---"] * 3 + ["---:"] * (len(COLUMNS) - 3)]
    lines += [[show(row) for show in COLUMNS.values()] for row in table.rows]
    said = [f"- {name}: {value}" for name, value in table.totals().items()]
    said += [f"- note: {note}" for note in table._notes()]
    return "\n".join([*(f"| {' | '.join(line)} |" for line in lines), "", *said])


def csv_text(table: LayerTable) -> str:
    """A line per row with the fields of `FIELDS`; sizes as 64 x 56 x 56."""
    file = io.StringIO()
    writer = csv.writer(file, lineterminator="\n")
    writer.writerow(FIELDS)
    for row in table.rows:
        values = (getattr(row, name) for name in FIELDS)
        writer.writerow(shape_text(v) if isinstance(v, tuple) else v for v in values)
    return file.getvalue().rstrip("\n")


def json_text(table: LayerTable) -> str:
    """{"rows": the fields of `FIELDS`, "totals": ..., "notes": ...}; what is unknown is null."""
    rows = [{name: getattr(row, name) for name in FIELDS} for row in table.rows]
    totals = {name: getattr(table, name) for name in ("params", "macs", "other_ops", "activations")}
    totals |= {"kept_bytes": table.kept_bytes, "peak_live_bytes": table.peak_live_bytes}
    totals |= {"receptive_field": table.output.receptive_field, "context": table.output.context}
    for name, unknown in (("macs", table.unknown), ("kept_bytes", table.unknown_kept)):
        totals[name] = None if unknown else totals[name]
    said = {"rows": rows, "totals": totals, "notes": table._notes()}
    return json.dumps(said, default=float, indent=1)
