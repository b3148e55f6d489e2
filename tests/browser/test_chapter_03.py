"""Chapter 03 in a real JupyterLab: the explorer answers to the keys."""

from __future__ import annotations

from cnnlab.arithmetic import conv_params, count_text, stack_params
from tests.browser.harness import texts

EXPLORER = "small-kernels"
CELLS = ["03-start", "03-explore"]


def test_keys_move_the_widths_and_the_numbers_follow(page, explorer):
    before = explorer.settle()
    assert count_text(conv_params(128, 128, 5, bias=False)) in before

    explorer.press("Home", "input channels")
    explorer.press("ArrowRight", "input channels", times=2)
    explorer.press("ArrowLeft", "hidden channels", times=3)
    shown = explorer.settle()
    assert f">{count_text(stack_params((3, 125, 128), 3, 2))}<" in shown
    assert f">{count_text(conv_params(3, 128, 5, bias=False))}<" in shown
    assert "No bargain" in shown

    explorer.press("ArrowRight", "layers n")
    shown = explorer.settle()
    assert "3 layers of 3 x 3" in shown and "1 layer of 7 x 7" in shown
    page.check()


def test_groups_that_do_not_divide_give_a_sentence_and_reset_brings_it_back(page, explorer):
    start = explorer.settle()
    explorer.press("ArrowRight", "groups", times=2)
    explorer.settle()
    assert "3 groups do not divide 128 channels" in explorer.text()
    explorer.press("ArrowRight", "groups")
    weights = stack_params(128, 3, 2, groups=4)
    moved = explorer.settle()
    assert f">{count_text(weights)}<" in moved
    explorer.button("Reset").click()
    explorer.wait_change(moved)
    assert texts(explorer.settle()) == texts(start)
    page.check()
