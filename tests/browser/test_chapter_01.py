"""Chapter 01 in a real JupyterLab: the explorer answers to keys and clicks."""

from __future__ import annotations

import pytest

from cnnlab.arithmetic import GeometryError, conv_macs, output_size
from tests.browser.harness import texts

EXPLORER = "convolution"
CELLS = ["01-start", "01-explorer"]


def test_keys_change_the_layer_and_the_numbers_follow(page, explorer):
    assert "output 6 \u00d7 6" in texts(explorer.settle())
    explorer.press("ArrowRight", "stride")
    explorer.press("ArrowRight", "padding", times=2)
    explorer.press("ArrowRight", "dilation")
    words = texts(explorer.settle())
    out = output_size(8, kernel=3, stride=2, padding=2, dilation=2)
    assert f"output {out} \u00d7 {out}" in words
    assert any(
        "(8 + 2\u00d72 \u2212 5) / 2" in text and text.endswith(f"= {out}") for text in words
    )
    assert any(text.endswith(f"= {conv_macs(1, 1, 3, out)} MACs") for text in words)

    explorer.root.get_by_label("image").select_option("photograph")
    out = output_size(50, kernel=3, stride=2, padding=2, dilation=2)
    assert f"output {out} \u00d7 {out}" in texts(explorer.settle())
    page.check()


def test_a_click_and_the_arrow_keys_choose_the_output_pixel(page, explorer):
    explorer.settle()
    map_ = explorer.pick("output").bounding_box()
    cell = map_["width"] / 6
    page.page.mouse.click(map_["x"] + 4.5 * cell, map_["y"] + 0.5 * cell)
    words = texts(explorer.settle())
    assert "at row 0," in words and "column 4" in words
    page.page.keyboard.press("ArrowDown")
    page.page.keyboard.press("ArrowRight")
    words = texts(explorer.settle())
    assert "at row 1," in words and "column 5" in words
    assert explorer.slider("output row").input_value() == "1"
    page.check()


def test_an_impossible_layer_gives_a_sentence_and_reset_brings_the_picture_back(page, explorer):
    start = texts(explorer.settle())
    explorer.press("End", "kernel size")
    explorer.press("ArrowRight", "dilation")
    explorer.settle()
    with pytest.raises(GeometryError) as refusal:
        output_size(8, kernel=7, dilation=2)
    assert str(refusal.value) in explorer.text()
    explorer.press("End", "padding")
    assert "output 4 \u00d7 4" in texts(explorer.settle())
    explorer.button("Reset").click()
    assert texts(explorer.settle()) == start
    page.check()
