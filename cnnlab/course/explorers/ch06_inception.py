"""Chapter 06: the naive Inception module beside the reduced one, and what a stack of them costs."""

from __future__ import annotations

from dataclasses import dataclass

from cnnlab.arithmetic import conv_params, count_text
from cnnlab.course.explorers.explorer import Explorer, Slider
from cnnlab.course.look import (
    GRID,
    HIGHLIGHT,
    INK,
    LARGE,
    MUTED,
    OUTPUT,
    SERIES,
    SMALL,
    TEXT,
    WIDTH,
    mix,
    text_on,
)
from cnnlab.course.pictures.svg import Svg, number

HEIGHT = 570
_LEFT, _RIGHT = 28, WIDTH - 28
_PANEL = 316  # width of one module, and of its widest bar
_BRANCHES = SERIES[:4]  # 1x1, 3x3, 5x5, pooling


@dataclass(frozen=True)
class Step:
    """One layer of a branch; a pooling has kernel 3 and no weights."""

    name: str
    before: int
    after: int
    kernel: int = 0  # 0: a pooling

    @property
    def weights(self) -> int:
        return conv_params(self.before, self.after, self.kernel, bias=False) if self.kernel else 0


@dataclass(frozen=True)
class Module:
    """Four branches side by side, each a chain of layers."""

    inputs: int
    branches: tuple[tuple[Step, ...], ...]

    @property
    def channels(self) -> tuple[int, ...]:
        """What each branch adds to the output."""
        return tuple(branch[-1].after for branch in self.branches)

    @property
    def weights(self) -> int:
        """Without bias."""
        return sum(step.weights for branch in self.branches for step in branch)


def naive(inputs: int, n1x1: int, n3x3: int, n5x5: int) -> Module:
    """Figure 2(a) of the GoogLeNet paper: every branch looks at all the channels there are."""
    return Module(
        inputs,
        (
            (_conv(inputs, n1x1, 1),),
            (_conv(inputs, n3x3, 3),),
            (_conv(inputs, n5x5, 5),),
            (_pool(inputs),),
        ),
    )


def reduced(
    inputs: int, n1x1: int, n3x3_reduce: int, n3x3: int, n5x5_reduce: int, n5x5: int, pool_proj: int
) -> Module:
    """Figure 2(b): a 1x1 before the 3x3 and the 5x5, and after the pooling."""
    return Module(
        inputs,
        (
            (_conv(inputs, n1x1, 1),),
            (_conv(inputs, n3x3_reduce, 1), _conv(n3x3_reduce, n3x3, 3)),
            (_conv(inputs, n5x5_reduce, 1), _conv(n5x5_reduce, n5x5, 5)),
            (_pool(inputs), _conv(inputs, pool_proj, 1)),
        ),
    )


def draw(
    inputs: int,
    n1x1: int,
    n3x3_reduce: int,
    n3x3: int,
    n5x5_reduce: int,
    n5x5: int,
    pool_proj: int,
    size: int,
    modules: int,
) -> str:
    """The last of `modules` naive modules beside the last of as many reduced ones: SVG text."""
    wide, narrow = [naive(inputs, n1x1, n3x3, n5x5)], []
    row = n1x1, n3x3_reduce, n3x3, n5x5_reduce, n5x5, pool_proj
    narrow.append(reduced(inputs, *row))
    for _ in range(modules - 1):
        wide.append(naive(sum(wide[-1].channels), n1x1, n3x3, n5x5))
        narrow.append(reduced(sum(narrow[-1].channels), *row))
    weights = [sum(module.weights for module in stack) for stack in (wide, narrow)]
    verdict = _verdict(wide[-1], narrow[-1], weights)

    svg = Svg(WIDTH, HEIGHT, verdict)
    last = "" if modules == 1 else f", number {modules} of {modules}"
    widest = max(max(sum(module.channels), module.inputs) for module in (wide[-1], narrow[-1]))
    _module(svg, _LEFT, f"Naive module{last}", wide[-1], size, widest)
    _module(svg, _RIGHT - _PANEL, f"Reduced module{last}", narrow[-1], size, widest)
    svg.line(_LEFT, 340, _RIGHT, 340, stroke=GRID)
    svg.text(_RIGHT, 360, "reduced / naive", SMALL, MUTED, "end")
    stack = "one module" if modules == 1 else f"all {modules} modules"
    for index, (name, unit, pair) in enumerate(
        (
            (
                "Channels out",
                "of the last module",
                [sum(m.channels) for m in (wide[-1], narrow[-1])],
            ),
            ("Weights", f"{stack}, no bias", weights),
            ("MACs", f"{stack}, {size} x {size}", [w * size**2 for w in weights]),
        )
    ):
        _pair(svg, 368 + 54 * index, name, unit, *pair)
    svg.line(_LEFT, 530, _RIGHT, 530, stroke=GRID)
    svg.text(_LEFT, 553, verdict, TEXT, bold=True)
    return str(svg)


