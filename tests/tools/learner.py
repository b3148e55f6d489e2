"""A learner's walk through the course: `python -m tests.tools.learner FOLDER [notebook ...]`.

Runs the notebooks in order and at quick scale, with one fresh folder of progress. Each exercise is
answered rightly and then with each of its known mistakes, each guess is typed, each quiz answered.
At the end the report is written to FOLDER, and its record held against what was done.
"""

from __future__ import annotations

import argparse
import ast
import os
import re
from pathlib import Path

import nbformat

from tests.tools.notebooks import execute, notebooks

ANSWER = """
assert ex.{name}.check(ex.{name}.answer).passed, "the solution of {name} does not pass"
for mistake in ex.{name}.mistakes:
    assert not ex.{name}.check(mistake.answer).passed, f"{name} passes: {{mistake.message}}"
"""
QUIZ = """
quiz.record(quiz.score([[o.right for o in q.options].index(True) for q in quiz.questions]), 5)
quiz
"""


def answer(notebook: nbformat.NotebookNode) -> None:
    """Type into the cells what the learner types."""
    for cell in notebook.cells:
        if cell.cell_type != "code":
            continue
        if "lesson.predict(" in cell.source:
            cell.source = guessed(cell.source)
        for name in re.findall(r"^ex\.(\w+)\.check\(", cell.source, re.MULTILINE):
            cell.source += ANSWER.format(name=name)
        if cell.source.strip() == "quiz":
            cell.source += QUIZ


def guessed(source: str) -> str:
    """The cell with a guess that is three times its default, or, of words, another word."""
    tree = ast.parse(source)
    for call in ast.walk(tree):
        if isinstance(call, ast.Call) and ast.unparse(call.func) == "lesson.predict":
            value = ast.literal_eval(call.args[1])
            call.args[1] = ast.Constant("something else" if isinstance(value, str) else 3 * value)
    return ast.unparse(tree)


def missing(row: dict, exercises: dict) -> list[str]:
    """What of a chapter's row in the report is not as the learner did it."""
    found = [f"{name} is open" for name in row["open"]]
    if not row["quiz"] or row["quiz"]["right"] != row["quiz"]["total"]:
        found.append(f"quiz: {row['quiz']}")
    if not row["predictions"]:
        found.append("no prediction")
    for guess in row["predictions"]:
        if guess["default"] or guess["measured"] is None:
            found.append(f"prediction {guess['question']!r}: {guess}")
    once = [name for name, entry in exercises.items() if entry["tries"] < 2]
    return found + [f"{name} was tried once only" for name in once]


def main() -> int:
    """Command line; 1 where the report misses something."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("notebooks", nargs="*")
    chosen = parser.parse_args()
    folder = chosen.folder.resolve()
    if folder.exists() and any(folder.iterdir()):
        raise SystemExit(f"{folder} is not empty; name a fresh folder")
    os.environ.update(LOGNAME="learner", CNNLAB_PROGRESS=str(folder))
    walked = []
    for path in notebooks(chosen.notebooks):
        execute(path, answer, str(folder))
        walked.append(path.name[:2])
        print(f"{path.stem}: done", flush=True)

    from cnnlab.course.logbook import Progress
    from cnnlab.course.report import summary, tendency, write_report

    store, status = Progress(folder), 0
    page, _ = write_report(store, folder)
    rows = [row for row in summary(store.everything()) if row["chapter"] in walked]
    for row in rows:
        amiss = missing(row, store.chapter(row["chapter"])["exercises"])
        done = f"{len(row['passed'])} exercises, {len(row['predictions'])} predictions"
        print(row["chapter"], done, *amiss, sep="; ")
        status |= bool(amiss)
    print(tendency(rows), page, sep="\n")
    return status


if __name__ == "__main__":
    raise SystemExit(main())
