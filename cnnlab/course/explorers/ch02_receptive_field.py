"""Chapter 02: build a stack of layers and see what one of its units sees.

Everything is computed along one axis; the picture's second axis repeats it for the unit's row.
With equal weights the gradient of a unit counts the paths that lead to it from each pixel. Their
share is also what independent random weights pass on of the squared gradient, on average and
without ReLU: the effective receptive field drawn here is computed, not sampled.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import accumulate
from math import exp, sqrt
from typing import NamedTuple

from cnnlab.arithmetic import Window, output_size
from cnnlab.course.explorers.explorer import Explorer, Slider, Toggle
from cnnlab.course.look import GRID, HIGHLIGHT, INK, INPUT, KERNEL, MUTED, OUTPUT, SMALL, TEXT, mix
from cnnlab.course.pictures.cells import grid
from cnnlab.course.pictures.svg import Svg, number

IMAGE = 32
MOST_LAYERS = 6
LEFT, CELL = 24, 12  # the side view: one pixel is a 12 px cell
RIGHT, PIXEL = 456, 7.5  # the top view
INPUT_ROW, LOWER, TOP_ROW = 226, 348, 58  # the image's row: above the bars, or in their place
BASE = 384  # of the bars, and bottom of the image
TABLE, ROW = 512, 19
HEIGHT = 650
USED = "show how much of the window is used"


class Taps(NamedTuple):
    """One layer of the stack, along one axis."""

    kernel: int = 3
    stride: int = 1
    dilation: int = 1

    def padding(self, padded: bool) -> int:
        """Half the extent when padded: an odd kernel at stride 1 then keeps the size."""
        return self.dilation * (self.kernel - 1) // 2 if padded else 0


START = (Taps(), Taps(stride=2), Taps(), Taps())


class Axis(NamedTuple):
    """What one unit of the last map sees along one axis."""

    seen: tuple[tuple[int, ...], ...]  # per map, the input first: its units that lead to the unit
    paths: tuple[float, ...]  # per input pixel, its share of all paths inside the image


def geometry(stack: Sequence[Taps], padded: bool) -> tuple[list[int], list[Window]]:
    """Sizes and windows of the image and of each map. Raises GeometryError where none is left."""
    sizes, windows = [IMAGE], [Window()]
    for taps in stack:
        padding = taps.padding(padded)
        sizes.append(output_size(sizes[-1], taps.kernel, taps.stride, padding, taps.dilation))
        windows.append(windows[-1].then(taps.kernel, taps.stride, padding, taps.dilation))
    return sizes, windows


def axis(stack: Sequence[Taps], padded: bool, unit: int) -> Axis:
    """Follow every path from `unit` of the last map down to the image; padding ends a path."""
    sizes, _ = geometry(stack, padded)
    counts, seen = {unit: 1}, [(unit,)]
    for taps, size in zip(reversed(stack), reversed(sizes[:-1])):
        below: dict[int, int] = {}
        for position, ways in counts.items():
            first = position * taps.stride - taps.padding(padded)
            for at in range(first, first + taps.kernel * taps.dilation, taps.dilation):
                if 0 <= at < size:
                    below[at] = below.get(at, 0) + ways
        counts = below
        seen.append(tuple(sorted(counts)))
    total = sum(counts.values()) or 1  # a unit may see nothing but padding
    return Axis(tuple(reversed(seen)), tuple(counts.get(x, 0) / total for x in range(IMAGE)))


def spread(stack: Sequence[Taps]) -> float:
    """Standard deviation of the paths in pixels: the variances of the layers' boxes add up.

    A box of k taps that are d * jump pixels apart has variance (d * jump)^2 (k^2 - 1) / 12.
    """
    jumps = accumulate((taps.stride for taps in stack[:-1]), lambda a, b: a * b, initial=1)
    boxes = zip(jumps, stack)
    return sqrt(sum((jump * t.dilation) ** 2 * (t.kernel**2 - 1) / 12 for jump, t in boxes))


def most(paths: Sequence[float], share: float = 0.95) -> int:
    """How few pixels hold `share` of the paths."""
    held = accumulate(sorted(paths, reverse=True))
    return next((count for count, sum_ in enumerate(held, 1) if sum_ >= share - 1e-9), 0)


def draw(
    kernel: int,
    stride: int,
    dilation: int,
    padded: bool,
    used: bool,
    stack: Sequence[Taps],
    layer: int,
    unit: tuple[int, int] | None,
) -> str:
    """The stack from the side, the unit's view from the top, and a table; see `receptive_field`.

    The sliders hold layer number `layer` (from 0) of `stack`; `unit` is (row, column) of the last
    map, None its center. Only with `used` one sees how many paths lead from each pixel to the unit.
    """
    stack = _edited(kernel, stride, dilation, stack, layer)
    sizes, windows = geometry(stack, padded)
    row, column = _unit(unit, sizes[-1])
    across = axis(stack, padded, column)
    down = across if row == column else axis(stack, padded, row)
    window = windows[-1]
    svg = Svg(720, HEIGHT, _sentence(window, across, len(stack), row, column))
    image_row = INPUT_ROW if used else LOWER
    _side_view(svg, stack, padded, sizes, windows, across, image_row, used)
    _bracket(svg, *window.box(column), image_row + 18)
    if used:
        _bars(svg, across, window, column, spread(stack))
    _top_view(svg, sizes[-1], window, (row, column), down, across, used)
    svg.text(LEFT, 423, _facts(window, column), TEXT)
    svg.paragraph(LEFT, 443, _sight(window, across, column, used), 672, TEXT)
    _table(svg, stack, padded, sizes, windows, layer)
    return str(svg)


def pick(state: dict, key: str) -> dict:
    """What a click changes: "unit,row,column", "layer,2", "add" or "remove"."""
    what, *numbers = key.split(",")
    if what == "unit":
        return {"unit": (int(numbers[0]), int(numbers[1]))}
    names = ("kernel", "stride", "dilation", "stack", "layer")
    stack = list(_edited(*(state[name] for name in names)))
    layer = state["layer"]
    if what == "layer":
        layer = int(numbers[0])
    elif what == "add" and len(stack) < MOST_LAYERS:
        layer = len(stack)
        stack.append(Taps())
    elif what == "remove" and len(stack) > 1:
        del stack[layer]
        layer = min(layer, len(stack) - 1)
    return {"stack": tuple(stack), "layer": layer, **stack[layer]._asdict()}


def receptive_field() -> Explorer:
    """Explorer of chapter 02: layers, their receptive fields, and how a unit uses its own."""
    chosen = START[1]
    return Explorer(
        "What does a unit see?",
        [
            Slider("kernel", "kernel", 1, 7, chosen.kernel),
            Slider("stride", "stride", 1, 3, chosen.stride),
            Slider("dilation", "dilation", 1, 9, chosen.dilation),
            Toggle("padded", "pad every layer by half its kernel", True),
            Toggle("used", USED, False),
        ],
        draw,
        [
            "Three layers of 3x3, each with dilation 2: which pixels of its window does the unit "
            "never see? Then choose other dilations. How many pixels in a row can it see without a "
            "hole? (More than 15.)",
            "Five layers of 3x3, one of them with stride 2. In which layer does the stride make "
            "the receptive field largest, and in which does it change nothing?",
            f'After the prediction below: tick "{USED}". Make the receptive field larger than the '
            "image of 32 pixels. In how many of them do 95% of the paths start?",
        ],
        "receptive_field",
        hidden={"stack": START, "layer": 1, "unit": None},
        pick=pick,
    )


# -- state and sentences


def _edited(kernel: int, stride: int, dilation: int, stack: Sequence[Taps], layer: int) -> tuple:
    return (*stack[:layer], Taps(kernel, stride, dilation), *stack[layer + 1 :])


def _unit(unit: tuple[int, int] | None, size: int) -> tuple[int, int]:
    row, column = (size // 2, size // 2) if unit is None else unit
    return min(row, size - 1), min(column, size - 1)


def _sentence(window: Window, across: Axis, layers: int, row: int, column: int) -> str:
    return (
        f"{layers} layer{'s' if layers > 1 else ''}: unit ({row}, {column}) has receptive "
        f"field {window.size}, center {number(window.center(column))}, and sees "
        f"{len(across.seen[0])} pixels of its row"
    )


def _facts(window: Window, column: int) -> str:
    first, last = window.box(column)
    return (
        f"Receptive field {window.size}: columns {first} to {last} of 0 to {IMAGE - 1}, center "
        f"{number(window.center(column))}."
    )


def _sight(window: Window, across: Axis, column: int, used: bool) -> str:
    first, last = window.box(column)
    inside = max(min(last, IMAGE - 1) - max(first, 0) + 1, 0)
    seen = len(across.seen[0])
    if not seen:
        return "The unit sees nothing but padding."
    text = f"It sees {seen} of these pixels"
    outside = window.size - inside
    if outside:
        text += f", {outside} would be padding"
    if inside > seen:
        text += f", {inside - seen} are holes"
    held = f"; the {most(across.paths)} with most paths hold 95% of them" if used else ""
    return f"{text}{held}."


# -- drawing

UNSEEN = mix(GRID, "#ffffff", 0.25)


def _scaled(paths: Sequence[float], used: bool) -> list[float]:
    top = max(paths) or 1
    return [share / top if used else 0.45 * (share > 0) for share in paths]


def _x(pixel: float) -> float:
    """Middle of an input pixel in the side view."""
    return LEFT + (pixel + 0.5) * CELL


def _side_view(svg: Svg, stack, padded, sizes, windows, across: Axis, low, used) -> None:
    svg.text(LEFT, 32, "From the side: one row of each map", TEXT, bold=True)
    step = (low - TOP_ROW) / max(len(stack), 3)
    rows = [low - level * step for level in range(len(stack) + 1)]
    maps = zip(windows, sizes)
    xs = [[number(_x(window.center(unit))) for unit in range(size)] for window, size in maps]
    for level in range(len(stack), 0, -1):  # lines of sight below the dots
        taps, target = stack[level - 1], number(rows[level - 1] - (7 if level == 1 else 0))
        sight, height = [], number(rows[level])
        for unit in across.seen[level]:
            first = unit * taps.stride - taps.padding(padded)
            reach = range(first, first + taps.kernel * taps.dilation, taps.dilation)
            start, below = f"M{xs[level][unit]} {height}L", xs[level - 1]
            sight += [f"{start}{below[at]} {target}" for at in reach if 0 <= at < len(below)]
        svg.path("".join(sight), stroke=KERNEL, opacity=0.75)
    unseen, seen = [], []  # one path per color, not a circle per unit
    for level in range(1, len(stack)):
        lit, dot = set(across.seen[level]), f" {number(rows[level])}{_disk(3.2)}"
        for unit, x in enumerate(xs[level]):
            (seen if unit in lit else unseen).append(f"M{x}{dot}")
    (chosen,), dot = across.seen[-1], f" {number(rows[-1])}{_disk(3.2)}"
    unseen += [f"M{x}{dot}" for unit, x in enumerate(xs[-1]) if unit != chosen]
    svg.path("".join(unseen), UNSEEN)
    svg.path("".join(seen), KERNEL)
    svg.circle(float(xs[-1][chosen]), rows[-1], 5, OUTPUT)
    shares = [_scaled(across.paths, used)]
    grid(svg, LEFT, low - 6, 1, IMAGE, CELL, values=shares, low=0, high=1, color=INPUT)


def _disk(radius: float) -> str:
    """The rest of a path that starts at the disk's center."""
    half, full = number(radius), number(2 * radius)
    return f"m-{half} 0a{half} {half} 0 1 0 {full} 0a{half} {half} 0 1 0-{full} 0z"


