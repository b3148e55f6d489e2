"""Chapter 09: a dense block, what each of its layers reads, and what it costs."""

from __future__ import annotations

from dataclasses import dataclass

from cnnlab.arithmetic import conv_params, count_text
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
    SPACE,
    TEXT,
    WIDTH,
    mix,
)
from cnnlab.course.pictures.svg import Svg

HEIGHT = 640
_LEFT, _RIGHT = 28, WIDTH - 28
_STACKS = 68, 250  # top and bottom of the stacks of features
_WEIGHTS = 294, 352  # and of the bars of weights
_COLUMNS = _LEFT + 48  # x of the first column
_AFTER = mix("#ffffff", MUTED, 0.55)


@dataclass(frozen=True)
class Cost:
    """What a block costs; convolutions without bias, norms not counted.

    outputs  channels that leave it
    weights  of each layer
    kept     values per pixel that autograd keeps: what each norm reads, what each ReLU writes
    lean     the same where the concatenation and what follows it, up to the first convolution,
             are computed again (`recompute`)
    """

    outputs: int
    weights: tuple[int, ...]
    kept: int
    lean: int


def reads(inputs: int, growth: int, layers: int) -> list[int]:
    """Channels that each layer reads: the block's input and all that was made before."""
    return [inputs + i * growth for i in range(layers)]


def dense(inputs: int, growth: int, layers: int, bottleneck: bool) -> Cost:
    """A dense block; with `bottleneck` a 1x1 to 4 * growth channels before each 3x3."""
    seen, middle = reads(inputs, growth, layers), 4 * growth if bottleneck else 0
    if bottleneck:
        last = conv_params(middle, growth, 3, bias=False)
        weights = tuple(conv_params(c, middle, 1, bias=False) + last for c in seen)
    else:
        weights = tuple(conv_params(c, growth, 3, bias=False) for c in seen)
    between = 2 * middle * layers  # norm and ReLU before the 3x3
    return Cost(inputs + layers * growth, weights, 2 * sum(seen) + between, seen[-1] + between)


def residual(width: int, layers: int) -> Cost:
    """As many layers (norm, ReLU, 3x3) of one constant width, each or each pair with a shortcut."""
    weights = (conv_params(width, width, 3, bias=False),) * layers
    return Cost(width, weights, 2 * width * layers, 2 * width * layers)


def draw(
    inputs: int, growth: int, layers: int, bottleneck: bool, compression: float, chosen: int
) -> str:
    """The stacks that the layers read, the weights up to each, and a residual block: SVG text."""
    chosen = min(chosen, layers)
    block = dense(inputs, growth, layers, bottleneck)
    other = residual(block.outputs, layers)
    left = int(block.outputs * compression + 1e-9)
    if left < 1:
        raise ValueError(
            f"A compression of {compression:g} leaves nothing of {block.outputs} "
            "channels: raise it, or let the block grow."
        )
    verdict = _verdict(block, other)
    svg = Svg(WIDTH, HEIGHT, verdict)
    width = (_RIGHT - _COLUMNS) / (layers + 2)
    _stacks(svg, inputs, growth, layers, chosen, width, left)
    _weights(svg, block, chosen, width)
    _layer(svg, inputs, growth, block, bottleneck, chosen)
    _transition(svg, block, left)
    svg.line(_LEFT, 440, _RIGHT, 440, stroke=GRID)
    svg.text(
        _LEFT,
        462,
        f"This block, beside as many residual layers of 3x3 that are "
        f"{count_text(block.outputs)} channels wide throughout",
        SMALL,
        MUTED,
    )
    total = sum(block.weights), sum(other.weights)
    _bars(
        svg,
        478,
        "Weights",
        "without bias",
        ((total[0], "dense", KERNEL), (total[1], "residual", INPUT)),
    )
    _bars(
        svg,
        528,
        "Kept values",
        "for each pixel",
        (
            (block.kept, "dense", KERNEL),
            (block.lean, "dense, recomputed", OUTPUT),
            (other.kept, "residual", INPUT),
        ),
    )
    svg.text(_LEFT, 622, verdict, TEXT, bold=True)
    return str(svg)


