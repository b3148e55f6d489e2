"""For the fuzz of the judge: what learners do besides being right or wrong.

`styles(exercise)` gives (what it does, answer, "passed" or "wrong"): right answers in other styles,
and answers that hang, crash, leave, waste memory, change what is global, or give the right numbers
in a form that does not work.
"""

from __future__ import annotations

import functools
import os
import random
import sys
import threading
import time
from collections.abc import Callable, Iterator
from fractions import Fraction

import numpy as np
import torch
from torch import nn

from cnnlab.course.exercises.exercise import Exercise
from cnnlab.course.exercises.sandbox import restored

Style = tuple[str, object, str]
RETURN_NO_MODULE = (
    "collapse",
    "all_gone",
    "loop",
    "epoch",
    "clock",
    "resume",
    "rename",
    "freeze",
    "audit",
)


def styles(exercise: Exercise) -> Iterator[Style]:
    if exercise.kind == "value":
        yield from _values(exercise.answer)
    elif exercise.kind == "function":
        yield from _functions(exercise.answer)
    elif not isinstance(exercise.answer, (list, tuple)) and not callable(exercise.answer):
        yield from ((name, strange, "wrong") for name, strange in STRANGE.items())
    elif not callable(exercise.answer):
        yield from _designs(exercise.answer)
    elif exercise.name in RETURN_NO_MODULE:
        yield from _functions(exercise.answer, returns=False)
    else:
        yield from _modules(exercise.answer)


# -- values


class _Odd:
    """Not equal to itself, without a text, without a length."""

    def __eq__(self, other):
        raise RuntimeError("no comparison")

    def __repr__(self):
        raise RuntimeError("no text")

    def __len__(self):
        raise RuntimeError("no length")

    __hash__ = None


class _AlwaysEqual:
    def __eq__(self, other):
        return True

    __hash__ = None


def _loop() -> list:
    ring: list = []
    ring.append(ring)
    return ring


STRANGE = {
    "an object without anything": _Odd(),
    "an object equal to everything": _AlwaysEqual(),
    "a list that holds itself": _loop(),
    "a number of 5,000 digits": 10**5000,
    "a negative number of 400 digits": -(10**400),
    "NaN": float("nan"),
    "infinity": float("inf"),
    "a complex number": 1j,
    "an empty string": "",
    "a dict": {},
    "a set": {1, 2},
    "a range": range(3),
    "a generator": (x for x in ()),
    "bytes": b"1",
    "a boolean": True,
    "an empty tuple": (),
    "nested": ((1, 2), [3]),
    "a tensor": torch.arange(3),
    "a tensor on no device": torch.empty(3, device="meta"),
    "an array": np.zeros((2, 2)),
    "a module": nn.Linear(2, 2),
    "a type": int,
    "the module torch": torch,
}


def _numpied(value: object) -> object:
    """The same with NumPy's numbers, as they come out of an array."""
    if isinstance(value, (tuple, list)):
        return type(value)(_numpied(part) for part in value)
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return value
    return np.int64(value) if isinstance(value, int) else np.float64(value)


def _relisted(value: object) -> object:
    if isinstance(value, tuple):
        return [_relisted(part) for part in value]
    return tuple(_relisted(part) for part in value) if isinstance(value, list) else value


def _values(value: object) -> Iterator[Style]:
    yield "NumPy's numbers", _numpied(value), "passed"
    yield "a tuple for a list", _relisted(value), "passed"
    if isinstance(value, float):
        yield "a fraction", Fraction(value), "passed"
        yield "float32", np.float32(value), "passed"
    if isinstance(value, str):
        yield "with spaces", f" {value.upper()} ", "passed"
    if isinstance(value, (int, float)) and not isinstance(value, bool):
        yield "in quotes", str(value), "wrong"
        yield "a tensor of it", torch.tensor(value), "wrong"
        yield "in a list", [value], "wrong"
        yield "its negative", -value, "wrong"
        yield "an array of it", np.array([value]), "wrong"
    if isinstance(value, int):
        yield "a little more", value + 1e-9 * value + 1e-9, "wrong"
    if isinstance(value, (tuple, list)):
        yield "backwards", type(value)(reversed(value)), "wrong"
        yield "one more", type(value)([*value, 0]), "wrong"
        yield "one less", value[:-1], "wrong"
        yield "as text", str(value), "wrong"
        yield "once more inside", type(value)([value]), "wrong"
    for name, strange in STRANGE.items():
        yield name, strange, "wrong"


def _designs(design: object) -> Iterator[Style]:
    yield "NumPy's numbers", _numpied(design), "passed"
    yield "a tuple for a list", _relisted(design), "passed"
    for name, strange in STRANGE.items():
        yield name, strange, "wrong"
        for at in range(len(design)):
            parts = list(design)
            parts[at] = strange
            if not isinstance(parts[at], bool) or not isinstance(design[at], bool):
                yield f"{name} in place {at}", type(design)(parts), "wrong"
    yield "one less", design[:-1], "wrong"
    yield "a million parts", [*design] * 1_000_000, "wrong"


