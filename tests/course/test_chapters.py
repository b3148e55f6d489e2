"""Every chapter: its claims have their cells, its exercises and quiz are sound, its cells short."""

from __future__ import annotations

import importlib
import re

import pytest

from cnnlab.course.lesson import chapters
from tests.course.chapter import printed, stored_cells
from tests.tools.verify import verify

TESTS = {
    chapter: importlib.import_module(f"tests.course.test_ch{chapter}") for chapter in chapters()
}
EXERCISES = {
    chapter: importlib.import_module(f"cnnlab.course.exercises.ch{chapter}")
    for chapter in chapters()
}


@pytest.mark.parametrize(
    "chapter, claim", [(chapter, claim) for chapter in TESTS for claim in TESTS[chapter].CLAIMS]
)
def test_each_claim_has_its_cell(chapter, claim):
    """`CLAIMS` of a chapter's tests: claim -> (cell, what its compared output must say)."""
    cell, words = TESTS[chapter].CLAIMS[claim]
    cells = stored_cells(chapter)
    assert cell in cells, f"{claim}: cell {cell} is gone"
    assert " ".join(words.split()) in printed(cells[cell])
    assert "nbval-ignore-output" not in cells[cell].metadata.get("tags", [])


@pytest.mark.parametrize(
    "exercise",
    [e for module in EXERCISES.values() for e in module.exercises],
    ids=lambda exercise: exercise.name,
)
def test_exercise_is_sound(exercise):
    assert verify(exercise) == []
    assert len(exercise.mistakes) >= 2


@pytest.mark.parametrize("chapter", EXERCISES)
def test_each_exercise_is_asked_once_and_not_attempted_yet(chapter):
    cells = stored_cells(chapter).values()
    assert 4 <= len(EXERCISES[chapter].exercises) <= 8
    for exercise in EXERCISES[chapter].exercises:
        asked = [cell for cell in cells if f"ex.{exercise.name}.check(" in cell.source]
        assert len(asked) == 1, exercise.name
        shown = [output["data"]["text/plain"] for output in asked[0].outputs if "data" in output]
        # Where a bug is to be found the cell holds it, and the check sees it at once.
        status = "not yet" if exercise.level == "spot the bug" else "not attempted yet"
        assert any(
            f"{exercise.name}: {status}" in text or "not attempted yet" in text for text in shown
        ), exercise.name


@pytest.mark.parametrize("chapter", EXERCISES)
def test_exercises_rise_from_recall_to_design(chapter):
    known = ["recall", "compute", "implement", "spot the bug", "design"]
    levels = [exercise.level for exercise in EXERCISES[chapter].exercises]
    assert levels == sorted(levels, key=known.index)
    assert {"compute", "implement", "spot the bug"} <= set(levels)


@pytest.mark.parametrize("chapter", EXERCISES)
def test_links_lead_to_headings(chapter):
    prose = "\n".join(
        cell.source for cell in stored_cells(chapter).values() if cell.cell_type == "markdown"
    )
    headings = {
        line.lstrip("# ").replace(" ", "-") for line in prose.splitlines() if line.startswith("#")
    }
    links = set(re.findall(r"\]\(#(.+?)\)(?=[\s.,;:)*]|$)", prose))
    assert links <= headings, links - headings
    assert links or chapter < "03"  # those came before the myths did


@pytest.mark.parametrize("chapter", EXERCISES)
def test_quiz_has_five_questions_with_one_right_option(chapter):
    questions = importlib.import_module(f"cnnlab.course.exercises.ch{chapter}_quiz").quiz.questions
    assert len(questions) == 5
    places = [[option.right for option in question.options].index(True) for question in questions]
    assert all(sum(option.right for option in question.options) == 1 for question in questions)
    assert all(option.feedback for question in questions for option in question.options)
    assert len(set(places)) > 1, "the right option is always in the same place"


@pytest.mark.parametrize("chapter", EXERCISES)
def test_code_cells_are_short(chapter):
    for cell in stored_cells(chapter).values():
        if cell.cell_type == "code":
            most = 40 if "loop-taken-apart" in cell.metadata.get("tags", []) else 25
            assert len(cell.source.splitlines()) <= most, cell.id
