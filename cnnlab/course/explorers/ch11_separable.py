"""Chapter 11: looking around and mixing channels, in one convolution or each alone."""

from __future__ import annotations

from dataclasses import dataclass

from cnnlab.arithmetic import GeometryError, conv_params, count_text
from cnnlab.course.explorers.explorer import Choice, Explorer, Slider
from cnnlab.course.look import (
    GRID,
    INK,
    INPUT,
    KERNEL,
    LARGE,
    MUTED,
    SMALL,
    TEXT,
    WIDTH,
    mix,
    text_on,
)
from cnnlab.course.pictures.svg import Svg

HEIGHT = 580
GROUPS = (1, 2, 4, 8, 16, 32)
_LEFT, _RIGHT = 28, WIDTH - 28
_BARS, _ROOM = 232, 314  # left end of the bars, width of the longest
_SQUARE = 104  # side of a drawn weight matrix
_BOTH = mix(KERNEL, INPUT, 0.5)  # one kernel that does both jobs
_ALL = "all"


@dataclass(frozen=True)
class Design:
    """A way from c channels to c channels; weights without bias.

    parts  (what it does, weights) of each convolution: "look" around, "mix" channels, or "both"
    kept   values that its convolutions write, for each pixel; a backward pass needs them
    """

    name: str
    parts: tuple[tuple[str, int], ...]
    kept: int

    @property
    def weights(self) -> int:
        """Of all its convolutions; as many MACs for each pixel."""
        return sum(weights for _, weights in self.parts)


def designs(kernel: int, channels: int, groups: int, expansion: int) -> tuple[Design, ...]:
    """The four ways that the explorer compares.

    Raises GeometryError where the groups do not divide the channels.
    """

    def conv(inputs: int, outputs: int, side: int, parts: int = 1) -> int:
        return conv_params(inputs, outputs, side, parts, bias=False)

    c, wide = channels, channels * expansion
    look = conv(c, c, kernel, groups)
    alone = "look" if groups == c else "both"
    k = f"{kernel}x{kernel}"
    return (
        Design(f"dense {k}", (("both", conv(c, c, kernel)),), c),
        Design(f"{k}, {_said(groups, c)}", ((alone, look),), c),
        Design("the same, then 1x1", ((alone, look), ("mix", conv(c, c, 1))), 2 * c),
        Design(
            f"widen {expansion}x, {k}, narrow",
            (
                ("mix", conv(c, wide, 1)),
                ("look", conv(wide, wide, kernel, wide)),
                ("mix", conv(wide, c, 1)),
            ),
            2 * wide + c,
        ),
    )


def draw(kernel: int, channels: int, groups: int | str, expansion: int, size: int) -> str:
    """Who reads whom, and the bill of four designs: SVG text."""
    parts = channels if groups == _ALL else groups
    if channels % parts:
        fitting = ", ".join(str(g) for g in GROUPS if channels % g == 0)
        raise GeometryError(
            f"{parts} groups do not divide {channels} channels: each group needs as many as every "
            f"other. Choose among {fitting}, or a group for each channel."
        )
    rows = designs(kernel, channels, parts, expansion)
    verdict = _verdict(rows)
    svg = Svg(WIDTH, HEIGHT, verdict)
    svg.text(_LEFT, 30, "Which channel reads which", LARGE, bold=True)
    svg.text(_LEFT, 50, "a row for each output, a column for each input", SMALL, MUTED)
    for x, blocks, color, name in (
        (_LEFT, 1, _BOTH, f"dense {kernel}x{kernel}"),
        (_LEFT + 230, parts, KERNEL if parts == channels else _BOTH, rows[1].name),
        (_LEFT + 460, 1, INPUT, "1x1"),
    ):
        _matrix(svg, x, 66, blocks, color, channels)
        svg.text(x, 66 + _SQUARE + 20, name, TEXT)
        taps = kernel**2 if name != "1x1" else 1
        cell = f"{taps} weights in each cell" if taps > 1 else "1 weight in each cell"
        svg.text(x, 66 + _SQUARE + 38, cell, SMALL, MUTED)
    svg.line(_LEFT, 226, _RIGHT, 226, stroke=GRID)
    svg.text(_LEFT, 250, f"MACs, {channels} to {channels} channels, {size} x {size} pixels", TEXT)
    for x, color, what in (
        (_LEFT, _BOTH, "both at once"),
        (_LEFT + 120, KERNEL, "looks around"),
        (_LEFT + 240, INPUT, "mixes channels"),
    ):
        svg.rect(x, 262, 12, 12, color)
        svg.text(x + 17, 272, what, SMALL)
    svg.text(_RIGHT, 272, "values written a pixel", SMALL, MUTED, "end")
    longest = max(row.weights for row in rows)
    for index, row in enumerate(rows):
        _bar(svg, 286 + 56 * index, row, rows[0], longest, size)
    svg.line(_BARS, 282, _BARS, 500, stroke=MUTED)
    svg.line(_LEFT, 516, _RIGHT, 516, stroke=GRID)
    svg.paragraph(_LEFT, 542, verdict, _RIGHT - _LEFT, TEXT)
    return str(svg)


