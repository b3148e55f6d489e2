"""Chapter 03: a stack of small kernels beside the one large kernel that sees as far."""

from __future__ import annotations

from dataclasses import dataclass
from math import gcd

from cnnlab.arithmetic import (
    GeometryError,
    bytes_text,
    conv_macs,
    conv_params,
    count_text,
    output_size,
    stack_kernel,
)
from cnnlab.course.explorers.explorer import Explorer, Slider, Toggle
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
from cnnlab.course.pictures.svg import Svg, number

HEIGHT = 548
_LEFT, _RIGHT = 28, WIDTH - 28
_ROWS = 60, 186  # output row and input row of the two views
_CONE = 250  # width of the widest input row


@dataclass(frozen=True)
class Cost:
    """What convolutions with a ReLU after each cost, for one image and without bias.

    kept: values that autograd keeps, one per ReLU output. The image or map that goes in is not
    counted: it is the layer before that pays for it.
    """

    weights: int
    macs: int
    kept: int
    relus: int


def cost(
    widths: tuple[int, ...], kernel: int, size: int, groups: int = 1, padded: bool = True
) -> Cost:
    """Cost of a chain of k x k convolutions through these widths, on a map of `size` x `size`.

    `padded` keeps the size (an even kernel gets one more pixel on one side); otherwise each layer
    loses k - 1. Raises GeometryError when groups do not divide a width or a kernel does not fit.
    """
    weights = macs = kept = 0
    for before, after in zip(widths, widths[1:]):
        size = size if padded else output_size(size, kernel)
        weights += conv_params(before, after, kernel, groups, bias=False)
        macs += conv_macs(before, after, kernel, size, groups)
        kept += after * size * size
    return Cost(weights, macs, kept, len(widths) - 1)


def draw(
    inputs: int,
    hidden: int,
    outputs: int,
    kernel: int,
    depth: int,
    size: int,
    groups: int,
    padded: bool,
) -> str:
    """`depth` layers of kernel x kernel against one kernel with the same view: SVG text."""
    large = stack_kernel(depth, kernel)
    widths = (inputs, *(hidden,) * (depth - 1), outputs)
    _check(widths, groups, size, large, padded)
    stack = cost(widths, kernel, size, groups, padded)
    single = cost((inputs, outputs), large, size, groups, padded)
    verdict = _verdict(stack, single, large, depth)

    svg = Svg(WIDTH, HEIGHT, verdict)
    through = " to ".join(map(str, widths))
    _view(
        svg,
        _LEFT,
        f"{depth} {'layer' if depth == 1 else 'layers'} of {kernel} x {kernel}",
        f"{through} channels",
        kernel,
        depth,
        KERNEL,
    )
    _view(
        svg,
        WIDTH / 2 + 20,
        f"1 layer of {large} x {large}",
        f"{inputs} to {outputs} channels",
        large,
        1,
        INPUT,
    )
    svg.line(_LEFT, 234, _RIGHT, 234, stroke=GRID)
    svg.text(_RIGHT, 254, "stack / single", SMALL, MUTED, "end")
    rows = (
        ("Weights", "without bias", stack.weights, single.weights, count_text),
        ("MACs", f"one {size} x {size} map", stack.macs, single.macs, count_text),
        (
            "Stored activations",
            "float32, one image",
            stack.kept,
            single.kept,
            lambda values: bytes_text(4 * values),
        ),
        ("Non-linearities", "ReLU layers", stack.relus, single.relus, count_text),
    )
    for index, row in enumerate(rows):
        _pair(svg, 266 + 58 * index, *row, judged=row[0] != "Non-linearities")
    svg.line(_LEFT, 500, _RIGHT, 500, stroke=GRID)
    svg.text(_LEFT, 527, verdict, TEXT, bold=True)
    return str(svg)


def small_kernels() -> Explorer:
    """The explorer of chapter 03."""
    controls = (
        Slider("inputs", "input channels", 1, 256, 128),
        Slider("kernel", "small kernel k", 2, 5, 3),
        Slider("hidden", "hidden channels", 1, 256, 128),
        Slider("depth", "layers n", 1, 4, 2),
        Slider("outputs", "output channels", 1, 256, 128),
        Slider("size", "resolution", 5, 64, 28),
        Slider("groups", "groups", 1, 16, 1),
        Toggle("padded", "pad, so that the size stays", True),
    )
    find = (
        "Set 3 input and 64 output channels. At which hidden width does the stack stop saving "
        "weights?",
        "Reset, then go from 2 layers to 3, then from 1 group to 8. Which changes the ratios?",
        "Back to the start, then without padding: at which resolution do both need exactly the "
        "same MACs? And below it?",
    )
    return Explorer(
        "A stack of small kernels against one large kernel", controls, draw, find, "small_kernels"
    )


