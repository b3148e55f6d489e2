"""Structure drawn as SVG text: grids of cells, bars, arrows. Standard library only, but for
`to_png`.

Everything here is a pure function of its arguments, so the same state gives the same bytes; an
explorer sends the string to the browser, and a notebook stores it.
"""

from __future__ import annotations

import os
import re
import struct
import zlib
from base64 import b64encode
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import lru_cache
from html import escape, unescape

from cnnlab.course.look import (
    FONT,
    GRID,
    HIGHLIGHT,
    INK,
    INPUT,
    MUTED,
    PAPER,
    SPACE,
    TEXT,
    TITLE,
    WIDTH,
    mix,
    shade,
    text_on,
)

_PNG_BYTES = 150_000
_SIZE = re.compile(r'viewBox="0 0 ([\d.]+) ([\d.]+)"')
_NOT_XML = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")


class Svg:
    """A picture under construction; `str(svg)` is the finished markup.

    Coordinates are in pixels of the picture shown at full width; the browser scales it down with
    the page. `label` says in one sentence what the picture shows, for readers who cannot see it.
    An element with `pick="name"` can be clicked and reached by keyboard in an explorer.

        svg = Svg(400, 120, "A 3x3 kernel on a 5x5 image")
        svg.grid(20, 20, 5, 5, cell=16, boxes=((0, 2, 0, 2, KERNEL),))
        svg.arrow(120, 60, 180, 60)
        svg.text(200, 64, "3 x 3 outputs")
    """

    def __init__(self, width: float, height: float, label: str, paper: str = PAPER):
        self.width, self.height, self.label, self.paper = width, height, label, paper
        self._parts: list[str] = []
        self._picks = False

    def rect(
        self,
        x: float,
        y: float,
        width: float,
        height: float,
        fill: str = "none",
        stroke: str | None = None,
        line: float = 1,
        radius: float = 0,
        dash: str = "",
        opacity: float = 1,
        pick: str | None = None,
        label: str = "",
    ) -> None:
        self._add(
            "rect",
            {
                "x": x,
                "y": y,
                "width": width,
                "height": height,
                "rx": radius or None,
                **_paint(fill, stroke, line, dash, opacity),
            },
            pick,
            label,
        )

    def circle(
        self,
        x: float,
        y: float,
        radius: float,
        fill: str = INK,
        stroke: str | None = None,
        line: float = 1,
        pick: str | None = None,
        label: str = "",
    ) -> None:
        self._add(
            "circle",
            {"cx": x, "cy": y, "r": radius, **_paint(fill, stroke, line, "", 1)},
            pick,
            label,
        )

    def line(
        self,
        x1: float,
        y1: float,
        x2: float,
        y2: float,
        stroke: str = INK,
        line: float = 1,
        dash: str = "",
    ) -> None:
        self.path(
            f"M{number(x1)} {number(y1)}L{number(x2)} {number(y2)}",
            stroke=stroke,
            line=line,
            dash=dash,
        )

    def path(
        self,
        d: str,
        fill: str = "none",
        stroke: str | None = None,
        line: float = 1,
        dash: str = "",
        opacity: float = 1,
        pick: str | None = None,
        label: str = "",
    ) -> None:
        """Any outline, as SVG path data; `number` writes short coordinates."""
        self._add("path", {"d": d, **_paint(fill, stroke, line, dash, opacity)}, pick, label)

    def arrow(
        self, x1: float, y1: float, x2: float, y2: float, stroke: str = INK, line: float = 1.5
    ) -> None:
        """A straight arrow with its head at (x2, y2)."""
        length = max(((x2 - x1) ** 2 + (y2 - y1) ** 2) ** 0.5, 1e-9)
        ux, uy, head = (x2 - x1) / length, (y2 - y1) / length, 4 + 2 * line
        bx, by = x2 - ux * head, y2 - uy * head
        self.line(x1, y1, bx, by, stroke, line)
        half = head / 2
        points = ((x2, y2), (bx - uy * half, by + ux * half), (bx + uy * half, by - ux * half))
        self.path("M" + "L".join(f"{number(x)} {number(y)}" for x, y in points) + "z", fill=stroke)

    def text(
        self,
        x: float,
        y: float,
        text: object,
        size: float = TEXT,
        fill: str = INK,
        anchor: str = "start",
        bold: bool = False,
        pick: str | None = None,
    ) -> None:
        """One line whose baseline is at `y`; anchor "start", "middle" or "end"."""
        self._add(
            "text",
            {
                "x": x,
                "y": y,
                "font-size": size,
                "fill": fill,
                "text-anchor": None if anchor == "start" else anchor,
                "font-weight": "bold" if bold else None,
            },
            pick,
            str(text),
            body=_clean(str(text)),
        )

    def paragraph(
        self,
        x: float,
        y: float,
        text: str,
        width: float,
        size: float = TEXT,
        fill: str = INK,
        anchor: str = "start",
    ) -> float:
        """Text wrapped to `width`, first baseline at `y`; gives the baseline after the last."""
        for line in wrap(text, width, size):
            self.text(x, y, line, size, fill, anchor)
            y += size * 1.45
        return y

    @contextmanager
    def group(self, x: float = 0, y: float = 0, opacity: float = 1) -> Iterator[None]:
        """Everything drawn inside is moved by (x, y)."""
        move = f' transform="translate({number(x)} {number(y)})"' if x or y else ""
        faint = f' opacity="{number(opacity)}"' if opacity != 1 else ""
        self._parts.append(f"<g{move}{faint}>")
        yield
        self._parts.append("</g>")

    def grid(
        self,
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
        boxes: Sequence[tuple] = (),
        pick: str | None = None,
        at: tuple[int, int] | None = None,
        label: str = "",
    ) -> None:
        """Cells of an image, a kernel or a feature map.

        `values`: rows x cols numbers (nested sequences, arrays, tensors), shaded from `low` to
        `high` (default: their range) by `look.shade`; or colors "#rrggbb". `texts`: rows x cols
        strings or numbers, "" for none. `boxes`: (top, bottom, left, right, color) inclusive cells
        to be outlined; an edge outside the grid is drawn outside. `pick`: the grid becomes one
        keyboard stop whose arrow keys move the cell `at`; the explorer's `pick` gets
        "<pick>,<row>,<col>".
        """
        if values is not None:
            self._shading(x, y, rows, cols, cell, _rows(values), low, high, color)
        else:
            self.rect(x, y, cols * cell, rows * cell, fill="#ffffff")
        if lines and cell >= 4:
            across = "".join(
                f"M{number(x)} {number(y + i * cell)}h{number(cols * cell)}"
                for i in range(rows + 1)
            )
            down = "".join(
                f"M{number(x + i * cell)} {number(y)}v{number(rows * cell)}"
                for i in range(cols + 1)
            )
            self.path(across + down, stroke=lines, line=min(1, cell / 12))
        if texts is not None:
            self._texts(
                x,
                y,
                cell,
                _rows(texts),
                _rows(values) if values is not None else None,
                low,
                high,
                color,
            )
        for top, bottom, left, right, stroke in boxes:
            self.rect(
                x + left * cell,
                y + top * cell,
                (right - left + 1) * cell,
                (bottom - top + 1) * cell,
                stroke=stroke,
                line=2.5,
            )
        if pick is not None:
            self._pick_grid(x, y, rows, cols, cell, pick, at, label)

    def image(
        self,
        x: float,
        y: float,
        width: float,
        height: float,
        values: object,
        low: float | None = None,
        high: float | None = None,
        color: str = INK,
        *,
        pick: str | None = None,
        at: tuple[int, int] | None = None,
        label: str = "",
    ) -> None:
        """rows x cols numbers as one picture with hard pixels: for images too large for `grid`.

        Shaded as in `grid`, in 255 steps from `low` to `high` (default: the values' range). A
        photograph is bright where its values are high: give it low=255, high=0. `pick` and `at`
        as in `grid`, for square pixels.
        """
        lines = _rows(values)
        levels, palette = _levels(lines, low, high, color)
        data = b64encode(_png(levels, palette)).decode()
        self._add(
            "image",
            {
                "x": x,
                "y": y,
                "width": width,
                "height": height,
                "preserveAspectRatio": "none",
                "style": "image-rendering:pixelated",
                "href": f"data:image/png;base64,{data}",
            },
        )
        if pick is not None:
            rows, cols = len(lines), len(lines[0])
            self._pick_grid(x, y, rows, cols, width / cols, pick, at, label)

    def bars(
        self,
        x: float,
        y: float,
        width: float,
        rows: Sequence[tuple[str, float, str]],
        color: str = INPUT,
        *,
        colors: Sequence[str] | None = None,
        top: float | None = None,
        row: float = 28,
        label_width: float | None = None,
    ) -> float:
        """Horizontal bars, one per (label, value, text); gives the y below the last one.

        Bars start at zero and the longest (or the value `top`) fills the width that labels and
        texts leave; a negative or NaN value draws no bar. `colors`: one per row.
        """
        if not rows:
            return y
        if label_width is None:
            label_width = max(text_width(label, TEXT) for label, _, _ in rows) + SPACE
        text_room = max(text_width(text, TEXT) for _, _, text in rows) + SPACE
        room = max(width - label_width - text_room, 1)
        top = max([v for _, v, _ in rows if v == v] + [0]) if top is None else top
        for index, (label, value, text) in enumerate(rows):
            middle, fill = y + row / 2, colors[index] if colors else color
            length = room * min(max(value / top, 0), 1) if top > 0 and value == value else 0
            self.text(x + label_width - SPACE, middle + TEXT * 0.36, label, anchor="end")
            self.rect(x + label_width, y + row * 0.15, length, row * 0.7, fill=fill, radius=2)
            self.text(x + label_width + length + SPACE / 2, middle + TEXT * 0.36, text)
            y += row
        self.line(x + label_width, y, x + label_width, y - row * len(rows), stroke=MUTED)
        return y

    def __str__(self) -> str:
        width, height = number(self.width), number(self.height)
        role = "group" if self._picks else "img"  # inside role img nothing can be focused
        return (
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" '
            f'width="{width}" height="{height}" style="max-width:100%;height:auto" '
            f'role="{role}" aria-label="{_clean(self.label)}" font-family="{FONT}">'
            f'<rect width="{width}" height="{height}" rx="8" fill="{self.paper}"/>'
            + "".join(self._parts)
            + "</svg>"
        )

    # -- how it is written

    def _add(
        self, tag: str, attributes: dict, pick: str | None = None, label: str = "", body: str = ""
    ) -> None:
        written = "".join(
            f' {key}="{number(value) if not isinstance(value, str) else value}"'
            for key, value in attributes.items()
            if value is not None
        )
        if pick is not None:
            self._picks = True
            written += (
                f' data-pick="{_clean(pick)}" tabindex="0" role="button" cursor="pointer" '
                f'aria-label="{_clean(label or pick)}"'
            )
        self._parts.append(f"<{tag}{written}>{body}</{tag}>" if body else f"<{tag}{written}/>")

    def _shading(self, x, y, rows, cols, cell, values, low, high, color) -> None:
        _check_cells(values, rows, cols, "values")
        low, high = _range(values, low, high)
        # One path per shade instead of one rect per cell: a tenth of the bytes.
        by_fill: dict[str, list[str]] = {}
        # A hair of overlap hides the seams that antialiasing leaves between neighbors.
        side = number(cell + (0.4 if cell < 12 else 0))
        columns = [number(x + col * cell) for col in range(cols)]
        closing = f"h{side}v{side}h-{side}z"
        for r, line in enumerate(values):
            start = " " + number(y + r * cell) + closing
            for c, value in enumerate(line):
                fill = value if isinstance(value, str) else _shade(value, low, high, color)
                by_fill.setdefault(fill, []).append("M" + columns[c] + start)
        self._parts += [
            f'<path fill="{fill}" d="{"".join(cells)}"/>' for fill, cells in by_fill.items()
        ]

    def _texts(self, x, y, cell, texts, values, low, high, color) -> None:
        if values is not None:
            low, high = _range(values, low, high)
        longest = max((len(_cell_text(t)) for line in texts for t in line), default=1)
        size = min(TEXT, cell * 0.5, cell * 1.5 / max(longest, 1))
        for r, line in enumerate(texts):
            for c, text in enumerate(line):
                if text == "":
                    continue
                fill = INK
                if values is not None:
                    value = values[r][c]
                    fill = text_on(
                        value if isinstance(value, str) else _shade(value, low, high, color)
                    )
                self.text(
                    x + (c + 0.5) * cell,
                    y + (r + 0.5) * cell + size * 0.36,
                    _cell_text(text),
                    size,
                    fill,
                    "middle",
                )

    def _pick_grid(self, x, y, rows, cols, cell, pick, at, label) -> None:
        self._picks = True
        row, col = at if at is not None else (0, 0)
        what = label or pick
        if at is not None:  # below the layer that takes the clicks
            self.rect(x + col * cell, y + row * cell, cell, cell, stroke=HIGHLIGHT, line=2.5)
        self._parts.append(
            f'<rect x="{number(x)}" y="{number(y)}" width="{number(cols * cell)}" '
            f'height="{number(rows * cell)}" fill="#ffffff" fill-opacity="0" cursor="pointer" '
            f'tabindex="0" role="application" data-pick="{_clean(pick)}" data-rows="{rows}" '
            f'data-cols="{cols}" data-at="{row},{col}" '
            f'aria-label="{_clean(what)}: row {row}, column {col}; arrow keys move"/>'
        )


