import pytest

from cnnlab.course import look
from cnnlab.course.look import Card, measured


@pytest.mark.parametrize("color", [look.HIGHLIGHT, look.OUTPUT, look.INPUT, look.INK, look.MUTED])
def test_letters_can_be_read_on_paper(color):
    assert look.contrast(look.lettered(color), look.PAPER) >= 4.5


def test_mix_goes_from_start_to_end():
    assert look.mix("#000000", "#ffffff", 0) == "#000000"
    assert look.mix("#000000", "#ffffff", 0.5) == "#808080"
    assert look.mix("#000000", "#102030", 1) == "#102030"
    assert look.mix("#000000", "#ffffff", 7) == "#ffffff"


def test_contrast_of_black_and_white_is_21():
    assert look.contrast("#000000", "#ffffff") == pytest.approx(21)
    assert look.contrast("#777777", "#777777") == 1


@pytest.mark.parametrize("fill", [*look.SERIES, look.PAPER, look.GRID])
def test_text_can_be_read_on_every_color(fill):
    assert look.contrast(look.text_on(fill), fill) >= 3.6


def test_neighboring_series_differ_without_color():
    for one, other in zip(look.SERIES, look.SERIES[1:]):
        assert abs(look.luminance(one) - look.luminance(other)) > 0.02
    assert len(set(look.DASHES)) == len(set(look.MARKERS)) == len(look.SERIES)


def test_shade_goes_from_white_to_color():
    assert look.shade(0, 0, 1, "#000000") == "#ffffff"
    assert look.shade(1, 0, 1, "#000000") == "#000000"
    assert look.shade(5, 0, 1, "#000000") == "#000000"
    assert look.shade(3, 3, 3) == "#ffffff"
    assert look.shade(float("nan"), 0, 1) == look.GRID


def test_shade_tells_the_sign_on_one_scale():
    assert look.shade(0, -1, 2) == "#ffffff"
    assert look.shade(2, -1, 2) == look.HIGHLIGHT
    assert look.shade(-2, -2, 1) == look.INPUT
    assert look.shade(-1, -1, 2) == look.mix("#ffffff", look.INPUT, 0.5)


def test_card_says_the_same_as_text_and_as_html():
    card = Card("good", "Title", ("a `line`",), (("name", "n"), ("x", "12")), "code()")
    assert str(card) == "Title\na `line`\nname   n\nx     12\ncode()"
    html = card._repr_mimebundle_()["text/html"]
    assert all(part in html for part in ("Title", "a <code>line</code>", "12", "code()"))


def test_card_escapes_what_it_is_given():
    html = Card("bad", "<b>", ("a & b",), code="<script>").to_html()
    assert "<b>" not in html and "<script>" not in html and "a &amp; b" in html


def test_a_percent_sign_stays_with_its_number_and_code_stays_code():
    page = Card("note", "`7 % 2` is 1", rows=(("", measured("45 (42 to 47) %")),)).to_html()
    assert "(42 to 47)\N{NO-BREAK SPACE}%</span>" in page and "<code>7 % 2</code>" in page