def _check(widths: tuple[int, ...], groups: int, size: int, large: int, padded: bool) -> None:
    odd = next((width for width in widths if width % groups), None)
    if odd is not None:
        common = gcd(*widths)
        fitting = ", ".join(str(g) for g in range(1, 17) if common % g == 0)
        raise GeometryError(
            f"{groups} groups do not divide {odd} channels. For widths "
            f"{', '.join(map(str, widths))} choose groups among {fitting}."
        )
    if not padded and size < large:
        raise GeometryError(
            f"A view of {large} x {large} does not fit a map of {size} x {size} "
            f"without padding: choose a resolution of at least {large}, or pad."
        )


def _verdict(stack: Cost, single: Cost, large: int, depth: int) -> str:
    if depth == 1:
        return f"With one layer both are the same {large} x {large} convolution."
    weights, kept = stack.weights / single.weights, stack.kept / single.kept
    macs = stack.macs / single.macs
    parts = [f"{weights:.2f}x the weights", f"{kept:.2f}x the activations"]
    if abs(macs - weights) > 0.005:
        parts.insert(1, f"{macs:.2f}x the MACs")
    parts = ", ".join(parts[:-1]) + " and " + parts[-1]
    return f"{'The stack needs' if weights < 1 else 'No bargain:'} {parts}."


def _view(
    svg: Svg, x: float, title: str, channels: str, kernel: int, depth: int, color: str
) -> None:
    """What one output pixel sees: rows of pixels, from the input at the bottom to the output."""
    svg.text(x, 28, title, LARGE, bold=True)
    svg.text(x, 46, channels, SMALL, MUTED)
    widest = stack_kernel(depth, kernel)
    cell = min(20, _CONE / widest)
    middle = x + 62 + _CONE / 2
    high, low = _ROWS
    step = (low - high) / depth
    rows = [(low - layer * step, (depth - layer) * (kernel - 1) + 1) for layer in range(depth + 1)]
    side = min(cell, 16)
    for (y, width), (above, fewer) in zip(rows, rows[1:]):
        _cone(svg, middle, y, width * cell, above + side, fewer * cell, color, 0.16)
        left = middle - width * cell / 2  # the first kernel of the row, and its output
        _cone(svg, left + kernel * cell / 2, y, kernel * cell, above + side, cell, color, 0.5)
    for layer, (y, width) in enumerate(rows):
        fill = OUTPUT if layer == depth else mix("#ffffff", color, 0.45) if layer else "#ffffff"
        for index in range(width):
            svg.rect(middle + (index - width / 2) * cell, y, cell, side, fill, INK, 0.7)
        name = "input" if layer == 0 else "output" if layer == depth else f"layer {layer}"
        svg.text(x, y + side / 2 + SMALL * 0.36, name, SMALL, MUTED)
    svg.text(middle, low + side + 18, f"sees {widest} x {widest}", SMALL, INK, "middle")


def _cone(
    svg: Svg,
    middle: float,
    bottom: float,
    wide: float,
    top: float,
    narrow: float,
    color: str,
    opacity: float,
) -> None:
    corners = (
        (middle - wide / 2, bottom),
        (middle + wide / 2, bottom),
        (middle + narrow / 2, top),
        (middle - narrow / 2, top),
    )
    svg.path(
        "M" + "L".join(f"{number(x)} {number(y)}" for x, y in corners) + "z",
        fill=color,
        opacity=opacity,
    )


def _pair(
    svg: Svg, y: float, name: str, unit: str, stack: int, single: int, text, judged: bool
) -> None:
    """One quantity: the stack's bar over the single kernel's, and their ratio."""
    svg.text(_LEFT, y + 18, name, TEXT, bold=True)
    svg.text(_LEFT, y + 36, unit, SMALL, MUTED)
    left, room = _LEFT + 170, 270
    for index, (value, color) in enumerate(((stack, KERNEL), (single, INPUT))):
        top = y + 2 + 21 * index
        length = room * value / max(stack, single)
        svg.rect(left, top, length, 17, color, radius=2)
        svg.text(left + length + 6, top + 13, text(value), SMALL)
    svg.line(left, y - 2, left, y + 44, stroke=MUTED)
    ratio = stack / single
    color = INK if not judged or stack == single else OUTPUT if stack < single else HIGHLIGHT
    svg.text(_RIGHT, y + 27, f"{ratio:.2f}x", LARGE, color, "end", bold=True)
