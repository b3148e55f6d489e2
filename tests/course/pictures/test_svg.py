import base64
import io
import random
import re
import struct
import time
import xml.etree.ElementTree as ElementTree

import matplotlib.image
import numpy as np
import pytest

from cnnlab.course.look import GRID, HIGHLIGHT, INK, INPUT, KERNEL, shade
from cnnlab.course.pictures import svg as drawings
from cnnlab.course.pictures.svg import Svg

NAMESPACE = "{http://www.w3.org/2000/svg}"


def elements(svg, tag):
    return ElementTree.fromstring(str(svg)).findall(f".//{NAMESPACE}{tag}")


def test_the_frame_of_a_picture():
    root = ElementTree.fromstring(str(Svg(300, 200, "What it shows")))
    assert root.get("viewBox") == "0 0 300 200"
    assert root.get("aria-label") == "What it shows"
    assert root.get("role") == "img"
    paper = root[0]
    assert (paper.get("width"), paper.get("height")) == ("300", "200")


def test_text_is_escaped_and_free_of_control_characters():
    svg = Svg(10, 10, 'a "quoted" <label>')
    svg.text(1, 2, "k < 3 & \x00\x1b'n'")
    assert elements(svg, "text")[0].text == "k < 3 & 'n'"
    assert ElementTree.fromstring(str(svg)).get("aria-label") == 'a "quoted" <label>'


@pytest.mark.parametrize(
    "value, text",
    [
        (3, "3"),
        (3.0, "3"),
        (0.5, "0.5"),
        (1 / 3, "0.33"),
        (-0.001, "0"),
        (-1.25, "-1.25"),
        (100.0, "100"),
    ],
)
def test_numbers_are_short(value, text):
    assert drawings.number(value) == text


def test_picked_elements_are_buttons_and_the_picture_lets_them_be_reached():
    svg = Svg(100, 100, "x")
    svg.rect(0, 0, 10, 10, pick="layer:1", label="Layer 1")
    button = elements(svg, "rect")[1]
    assert button.get("data-pick") == "layer:1"
    assert (button.get("role"), button.get("tabindex")) == ("button", "0")
    assert (button.get("aria-label"), button.get("cursor")) == ("Layer 1", "pointer")
    assert ElementTree.fromstring(str(svg)).get("role") == "group"


def test_a_picked_text_is_named_by_its_words():
    svg = Svg(100, 100, "x")
    svg.text(0, 0, "Layer 1", pick="layer:1")
    assert elements(svg, "text")[0].get("aria-label") == "Layer 1"


def test_grid_draws_every_cell_once():
    svg = Svg(100, 100, "x")
    svg.grid(
        0, 0, 2, 3, 10, values=[["#111111", "#222222", "#111111"], ["#333333"] * 3], lines=None
    )
    cells = {path.get("fill"): path.get("d").count("M") for path in elements(svg, "path")}
    assert cells == {"#111111": 2, "#222222": 1, "#333333": 3}
    first = elements(svg, "path")[0].get("d")
    assert first.startswith("M0 0h10") and "M20 0h10" in first


def test_grid_shades_by_value():
    svg = Svg(100, 100, "x")
    svg.grid(0, 0, 1, 3, 20, values=[[0, 0.5, 1]], color="#000000", lines=None)
    assert [p.get("fill") for p in elements(svg, "path")] == ["#ffffff", "#808080", "#000000"]


def test_grid_outlines_inclusive_cells_also_outside():
    svg = Svg(100, 100, "x")
    svg.grid(10, 20, 5, 5, 8, boxes=((-1, 1, 2, 4, KERNEL),))
    box = elements(svg, "rect")[-1]
    assert (box.get("x"), box.get("y"), box.get("width"), box.get("height")) == (
        "26",
        "12",
        "24",
        "24",
    )
    assert box.get("stroke") == KERNEL


def test_grid_takes_tensors():
    torch = pytest.importorskip("torch")
    svg = Svg(100, 100, "x")
    svg.grid(0, 0, 2, 2, 10, values=torch.eye(2), color="#000000", lines=None)
    assert {p.get("fill") for p in elements(svg, "path")} == {"#000000", "#ffffff"}


def test_grid_of_the_wrong_shape_says_so():
    with pytest.raises(ValueError, match=r"values has 1 rows of \[2\] cells, expected 2 rows of 2"):
        Svg(9, 9, "x").grid(0, 0, 2, 2, 4, values=[[1, 2]])


