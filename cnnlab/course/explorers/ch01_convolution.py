"""Chapter 01: slide a kernel over a digit or a photograph and watch one output being made."""

from __future__ import annotations

from functools import cache, lru_cache

from cnnlab.arithmetic import conv_macs, extent, output_size
from cnnlab.course.explorers.explorer import Choice, Explorer, Slider, Toggle
from cnnlab.course.explorers.stored import read
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
    TITLE,
    WIDTH,
    mix,
    shade,
)
from cnnlab.course.pictures.cells import grid, image
from cnnlab.course.pictures.svg import Svg, number

HEIGHT = 588
_LEFT, _RIGHT, _TOP, _SIDE = 24, 402, 60, 270  # the two maps
_SLOT, _GAP = 158, 36  # the three small grids below

KERNELS = ("vertical edge", "horizontal edge", "outline", "sharpen", "blur", "identity", "shift")


Table = list[list[float]]  # rows of numbers


def kernel_values(name: str, size: int) -> Table:
    """(size, size) weights of one of `KERNELS`. An even size has no middle: left of it is taken."""
    middle, last, even = (size - 1) // 2, size - 1, 1 / size**2
    places = range(size)
    if name == "vertical edge":  # right minus left; one pixel has no edge
        return [[(c == last) - (c == 0) for c in places] for _ in places]
    if name == "horizontal edge":  # below minus above
        return [[(r == last) - (r == 0) for _ in places] for r in places]
    rules = {
        # the pixel against all others in the window
        "outline": lambda here, end: size * size - 1 if here else -1,
        # twice the pixel, minus the blur
        "sharpen": lambda here, end: 2 - even if here else -even,
        "blur": lambda here, end: even,
        "identity": lambda here, end: int(here),
        # the last pixel of the window
        "shift": lambda here, end: int(end),
    }
    if name not in rules:
        raise ValueError(f"no kernel {name!r}: choose one of {', '.join(KERNELS)}")
    return [[rules[name](r == c == middle, r == c == last) for c in places] for r in places]


def picture(name: str) -> tuple[Table, float, float]:
    """(pixels, white, ink): a square image of whole numbers and the values drawn white and dark.

    "digit": 8 x 8, 0 to 16, the first of scikit-learn's digits. "photograph": 50 x 50 gray, 0 to
    255, each the mean of 8 x 8 of scikit-learn's china.jpg (by danielbuechele, CC BY 2.0).
    """
    return _pixels(name), *((255, 0) if name == "photograph" else (0, 16))


@cache
def _pixels(name: str) -> Table:
    side = 50 if name == "photograph" else 8
    data = read("pictures")[64:] if name == "photograph" else read("pictures")[:64]
    return [list(data[row * side : (row + 1) * side]) for row in range(side)]


def correlate(image: Table, weights: Table, stride: int, padding: int, dilation: int) -> Table:
    """(rows, cols) output of one kernel over one square image, one tap at a time.

    Raises GeometryError if the kernel does not fit.
    """
    out = output_size(len(image), len(weights), stride, padding, dilation)
    padded = _padded(image, padding)
    result = [[0.0] * out for _ in range(out)]
    reach = (out - 1) * stride + 1
    for row, line in enumerate(weights):
        for col, weight in enumerate(line):
            if weight:
                left = col * dilation
                for place, sums in enumerate(result):
                    read = padded[row * dilation + place * stride][left : left + reach : stride]
                    result[place] = [a + weight * b for a, b in zip(sums, read)]
    return result


def _padded(image: Table, padding: int) -> Table:
    wide, side = [0] * padding, len(image) + 2 * padding
    empty = [[0] * side] * padding
    return [*empty, *(wide + line + wide for line in image), *empty]


@lru_cache(maxsize=64)
def _output(image: str, values: str, flip: bool, kernel: int, *geometry: int) -> Table:
    weights = kernel_values(values, kernel)
    return correlate(_pixels(image), _flipped(weights) if flip else weights, *geometry)


def _flipped(weights: Table) -> Table:
    return [line[::-1] for line in weights[::-1]]


def never_read(size: int, kernel: int, stride: int, padding: int, dilation: int) -> list[int]:
    """Rows (or columns) of the image that no window touches."""
    out = output_size(size, kernel, stride, padding, dilation)
    read = {
        unit * stride + tap * dilation - padding for unit in range(out) for tap in range(kernel)
    }
    return [pixel for pixel in range(size) if pixel not in read]


