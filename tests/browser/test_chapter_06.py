"""Chapter 06 in a real JupyterLab: the explorer answers to the keys."""

from __future__ import annotations

import time

from cnnlab.arithmetic import count_text
from cnnlab.course.explorers.ch06_inception import naive, reduced
from tests.browser.harness import PAGE_SECONDS, texts

EXPLORER = "inception"
CELLS = ["06-start", "06-explore"]


def test_keys_stack_modules_and_change_widths(page, explorer):
    assert "0.42x" in texts(explorer.svg())

    explorer.press("ArrowRight", "stacked modules")
    weights = naive(192, 64, 128, 32).weights + naive(416, 64, 128, 32).weights
    wait_for(explorer, f"{count_text(weights)} naive", "Naive module, number 2 of 2")

    explorer.press("ArrowLeft", "stacked modules")
    explorer.press("ArrowRight", "1x1 before 3x3", times=4)
    explorer.press("Home", "1x1 after pooling")
    module = reduced(192, 64, 100, 128, 16, 32, 1)
    wait_for(
        explorer,
        f"{count_text(module.weights)} reduced",
        "out: 64 + 128 + 32 + 1 = 225 channels",
        "Naive module",
    )
    page.check()


def test_the_far_end_is_no_bargain_and_reset_brings_the_start_back(page, explorer):
    start = texts(explorer.svg())
    explorer.press("End", "1x1 before 3x3")
    explorer.press("End", "1x1 before 5x5")
    module = reduced(192, 64, 256, 128, 256, 32, 32)
    moved = wait_for(explorer, f"{count_text(module.weights)} reduced")  # both keys have arrived
    assert any(label.startswith("No bargain") for label in moved)
    explorer.button("Reset").click()
    assert wait_for(explorer, "163,328 reduced") == start
    page.check()


def wait_for(explorer, *expected: str) -> list[str]:
    """All labels of the picture, once these are among them. A picture at rest is not enough: on a
    busy machine the old one rests too, until the kernel has answered."""
    picture, end = explorer.svg(), time.monotonic() + PAGE_SECONDS
    while not set(expected) <= set(texts(picture)):
        left = end - time.monotonic()
        assert left > 0, f"expected {expected}, the picture says {texts(picture)}"
        picture = explorer.wait_change(picture, left)
    return texts(picture)
