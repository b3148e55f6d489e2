"""What a reader can move in an explorer: sliders, choices, toggles. Standard library only.

A control says what the page shows of it (`page`), which values it takes (`accept`), and how a value
travels: `to_page` and `from_page`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Slider:
    """A number from `minimum` to `maximum`; a whole one where all four numbers are."""

    name: str
    label: str
    minimum: float
    maximum: float
    value: float
    step: float = 1

    @property
    def whole(self) -> bool:
        """Whether only whole numbers make sense."""
        return all(isinstance(n, int) for n in (self.minimum, self.maximum, self.value, self.step))

    def page(self) -> dict[str, object]:
        """A range and a field to type in."""
        limits = {"min": self.minimum, "max": self.maximum, "step": self.step}
        return {"kind": "slider", "name": self.name, "label": self.label, **limits}

    def accept(self, value: object) -> str | None:
        """None, or in words what would be accepted."""
        number = isinstance(value, (int, float)) and not isinstance(value, bool)
        if not number or not self.minimum <= value <= self.maximum:
            return f"a number from {self.minimum} to {self.maximum}"
        return "a whole number" if self.whole and value != int(value) else None

    def to_page(self, value: float) -> float:
        """As it is."""
        return value

    def from_page(self, value: object) -> object:
        """A browser knows no whole numbers."""
        return int(value) if self.whole and isinstance(value, float) and value % 1 == 0 else value


@dataclass(frozen=True)
class Choice:
    """One of `options`: strings, or (text, value) pairs; `value` is the chosen value."""

    name: str
    label: str
    options: Sequence
    value: object

    @property
    def pairs(self) -> list[tuple[str, object]]:
        """(text, value) of every option."""
        return [o if isinstance(o, tuple) else (str(o), o) for o in self.options]

    def page(self) -> dict[str, object]:
        """A select of texts; values of any type stay in Python."""
        texts = [text for text, _ in self.pairs]
        return {"kind": "choice", "name": self.name, "label": self.label, "options": texts}

    def accept(self, value: object) -> str | None:
        """None, or in words what would be accepted."""
        known = [value for _, value in self.pairs]
        return None if value in known else "one of " + ", ".join(map(repr, known))

    def to_page(self, value: object) -> int:
        """The option's place."""
        return [known for _, known in self.pairs].index(value)

    def from_page(self, value: object) -> object:
        """The value at that place."""
        there = isinstance(value, int) and 0 <= value < len(self.pairs)
        return self.pairs[value][1] if there else value


@dataclass(frozen=True)
class Toggle:
    """True or False."""

    name: str
    label: str
    value: bool = False

    def page(self) -> dict[str, object]:
        """A checkbox."""
        return {"kind": "toggle", "name": self.name, "label": self.label}

    def accept(self, value: object) -> str | None:
        """None, or in words what would be accepted."""
        return None if isinstance(value, bool) else "True or False"

    def to_page(self, value: bool) -> bool:
        """As it is."""
        return value

    from_page = to_page


Control = Slider | Choice | Toggle
