"""Chapter 06 in a real JupyterLab: every cell runs, and the explorer answers to the keys."""
from __future__ import annotations

import re

import pytest

from cnnlab.arithmetic import count_text
from cnnlab.explorers.inception import naive, reduced

NOTEBOOK = "06-inception.ipynb"


@pytest.fixture
def page(lab):
    with lab.open(NOTEBOOK) as opened:
        yield opened


def test_the_chapter_runs_without_an_error(page):
    page.run_all()
    assert "387,072 naive" in page.explorer("inception").svg()


def test_keys_stack_modules_and_change_widths(page):
    page.run_cells(["06-start", "06-explore"])
    explorer = page.explorer("inception")
    assert "0.42x" in explorer.settle()

    explorer.press("ArrowRight", "stacked modules")
    shown = explorer.settle()
    weights = naive(192, 64, 128, 32).weights + naive(416, 64, 128, 32).weights
    assert f">{count_text(weights)} naive<" in shown
    assert "Naive module, number 2 of 2" in shown

    explorer.press("ArrowLeft", "stacked modules")
    explorer.press("ArrowRight", "1x1 before 3x3", times=4)
    explorer.press("Home", "1x1 after pooling")
    shown = explorer.settle()
    module = reduced(192, 64, 100, 128, 16, 32, 1)
    assert f">{count_text(module.weights)} reduced<" in shown
    assert "= 225 channels" in shown
    page.check()


def test_the_far_end_is_no_bargain_and_reset_brings_the_start_back(page):
    page.run_cells(["06-start", "06-explore"])
    explorer = page.explorer("inception")
    start = explorer.settle()
    explorer.press("End", "1x1 before 3x3")
    explorer.press("End", "1x1 before 5x5")
    moved = explorer.settle()
    assert "No bargain" in moved
    explorer.button("Reset").click()
    explorer.wait_change(moved)
    assert labels(explorer.settle()) == labels(start)
    page.check()


def labels(svg: str) -> list[str]:
    return re.findall(r"<text[^>]*>([^<]*)</text>", svg)
