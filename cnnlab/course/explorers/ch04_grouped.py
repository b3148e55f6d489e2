"""Chapter 04: a grouped convolution as connections, as a weight matrix, and as a bill."""

from __future__ import annotations

from dataclasses import dataclass
from math import gcd

from cnnlab.arithmetic import GeometryError, conv_macs, conv_params, count_text
from cnnlab.course.explorers.explorer import Choice, Explorer, Slider
from cnnlab.course.look import (
    GRID,
    HIGHLIGHT,
    INK,
    INPUT,
    KERNEL,
    LARGE,
    MUTED,
    OUTPUT,
    SMALL,
    TEXT,
    WIDTH,
    mix,
)
from cnnlab.course.pictures.cells import grid
from cnnlab.course.pictures.svg import Svg, number

HEIGHT = 490
SECONDS = (("none", "none"), ("in the same groups", "grouped"), ("sees all groups", "dense"))
_LEFT, _RIGHT = 28, WIDTH - 28
_TOP, _BOTTOM = 84, 262  # output row and input row of the connections
_WIRES = 272  # width of the widest row of channels
_MATRICES = 378  # left edge of the matrices
_FAINT = mix("#ffffff", MUTED, 0.45)

Matrix = tuple[tuple[bool, ...], ...]  # outputs x inputs: is there a weight?


@dataclass(frozen=True)
class Cost:
    """Weights without bias, and MACs for one image."""

    weights: int
    macs: int


