"""Chapter 07 in a real JupyterLab: every cell runs, and the explorer answers to the keys."""

from __future__ import annotations

import re

from cnnlab.course.explorers.ch07_gradient_flow import flow, short


def test_the_chapter_runs_without_an_error(page):
    page.run_all()
    assert "20 layers, sigmoid, Xavier" in page.explorer("gradient-flow").svg()


def test_keys_move_the_controls_and_the_numbers_follow(page):
    page.run_cells(["07-start", "07-explore"])
    explorer = page.explorer("gradient-flow")
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
    assert labels(explorer.settle()) == labels(start)
    page.check()


def labels(svg: str) -> list[str]:
    return re.findall(r"<text[^>]*>([^<]*)</text>", svg)
