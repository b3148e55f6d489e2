"""The same explorer, quiz and prediction in JupyterLab, Notebook 7 and marimo, by keyboard; in
ipywidgets 7.7, which is Colab's; and chapter 02 from its file in Notebook 7 and marimo.

CNNLAB_FRONT_ENDS may name a folder with the two environments new/ and old/ of `WANTED` and
`SHARED`; else they are made for the run. torch is not in them: Notebook 7 starts the kernel of the
environment that runs the tests, and marimo is imported into it. Pictures go to the folder
CNNLAB_SHOTS.
"""

from __future__ import annotations

import json
import os
import re
import socket
import subprocess
import sys
import time
import urllib.request
from contextlib import contextmanager, suppress
from pathlib import Path

import nbformat
import pytest
from nbformat.v4 import new_code_cell, new_notebook
from playwright.sync_api import TimeoutError as PlaywrightTimeout
from playwright.sync_api import sync_playwright

from cnnlab.course.explorers.ch02_receptive_field import START, Taps, draw
from tests.browser.chromium import find_chromium
from tests.browser.harness import (
    BROWSER_ARGUMENTS,
    ROOT,
    RUN_SECONDS,
    ExplorerHandle,
    Lab,
    faults,
    stop,
    texts,
)

SOURCE = """
from cnnlab.course.explorers.ch02_receptive_field import receptive_field
receptive_field()
"""
QUIZ = """
from cnnlab.course.quiz import Option, Question, Quiz
Quiz(Question("Which?", (Option("this", "It is.", True), Option("that", "It is not."))))
"""
GUESS = """
from cnnlab.course.prediction import Prediction
Prediction("p", 50, "How many?", "%", 50, lambda prediction, measured: None)
"""
SHARED = "anywidget ipykernel matplotlib pillow resvg-py".split()
WANTED = {"new": ["notebook", "marimo"], "old": ["ipywidgets==7.7.1", "ipython<9"]}
OLD = """
import ipywidgets
from IPython.core.formatters import DisplayFormatter
assert ipywidgets.__version__.startswith("7.7"), ipywidgets.__version__
for source in SOURCES:
    *first, last = source.strip().splitlines()
    exec("\\n".join(first))
    shown = eval(last)
    data, _ = DisplayFormatter().format(shown)
    assert "model_id" in data["application/vnd.jupyter.widget-view+json"], list(data)
    assert "image/png" in data or "text/markdown" in data
    if "image/png" in data:
        shown.view.set_state({"asked": {"n": 1, "steps": [["set", "kernel", 5]]}})
        assert shown.view.shown["n"] == 1 and shown.state["kernel"] == 5
"""


@pytest.fixture(scope="module")
def environments(tmp_path_factory):
    """Folders of the two environments by name."""
    folder = os.environ.get("CNNLAB_FRONT_ENDS")
    if folder:
        return {name: Path(folder, name) for name in WANTED}
    made = {name: tmp_path_factory.mktemp("env") / name for name in WANTED}
    for name, place in made.items():
        subprocess.run([sys.executable, "-m", "venv", place], check=True)
        pip = [place / "bin" / "pip", "install", "--quiet", *WANTED[name], *SHARED]
        subprocess.run(pip, check=True, timeout=1500)
    return made


@pytest.fixture
def browser():
    """A Chromium that reaches nothing but this machine."""
    with sync_playwright() as playwright:
        found = playwright.chromium.launch(executable_path=find_chromium(), args=BROWSER_ARGUMENTS)
        yield found
        found.close()


@pytest.fixture
def notebook(tmp_path):
    """A notebook with the three."""
    cells = [new_code_cell(source.strip()) for source in (SOURCE, QUIZ, GUESS)]
    kernel = {"name": "python3", "display_name": "Python 3"}
    path = tmp_path / "three.ipynb"
    nbformat.write(new_notebook(cells=cells, metadata={"kernelspec": kernel}), path)
    return path


def served(command, folder, url, packages=()):
    """Start a server in its own session and wait until it answers."""
    path = os.pathsep.join(map(str, (ROOT, *packages)))
    environment = {**os.environ, "PYTHONPATH": path, "CNNLAB_SCALE": "quick"}
    for variable in ("JUPYTER_CONFIG_DIR", "JUPYTER_RUNTIME_DIR", "IPYTHONDIR", "XDG_CONFIG_HOME"):
        environment[variable] = str(folder / variable.lower())
    with open(folder / "server.log", "w") as log:
        process = subprocess.Popen(
            command, cwd=folder, env=environment, stdout=log, stderr=log, start_new_session=True
        )
    for _ in range(400):
        try:
            with urllib.request.urlopen(url, timeout=5):
                return process
        except OSError:
            time.sleep(0.3)
    stop(process)
    raise AssertionError((folder / "server.log").read_text()[-2000:])