def layer(inputs: int, outputs: int, groups: int) -> Matrix:
    """Which input channels each output channel of one convolution reads."""
    return tuple(
        tuple(o * groups // outputs == i * groups // inputs for i in range(inputs))
        for o in range(outputs)
    )


def through(first: Matrix, second: Matrix) -> Matrix:
    """Which inputs of `first` each output of `second` depends on."""
    return tuple(
        tuple(any(row[h] and first[h][i] for h in range(len(first))) for i in range(len(first[0])))
        for row in second
    )


def layers(inputs: int, outputs: int, groups: int, second: str) -> list[tuple[int, int, int]]:
    """The convolutions of a state as (inputs, outputs, groups): one, or two in a row."""
    found = [(inputs, outputs, groups)]
    if second != "none":
        found.append((outputs, outputs, groups if second == "grouped" else 1))
    return found


def cost(chain: list[tuple[int, int, int]], kernel: int, size: int) -> Cost:
    """What the convolutions cost together, each with an output map of `size` x `size`."""
    return Cost(
        sum(conv_params(a, b, kernel, g, bias=False) for a, b, g in chain),
        sum(conv_macs(a, b, kernel, size, g) for a, b, g in chain),
    )


def draw(
    inputs: int, outputs: int, groups: int, kernel: int, size: int, second: str, unit: int
) -> str:
    """Connections, weight matrices and cost of one or two grouped convolutions: SVG text.

    `unit` is the output channel whose inputs are marked; beyond the last it means the last.
    Raises GeometryError when the groups do not divide a channel count.
    """
    _check(inputs, outputs, groups)
    unit = min(unit, outputs - 1)
    chain = layers(inputs, outputs, groups, second)
    found = [layer(*one) for one in chain]
    whole = found[0] if len(found) == 1 else through(*found)
    seen = sum(whole[unit])
    ours = cost(chain, kernel, size)
    dense = cost([(a, b, 1) for a, b, _ in chain], kernel, size)
    verdict = (
        f"Output {unit} sees {seen} of {_channels(inputs)}, for "
        f"{ours.weights / dense.weights:.2f}x the weights of "
        f"{'a dense layer' if len(chain) == 1 else 'two dense layers'}."
    )

    svg = Svg(WIDTH, HEIGHT, verdict)
    svg.text(_LEFT, 30, _title(inputs, outputs, groups), LARGE, bold=True)
    svg.text(
        _LEFT,
        52,
        f"each line is a {kernel} x {kernel} kernel; arrow keys or a click choose an output",
        SMALL,
        MUTED,
    )
    _connections(svg, found, groups, unit)
    _matrices(svg, found, whole, groups, unit)
    svg.line(_LEFT, 318, _RIGHT, 318, stroke=GRID)
    svg.text(_LEFT + 150, 338, "dark: as drawn; light: without groups", SMALL, MUTED)
    svg.text(_RIGHT, 338, "dark / light", SMALL, MUTED, "end")
    _pair(svg, 348, "Weights", "without bias", ours.weights, dense.weights)
    _pair(svg, 398, "MACs", f"map of {size} x {size}", ours.macs, dense.macs)
    svg.line(_LEFT, 450, _RIGHT, 450, stroke=GRID)
    svg.text(_LEFT, 474, verdict, TEXT, bold=True)
    return str(svg)


def grouped() -> Explorer:
    """The explorer of chapter 04."""
    controls = (
        Slider("inputs", "input channels", 1, 16, 12),
        Slider("kernel", "kernel", 1, 11, 3),
        Slider("outputs", "output channels", 1, 16, 12),
        Slider("size", "output map", 1, 55, 13),
        Slider("groups", "groups", 1, 16, 2),
        Choice("second", "second layer", SECONDS, "none"),
    )
    find = (
        "Go up to 12 groups. How many inputs does an output see then, and what is left of the "
        "weights? This extreme is called depthwise.",
        "Add a second layer in the same groups. Does any output see more than before? Then let "
        "it see all groups.",
        "Change the kernel and the map. Which of them changes the ratios at the right?",
    )
    return Explorer(
        "Which inputs does an output see?",
        controls,
        draw,
        find,
        "grouped",
        hidden={"unit": 0},
        pick=_pick,
    )


def _pick(state: dict, key: str) -> dict:
    return {"unit": int(key.split(",")[2])}


def _check(inputs: int, outputs: int, groups: int) -> None:
    odd = next((width for width in (inputs, outputs) if width % groups), None)
    if odd is not None:
        common = gcd(inputs, outputs)
        fitting = ", ".join(str(g) for g in range(1, 17) if common % g == 0)
        raise GeometryError(
            f"{groups} groups do not divide {_channels(odd)}. For {inputs} in and "
            f"{outputs} out choose groups among {fitting}."
        )


def _channels(count: int) -> str:
    return f"{count} channel{'' if count == 1 else 's'}"


def _title(inputs: int, outputs: int, groups: int) -> str:
    if groups == 1:
        return f"{inputs} to {outputs} channels, no groups: dense"
    name = "depthwise: " if groups == inputs else ""
    return (
        f"{inputs} to {outputs} channels in {groups} groups, "
        f"{name}{inputs // groups} to {outputs // groups} each"
    )


def _color(index: int, width: int, groups: int) -> str:
    """Neighboring groups take turns."""
    return (INPUT, KERNEL)[index * groups // width % 2]


def _connections(svg: Svg, found: list[Matrix], groups: int, unit: int) -> None:
    """Rows of channels from the inputs at the bottom to the outputs, a line per kernel."""
    widths = [len(found[0][0])] + [len(matrix) for matrix in found]
    step = (_BOTTOM - _TOP) / len(found)
    side = min(18, _WIRES / max(widths))
    middle = _LEFT + 54 + _WIRES / 2

    def place(row: int, index: int) -> tuple[float, float]:
        left = middle - widths[row] * side / 2
        return left + (index + 0.5) * side, _BOTTOM - row * step

    alive = {unit}
    marked: list[set[int]] = [alive]  # from the outputs down
    for matrix in reversed(found):
        alive = {i for h in alive for i, there in enumerate(matrix[h]) if there}
        marked.insert(0, alive)
    for wanted in (False, True):  # what is marked lies on top
        for row, matrix in enumerate(found, 1):
            lines = "".join(
                "M"
                + " ".join(map(number, place(row - 1, i)))
                + "L"
                + " ".join(map(number, place(row, o)))
                for o, line in enumerate(matrix)
                for i, there in enumerate(line)
                if there and (o in marked[row]) == wanted
            )
            if lines:
                svg.path(lines, stroke=HIGHLIGHT if wanted else GRID, line=1.4 if wanted else 1)
    names = ["inputs", "outputs"] if len(found) == 1 else ["inputs", "hidden", "outputs"]
    for row, (width, name) in enumerate(zip(widths, names)):
        x, y = place(row, 0)
        colors = [
            _color(i, width, groups)
            if i in marked[row]
            else mix("#ffffff", _color(i, width, groups), 0.3)
            for i in range(width)
        ]
        last = row == len(found)
        grid(
            svg,
            x - side / 2,
            y - side / 2,
            1,
            width,
            side,
            values=[colors],
            lines=INK,
            pick="output" if last else None,
            at=(0, unit) if last else None,
            label="output channel" if last else "",
        )
        svg.text(_LEFT, y + SMALL * 0.36, name, SMALL, MUTED)
    svg.text(
        middle,
        _BOTTOM + 36,
        f"output {unit} sees {len(marked[0])} of {widths[0]}",
        SMALL,
        INK,
        "middle",
    )


def _matrices(svg: Svg, found: list[Matrix], whole: Matrix, groups: int, unit: int) -> None:
    """Each layer's weights as one matrix; for two layers also what they reach together."""
    if len(found) == 1:
        _matrix(svg, _MATRICES, _TOP + 6, 190, "weights, as one dense layer", whole, groups, unit)
    else:
        _matrix(svg, _MATRICES, _TOP + 6, 78, "layer 2", found[1], groups)
        _matrix(svg, _MATRICES, _BOTTOM - 66, 78, "layer 1", found[0], groups)
        _matrix(svg, _MATRICES + 106, _TOP + 6, 190, "reached together", whole, groups, unit)
    across = len(found) == 2 and any(whole[0]) and sum(found[1][0]) > len(found[1]) // groups
    svg.text(
        _MATRICES,
        _BOTTOM + 36,
        "row: output, column: input; " + ("green: across groups" if across else "white: zero"),
        SMALL,
        MUTED,
    )


def _matrix(
    svg: Svg,
    x: float,
    y: float,
    room: float,
    name: str,
    matrix: Matrix,
    groups: int,
    unit: int | None = None,
) -> None:
    rows, columns = len(matrix), len(matrix[0])
    inside = layer(columns, rows, groups)  # else it crosses from group to group
    colors = [
        [
            (_color(o, rows, groups) if inside[o][i] else OUTPUT) if there else "#ffffff"
            for i, there in enumerate(line)
        ]
        for o, line in enumerate(matrix)
    ]
    svg.text(x, y - 8, name, SMALL)
    cell = min(18, room / max(rows, columns))
    grid(svg, x, y, rows, columns, cell, values=colors)
    if unit is not None:
        svg.rect(x, y + unit * cell, columns * cell, cell, stroke=HIGHLIGHT, line=2.5)


def _pair(svg: Svg, y: float, name: str, unit: str, ours: int, dense: int) -> None:
    """One quantity: the bar of these layers over that of dense ones, and the ratio."""
    svg.text(_LEFT, y + 18, name, TEXT, bold=True)
    svg.text(_LEFT, y + 36, unit, SMALL, MUTED)
    left, room = _LEFT + 150, 300
    for index, (value, color) in enumerate(((ours, INK), (dense, _FAINT))):
        top = y + 2 + 21 * index
        svg.rect(left, top, room * value / dense, 17, color, radius=2)
        svg.text(left + room * value / dense + 6, top + 13, count_text(value), SMALL)
    svg.line(left, y - 2, left, y + 44, stroke=MUTED)
    svg.text(
        _RIGHT,
        y + 27,
        f"{ours / dense:.2f}x",
        LARGE,
        OUTPUT if ours < dense else INK,
        "end",
        bold=True,
    )
