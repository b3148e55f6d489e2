"""Two chapters of the site in Chromium, without Pyodide and with no other address in reach: what
needs no Python works, and what does says so. All of it: tests/long/test_site.py."""

from __future__ import annotations

import json

import nbformat
import pytest
from axe_playwright_python.sync_playwright import Axe

from cnnlab.__main__ import main
from cnnlab.course.chapters import CHAPTERS
from cnnlab.course.exercises.ch01_quiz import quiz
from tests.browser.web import served, strict
from tests.site import build, slides, ways

PAGE = "01-convolution-arithmetic.html"


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    place = tmp_path_factory.mktemp("web") / "site"
    build.build(place, ways.Where(), models=("lenet5",), numbers=("00", "01"))
    return place


@pytest.fixture(scope="module")
def address(folder):
    with served(folder) as found:
        yield found


@pytest.fixture
def page(lab, address):
    with strict(lab.browser, address) as opened:
        yield opened


def test_a_quiz_a_prediction_and_what_they_leave(page, address, tmp_path, monkeypatch):
    page.goto(address + PAGE)
    form = page.locator(".quiz")
    for place, question in enumerate(quiz.questions):
        right = [option.right for option in question.options].index(True)
        form.locator("fieldset").nth(place).get_by_role("radio").nth(right).check()
    page.get_by_text("5 of 5 answered, 5 right").wait_for()
    field = page.locator(".guess input")
    field.fill("77")
    field.press("Enter")
    page.get_by_text("Your prediction: 77").wait_for()
    assert "You predicted 77 times; measured: " in page.locator(".reveal .yours").inner_text()

    page.goto(f"{address}index.html")
    with page.expect_download() as download:
        page.get_by_role("button", name="Save as a file").click()
    saved = tmp_path / "web-progress.json"
    download.value.save_as(saved)
    monkeypatch.setenv("CNNLAB_PROGRESS", str(tmp_path / "kept"))
    assert main(["report", "--add", str(saved)]) == 0
    (record,) = (tmp_path / "kept").glob("report.json")
    done = json.loads(record.read_text())["chapters"]["01"]
    assert done["quiz"] == {"right": 5, "total": 5}
    assert done["predictions"]["macs"]["guess"] == 77


def test_what_was_answered_is_there_again_until_it_is_forgotten(page, address):
    def chosen():
        radios = page.locator(".quiz").get_by_role("radio")
        return [n for n in range(radios.count()) if radios.nth(n).is_checked()]

    def forms():
        words = [page.locator(place).inner_text() for place in (".quiz", ".guess")]
        return chosen(), page.locator(".guess input").input_value(), *words

    page.goto(address + PAGE)
    fresh = forms()
    fieldsets = page.locator(".quiz fieldset")
    fieldsets.nth(0).get_by_role("radio").nth(1).check()
    fieldsets.nth(2).get_by_role("radio").nth(0).check()
    field = page.locator(".guess input")
    field.fill("77")
    field.press("Enter")
    page.get_by_text("Your prediction: 77").wait_for()
    left = forms()
    assert len(left[0]) == 2 and "2 of 5 answered" in left[2] and left[1] == "77"
    page.reload()
    assert forms() == left
    assert "You predicted 77 times" in page.locator(".reveal .yours").inner_text()

    page.evaluate("localStorage.setItem('cnnlab-chosen-01', '{damaged')")
    page.reload()
    assert chosen() == []
    fieldsets.nth(1).get_by_role("radio").nth(0).check()
    page.goto(f"{address}index.html")
    page.on("dialog", lambda dialog: dialog.accept())
    page.get_by_role("button", name="Forget it").click()
    page.goto(address + PAGE)
    assert forms() == fresh


@pytest.mark.parametrize(
    "lacks, said",
    [
        ("", "Python could not be loaded"),  # the folder has no Pyodide
        ("window.Worker = class { constructor() { throw Error(); } }", "could not be loaded"),
        ("delete window.WebAssembly", "This browser has no WebAssembly"),
    ],
)
def test_an_explorer_without_python_says_so_and_stays(page, address, lacks, said):
    page.add_init_script(lacks)
    page.goto(address + PAGE)
    explorer = page.locator(".cnnlab-explorer").first
    slider = explorer.get_by_role("slider").first
    before = explorer.locator(".cnnlab-picture").inner_html()
    slider.press("ArrowRight")
    told = explorer.locator(".cnnlab-error", has_text=said)
    told.wait_for(timeout=60_000)
    assert explorer.locator(".cnnlab-picture").inner_html() == before


def test_a_page_opened_as_a_file_reads_and_says_what_it_needs(lab, folder):
    page = lab.browser.new_page()
    page.goto((folder / PAGE).as_uri())
    page.locator(".cnnlab-explorer").first.get_by_role("slider").first.press("ArrowRight")
    page.locator(".cnnlab-error", has_text="opened as a file").first.wait_for(timeout=60_000)
    assert page.locator(".quiz fieldset").count() == len(quiz)
    page.close()


def test_without_javascript_it_can_be_read(lab, address):
    context = lab.browser.new_context(java_script_enabled=False)
    page = context.new_page()
    page.goto(address + PAGE)
    assert "Without JavaScript this page can be read" in page.locator("noscript").inner_text()
    assert page.locator(".still svg").first.is_visible()
    assert "Things to find" in page.locator(".still").first.inner_text()
    assert quiz.questions[0].options[0].text[:10] in page.locator(".quiz").inner_text()
    context.close()


def test_search_and_theme(page, address):
    page.goto(address + PAGE)
    page.get_by_role("searchbox").press_sequentially("batch norm")
    page.locator("#found a").first.wait_for()
    assert "atch norm" in page.locator("#found").inner_text()
    page.get_by_role("button", name="Light or dark").click()
    assert page.evaluate("document.documentElement.dataset.theme") == "light"
    page.goto(f"{address}index.html")
    assert page.evaluate("document.documentElement.dataset.theme") == "light"


@pytest.mark.parametrize("name", [PAGE, "index.html", "model-lenet5.html"])
def test_axe_finds_nothing_and_a_phone_is_wide_enough(page, address, name):
    page.goto(address + name)
    found = [
        f"{violation['id']}: {node['html'][:200]}"
        for violation in Axe().run(page).response["violations"]
        for node in violation["nodes"]
    ]
    assert not found, "\n".join(found)
    page.set_viewport_size({"width": 390, "height": 844})
    assert page.evaluate("document.documentElement.scrollWidth") <= 390


def test_slides_turn_by_keyboard(page, address, folder):
    chapter = next(c for c in CHAPTERS if c.number == "01")
    notebook = nbformat.read(build.ROOT / "notebooks" / chapter.notebook, as_version=4)
    (folder / "slides.html").write_text(slides.file("01", slides.slides(notebook, quiz)), "utf-8")
    page.goto(f"{address}slides.html")
    places = page.locator("section")

    def shown():
        page.wait_for_timeout(300)
        boxes = [places.nth(n).bounding_box() for n in range(places.count())]
        return [n for n, box in enumerate(boxes) if abs(box["y"]) < 1]

    assert shown() == [0]
    for key, place in (("ArrowRight", 1), ("PageDown", 2), (" ", 3), ("ArrowLeft", 2)):
        page.keyboard.press(key)
        assert shown() == [place], key
    page.keyboard.press("End")
    page.locator("summary").last.press("Space")
    assert page.locator("details").last.get_attribute("open") is not None
