"""Chapters 07 and 08: how a signal and its gradient get through a deep network, layer by layer.

Every picture shows a real forward and a real backward pass of eight digits through a network with
random weights. They were made once, in float64, where a gradient of 1e-90 is still a number, and
are looked up here: the picture is the same on every machine, and needs no PyTorch.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from math import inf, log10
from typing import NamedTuple

from cnnlab.course.explorers.explorer import Choice, Explorer, Slider, Toggle
from cnnlab.course.explorers.stored import read, unpack
from cnnlab.course.look import GRID, HIGHLIGHT, INK, INPUT, KERNEL, LARGE, MUTED, SMALL, TEXT, WIDTH
from cnnlab.course.pictures.svg import Svg, number

DEPTHS = range(4, 58, 2)
ACTIVATIONS = ("sigmoid", "tanh", "ReLU", "none")
# Weights are drawn from a normal distribution with the variance 2 / (fan-in + fan-out), 2 / fan-in,
# or with the standard deviation that is named.
INITIALIZATIONS = ("Xavier", "He", "small, 0.01", "large, 0.3")
PER_DECADE = 2000  # stored are logarithms in whole steps: numbers are right to 0.06%
NOTHING = -(10**6)  # stored for zero

HEIGHT = 566
_LEFT, _RIGHT = 76, WIDTH - 178  # of both panels; the words stand at the right
_GRADIENT, _SIGNAL = (78, 290), (350, 500)  # top and bottom of the panels
_DECADES = (-12, 6), (-9, 6)
_SIDE = 8  # of a mark


class Flow(NamedTuple):
    """One pass, a value per convolution, the first one first.

    gradients  norm of the loss's gradient by the weights, divided by the norm of the weights
    sizes      root mean square of what comes out, before the activation
    spreads    standard deviation between the images of what comes out, root mean square over units
    loss       cross-entropy
    """

    gradients: tuple[float, ...]
    sizes: tuple[float, ...]
    spreads: tuple[float, ...]
    loss: float

    @property
    def ratio(self) -> float:
        """First convolution's gradient, as a multiple of the last one's."""
        return self.gradients[0] / self.gradients[-1] if self.gradients[-1] else inf


def flow(
    depth: int,
    activation: str = "ReLU",
    init: str = "He",
    norm: bool = False,
    skip: bool = False,
) -> Flow:
    """What came of eight digits sent forward and the gradient of their loss sent back.

    depth - 1 convolutions 3x3 of 16 channels without bias, then the mean of each map and a linear
    layer. Maps stay 8 x 8; left meets right and top meets bottom, since zeros around the map would
    take a share of the signal in every layer. `norm`: batch norm after each convolution. `skip`:
    after the first one, every two convolutions are bridged, as in ResNet. Measured once for every
    state, by `measure_flow` in tests/tools/stored.py. Raises ValueError for a depth that does not
    come out even, or a name that does not exist.
    """
    _check(depth, activation, init)
    return _flows()[depth, activation, init, bool(norm), bool(skip)]


def states() -> list[tuple[int, str, str, bool, bool]]:
    """Every network there is to choose, in the order in which they are stored."""
    both = (False, True)
    return [
        (d, a, i, n, s)
        for a in ACTIVATIONS
        for i in INITIALIZATIONS
        for n in both
        for s in both
        for d in DEPTHS
    ]


@cache
def _flows() -> dict[tuple[int, str, str, bool, bool], Flow]:
    numbers = [0.0 if n == NOTHING else 10.0 ** (n / PER_DECADE) for n in unpack(read("flow"))]
    found, place = {}, 0
    for state in states():
        rows = []
        for _ in range(3):
            rows.append(tuple(numbers[place : place + state[0] - 1]))
            place += state[0] - 1
        found[state] = Flow(*rows, numbers[place])
        place += 1
    return found


def draw(depth: int, activation: str, init: str, norm: bool, skip: bool) -> str:
    """The gradient of each layer above, the signal of each layer below: SVG text."""
    passed = flow(depth, activation, init, norm, skip)
    last = depth - 1
    svg = Svg(WIDTH, HEIGHT, f"{_built(depth, activation, init, norm, skip)}. {verdict(passed)}")
    svg.text(28, 30, _built(depth, activation, init, norm, skip), LARGE, bold=True)
    svg.text(28, 51, verdict(passed), TEXT)

    top, bottom = _GRADIENT
    _axes(svg, _GRADIENT, _DECADES[0], last)
    _points(svg, _GRADIENT, _DECADES[0], passed.gradients, INPUT)
    svg.text(_LEFT + 8, top + 17, "gradient / weight", SMALL, INPUT, bold=True)
    x = _RIGHT + 16
    svg.text(x, top + 16, "Gradient", TEXT, bold=True)
    y = svg.paragraph(
        x, top + 36, "norm of each layer's, as a share of its weights", 150, SMALL, MUTED
    )
    svg.text(x, y + 16, f"layer 1: {short(passed.gradients[0])}", SMALL)
    svg.text(x, y + 34, f"layer {last}: {short(passed.gradients[-1])}", SMALL)
    svg.text(x, y + 62, "first / last", SMALL, MUTED)
    svg.text(x, y + 84, short(passed.ratio), 20, INK, bold=True)
    svg.arrow(_RIGHT - 6, bottom + 14, _LEFT + 6, bottom + 14, INPUT)
    svg.text((_LEFT + _RIGHT) / 2, bottom + 31, "the gradient goes back", SMALL, INPUT, "middle")

    top, bottom = _SIGNAL
    _axes(svg, _SIGNAL, _DECADES[1], last)
    _points(svg, _SIGNAL, _DECADES[1], passed.spreads, INK, hollow=True)
    _points(
        svg, _SIGNAL, _DECADES[1], passed.sizes, KERNEL
    )  # a dot inside its square, not under it
    svg.text(x, top + 16, "Signal", TEXT, bold=True)
    svg.text(x, top + 34, "before the activation", SMALL, MUTED)
    for line, (color, text) in enumerate(
        ((KERNEL, "size (root mean square)"), (INK, "spread between images"))
    ):
        _mark(svg, x + 4, top + 56 + 22 * line, color, hollow=color == INK)
        svg.text(x + 13, top + 60 + 22 * line, text, 11)
    svg.arrow(_LEFT + 6, bottom + 36, _RIGHT - 6, bottom + 36, KERNEL)
    svg.text(
        (_LEFT + _RIGHT) / 2,
        bottom + 53,
        "the signal goes forward, layer by layer",
        SMALL,
        INK,
        "middle",
    )
    return str(svg)


def gradient_flow(
    depth: int = 20,
    activation: str = "sigmoid",
    init: str = "Xavier",
    norm: bool = False,
    skip: bool = False,
    find: Sequence[str] | None = None,
) -> Explorer:
    """The explorer of chapters 07 and 08, beginning with the given network.

    `find`: what a reader should find out, in place of chapter 07's questions.
    """
    controls = (
        Slider("depth", "layers", DEPTHS[0], DEPTHS[-1], depth, 2),
        Choice("activation", "activation", list(ACTIVATIONS), activation),
        Choice("init", "initialization", list(INITIALIZATIONS), init),
        Toggle("norm", "batch norm after each convolution", norm),
        Toggle("skip", "a skip around every two convolutions", skip),
    )
    return Explorer(
        "How far does the gradient get?",
        controls,
        draw,
        find
        or (
            "Sigmoid, Xavier: at how many layers does the first one get less than a millionth of "
            "the last one's gradient?",
            "ReLU at 56 layers, without batch norm: first over last looks healthy with every "
            "initialization. With which are all the gradients gone?",
            "Sigmoid again, with batch norm: what does the norm repair, and where in the picture "
            "do you see it first?",
        ),
        "gradient_flow",
    )


def verdict(passed: Flow) -> str:
    """In one sentence, what becomes of the gradient."""
    low, high, ratio = min(passed.gradients), max(passed.gradients), passed.ratio
    if high < 1e-4:
        return "Vanished: no layer gets a gradient worth mentioning."
    if low > 1e3:
        return "Exploded: every layer's gradient dwarfs its weights."
    if ratio < 1e-3:
        return "Vanishing: hardly anything arrives at the first layers."
    if ratio > 1e3:
        return "Exploding: the gradient grows on its way to the first layers."
    return "Every layer gets a gradient of a similar size."


def short(value: float) -> str:
    """Two digits: 0.31, 8.6, 12, 2,300, 3.6e-14."""
    rounded = float(f"{value:.2g}")
    if 100 <= rounded < 1e5:
        return f"{rounded:,.0f}"
    return f"{rounded:g}" if 1e-3 <= rounded < 100 else f"{value:.1e}"


def _built(depth: int, activation: str, init: str, norm: bool, skip: bool) -> str:
    name = "no activation" if activation == "none" else activation
    weights = init if init[0].isupper() else f"{init.split(',')[0]} weights"
    parts = [f"{depth} layers", name, weights]
    return ", ".join(parts + ["batch norm"] * norm + ["skips"] * skip)


def _check(depth: int, activation: str, init: str) -> None:
    for what, name, known in (
        ("activation", activation, ACTIVATIONS),
        ("initialization", init, INITIALIZATIONS),
    ):
        if name not in known:
            raise ValueError(f"no {what} {name!r}; choose one of {', '.join(known)}.")
    if depth not in DEPTHS:
        raise ValueError(
            f"{depth} layers do not come out even: one convolution, then pairs, then "
            f"a linear layer. Choose an even number from {DEPTHS[0]} to {DEPTHS[-1]}."
        )


# -- drawing


def _axes(svg: Svg, panel: tuple[int, int], decades: tuple[int, int], last: int) -> None:
    top, bottom = panel
    svg.rect(_LEFT, top, _RIGHT - _LEFT, bottom - top, "#ffffff", GRID)
    for power in range(decades[0], decades[1] + 1, 3):
        y = _height(10.0**power, panel, decades)
        svg.line(_LEFT, y, _RIGHT, y, INK if power == 0 else GRID, 0.8)
        text = "1" if power == 0 else f"1e{power}"
        svg.text(_LEFT - 8, y + SMALL * 0.36, text, SMALL, MUTED, "end")
    if panel is _SIGNAL:
        for layer in sorted({1, last, *range(10, last - 2, 10)}):
            svg.text(_across(layer, last), bottom + 17, layer, SMALL, MUTED, "middle")
        svg.text(_LEFT - 8, bottom + 17, "layer", SMALL, MUTED, "end")


def _points(
    svg: Svg,
    panel: tuple[int, int],
    decades: tuple[int, int],
    values: Sequence[float],
    color: str,
    hollow: bool = False,
) -> None:
    """A mark per layer; a triangle at the edge where the value lies outside the panel."""
    last, (low, high) = len(values), decades
    places = [
        (_across(layer, last), value, _height(value, panel, decades))
        for layer, value in enumerate(values, 1)
    ]
    svg.path(
        "M" + "L".join(f"{number(x)} {number(y)}" for x, _, y in places),
        stroke=color,
        line=0.8,
        opacity=0.6,
    )
    side = min(_SIDE, 0.7 * (places[1][0] - places[0][0]))  # neighbors do not touch
    for x, value, y in places:
        if 10.0**low <= value <= 10.0**high:
            _mark(svg, x, y, color, hollow, side)
        else:
            tip = 5 if value < 10.0**low else -5
            svg.path(f"M{number(x - 3)} {number(y - tip)}h6l-3 {tip}z", fill=HIGHLIGHT)


def _mark(svg: Svg, x: float, y: float, color: str, hollow: bool, side: float = _SIDE) -> None:
    if hollow:
        svg.rect(x - side / 2, y - side / 2, side, side, "none", color, 1)
    else:
        svg.circle(x, y, 0.325 * side, color)


def _across(layer: int, last: int) -> float:
    return round(_LEFT + 12 + (_RIGHT - _LEFT - 24) * (layer - 1) / (last - 1), 1)


def _height(value: float, panel: tuple[int, int], decades: tuple[int, int]) -> float:
    (top, bottom), (low, high) = panel, decades
    power = min(max(log10(value), low), high) if value > 0 else low
    return round(bottom - (bottom - top) * (power - low) / (high - low), 1)
