"""Habits of the whole suite, notebooks included: a pytest plugin loaded with `-p tests.suite`.

- Every notebook runs at quick scale with an empty progress folder of its own.
- The end of the report counts what ran by kind, shows what tests noted with
  `record_property("note", text)`, and lists loudly the browser tests that did not.
"""

from __future__ import annotations

import os
import shutil
import tempfile
from pathlib import Path

import pytest
from hypothesis import settings

from tests.browser.chromium import find_chromium

KINDS = ("unit tests", "notebook cells", "browser tests")
NO_BROWSER = "no Chromium: install it (Debian: apt install chromium) or name one in CNNLAB_CHROMIUM"


def kind(nodeid: str) -> str:
    """Which of `KINDS` a test is, by its place."""
    path = nodeid.partition("::")[0]
    if path.endswith(".ipynb"):
        return "notebook cells"
    return "browser tests" if "tests/browser/" in path else "unit tests"


def pytest_configure(config):
    """Fix the scale; a learner's own progress must not reach the tests, nor theirs reach it."""
    os.environ["CNNLAB_SCALE"] = "quick"
    # The workers share the cores, and threads of tiny networks would fight for them. Read when
    # torch is first imported, here and in every kernel.
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    # No deadline: a busy machine is not a failure. No example database: nothing left behind.
    in_ci = "CI" in os.environ
    settings.register_profile("cnnlab", deadline=None, database=None, derandomize=in_ci)
    settings.load_profile("cnnlab")
    config.cnnlab_progress = Path(tempfile.mkdtemp(prefix="cnnlab-progress-"))
    os.environ["CNNLAB_PROGRESS"] = str(config.cnnlab_progress / "tests")


def pytest_unconfigure(config):
    """Remove the progress written by this run."""
    shutil.rmtree(config.cnnlab_progress, ignore_errors=True)


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_setup(item):
    """Give the kernel, which nbval starts with a notebook's first cell, a folder of its own."""
    if item.path.suffix == ".ipynb":
        os.environ["CNNLAB_PROGRESS"] = str(item.config.cnnlab_progress / item.path.stem)


def pytest_collection_modifyitems(items):
    """Browser tests: marked by their place; skipped without a browser, except in CI."""
    able = find_chromium() is not None or os.environ.get("CI")
    for item in items:
        if kind(item.nodeid) == "browser tests":
            item.add_marker("browser")
            if not able:
                item.add_marker(pytest.mark.skip(reason=NO_BROWSER))


def pytest_terminal_summary(terminalreporter):
    """Count by kind; say which browser tests did not run."""
    outcomes = {name: {} for name in KINDS}
    not_run, notes = [], []
    for outcome in ("passed", "failed", "error", "skipped", "xfailed"):
        for report in terminalreporter.stats.get(outcome, []):
            count = outcomes[kind(report.nodeid)]
            count[outcome] = count.get(outcome, 0) + 1
            properties = getattr(report, "user_properties", ())  # a failed collection has none
            notes += [text for key, text in properties if key == "note"]
            if outcome == "skipped" and NO_BROWSER in str(report.longrepr):
                not_run.append(report.nodeid)
    terminalreporter.section("what ran")
    for name, count in outcomes.items():
        text = ", ".join(f"{number} {outcome}" for outcome, number in count.items())
        terminalreporter.line(f"{name + ':':16}{text or 'none'}")
    for note in notes:
        terminalreporter.line(note)
    if not_run:
        loud = {"red": True, "bold": True}
        terminalreporter.section("BROWSER TESTS THAT DID NOT RUN", **loud)
        for nodeid in not_run:
            terminalreporter.line(nodeid, **loud)
        terminalreporter.line(f"{len(not_run)} browser tests did not run: {NO_BROWSER}", **loud)
