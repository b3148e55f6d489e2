"""Exercises that say what went wrong.

A check compares observations: what the learner's answer gives for each case, beside what the
solution gives. A known mistake is kept as a real wrong answer, so its diagnosis is found by the
same comparison and can be tested.
"""

from __future__ import annotations

import copy
import difflib
import inspect
import textwrap
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from cnnlab.course.errors import CourseError
from cnnlab.course.exercises.judge import (
    Bound,
    counted,
    describe,
    difference_of,
    got_text,
    kind_of,
    plain_text,
)
from cnnlab.course.exercises.sandbox import (
    Failure,
    attempt,
    same_failure,
    signature_misfit,
    stub_of,
)
from cnnlab.course.look import Card

LEVELS = ("recall", "compute", "implement", "spot the bug", "design")


@dataclass(frozen=True)
class Mistake:
    """A real wrong answer, of the same form as the solution, and what to tell who gives it."""

    answer: object
    message: str


@dataclass(frozen=True)
class Verdict:
    """What a check found. `status` is "passed", "wrong" or "not attempted"."""

    exercise: str
    status: str
    message: str
    note: str = ""

    @property
    def passed(self) -> bool:
        return self.status == "passed"

    def card(self) -> Card:
        tone, word = {
            "passed": ("good", "right"),
            "wrong": ("bad", "not yet"),
            "not attempted": ("muted", "not attempted yet"),
        }[self.status]
        lines = tuple(filter(None, (self.message, self.note)))
        return Card(tone, f"{self.exercise}: {word}", lines)

    def __repr__(self) -> str:
        return str(self.card())

    def _repr_mimebundle_(self, include=None, exclude=None) -> dict[str, str]:
        return self.card()._repr_mimebundle_()


