"""An explorer in a notebook: one anywidget, and beside it the picture for pages without a kernel.

The controls are native inputs of `explorer.js`, so that every front end that shows an anywidget
shows all of it: JupyterLab, Notebook 7, VS Code, Colab (ipywidgets 7.7), marimo.
"""

from __future__ import annotations

import io
import re
from pathlib import Path

import anywidget
import traitlets

from cnnlab.course.explorers.explorer import Explorer
from cnnlab.course.look import MUTED, PAPER, SMALL
from cnnlab.course.page import script
from cnnlab.course.pictures import svg as drawings

MOVE = "A stored picture: run this cell in JupyterLab (Shift+Enter) to move it."
STRIP = 30  # height of that line, below the picture
_SIZE = re.compile(r'viewBox="0 0 ([\d.]+) ([\d.]+)"')
STORED_BYTES = 57_000  # of SVG and PNG together, as they stand in a notebook
COLORS = 160


class ExplorerView(anywidget.AnyWidget):
    """The page of an explorer. `page` is fixed, `asked` comes from the page, `shown` goes to it."""

    page = traitlets.Dict().tag(sync=True)
    asked = traitlets.Dict({"n": 0, "steps": []}).tag(sync=True)
    shown = traitlets.Dict().tag(sync=True)

    _esm = script(Path(__file__).with_name("explorer.js"))
    _css = Path(__file__).with_name("explorer.css")

    def __init__(self, explorer: Explorer):
        super().__init__(page=explorer.page(), shown=explorer.shown())
        explorer.listen(lambda: setattr(self, "shown", explorer.shown()))
        self.observe(lambda change: explorer.answer(change["new"]), "asked")


def bundle(explorer: Explorer) -> tuple[dict[str, object], dict[str, object]]:
    """Data and metadata of an explorer's output, at most 60 kB."""
    data, about = widget_bundle(explorer.view)
    svg = still(explorer.svg)
    width, height = (float(n) for n in _SIZE.search(svg).groups())
    words = f"{repr(explorer).rstrip('.')}."
    alt = {"alt": words}
    data |= {
        "text/plain": f"{words} Run the cell to move it.",
        "image/svg+xml": svg,
        "image/png": small_png(svg, STORED_BYTES - len(svg)),
    }
    about |= {
        "image/svg+xml": alt,
        "image/png": {"width": round(width), "height": round(height), **alt},
    }
    return data, about


def widget_bundle(view: anywidget.AnyWidget) -> tuple[dict[str, object], dict[str, object]]:
    """What shows a widget, in ipywidgets 7 too, and the metadata with which Colab finds the front
    end of one (anywidget switches its manager of custom widgets on)."""
    found = view._repr_mimebundle_() or ({}, {})
    data, about = found if isinstance(found, tuple) else (found, {})
    return dict(data), dict(about)


def still(svg: str) -> str:
    """The picture with a line below it that says where it can be moved."""
    width, height = _SIZE.search(svg).groups()
    taller = drawings.number(float(height) + STRIP)
    svg = svg.replace(f'viewBox="0 0 {width} {height}"', f'viewBox="0 0 {width} {taller}"', 1)
    svg = svg.replace(f' height="{height}"', f' height="{taller}"', 2)  # picture and paper
    x, y = drawings.number(float(width) / 2), drawings.number(float(height) + STRIP / 2)
    line = f'<text x="{x}" y="{y}" font-size="{SMALL}" fill="{MUTED}" text-anchor="middle">'
    return f"{svg.removesuffix('</svg>')}{line}{MOVE}</text></svg>"


def small_png(svg: str, room: float) -> bytes:
    """The PNG of a picture in its most frequent colors, as sharp as fits into `room` bytes of
    base64. Its text chunk "Description" is the SVG's label."""
    from PIL import Image, PngImagePlugin

    about = PngImagePlugin.PngInfo()
    about.add_itxt("Description", drawings.label_of(svg))
    for zoom in (2, 1.5, 1):
        drawn = Image.open(io.BytesIO(drawings.render(svg, zoom))).convert("RGBA")
        drawn = Image.alpha_composite(Image.new("RGBA", drawn.size, PAPER), drawn).convert("RGB")
        counted = sorted(drawn.getcolors(drawn.width * drawn.height), reverse=True)[:COLORS]
        palette = Image.new("P", (1, 1))
        palette.putpalette([part for _, color in counted for part in color])
        file = io.BytesIO()
        few = drawn.quantize(palette=palette, dither=Image.Dither.NONE)
        few.save(file, "PNG", optimize=True, pnginfo=about)
        if file.tell() * 4 / 3 <= room:
            break
    return file.getvalue()
