"""Every chapter: its claims have their cells, its exercises and quiz are sound, its cells short."""

from __future__ import annotations

import ast
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
    assert words in printed(cells[cell])
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
    assert 4 <= len(EXERCISES[chapter].exercises) <= 6
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
            assert len(cell.source.splitlines()) <= 25, cell.id


@pytest.mark.parametrize("chapter", TESTS)
def test_no_compared_output_depends_on_a_clock(chapter):
    """Seconds differ from machine to machine, and so does which of two layers is the faster."""
    timed = {"perf_counter", "process_time", "monotonic", "timeit"}
    for name, cell in stored_cells(chapter).items():
        if cell.cell_type == "code":
            shown = prints_timed(ast.parse(cell.source).body, timed)
            compared = printed(cell) and "nbval-ignore-output" not in cell.metadata.get("tags", [])
            assert not (shown and compared), f"{name} prints {shown}: tag it nbval-ignore-output"


def test_a_time_is_followed_to_where_it_is_printed():
    source = """
def measure(): return perf_counter()
runs, copies = {}, {}
runs["a"] = [measure()]
slow = max(runs["a"]) > 1
for name, run in runs.items(): print(name)
"""
    for line, shown in (
        ("print(slow)", {"slow"}),
        ("print(name, copies)", set()),
        ("run", {"run"}),
        ("epoch.seconds", {"seconds"}),
        ("slow = 3; print(slow)", set()),
        ("copies['a'].append(run)\ncopies", {"copies"}),
    ):
        assert prints_timed(ast.parse(source + line).body, {"perf_counter"}) == shown, line


def prints_timed(statements, timed):
    """The timed names that the statements show; adds to `timed` what they compute from them."""
    shown = set()
    for node in statements:
        head, parts = node, []
        if isinstance(node, (ast.For, ast.If, ast.While, ast.With)):
            parts = node.body + getattr(node, "orelse", [])
            head = ast.Module([n for n in ast.iter_child_nodes(node) if n not in parts], [])
        names = [n for n in ast.walk(head) if isinstance(n, ast.Name)]
        fields = [n for n in ast.walk(head) if isinstance(n, ast.Attribute)]
        own = {
            n.id
            for c in ast.walk(head)
            if isinstance(c, ast.comprehension)
            for n in ast.walk(c.target)
            if isinstance(n, ast.Name)
        }
        bound = {n.id for n in names if isinstance(n.ctx, ast.Store)} - own
        if isinstance(node, ast.For) and ast.unparse(node.iter).endswith(".items()"):
            bound.discard(ast.unparse(node.target.elts[0]))  # the keys are no times
        if isinstance(node, (ast.FunctionDef, ast.ClassDef)):
            bound = {node.name}
        changed = {
            base(n)
            for n in ast.walk(head)
            if isinstance(n, (ast.Subscript, ast.Attribute)) and isinstance(n.ctx, ast.Store)
        }
        changed |= {base(n) for n in fields if n.attr in ("append", "extend", "update")}
        read = timed & ({n.id for n in names if isinstance(n.ctx, ast.Load)} - own - changed)
        read |= {n.attr for n in fields if n.attr == "seconds"}
        if read:
            timed |= bound | changed
        else:
            timed -= bound
        if isinstance(node, ast.Expr) and not changed:
            shown |= read
        shown |= prints_timed(parts, timed)
    return shown


def base(node):
    """The name in front of subscripts and attributes."""
    while isinstance(node, (ast.Subscript, ast.Attribute, ast.Call)):
        node = node.func if isinstance(node, ast.Call) else node.value
    return getattr(node, "id", "")