class Drawing:
    """A finished picture. In a notebook it shows itself as SVG and, where that is refused, PNG."""

    def __init__(self, svg: str):
        self.svg = svg

    def __repr__(self) -> str:
        label = re.search(r'aria-label="([^"]*)"', self.svg)
        return f"Drawing: {unescape(label.group(1))}"

    def _repr_mimebundle_(self, include=None, exclude=None):
        width, height = (round(float(size)) for size in _SIZE.search(self.svg).groups())
        data = {"text/plain": repr(self), "image/svg+xml": self.svg, "image/png": to_png(self.svg)}
        return data, {"image/png": {"width": width, "height": height}}


def to_png(svg: str) -> bytes:
    """The SVG drawn at twice its size (once, where that is over 150 kB), the same everywhere: the
    only fonts are those that matplotlib brings."""
    import matplotlib
    import resvg_py

    folder = os.path.join(matplotlib.get_data_path(), "fonts", "ttf")
    fonts = [os.path.join(folder, name) for name in ("DejaVuSans.ttf", "DejaVuSans-Bold.ttf")]
    for zoom in (2, 1):
        png = bytes(
            resvg_py.svg_to_bytes(
                svg_string=svg,
                zoom=zoom,
                skip_system_fonts=True,
                font_files=fonts,
                font_family="DejaVu Sans",
                sans_serif_family="DejaVu Sans",
            )
        )
        if len(png) <= _PNG_BYTES:
            break
    return png