def draw(
    image: str,
    values: str,
    kernel: int,
    stride: int,
    padding: int,
    dilation: int,
    row: int,
    col: int,
    flip: bool,
) -> str:
    """The explorer's picture. `row` and `col` beyond the output mean its last row and column."""
    pixels, white, ink = picture(image)
    size = len(pixels)
    out = output_size(size, kernel, stride, padding, dilation)
    weights = kernel_values(values, kernel)
    weights = _flipped(weights) if flip else weights
    result = _output(image, values, flip, kernel, stride, padding, dilation)
    row, col = min(row, out - 1), min(col, out - 1)
    cell = _SIDE / (size + 2 * padding)  # the padded image fills the square

    label = (
        f"A {kernel}x{kernel} {values} kernel over a {size}x{size} {image} with stride {stride}, "
        f"padding {padding}, dilation {dilation} gives {out}x{out}; "
        f"the output at row {row}, column {col} is {_short(result[row][col])}"
    )
    svg = Svg(WIDTH, HEIGHT, label)
    _draw_input(svg, pixels, white, ink, cell, kernel, stride, padding, dilation)
    _draw_output(svg, result, white, ink, cell, row, col)
    _draw_window(svg, cell, kernel, stride, dilation, row, col)
    _draw_formula(svg, size, kernel, stride, padding, dilation, out)
    top, left = row * stride, col * stride
    reach = extent(kernel, dilation)
    lines = _padded(pixels, padding)[top : top + reach : dilation]
    window = [line[left : left + reach : dilation] for line in lines]
    _draw_products(svg, window, weights, white, ink, row, col)
    return str(svg)


def _draw_input(svg, pixels, white, ink, cell, kernel, stride, padding, dilation) -> None:
    size = len(pixels)
    lost = never_read(size, kernel, stride, padding, dilation)
    unread = [[r in lost or c in lost for c in range(size)] for r in range(size)]
    svg.text(_LEFT, _TOP - 28, f"input {size} × {size}", LARGE, INPUT, bold=True)
    if padding:
        padded = f"padded to {size + 2 * padding} × {size + 2 * padding}"
        svg.text(_LEFT + _SIDE, _TOP - 28, padded, SMALL, MUTED, "end")
        svg.rect(
            _LEFT,
            _TOP,
            _SIDE,
            _SIDE,
            fill=_colors([[0]], white, ink)[0][0],
            stroke=MUTED,
            dash="3 3",
        )
    count = sum(map(sum, unread))
    read, color = "every pixel is read", MUTED
    if count:
        read, color = f"{count:,} of {size**2:,} pixels are never read (faded)", HIGHLIGHT
    svg.text(_LEFT, _TOP - 9, read, SMALL, color)
    left, top, side = _LEFT + padding * cell, _TOP + padding * cell, size * cell
    faded = [
        [p + (white - p) * 0.75 if off else p for p, off in zip(*both)]
        for both in zip(pixels, unread)
    ]
    image(svg, left, top, side, side, faded, white, ink)
    svg.rect(left, top, side, side, stroke=GRID)


def _draw_output(svg, result, white, ink, cell, row, col) -> None:
    out = len(result)
    low, high = min(map(min, result)), max(map(max, result))
    svg.text(_RIGHT, _TOP - 28, f"output {out} × {out}", LARGE, OUTPUT, bold=True)
    signed = " (blue below zero)" if low < 0 else ""
    svg.text(_RIGHT, _TOP - 9, f"from {_short(low)} to {_short(high)}{signed}", SMALL, MUTED)
    if low < 0:
        white, ink = -max(-low, high), max(-low, high)
    side, at = out * cell, (row, col)
    image(svg, _RIGHT, _TOP, side, side, result, white, ink, pick="output", at=at, label="output")
    svg.rect(_RIGHT, _TOP, side, side, stroke=GRID)


def _draw_window(svg, cell, kernel, stride, dilation, row, col) -> None:
    left, top = _LEFT + col * stride * cell, _TOP + row * stride * cell
    side = extent(kernel, dilation) * cell
    if dilation > 1 and kernel > 1:
        step = dilation * cell
        box = f"h{number(cell)}v{number(cell)}h-{number(cell)}z"
        taps = "".join(
            f"M{number(left + j * step)} {number(top + i * step)}{box}"
            for i in range(kernel)
            for j in range(kernel)
        )
        svg.path(taps, stroke=KERNEL, line=2)
        svg.rect(left, top, side, side, stroke=KERNEL, line=1.5, dash="4 3")
    else:
        svg.rect(left, top, side, side, stroke=KERNEL, line=3)
    end = _RIGHT + col * cell - 2, _TOP + (row + 0.5) * cell
    svg.arrow(left + side + 2, top + side / 2, *end, stroke=KERNEL)


