"""Chapter 01: slide a kernel over a digit or a photograph and watch one output being made."""

from __future__ import annotations

from functools import lru_cache

import numpy as np

from cnnlab.arithmetic import conv_macs, extent, output_size
from cnnlab.course.explorers.explorer import Choice, Explorer, Slider, Toggle
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
from cnnlab.data.sets import digits_table

HEIGHT = 616
_LEFT, _RIGHT, _TOP, _SIDE = 24, 402, 60, 294  # the two maps
_SLOT, _GAP = 150, 44  # the three small grids below

KERNELS = ("vertical edge", "horizontal edge", "outline", "sharpen", "blur", "identity", "shift")


def kernel_values(name: str, size: int) -> np.ndarray:
    """(size, size) weights of one of `KERNELS`. An even size has no middle: left of it is taken."""
    weights = np.zeros((size, size))
    middle = (size - 1) // 2
    if name == "vertical edge":  # right minus left; one pixel has no edge
        if size > 1:
            weights[:, 0], weights[:, -1] = -1, 1
    elif name == "horizontal edge":  # below minus above
        weights = kernel_values("vertical edge", size).T
    elif name == "outline":  # the pixel against all others in the window
        weights -= 1
        weights[middle, middle] = size * size - 1
    elif name == "sharpen":  # twice the pixel, minus the blur
        weights -= 1 / size**2
        weights[middle, middle] += 2
    elif name == "blur":
        weights += 1 / size**2
    elif name == "identity":
        weights[middle, middle] = 1
    elif name == "shift":  # the last pixel of the window
        weights[-1, -1] = 1
    else:
        raise ValueError(f"no kernel {name!r}: choose one of {', '.join(KERNELS)}")
    return weights


def picture(name: str) -> tuple[np.ndarray, float, float]:
    """(pixels, white, ink): a square image of whole numbers and the values drawn white and dark.

    "digit": 8 x 8, 0 to 16, the first of scikit-learn's digits. "photograph": 50 x 50 gray, 0 to
    255, from scikit-learn's china.jpg (by danielbuechele, CC BY 2.0).
    """
    pixels = _pixels(name)
    return pixels, *((255.0, 0.0) if name == "photograph" else (0.0, 16.0))


@lru_cache(maxsize=2)
def _pixels(name: str) -> np.ndarray:
    if name == "digit":
        return digits_table()[0, :-1].reshape(8, 8)
    from sklearn.datasets import load_sample_image

    gray = load_sample_image("china.jpg")[0:400, 10:410].mean(2)
    return gray.reshape(50, 8, 50, 8).mean((1, 3)).round()  # each pixel the mean of 8 x 8


def correlate(
    image: np.ndarray, weights: np.ndarray, stride: int, padding: int, dilation: int
) -> np.ndarray:
    """(rows, cols) output of one kernel over one square image, one tap at a time.

    Raises GeometryError if the kernel does not fit.
    """
    size, kernel = len(image), len(weights)
    out = output_size(size, kernel, stride, padding, dilation)
    padded = np.pad(image, padding)
    result = np.zeros((out, out))
    reach = (out - 1) * stride + 1
    for row, line in enumerate(weights):
        for col, weight in enumerate(line):
            if weight:
                top, left = row * dilation, col * dilation
                result += weight * padded[top : top + reach : stride, left : left + reach : stride]
    return result


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
    weights = weights[::-1, ::-1] if flip else weights
    result = correlate(pixels, weights, stride, padding, dilation)
    row, col = min(row, out - 1), min(col, out - 1)
    cell = _SIDE / (size + 2 * padding)  # the padded image fills the square

    label = (
        f"A {kernel}x{kernel} {values} kernel over a {size}x{size} {image} with stride {stride}, "
        f"padding {padding}, dilation {dilation} gives {out}x{out}; "
        f"the output at row {row}, column {col} is {_short(result[row, col])}"
    )
    svg = Svg(WIDTH, HEIGHT, label)
    _draw_input(svg, pixels, white, ink, cell, kernel, stride, padding, dilation)
    _draw_output(svg, result, white, ink, cell, row, col)
    _draw_window(svg, cell, kernel, stride, dilation, row, col)
    _draw_formula(svg, size, kernel, stride, padding, dilation, out)
    top, left = row * stride, col * stride
    reach = extent(kernel, dilation)
    window = np.pad(pixels, padding)[top : top + reach : dilation, left : left + reach : dilation]
    _draw_products(svg, window, weights, white, ink, row, col)
    return str(svg)


def _draw_input(svg, pixels, white, ink, cell, kernel, stride, padding, dilation) -> None:
    size = len(pixels)
    lost = never_read(size, kernel, stride, padding, dilation)
    unread = np.zeros((size, size), dtype=bool)
    unread[lost, :] = unread[:, lost] = True
    svg.text(_LEFT, _TOP - 28, f"input {size} × {size}", LARGE, INPUT, bold=True)
    if padding:
        padded = f"padded to {size + 2 * padding} × {size + 2 * padding}"
        svg.text(_LEFT + _SIDE, _TOP - 28, padded, SMALL, MUTED, "end")
        svg.rect(_LEFT, _TOP, _SIDE, _SIDE, fill="#efece4", stroke=MUTED, dash="3 3")
    count = int(unread.sum())
    read, color = "every pixel is read", MUTED
    if count:
        read, color = f"{count:,} of {size**2:,} pixels are never read (faded)", HIGHLIGHT
    svg.text(_LEFT, _TOP - 9, read, SMALL, color)
    left, top, side = _LEFT + padding * cell, _TOP + padding * cell, size * cell
    faded = np.where(unread, pixels + (white - pixels) * 0.75, pixels)
    image(svg, left, top, side, side, faded, white, ink)
    svg.rect(left, top, side, side, stroke=GRID)


def _draw_output(svg, result, white, ink, cell, row, col) -> None:
    out = len(result)
    low, high = float(result.min()), float(result.max())
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
    products = window * weights
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
        texts = [[_short(v) for v in line] for line in values] if kernel <= 5 else None
        colors = _colors(values, low, high)
        grid(svg, left, top, kernel, kernel, cell, values=colors, texts=texts)
        svg.text(x + _SLOT + _GAP / 2, middle + 6, sign, TITLE, INK, "middle")
    x = _LEFT + 3 * (_SLOT + _GAP)
    svg.text(x, middle - 18, "their sum", SMALL, MUTED)
    svg.text(x, middle + 7, _short(products.sum()), 22, OUTPUT, bold=True)
    svg.text(x, middle + 28, f"at row {row},", SMALL, MUTED)
    svg.text(x, middle + 44, f"column {col}", SMALL, MUTED)


def _colors(values: np.ndarray, low: float, high: float) -> list[list[str]]:
    """As `cells.image` shades them, with low > high for a photograph."""
    if low > high:
        return [[mix("#ffffff", INK, (low - v) / (low - high)) for v in line] for line in values]
    return [[shade(v, low, high) for v in line] for line in values.tolist()]


def _symmetric(values: np.ndarray) -> tuple[float, float]:
    reach = float(np.abs(values).max()) or 1.0
    return -reach, reach


def _short(value: float) -> str:
    """Three digits, or all digits of a whole part: 0.111, 5.33, -12, 1020."""
    text = f"{value:.0f}" if abs(value) >= 100 else f"{value:.3g}"
    return "0" if float(text) == 0 else text.replace("-", "\u2212")


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
