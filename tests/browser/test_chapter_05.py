"""Chapter 05 in a real JupyterLab: the explorer answers to the keys."""

from __future__ import annotations

from cnnlab.arithmetic import bytes_text, count_text
from cnnlab.course.explorers.ch05_vgg_budget import bill, lines
from tests.browser.harness import texts

EXPLORER = "vgg-budget"
CELLS = ["05-start", "05-explore"]


def test_keys_move_the_bill_of_the_images_and_not_the_other(page, explorer):
    start = explorer.settle()
    assert ">73.4 MB for one image<" in start

    explorer.press("ArrowRight", "batch size", times=22)
    shown = explorer.settle()
    assert f">{bytes_text(23 * bill(lines('D', False, 224)).per_image)} for 23 images<" in shown
    assert "The 23 images: 1.0 times the memory of weights" in shown

    explorer.press("ArrowLeft", "resolution", times=3)
    shown = explorer.settle()
    smaller = bill(lines("D", False, 128))
    assert f">{bytes_text(23 * smaller.per_image)} for 23 images<" in shown
    assert f">{count_text(138_357_544)}<" in shown
    page.check()


def test_network_use_and_reset(page, explorer):
    start = explorer.settle()
    explorer.control("network").select_option(label="VGG-19 (E)")
    explorer.control("use").select_option(label="inference")
    explorer.control("batch norm").press("Space")
    shown = explorer.settle()
    assert ">143,678,248<" in shown and ">Alive in inference<" in shown
    explorer.button("Reset").click()
    explorer.wait_change(shown)
    assert texts(explorer.settle()) == texts(start)
    page.check()