def test_a_grid_to_pick_from_is_one_keyboard_stop():
    svg = Svg(200, 200, "x")
    svg.grid(0, 0, 10, 12, 8, pick="unit", at=(3, 4), label="unit of layer 2")
    stops = [r for r in elements(svg, "rect") if r.get("tabindex")]
    assert len(stops) == 1
    assert (stops[0].get("data-rows"), stops[0].get("data-cols")) == ("10", "12")
    assert stops[0].get("data-at") == "3,4"
    assert stops[0].get("aria-label") == "unit of layer 2: row 3, column 4; arrow keys move"
    marked = [r for r in elements(svg, "rect") if r.get("stroke") == HIGHLIGHT][0]
    assert (marked.get("x"), marked.get("y")) == ("32", "24")


def test_bars_are_as_long_as_their_values():
    svg = Svg(700, 200, "x")
    below = svg.bars(
        0,
        10,
        600,
        [("a", 4, "4"), ("b", 2, "2"), ("c", 0, "0"), ("d", -1, "-1"), ("e", float("nan"), "?")],
    )
    lengths = [float(r.get("width")) for r in elements(svg, "rect")[1:]]
    assert lengths[0] == pytest.approx(2 * lengths[1], abs=0.02)
    assert lengths[2:] == [0, 0, 0]
    assert below == 10 + 5 * 28
    assert [t.text for t in elements(svg, "text")][:2] == ["a", "4"]


def test_bars_keep_their_texts_inside_the_width():
    rows = [("a long label", 5, "138,357,544"), ("b", 3, "7")]
    svg = Svg(500, 100, "x")
    svg.bars(0, 0, 400, rows)
    for text in elements(svg, "text"):
        if text.get("text-anchor") is None:
            assert float(text.get("x")) + drawings.text_width(text.text, 14) <= 400


def test_bars_of_nothing_and_of_zeros():
    svg = Svg(500, 100, "x")
    assert svg.bars(0, 7, 400, []) == 7
    svg.bars(0, 0, 400, [("a", 0, "0")])
    assert float(elements(svg, "rect")[1].get("width")) == 0


def test_an_arrow_ends_where_it_points():
    svg = Svg(100, 100, "x")
    svg.arrow(10, 50, 60, 50, line=2)
    shaft, head = elements(svg, "path")
    assert shaft.get("d") == "M10 50L52 50"
    assert head.get("d").startswith("M60 50L")


def test_a_group_moves_what_it_holds():
    svg = Svg(100, 100, "x")
    with svg.group(5, 6.5):
        svg.circle(1, 1, 1)
    assert elements(svg, "g")[0].get("transform") == "translate(5 6.5)"
    assert len(elements(svg, "g")[0]) == 1


def test_wrap_keeps_every_word_and_the_width():
    text = "kernel 7 does not fit size 5 with padding 0: pad by at least 1 on each side"
    lines = drawings.wrap(text, 200, 14)
    assert " ".join(lines) == text
    assert len(lines) > 1
    assert all(drawings.text_width(line, 14) <= 200 for line in lines)
    assert drawings.wrap("", 10) == [""]


def test_sentence_has_the_size_and_the_words_of_what_it_replaces():
    picture = ElementTree.fromstring(drawings.sentence("It cannot be <drawn>.", 640, 300))
    assert picture.get("viewBox") == "0 0 640 300"
    assert picture.get("aria-label") == "It cannot be <drawn>."


def test_ready_made_pictures():
    image = drawings.grid(
        [[0, 1], [1, 0]], "a check pattern", title="Checks", texts=[["a", ""]] * 2
    )
    assert [t.text for t in elements(image, "text")] == ["Checks", "a", "a"]
    chart = drawings.bars("Weights", [("3x3", 9, "9")], "one bar", color=INPUT)
    assert [t.text for t in elements(chart, "text")] == ["Weights", "3x3", "9"]


def test_the_same_picture_has_the_same_bytes():
    values = [[random.Random(i).random()] * 4 for i in range(4)]
    assert drawings.grid(values, "x") == drawings.grid(values, "x")


