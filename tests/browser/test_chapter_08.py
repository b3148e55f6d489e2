"""Chapter 08 in a real JupyterLab: every cell runs, and the explorers answer to keys and clicks."""

from __future__ import annotations

import re


def test_the_chapter_runs_without_an_error(page):
    page.run_all()
    assert "256 of 512 paths left" in page.explorer("residual-paths").svg()
    assert "56 layers, ReLU, He, batch norm" in page.explorer("gradient-flow").svg()


def test_a_block_is_deleted_by_key_and_by_click_and_comes_back(page):
    page.run_cells(["08-start", "08-explore-paths"])
    explorer = page.explorer("residual-paths")
    start = explorer.settle()
    explorer.pick("residual 2").press("Enter")
    one = explorer.wait_change(start)
    assert "128 of 512 paths left" in one
    explorer.click_pick("plain 5")
    explorer.wait_change(one)
    assert "256 of 512 paths left" in explorer.settle()
    explorer.button("Reset").click()
    explorer.settle()
    assert labels(explorer.settle()) == labels(start)
    page.check()


def test_keys_move_blocks_and_branches(page):
    page.run_cells(["08-start", "08-explore-paths"])
    explorer = page.explorer("residual-paths")
    before = explorer.settle()
    explorer.press("ArrowRight", "residual blocks")
    shown = explorer.wait_change(before)
    assert "512 of 1,024 paths left" in explorer.settle()
    explorer.press("ArrowRight", "branch / shortcut")
    explorer.wait_change(shown)
    assert "0.671 of the gradient" in explorer.settle()  # 1 / (1 + 0.7 ** 2)
    page.check()


def test_the_gradient_explorer_begins_with_this_chapters_story(page):
    page.run_cells(["08-start", "08-explore-flow"])
    explorer = page.explorer("gradient-flow")
    before = explorer.settle()
    assert "Exploding: the gradient grows on its way to the first layers." in before
    assert "Switch the skips on" in explorer.text()
    explorer.control("a skip around every two convolutions").check()
    after = explorer.wait_change(before)
    assert "Every layer gets a gradient of a similar size." in after
    page.check()


def labels(svg: str) -> list[str]:
    return re.findall(r"<text[^>]*>([^<]*)</text>", svg)