def grid(
    values: object,
    label: str,
    *,
    cell: float = 16,
    title: str = "",
    color: str = INK,
    low: float | None = None,
    high: float | None = None,
    texts: object = None,
    boxes: Sequence[tuple] = (),
) -> str:
    """One image or feature map as a picture of its own; arguments as in `Svg.grid`."""
    lines = _rows(values)
    rows, cols = len(lines), len(lines[0])
    top = 2 * SPACE + (TITLE + SPACE if title else 0)
    width = max(cols * cell, text_width(title, TEXT)) + 4 * SPACE
    svg = Svg(width, top + rows * cell + 2 * SPACE, label)
    if title:
        svg.text(2 * SPACE, 2 * SPACE + TEXT, title, bold=True)
    svg.grid(
        2 * SPACE,
        top,
        rows,
        cols,
        cell,
        values=lines,
        low=low,
        high=high,
        color=color,
        texts=texts,
        boxes=boxes,
    )
    return str(svg)


def bars(
    title: str,
    rows: Sequence[tuple[str, float, str]],
    label: str,
    *,
    color: str = INPUT,
    colors: Sequence[str] | None = None,
    width: float = WIDTH,
) -> str:
    """Labeled horizontal bars as a picture of its own; rows as in `Svg.bars`."""
    svg = Svg(width, 28 * len(rows) + TITLE + 5 * SPACE, label)
    svg.text(2 * SPACE, 2 * SPACE + TEXT, title, size=TITLE - 2, bold=True)
    svg.bars(2 * SPACE, TITLE + 3 * SPACE, width - 4 * SPACE, rows, color, colors=colors)
    return str(svg)


