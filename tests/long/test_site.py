"""The whole site, with its packages: every page in Chromium with no other address in reach, every
explorer moved by keyboard, and its states in Pyodide against CPython's. Fetches from npm once."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from statistics import median

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import sync_playwright

from tests.browser.chromium import find_chromium
from tests.browser.web import served, strict
from tests.site import build, live, states
from tests.tools.latency import READ, WATCH

MOST = 500  # states of an explorer; of more, so many drawn at random
FIRST_TOUCH, REDRAW = 8, 50  # seconds, milliseconds, on a quiet machine: told, not judged


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    place = tmp_path_factory.mktemp("web") / "site"
    command = [sys.executable, "-m", "tests.site", "--out", place]
    done = subprocess.run(command, cwd=build.ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    print(done.stdout)
    return place


@pytest.fixture(scope="module")
def browser():
    with sync_playwright() as running:
        started = running.chromium.launch(executable_path=find_chromium())
        yield started
        started.close()


@pytest.fixture(scope="module")
def address(folder):
    with served(folder) as found:
        yield found


@pytest.fixture
def page(browser, address):
    with strict(browser, address) as opened:
        yield opened


@pytest.fixture(scope="module")
def explorers(folder):
    return states.explorers(folder)


def test_every_page_opens_without_a_failed_request_and_axe_finds_nothing(folder, page, address):
    found, wide = [], []
    page.on("response", lambda answer: answer.ok or found.append(answer.url))
    for file in sorted(folder.glob("*.html")):
        page.goto(address + file.name)
        page.evaluate("document.querySelectorAll('img').forEach(i => { i.loading = 'eager'; })")
        page.wait_for_load_state("networkidle")
        for violation in Axe().run(page).response["violations"]:
            found += [
                f"{file.name} {violation['id']}: {n['html'][:150]}" for n in violation["nodes"]
            ]
        page.set_viewport_size({"width": 390, "height": 844})
        if page.evaluate("document.documentElement.scrollWidth") > 390:
            wide.append(file.name)
        page.set_viewport_size({"width": 1280, "height": 800})
    assert not found, "\n".join(found)
    assert not wide


CHANGED = """([picture, before, told]) => picture.innerHTML !== before
    && !picture.parentElement.querySelector(".cnnlab-error").textContent.startsWith(told)"""
AS_A_PAGE = """svg => {
    const place = document.createElement("div");
    place.innerHTML = svg;
    return place.innerHTML;
}"""


def test_every_explorer_moves_by_keyboard_as_in_cpython(page, address, explorers, record_property):
    first, later = [], []
    for file, own in explorers:
        page.goto(address + file)
        place = [e["key"] for f, e in explorers if f == file].index(own["key"])
        explorer = page.locator(".cnnlab-explorer").nth(place)
        control = next(c for c in own["page"]["controls"] if c["kind"] == "slider")
        slider = explorer.get_by_role("slider").first
        picture = explorer.locator(".cnnlab-picture")

        def press(key):
            before, began = picture.inner_html(), time.monotonic()
            slider.press(key)
            given = [picture.element_handle(), before, "Loading"]
            page.wait_for_function(CHANGED, arg=given, timeout=120_000)
            return time.monotonic() - began

        there, back = "ArrowRight", "ArrowLeft"
        if own["shown"]["values"][control["name"]] == control["max"]:
            there, back = back, there
        first.append(press(there))
        step = ["set", control["name"], float(slider.input_value())]
        asked = [
            f"{own['key']} here",
            json.dumps(own["call"]),
            json.dumps({"n": 1, "steps": [step]}),
        ]
        here = json.loads(live.moved(*asked))
        assert picture.inner_html() == page.evaluate(AS_A_PAGE, here["svg"]), own["key"]
        picture.evaluate(WATCH)  # by the page's own clock, without the way to this process
        for key in (back, there) * 3:
            press(key)
        page.wait_for_function("window.cnnlabSeen.times.length >= 6")  # the last one's frame
        redrawn = page.evaluate(READ)["times"]
        assert len(redrawn) == 6, own["key"]
        later += redrawn
    record_property(
        "note",
        f"site: first touch {min(first):.1f} to {max(first):.1f} s (goal {FIRST_TOUCH}), redraw "
        f"median {median(later):.0f} ms (goal {REDRAW})",
    )


def test_an_exercise_is_checked_by_the_judge(page, address, explorers):
    file = next(file for file, _ in explorers if file.startswith("01"))
    page.goto(address + file)
    form = page.locator(".cell", has=page.locator(".exercise")).first
    field = form.locator("textarea")
    field.fill("ex.params.check(0)")
    form.get_by_role("button", name="Check").click()
    form.locator("text=params: not yet").wait_for(timeout=120_000)
    form.get_by_role("button", name="Solution").click()
    form.locator("text=params: solution").wait_for()
    field.fill("while True: pass")
    form.get_by_role("button", name="Check").click()
    form.locator("text=Python gave no answer and was stopped").wait_for(timeout=60_000)
    form.get_by_role("button", name="Hint").click()
    form.locator("text=params: hint 1").wait_for(timeout=120_000)


def test_every_exercise_on_a_page_is_judged_there(page, address, folder):
    asked = 0
    for file in sorted(folder.glob("[0-9]*.html")):
        page.goto(address + file.name)
        for form in page.locator(".cell:has(.exercise)").all():
            form.get_by_role("button", name="Check").click()
            told = form.locator(".exercise [aria-live] .cnnlab-card").first
            told.wait_for(timeout=120_000)
            for wrong in ("not judged", "no torch", "The cell stopped"):
                assert wrong not in told.inner_text(), f"{file.name}: {told.inner_text()}"
            asked += 1
    assert asked > len(list(folder.glob("[0-9]*.html")))


def test_pyodide_draws_what_cpython_draws(folder, record_property):
    asked = states.asked(folder, MOST)
    wanted, made = states.in_cpython(asked), states.in_pyodide(folder, asked)
    record_property("note", f"site: {len(asked)} states, {len(set(wanted))} pictures compared")
    assert len(set(wanted)) > len(states.explorers(folder)) and len(made) == len(wanted)
    wrong = [given for given, one, other in zip(asked, wanted, made) if one != other]
    assert not wrong, f"{len(wrong)} differ, as {wrong[:3]}"
