"""Whether an exercise is sound: for the tests of each chapter."""

from __future__ import annotations

import sys
from collections.abc import Iterator

from cnnlab.course.exercises.exercise import Exercise, Verdict


def verify(exercise: Exercise) -> list[str]:
    """What is wrong with an exercise; an empty list when it is sound.

    The solution must pass; each mistake must get its own message; a stub must count as not
    attempted; and answers that make no sense must get a diagnosis, never an exception.
    """
    problems = []
    tried = exercise.bound(None)

    def judge(answer: object, label: str) -> Verdict | None:
        try:
            return tried.judge(answer)
        except Exception as error:
            problems.append(f"{label}: check raised {type(error).__name__}: {error}")
            return None

    verdict = judge(tried.answer, "solution")
    if verdict and not verdict.passed:
        problems.append(f"the solution does not pass: {verdict.message}")
    for index, mistake in enumerate(tried.mistakes):
        verdict = judge(mistake.answer, f"mistake {index}")
        if verdict and verdict.message != mistake.message:
            problems.append(
                f"mistake {index} is answered {verdict.status}, {verdict.message!r}, "
                f"instead of {mistake.message!r}"
            )
    for label, stub in (("`...`", ...), ("an empty function", lambda *arguments: ...)):
        verdict = judge(stub, label)
        if verdict and verdict.status != "not attempted":
            problems.append(f"{label} is {verdict.status}, expected not attempted")
    for label, garbage in _garbage():
        verdict = judge(garbage, label)
        if verdict and (verdict.passed or not verdict.message):
            problems.append(f"{label} is {verdict.status} with message {verdict.message!r}")
    if not tried.hints:
        problems.append("there is no hint")
    if not (tried.title and tried.note):
        problems.append("title and note must not be empty")
    if not tried._source():
        problems.append("the solution has no text to show")
    return [f"{exercise.name}: {problem}" for problem in problems]


def _garbage() -> Iterator[tuple[str, object]]:
    def raises(*arguments):
        raise RuntimeError("no idea")

    yield "None", None
    yield "a word", "no idea"
    yield "NaN", float("nan")
    yield "an object", object()
    yield "an empty list", []
    yield "a function that raises", raises
    yield "a function of no parameters", lambda: 1
    yield "a function that gives NaN", lambda *arguments: float("nan")
    yield "a function that gives a word", lambda *arguments: "no idea"
    if "torch" in sys.modules:
        torch = sys.modules["torch"]
        yield "a tensor", torch.full((2, 3), -7.0)
        yield "a function that gives a tensor", lambda *arguments: torch.full((2, 3), -7.0)
