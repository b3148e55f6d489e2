"""What an experiment found, as a table for people: numbers, spread, the claim they were held to.

    show_results(
        "Training loss after 20 epochs, three starts",
        result("plain-56", losses, above=1.5),
        result("plain-20", shallow, below=0.5),
    )

Every row shows its numbers; its claim is in words, with a tick where it holds. The numbers stand
between the marks of `look.measured`: another machine measures others, and `make test` compares the
claims. Numbers that are the same everywhere (counts, papers) belong in `show_table`.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from cnnlab.course.errors import CourseError
from cnnlab.course.look import Card, measured, short, show_card

HOLDS, FAILS = "\u2713", "\u2717"


@dataclass(frozen=True)
class Result:
    """A row: what was measured (one value per start), and the claim about it."""

    name: str
    values: tuple[float, ...]
    unit: str = ""
    above: float | None = None
    below: float | None = None
    on_average: bool = False  # the claim is about the mean, not about each value

    @property
    def mean(self) -> float:
        return sum(self.values) / len(self.values)

    @property
    def holds(self) -> bool:
        """Whether the claim is true of these values; a NaN fulfils none."""
        held = (self.mean,) if self.on_average else self.values
        low = -math.inf if self.above is None else self.above
        high = math.inf if self.below is None else self.below
        return all(low < value < high for value in held)

    def claim(self) -> str:
        """The claim in words, "" where nothing is claimed: "each above 1.5"."""
        parts = [
            f"{side} {short(bound)}"
            for side, bound in (("above", self.above), ("below", self.below))
            if bound is not None
        ]
        who = "on average " if self.on_average else "each " if len(self.values) > 1 else ""
        return who + " and ".join(parts) if parts else ""

    def said(self) -> str:
        """The mean and, of several, the range: "2.03 (1.9 to 2.2)"."""
        low, mean, high = (
            self._digits(value) for value in (min(self.values), self.mean, max(self.values))
        )
        return mean if len(self.values) == 1 else f"{mean} ({low} to {high})"

    def row(self) -> tuple[str, str, str]:
        claim = self.claim()
        # A no-break space: in a narrow window the tick does not stand on a line of its own.
        tick = f"{claim}\u00a0{HOLDS if self.holds else FAILS}" if claim else ""
        return self.name, tick, measured(f"{self.said()} {self.unit}".strip())

    def _digits(self, value: float) -> str:
        """With enough digits to see on which side of its bounds a value lies."""
        bounds = [bound for bound in (self.above, self.below) if bound is not None]
        for digits in range(3, 9):
            text = short(value, digits)
            shown = float(text.replace(",", ""))
            if all((shown > bound) - (shown < bound) == _side(value, bound) for bound in bounds):
                break
        return text


def _side(value: float, bound: float) -> int:
    return (value > bound) - (value < bound)


def result(
    name: str,
    values: object,
    unit: str = "",
    *,
    above: float | None = None,
    below: float | None = None,
    on_average: bool = False,
) -> Result:
    """A row for `show_results`.

    values       a number, or one per start: a sequence, an array or a tensor, on any device.
    above/below  the claim: every value lies on that side, or the mean does (`on_average`).

    Raises CourseError where there is no number.
    """
    if hasattr(values, "detach"):
        values = values.detach().cpu().tolist()
    elif hasattr(values, "tolist"):
        values = values.tolist()
    try:
        found = tuple(_flat(values))
    except (TypeError, ValueError):
        found = ()
    if not found:
        raise CourseError(
            f"result {name!r}: got {values!r}, expected a number or several; give what was measured"
        )
    return Result(name, found, unit, above, below, on_average)


def _flat(values: object) -> Iterable[float]:
    if isinstance(values, (bool, str)):
        raise TypeError("no measurement")
    if isinstance(values, Iterable):
        for value in values:
            yield from _flat(value)
    else:
        yield float(values)


def show_results(title: str, *rows: Result) -> None:
    """Put the rows on the page as one table, at once, so that a picture may follow in its cell."""
    if not rows:
        raise CourseError(f"results {title!r}: no row; give at least one result(...)")
    missed = [row.name for row in rows if row.claim() and not row.holds]
    lines = ()
    if missed:
        lines = (
            f"Not as in the text: {', '.join(missed)}. Starts, scale or machine differ; "
            "what you see is what was measured here.",
        )
    cells = [("", "claim", "measured"), *(row.row() for row in rows)]
    if not any(row.claim() for row in rows):
        cells = [(name, number) for name, _, number in cells]
    show_card(Card("bad" if missed else "note", title, lines, tuple(cells)))


def show_table(title: str, head: Sequence[str], *rows: Sequence[object]) -> None:
    """Put a table on the page: numbers with thousands, a bool as a tick or a cross, None as "-".

    What differs between machines is marked by its author: `look.measured(seconds)`.
    Raises CourseError where a row is not as long as the head.
    """
    for row in rows:
        if len(row) != len(head):
            raise CourseError(
                f"table {title!r}: the row {tuple(row)!r} has {len(row)} cells, the head "
                f"{len(head)}; give one cell per column"
            )
    cells = [tuple(map(_cell, row)) for row in rows]
    show_card(Card("note", title, (), (tuple(head), *cells)))


def _cell(value: object) -> str:
    if value is None:
        return "-"
    if hasattr(value, "item"):  # NumPy's and torch's
        value = value.item()
    if isinstance(value, bool):
        return HOLDS if value else FAILS
    return value if isinstance(value, str) else short(value)