def dense_block() -> Explorer:
    """The explorer of chapter 09."""
    controls = (
        Slider("layers", "layers L", 1, 24, 6),
        Slider("growth", "growth rate k", 4, 64, 32, 4),
        Slider("inputs", "input channels", 4, 256, 64, 4),
        Slider("compression", "compression", 0.1, 1.0, 0.5, 0.1),
        Toggle("bottleneck", "bottleneck (1x1 to 4k)", True),
    )
    find = (
        "Go from 6 layers to 12, then to 24. By what factor do the new channels grow each time, "
        "and by what factor the weights?",
        "Take the bottleneck away: the weights fall. It pays for itself only in layers that read "
        "more than 7.2k channels. Add layers until a new one needs fewer weights with it.",
        "Dense and residual keep about as much at the start, at a tenth of the weights. Which "
        "slider makes the dense block the lighter one in memory, without recomputing?",
    )
    return Explorer(
        "What a dense block reads, and what that costs",
        controls,
        draw,
        find,
        "dense_block",
        hidden={"chosen": 4},
        pick=_pick,
    )


def _pick(state: dict, key: str) -> dict:
    return {"chosen": int(key.removeprefix("layer,"))}


def _verdict(block: Cost, other: Cost) -> str:
    weights, kept = sum(other.weights) / sum(block.weights), block.kept / other.kept
    return (
        f"Dense: 1/{weights:.1f} of the weights, {kept:.2f}x the kept values, "
        f"{block.lean / other.kept:.2f}x if recomputed."
    )


def _shades(layers: int) -> list[str]:
    """One color for the input and one for what each layer makes, from light to dark."""
    ramp = [
        mix(mix("#ffffff", KERNEL, 0.45), HIGHLIGHT, i / max(layers - 1, 1)) for i in range(layers)
    ]
    return [INPUT, *ramp]


def _stacks(
    svg: Svg, inputs: int, growth: int, layers: int, chosen: int, width: float, left: int
) -> None:
    top, bottom = _STACKS
    svg.text(_LEFT, 28, "What each layer reads, and what it adds", LARGE, bold=True)
    svg.text(_LEFT, 48, "channels; click a layer", SMALL, MUTED)
    earlier = mix(KERNEL, HIGHLIGHT, 0.4)
    for x, color, what in (
        (246, INPUT, "input"),
        (308, earlier, "earlier layers"),
        (432, OUTPUT, "new: k channels"),
        (566, _AFTER, "after transition"),
    ):
        svg.rect(x, 38, 12, 12, color)
        svg.text(x + 16, 48, what, SMALL)
    scale = (bottom - top) / (inputs + layers * growth)
    shades, seen = _shades(layers), reads(inputs, growth, layers + 1)
    for ticks in (inputs, inputs + layers * growth):
        y = bottom - ticks * scale
        if ticks > inputs or top + 14 < y:  # two labels that would meet: the upper one stays
            svg.line(_COLUMNS - 4, y, _RIGHT, y, stroke=GRID)
            svg.text(_COLUMNS - SPACE, y + 4, count_text(ticks), SMALL, MUTED, "end")
    for layer in range(1, layers + 2):  # the last one is what the block gives
        x, last = _COLUMNS + (layer - 1) * width + width * 0.1, layer == layers + 1
        with svg.group(opacity=1 if last or layer == chosen else 0.42):
            y = bottom
            for source in range(layer):
                height = (growth if source else inputs) * scale
                y -= height
                svg.rect(x, y, width * 0.8, height, shades[source], "#ffffff", 0.6)
            if not last:
                svg.rect(x, y - growth * scale, width * 0.8, growth * scale, OUTPUT, "#ffffff", 0.6)
        if not last and layer == chosen:
            height = seen[layer - 1] * scale
            svg.rect(x - 1.5, bottom - height, width * 0.8 + 3, height, stroke=INK, line=2)
        if last or layers <= 12 or layer % 2:
            svg.text(
                x + width * 0.4,
                bottom + 16,
                "out" if last else layer,
                SMALL,
                INK,
                "middle",
                bold=layer == chosen,
            )
    x = _COLUMNS + (layers + 1) * width + width * 0.1
    svg.rect(x, bottom - left * scale, width * 0.8, left * scale, _AFTER)
    if layers <= 12:
        svg.text(x + width * 0.4, bottom + 16, count_text(left), SMALL, INK, "middle")
    svg.line(_COLUMNS - 4, bottom, _RIGHT, bottom, stroke=MUTED)
    svg.text(_LEFT, bottom + 16, "layer", SMALL, MUTED)
    for layer in range(1, layers + 1):  # above all, so that a click finds them
        svg.rect(
            _COLUMNS + (layer - 1) * width,
            top,
            width,
            bottom - top + 22,
            fill="#ffffff00",
            pick=f"layer,{layer}",
            label=f"layer {layer} reads {count_text(seen[layer - 1])} channels",
        )


