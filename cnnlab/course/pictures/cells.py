"""Cells of an image, a kernel or a feature map in a picture: shaded, numbered, to pick from."""

from __future__ import annotations

import struct
import zlib
from base64 import b64encode
from functools import cache, lru_cache

from cnnlab.course.look import GRID, HIGHLIGHT, INK, TEXT, mix, shade, text_on
from cnnlab.course.pictures.svg import Svg, clean, number


def grid(
    svg: Svg,
    x: float,
    y: float,
    rows: int,
    cols: int,
    cell: float = 16,
    *,
    values: object = None,
    low: float | None = None,
    high: float | None = None,
    color: str = INK,
    lines: str | None = GRID,
    texts: object = None,
    pick: str | None = None,
    at: tuple[int, int] | None = None,
    label: str = "",
) -> None:
    """Squares of `cell` pixels, white without `values`.

    values: rows x cols numbers (nested sequences, arrays, tensors), shaded from `low` to `high`
        (default: their range) by `look.shade`; or colors "#rrggbb"
    texts: rows x cols strings, "" for none; they need values
    pick: the grid becomes one keyboard stop whose arrow keys move the cell `at`; the explorer's
        `pick` gets "<pick>,<row>,<col>"

    Raises ValueError where the values are not rows x cols.
    """
    if values is None:
        svg.rect(x, y, cols * cell, rows * cell, fill="#ffffff")
    else:
        colors = _colors(_table(values, rows, cols), low, high, color)
        _fill(svg, x, y, cell, colors)
    if lines and cell >= 4:
        wide, tall = number(cols * cell), number(rows * cell)
        across = "".join(f"M{number(x)} {number(y + i * cell)}h{wide}" for i in range(rows + 1))
        down = "".join(f"M{number(x + i * cell)} {number(y)}v{tall}" for i in range(cols + 1))
        svg.path(across + down, stroke=lines, line=min(1, cell / 12))
    if texts is not None:
        longest = max(1, *(len(text) for line in texts for text in line))
        size = min(TEXT, cell * 0.5, cell * 1.5 / longest)
        for r, line in enumerate(texts):
            for c, text in enumerate(line):
                if text:
                    left, base = x + (c + 0.5) * cell, y + (r + 0.5) * cell + size * 0.36
                    svg.text(left, base, text, size, text_on(colors[r][c]), "middle")
    if pick is not None:
        _pick(svg, x, y, rows, cols, cell, pick, at, label)


def image(
    svg: Svg,
    x: float,
    y: float,
    width: float,
    height: float,
    values: object,
    low: float,
    high: float,
    *,
    pick: str | None = None,
    at: tuple[int, int] | None = None,
    label: str = "",
) -> None:
    """rows x cols numbers as one picture with hard pixels: for images too large for `grid`.

    Shaded as in `grid`, in 255 steps from `low` to `high`. A photograph is bright where its values
    are high: give it low=255, high=0. `pick` and `at` as in `grid`, for square pixels.
    """
    values = _table(values)
    place = {"x": x, "y": y, "width": width, "height": height, "preserveAspectRatio": "none"}
    source = f"data:image/png;base64,{b64encode(_png(values, low, high)).decode()}"
    svg.add("image", place | {"style": "image-rendering:pixelated", "href": source})
    if pick is not None:
        rows, cols = len(values), len(values[0])
        _pick(svg, x, y, rows, cols, width / cols, pick, at, label)


def _table(values: object, rows: int | None = None, cols: int | None = None) -> list[list]:
    """Nested lists, rows x cols (default: as many as there are, all rows of one length)."""
    table = values.tolist() if hasattr(values, "tolist") else [list(line) for line in values]
    rows, cols = rows or len(table), cols or len(table[0])
    widths = sorted({len(line) for line in table})
    if len(table) != rows or widths != [cols]:
        raise ValueError(
            f"values has {len(table)} rows of {widths} cells, expected {rows} rows of {cols}; give "
            "one value per cell"
        )
    return table