def test_a_grid_of_32_by_32_is_small_and_not_slow():
    source = random.Random(0)
    values = [[source.gauss(0, 1) for _ in range(32)] for _ in range(32)]
    assert len(drawings.grid(values, "x", cell=8)) < 30_000
    seconds = []
    for _ in range(9):
        start = time.perf_counter()
        drawings.grid(values, "x", cell=8)
        seconds.append(time.perf_counter() - start)
    assert min(seconds) < 0.02  # quiet: 0.0015; wide, for a loaded machine


def decoded(values, *arguments, **options) -> list[list[str]]:
    """The colors that a decoder finds in the picture: rows of "#rrggbb"."""
    svg = Svg(100, 100, "test")
    svg.image(0, 0, 100, 100, values, *arguments, **options)
    data = re.search(r'href="data:image/png;base64,([^"]+)"', str(svg)).group(1)
    pixels = matplotlib.image.imread(io.BytesIO(base64.b64decode(data)), format="png")
    return [
        ["#" + "".join(f"{round(float(c) * 255):02x}" for c in pixel[:3]) for pixel in row]
        for row in pixels
    ]


def test_image_is_shaded_as_a_grid_is():
    torch = pytest.importorskip("torch")
    steps = torch.arange(255.0).reshape(5, 51)
    assert decoded(steps, 0, 254) == [[shade(v, 0, 254) for v in row] for row in steps.tolist()]
    assert decoded(steps) == decoded(steps, 0, 254)
    signed = (steps - 127).tolist()
    assert decoded(signed, -127, 127) == [[shade(v, -127, 127) for v in row] for row in signed]


def test_image_of_a_photograph_is_bright_where_it_is_high():
    assert decoded([[255, 0]], 255, 0) == [["#ffffff", INK]]


def test_image_clips_and_marks_nan():
    assert decoded([[-5, 0, 1, 9, float("nan")]], 0, 1) == [["#ffffff", "#ffffff", INK, INK, GRID]]
    assert decoded([[3, 3]]) == [["#ffffff", "#ffffff"]]


@pytest.mark.parametrize("rows, cols", [(1, 1), (1, 300), (300, 1), (300, 301)])
def test_image_of_any_size_can_be_decoded(rows, cols):
    """300 x 301 is more than the 65,535 bytes of one stored block."""
    values = np.arange(rows * cols).reshape(rows, cols) % 2
    found = decoded(values, 0, 1)
    assert found == [[INK if v else "#ffffff" for v in row] for row in values.tolist()]


def test_image_can_be_picked_like_a_grid():
    svg = Svg(100, 100, "test")
    svg.image(10, 20, 60, 40, np.zeros((2, 3)), 0, 1, pick="unit", at=(1, 2), label="output")
    text = str(svg)
    for attribute in (
        'data-pick="unit"',
        'data-rows="2"',
        'data-cols="3"',
        'data-at="1,2"',
        "image-rendering:pixelated",
    ):
        assert attribute in text


def test_image_refuses_ragged_rows():
    with pytest.raises(ValueError, match="one value per cell"):
        Svg(10, 10, "test").image(0, 0, 10, 10, [[1, 2], [3]])


def test_the_png_shows_text_and_is_the_same_each_time():
    with_text, without = drawings.Svg(100, 40, "x"), drawings.Svg(100, 40, "x")
    with_text.text(10, 20, "words")
    assert drawings.to_png(str(with_text)) == drawings.to_png(str(with_text))
    assert len(drawings.to_png(str(with_text))) > len(drawings.to_png(str(without))) + 300


def test_a_png_too_large_at_twice_the_size_is_drawn_once(monkeypatch):
    svg = drawings.sentence("Many words make many bytes.", 300, 100)
    assert struct.unpack(">II", drawings.to_png(svg)[16:24]) == (600, 200)
    monkeypatch.setattr("cnnlab.course.pictures.svg._PNG_BYTES", len(drawings.to_png(svg)) - 1)
    assert struct.unpack(">II", drawings.to_png(svg)[16:24]) == (300, 100)


def test_a_drawing_shows_itself_as_svg_and_png():
    svg = drawings.sentence("A & B", 300, 100)
    data, metadata = drawings.Drawing(svg)._repr_mimebundle_()
    assert data["image/svg+xml"] == svg and data["text/plain"] == "Drawing: A & B"
    assert struct.unpack(">II", data["image/png"][16:24]) == (600, 200)
    assert metadata["image/png"] == {"width": 300, "height": 100}
