"""Habits of the whole suite, notebooks included: a pytest plugin loaded with `-p tests.suite`.

- Every notebook runs at quick scale with an empty progress folder of its own.
- The long files run first: two workers then end together.
- The end of the report counts what ran by kind, shows what tests noted with
  `record_property("note", text)`, the memory of each worker, and lists loudly the browser tests
  that did not run.
"""

from __future__ import annotations

import os
import shutil
import sys
import tempfile
from pathlib import Path

import pytest
from hypothesis import settings

from tests.browser.chromium import find_chromium

try:
    import resource
except ImportError:  # Windows has none: no memory is reported there
    resource = None

KINDS = ("unit tests", "notebook cells", "browser tests")
# Longest files first, so that the last ones, which one worker may run alone, are short.
LONGEST_FIRST = (".ipynb::", "tests/browser/", "tests/training/", "tests/trace/", "")
WORKER_BYTES = 2e9
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
    config.cnnlab_peaks = {}
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
    """Long files first. Browser tests: marked by their place; without a browser, skipped, or
    failed in CI."""
    items.sort(key=lambda item: [part in item.nodeid for part in LONGEST_FIRST].index(True))
    able = find_chromium() is not None or os.environ.get("CI")
    for item in items:
        if kind(item.nodeid) == "browser tests":
            item.add_marker("browser")
            if not able:
                item.add_marker(pytest.mark.skip(reason=NO_BROWSER))


def _peak(who: int) -> int:
    """Bytes that this process, or the largest that it has waited for, held at most."""
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(who).ru_maxrss * unit


@pytest.hookimpl(wrapper=True)
def pytest_runtest_protocol(item):
    """Remember the test that raised this process's memory the most."""
    if resource is None:
        return (yield)
    before = _peak(resource.RUSAGE_SELF)
    result = yield
    grown = _peak(resource.RUSAGE_SELF) - before
    item.config.cnnlab_growth = max(
        getattr(item.config, "cnnlab_growth", (0, "")), (grown, item.nodeid)
    )
    return result


@pytest.hookimpl(trylast=True)
def pytest_sessionfinish(session):
    """Hand this process's peaks to the one that writes the report."""
    if resource is None:
        return
    config = session.config
    peaks = (
        _peak(resource.RUSAGE_SELF),
        _peak(resource.RUSAGE_CHILDREN),
        *getattr(config, "cnnlab_growth", (0, "")),
    )
    if hasattr(config, "workeroutput"):
        config.workeroutput["cnnlab_peaks"] = peaks
    elif not config.cnnlab_peaks:
        config.cnnlab_peaks["this process"] = peaks


@pytest.hookimpl(optionalhook=True)
def pytest_testnodedown(node):
    """A worker has ended: keep its peaks; one that crashed has none."""
    peaks = getattr(node, "workeroutput", {}).get("cnnlab_peaks")
    if peaks:
        node.config.cnnlab_peaks[f"worker {node.gateway.id}"] = peaks


def pytest_terminal_summary(terminalreporter, config):
    """Count by kind; tell the memory; say which browser tests did not run."""
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
    loud = {"red": True, "bold": True}
    for name, (own, child, grown, nodeid) in sorted(config.cnnlab_peaks.items()):
        # A child counts what its parent held when it was started: only more than that is its own.
        larger = f", a process it started {child / 1e6:,.0f} MB" if child > own else ""
        text = f"{name}: at most {own / 1e6:,.0f} MB{larger}; {grown / 1e6:,.0f} MB with {nodeid}"
        terminalreporter.line(text, **(loud if max(own, child) > WORKER_BYTES else {}))
    if not_run:
        terminalreporter.section("BROWSER TESTS THAT DID NOT RUN", **loud)
        for nodeid in not_run:
            terminalreporter.line(nodeid, **loud)
        terminalreporter.line(f"{len(not_run)} browser tests did not run: {NO_BROWSER}", **loud)
