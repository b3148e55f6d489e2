"""Chapter 07 in a real JupyterLab: the explorer answers to the keys."""

from __future__ import annotations

from cnnlab.course.explorers.ch07_gradient_flow import flow, short
from tests.browser.harness import texts

EXPLORER = "gradient-flow"
CELLS = ["07-start", "07-explore"]


def test_keys_move_the_controls_and_the_numbers_follow(page, explorer):
    start = explorer.settle()
    assert f">{short(flow(20, 'sigmoid', 'Xavier').ratio)}<" in start

    explorer.press("ArrowRight", "layers", times=2)
    shown = explorer.settle()
    assert "24 layers, sigmoid, Xavier" in shown
    assert f">{short(flow(24, 'sigmoid', 'Xavier').ratio)}<" in shown

    explorer.control("activation").select_option("ReLU")
    explorer.control("initialization").select_option("He")
    explorer.control("batch norm after each convolution").press("Space")
    shown = explorer.settle()
    assert "24 layers, ReLU, He, batch norm" in shown
    assert f">{short(flow(24, 'ReLU', 'He', True).ratio)}<" in shown

    explorer.press("Home", "layers")
    shown = explorer.settle()
    assert f">{short(flow(4, 'ReLU', 'He', True).ratio)}<" in shown

    explorer.button("Reset").click()
    explorer.wait_change(shown)
    assert texts(explorer.settle()) == texts(start)
    page.check()
