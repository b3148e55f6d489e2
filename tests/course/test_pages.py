"""No chapter is longer than a reader's hour."""

from __future__ import annotations

import nbformat
import pytest

from tests.tools.notebooks import notebooks
from tests.tools.pages import measure, wide_lines


@pytest.mark.parametrize("path", notebooks(), ids=lambda path: path.stem)
def test_a_chapter_keeps_its_limits(path):
    assert measure(path).problems() == []


@pytest.mark.parametrize("path", notebooks(), ids=lambda path: path.stem)
def test_code_that_is_shown_fits_a_narrow_page(path):
    assert wide_lines(path) == []


def test_each_chapter_leads_back_and_on():
    paths = notebooks()
    pages = [nbformat.read(path, as_version=4).cells for path in paths]
    words = [[c.source for c in page if c.cell_type == "markdown"] for page in pages]
    for before, after, here, there in zip(paths, paths[1:], words, words[1:]):
        assert any("**Next:**" in text and f"]({after.name})" in text for text in here), before.name
        assert f"]({before.name})" in there[0], after.name
