"""Whether two observations agree, and the words for it where they do not."""

from __future__ import annotations

import inspect
import math
import numbers
import re
import sys
from collections import Counter
from dataclasses import dataclass

from cnnlab._tools import counted


@dataclass(frozen=True)
class Bound:
    """A requirement on a number, as an observation: whether it is met, and the number."""

    met: bool
    got: float

    def __str__(self) -> str:
        if isinstance(self.got, int):
            return f"{self.got:,}" if abs(self.got) < 10_000 else plain_text(self.got)
        return f"{self.got:.2g}"


class Doubt(str):
    """A sentence: why a difference says nothing about right and wrong."""


@dataclass(frozen=True)
class Sizes:
    """Sizes of a module's parameters, as an observation: where they are not the expected ones, its
    numbers say nothing about right and wrong."""

    found: tuple[tuple[int, ...], ...]

    def unlike(self, expected: Sizes) -> Doubt:
        """Why the numbers of a module with these sizes are not compared."""
        have, want = Counter(self.found), Counter(expected.found)
        return Doubt(
            "The check cannot judge this by its numbers, for it puts equal numbers into parameters "
            f"of equal size, and yours has {_few(have - want)} where the course's has "
            f"{_few(want - have)}. It found nothing wrong before that. Build it from the usual "
            "layers of torch.nn, in which the weights lie as in the course's."
        )


def _few(sizes: Counter) -> str:
    """ "3 of (8, 4) and one of (8,)": at most three kinds."""
    named = [
        f"{'one' if n == 1 else n} of {size or 'a single number'}"
        for size, n in sorted(sizes.items(), reverse=True)[:3]
    ]
    return " and ".join(named) + ", among others" * (len(sizes) > 3) if named else "none"


def at_most(got: float, bound: float) -> Bound:
    """The observation that `got` does not exceed `bound`."""
    return Bound(bool(got <= bound), got)


def at_least(got: float, bound: float) -> Bound:
    """The observation that `got` reaches `bound`."""
    return Bound(bool(got >= bound), got)


def difference_of(got: object, expected: object, tolerance: float, reveal: bool) -> str | None:
    """None when `got` is right, else a sentence: what it is, what was expected, what to do."""
    if got is None and expected is not None:
        return "returns None: is the `return` missing?"
    if got is ...:
        return "is still `...`"
    if is_tensor(expected):
        return _tensor_difference(got, expected, tolerance, reveal)
    if is_tensor(got):
        return f"returned {describe(got)}; return {kind_of(expected)}{_conversion(got, expected)}"
    if isinstance(expected, bool):
        if not isinstance(got, bool) and type(got).__name__ not in ("bool_", "bool"):
            return f"returned {describe(got)}, expected True or False"
        return None if bool(got) == expected else _unequal(got, expected, reveal)
    if isinstance(expected, numbers.Real):
        return _number_difference(got, expected, tolerance, reveal)
    if isinstance(expected, str):
        if not isinstance(got, str):
            return f"returned {describe(got)}, expected a string in quotes"
        return (
            None
            if got.strip().lower() == expected.strip().lower()
            else _unequal(got, expected, reveal)
        )
    if isinstance(expected, (tuple, list)):
        return _sequence_difference(got, expected, tolerance, reveal)
    if isinstance(expected, dict):
        return _dict_difference(got, expected, tolerance, reveal)
    try:
        equal = bool(got == expected)
    except Exception:
        equal = False
    return None if equal else _unequal(got, expected, reveal)


def _number_difference(got, expected, tolerance, reveal) -> str | None:
    whole = isinstance(expected, numbers.Integral)
    if isinstance(got, bool) or not isinstance(got, numbers.Real):
        return (
            f"returned {describe(got)}, expected {kind_of(expected)}{_how_to_write(got, expected)}"
        )
    if got != got and expected == expected:
        return "returned NaN, which is not a number: is something divided 0 by 0?"
    if whole:
        if got == expected and not isinstance(got, numbers.Integral):
            return (
                f"returned {got}, a {type(got).__name__}; the value is right, but a whole number "
                "is expected: int(x), or // in place of /"
            )
        return None if got == expected else _unequal(got, expected, reveal)
    try:
        if math.isclose(got, expected, rel_tol=tolerance, abs_tol=1e-9):
            return None
    except OverflowError:  # too large for a float
        pass
    return None if got != got and expected != expected else _unequal(got, expected, reveal)


