"""Chapter 02 as a learner uses it: keys move the explorer, numbers are right."""

from __future__ import annotations

from cnnlab.arithmetic import Window
from cnnlab.course.explorers.ch02_receptive_field import IMAGE
from tests.browser.harness import texts

EXPLORER = "receptive-field"
CELLS = ["02-start", "02-explore"]


def shown(svg: str) -> str:
    return " ".join(texts(svg))


def described(layers, unit) -> str:
    """The explorer's first sentence for padded layers of (kernel, stride, dilation)."""
    window = Window()
    for kernel, stride, dilation in layers:
        window = window.then(kernel, stride, dilation * (kernel - 1) // 2, dilation)
    first, last = window.box(unit)
    return (
        f"Receptive field {window.size}: columns {first} to {last} of 0 to {IMAGE - 1}, center "
        f"{window.center(unit):g}."
    )


def test_arrow_keys_on_the_sliders_change_the_chosen_layer(page, explorer):
    before = explorer.settle()
    assert described([(3, 1, 1), (3, 2, 1), (3, 1, 1), (3, 1, 1)], 8) in shown(before)
    explorer.press("ArrowRight", "dilation", times=2)
    explorer.wait_change(before)
    before = explorer.settle()
    assert described([(3, 1, 1), (3, 2, 3), (3, 1, 1), (3, 1, 1)], 8) in shown(before)
    explorer.press("ArrowLeft", "stride")
    explorer.wait_change(before)
    assert described([(3, 1, 1), (3, 1, 3), (3, 1, 1), (3, 1, 1)], 16) in shown(explorer.settle())
    page.check()


def test_layers_are_chosen_added_and_removed_by_mouse_and_by_key(page, explorer):
    before = explorer.settle()
    explorer.click_pick("layer,0")
    before = explorer.wait_change(before)
    assert "The sliders set layer 1." in shown(before)
    explorer.press("ArrowRight", "kernel", times=4)
    explorer.wait_change(before)
    before = explorer.settle()
    assert described([(7, 1, 1), (3, 2, 1), (3, 1, 1), (3, 1, 1)], 8) in shown(before)
    explorer.pick("add").press("Enter")
    before = explorer.wait_change(before)
    assert described([(7, 1, 1), (3, 2, 1), *[(3, 1, 1)] * 3], 8) in shown(before)
    explorer.click_pick("remove")
    after = explorer.wait_change(before)
    assert described([(7, 1, 1), (3, 2, 1), (3, 1, 1), (3, 1, 1)], 8) in shown(after)
    page.check()


def test_arrow_keys_move_the_unit(page, explorer):
    before = explorer.settle()
    explorer.pick("unit").press("ArrowRight")
    explorer.wait_change(before)
    before = explorer.settle()  # the page moves its own mark at once
    assert "unit (8, 9)" in shown(before)
    assert described([(3, 1, 1), (3, 2, 1), (3, 1, 1), (3, 1, 1)], 9) in shown(before)
    explorer.pick("unit").press("ArrowUp")
    explorer.wait_change(before)
    assert "unit (7, 9)" in shown(explorer.settle())
    page.check()


def test_an_impossible_stack_is_a_sentence_and_the_explorer_goes_on(page, explorer):
    before = explorer.settle()
    explorer.control("pad every layer by half its kernel").click()
    before = explorer.wait_change(before)
    for slider, times in (("dilation", 8), ("kernel", 4)):
        explorer.press("ArrowRight", slider, times=times)
    explorer.wait_change(before)
    before = explorer.settle()
    assert "does not fit size" in explorer.text()
    explorer.button("Reset").click()
    explorer.wait_change(before)
    assert described([(3, 1, 1), (3, 2, 1), (3, 1, 1), (3, 1, 1)], 8) in shown(explorer.settle())
    page.check()
