"""A guess before the measurement: recorded, changed on the page, held against what came out."""

from __future__ import annotations

import math
from collections.abc import Callable
from contextlib import suppress

from cnnlab._tools import finite
from cnnlab.course.errors import CourseError
from cnnlab.course.look import Card, short


def accepted(name: str, value: object, default: object) -> float | str:
    """The guess as it is kept. Raises CourseError when it is neither a finite number nor a word, or
    a word where the default is a number."""
    if hasattr(value, "item"):  # NumPy's and torch's numbers
        with suppress(ValueError, RuntimeError):  # several
            value = value.item()
    if not finite(value) and not (isinstance(value, str) and value.strip()):
        raise CourseError(
            f"prediction {name!r}: got {value!r}, expected a number or a word in "
            "quotes; write your guess, it need not be right"
        )
    if isinstance(value, str) and isinstance(default, (int, float)):
        raise CourseError(
            f"prediction {name!r}: got {value!r}, expected a number without "
            f"quotes and unit, such as {default}"
        )
    return value


class Prediction:
    """A recorded guess. `reveal(measured)` holds it against the measurement, in plain words.

    In a notebook it shows the question and a field: what is typed there is the guess, and is kept.
    `record(prediction, measured)` is called for each new guess (measured is None) and by `reveal`.
    """

    def __init__(
        self,
        name: str,
        value: float | str,
        question: str,
        unit: str,
        default: float | str | None,
        record: Callable[[Prediction, float | str | None], None],
    ):
        self.name, self.value, self.question, self.unit = name, value, question, unit
        self.default, self.record = default, record

    @property
    def kept(self) -> bool:
        """Whether the notebook's default was left in place."""
        return bool(self.value == self.default)

    def change(self, value: object) -> None:
        """Take another guess and record it. Raises CourseError as `accepted` does."""
        self.value = accepted(self.name, value, self.default)
        self.record(self, None)

    def line(self) -> str:
        """What is recorded now, in words."""
        whose = "The default stands" if self.kept else "Your prediction"
        return f"{whose}: {self._said(self.value)}"

    def card(self) -> Card:
        """Question and guess."""
        return Card("note", self.question, (self.line(),))

    def reveal(self, measured: float | str) -> Card:
        """A card with the guess, the measurement and how far apart they are.

        Raises CourseError when one is a number and the other a word, or `measured` is not finite.
        """
        numbers = [isinstance(v, (int, float)) for v in (self.value, measured)]
        if not isinstance(measured, str):
            measured = float(measured) if not isinstance(measured, int) else measured
            numbers[1] = math.isfinite(measured)
        if numbers[0] != numbers[1]:
            raise CourseError(
                f"prediction {self.name!r}: the guess is {self.value!r} and the "
                f"measurement {measured!r}; both must be numbers or both words"
            )
        self.record(self, measured)
        whose = "The default" if self.kept else "You predicted"
        line = f"{whose}{' was' if self.kept else ''} {self._said(self.value)}; "
        near, words = _compared(self.value, measured, self.unit)
        return Card(
            "good" if near else "note",
            self.question,
            (f"{line}measured: {self._said(measured)}.", words),
        )

    def _said(self, value: float | str) -> str:
        return f"{short(value)} {self.unit}".strip()

    def __repr__(self) -> str:
        return str(self.card())

    def _display_(self):
        """marimo shows a single widget."""
        from cnnlab.course.quiz_widget import guess_view

        return guess_view(self)

    def _repr_mimebundle_(self, include=None, exclude=None):
        from cnnlab.course.quiz_widget import guess_view, with_twin

        twin = f"**{self.question}**\n\n{self.line()}\n\n*Run the cell to type your guess.*"
        return with_twin(guess_view(self), str(self), twin)


def _compared(guess: float | str, measured: float | str, unit: str) -> tuple[bool, str]:
    """Whether the guess was near, and how far off in words."""
    if isinstance(guess, str):
        same = guess.strip().lower() == str(measured).strip().lower()
        return same, "As predicted." if same else "It came out differently."
    if guess == measured:
        return True, "Exact."
    if guess * measured <= 0:
        return False, f"Off by {short(abs(guess - measured))}."
    ratio = guess / measured
    side = "high" if abs(guess) > abs(measured) else "low"
    if 0.9 <= ratio <= 1.1:
        return True, f"Within 10%: {abs(ratio - 1):.1%} too {side}."
    if unit == "percent":  # "92% too high" would be ambiguous
        return False, f"{short(round(abs(guess - measured), 1))} percentage points too {side}."
    if 0.5 < ratio < 2:
        return False, f"{abs(ratio - 1):.0%} too {side}."
    return False, f"Too {side} by a factor of {short(float(f'{max(ratio, 1 / ratio):.2g}'))}."
