"""The same explorer, quiz and prediction in JupyterLab, Notebook 7 and marimo, by keyboard; and in
ipywidgets 7.7, which is Colab's.

They need no torch. CNNLAB_FRONT_ENDS may name a folder with the two environments new/ and old/ of
`WANTED` and `SHARED`; else they are made for the run. Pictures go to the folder CNNLAB_SHOTS.
"""

from __future__ import annotations

import json
import os
import re
import secrets
import socket
import subprocess
import sys
import time
import urllib.request
from pathlib import Path

import nbformat
import pytest
from nbformat.v4 import new_code_cell, new_notebook
from playwright.sync_api import sync_playwright

from cnnlab.course.explorers.ch02_receptive_field import START, Taps, draw
from tests.browser.chromium import find_chromium
from tests.browser.harness import BROWSER_ARGUMENTS, ROOT, ExplorerHandle, Lab, stop, texts

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


@pytest.fixture(scope="module")
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


def served(command, folder, url):
    """Start a server in its own session and wait until it answers."""
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "CNNLAB_SCALE": "quick"}
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


def drive(page):
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
    shots = os.environ.get("CNNLAB_SHOTS")
    return explorer, shots and Path(shots)


def shoot(page, folder, name):
    if folder:
        folder.mkdir(parents=True, exist_ok=True)
        page.screenshot(path=folder / f"{name}.png")


def test_in_jupyterlab(notebook):
    with Lab(notebook.parent) as lab, lab.open(notebook) as opened:
        opened.run_all()
        _, shots = drive(opened.page)
        shoot(opened.page, shots, "jupyterlab")
        opened.check()


def test_in_notebook_7(environments, browser, notebook):
    token, where = secrets.token_hex(16), port()
    url = f"http://127.0.0.1:{where}"
    command = [environments["new"] / "bin" / "python", "-m", "notebook", "--no-browser"]
    command += ["--allow-root", f"--ServerApp.port={where}", f"--IdentityProvider.token={token}"]
    command += ["--ServerApp.ip=127.0.0.1", f"--ServerApp.root_dir={notebook.parent}"]
    process = served(command, notebook.parent, f"{url}/api/status?token={token}")
    try:
        page = browser.new_page(viewport={"width": 1280, "height": 1600})
        page.set_default_timeout(60_000)
        page.goto(f"{url}/notebooks/{notebook.name}?token={token}")
        page.get_by_text("Python 3 (ipykernel)").or_(page.get_by_text("Python 3")).first.wait_for()
        cells = page.locator(".jp-Notebook .jp-CodeCell")
        for cell in (cells.nth(number) for number in range(3)):
            for _ in range(60):  # a key before the kernel is there is lost
                cell.locator(".cm-content").click()
                page.keyboard.press("Control+Enter")
                page.wait_for_timeout(1000)
                if re.search(r"\[[\d*]", cell.locator(".jp-InputPrompt").inner_text()):
                    break
        page.locator(".cnnlab-guess").wait_for()  # a cell that ends takes the focus
        page.wait_for_timeout(1000)
        _, shots = drive(page)
        shoot(page, shots, "notebook-7")
        assert cells.count() == 3, "a key leaked"
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
    where = port()
    url = f"http://127.0.0.1:{where}"
    command = [environments["new"] / "bin" / "python", "-m", "marimo", "run", "app.py"]
    command += ["--headless", "--no-token", "--host", "127.0.0.1", "--port", str(where)]
    process = served(command, tmp_path, f"{url}/health")
    try:
        page = browser.new_page(viewport={"width": 1280, "height": 1600})
        page.set_default_timeout(60_000)
        page.goto(url)
        _, shots = drive(page)
        shoot(page, shots, "marimo")
    finally:
        stop(process)


def test_with_ipywidgets_7(environments):
    sources = json.dumps([SOURCE, QUIZ, GUESS])
    python = environments["old"] / "bin" / "python"
    run = [python, "-c", f"SOURCES = {sources}\n{OLD}"]
    done = subprocess.run(
        run, env={**os.environ, "PYTHONPATH": str(ROOT)}, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