# -- what code does before, or in place of, its result


def _spins(*_):
    while True:
        pass


def _spins_deaf(*_):
    while True:
        try:
            while True:
                pass
        except:  # noqa: E722 - learners write it
            pass


def _recurses(*arguments):
    return _recurses(*arguments)


class _Wordless(Exception):
    def __str__(self):
        raise RuntimeError("no words")


class _NotEvenAnException(BaseException):
    pass


def _raising(error: BaseException) -> Callable:
    def raises(*_):
        raise error

    return raises


def _interrupts(*_):
    raise KeyboardInterrupt


def _assigns(*_):
    os.environ["CNNLAB_FUZZ"] = "1"
    os.chdir("/")


INSTEAD = {
    "never ends": _spins,
    "never ends, and catches everything": _spins_deaf,
    "calls itself": _recurses,
    "raises ValueError": _raising(ValueError("no")),
    "raises an error without words": _raising(_Wordless()),
    "raises what is no Exception": _raising(_NotEvenAnException("out")),
    "raises StopIteration": _raising(StopIteration()),
    "raises GeneratorExit": _raising(GeneratorExit()),
    "leaves Python": lambda *_: sys.exit(0),
    "raises KeyboardInterrupt": _interrupts,
    "asks for input": lambda *_: input("how many? "),
    "wants much memory": lambda *_: bytearray(1 << 46),
    "wants a large tensor": lambda *_: torch.zeros(1 << 46),
    "wants a long list": lambda *_: [0] * (1 << 46),
    "gives None": lambda *_: None,
    "gives a coroutine's worth of nothing": lambda *_: (x for x in ()),
} | {f"gives {name}": (lambda *_, strange=strange: strange) for name, strange in STRANGE.items()}

BEFORE = {
    "prints": lambda: print("here"),
    "writes to stderr": lambda: print("here", file=sys.stderr),
    "seeds": lambda: (torch.manual_seed(5), random.seed(5), np.random.seed(5)),
    "draws": lambda: (torch.rand(3), random.random(), np.random.rand()),
    "changes the number of threads": lambda: torch.set_num_threads(1 + torch.get_num_threads() % 2),
    "changes folder and environment": _assigns,
    "asks for exactness": lambda: torch.use_deterministic_algorithms(True),
    "lowers the recursion limit": lambda: sys.setrecursionlimit(400),
    "starts a thread": lambda: threading.Thread(target=time.sleep, args=(0.1,)).start(),
}
AFTER = {
    "changes the default dtype": lambda: torch.set_default_dtype(torch.float64),
    "changes the default device": lambda: torch.set_default_device("meta"),
    "switches gradients off": lambda: torch.set_grad_enabled(False),
    "takes stdout away": lambda: setattr(sys, "stdout", None),
}


def _functions(right: Callable, returns: bool = True) -> Iterator[Style]:
    class Called:
        def __call__(self, *arguments):
            return right(*arguments)

        def method(self, *arguments):
            return right(*arguments)

    def doing(before: Callable, after: Callable) -> Callable:
        def answer(*arguments):
            before()
            result = right(*arguments)
            after()
            return result

        return answer

    def spoils(*arguments):
        result = right(*arguments)
        for argument in arguments:
            if isinstance(argument, list):
                argument.clear()
            if isinstance(argument, torch.Tensor):
                argument.zero_()
        return result

    yield "another name", lambda *arguments: right(*arguments), "passed"
    yield "functools.partial", functools.partial(right), "passed"
    yield "an object that can be called", Called(), "passed"
    yield "a method", Called().method, "passed"
    if returns:
        yield "NumPy's numbers", lambda *arguments: _numpied(right(*arguments)), "passed"
        yield "a tuple for a list", lambda *arguments: _relisted(right(*arguments)), "passed"
        yield "spoils its arguments", spoils, "passed"
        yield "a list around it", lambda *arguments: [right(*arguments)], "wrong"
        yield "text", lambda *arguments: str(right(*arguments)), "wrong"
    yield "called already", STRANGE["an empty tuple"], "wrong"
    yield "takes nothing", lambda: None, "wrong"
    yield "takes one too many", lambda a, b, c, d, e, f, g, h, i, j: None, "wrong"
    for name, act in BEFORE.items():
        yield name, doing(act, lambda: None), "passed"
    for name, act in AFTER.items() if returns else ():  # else what follows it may break
        yield name, doing(lambda: None, act), "passed"
    for name, instead in INSTEAD.items():
        if not (name == "gives a boolean" and isinstance(right, type)):
            yield name, instead, "wrong"


# -- modules


