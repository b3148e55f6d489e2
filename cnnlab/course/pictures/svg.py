"""Structure drawn as SVG text: boxes, lines, arrows, words. Only `to_png` needs libraries.

Everything here is a pure function of its arguments, so the same state gives the same bytes; an
explorer sends the string to the browser, and a notebook stores it.
"""

from __future__ import annotations

import re
import struct
from collections.abc import Iterator
from contextlib import contextmanager
from html import escape, unescape
from pathlib import Path
from zlib import crc32

from cnnlab.course.look import FONT, HIGHLIGHT, INK, PAPER, TEXT, WIDTH, lettered

_PNG_BYTES = 150_000
_FIRST = 33  # bytes of a PNG's signature and first chunk
_SIZE = re.compile(r'viewBox="0 0 ([\d.]+) ([\d.]+)"')
_NOT_XML = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")


class Svg:
    """A picture under construction; `str(svg)` is the finished markup.

    Coordinates are in pixels of the picture shown at full width; the browser scales it down with
    the page. `label` says in one sentence what the picture shows, for readers who cannot see it.
    An element with `pick="name"` can be clicked and reached by keyboard in an explorer.

        svg = Svg(400, 120, "A 3x3 kernel on a 5x5 image")
        svg.rect(20, 20, 48, 48, stroke=KERNEL)
        svg.arrow(120, 60, 180, 60)
        svg.text(200, 64, "3 x 3 outputs")

    Cells of images and maps are drawn by `cells.grid` and `cells.image`.
    """

    def __init__(self, width: float, height: float, label: str):
        self.width, self.height, self.label = width, height, label
        self._parts: list[str] = []

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
        pick: str | None = None,
        label: str = "",
    ) -> None:
        place = {"x": x, "y": y, "width": width, "height": height, "rx": radius or None}
        button = {}
        if pick is not None:
            button = {"data-pick": clean(pick), "tabindex": 0, "role": "button"}
            button |= {"cursor": "pointer", "aria-label": clean(label or pick)}
        self.add("rect", place | _paint(fill, stroke, line, dash) | button)

    def circle(
        self,
        x: float,
        y: float,
        radius: float,
        fill: str = INK,
        stroke: str | None = None,
        line: float = 1,
    ) -> None:
        self.add("circle", {"cx": x, "cy": y, "r": radius} | _paint(fill, stroke, line))

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
        d = f"M{number(x1)} {number(y1)}L{number(x2)} {number(y2)}"
        self.path(d, stroke=stroke, line=line, dash=dash)

    def path(
        self,
        d: str,
        fill: str = "none",
        stroke: str | None = None,
        line: float = 1,
        dash: str = "",
        opacity: float = 1,
    ) -> None:
        """Any outline, as SVG path data; `number` writes short coordinates."""
        faint = {"opacity": opacity if opacity != 1 else None}
        self.add("path", {"d": d} | _paint(fill, stroke, line, dash) | faint)

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
    ) -> None:
        """One line whose baseline is at `y`; anchor "start", "middle" or "end"."""
        attributes = {"x": x, "y": y, "font-size": size, "fill": lettered(fill)}
        attributes["text-anchor"] = None if anchor == "start" else anchor
        attributes["font-weight"] = "bold" if bold else None
        self.add("text", attributes, clean(str(text)))

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

    def add(self, tag: str, attributes: dict[str, str | float | None], body: str = "") -> None:
        """Any element: attributes of None are left out, strings are written as they are."""
        written = "".join(
            f' {key}="{value if isinstance(value, str) else number(value)}"'
            for key, value in attributes.items()
            if value is not None
        )
        self._parts.append(f"<{tag}{written}>{body}</{tag}>" if body else f"<{tag}{written}/>")

    def __str__(self) -> str:
        width, height, drawn = number(self.width), number(self.height), "".join(self._parts)
        # Inside role img nothing can be focused.
        role = "group" if ' data-pick="' in drawn else "img"
        return (
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" '
            f'width="{width}" height="{height}" style="max-width:100%;height:auto" '
            f'role="{role}" aria-label="{clean(self.label)}" font-family="{FONT}">'
            f'<rect width="{width}" height="{height}" rx="8" fill="{PAPER}"/>{drawn}</svg>'
        )


class Drawing:
    """A finished picture. A notebook shows it as PNG: JupyterLab does not shrink a bare SVG."""

    def __init__(self, svg: str):
        self.svg = svg

    def __repr__(self) -> str:
        return f"Drawing: {label_of(self.svg)}"

    def _repr_mimebundle_(self, include=None, exclude=None):
        width, height = (round(float(size)) for size in _SIZE.search(self.svg).groups())
        data = {"text/plain": repr(self), "image/png": to_png(self.svg)}
        return data, {"image/png": {"width": width, "height": height, "alt": label_of(self.svg)}}


def label_of(svg: str) -> str:
    """The sentence that a picture carries for readers who cannot see it."""
    return unescape(re.search(r'aria-label="([^"]*)"', svg).group(1))


def to_png(svg: str) -> bytes:
    """The SVG drawn at twice its size (once, where that is over 150 kB). Its text chunk
    "Description" is the SVG's label."""
    for zoom in (2, 1):
        png = render(svg, zoom)
        if len(png) <= _PNG_BYTES:
            break
    text = b"Description\0\0\0\0\0" + label_of(svg).encode()
    chunk = struct.pack(">I", len(text)) + b"iTXt" + text + struct.pack(">I", crc32(b"iTXt" + text))
    return png[:_FIRST] + chunk + png[_FIRST:]


def render(svg: str, zoom: float) -> bytes:
    """The SVG as a PNG, the same everywhere: the only fonts are those that matplotlib brings."""
    import matplotlib
    import resvg_py

    folder, family = Path(matplotlib.get_data_path(), "fonts", "ttf"), "DejaVu Sans"
    fonts = {"font_family": family, "sans_serif_family": family, "skip_system_fonts": True}
    fonts["font_files"] = [str(folder / f"DejaVuSans{weight}.ttf") for weight in ("", "-Bold")]
    return bytes(resvg_py.svg_to_bytes(svg_string=svg, zoom=zoom, **fonts))


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


def clean(text: str) -> str:
    """Escaped, and without the control characters that XML forbids."""
    return escape(_NOT_XML.sub("", text), quote=True)


def _paint(fill: str, stroke: str | None, line: float, dash: str = "") -> dict:
    wide = line if stroke and line != 1 else None
    return {"fill": fill, "stroke": stroke, "stroke-width": wide, "stroke-dasharray": dash or None}
