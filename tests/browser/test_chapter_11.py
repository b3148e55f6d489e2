"""Chapter 11 in a real JupyterLab: the explorer answers to the keys."""

from __future__ import annotations

from cnnlab.arithmetic import count_text
from cnnlab.course.explorers.ch11_separable import designs

EXPLORER = "separable"
CELLS = ["11-start", "11-explore"]


def test_keys_move_kernel_and_channels_and_the_bill_follows(page, explorer):
    before = explorer.settle()
    explorer.press("ArrowRight", "kernel k", times=2)
    explorer.press("ArrowLeft", "channels c", times=4)
    shown = explorer.settle()
    assert shown != before
    for design in designs(7, 32, 32, 6):
        assert f", {count_text(design.weights)} weights<" in shown
    explorer.button("Reset").click()
    assert explorer.wait_change(shown) == before
    page.check()
