import base64
import io
import random
import re
import xml.etree.ElementTree as ElementTree

import numpy as np
import pytest
import torch
from PIL import Image

from cnnlab.course.look import GRID, HIGHLIGHT, INK, shade
from cnnlab.course.pictures import cells
from cnnlab.course.pictures.svg import Svg
from tests.course.pictures.test_svg import elements


def drawn(*size, **options):
    svg = Svg(100, 100, "x")
    cells.grid(svg, 0, 0, *size, **options)
    return svg


def test_a_grid_draws_every_cell_once():
    values = [["#111111", "#222222", "#111111"], ["#333333"] * 3]
    paths = elements(drawn(2, 3, 10, values=values, lines=None), "path")
    counts = {path.get("fill"): path.get("d").count("M") for path in paths}
    assert counts == {"#111111": 2, "#222222": 1, "#333333": 3}
    assert paths[0].get("d").startswith("M0 0h10") and "M20 0h10" in paths[0].get("d")


@pytest.mark.parametrize("values", [[[0, 0.5, 1]], torch.tensor([[0, 0.5, 1]]), np.eye(3)[:1] / 2])
def test_a_grid_shades_by_value(values):
    paths = elements(drawn(1, 3, 20, values=values, color="#000000", lines=None), "path")
    found = {path.get("fill") for path in paths}
    assert found <= {"#ffffff", "#808080", "#000000"} and {"#ffffff", "#000000"} <= found


def test_a_grid_writes_texts_that_can_be_read():
    svg = drawn(1, 3, 20, values=[["#000000", "#ffffff", "#000000"]], texts=[["a", "b", ""]])
    assert [(t.text, t.get("x")) for t in elements(svg, "text")] == [("a", "10"), ("b", "30")]
    dark, light = (text.get("fill") for text in elements(svg, "text"))
    assert dark != INK and light == INK
    assert elements(drawn(1, 1, 20, values=[["#000000"]], texts=[[""]]), "text") == []


def test_a_grid_of_the_wrong_shape_says_so():
    with pytest.raises(ValueError, match=r"values has 1 rows of \[2\] cells, expected 2 rows of 2"):
        drawn(2, 2, 4, values=[[1, 2]])


def test_a_grid_to_pick_from_is_one_keyboard_stop():
    svg = drawn(10, 12, 8, pick="unit", at=(3, 4), label="unit of layer 2")
    (stop,) = [r for r in elements(svg, "rect") if r.get("tabindex")]
    assert (stop.get("data-rows"), stop.get("data-cols"), stop.get("data-at")) == (
        "10",
        "12",
        "3,4",
    )
    assert stop.get("aria-label") == "unit of layer 2: row 3, column 4; arrow keys move"
    (marked,) = [r for r in elements(svg, "rect") if r.get("stroke") == HIGHLIGHT]
    assert (marked.get("x"), marked.get("y")) == ("32", "24")
    assert ElementTree.fromstring(str(svg)).get("role") == "group"


def test_a_grid_of_32_by_32_is_small():
    source = random.Random(0)
    values = [[source.gauss(0, 1) for _ in range(32)] for _ in range(32)]
    assert len(str(drawn(32, 32, 8, values=values))) < 30_000


def decoded(values, low, high) -> list[list[str]]:
    """The colors that a decoder finds in the picture: rows of "#rrggbb"."""
    svg = Svg(100, 100, "test")
    cells.image(svg, 0, 0, 100, 100, values, low, high)
    data = re.search(r'href="data:image/png;base64,([^"]+)"', str(svg)).group(1)
    pixels = np.asarray(Image.open(io.BytesIO(base64.b64decode(data))).convert("RGB"))
    return [[f"#{bytes(pixel).hex()}" for pixel in row] for row in pixels]


def test_an_image_is_shaded_as_a_grid_is():
    steps = torch.arange(255.0).reshape(5, 51)
    assert decoded(steps, 0, 254) == [[shade(v, 0, 254) for v in row] for row in steps.tolist()]
    signed = (steps - 127).tolist()
    assert decoded(signed, -127, 127) == [[shade(v, -127, 127) for v in row] for row in signed]


def test_a_photograph_is_bright_where_it_is_high():
    assert decoded([[255, 0]], 255, 0) == [["#ffffff", INK]]


def test_an_image_clips_and_marks_nan():
    assert decoded([[-5, 0, 1, 9, float("nan")]], 0, 1) == [["#ffffff", "#ffffff", INK, INK, GRID]]
    assert decoded([[3, 3]], 3, 3) == [["#ffffff", "#ffffff"]]


@pytest.mark.parametrize("rows, cols", [(1, 1), (1, 300), (300, 1), (300, 301)])
def test_an_image_of_any_size_can_be_decoded(rows, cols):
    values = np.arange(rows * cols).reshape(rows, cols) % 2
    assert decoded(values, 0, 1) == [[INK if v else "#ffffff" for v in row] for row in values]


def test_an_image_is_stored_uncompressed():
    """Compressed bytes differ between builds of zlib; pictures are compared byte by byte."""
    sizes = []
    for values in (np.zeros((40, 50)), np.random.default_rng(0).random((40, 50))):
        svg = Svg(100, 100, "test")
        cells.image(svg, 0, 0, 100, 100, values, 0, 1)
        sizes.append(len(str(svg)))
    assert sizes[0] == sizes[1]


def test_an_image_can_be_picked_like_a_grid():
    svg = Svg(100, 100, "test")
    cells.image(svg, 10, 20, 60, 40, np.zeros((2, 3)), 0, 1, pick="unit", at=(1, 2), label="output")
    layer = elements(svg, "rect")[-1]
    data = [layer.get(f"data-{key}") for key in ("pick", "rows", "cols", "at")]
    assert data == ["unit", "2", "3", "1,2"]
    assert elements(svg, "image")[0].get("style") == "image-rendering:pixelated"


def test_an_image_refuses_ragged_rows():
    with pytest.raises(ValueError, match="one value per cell"):
        cells.image(Svg(10, 10, "test"), 0, 0, 10, 10, [[1, 2], [3]], 0, 1)
