"""Chapter 05: what each layer of a VGG costs: parameters, memory, MACs in aligned bars."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

from cnnlab.arithmetic import (
    GeometryError,
    bytes_text,
    conv_macs,
    conv_params,
    count_text,
    linear_macs,
    linear_params,
)
from cnnlab.course.explorers.explorer import Choice, Explorer, Slider, Toggle
from cnnlab.course.look import (
    GRID,
    HIGHLIGHT,
    INK,
    INPUT,
    KERNEL,
    MUTED,
    OUTPUT,
    PAPER,
    SMALL,
    TEXT,
    WIDTH,
    mix,
)
from cnnlab.course.pictures.svg import Svg

HEIGHT = 566
_LEFT, _RIGHT = 20, WIDTH - 20
_TOP, _BOTTOM = 150, 556  # the rows of layers
_COLUMNS = (92, 298, 504)  # where the bars of each column begin
_BAR = 112  # the longest bar
HEAD = 4096  # width of the two hidden linear layers
WIDTHS = (64, 128, 256, 512, 512)
# Kernels of each stage, as in cnnlab.models.vgg, which needs PyTorch; a test compares the two.
TABLE = {
    "A": "3 3 33 33 33",
    "B": "33 33 33 33 33",
    "C": "33 33 331 331 331",
    "D": "33 33 333 333 333",
    "E": "33 33 3333 3333 3333",
}


@dataclass(frozen=True)
class Line:
    """One layer of a VGG, for one image. `stage`: 0 the image, 1 to 5, 6 the head.

    floats, indices: values made here that autograd keeps for the backward pass; the indices say
    where a pooling found its maxima, and are int64
    live: values alive at once in inference while this layer runs
    """

    name: str
    stage: int
    params: int = 0
    macs: int = 0
    floats: int = 0
    indices: int = 0
    live: int = 0


@lru_cache(maxsize=256)
def lines(variant: str, batch_norm: bool, size: int) -> tuple[Line, ...]:
    """Every layer of column `variant` ("A" to "E") of the paper's table 1, with its ReLU, norm and
    dropout. Raises GeometryError where nothing would be left for the fifth pooling."""
    if size < 32:
        raise GeometryError(
            f"Five poolings halve the image five times, and of {size} x {size} "
            "nothing would be left: choose a resolution of at least 32."
        )
    before, values = 3, 3 * size**2
    rows = [Line("image", 0, floats=values, live=values)]
    for stage, (kernels, width) in enumerate(zip(TABLE[variant].split(), WIDTHS), 1):
        for place, kernel in enumerate(map(int, kernels), 1):
            made = width * size**2
            norm = 2 * width if batch_norm else 0  # scale and shift; or a mean and a deviation
            rows.append(
                Line(
                    f"conv{stage}_{place}",
                    stage,
                    conv_params(before, width, kernel) + norm,
                    conv_macs(before, width, kernel, size),
                    floats=2 * made + norm if batch_norm else made,
                    live=max(values + made, 2 * made if batch_norm else 0),
                )
            )
            before, values = width, made
        size //= 2
        made = width * size**2
        rows.append(Line(f"pool{stage}", stage, floats=made, indices=made, live=values + made))
        values = made
    made = width * 49
    rows.append(Line("to 7 x 7", 6, floats=made, live=values + made))
    for name, after in (("fc6", HEAD), ("fc7", HEAD), ("fc8", 1000)):
        rows.append(
            Line(
                name,
                6,
                linear_params(made, after),
                linear_macs(made, after),
                floats=3 * after if after == HEAD else 0,
                live=made + after,
            )
        )
        made = after  # ReLU's output, dropout's mask, its output
    return tuple(rows)


@dataclass(frozen=True)
class Bill:
    """Bytes and MACs of a whole VGG: once for the network, and for each image."""

    params: int
    fixed: int
    per_image: int
    macs: int


def bill(rows: tuple[Line, ...], itemsize: int = 4, training: bool = True) -> Bill:
    """`fixed`: the weights; in training with their gradients and SGD's momentum. `per_image`: what
    is kept for backward, all layers together; in inference the most that is alive at once."""
    params = sum(row.params for row in rows)
    memory = [memory_of(row, itemsize, training) for row in rows]
    return Bill(
        params,
        itemsize * params * (3 if training else 1),
        sum(memory) if training else max(memory),
        sum(row.macs for row in rows),
    )


def memory_of(row: Line, itemsize: int, training: bool) -> int:
    """Bytes of one layer for one image."""
    return itemsize * row.floats + 8 * row.indices if training else itemsize * row.live


def draw(
    variant: str, batch_norm: bool, size: int, batch: int, itemsize: int, training: bool
) -> str:
    """Three aligned bars per layer, and the two bills below them: SVG text."""
    rows = lines(variant, batch_norm, size)
    total = bill(rows, itemsize, training)
    images = batch * total.per_image
    verdict = _verdict(total, images, batch, training)
    svg = Svg(WIDTH, HEIGHT, verdict)
    step = (_BOTTOM - _TOP) / len(rows)
    _bands(svg, rows, step)
    memory = [batch * memory_of(row, itemsize, training) for row in rows]
    params, macs = [row.params for row in rows], [batch * row.macs for row in rows]
    title = "Kept for backward" if training else "Alive in inference"
    of = "for one image" if batch == 1 else f"for {batch} images"
    _column(
        svg,
        _COLUMNS[0],
        "Parameters",
        count_text(total.params),
        rows,
        params,
        KERNEL,
        count_text,
        step,
    )
    _column(
        svg,
        _COLUMNS[1],
        title,
        f"{bytes_text(images)} {of}",
        rows,
        memory,
        INPUT,
        bytes_text,
        step,
        added=training,
    )
    _column(
        svg,
        _COLUMNS[2],
        "MACs, forward",
        f"{_short(batch * total.macs)} {of}",
        rows,
        macs,
        OUTPUT,
        _short,
        step,
    )
    for index, row in enumerate(rows):
        svg.text(_LEFT, _TOP + (index + 0.5) * step + SMALL * 0.36, row.name, SMALL, INK)
    _two_bills(svg, total.fixed, images, batch, training)
    svg.text(_LEFT, 26, verdict, TEXT - 0.5, bold=True)  # beside the sliders that change it
    return str(svg)


def vgg_budget() -> Explorer:
    """The explorer of chapter 05."""
    names = {
        "A": "VGG-11 (A)",
        "B": "VGG-13 (B)",
        "C": "VGG-16 with 1x1 (C)",
        "D": "VGG-16 (D)",
        "E": "VGG-19 (E)",
    }
    controls = (
        Choice("variant", "network", [(text, name) for name, text in names.items()], "D"),
        Slider("size", "resolution", 32, 448, 224, 32),
        Slider("batch", "batch size", 1, 128, 1),
        Choice("itemsize", "numbers", [("float32, 4 bytes", 4), ("bfloat16, 2 bytes", 2)], 4),
        Choice("training", "use", [("training", True), ("inference", False)], True),
        Toggle("batch_norm", "batch norm"),
    )
    find = (
        "Double the resolution to 448 and read the numbers. Which column stays as it is, and which "
        "layers of the third do, too?",
        "At what batch size does the bill per image become the larger one? And in bfloat16? Why is "
        "it not the same batch size?",
        "Switch from training to inference, one image. How many times less memory is that, and "
        "which layer sets it?",
    )
    return Explorer("The two bills of a VGG", controls, draw, find, "vgg_budget")


def _verdict(total: Bill, images: int, batch: int, training: bool) -> str:
    fixed = "weights, gradients and momentum" if training else "weights"
    larger, smaller = sorted((total.fixed, images), reverse=True)
    what = (fixed, f"{_images(batch)}") if total.fixed >= images else (_images(batch), fixed)
    return f"{what[0].capitalize()}: {larger / smaller:.1f} times the memory of {what[1]}."


def _images(batch: int) -> str:
    return "one image" if batch == 1 else f"the {batch} images"


def _short(count: int) -> str:
    """MACs of 1,000 layers fit beside a bar: 1.85 G."""
    for unit, name in ((10**12, "T"), (10**9, "G"), (10**6, "M")):
        if count >= unit:
            return f"{count / unit:.3g} {name}" if count < 1000 * unit else f"{count // unit:,} T"
    return count_text(count)


def _bands(svg: Svg, rows: tuple[Line, ...], step: float) -> None:
    """Every second stage on a darker ground, its number said by the names of its layers."""
    for stage in (1, 3, 5):
        places = [index for index, row in enumerate(rows) if row.stage == stage]
        svg.rect(
            _LEFT - 8,
            _TOP + places[0] * step,
            _RIGHT - _LEFT + 16,
            len(places) * step,
            fill=mix(PAPER, GRID, 0.4),
            radius=3,
        )


def _column(
    svg: Svg,
    x: float,
    title: str,
    whole: str,
    rows: tuple[Line, ...],
    values: list[int],
    color: str,
    text,
    step: float,
    added: bool = True,
) -> None:
    """One quantity: a bar per layer. Its largest is named and, unless many share the place, in
    the signal color; `added`: the whole is the sum of the layers, not their maximum."""
    top = max(values)
    first = [row.name for row, value in zip(rows, values) if value == top]
    most = ", ".join(first) if len(first) < 3 else f"{len(first)} layers"
    each = " each" if len(first) > 1 else ""
    share = f": {top / sum(values):.0%}{each}" if added else ": the peak"
    svg.text(x, 108, title, TEXT, bold=True)
    svg.text(x, 125, whole, SMALL)
    svg.text(x, 141, most + share, SMALL, MUTED)
    for index, value in enumerate(values):
        if value:
            y, length = _TOP + index * step, _BAR * value / top
            marked = value == top and len(first) < 3
            svg.rect(
                x, y + step * 0.16, length, step * 0.68, HIGHLIGHT if marked else color, radius=1
            )
            svg.text(x + length + 5, y + step / 2 + SMALL * 0.36, text(value), SMALL - 1)
    svg.line(x, _TOP, x, _BOTTOM, stroke=MUTED)


def _two_bills(svg: Svg, fixed: int, images: int, batch: int, training: bool) -> None:
    """Both bills as one bar: paid once, and paid for the images of a batch."""
    y, room = 60, _RIGHT - _LEFT
    share = fixed / (fixed + images)
    once = "weights, gradients, momentum" if training else "weights"
    svg.text(_LEFT, y - 10, f"Once: {once}, {bytes_text(fixed)}", SMALL)
    each = f"For {_images(batch)}: {bytes_text(images)}, together {bytes_text(fixed + images)}"
    svg.text(_RIGHT, y - 10, each, SMALL, anchor="end")
    svg.rect(_LEFT, y, room * share, 20, KERNEL)
    svg.rect(_LEFT + room * share, y, room * (1 - share), 20, INPUT)