def port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def move(page):
    """Every kind of control by keyboard; the numbers are those of Python's own draw."""
    explorer = ExplorerHandle(page, page.locator(".cnnlab-explorer.cnnlab-receptive-field").first)
    start = texts(explorer.settle())
    state = {"kernel": 3, "stride": 2, "dilation": 1, "padded": True, "layer": 1}
    state |= {"used": False, "unit": None}
    assert start == texts(draw(**state, stack=START))
    explorer.press("ArrowRight", "dilation", times=2)
    assert texts(explorer.settle()) == texts(draw(**{**state, "dilation": 3}, stack=START))
    explorer.typed("kernel").fill("5")
    explorer.control("pad every layer by half its kernel").press("Space")
    moved = {**state, "dilation": 3, "kernel": 5, "padded": False}
    assert texts(explorer.settle()) == texts(draw(**moved, stack=START))
    explorer.button("Reset").press("Enter")
    assert texts(explorer.settle()) == start
    explorer.pick("add").press("Enter")
    explorer.settle()
    explorer.pick("unit").press("ArrowRight")
    stack = (*START[:1], Taps(3, 2, 1), *START[2:], Taps())
    grown = {**state, "stride": 1, "layer": 4, "unit": (8, 9)}
    assert texts(explorer.settle()) == texts(draw(**grown, stack=stack))


def drive(page):
    """The explorer, the quiz and the prediction of the small notebook, by keyboard."""
    move(page)
    quiz = page.locator(".cnnlab-quiz:not(.cnnlab-guess)").first
    quiz.get_by_label("that").focus()
    page.keyboard.press("Space")
    quiz.get_by_text("Not quite.").wait_for()
    page.keyboard.press("ArrowUp")
    quiz.get_by_text("1 of 1 answered, 1 right").wait_for()
    guess = page.locator(".cnnlab-guess").first
    guess.get_by_role("spinbutton").fill("42")
    page.keyboard.press("Enter")
    guess.get_by_text("Your prediction: 42 %").wait_for()


def predict(page):
    guess = page.locator(".cnnlab-guess").first
    guess.get_by_role("spinbutton").fill("42")
    page.keyboard.press("Enter")
    guess.get_by_text("Your prediction: 42 columns").wait_for()


def answer(page):
    quiz = page.locator(".cnnlab-quiz:not(.cnnlab-guess)").first
    quiz.get_by_role("radio").first.press("Space")
    quiz.get_by_text(re.compile(r"1 of \d+ answered, [01] right")).wait_for()


def code_after(cells, name):
    """Ids of the code cells behind the one called `name`."""
    ids = [cell["id"] for cell in cells]
    return [cell["id"] for cell in cells[ids.index(name) + 1 :] if cell["cell_type"] == "code"]


def shoot(page, name):
    folder = os.environ.get("CNNLAB_SHOTS")
    if folder:
        page.screenshot(path=Path(folder, f"{name}.png"), full_page=True)


class Notebook7(Lab):
    """The harness with Notebook 7 of another environment."""

    app, trait, tree = "notebook", "JupyterNotebookApp", "notebooks"
    many = False

    def open(self, *arguments, **more):
        opened = super().open(*arguments, **more)
        own = "Cannot read properties of undefined (reading 'schema')"  # before any cell has run
        opened.page_errors[:] = [error for error in opened.page_errors if error != own]
        return opened


def test_in_jupyterlab(notebook):
    with Lab(notebook.parent) as lab, lab.open(notebook) as opened:
        opened.run_all()
        drive(opened.page)
        shoot(opened.page, "jupyterlab")
        opened.check()


def test_in_notebook_7(environments, notebook):
    python = environments["new"] / "bin" / "python"
    with Notebook7(notebook.parent, python) as lab, lab.open(notebook) as opened:
        opened.run_all()
        drive(opened.page)
        shoot(opened.page, "notebook-7")
        assert len(opened.cells()) == 3, "a key leaked"
        opened.check()