def _bracket(svg: Svg, first: int, last: int, y: float) -> None:
    """The window under the image's row, open where it leaves the image; the pixels' numbers."""
    for pixel in (0, 8, 16, 24, 31):
        svg.text(_x(pixel), BASE + 15, pixel, SMALL, MUTED, "middle")
    if last >= 0 and first < IMAGE:
        begin, end = LEFT + max(first, 0) * CELL, LEFT + min(last + 1, IMAGE) * CELL
        ticks = f"M{begin} {y - 5}v10" * (first >= 0) + f"M{end} {y - 5}v10" * (last < IMAGE)
        svg.path(f"M{begin} {y}H{end}{ticks}", stroke=HIGHLIGHT, line=2)


def _bars(svg: Svg, across: Axis, window: Window, column: int, sigma: float) -> None:
    top, tall = max(across.paths) or 1, 84
    svg.text(LEFT, INPUT_ROW + 42, "Where its paths start", TEXT, bold=True)
    bars = [
        f"M{LEFT + pixel * CELL + 1} {BASE}v-{number(tall * share / top)}h{CELL - 2}V{BASE}z"
        for pixel, share in enumerate(across.paths)
        if share
    ]
    svg.path("".join(bars), INPUT)
    if sigma:
        center, peak = window.center(column), _peak(across.paths, window.center(column), sigma)
        curve = []
        for step in range(IMAGE * 4 + 1):
            pixel = step / 4 - 0.5
            height = tall / top * peak * exp(-0.5 * ((pixel - center) / sigma) ** 2)
            if height < tall * 1.2:
                curve.append(f"{number(_x(pixel))} {number(BASE - height)}")
        svg.path("M" + "L".join(curve), stroke=INK, line=1.5)
    svg.path(f"M{LEFT} {BASE}h{IMAGE * CELL}", stroke=MUTED)
    legend = f"normal curve: \u03c3 = {sigma:.2f} pixels"
    svg.text(LEFT + IMAGE * CELL, INPUT_ROW + 42, legend, SMALL, anchor="end")