def _how_to_write(got, expected) -> str:
    """What to do about a number in quotes, or about the right one cut in two by a comma."""
    if isinstance(got, str):
        try:
            float(got)
        except ValueError:
            return ": one number, without words"
        return ": without quotes"
    if isinstance(got, tuple) and all(type(part) is int and part >= 0 for part in got):
        if got and got[0] == 0:
            return ": one number"
        joined = "_".join([str(part) if i == 0 else f"{part:03}" for i, part in enumerate(got)])
        if joined and int(joined.replace("_", "")) == expected:
            return f": a comma makes a tuple, write {joined}"
    return ""


def _sequence_difference(got, expected, tolerance, reveal) -> str | None:
    if not isinstance(got, (tuple, list)):
        return f"returned {describe(got)}, expected {kind_of(expected)}"
    if len(got) != len(expected):
        return f"has {counted(len(got), 'element')}, expected {len(expected)}"
    for index, (one, wanted) in enumerate(zip(got, expected)):
        difference = _part_difference(one, wanted, tolerance, reveal)
        if difference:
            return f"element {index}: {got_text(difference)}"
    return None


def _part_difference(got, expected, tolerance, reveal) -> str | None:
    if got is None and expected is not None:
        return "is None"
    return difference_of(got, expected, tolerance, reveal)


def _dict_difference(got, expected, tolerance, reveal) -> str | None:
    if not isinstance(got, dict):
        return f"returned {describe(got)}, expected a dict"
    for key, wanted in expected.items():
        if key not in got:
            return f"has no key {key!r}; keys: {', '.join(map(repr, got)) or 'none'}"
        difference = _part_difference(got[key], wanted, tolerance, reveal)
        if difference:
            return f"key {key!r}: {got_text(difference)}"
    extra = [key for key in got if key not in expected]
    return f"has a key too many: {extra[0]!r}" if extra else None


def _tensor_difference(got, expected, tolerance, reveal) -> str | None:
    if not is_tensor(got):
        return f"returned {describe(got)}, expected {describe(expected)}"
    if tuple(got.shape) != tuple(expected.shape):
        return f"has shape {tuple(got.shape)}, expected {tuple(expected.shape)}"
    if got.dtype != expected.dtype:
        return f"has dtype {got.dtype}, expected {expected.dtype}"
    if got.device.type == "meta":
        return "is on the device meta: it has a shape and no values"
    got, expected = got.detach().double().cpu(), expected.detach().double().cpu()
    if bool(got.isnan().any()) and not bool(expected.isnan().any()):
        return f"has {counted(int(got.isnan().sum()), 'NaN')} among its {got.numel():,} values"
    # float32 convolutions of equal weights differ in the last digits
    bound = max(tolerance, 1e-5)
    worst = (got - expected).abs()
    if bool((worst <= bound * (1 + expected.abs())).all()):
        return None
    return (
        f"has the right shape, but {int((worst > bound * (1 + expected.abs())).sum()):,} of "
        f"{got.numel():,} values differ, by up to {float(worst.max()):.3g}"
    )


def got_text(difference: str) -> str:
    """The sentence about something that was not returned by itself."""
    return re.sub("^returned ", "got ", difference)


def _unequal(got: object, expected: object, reveal: bool) -> str:
    if reveal:
        return f"returned {plain_text(got)}, expected {plain_text(expected)}"
    if (
        isinstance(got, numbers.Real)
        and isinstance(expected, numbers.Real)
        and not (isinstance(expected, bool))
    ):
        text = plain_text(got) if plain_text(got) != plain_text(expected) else repr(got)
        return f"{text} is too {'small' if got < expected else 'large'}"
    return f"{plain_text(got)} is not it"


