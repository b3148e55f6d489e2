"""The harness itself: it drives a live widget, and it notices what it must notice."""

from __future__ import annotations

import nbformat
import pytest
from nbformat.v4 import new_code_cell, new_notebook

from tests.browser.harness import HarnessError

WIDGETS = """
import ipywidgets as w
stride = w.IntSlider(description="stride", min=1, max=9)
other = w.IntSlider(description="padding", min=0, max=9)
dilated = w.Checkbox(description="dilated")
mode = w.Dropdown(description="mode", options=["valid", "same"])
picture = w.HTML()
def draw(_=None):
    if stride.value == 9:
        raise ValueError("nine")
    picture.value = ('<svg viewBox="0 0 300 20"><text y="15" data-pick="3,4">'
                     f'stride {stride.value} padding {other.value} '
                     f'{mode.value} {dilated.value}</text></svg>')
for control in (stride, other, dilated, mode):
    control.observe(draw, "value")
draw()
box = w.VBox([stride, other, dilated, mode, picture])
box.add_class("cnnlab-explorer")
box.add_class("cnnlab-tiny")
box
"""
SLOW = """
import time
def slower(_):
    time.sleep(1)
    draw()
other.unobserve_all()
other.observe(slower, "value")
"""


@pytest.fixture
def page(lab, tmp_path):
    cells = {
        "widgets": WIDGETS,
        "lines": "for i in range(50): print(i)",
        "count": "from pathlib import Path\nPath('here.txt').write_text('x')",
        "slow": SLOW,
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
    explorer.control("mode").select_option("same")
    assert "same True" in explorer.settle()
    explorer.click_pick("3,4")
    with pytest.raises(HarnessError, match="did not change"):
        explorer.wait_change(explorer.svg(), timeout=0.5)
    page.check()


def test_settle_waits_for_a_kernel_that_needs_longer_than_a_quiet_moment(page):
    page.run_cells(["widgets", "slow"])
    explorer = page.explorer("cnnlab-tiny")
    explorer.press("End", "padding")  # a control's first word goes to the main shell
    assert "padding 9" in explorer.settle(quiet=0.1)
    explorer.press("Home", "padding")  # the next one to the subshell
    assert "padding 0" in explorer.settle(quiet=0.1)


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