def _peak(paths: Sequence[float], center: float, sigma: float) -> float:
    """Height of the normal curve that has the paths' weight inside the image."""
    weight = sum(exp(-0.5 * ((pixel - center) / sigma) ** 2) for pixel in range(IMAGE))
    return 1 / weight if weight > 1e-6 else 0.0


def _top_view(svg: Svg, units: int, window: Window, unit, down: Axis, across: Axis, used) -> None:
    cell = min(14, 84 / units)
    svg.text(RIGHT, 32, "From the top: the last map", TEXT, bold=True)
    grid(svg, RIGHT, 44, units, units, cell, pick="unit", at=unit, label="unit of the last map")
    beside = RIGHT + units * cell + 14
    svg.text(beside, 56, f"{units} x {units} units", SMALL, MUTED)
    svg.text(beside, 74, f"unit ({unit[0]}, {unit[1]})", SMALL, OUTPUT, bold=True)
    svg.text(beside, 92, "click one, or use", SMALL, MUTED)
    svg.text(beside, 108, "the arrow keys", SMALL, MUTED)
    y = BASE - IMAGE * PIXEL
    svg.rect(RIGHT, y, IMAGE * PIXEL, IMAGE * PIXEL, fill="#ffffff")
    if down.seen[0] and across.seen[0]:  # the rest stays white
        above, left = down.seen[0][0], across.seen[0][0]
        rows = _scaled(down.paths, used)[above : down.seen[0][-1] + 1]
        cols = _scaled(across.paths, used)[left : across.seen[0][-1] + 1]
        shares = [[a * b if used else min(a, b) for b in cols] for a in rows]
        size = (len(rows), len(cols), PIXEL)
        x1, y1, look = RIGHT + left * PIXEL, y + above * PIXEL, {"color": INPUT, "lines": None}
        grid(svg, x1, y1, *size, values=shares, low=0, high=1, **look)
    svg.rect(RIGHT, y, IMAGE * PIXEL, IMAGE * PIXEL, stroke=MUTED)
    (top, bottom), (left, right) = window.box(unit[0]), window.box(unit[1])
    _open_box(svg, RIGHT, y, top, bottom, left, right)
    svg.path(f"M{RIGHT} {BASE + 11}h14", stroke=HIGHLIGHT, line=2)
    svg.text(RIGHT + 20, BASE + 15, "receptive field", SMALL)


