import io
import struct
import xml.etree.ElementTree as ElementTree

import pytest
from PIL import Image

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


def test_the_png_shows_text_and_is_the_same_each_time():
    with_text, without = drawings.Svg(100, 40, "x"), drawings.Svg(100, 40, "x")
    with_text.text(10, 20, "words")
    assert drawings.to_png(str(with_text)) == drawings.to_png(str(with_text))
    assert len(drawings.to_png(str(with_text))) > len(drawings.to_png(str(without))) + 300


def test_a_png_too_large_at_twice_the_size_is_drawn_once(monkeypatch):
    svg = drawings.sentence("Many words make many bytes.", 300, 100)
    assert struct.unpack(">II", drawings.to_png(svg)[16:24]) == (600, 200)
    monkeypatch.setattr("cnnlab.course.pictures.svg._PNG_BYTES", len(drawings.to_png(svg)) - 100)
    assert struct.unpack(">II", drawings.to_png(svg)[16:24]) == (300, 100)


def test_a_drawing_shows_itself_as_a_picture_that_a_narrow_page_shrinks():
    svg = drawings.sentence("A & B", 300, 100)
    data, metadata = drawings.Drawing(svg)._repr_mimebundle_()
    assert set(data) == {"text/plain", "image/png"} and data["text/plain"] == "Drawing: A & B"
    assert struct.unpack(">II", data["image/png"][16:24]) == (600, 200)
    assert metadata == {"image/png": {"width": 300, "height": 100, "alt": "A & B"}}
    picture = Image.open(io.BytesIO(data["image/png"]))
    picture.load()  # the chunk is sound, and what follows is still read
    assert picture.info["Description"] == "A & B" and picture.size == (600, 200)