def test_chapter_02_in_notebook_7(environments):
    python = environments["new"] / "bin" / "python"
    with Notebook7(python=python) as lab, lab.open("02-receptive-fields.ipynb") as opened:
        before = opened.cells()
        opened.run_until(lambda cell: cell["id"] == "02-predict")
        predict(opened.page)
        opened.run_cells(code_after(before, "02-predict"))
        move(opened.page)
        answer(opened.page)
        for theme in ("light", "dark"):
            opened.dress(theme)
            # Jupyter shows no alt text of a picture: there it is in the metadata only.
            ours = ".jp-OutputArea-output:not(.jp-RenderedImage, .jp-RenderedSVG)"
            assert not faults(opened.page, ours)
            shoot(opened.page, f"chapter-notebook-7-{theme}")
        assert [cell["source"] for cell in opened.cells()] == [cell["source"] for cell in before]
        opened.check()


@contextmanager
def marimo(browser, python, folder, *arguments, **more):
    """A page of marimo's server, which is stopped in the end."""
    where = port()
    url = f"http://127.0.0.1:{where}"
    command = [python, "-m", "marimo", *arguments, "--headless", "--no-token"]
    command += ["--host", "127.0.0.1", "--port", str(where)]
    process = served(command, folder, f"{url}/health", **more)
    try:
        page = browser.new_page(viewport={"width": 1280, "height": 1600})
        page.set_default_timeout(RUN_SECONDS * 1000)  # a backstop
        foreign = []
        page.on("request", lambda request: foreign.append(request.url))
        page.goto(url)
        yield page
        own = (url, "data:", "blob:")
        assert not [asked for asked in foreign if not asked.startswith(own)]
    finally:
        stop(process)


def test_in_marimo(environments, browser, tmp_path):
    cells = "".join(
        "@app.cell\ndef _():\n"
        + "".join(f"    {line}\n" for line in source.strip().splitlines())
        + "    return\n\n"
        for source in (SOURCE, QUIZ, GUESS)
    )
    app = f"import marimo\n\napp = marimo.App()\n\n{cells}"
    (tmp_path / "app.py").write_text(app)
    python = environments["new"] / "bin" / "python"
    with marimo(browser, python, tmp_path, "run", "app.py") as page:
        drive(page)
        shoot(page, "marimo")


def test_chapter_02_in_marimo(environments, browser, tmp_path):
    """Names that a notebook sets twice, such as `answer`, become a cell's own there, and all cells
    run before a question is answered. marimo shows what a cell ends with as such, and cards on the
    way as printed text."""
    (packages,) = environments["new"].glob("lib/python*/site-packages")
    chapter = ROOT / "notebooks" / "02-receptive-fields.ipynb"
    convert = [environments["new"] / "bin" / "python", "-m", "marimo", "convert", chapter]
    subprocess.run([*convert, "-o", tmp_path / "chapter.py"], check=True, timeout=120)
    edit = ("edit", "chapter.py")
    with marimo(browser, sys.executable, tmp_path, *edit, packages=[packages]) as page:
        page.locator(".cm-content").first.wait_for()
        state = page.locator("[data-testid=cell-status]")
        busy = page.locator("[data-status=queued], [data-status=running]")
        idle = page.locator("[data-testid=cell-status][data-status=idle]")
        # The key is lost until the page is connected, which it does not show; a second one that is
        # heard late would run everything again, under the widgets.
        for _ in range(5):
            page.wait_for_timeout(5000)
            page.keyboard.press("Control+Shift+R")
            with suppress(PlaywrightTimeout):
                busy.first.wait_for(state="attached", timeout=60_000)
                break
        busy.first.wait_for(state="detached", timeout=RUN_SECONDS * 1000)
        assert idle.count() == state.count() > 50
        assert not page.locator(".has-error").count()
        page.get_by_text("Spread, over the square root of 2n/3").last.wait_for()
        page.locator(".cnnlab-card").get_by_text("sees: not attempted yet").wait_for()
        page.get_by_text("The default stands: 65 columns").wait_for()
        move(page)
        answer(page)
        assert not faults(page, "marimo-anywidget, .console-output-area")
        shoot(page, "chapter-marimo")


def test_with_ipywidgets_7(environments):
    sources = json.dumps([SOURCE, QUIZ, GUESS])
    python = environments["old"] / "bin" / "python"
    run = [python, "-c", f"SOURCES = {sources}\n{OLD}"]
    done = subprocess.run(
        run, env={**os.environ, "PYTHONPATH": str(ROOT)}, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