def sentence(text: str, width: float = WIDTH, height: float = 240) -> str:
    """A sentence in place of a picture, in a frame of the picture's size."""
    svg = Svg(width, height, text)
    svg.rect(1, 1, width - 2, height - 2, stroke=HIGHLIGHT, line=1.5, radius=7, dash="6 5")
    lines = wrap(text, width * 0.8, TEXT + 1)
    y = height / 2 - (len(lines) - 1) * (TEXT + 1) * 0.72 + TEXT * 0.36
    svg.paragraph(width / 2, y, text, width * 0.8, TEXT + 1, anchor="middle")
    return str(svg)


# -- numbers and words


def number(value: float) -> str:
    """At most two decimals and no trailing zeros: 3, 0.5, -1.25."""
    if isinstance(value, int):
        return str(value)
    text = f"{value:.2f}".rstrip("0").rstrip(".")
    return "0" if text in ("-0", "") else text


def text_width(text: str, size: float) -> float:
    """Roughly the pixels a text takes: DejaVu Sans has letters of about 0.62 of the size."""
    return len(text) * size * 0.62


def wrap(text: str, width: float, size: float = TEXT) -> list[str]:
    """Lines no wider than `width` pixels; a single longer word stays whole."""
    lines: list[str] = []
    for word in text.split():
        if lines and text_width(f"{lines[-1]} {word}", size) <= width:
            lines[-1] += " " + word
        else:
            lines.append(word)
    return lines or [""]


