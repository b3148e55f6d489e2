"""Measurements with more random starts than a page has time for, made before and stored.

`stored("03", "scores")` is what the function `scores(seed)` of that chapter's page returned for
many seeds; `python -m tests.tools.record 03 scores 20` makes the file.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

from cnnlab.course.errors import CourseError

FOLDER = Path(__file__).with_name("measurements")


@dataclass(frozen=True)
class Stored:
    """values: {row: one number per seed}, in the order of `seeds`; `made`: machine and date."""

    values: dict[str, tuple[float, ...]]
    seeds: tuple[int, ...]
    made: str


def stored(chapter: str, function: str, folder: Path = FOLDER) -> Stored:
    """What `function(seed)` of a chapter's page gave. Raises CourseError if nothing is stored."""
    path = folder / f"{chapter}-{function}.json"
    if not path.is_file():
        known = ", ".join(sorted(file.stem for file in folder.glob("*.json"))) or "nothing yet"
        raise CourseError(
            f"no measurement {path.stem!r} is stored; stored: {known}; name one of them"
        )
    found = json.loads(path.read_text(encoding="utf-8"))
    values = {name: tuple(row) for name, row in found["values"].items()}
    return Stored(values, tuple(found["seeds"]), found["made"])