def separable() -> Explorer:
    """The explorer of chapter 11. It begins with a depthwise 3x3 on 64 channels."""
    controls = (
        Slider("kernel", "kernel k", 1, 11, 3, 2),
        Slider("channels", "channels c", 8, 256, 64, 8),
        Choice(
            "groups",
            "groups of the k x k",
            [*((str(g), g) for g in GROUPS), ("depthwise", _ALL)],
            _ALL,
        ),
        Slider("expansion", "widened by t", 1, 8, 6),
        Slider("size", "resolution", 4, 112, 28, 4),
    )
    find = (
        "Depthwise (a group for each channel): what share of the pair's MACs does the 1x1 take? "
        "Make the kernel 7: how much dearer is the dense one, how much the pair?",
        "Lower the groups step by step. At what number does mixing become the smaller part?",
        "Widened 6 times, the last design is dearer than the dense 3x3. Which t is the largest "
        "that is not? And at 16 channels, where MobileNet v2 begins?",
    )
    return Explorer("Look around, mix channels: one bill or two", controls, draw, find, "separable")


def _said(groups: int, channels: int) -> str:
    if groups == channels:
        return "depthwise"
    return f"{groups} group{'s' if groups > 1 else ''}"


def _verdict(rows: tuple[Design, ...]) -> str:
    dense, _, pair, inverted = rows
    mixing = dict(pair.parts)["mix"]
    return (
        f"Dense / pair: {dense.weights / pair.weights:.1f}. Of the pair's MACs the 1x1 takes "
        f"{mixing / pair.weights:.0%}. The widened one costs "
        f"{inverted.weights / dense.weights:.2f} times the dense one."
    )


def _matrix(svg: Svg, x: float, y: float, blocks: int, color: str, channels: int) -> None:
    """Outputs against inputs; a block is a group. More than 64 blocks are drawn as 64."""
    svg.rect(x, y, _SQUARE, _SQUARE, "#ffffff", GRID)
    shown = min(blocks, 64)
    side = _SQUARE / shown
    for index in range(shown):
        svg.rect(x + index * side, y + index * side, max(side, 1.5), max(side, 1.5), color)
    filled = channels * channels // blocks
    svg.text(x + _SQUARE + 10, y + 16, f"{count_text(filled)} of", SMALL, MUTED)
    svg.text(x + _SQUARE + 10, y + 33, f"{count_text(channels**2)} pairs", SMALL, MUTED)


def _bar(svg: Svg, y: float, row: Design, dense: Design, longest: int, size: int) -> None:
    """One design: its MACs in parts, how it compares with the dense one, what it keeps."""
    svg.text(_LEFT, y + 16, row.name, TEXT, bold=True)
    times = dense.weights / row.weights
    compared = "" if row is dense else f"dense / this: {round(times, 1):g}"
    svg.text(_LEFT, y + 34, compared, SMALL, MUTED)
    x, colors = _BARS, {"look": KERNEL, "mix": INPUT, "both": _BOTH}
    for job, weights in row.parts:
        wide = _ROOM * weights / longest
        svg.rect(x, y, max(wide, 1), 20, colors[job], "#ffffff", 0.5)
        share = f"{weights / row.weights:.0%}"
        if len(row.parts) > 1 and wide > 34:
            svg.text(x + wide / 2, y + 14, share, SMALL, text_on(colors[job]), "middle")
        x += wide
    total = f"{count_text(row.weights * size**2)} MACs, {count_text(row.weights)} weights"
    svg.text(_BARS + 4, y + 36, total, SMALL)
    svg.text(_RIGHT, y + 15, count_text(row.kept), TEXT, INK, "end")