def _weights(svg: Svg, block: Cost, chosen: int, width: float) -> None:
    """Bars under the stacks: all weights up to each layer."""
    top, bottom = _WEIGHTS
    total, so_far = sum(block.weights), 0
    svg.text(
        _LEFT,
        top - 8,
        f"weights up to each layer, without bias: {count_text(total)} in all",
        SMALL,
        MUTED,
    )
    for layer, weights in enumerate(block.weights, 1):
        x, before, so_far = _COLUMNS + (layer - 1) * width + width * 0.1, so_far, so_far + weights
        for value, base, fill in (
            (before, 0, mix("#ffffff", MUTED, 0.4)),
            (weights, before, OUTPUT if layer == chosen else MUTED),
        ):
            high = value / total * (bottom - top)
            svg.rect(x, bottom - base / total * (bottom - top) - high, width * 0.8, high, fill)
    svg.line(_COLUMNS - 4, bottom, _RIGHT, bottom, stroke=MUTED)


def _layer(svg: Svg, inputs: int, growth: int, block: Cost, bottleneck: bool, chosen: int) -> None:
    """In words and numbers: what the chosen layer reads, and its weights."""
    seen = inputs + (chosen - 1) * growth
    earlier = (
        ""
        if chosen == 1
        else (
            f" + {growth} of layer 1"
            if chosen == 2
            else f" + {chosen - 1} x {growth} of layers 1 to {chosen - 1}"
        )
    )
    svg.text(
        _LEFT,
        378,
        f"Layer {chosen} reads {count_text(seen)} channels: {inputs} of the input{earlier}.",
        TEXT,
        bold=True,
    )
    parts = (
        f"1x1: {count_text(seen)} x {4 * growth}, 3x3: 9 x {4 * growth} x {growth}"
        if bottleneck
        else f"3x3: 9 x {count_text(seen)} x {growth}"
    )
    svg.text(
        _LEFT,
        400,
        f"It has {count_text(block.weights[chosen - 1])} weights ({parts}) and "
        f"adds {growth} channels.",
        TEXT,
    )


def _transition(svg: Svg, block: Cost, left: int) -> None:
    svg.text(
        _LEFT,
        424,
        f"The block gives {count_text(block.outputs)} channels; a transition makes "
        f"{count_text(left)} of them, with {count_text(block.outputs * left)} weights.",
        TEXT,
    )


def _bars(svg: Svg, y: float, name: str, unit: str, rows: tuple) -> None:
    svg.text(_LEFT, y + 14, name, TEXT, bold=True)
    svg.text(_LEFT, y + 31, unit, SMALL, MUTED)
    left, room, top = _LEFT + 110, 300, max(value for value, _, _ in rows)
    for index, (value, who, color) in enumerate(rows):
        at = y + 1 + 20 * index
        svg.rect(left, at, room * value / top, 16, color, radius=2)
        svg.text(left + room * value / top + 6, at + 12, f"{count_text(value)}  {who}", SMALL)
    svg.line(left, y - 3, left, y + 20 * len(rows), stroke=MUTED)
