"""The harness itself: it drives a live widget, and it notices what it must notice."""

from __future__ import annotations

import nbformat
import pytest
from nbformat.v4 import new_code_cell, new_notebook

from tests.browser.harness import HarnessError, faults

WIDGETS = """
import time
from cnnlab.course.explorers.explorer import Choice, Explorer, Slider, Toggle
from cnnlab.course.pictures.svg import Svg
seconds = 0
def draw(stride, padding, dilated, mode, row):
    time.sleep(seconds)
    if stride == 9:
        raise ValueError("nine does not fit")
    svg = Svg(300, 60, f"stride {stride} padding {padding} {mode} {dilated} row {row}")
    svg.text(10, 20, svg.label)
    svg.rect(10, 30, 20, 20, "#ffffff", pick="3,4", label="a cell")
    if not row:
        svg.rect(40, 30, 20, 20, "#ffffff", pick="gone", label="once only")
    return str(svg)
explorer = Explorer("A tiny one", [
    Slider("stride", "stride", 1, 9, 1),
    Slider("padding", "padding", 0, 90, 0),
    Toggle("dilated", "dilated"),
    Choice("mode", "mode", ["valid", ("the same", "same")], "valid"),
], draw, ["Where?"], "tiny", hidden={"row": 0},
    pick=lambda state, key: {"row": state["row"] + 1})
explorer
"""
SLOW = "seconds = 1"


@pytest.fixture
def page(lab, tmp_path):
    cells = {
        "widgets": WIDGETS,
        "lines": "for i in range(50): print(i)",
        "count": "from pathlib import Path\nPath('here.txt').write_text('x')",
        "set": "explorer.set(padding=4)",
        "slow": SLOW,
        "very-slow": "seconds = 6",
        "wrong": "1 / 0",
        "after": "print('after')",
    }
    notebook = new_notebook(
        cells=[new_code_cell(source, id=name) for name, source in cells.items()],
        metadata={"kernelspec": {"name": "python3", "display_name": "Python 3"}},
    )
    path = tmp_path / "tiny.ipynb"
    nbformat.write(notebook, path)
    with lab.open(path) as opened:
        yield opened


def test_a_key_press_reaches_the_kernel_and_comes_back_as_a_picture(page):
    page.run_cells(["widgets"])
    explorer = page.explorer("cnnlab-tiny")
    before = explorer.svg()
    assert "stride 1 padding 0 valid False" in before
    explorer.press("ArrowRight", "padding", times=2)
    explorer.wait_change(before)
    assert "stride 1 padding 2 valid False" in explorer.settle()
    explorer.press("ArrowRight", "stride")
    assert "stride 2 padding 2" in explorer.settle()
    explorer.control("dilated").check()
    assert "True" in explorer.settle()
    explorer.control("mode").select_option("the same")
    assert "same True" in explorer.settle()
    explorer.click_pick("3,4")
    assert "row 1" in explorer.settle()
    with pytest.raises(HarnessError, match="did not change"):
        explorer.wait_change(explorer.svg(), timeout=0.5)
    page.check()


def test_settle_waits_for_a_slow_kernel_and_nothing_is_lost(page):
    page.run_cells(["widgets", "slow"])
    explorer = page.explorer("cnnlab-tiny")
    explorer.press("ArrowRight", "padding", times=3)
    explorer.pick("3,4").press("Enter")
    explorer.pick("3,4").press("Enter")
    explorer.press("ArrowRight", "stride", times=2)
    assert "stride 3 padding 3 valid False row 2" in explorer.settle()


def test_a_number_can_be_typed_and_is_kept_within_its_limits(page):
    page.run_cells(["widgets"])
    explorer = page.explorer("cnnlab-tiny")
    field = explorer.typed("padding")
    field.fill("57")
    assert "padding 57" in explorer.settle()
    assert explorer.slider("padding").input_value() == "57"
    field.fill("300")
    assert "padding 57" in explorer.settle()  # not while it is being typed
    field.press("Enter")
    assert "padding 90" in explorer.settle() and field.input_value() == "90"
    field.press("ArrowDown")
    assert "padding 89" in explorer.settle()
    page.run_cells(["set"])
    assert field.input_value() == "4" and "padding 4" in explorer.settle()
    page.check()


