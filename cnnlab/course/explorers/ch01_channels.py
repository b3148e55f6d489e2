"""Chapter 01: one filter over three channels: three slices, three sums, a bias, one number."""

from __future__ import annotations

from cnnlab.course.explorers.explorer import Explorer, Slider
from cnnlab.course.look import BAD, GOOD, INK, INPUT, LARGE, MUTED, OUTPUT, SMALL, TEXT, WIDTH, mix
from cnnlab.course.pictures.cells import grid
from cnnlab.course.pictures.svg import Svg

SIZE, KERNEL = 5, 3
NAMES, COLORS = ("red", "green", "blue"), (BAD, GOOD, INPUT)
# A red bar that stands on a green ground, under a blue sky: 3 x 5 x 5.
IMAGE = (
    ((0, 0, 8, 0, 0), (0, 0, 9, 0, 0), (0, 0, 8, 0, 0), (0, 0, 9, 0, 0), (1, 1, 2, 1, 1)),
    ((1, 1, 0, 1, 1), (1, 1, 0, 1, 1), (2, 2, 0, 2, 2), (7, 7, 1, 7, 7), (8, 8, 8, 8, 8)),
    ((9, 9, 1, 9, 9), (8, 8, 1, 8, 8), (7, 7, 1, 7, 7), (2, 2, 0, 2, 2), (1, 1, 1, 1, 1)),
)
# A vertical bar that is red and not blue; green plays no part but in the middle: 3 x 3 x 3.
FILTER = (
    ((-1, 2, -1), (-1, 2, -1), (-1, 2, -1)),
    ((0, 0, 0), (0, -1, 0), (0, 0, 0)),
    ((0, -1, 0), (0, -1, 0), (0, -1, 0)),
)
_CELL, _LEFT, _TOP, _ROW = 24, 96, 56, 150

Table = tuple[tuple[int, ...], ...]


def slice_sum(channel: int, row: int, col: int) -> int:
    """What one slice of the filter adds: its nine products at a place of its channel, summed."""
    return sum(
        FILTER[channel][u][v] * IMAGE[channel][row + u][col + v]
        for u in range(KERNEL)
        for v in range(KERNEL)
    )


def output(row: int, col: int, bias: int) -> int:
    """One output pixel: the sums of all slices and the bias."""
    return sum(slice_sum(channel, row, col) for channel in range(len(NAMES))) + bias


def draw(row: int, col: int, bias: int) -> str:
    """Windows, slices, their sums, the bias, and the output map in which one pixel is chosen."""
    sums = [slice_sum(channel, row, col) for channel in range(len(NAMES))]
    total = output(row, col, bias)
    spelled = " + ".join(map(_text, [*sums, bias]))
    side = SIZE - KERNEL + 1
    svg = Svg(
        WIDTH,
        _TOP + 3 * _ROW + 34,
        f"One filter over three channels: at row {row}, column {col} its slices give "
        f"{', '.join(map(_text, sums))}; with the bias {_text(bias)} that is {_text(total)}",
    )
    for x, words in ((_LEFT, "input: 3 channels"), (296, "filter: 3 slices"), (430, "sums")):
        svg.text(x, 34, words, SMALL, MUTED)
    for channel, (name, color) in enumerate(zip(NAMES, COLORS)):
        y = _TOP + channel * _ROW
        svg.text(16, y + 64, name, TEXT, color, bold=True)
        _numbers(svg, _LEFT, y, IMAGE[channel], 9, color)
        window = (_LEFT + col * _CELL, y + row * _CELL, KERNEL * _CELL, KERNEL * _CELL)
        svg.rect(*window, stroke=INK, line=2.5)
        svg.text(252, y + 66, "\u00d7", LARGE, INK, "middle")
        _numbers(svg, 296, y + _CELL, FILTER[channel], 2, color)
        svg.arrow(380, y + 60, 420, y + 60, MUTED)
        svg.text(446, y + 66, _text(sums[channel]), LARGE, color, "middle", bold=True)
        svg.line(470, y + 60, 520, _TOP + _ROW + 60, stroke=MUTED)
    svg.text(446, _TOP + 3 * _ROW + 4, f"bias {_text(bias)}", TEXT, INK, "middle", bold=True)
    svg.line(486, _TOP + 3 * _ROW, 520, _TOP + _ROW + 64, stroke=MUTED)
    x, y = 560, _TOP + _ROW + 60 - 1.5 * 40
    svg.text(x, y - 32, "output: 1 channel", SMALL, MUTED)
    svg.arrow(520, _TOP + _ROW + 60, x - 8, _TOP + _ROW + 60, MUTED)
    found = [[output(r, c, bias) for c in range(side)] for r in range(side)]
    reach = max(abs(value) for line in found for value in line) or 1
    texts = [[_text(value) for value in line] for line in found]
    shown = {"values": found, "low": -reach, "high": reach, "texts": texts}
    grid(svg, x, y, side, side, 40, **shown, pick="output", at=(row, col), label="output pixel")
    svg.text(x + 60, y + 146, spelled.replace("+ \u2212", "\u2212 "), SMALL, INK, "middle")
    svg.text(x + 60, y + 168, f"= {_text(total)}", LARGE, OUTPUT, "middle", bold=True)
    return str(svg)


def _numbers(svg: Svg, x: float, y: float, values: Table, most: int, color: str) -> None:
    colors = [[mix("#ffffff", color, 0.55 * abs(v) / most) for v in line] for line in values]
    texts = [[_text(v) for v in line] for line in values]
    grid(svg, x, y, len(values), len(values[0]), _CELL, values=colors, texts=texts)


def _text(value: int) -> str:
    return str(value).replace("-", "\u2212")


def _picked(state: dict, key: str) -> dict:
    _, row, col = key.split(",")
    return {"row": int(row), "col": int(col)}


def channels() -> Explorer:
    """One filter over three channels, and the computation of each output pixel."""
    last = SIZE - KERNEL
    controls = [
        Slider("row", "output row", 0, last, 0),
        Slider("col", "output column", 0, last, 1),
        Slider("bias", "bias", -60, 60, -10),
    ]
    find = [
        "Click an output pixel and follow its number back. How many products does it take?",
        "Which output pixels are above zero, and what stands in the image there?",
        "The bias is one number for the whole map. Set it so that exactly one pixel is above zero.",
    ]
    return Explorer("One filter, three channels", controls, draw, find, "channels", pick=_picked)
