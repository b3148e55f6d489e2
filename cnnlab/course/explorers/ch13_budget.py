"""Chapter 13's explorer: a budget as a landscape over depth and width, and a gauge per limit."""

from __future__ import annotations

from functools import lru_cache

from cnnlab.course.budget import BUDGET, Costs, costs
from cnnlab.course.explorers.explorer import Choice, Explorer, Slider, Toggle
from cnnlab.course.look import (
    BAD,
    GOOD,
    GRID,
    INK,
    MUTED,
    PAPER,
    SMALL,
    TEXT,
    WIDTH,
    mix,
)
from cnnlab.course.pictures.cells import pick_layer
from cnnlab.course.pictures.svg import Svg

HEIGHT = 500
DEPTHS, WIDTHS = range(1, 9), range(2, 25, 2)
_LEFT, _TOP, _CELL, _ROW = 116, 92, 48, 25
_GAUGE, _BAR = 330, 190  # the first gauge's place, and the length of a bar that is just full
MOST = 1.5  # where a bar ends, as a multiple of the budget
LETTERS = {"params": "P", "macs": "M", "kept": "K", "field": "F"}
NAMES = {"params": "parameters", "macs": "MACs", "kept": "kept memory", "field": "field"}


def widths_of(width: int, double: bool) -> tuple[int, int, int]:
    """Channels of the three stages: the same, or twice as many in each stage."""
    return (width, 2 * width, 4 * width) if double else (width,) * 3


@lru_cache(maxsize=2048)
def costs_of(depth: int, width: int, strides: tuple[int, ...], double: bool) -> Costs:
    """Costs of three stages with `depth` convolutions each."""
    return costs((depth,) * 3, widths_of(width, double), strides)


def draw(depth: int, width: int, strides: tuple[int, ...], double: bool) -> str:
    """The landscape, each cell with the limits that it breaks, and the gauges of one: SVG text."""
    here = costs_of(depth, width, strides, double)
    broken = here.broken(BUDGET)
    channels = ", ".join(map(str, widths_of(width, double)))
    words = ", ".join(NAMES[name] for name in broken)
    verdict = f"{3 * depth} convolutions, {channels} wide: " + (
        f"breaks {words}" if broken else "keeps all four limits"
    )
    svg = Svg(WIDTH, HEIGHT, f"{verdict}. Green cells keep all four limits.")
    svg.text(20, 28, verdict, TEXT, BAD if broken else INK, bold=True)
    svg.text(20, 50, "Green keeps all four. Letters: what a design breaks.", SMALL, MUTED)
    key = "P: parameters, M: MACs, K: kept memory, F: receptive field."
    svg.text(20, 68, key, SMALL, MUTED)
    for row, deep in enumerate(DEPTHS):
        y = _TOP + row * _ROW
        svg.text(_LEFT - 10, y + 17, f"{deep} each" if row else "1 in each", SMALL, INK, "end")
        for column, wide in enumerate(WIDTHS):
            _cell(svg, column, y, costs_of(deep, wide, strides, double))
    bottom = _TOP + len(DEPTHS) * _ROW
    for column, wide in enumerate(WIDTHS):
        svg.text(_LEFT + (column + 0.5) * _CELL, bottom + 16, wide, SMALL, INK, "middle")
    svg.text(_LEFT - 10, bottom + 16, "first width", SMALL, MUTED, "end")
    column = (width - WIDTHS.start) / WIDTHS.step  # a typed width may lie between two columns
    x, y = _LEFT + column * _CELL - 1, _TOP + (depth - 1) * _ROW - 1
    svg.rect(x, y, _CELL, _ROW, stroke=INK, line=3, radius=3)
    cells = len(DEPTHS), len(WIDTHS)
    size = cells[1] * _CELL, cells[0] * _ROW
    at = depth - DEPTHS.start, int(column)
    said = f"designs: {depth} in each stage, first width {width}"
    pick_layer(svg, _LEFT - 1, _TOP - 1, *size, cells, at, "design", said)
    for place, name in enumerate(LETTERS):
        _gauge(svg, _GAUGE + 22 + place * 38, name, here, name in broken)
    return str(svg)


def _cell(svg: Svg, column: int, y: float, found: Costs) -> None:
    broken = found.broken(BUDGET)
    fill = mix(PAPER, GRID, 0.2 + 0.2 * len(broken)) if broken else mix(PAPER, GOOD, 0.45)
    x = _LEFT + column * _CELL
    said = "".join(LETTERS[name] for name in broken)
    svg.rect(x, y, _CELL - 2, _ROW - 2, fill, radius=2)
    if said:
        svg.text(x + _CELL / 2 - 1, y + 16, said, SMALL - 1, MUTED, "middle")


def _gauge(svg: Svg, y: float, name: str, here: Costs, broken: bool) -> None:
    """One limit: a bar whose full length is the budget; what is over it runs on, up to `MOST`."""
    svg.text(_LEFT - 10, y + 14, NAMES[name], TEXT, INK, "end")
    share = getattr(here, name) / getattr(BUDGET, name)
    svg.rect(_LEFT, y, _BAR * min(share, MOST), 18, BAD if broken else GOOD, radius=2)
    svg.line(_LEFT + _BAR, y - 5, _LEFT + _BAR, y + 23, INK, 2)
    text = f"{here.text(name)}, {BUDGET.limit(name)}"
    if share > MOST:  # longer than its bar can tell: it is cut
        text += f": {share:.{1 if share < 10 else 0}f} times"
        for cut in (MOST * _BAR - 18, MOST * _BAR - 12):
            svg.line(_LEFT + cut - 4, y + 20, _LEFT + cut + 4, y - 2, PAPER, 2.5)
    end = max(_BAR, _BAR * min(share, MOST))  # the words stand right of the limit
    svg.text(_LEFT + end + 10, y + 14, text, SMALL, INK)


def _pick(state: dict, key: str) -> dict:
    _, row, column = key.split(",")
    return {"depth": DEPTHS[int(row)], "width": WIDTHS[int(column)]}


def budget() -> Explorer:
    """The explorer of chapter 13. It starts with a design that is over budget."""
    plans = ((1, 1, 1), (1, 2, 2), (2, 1, 2), (2, 2, 1), (2, 2, 2))
    controls = (
        Slider("depth", "convolutions in each of the three stages", 1, 8, 2),
        Slider("width", "width of the first stage", 2, 24, 16, 2),
        Choice(
            "strides",
            "strides of the stages",
            [(" ".join(map(str, p)), p) for p in plans],
            (1, 2, 2),
        ),
        Toggle("double", "each stage twice as wide as the one before", True),
    )
    find = (
        "The design it begins with breaks all four limits. Which of them can another stride "
        "plan mend, at the same depth and width, and which can none?",
        "With strides 2 2 2, walk down along the edge of the green: deeper. What happens to the "
        "width, and which limit stands in the way?",
        "Switch the doubling off. Which limits stand at the edge of the green now, and why?",
    )
    return Explorer("The budget as a landscape", controls, draw, find, "budget", pick=_pick)