def _clean(text: str) -> str:
    """Escaped, and without the control characters that XML forbids."""
    return escape(_NOT_XML.sub("", text), quote=True)


def _paint(fill: str, stroke: str | None, line: float, dash: str, opacity: float) -> dict:
    return {
        "fill": fill,
        "stroke": stroke,
        "stroke-width": line if stroke and line != 1 else None,
        "stroke-dasharray": dash or None,
        "opacity": opacity if opacity != 1 else None,
    }


def _rows(values: object) -> list:
    return values.tolist() if hasattr(values, "tolist") else [list(line) for line in values]


def _check_cells(values: list, rows: int, cols: int, name: str) -> None:
    if len(values) != rows or any(len(line) != cols for line in values):
        widths = sorted({len(line) for line in values})
        raise ValueError(
            f"{name} has {len(values)} rows of {widths} cells, expected {rows} rows "
            f"of {cols}; give one value per cell"
        )


def _range(values: list, low: float | None, high: float | None) -> tuple[float, float]:
    if low is not None and high is not None:
        return low, high
    known = [v for line in values for v in line if not isinstance(v, str) and v == v] or [0, 1]
    return (min(known) if low is None else low), (max(known) if high is None else high)


def _shade(value: float, low: float, high: float, color: str) -> str:
    """`look.shade` in 64 steps, so that cells of nearly the same value share a path."""
    if value != value or high <= low:
        return shade(value, low, high, color)
    step = round((value - low) / (high - low) * 64)
    return _step(min(max(step, 0), 64), low, high, color)


@lru_cache(maxsize=4096)
def _step(step: int, low: float, high: float, color: str) -> str:
    return shade(low + (high - low) * step / 64, low, high, color)


def _levels(
    values: list, low: float | None, high: float | None, color: str
) -> tuple[list[bytes], bytes]:
    """Rows of palette indices, and the palette: 255 steps of the ramp and, last, NaN's color."""
    _check_cells(values, len(values), len(values[0]), "values")
    low, high = _range(values, low, high)
    scale = 254 / (high - low) if high != low else 0.0
    rows = [bytes([_level((value - low) * scale) for value in line]) for line in values]
    return rows, _palette(low, high, color)


def _level(step: float) -> int:
    return 0 if step <= 0 else 254 if step >= 254 else int(step + 0.5) if step == step else 255


@lru_cache(maxsize=64)
def _palette(low: float, high: float, color: str) -> bytes:
    steps = [step / 254 for step in range(255)]
    ramp = (
        [shade(low + (high - low) * step, low, high, color) for step in steps]
        if low < high
        else [mix("#ffffff", color, step) for step in steps]
    )
    return b"".join(bytes.fromhex(fill[1:]) for fill in (*ramp, GRID))


def _png(rows: list[bytes], palette: bytes) -> bytes:
    """An 8-bit palette PNG (PNG specification, 3rd edition, sections 5 and 11).

    Stored, not compressed: what zlib compresses to differs between its builds, and the same state
    must give the same bytes.
    """
    raw = b"".join(b"\0" + row for row in rows)  # 0: no filter
    blocks = [raw[i : i + 65535] for i in range(0, len(raw), 65535)]
    stream = (
        b"\x78\x01"
        + b"".join(
            struct.pack("<BHH", block is blocks[-1], len(block), len(block) ^ 65535) + block
            for block in blocks
        )
        + struct.pack(">I", zlib.adler32(raw))
    )

    def chunk(kind: bytes, body: bytes) -> bytes:
        return (
            struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))
        )

    header = struct.pack(">IIBBBBB", len(rows[0]), len(rows), 8, 3, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n"
        + chunk(b"IHDR", header)
        + chunk(b"PLTE", palette)
        + chunk(b"IDAT", stream)
        + chunk(b"IEND", b"")
    )


def _cell_text(text: object) -> str:
    return f"{text:.3g}" if isinstance(text, float) else str(text)
