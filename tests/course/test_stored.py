"""Stored measurements are whole, and what a page's own function gives."""

from __future__ import annotations

import json
import re

import pytest

from cnnlab.course.errors import CourseError
from cnnlab.course.stored import FOLDER, stored
from tests.course.chapter import stored_cells

FILES = sorted(FOLDER.glob("*.json"))


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_a_stored_measurement_is_whole_and_its_page_has_the_function(path):
    chapter, function = path.stem.split("-")
    found = stored(chapter, function)
    assert len(found.seeds) == len(set(found.seeds)) >= 5
    assert all(len(values) == len(found.seeds) for values in found.values.values())
    assert re.search(r"torch \d.*\d{4}-\d\d-\d\d$", found.made)
    sources = "\n".join(cell.source for cell in stored_cells(chapter).values())
    assert f"def {function}(seed" in sources and f'stored("{chapter}", ' in sources
    assert f'"{function}"' in sources


def test_rows_come_back_as_they_were_written(tmp_path):
    data = {"made": "somewhere", "seeds": [3, 4], "values": {"A": [0.5, 0.25]}}
    (tmp_path / "03-scores.json").write_text(json.dumps(data))
    found = stored("03", "scores", tmp_path)
    assert found.values == {"A": (0.5, 0.25)} and found.seeds == (3, 4)


def test_what_is_not_stored_is_said(tmp_path):
    (tmp_path / "05-arms.json").write_text("{}")
    with pytest.raises(CourseError, match="'03-scores' is stored; stored: 05-arms; name one"):
        stored("03", "scores", tmp_path)