def test_no_key_leaks_to_jupyterlab_and_its_own_shortcuts_go_on(page):
    page.run_cells(["widgets"])
    explorer = page.explorer("cnnlab-tiny")
    cells = len(page.cells())
    typed = explorer.typed("padding")
    places = (explorer.slider("stride"), explorer.control("mode"), explorer.control("dilated"))
    for place in (*places, typed, explorer.button("Reset"), explorer.pick("3,4")):
        place.focus()
        for key in ("a", "b", "m", "x", "ArrowDown", "ArrowUp", "d", "d", "Control+z"):
            page.page.keyboard.press(key)
        assert place.evaluate("node => node.getRootNode().activeElement === node")
    assert len(page.cells()) == cells
    assert {cell["cell_type"] for cell in page.cells()} == {"code"}
    explorer.slider("stride").focus()
    page.page.keyboard.press("Control+Enter")  # runs the cell again: a new explorer
    explorer.root.get_by_text("stride 1 padding 0 valid False row 0").wait_for()
    page.check()


def test_focus_keeps_its_place_when_a_button_goes(page):
    page.run_cells(["widgets"])
    explorer = page.explorer("cnnlab-tiny")
    focused = "() => document.activeElement.dataset.pick ?? document.activeElement.className"
    explorer.pick("3,4").focus()
    page.page.keyboard.press("Enter")
    explorer.settle()
    assert page.page.evaluate(focused) == "3,4"
    explorer.button("Reset").click()
    explorer.settle()
    explorer.pick("gone").focus()
    page.page.keyboard.press("Enter")
    assert "gone" not in explorer.settle()
    assert page.page.evaluate(focused) == "cnnlab-picture"
    page.page.keyboard.press("Shift+Tab")  # back from there, not from the top of the page
    assert page.page.evaluate("() => document.activeElement.type") == "select-one"


def test_the_height_stays_and_the_new_picture_is_read_politely(page):
    page.run_cells(["widgets"])
    explorer = page.explorer("cnnlab-tiny")
    height = explorer.root.bounding_box()["height"]
    explorer.press("End", "stride")
    explorer.settle()
    status = explorer.root.locator(".cnnlab-error")
    assert status.inner_text() == "Change a control, or press Reset."
    assert explorer.root.bounding_box()["height"] == height
    spoken = explorer.root.locator(".cnnlab-spoken")
    assert spoken.get_attribute("aria-live") == "polite"
    spoken.get_by_text("nine does not fit").wait_for()


def test_axe_finds_nothing_in_a_live_explorer(page):
    page.run_cells(["widgets"])
    explorer = page.explorer("cnnlab-tiny")
    explorer.press("ArrowRight", "stride")
    explorer.settle()
    assert not faults(page.page, ".cnnlab-explorer")


def test_a_dead_kernel_is_said_in_words(page):
    page.run_cells(["widgets"])
    explorer = page.explorer("cnnlab-tiny")
    page.page.evaluate("() => panel.sessionContext.session.kernel.shutdown()")
    explorer.press("ArrowRight", "stride")
    explorer.root.get_by_text("No answer: the kernel is busy, or it has stopped.").wait_for()


def test_a_busy_kernel_is_said_in_words_until_it_answers(page):
    page.run_cells(["widgets", "very-slow"])
    explorer = page.explorer("cnnlab-tiny")
    explorer.press("ArrowRight", "stride")
    words = explorer.root.get_by_text("No answer: the kernel is busy, or it has stopped.")
    words.wait_for()
    assert "stride 2" in explorer.settle()
    assert words.count() == 0


def test_run_all_stops_at_an_error_and_reports_it(page):
    with pytest.raises(HarnessError, match="wrong: ZeroDivisionError"):
        page.run_all()
    outputs = {cell["id"]: cell["outputs"] for cell in page.cells()}
    assert outputs["lines"][0]["text"].splitlines()[-1] == "49"
    assert outputs["after"] == []


def test_run_until_stops_after_the_cell_it_names(page, tmp_path):
    page.run_until(lambda cell: "print(i)" in cell["source"])
    ran = [cell["id"] for cell in page.cells() if cell["outputs"]]
    assert ran == ["widgets", "lines"]
    page.run_cells(["count"])
    assert not (tmp_path / "here.txt").exists(), "the notebook must run in a copy of its folder"


def test_page_errors_and_requests_that_leave_the_machine_are_noticed(page):
    page.check()
    page.page.evaluate("() => { setTimeout(() => { throw new Error('seen'); }, 0); }")
    page.page.evaluate("() => fetch('http://example.org/').catch(() => null)")
    page.page.wait_for_timeout(200)
    with pytest.raises(HarnessError, match="(?s)page error seen.*request to http://example.org/"):
        page.check()


def test_screenshots_cover_the_whole_notebook(page, tmp_path):
    page.run_cells(["widgets", "lines"])
    tall = page.screenshots(tmp_path / "shots", "tiny", page_height=500)
    assert len(tall) >= 3 and all(piece.stat().st_size > 1000 for piece in tall)
    assert len(page.screenshots(tmp_path / "shots", "tiny", page_height=3000)) == 1