def _draw_formula(svg, size, kernel, stride, padding, dilation, out) -> None:
    span = extent(kernel, dilation)
    y = _TOP + _SIDE + 28
    quotient = number((size + 2 * padding - span) / stride)
    rule = f"output = ⌊({size} + 2×{padding} − {span}) / {stride}⌋ + 1 = ⌊{quotient}⌋ + 1 = {out}"
    svg.text(_LEFT, y, rule, TITLE, bold=True)
    spans = f"{dilation}×({kernel} − 1) + 1 = {span}" if dilation > 1 else f"{kernel}"
    work = (
        f"the kernel spans {spans}; {kernel * kernel} "
        f"weight{'s' * (kernel > 1)} × {out * out:,} output pixel{'s' * (out > 1)} = "
        f"{conv_macs(1, 1, kernel, out):,} MACs"
    )
    svg.text(_LEFT, y + 22, work, TEXT, MUTED)


def _draw_products(svg, window, weights, white, ink, row, col) -> None:
    """window x kernel = products, and their sum: one output pixel."""
    kernel = len(weights)
    products = [[a * b for a, b in zip(*lines)] for lines in zip(window, weights)]
    cell = min(50, _SLOT / kernel)
    side, middle = kernel * cell, _TOP + _SIDE + 88 + _SLOT / 2
    for index, (title, values, low, high, sign) in enumerate(
        (
            ("window", window, white, ink, "×"),
            ("kernel", weights, *_symmetric(weights), "="),
            ("products", products, *_symmetric(products), "→"),
        )
    ):
        x = _LEFT + index * (_SLOT + _GAP)
        svg.text(x + _SLOT / 2, middle - _SLOT / 2 - 8, title, SMALL, MUTED, "middle")
        left, top = x + (_SLOT - side) / 2, middle - side / 2
        texts = [[_short(v) if kernel <= 5 else _tight(v) for v in line] for line in values]
        colors = _colors(values, low, high)
        grid(svg, left, top, kernel, kernel, cell, values=colors, texts=texts)
        svg.text(x + _SLOT + _GAP / 2, middle + 6, sign, TITLE, INK, "middle")
    x = _LEFT + 3 * (_SLOT + _GAP)
    svg.text(x, middle - 18, "their sum", SMALL, MUTED)
    svg.text(x, middle + 7, _short(sum(map(sum, products))), 22, OUTPUT, bold=True)
    svg.text(x, middle + 28, f"at row {row},", SMALL, MUTED)
    svg.text(x, middle + 44, f"column {col}", SMALL, MUTED)


def _colors(values: Table, low: float, high: float) -> list[list[str]]:
    """As `cells.image` shades them, with low > high for a photograph."""
    if low > high:
        return [[mix("#ffffff", INK, (low - v) / (low - high)) for v in line] for line in values]
    return [[shade(v, low, high) for v in line] for line in values]


def _symmetric(values: Table) -> tuple[float, float]:
    reach = float(max(abs(value) for line in values for value in line)) or 1.0
    return -reach, reach


def _short(value: float) -> str:
    """Three digits, or all digits of a whole part: 0.111, 5.33, -12, 1020."""
    text = f"{value:.0f}" if abs(value) >= 100 else f"{value:.3g}"
    return "0" if float(text) == 0 else text.replace("-", "\u2212")


def _tight(value: float) -> str:
    """At most four characters, for small cells: .02, 0.5, -48, 12k."""
    size = abs(value)
    text = f"{size / 1000:.0f}k" if size >= 1000 else f"{size:.0f}"
    if 0 < size < 10 and size != int(size):
        text = f"{size:.1f}" if size >= 0.1 else f"{size:.2f}".removeprefix("0")
    return ("-" if value < 0 else "") + text  # narrower than a minus sign


def _picked(state: dict, key: str) -> dict:
    _, row, col = key.split(",")
    return {"row": int(row), "col": int(col)}


def convolution() -> Explorer:
    """Slide a kernel over an image: window, products, sum, output map and the size formula."""
    controls = [
        Choice("image", "image", ("digit", "photograph"), "digit"),
        Choice("values", "kernel", KERNELS, "vertical edge"),
        Slider("kernel", "kernel size", 1, 7, 3),
        Slider("stride", "stride", 1, 4, 1),
        Slider("padding", "padding", 0, 4, 0),
        Slider("dilation", "dilation", 1, 4, 1),
        Slider("row", "output row", 0, 57, 2),
        Slider("col", "output column", 0, 57, 1),
        Toggle("flip", "flip the kernel (true convolution)"),
    ]
    find = [
        "Kernel size 3 with padding 1 keeps the size. Set dilation to 2: which padding keeps it "
        "now? And for kernel size 5?",
        "Reset, then photograph, identity, kernel size 1, stride 2: how much of it is never read? "
        "(ResNet's shortcuts do exactly this.) Which kernel sizes read every pixel? Not all larger "
        "ones.",
        "Reset, then flip each kernel. Which output maps stay the same, which change their "
        "sign, and which one moves?",
    ]
    return Explorer("Slide a kernel", controls, draw, find, "convolution", pick=_picked)
