"""axe finds nothing in the outputs of the exported pages, every second one in the dark theme: of
two chapters in `make test`, of all in `make test-long`."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest
from nbconvert.exporters import HTMLExporter
from traitlets.config import Config

from tests.browser.harness import faults
from tests.tools.notebooks import notebooks

ROOT = Path(__file__).resolve().parents[2]
PAGES = notebooks() if "CNNLAB_LONG" in os.environ else notebooks()[6:8]


@pytest.fixture(scope="module")
def browser(lab):
    """The session's Chromium: Playwright runs once in a process."""
    return lab.browser


@pytest.mark.parametrize("path", PAGES, ids=lambda path: path.stem)
def test_axe_finds_nothing_in_our_outputs(browser, tmp_path, path):
    settings = json.loads((ROOT / ".lab/jupyter_nbconvert_config.json").read_text())
    theme = ("light", "dark")[int(path.stem[:2]) % 2]
    exporter = HTMLExporter(config=Config(settings), theme=theme)
    file = tmp_path / "page.html"
    file.write_text(exporter.from_filename(str(path))[0], encoding="utf-8")
    page = browser.new_page()
    page.goto(file.as_uri(), wait_until="domcontentloaded")
    found = faults(page, ".jp-OutputArea-output")
    page.close()
    assert not found