def plain(value: object) -> object:
    """NumPy's numbers and small arrays as Python's own, inside lists and tuples too; so are the
    numbers of classes that inherit from int."""
    if type(value) in (list, tuple):
        return type(value)(plain(part) for part in value)
    if isinstance(value, int) and type(value) not in (int, bool):
        return int(value)
    small = type(value).__module__ == "numpy" and getattr(value, "size", 1000) < 1000
    return value.tolist() if small else value


def is_tensor(value: object) -> bool:
    """Whether it is a tensor; without importing torch."""
    torch = sys.modules.get("torch")
    return torch is not None and isinstance(value, torch.Tensor)


def plain_text(value: object, depth: int = 3) -> str:
    """A value as a learner writes it, short: 36,864; 0.3333; [1, 2]; a 2x3 tensor."""
    if is_tensor(value) and value.device.type == "meta":
        return describe(value)
    if is_tensor(value):
        few = value.numel() <= 48 and not value.is_complex()
        return f"torch.tensor({_nested(value.tolist())})" if few else describe(value)
    if isinstance(value, bool) or value is None:
        return str(value)
    if isinstance(value, numbers.Rational) and abs(value) >= 10**30:
        return f"{'-' * (value < 0)}10^{int(abs(int(value)).bit_length() * 0.30103)} or so"
    if isinstance(value, numbers.Integral):
        return f"{value:,}" if abs(value) >= 10_000 else str(int(value))
    if isinstance(value, numbers.Real):
        return f"{float(value):.6g}"
    if isinstance(value, (tuple, list)) and len(value) <= 12 and depth:
        inner = ", ".join(plain_text(part, depth - 1) for part in value)
        if isinstance(value, list):
            return f"[{inner}]"
        return f"({inner},)" if len(value) == 1 else f"({inner})"
    try:
        text = getattr(value, "__name__", None)
        text = text if isinstance(text, str) else repr(value)
    except Exception:  # a class of the learner's own
        text = f"a {type(value).__name__}"
    if " at 0x" in text:
        text = f"a {type(value).__name__}"
    return text if len(text) <= 60 else text[:57] + "..."


def _nested(value: object) -> str:
    """Nested lists of numbers as one can type them in."""
    if isinstance(value, list):
        return f"[{', '.join(map(_nested, value))}]"
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def describe(value: object) -> str:
    """ "a string 'abc'", "a tensor of shape (2, 3)": what the learner gave."""
    if is_tensor(value):
        shape = tuple(value.shape)
        return f"a tensor of shape {shape}"
    if inspect.isclass(value):
        return f"the class {value.__name__}"
    if inspect.isroutine(value):
        return f"the function {value.__name__}"
    words = {
        bool: "the bool",
        int: "the number",
        float: "the number",
        str: "the string",
        list: "the list",
        tuple: "the tuple",
        dict: "the dict",
    }
    if type(value) in words:
        return (
            f"{words[type(value)]} {repr(value) if isinstance(value, str) else plain_text(value)}"
        )
    return "None" if value is None else f"an object of type {type(value).__name__}"


def kind_of(expected: object) -> str:
    """ "a plain int": the form in which an answer is expected."""
    if isinstance(expected, bool):
        return "True or False"
    if isinstance(expected, numbers.Integral):
        return "a plain int"
    if isinstance(expected, numbers.Real):
        return "a plain float"
    if isinstance(expected, str):
        return "a string"
    if isinstance(expected, (tuple, list)):
        return f"a {type(expected).__name__} of {counted(len(expected), 'element')}"
    return f"a {type(expected).__name__}"


def _conversion(got, expected) -> str:
    if isinstance(expected, bool) or not isinstance(expected, numbers.Real):
        return ""
    name = "int" if isinstance(expected, numbers.Integral) else "float"
    return f": {name}(x)" if got.numel() == 1 else ""