class Exercise:
    """One exercise: give `check` an answer, get a `Verdict`.

    kind "value": `solution` is a number, string or tuple; so is the answer.
    kind "function": `solution` is a function and `cases` are tuples of arguments.
    kind "module": `observe(answer)` returns a dict of observations, {label: value}; the answer and
    the solution can be anything (a class, a model, a list of layers). A label whose value is True
    for the solution is a requirement ("at most 10,000 parameters"), for exercises that have many
    right answers; `at_most` and `at_least` also tell what was got. `observe` may raise ValueError
    with a sentence.

    `tolerance` is relative, for floats and tensors. `reveal` says whether a diagnosis tells the
    expected value (default: not for kind "value"). `working` is code or text shown with the
    solution of kind "value". `seconds` limits one check's time in the learner's code. `note` is
    what to remember, shown with a pass and with the solution.
    """

    def __init__(
        self,
        name: str,
        title: str,
        level: str,
        minutes: int,
        solution: object,
        *,
        cases: Sequence[tuple] = (),
        observe: Callable[[object], dict] | None = None,
        mistakes: Sequence[Mistake] = (),
        hints: Sequence[str] = (),
        note: str = "",
        working: str = "",
        tolerance: float = 1e-6,
        reveal: bool | None = None,
        seconds: float = 5.0,
    ):
        self.name, self.title, self.level, self.minutes = name, title, level, minutes
        self.answer = solution
        self.cases = tuple(c if isinstance(c, tuple) else (c,) for c in cases)
        self.observe, self.mistakes, self.hints = observe, tuple(mistakes), tuple(hints)
        self.note, self.working = note, working
        self.tolerance, self.seconds = tolerance, seconds
        self.record: Callable[[Verdict], None] | None = None
        self._shown = 0
        if level not in LEVELS:
            raise CourseError(
                f"exercise {name}: level {level!r} is not known; use one of {', '.join(LEVELS)}"
            )
        self.kind = (
            "module" if observe is not None else "function" if callable(solution) else "value"
        )
        if self.kind == "function" and not self.cases:
            raise CourseError(
                f"exercise {name}: a function needs cases to be tried on; "
                "give cases=((argument, ...), ...) or observe="
            )
        self.reveal = self.kind != "value" if reveal is None else reveal

    def bound(self, record: Callable[[Verdict], None] | None) -> Exercise:
        """A copy with no hint shown yet, whose verdicts go to `record`."""
        fresh = copy.copy(self)
        fresh.record, fresh._shown = record, 0
        return fresh

    # -- what a learner calls

    def check(self, answer: object = ...) -> Verdict:
        """Compare `answer` with the solution; never raises for anything the answer does."""
        status, message = self._judge(answer)
        verdict = Verdict(self.name, status, message, self.note if status == "passed" else "")
        if self.record is not None:
            self.record(verdict)
        return verdict

    def hint(self) -> Card:
        """The next hint; each call goes one step further."""
        total = len(self.hints)
        if self._shown >= total:
            return Card(
                "muted",
                f"{self.name}: no more hints",
                (f"All {total} are out; ex.{self.name}.solution() shows the solution.",),
            )
        self._shown += 1
        return Card(
            "note", f"{self.name}: hint {self._shown} of {total}", (self.hints[self._shown - 1],)
        )

    def solution(self) -> Card:
        """The solution's source, with what to remember."""
        return Card(
            "note", f"{self.name}: solution", tuple(filter(None, (self.note,))), code=self._source()
        )

    def _source(self) -> str:
        if inspect.isroutine(self.answer) or inspect.isclass(self.answer):
            return textwrap.dedent(inspect.getsource(self.answer)).rstrip()
        return "\n".join(filter(None, (self.working, plain_text(self.answer))))

    def card(self) -> Card:
        return Card("note", f"{self.name}: {self.title}", (f"{self.level}, {self.minutes} min",))

    def _repr_mimebundle_(self, include=None, exclude=None) -> dict[str, str]:
        return self.card()._repr_mimebundle_()

    # -- how it is judged

    def _judge(self, answer: object) -> tuple[str, str]:
        stub = stub_of(answer)
        if stub:
            return "not attempted", stub
        if answer is None:
            return "wrong", "got None: is a `return` missing, or was nothing assigned yet?"
        if self.kind == "function" and not callable(answer):
            return "wrong", (
                f"got {describe(answer)}; this exercise checks the function itself: "
                f"ex.{self.name}.check(my_function), without calling it"
            )
        if self.kind == "value" and callable(answer):
            return "wrong", (
                f"got {describe(answer)}; this exercise asks for "
                f"{kind_of(self.answer)}: call it and give the result"
            )
        got = self._observations(answer)
        expected = self._observations(self.answer)
        found = self._first_difference(got, expected)
        if found is None:
            return "passed", "Well done."
        for mistake in self.mistakes:
            known = self._observations(mistake.answer)
            if self._first_difference(got, known, same_errors=True) is None:
                return "wrong", mistake.message
        if any(outcome is ... for outcome in got.values()):
            return "not attempted", "It still returns `...`: replace it by your own code."
        return "wrong", found

    def _observations(self, answer: object) -> dict[str, object]:
        """{label: value or Failure}, in the order in which differences are reported."""
        if self.kind == "value":
            return {"": answer}
        observed: dict[str, object] = {}
        deadline = time.monotonic() + self.seconds
        if self.kind == "module":
            outcome = attempt(lambda: dict(self.observe(answer)), answer, self.seconds)
            if isinstance(outcome, Failure) and not outcome.own:
                kind = "built or run" if inspect.isclass(answer) else "run"
                why = (
                    f"{answer.__name__} cannot be {kind} as the exercise does: it "
                    f"{outcome.sentence}. Keep the parameters, and their order, as the "
                    "exercise gives them"
                    if callable(answer) and hasattr(answer, "__name__")
                    else f"cannot be examined: {describe(answer)} where "
                    f"{describe(self.answer)} was expected, and then it {outcome.sentence}"
                )
                outcome = replace(outcome, sentence=why)
            return {"": outcome} if isinstance(outcome, Failure) else outcome
        call_name = getattr(answer, "__name__", "your function").replace("<lambda>", "f")
        for case in self.cases:
            label = f"{call_name}({', '.join(map(plain_text, case))})"
            misfit = signature_misfit(answer, self.answer, case)
            if misfit:
                return {label: misfit}
            arguments = copy.deepcopy(case)  # the learner's code may change them
            left = max(deadline - time.monotonic(), 0.01)
            observed[label] = attempt(lambda: answer(*arguments), answer, left)
            if isinstance(observed[label], Failure) and observed[label].timed_out:
                break
        return observed

    def _first_difference(self, got: dict, expected: dict, same_errors=False) -> str | None:
        """None when equal, else one sentence about the first observation that differs.

        Where the solution raises, an error of the same type will do; a known mistake must raise
        with the same text (`same_errors`).
        """
        # Functions carry different names, so their cases are paired by position.
        pairs = list(zip(got.items(), expected.items()))
        for (label, value), (wanted_label, wanted) in pairs:
            if isinstance(value, Failure) or isinstance(wanted, Failure):
                if same_failure(value, wanted, same_errors):
                    continue
                text = (
                    value.sentence
                    if isinstance(value, Failure)
                    else f"returns {plain_text(value)}, expected {wanted.error}"
                )
                return f"{label}: {text}" if label else text
            if self.kind == "module" and label != wanted_label:
                return f"observed {label!r} where {wanted_label!r} was expected"
            got_number = f", got {value}" if isinstance(value, Bound) else ""
            value, wanted = (one.met if isinstance(one, Bound) else one for one in (value, wanted))
            if self.kind == "module" and wanted is True and value is False:
                return f"not fulfilled: {label}{got_number}"
            difference = difference_of(value, wanted, self.tolerance, self.reveal)
            if difference and self.kind != "function":
                difference = got_text(difference)
            if difference:
                return f"{label}: {difference}" if label else difference
        if len(got) != len(expected):
            return f"gives {counted(len(got), 'observation')}, expected {len(expected)}"
        return None