def _open_box(svg: Svg, x: float, y: float, top: int, bottom: int, left: int, right: int) -> None:
    """The window's outline; a side outside the image is not drawn."""
    x1, x2 = x + max(left, 0) * PIXEL, x + (min(right, IMAGE - 1) + 1) * PIXEL
    y1, y2 = y + max(top, 0) * PIXEL, y + (min(bottom, IMAGE - 1) + 1) * PIXEL
    if x2 <= x1 or y2 <= y1:
        return
    sides = [
        f"M{number(x1)} {number(y1)}H{number(x2)}" * (top >= 0),
        f"M{number(x1)} {number(y2)}H{number(x2)}" * (bottom < IMAGE),
        f"M{number(x1)} {number(y1)}V{number(y2)}" * (left >= 0),
        f"M{number(x2)} {number(y1)}V{number(y2)}" * (right < IMAGE),
    ]
    if any(sides):
        svg.path("".join(sides), stroke=HIGHLIGHT, line=2)


_NAMES = (*"layer kernel stride dilation units size jump start".split(), "center of unit 0")
_COLUMNS = tuple(zip(_NAMES, (36, 132, 200, 274, 356, 428, 496, 566, 684)))  # and their x


def _table(svg: Svg, stack, padded, sizes, windows, layer: int) -> None:
    """One line per layer, the first at the top; a click on a line hands it to the sliders."""
    # Both stay where they are, so that a key's focus does, too; one that can do nothing is pale.
    x = _button(svg, LEFT, TABLE - 36, "add a layer", "add", len(stack) < MOST_LAYERS)
    _button(svg, x, TABLE - 36, f"remove layer {layer + 1}", "remove", len(stack) > 1)
    hint = f"The sliders set layer {layer + 1}. Click a line to choose another."
    svg.text(696, TABLE - 20, hint, SMALL, MUTED, "end")
    for name, x in _COLUMNS:
        svg.text(x, TABLE + 10, name, SMALL, MUTED, "start" if x == 36 else "end")
    svg.path(f"M{LEFT} {TABLE + 15}h672", stroke=GRID)
    for index, taps in enumerate(stack):
        y, window = TABLE + 18 + index * ROW, windows[index + 1]
        chosen = index == layer
        if chosen:
            svg.rect(LEFT, y, 672, ROW - 2, fill=mix("#ffffff", KERNEL, 0.22), radius=4)
        kernel = f"{taps.kernel} x {taps.kernel}"
        cells = [index + 1, kernel, taps.stride, taps.dilation, sizes[index + 1]]
        cells += [window.size, window.jump, window.start, number(window.center(0))]
        for (_, x), cell in zip(_COLUMNS, cells):
            svg.text(x, y + 13, cell, SMALL + 1, INK, "start" if x == 36 else "end", bold=chosen)
        key, label = f"layer,{index}", f"layer {index + 1} of {len(stack)}: hand it to the sliders"
        svg.rect(LEFT, y, 672, ROW - 2, fill="#ffffff00", radius=4, pick=key, label=label)


def _button(svg: Svg, x: float, y: float, text: str, key: str, able: bool) -> float:
    """A small button; gives the x after it."""
    width, label = 20 + 7.2 * len(text), text if able else f"{text}: not possible now"
    svg.rect(x, y, width, 24, fill="#ffffff", stroke=MUTED if able else GRID, radius=5)
    svg.text(x + width / 2, y + 16, text, SMALL, INK if able else MUTED, "middle")
    svg.rect(x, y, width, 24, fill="#ffffff00", radius=5, pick=key, label=label)
    return x + width + 10
