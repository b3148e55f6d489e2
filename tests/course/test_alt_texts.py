"""Exported pages: our words at every picture, and no filler."""

from __future__ import annotations

import json
import re
from html import unescape
from pathlib import Path

import nbformat
import pytest
from nbconvert.exporters import HTMLExporter
from traitlets.config import Config

from tests.tools.notebooks import notebooks

ROOT = Path(__file__).resolve().parents[2]
FILLER = "No description has been provided"


def exported(path, configured=True):
    settings = json.loads((ROOT / ".lab/jupyter_nbconvert_config.json").read_text())
    exporter = HTMLExporter(config=Config(settings if configured else {}))
    return exporter.from_filename(str(path))[0]


@pytest.mark.parametrize("path", notebooks(), ids=lambda path: path.stem)
def test_every_picture_of_an_exported_page_says_what_it_shows(path):
    page = unescape(exported(path))
    assert FILLER not in page
    pictures = 0
    for cell in nbformat.read(path, as_version=4).cells:
        for output in cell.get("outputs", []):
            data = output.get("data", {})
            if "image/svg+xml" in data:
                label = re.search(r'aria-label="([^"]*)"', data["image/svg+xml"]).group(1)
                assert f'aria-label="{unescape(label)}"' in page
            elif "image/png" in data:
                assert output.metadata["image/png"]["alt"] in page
            pictures += "image/png" in data
    assert pictures


def test_without_the_configuration_there_is_filler():
    """Else this preprocessor has become superfluous."""
    assert FILLER in exported(notebooks()[0], configured=False)