def _first_only(out: torch.Tensor) -> torch.Tensor:
    spoiled = out.clone()
    spoiled.view(-1)[-1] = torch.nan
    return spoiled


# The right output, given on in a way that does not work.
OUTPUTS = {
    "gives a tuple": lambda out: (out,),
    "gives an array": lambda out: out.detach().numpy() if out.device.type == "cpu" else None,
    "gives a list": lambda out: [*out],
    "gives float64": lambda out: out.double(),
    "gives half precision": lambda out: out.half(),
    "gives whole numbers": lambda out: out.long(),
    "gives a tensor on no device": lambda out: out.to("meta"),
    "cuts the graph": lambda out: out.detach(),
    "one value is NaN": _first_only,
    "adds 1": lambda out: out + 1,
    "swaps height and width": lambda out: out.transpose(-1, -2).contiguous(),
    "drops the batch": lambda out: out[0],
    "one more axis": lambda out: out[None],
    "mixes the batch": lambda out: out - out.mean(0, keepdim=True),
}


def _wrapper(right: Callable, forward: Callable, create: Callable = lambda: None) -> Callable:
    """The right module inside another one, which runs forward(self, inner, x)."""

    class Wrapper(nn.Module):
        def __init__(self, *arguments):
            super().__init__()
            create()
            self.inner = right(*arguments)

        def forward(self, x):
            return forward(self, self.inner, x)

    if isinstance(right, type):
        return Wrapper

    def build(*arguments):
        return Wrapper(*arguments)

    return build


def _modules(right: Callable) -> Iterator[Style]:
    def doing(act: Callable) -> Callable:
        return lambda self, inner, x: (act(), inner(x))[1]

    def later(self, inner, x):
        self.calls = getattr(self, "calls", 0) + 1
        return inner(x) if self.calls == 1 else 0 * inner(x)

    def without_gradient(self, inner, x):
        with torch.no_grad():
            return inner(x)

    def spoils(self, inner, x):
        out = inner(x.clone())
        x.add_(1)
        return out

    yield "wrapped", _wrapper(right, lambda self, inner, x: inner(x)), "passed"
    yield "contiguous", _wrapper(right, lambda self, inner, x: inner(x).contiguous()), "passed"
    for name, act in BEFORE.items():
        yield f"{name} in forward", _wrapper(right, doing(act)), "passed"
        yield f"{name} in __init__", _wrapper(right, lambda _, inner, x: inner(x), act), "passed"
    wrong = {
        "works in train only": lambda self, inner, x: inner(x) * self.training,
        "works in eval only": lambda self, inner, x: inner(x) * (not self.training),
        "raises in eval": lambda self, inner, x: inner(x) if self.training else _raising(Odd())(),
        "raises in train": lambda self, inner, x: _raising(Odd())() if self.training else inner(x),
        "wrong from the second call on": later,
        "runs without gradient": without_gradient,
        "spoils its input": spoils,
        "gives its input": lambda self, inner, x: x,
        "gives zeros": lambda self, inner, x: 0 * inner(x),
    }
    for name, change in OUTPUTS.items():
        wrong[name] = lambda self, inner, x, change=change: change(inner(x))
    for name, instead in INSTEAD.items():
        wrong[f"{name} in forward"] = lambda self, inner, x, instead=instead: instead()
    for name, forward in wrong.items():
        yield name, _wrapper(right, forward), "wrong"
    for name, instead in INSTEAD.items():
        yield f"{name} in place of a module", instead, "wrong"
        create = _wrapper(right, lambda self, inner, x: inner(x), instead)
        if not name.startswith("gives"):
            yield f"{name} in __init__", create, "wrong"
    yield "takes nothing", lambda: None, "wrong"


class Odd(RuntimeError):
    pass


# -- what it finds

REFUSED = ("wrong", "not attempted")


def faults(exercise: Exercise, only: Callable[[str], bool] = lambda name: True) -> tuple[int, list]:
    """(how many were tried, [what went wrong with each of them that was judged wrongly])."""
    found, tried = [], 0
    quick = exercise.bound(None)
    quick.seconds = 0.5
    for name, answer, wanted in styles(exercise):
        if not only(name):
            continue
        tried += 1
        stdout, limit, changed = sys.stdout, sys.getrecursionlimit(), []
        with restored(changed):
            try:
                verdict = quick.judge(answer)
                text = f"{verdict.status}: {verdict.message}"
                ok = verdict.passed if wanted == "passed" else verdict.status in REFUSED
            except BaseException as error:
                ok, text = False, f"check raises {type(error).__name__}: {error}"
        left = [*changed]
        if sys.stdout is not stdout:
            left, sys.stdout = [*left, "stdout"], stdout
        if sys.getrecursionlimit() != limit:
            left.append("recursion limit")
            sys.setrecursionlimit(limit)
        if not ok or left:
            found.append(f"{name}, wanted {wanted}: {text} {left or ''}")
    return tried, found
