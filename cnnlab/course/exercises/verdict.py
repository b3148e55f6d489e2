"""What a check says, and the known mistakes it can tell."""

from __future__ import annotations

from dataclasses import dataclass

from cnnlab.course.look import Card


@dataclass(frozen=True)
class Mistake:
    """A real wrong answer, of the same form as the solution, and what to tell who gives it."""

    answer: object
    message: str


@dataclass(frozen=True)
class Verdict:
    """What a check found. `status` is "passed", "wrong", "not attempted" or "not judged"."""

    exercise: str
    status: str
    message: str
    note: str = ""
    numbers: tuple[tuple[str, str], ...] = ()  # of a pass: (limit, the learner's own number)

    @property
    def passed(self) -> bool:
        return self.status == "passed"

    def card(self) -> Card:
        tone, word = {
            "passed": ("good", "right"),
            "wrong": ("bad", "not yet"),
            "not attempted": ("muted", "not attempted yet"),
            "not judged": ("muted", "not judged"),
        }[self.status]
        lines = tuple(filter(None, (self.message, self.note)))
        rows = (("limit", "yours"), *self.numbers) if self.numbers else ()
        return Card(tone, f"{self.exercise}: {word}", lines, rows)

    def __str__(self) -> str:
        return str(self.card())

    def _ipython_display_(self) -> None:
        """Nothing: `check` has shown the card already, wherever in the cell it was called."""

    def _display_(self) -> Card:
        """marimo shows what a cell ends with, not what was shown on the way."""
        return self.card()
