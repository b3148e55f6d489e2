"""No chapter is longer than a reader's hour."""

from __future__ import annotations

import pytest

from tests.tools.notebooks import notebooks
from tests.tools.pages import measure


@pytest.mark.parametrize("path", notebooks(), ids=lambda path: path.stem)
def test_a_chapter_keeps_its_limits(path):
    assert measure(path).problems() == []
