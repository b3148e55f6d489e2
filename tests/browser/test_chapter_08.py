"""Chapter 08 in a real JupyterLab: the explorers answer to keys and clicks."""

from __future__ import annotations

from tests.browser.harness import texts

EXPLORER = "residual-paths"
CELLS = ["08-start", "08-explore-paths", "08-explore-flow"]


def test_a_block_is_deleted_by_key_and_by_click_and_comes_back(page, explorer):
    start = explorer.settle()
    explorer.pick("residual 2").press("Enter")
    one = explorer.wait_change(start)
    assert "128 of 512 paths left" in one
    explorer.click_pick("plain 5")
    explorer.wait_change(one)
    assert "256 of 512 paths left" in explorer.settle()
    explorer.button("Reset").click()
    explorer.settle()
    assert texts(explorer.settle()) == texts(start)
    page.check()


def test_keys_move_blocks_and_branches(page, explorer):
    before = explorer.settle()
    explorer.press("ArrowRight", "residual blocks")
    shown = explorer.wait_change(before)
    assert "512 of 1,024 paths left" in explorer.settle()
    explorer.press("ArrowRight", "branch / shortcut")
    explorer.wait_change(shown)
    assert "0.671 of the gradient" in explorer.settle()  # 1 / (1 + 0.7 ** 2)
    page.check()


def test_the_gradient_explorer_begins_with_this_chapters_story(page):
    explorer = page.explorer("gradient-flow")
    before = explorer.settle()
    assert "Exploding: the gradient grows on its way to the first layers." in before
    assert "Switch the skips on" in explorer.text()
    explorer.control("a skip around every two convolutions").check()
    after = explorer.wait_change(before)
    assert "Every layer gets a gradient of a similar size." in after
    page.check()
