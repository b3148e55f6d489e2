from __future__ import annotations

import json
from datetime import date
from pathlib import Path

import pytest

from cnnlab.training.records import BEGIN, END, into, records, table
from tests.bench.record import earlier

RUNS = [
    {"val_accuracy": 0.9, "test_accuracy": share, "seconds": 600.0, "cpu_seconds": cpu}
    for share, cpu in ((0.8, 90.0), (0.9, None))
]
RECORD = {
    "model": "lenet5",
    "build": {},
    "data": "digits",
    "recipe": {"epochs": 4},
    "runs": RUNS,
    "machine": "a processor",
    "threads": 1,
    "date": "2026-11-27",
}


def test_the_table_shows_mean_and_range():
    head, _, row, _, places = table([RECORD]).splitlines()
    assert head.startswith("| model | data | epochs | test | validation |")
    assert row == (
        "| `lenet5` | digits | 4 | 85.00% (80.00% to 90.00%) | 90.00% (90.00% to 90.00%) | 2 | 1.5 "
        "| 2026\N{NON-BREAKING HYPHEN}11\N{NON-BREAKING HYPHEN}27 |"
    )
    assert places == "Measured on: a processor, 1 thread."


def test_minutes_that_nobody_counted_are_not_made_up():
    row = table([RECORD | {"runs": RUNS[1:]}]).splitlines()[2]
    assert "| 1 | not counted | 2026" in row


def test_several_machines_are_numbered():
    other = RECORD | {"machine": "a card", "threads": 2}
    *_, first, second, third, _, places = table([RECORD, other, RECORD]).splitlines()
    assert [row.split("27 ")[1] for row in (first, second, third)] == ["(1) |", "(2) |", "(1) |"]
    assert places == "Measured on: (1) a processor, 1 thread; (2) a card, 2 threads."


def test_two_builds_of_a_model_are_told_apart():
    plain = table([RECORD | {"build": {"skip": False}}]).splitlines()[2]
    assert plain.startswith("| `lenet5`, skip=False | digits | 4 |")


def test_the_table_takes_its_place_and_leaves_the_rest():
    text = into(f"before\n{BEGIN}\nold\n{END}\nafter\n", [RECORD])
    assert text.startswith(f"before\n{BEGIN}\n\n| model")
    assert text.endswith(f"thread.\n\n{END}\nafter\n")
    assert "old" not in text and into(text, [RECORD]) == text
    with pytest.raises(ValueError, match="no place for the table; expected a line <!-- records"):
        into("before", [RECORD])


def test_every_record_of_the_course_says_what_was_measured_where_and_with_what():
    for record in records():
        assert RECORD.keys() | {"name", "versions", "commit", "source"} <= record.keys()
        date.fromisoformat(record["date"])
        assert record["runs"] and "hostname" not in record
        for run in record["runs"]:
            assert 0 <= run["test_accuracy"] <= 1 and run["seconds"] > 0
            assert len(run["val_accuracies"]) == record["recipe"]["epochs"]
            assert run["val_accuracy"] == max(run["val_accuracies"])


def test_the_table_of_the_readme_is_the_one_that_the_records_make():
    text = (Path(__file__).parents[2] / "README.md").read_text(encoding="utf-8")
    assert into(text, records()) == text, "python -m cnnlab records --into README.md"


def test_a_record_keeps_its_other_seeds_if_they_were_measured_alike(tmp_path):
    file = tmp_path / "a.json"
    file.write_text(json.dumps(RECORD | {"runs": [{"seed": 0}, {"seed": 1}]}))
    again = RECORD | {"runs": [{"seed": 1}, {"seed": 2}], "date": "2026-12-01"}
    assert earlier(file, again) == [{"seed": 0}]
    assert earlier(file, again | {"threads": 2}) == []
    assert earlier(tmp_path / "none.json", again) == []