class Exercises(Sequence):
    """A chapter's exercises, each reached by its name: `ex.output_size.check(...)`."""

    def __init__(self, *exercises: Exercise):
        names = [exercise.name for exercise in exercises]
        if len(set(names)) != len(names):
            raise CourseError(f"two exercises have the same name in {names}; rename one")
        self._exercises = exercises
        self._passed: set[str] = set()

    def bound(self, record: Callable[[Verdict], None], passed: Sequence[str] = ()) -> Exercises:
        """A fresh copy (no hints shown yet) whose verdicts go to `record`."""
        copied = Exercises()

        def keep(verdict: Verdict) -> None:
            if verdict.passed:
                copied._passed.add(verdict.exercise)
            record(verdict)

        copied._exercises = tuple(exercise.bound(keep) for exercise in self._exercises)
        copied._passed.update(passed)
        return copied

    def __getattr__(self, name: str) -> Exercise:
        if name.startswith("_"):
            raise AttributeError(name)
        for exercise in self._exercises:
            if exercise.name == name:
                return exercise
        names = [exercise.name for exercise in self._exercises]
        close = difflib.get_close_matches(name, names, n=1)
        meant = f"did you mean {close[0]!r}? " if close else ""
        raise AttributeError(f"no exercise {name!r}: {meant}This chapter has {', '.join(names)}")

    def __dir__(self) -> list[str]:
        return [*super().__dir__(), *(exercise.name for exercise in self._exercises)]

    def __len__(self) -> int:
        return len(self._exercises)

    def __getitem__(self, index):
        return self._exercises[index]

    def card(self) -> Card:
        rows = [("exercise", "what it asks", "level", "minutes", "state")]
        rows += [
            (
                e.name,
                e.title,
                e.level,
                str(e.minutes),
                "passed" if e.name in self._passed else "open",
            )
            for e in self._exercises
        ]
        minutes = sum(e.minutes for e in self._exercises)
        title = f"{counted(len(self), 'exercise')}, about {counted(minutes, 'minute')}"
        return Card("note", title, rows=tuple(rows))

    def __repr__(self) -> str:
        return str(self.card())

    def _repr_mimebundle_(self, include=None, exclude=None) -> dict[str, str]:
        return self.card()._repr_mimebundle_()
