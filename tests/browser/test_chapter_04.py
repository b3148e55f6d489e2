"""Chapter 04 in a real JupyterLab: the explorer answers to keys and clicks."""

from __future__ import annotations

import re

from cnnlab.arithmetic import conv_macs, conv_params, count_text
from tests.browser.harness import texts

EXPLORER = "grouped"
CELLS = ["04-start", "04-explore"]


def test_keys_move_the_groups_and_the_numbers_follow(page, explorer):
    assert count_text(conv_params(12, 12, 3, groups=2, bias=False)) in explorer.settle()

    explorer.press("ArrowRight", "groups")
    explorer.press("ArrowRight", "kernel", times=2)
    shown = explorer.settle()
    assert "in 3 groups, 4 to 4 each" in shown and "each line is a 5 x 5 kernel" in shown
    assert f">{count_text(conv_params(12, 12, 5, groups=3, bias=False))}<" in shown
    assert f">{count_text(conv_macs(12, 12, 5, 13, groups=1))}<" in shown
    assert ">0.33x<" in shown

    explorer.press("End", "groups")  # 16 does not divide 12
    explorer.settle()
    assert "16 groups do not divide 12 channels" in explorer.text()
    explorer.press("ArrowLeft", "groups", times=4)
    assert "depthwise: 1 to 1 each" in explorer.settle()
    page.check()


def test_an_output_is_chosen_and_a_second_layer_mixes(page, explorer):
    start = explorer.settle()
    explorer.pick("output").focus()
    for _ in range(7):  # faster than the kernel answers: no key may be lost
        page.page.keyboard.press("ArrowRight")
    assert "Output 7 sees 6 of 12" in explorer.settle()
    explorer.click_pick("output")  # the middle of the row
    assert re.search(r"Output [56] sees 6 of 12", explorer.settle())

    for option, seen in (("in the same groups", 6), ("sees all groups", 12)):
        explorer.control("second layer").select_option(label=option)
        assert f"sees {seen} of 12 channels" in explorer.settle()
    assert ">0.75x<" in explorer.settle()
    moved = explorer.svg()
    explorer.button("Reset").click()
    explorer.wait_change(moved)
    assert texts(explorer.settle()) == texts(start)
    page.check()