def _colors(values: list, low: float | None, high: float | None, color: str) -> list[list[str]]:
    """`look.shade` in 64 steps, so that cells of nearly the same value share a path."""
    if isinstance(values[0][0], str):
        return values
    known = [v for line in values for v in line if v == v] or [0, 1]
    low, high = min(known) if low is None else low, max(known) if high is None else high

    @cache
    def step(index: int) -> str:
        return shade(low + (high - low) * index / 64, low, high, color)

    def one(value: float) -> str:
        if value != value or high <= low:
            return shade(value, low, high, color)
        return step(min(max(round((value - low) / (high - low) * 64), 0), 64))

    return [[one(value) for value in line] for line in values]


def _fill(svg: Svg, x: float, y: float, cell: float, colors: list[list[str]]) -> None:
    """One path per color instead of one rect per cell: a tenth of the bytes."""
    cells: dict[str, list[str]] = {}
    # A hair of overlap hides the seams that antialiasing leaves between neighbors.
    side = number(cell + (0.4 if cell < 12 else 0))
    columns = [number(x + col * cell) for col in range(len(colors[0]))]
    for row, line in enumerate(colors):
        rest = f" {number(y + row * cell)}h{side}v{side}h-{side}z"
        for left, fill in zip(columns, line):
            cells.setdefault(fill, []).append(f"M{left}{rest}")
    for fill, outlines in cells.items():
        svg.add("path", {"fill": fill, "d": "".join(outlines)})


def pick_layer(
    svg: Svg,
    x: float,
    y: float,
    width: float,
    height: float,
    cells: tuple[int, int],
    at: tuple[int, int],
    pick: str,
    label: str,
) -> None:
    """A layer over rows x columns of `cells` that takes clicks and keys: one keyboard stop, which
    begins at the cell `at`; the explorer's `pick` gets "<pick>,<row>,<column>"."""
    (rows, cols), (row, col) = cells, at
    layer = {"x": x, "y": y, "width": width, "height": height, "fill": "#ffffff"}
    layer |= {"fill-opacity": 0, "cursor": "pointer", "tabindex": 0, "role": "application"}
    layer |= {"data-pick": clean(pick), "data-rows": rows, "data-cols": cols}
    layer |= {"data-at": f"{row},{col}", "aria-label": f"{clean(label)}; arrow keys move"}
    svg.add("rect", layer)


def _pick(svg: Svg, x, y, rows, cols, cell, pick, at, label) -> None:
    """The layer, and a frame around the cell `at`."""
    row, col = at or (0, 0)
    if at is not None:
        svg.rect(x + col * cell, y + row * cell, cell, cell, stroke=HIGHLIGHT, line=2.5)
    label = f"{label or pick}: row {row}, column {col}"
    size = cols * cell, rows * cell, (rows, cols)
    pick_layer(svg, x, y, *size, (row, col), pick, label)


def _png(values: list[list[float]], low: float, high: float) -> bytes:
    """A palette PNG: 255 steps of the ramp and, last, NaN's color.

    Stored, not compressed: what zlib compresses to differs between its builds, and the same state
    must give the same bytes.
    """
    scale = 254 / (high - low) if high != low else 0.0
    lines = (bytes(_level((value - low) * scale) for value in line) for line in values)
    size = struct.pack(">IIBBBBB", len(values[0]), len(values), 8, 3, 0, 0, 0)
    pixels = zlib.compress(b"".join(b"\0" + line for line in lines), 0)
    chunks = (b"IHDR", size), (b"PLTE", _palette(low, high)), (b"IDAT", pixels), (b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(body)) + name + body + struct.pack(">I", zlib.crc32(name + body))
        for name, body in chunks
    )


def _level(step: float) -> int:
    return 0 if step <= 0 else 254 if step >= 254 else int(step + 0.5) if step == step else 255


@lru_cache(maxsize=64)
def _palette(low: float, high: float) -> bytes:
    steps = [step / 254 for step in range(255)]
    if low < high:
        ramp = [shade(low + (high - low) * step, low, high) for step in steps]
    else:
        ramp = [mix("#ffffff", INK, step) for step in steps]
    return b"".join(bytes.fromhex(fill[1:]) for fill in (*ramp, GRID))
