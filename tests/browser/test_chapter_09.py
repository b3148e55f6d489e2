"""Chapter 09 in a real JupyterLab: the explorer answers to the keys."""

from __future__ import annotations

from cnnlab.arithmetic import count_text
from cnnlab.course.explorers.ch09_dense_block import dense
from tests.browser.harness import texts

EXPLORER = "dense-block"
CELLS = ["09-start", "09-explore"]


def test_keys_move_layers_and_growth_and_the_numbers_follow(page, explorer):
    before = explorer.settle()
    explorer.press("ArrowRight", "layers L", times=6)
    explorer.press("ArrowLeft", "growth rate k", times=2)
    explorer.press("ArrowRight", "input channels", times=4)
    shown = explorer.settle()
    assert shown != before
    block = dense(80, 24, 12, True)
    assert f">{count_text(sum(block.weights))}  dense<" in shown
    assert f"The block gives {block.outputs} channels" in shown

    explorer.control("bottleneck").uncheck()
    shown = explorer.wait_change(shown)
    assert f">{count_text(sum(dense(80, 24, 12, False).weights))}  dense<" in explorer.settle()
    page.check()


def test_a_layer_is_chosen_by_click_and_by_key_and_reset_brings_the_start_back(page, explorer):
    start = explorer.settle()
    assert "Layer 4 reads 160 channels" in start
    explorer.click_pick("layer,1")
    assert "Layer 1 reads 64 channels: 64 of the input." in explorer.wait_change(start)
    first = explorer.settle()
    explorer.pick("layer,6").focus()
    page.page.keyboard.press("Enter")
    assert "Layer 6 reads 224 channels" in explorer.wait_change(first)
    moved = explorer.settle()
    explorer.button("Reset").click()
    explorer.wait_change(moved)
    assert texts(explorer.settle()) == texts(start)
    page.check()
