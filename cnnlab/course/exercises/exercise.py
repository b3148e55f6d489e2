"""Exercises that say what went wrong.

A check compares observations: what the learner's answer gives for each case, beside what the
solution gives. A known mistake is kept as a real wrong answer, so its diagnosis is found by the
same comparison and can be tested.
"""

from __future__ import annotations

import copy
import inspect
import os
import random
import textwrap
from collections.abc import Callable, Sequence
from dataclasses import replace

from cnnlab._tools import counted, did_you_mean
from cnnlab.course.errors import CourseError
from cnnlab.course.exercises.judge import (
    Bound,
    Doubt,
    Sizes,
    describe,
    difference_of,
    got_text,
    kind_of,
    plain,
    plain_text,
)
from cnnlab.course.exercises.sandbox import (
    Failure,
    attempt,
    same_failure,
    signature_misfit,
    stub_of,
)
from cnnlab.course.exercises.verdict import Mistake, Verdict
from cnnlab.course.look import Card, show_card

LEVELS = ("recall", "compute", "implement", "spot the bug", "design")
MORE_CASES = 30


class Exercise:
    """One exercise: give `check` an answer, get a `Verdict`.

    kind "value": `solution` is a number, string or tuple; so is the answer.
    kind "function": `solution` is a function and `cases` are tuples of arguments.
    kind "module": `observe(answer)` returns a dict of observations, {label: value}; the answer and
    the solution can be anything (a class, a model, a list of layers). A label whose value is True
    for the solution is a requirement ("at most 10,000 parameters"), for exercises that have many
    right answers; `at_most` and `at_least` also tell what was got. `observe` may raise ValueError
    with a sentence.

    `more` draws another case of a function; `MORE_CASES` of them are tried besides `cases`.
    `tolerance` is relative, for floats and tensors. `reveal` says whether a diagnosis tells the
    expected value (default: not for kind "value"). `working` is code or text shown with the
    solution of kind "value". `seconds` limits the CPU time of each of a check's calls of the
    learner's code. `note` is what to remember, shown with a pass and with the solution.
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
        more: Callable[[random.Random], tuple] | None = None,
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
        if more is not None:
            draw = random.Random(0)  # the same ones each time
            self.cases += tuple(more(draw) for _ in range(MORE_CASES))
        self.more = more
        self.observe, self.mistakes, self.hints = observe, tuple(mistakes), tuple(hints)
        self.note, self.working = note, working
        self.tolerance, self.seconds = tolerance, seconds
        self.record: Callable[[Verdict], None] | None = None
        self._mistaken: dict[int, dict] = {}  # observations of known mistakes, by position
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
        """A copy whose verdicts go to `record`."""
        fresh = copy.copy(self)
        fresh.record = record
        return fresh

    # -- what a learner calls

    def check(self, answer: object = ...) -> Verdict:
        """Show whether `answer` is right, and if not, what is wrong; never raises for anything
        that the answer does. The verdict is recorded and returned."""
        verdict = self.judge(answer)
        if self.record is not None:
            self.record(verdict)
        show_card(verdict.card())
        return verdict

    def hint(self, number: int = 1) -> None:
        """Show a hint; the next one is `hint(2)`. Running a cell again gives the same one."""
        show_card(self.hint_card(number))

    def solution(self) -> None:
        """Show the solution, unless `CNNLAB_SOLUTIONS=hide`."""
        show_card(self.solution_card())

    # -- what they show

    def judge(self, answer: object = ...) -> Verdict:
        """The verdict on `answer`, neither shown nor recorded."""
        try:
            status, message, numbers = self._judge(answer)
        except Exception as error:  # whatever a strange answer does to a comparison
            status, numbers = "not judged", ()
            message = (
                f"The check could not deal with {describe(answer)} ({type(error).__name__}). "
                f"Expected: {describe(self.answer)}."
            )
        return Verdict(self.name, status, message, self.note * (status == "passed"), numbers)

    def hint_card(self, number: int = 1) -> Card:
        """Hint `number`, from 1, and how to get the next."""
        total = len(self.hints)
        if not 1 <= number <= total:
            return Card(
                "muted",
                f"{self.name}: no hint {number}",
                (f"There are {total}; ex.{self.name}.solution() shows the solution.",),
            )
        more = f"The next: ex.{self.name}.hint({number + 1})" if number < total else ""
        lines = tuple(filter(None, (self.hints[number - 1], more)))
        return Card("note", f"{self.name}: hint {number} of {total}", lines)

    def solution_card(self) -> Card:
        """The solution's source, with what to remember."""
        if os.environ.get("CNNLAB_SOLUTIONS") == "hide":
            return Card(
                "muted",
                f"{self.name}: the solution is hidden",
                ("CNNLAB_SOLUTIONS is set to hide on this machine; ask your teacher.",),
            )
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

    def _judge(self, answer: object) -> tuple[str, str, tuple]:
        stub = stub_of(answer)
        if stub:
            return "not attempted", stub, ()
        if answer is None:
            return "wrong", "got None: is a `return` missing, or was nothing assigned yet?", ()
        if self.kind == "function" and not callable(answer):
            message = (
                f"got {describe(answer)}; this exercise checks the function itself: "
                f"ex.{self.name}.check(my_function), without calling it"
            )
            return "wrong", message, ()
        if self.kind == "value" and callable(answer):
            message = (
                f"got {describe(answer)}; this exercise asks for "
                f"{kind_of(self.answer)}: call it and give the result"
            )
            return "wrong", message, ()
        # The solution first, without a limit: what a check imports is imported here.
        expected = self._observations(self.answer, None)
        broken = [o for o in expected.values() if isinstance(o, Failure) and not self._meant(o)]
        broken += [
            Failure(f"not fulfilled: {label}, got {o}")
            for label, o in expected.items()
            if isinstance(o, Bound) and not o.met
        ]
        if broken:
            message = (
                "The check itself is broken: it cannot examine its own solution "
                f"({broken[0].sentence}). Your answer is neither right nor wrong. Restart the "
                "kernel, run the first cell, and check again."
            )
            return "not judged", message, ()
        changed: list[str] = []
        got = self._observations(answer, self.seconds, changed)
        undone = f" It changed {', '.join(dict.fromkeys(changed))}; put back." if changed else ""
        found = self._first_difference(got, expected)
        if found is None:
            numbers = tuple((label, str(o)) for label, o in got.items() if isinstance(o, Bound))
            return "passed", f"Well done.{undone}", numbers
        if any(outcome is ... for outcome in got.values()):
            return "not attempted", "It still returns `...`: replace it by your own code.", ()
        told = {
            mistake.message
            for number, mistake in enumerate(self.mistakes)
            if self._first_difference(got, self._of_mistake(number), same_errors=True) is None
        }
        # An answer that looks like two mistakes was not shown to be either.
        message = told.pop() if len(told) == 1 else found
        if isinstance(message, Doubt):
            return "not judged", message + undone, ()
        stop = "." if undone and message[-1] not in ".?!" else ""
        return "wrong", message + stop + undone, ()

    def _of_mistake(self, number: int) -> dict[str, object]:
        """A known mistake's observations, made once: they are the same each time."""
        if number not in self._mistaken:
            self._mistaken[number] = self._observations(self.mistakes[number].answer, None)
        return self._mistaken[number]

    def _meant(self, failure: Failure) -> bool:
        """Whether the solution raises because it shall: by itself, as a function may."""
        return self.kind == "function" and failure.asked_for

    def _observations(
        self, answer: object, seconds: float | None, changed: list[str] | None = None
    ) -> dict[str, object]:
        """{label: value or Failure}, in the order in which differences are reported."""
        if self.kind == "value":
            return {"": answer}
        if self.kind == "module":
            outcome = attempt(lambda: dict(self.observe(plain(answer))), answer, seconds, changed)
            by_check = isinstance(outcome, Failure) and not outcome.own and not outcome.timed_out
            if by_check and answer is not self.answer:
                kind = "built or run" if inspect.isclass(answer) else "run"
                keep = ". Keep the parameters, and their order, as the exercise gives them"
                why = (
                    f"{_name(answer)} cannot be {kind} as the exercise does: it "
                    f"{outcome.sentence.rstrip('.')}{keep * ('argument' in outcome.text)}"
                    if callable(answer) and hasattr(answer, "__name__")
                    else f"cannot be examined: {describe(answer)} where "
                    f"{describe(self.answer)} was expected, and then it {outcome.sentence}"
                )
                outcome = replace(outcome, sentence=why)
            return {"": outcome} if isinstance(outcome, Failure) else outcome
        observed: dict[str, object] = {}
        for case in self.cases:
            misfit = signature_misfit(answer, self.answer, case)
            label = _call(answer, case)
            if misfit:
                return {label: misfit}
            arguments = copy.deepcopy(case)  # the learner's code may change them
            observed[label] = attempt(lambda: answer(*arguments), answer, seconds, changed)
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
            if isinstance(value, Sizes) and isinstance(wanted, Sizes) and value != wanted:
                return value.unlike(wanted)
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


def _call(answer: Callable, case: tuple) -> str:
    """The call as one can type it in: "area(height=2, width=3)"."""
    name = _name(answer)
    given = [plain_text(value) for value in case]
    try:
        known = inspect.signature(answer).bind(*case).arguments
    except (TypeError, ValueError):
        known = {}
    if len(known) == len(case):
        given = [f"{key}={text}" for key, text in zip(known, given)]
    return f"{name}({', '.join(given)})"


def _name(answer: Callable) -> str:
    return getattr(answer, "__name__", "your function").replace("<lambda>", "f")


class Exercises(Sequence):
    """A chapter's exercises, each reached by its name: `ex.output_size.check(...)`."""

    def __init__(self, *exercises: Exercise):
        names = [exercise.name for exercise in exercises]
        if len(set(names)) != len(names):
            raise CourseError(f"two exercises have the same name in {names}; rename one")
        self._exercises = exercises
        self._passed: set[str] = set()

    def bound(self, record: Callable[[Verdict], None], passed: Sequence[str] = ()) -> Exercises:
        """A copy whose verdicts go to `record`."""
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
        raise AttributeError(
            f"no exercise {name!r}.{did_you_mean(name, names)} This chapter has {', '.join(names)}"
        )

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