def inception() -> Explorer:
    """The explorer of chapter 06. It starts with module 3a of GoogLeNet."""
    controls = (
        Slider("inputs", "input channels", 1, 1024, 192),
        Slider("modules", "stacked modules", 1, 9, 1),
        Slider("n1x1", "1x1", 1, 384, 64),
        Slider("pool_proj", "1x1 after pooling", 1, 256, 32),
        Slider("n3x3", "3x3", 1, 384, 128),
        Slider("n3x3_reduce", "1x1 before 3x3", 1, 256, 96),
        Slider("n5x5", "5x5", 1, 256, 32),
        Slider("n5x5_reduce", "1x1 before 5x5", 1, 256, 16),
        Slider("size", "map size", 1, 56, 28),
    )
    find = (
        "Stack more modules. How many channels does each naive module add, and why does the "
        "reduced stack stay as wide as it is?",
        "Back to one module. How wide may the 1x1 before the 3x3 get until that branch costs as "
        "much as the naive one?",
        "Give both reductions 192 channels, as many as come in. Who is cheaper now?",
    )
    return Explorer(
        "A budget of channels: the naive module beside the reduced one",
        controls,
        draw,
        find,
        "inception",
    )


def _conv(before: int, after: int, kernel: int) -> Step:
    return Step(f"{kernel}x{kernel}", before, after, kernel)


def _pool(inputs: int) -> Step:
    return Step("pool", inputs, inputs)


def _verdict(wide: Module, narrow: Module, weights: list[int]) -> str:
    share = weights[1] / weights[0]
    start = "The reduced one has" if share < 1 else "No bargain: it has"
    return (
        f"{start} {share:.2f}x the weights, and {_channels(sum(narrow.channels))} "
        f"instead of {count_text(sum(wide.channels))}."
    )


def _channels(count: int) -> str:
    return f"{count_text(count)} channel{'s' * (count != 1)}"


def _module(svg: Svg, x: float, title: str, module: Module, size: int, widest: int) -> None:
    """Input bar, four branches, output bar; the bars are as long as there are channels."""
    svg.text(x, 28, title, LARGE, bold=True)
    svg.text(x, 50, f"in: {_channels(module.inputs)} of {size} x {size}", SMALL, MUTED)
    svg.rect(x, 58, _PANEL * module.inputs / widest, 16, mix("#ffffff", INK, 0.25), INK, 0.8)
    pitch, width = _PANEL / 4, 70
    middles = [x + pitch * (index + 0.5) for index in range(4)]
    svg.path(f"M{x + 2} 74V88H{middles[3]}", stroke=MUTED, line=1.5)
    for middle, branch, color in zip(middles, module.branches, _BRANCHES):
        y = 88
        for row, step in enumerate((*(None,) * (2 - len(branch)), *branch)):
            top = 104 + 62 * row
            if step is None:
                continue
            svg.arrow(middle, y, middle, top, MUTED)
            y = top + 44
            _box(svg, middle - width / 2, top, width, step, color)
        total = sum(step.weights for step in branch)
        svg.text(middle, 244, count_text(total) if total else "none", SMALL, INK, "middle")
    svg.text(x, 228, "weights of each branch:", SMALL, MUTED)
    _output(svg, x, [middle - width / 2 for middle in middles], width, module, widest)


def _box(svg: Svg, x: float, y: float, width: float, step: Step, color: str) -> None:
    fill = mix("#ffffff", color, 0.35) if step.name in ("pool", "1x1") else color
    svg.rect(x, y, width, 44, fill, color, 1.5, radius=5)
    ink = text_on(fill)
    svg.text(
        x + width / 2,
        y + 19,
        "3x3 pool" if step.name == "pool" else step.name,
        SMALL,
        ink,
        "middle",
        bold=True,
    )
    svg.text(x + width / 2, y + 36, count_text(step.after), SMALL, ink, "middle")


def _output(
    svg: Svg, x: float, columns: list[float], width: float, module: Module, widest: int
) -> None:
    """The bar of all output channels, and from each branch a band to its part of it."""
    left = x
    for channels, column, color in zip(module.channels, columns, _BRANCHES):
        right = left + _PANEL * channels / widest
        corners = (column, 250), (column + width, 250), (right, 282), (left, 282)
        svg.path(
            "M" + "L".join(f"{number(a)} {number(b)}" for a, b in corners) + "z",
            fill=color,
            opacity=0.3,
        )
        svg.rect(left, 282, right - left, 20, color, INK, 0.8)
        left = right
    parts = " + ".join(map(count_text, module.channels))
    svg.text(x, 321, f"out: {parts} = {_channels(sum(module.channels))}", SMALL, INK)


def _pair(svg: Svg, y: float, name: str, unit: str, wide: int, narrow: int) -> None:
    """One quantity: the naive bar over the reduced one, and their ratio."""
    svg.text(_LEFT, y + 16, name, TEXT, bold=True)
    svg.text(_LEFT, y + 33, unit, SMALL, MUTED)
    left, room, words = _LEFT + 172, 250, ("naive", "reduced")
    for index, (value, color) in enumerate(((wide, MUTED), (narrow, INK))):
        top = y + 20 * index
        length = room * value / max(wide, narrow)
        svg.rect(left, top, length, 16, color, radius=2)
        svg.text(left + length + 6, top + 13, f"{count_text(value)} {words[index]}", SMALL)
    svg.line(left, y - 4, left, y + 40, stroke=MUTED)
    ratio = narrow / wide
    color = INK if narrow == wide else OUTPUT if narrow < wide else HIGHLIGHT
    svg.text(_RIGHT, y + 24, f"{ratio:.2f}x", LARGE, color, "end", bold=True)
