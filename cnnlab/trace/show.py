"""How a table of layers looks: as text and as HTML, alone or beside others."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from html import escape
from math import prod
from typing import TYPE_CHECKING

from cnnlab.arithmetic import bytes_text, count_text

if TYPE_CHECKING:
    from cnnlab.trace.table import Layer, LayerTable

COLUMNS: dict[str, Callable[[Layer], str]] = {
    "layer": lambda row: row.path or row.module,
    "operation": lambda row: row.op,
    "output": lambda row: shape_text(row.out_shape),
    "parameters": lambda row: count_text(row.params) if row.params else "",
    "MACs": lambda row: "?" if row.macs is None else count_text(row.macs) if row.macs else "",
    "activations": lambda row: count_text(row.activations) if row.activations else "",
    "kept": lambda row: bytes_text(row.kept_bytes) if row.kept_bytes else "",
    "receptive field": lambda row: field_text(row),
    "jump": lambda row: _pair(row.jump) if row.jump and _positions(row) > 1 else "",
}


@dataclass(frozen=True)
class Grid:
    """Cells in lines, the first line the head; the first `left` columns are aligned to the left."""

    cells: Sequence[Sequence[str]]
    left: int

    def __str__(self) -> str:
        return _align(self.cells, self.left)

    def _repr_mimebundle_(self, include=None, exclude=None) -> dict[str, str]:
        return {"text/plain": str(self), "text/html": _html_table(self.cells, self.left)}


def compare(**tables: LayerTable) -> Grid:
    """Totals side by side: `compare(vgg16=trace(...), resnet50=trace(...))`."""
    totals = [table.totals() for table in tables.values()]
    keys = dict.fromkeys(key for total in totals for key in total)
    return Grid([["", *tables], *([key, *(t.get(key, "") for t in totals)] for key in keys)], 1)


def _positions(row: Layer) -> int:
    return prod(n for n, dim in zip((s.units for s in row.sights), row.at) if dim is not None)


def shape_text(shape: Sequence[int]) -> str:
    """Sizes with crosses: "64 x 56 x 56"."""
    return " x ".join(map(str, shape))


def _pair(values: Sequence) -> str:
    return str(values[0]) if len(set(values)) == 1 else " x ".join(map(str, values))


def field_text(row: Layer) -> str:
    """The receptive field as the table says it; "?" where it could not be followed."""
    if row.sights == ():
        return ""
    if row.receptive_field is None:
        return "?"
    return _pair(row.receptive_field) + (" + context" if row.context else "")


def text(rows: Sequence[Layer], totals: dict[str, str], notes: Sequence[str]) -> str:
    """The table for a terminal."""
    cells = [list(COLUMNS)] + [[show(row) for show in COLUMNS.values()] for row in rows]
    lines = [_align(cells, left=3), ""]
    lines += [f"{name:<20}{value}" for name, value in totals.items()]
    return "\n".join(lines + [f"note: {note}" for note in notes])


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


def html(rows: Sequence[Layer], totals: dict[str, str], notes: Sequence[str]) -> str:
    """The table for a page."""
    cells = [list(COLUMNS)] + [[show(row) for show in COLUMNS.values()] for row in rows]
    summary = "".join(
        f'<span style="white-space:nowrap;margin-right:1.6em">'
        f'<span style="opacity:.7">{escape(name)}</span> <b>{escape(value)}</b></span> '
        for name, value in totals.items()
    )
    remarks = "".join(f'<div style="opacity:.8">note: {escape(note)}</div>' for note in notes)
    return (
        f'<div style="max-height:34em;overflow:auto">{_html_table(cells, left=3)}</div>'
        f'<div style="margin:.5em 0;line-height:1.7">{summary}</div>{remarks}'
    )


def _html_table(cells: Sequence[Sequence[str]], left: int) -> str:
    def line(values: Sequence[str], tag: str) -> str:
        sides = ["left" if i < left else "right" for i in range(len(values))]
        style = "padding:.15em .7em;white-space:nowrap"
        shown = (
            f'<{tag} style="text-align:{side};{style}">{escape(value)}</{tag}>'
            for side, value in zip(sides, values)
        )
        return f"<tr>{''.join(shown)}</tr>"

    head = line(cells[0], "th")
    body = "".join(line(values, "td") for values in cells[1:])
    return (
        '<table style="border-collapse:collapse;font-variant-numeric:tabular-nums">'
        f"<thead>{head}</thead><tbody>{body}</tbody></table>"
    )
