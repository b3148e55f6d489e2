"""Exercises that say what went wrong, and quizzes that answer at once.

A check compares observations: what the learner's answer gives for each case, beside what the
solution gives. A known mistake is kept as a real wrong answer, so its diagnosis is found by the
same comparison and can be tested.
"""

from __future__ import annotations

import copy
import ctypes
import difflib
import dis
import inspect
import linecache
import math
import numbers
import re
import signal
import sys
import textwrap
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, replace

from cnnlab.course.errors import CourseError
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


@dataclass(frozen=True)
class Bound:
    """A requirement on a number, as an observation: whether it is met, and the number."""

    met: bool
    got: float

    def __str__(self) -> str:
        return _plain(self.got) if isinstance(self.got, int) else f"{self.got:.2g}"


def at_most(got: float, bound: float) -> Bound:
    """The observation that `got` does not exceed `bound`."""
    return Bound(bool(got <= bound), got)


def at_least(got: float, bound: float) -> Bound:
    """The observation that `got` reaches `bound`."""
    return Bound(bool(got >= bound), got)


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
        return "\n".join(filter(None, (self.working, _plain(self.answer))))

    def card(self) -> Card:
        return Card("note", f"{self.name}: {self.title}", (f"{self.level}, {self.minutes} min",))

    def _repr_mimebundle_(self, include=None, exclude=None) -> dict[str, str]:
        return self.card()._repr_mimebundle_()

    # -- how it is judged

    def _judge(self, answer: object) -> tuple[str, str]:
        stub = _stub(answer)
        if stub:
            return "not attempted", stub
        if answer is None:
            return "wrong", "got None: is a `return` missing, or was nothing assigned yet?"
        if self.kind == "function" and not callable(answer):
            return "wrong", (
                f"got {_describe(answer)}; this exercise checks the function itself: "
                f"ex.{self.name}.check(my_function), without calling it"
            )
        if self.kind == "value" and callable(answer):
            return "wrong", (
                f"got {_describe(answer)}; this exercise asks for "
                f"{_kind_of(self.answer)}: call it and give the result"
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
        """{label: value or _Failure}, in the order in which differences are reported."""
        if self.kind == "value":
            return {"": answer}
        observed: dict[str, object] = {}
        deadline = time.monotonic() + self.seconds
        if self.kind == "module":
            outcome = _attempt(lambda: dict(self.observe(answer)), answer, self.seconds)
            if isinstance(outcome, _Failure) and not outcome.own:
                kind = "built or run" if inspect.isclass(answer) else "run"
                why = (
                    f"{answer.__name__} cannot be {kind} as the exercise does: it "
                    f"{outcome.sentence}. Keep the parameters, and their order, as the "
                    "exercise gives them"
                    if callable(answer) and hasattr(answer, "__name__")
                    else f"cannot be examined: {_describe(answer)} where "
                    f"{_describe(self.answer)} was expected, and then it {outcome.sentence}"
                )
                outcome = replace(outcome, sentence=why)
            return {"": outcome} if isinstance(outcome, _Failure) else outcome
        call_name = getattr(answer, "__name__", "your function").replace("<lambda>", "f")
        for case in self.cases:
            label = f"{call_name}({', '.join(map(_plain, case))})"
            misfit = _signature_misfit(answer, self.answer, case)
            if misfit:
                return {label: misfit}
            arguments = copy.deepcopy(case)  # the learner's code may change them
            left = max(deadline - time.monotonic(), 0.01)
            observed[label] = _attempt(lambda: answer(*arguments), answer, left)
            if isinstance(observed[label], _Failure) and observed[label].timed_out:
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
            if isinstance(value, _Failure) or isinstance(wanted, _Failure):
                if _same_failure(value, wanted, same_errors):
                    continue
                text = (
                    value.sentence
                    if isinstance(value, _Failure)
                    else f"returns {_plain(value)}, expected {wanted.error}"
                )
                return f"{label}: {text}" if label else text
            if self.kind == "module" and label != wanted_label:
                return f"observed {label!r} where {wanted_label!r} was expected"
            got_number = f", got {value}" if isinstance(value, Bound) else ""
            value, wanted = (one.met if isinstance(one, Bound) else one for one in (value, wanted))
            if self.kind == "module" and wanted is True and value is False:
                return f"not fulfilled: {label}{got_number}"
            difference = _difference(value, wanted, self.tolerance, self.reveal)
            if difference and self.kind != "function":
                difference = _got(difference)
            if difference:
                return f"{label}: {difference}" if label else difference
        if len(got) != len(expected):
            return f"gives {_count(len(got), 'observation')}, expected {len(expected)}"
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
        title = f"{_count(len(self), 'exercise')}, about {_count(minutes, 'minute')}"
        return Card("note", title, rows=tuple(rows))

    def __repr__(self) -> str:
        return str(self.card())

    def _repr_mimebundle_(self, include=None, exclude=None) -> dict[str, str]:
        return self.card()._repr_mimebundle_()


# -- for `observe`: call what the learner gave


def called(answer: Callable, solution: Callable, *arguments: object) -> object:
    """What the learner's function or class gives. Raises ValueError where it takes others."""
    misfit = _signature_misfit(answer, solution, arguments)
    if misfit:
        raise ValueError(misfit.sentence)
    return answer(*arguments)


def output_of(model: Callable, *inputs: object) -> object:
    """The tensor that the learner's model gives. Raises ValueError where it gives none."""
    out = model(*inputs)
    if not _is_tensor(out):
        missing = ": is the `return` missing?" if out is None else ""
        raise ValueError(f"forward gives {_describe(out)}, expected a tensor{missing}")
    return out


def reads_of(layers: Iterable) -> list:
    """What these layers of a learner's model read, call by call, in the passes to come."""
    reads = []
    for layer in layers:
        layer.register_forward_pre_hook(lambda _, given: reads.append(given[0].clone()))
    return reads


# -- observing: run the learner's code and keep whatever happens


@dataclass(frozen=True)
class _Failure:
    sentence: str
    error: str = ""  # the type's name
    text: str = ""
    timed_out: bool = False
    own: bool = True  # the sentence is about the learner's code


def _same_failure(one: object, other: object, same_errors: bool) -> bool:
    if not (isinstance(one, _Failure) and isinstance(other, _Failure) and one.error):
        return False
    return one.error == other.error and (one.text == other.text or not same_errors)


class _OutOfTime(BaseException):
    """Not an Exception, so that an `except Exception` in the learner's loop does not eat it."""


def _attempt(run: Callable[[], object], answer: object, seconds: float) -> object:
    try:
        with time_limit(seconds), _seeded():
            return run()
    except _OutOfTime:
        return _Failure(
            f"still running after {seconds:.1g} s, stopped: does a loop ever end?", timed_out=True
        )
    except KeyboardInterrupt:
        raise
    except BaseException as error:  # SystemExit too: `exit()` in an answer
        place = _place(error, answer)
        text = " ".join(str(error).split())
        text = text if len(text) <= 300 else text[:297] + "..."
        name = type(error).__name__
        if isinstance(error, ValueError) and not place and text:
            return _Failure(text, name, text)
        return _Failure(
            f"raises {name}{': ' + text if text else ''}{place}", name, text, own=bool(place)
        )


@contextmanager
def time_limit(seconds: float) -> Iterator[None]:
    """Raise `_OutOfTime` in the block when it runs longer than `seconds`; nothing fires later.

    In the main thread of a Unix system an alarm also ends a blocking call; elsewhere a watchdog
    raises in the thread, which a block that stays inside one C call notices only when it returns.
    """
    main = threading.current_thread() is threading.main_thread()
    with (_alarm if main and hasattr(signal, "setitimer") else _watchdog)(seconds):
        yield


@contextmanager
def _alarm(seconds: float) -> Iterator[None]:
    running = True

    def stop(signum, frame):
        if running:
            raise _OutOfTime

    before = signal.signal(signal.SIGALRM, stop)
    # Fires again each second: a bare `except:` in the learner's loop may eat the first.
    timer = signal.setitimer(signal.ITIMER_REAL, seconds, 1.0)
    started = time.monotonic()
    try:
        try:
            yield
        finally:
            running = False
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
        if timer[0]:  # somebody else's alarm goes on
            left = max(timer[0] - (time.monotonic() - started), 0.001)
            signal.setitimer(signal.ITIMER_REAL, left, timer[1])


@contextmanager
def _watchdog(seconds: float) -> Iterator[None]:
    thread = ctypes.c_ulong(threading.get_ident())
    finished, lock = threading.Event(), threading.Lock()

    def watch():
        wait = seconds
        while not finished.wait(wait):
            with lock:
                if not finished.is_set():
                    ctypes.pythonapi.PyThreadState_SetAsyncExc(thread, ctypes.py_object(_OutOfTime))
            wait = 1.0

    watcher = threading.Thread(target=watch, daemon=True)
    watcher.start()
    try:
        yield
    finally:
        with lock:
            finished.set()
        # Whatever was sent and has not arrived yet is taken back.
        ctypes.pythonapi.PyThreadState_SetAsyncExc(thread, None)


def _seeded():
    """A fixed seed inside the block, torch's state as before after it, if torch is in use."""
    torch = sys.modules.get("torch")
    return _torch_seeded(torch) if torch is not None else nullcontext()


@contextmanager
def _torch_seeded(torch) -> Iterator[None]:
    with torch.random.fork_rng(devices=[]):
        torch.random.default_generator.manual_seed(0)
        yield


def _place(error: BaseException, answer: object) -> str:
    """ " (line 3: `return a + b`)" for the last frame in the file that defines the answer."""
    filename = _source_file(answer)
    found, frame = None, error.__traceback__
    while frame is not None:
        if filename is not None and frame.tb_frame.f_code.co_filename == filename:
            found = frame
        frame = frame.tb_next
    if found is None:
        return ""
    line = linecache.getline(filename, found.tb_lineno).strip()
    return f" (line {found.tb_lineno}{': `' + line + '`' if line else ''})"


def _source_file(answer: object) -> str | None:
    """The file (or notebook cell) that defines a function, a class or an instance's class."""
    if hasattr(answer, "__code__"):
        return answer.__code__.co_filename
    owner = answer if inspect.isclass(answer) else type(answer)
    for member in vars(owner).values():
        if inspect.isfunction(member):
            return member.__code__.co_filename
    return None


def _signature_misfit(answer: Callable, solution: Callable, case: tuple) -> _Failure | None:
    try:
        signature = inspect.signature(answer)
    except (TypeError, ValueError):  # some builtins have none
        return None
    try:
        signature.bind(*case)
    except TypeError:
        wanted = ", ".join(inspect.signature(solution).parameters)
        return _Failure(
            f"takes ({', '.join(signature.parameters)}), expected ({wanted}): "
            "keep the parameters as the exercise gives them",
            "signature",
        )
    return None


# -- stubs


def _stub(answer: object) -> str:
    """Why the answer counts as not attempted, or ""."""
    if answer is ...:
        return "Replace the `...` by your answer."
    rows = answer if isinstance(answer, (tuple, list, set, frozenset)) else ()
    if any(part is ... or isinstance(part, (tuple, list)) and ... in part for part in rows):
        return "There is still a `...` in it: replace it by your answer."
    if isinstance(answer, dict) and any(part is ... for part in answer.values()):
        return "There is still a `...` in it: replace it by your answer."
    if inspect.isfunction(answer) and _empty(answer):
        return f"The body of `{answer.__name__}` is still `...`."
    owner = answer if inspect.isclass(answer) else type(answer)
    for name in ("forward", "__call__", "__init__"):
        method = vars(owner).get(name)
        if inspect.isfunction(method) and _empty(method):
            return f"The body of `{owner.__name__}.{name}` is still `...`."
    return ""


def _empty(function: Callable) -> bool:
    """Whether the body is only a docstring, `...`, `pass` or a return of nothing."""
    for step in dis.get_instructions(function):
        if step.opname in (
            "RESUME",
            "NOP",
            "RETURN_VALUE",
            "COPY_FREE_VARS",
            "MAKE_CELL",
            "PRECALL",
            "CACHE",
        ):
            continue
        if step.opname in ("LOAD_CONST", "RETURN_CONST") and step.argval in (None, ...):
            continue
        return False
    return True


# -- comparing


def _difference(got: object, expected: object, tolerance: float, reveal: bool) -> str | None:
    """None when `got` is right, else a sentence: what it is, what was expected, what to do."""
    if got is None and expected is not None:
        return "returns None: is the `return` missing?"
    if got is ...:
        return "is still `...`"
    if _is_tensor(expected):
        return _tensor_difference(got, expected, tolerance, reveal)
    if _is_tensor(got):
        return f"returned {_describe(got)}; return {_kind_of(expected)}{_conversion(got, expected)}"
    if isinstance(expected, bool):
        if not isinstance(got, bool) and type(got).__name__ not in ("bool_", "bool"):
            return f"returned {_describe(got)}, expected True or False"
        return None if bool(got) == expected else _unequal(got, expected, reveal)
    if isinstance(expected, numbers.Real):
        return _number_difference(got, expected, tolerance, reveal)
    if isinstance(expected, str):
        if not isinstance(got, str):
            return f"returned {_describe(got)}, expected a string in quotes"
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
        return f"returned {_describe(got)}, expected {_kind_of(expected)}{_how_to_write(got)}"
    if got != got and expected == expected:
        return "returned NaN, which is not a number: is something divided 0 by 0?"
    if whole:
        if got == expected and not isinstance(got, numbers.Integral):
            return (
                f"returned {got}, a float; the value is right, but a whole number is "
                "expected: int(x), or // in place of /"
            )
        return None if got == expected else _unequal(got, expected, reveal)
    if math.isclose(got, expected, rel_tol=tolerance, abs_tol=tolerance * 1e-3):
        return None
    return None if got != got and expected != expected else _unequal(got, expected, reveal)


def _how_to_write(got) -> str:
    """What to do about a number in quotes, or cut in two by a comma."""
    if isinstance(got, str):
        try:
            float(got)
        except ValueError:
            return ": one number, without words"
        return ": without quotes"
    if isinstance(got, tuple) and all(type(part) is int for part in got):
        joined = "_".join([str(part) if i == 0 else f"{part:03}" for i, part in enumerate(got)])
        return f": a comma makes a tuple, write {joined}"
    return ""


def _sequence_difference(got, expected, tolerance, reveal) -> str | None:
    if not isinstance(got, (tuple, list)):
        return f"returned {_describe(got)}, expected {_kind_of(expected)}"
    if len(got) != len(expected):
        return f"has {_count(len(got), 'element')}, expected {len(expected)}"
    for index, (one, wanted) in enumerate(zip(got, expected)):
        difference = _difference(one, wanted, tolerance, reveal)
        if difference:
            return f"element {index}: {_got(difference)}"
    return None


def _dict_difference(got, expected, tolerance, reveal) -> str | None:
    if not isinstance(got, dict):
        return f"returned {_describe(got)}, expected a dict"
    for key, wanted in expected.items():
        if key not in got:
            return f"has no key {key!r}; keys: {', '.join(map(repr, got)) or 'none'}"
        difference = _difference(got[key], wanted, tolerance, reveal)
        if difference:
            return f"key {key!r}: {_got(difference)}"
    extra = [key for key in got if key not in expected]
    return f"has a key too many: {extra[0]!r}" if extra else None


def _tensor_difference(got, expected, tolerance, reveal) -> str | None:
    if not _is_tensor(got):
        return f"returned {_describe(got)}, expected {_describe(expected)}"
    if tuple(got.shape) != tuple(expected.shape):
        return f"has shape {tuple(got.shape)}, expected {tuple(expected.shape)}"
    got, expected = got.detach().double().cpu(), expected.detach().double().cpu()
    if bool(got.isnan().any()) and not bool(expected.isnan().any()):
        return f"has {_count(int(got.isnan().sum()), 'NaN')} among its {got.numel():,} values"
    # float32 convolutions of equal weights differ in the last digits
    bound = max(tolerance, 1e-5)
    worst = (got - expected).abs()
    if bool((worst <= bound * (1 + expected.abs())).all()):
        return None
    return (
        f"has the right shape, but {int((worst > bound * (1 + expected.abs())).sum()):,} of "
        f"{got.numel():,} values differ, by up to {float(worst.max()):.3g}"
    )


def _got(difference: str) -> str:
    """The sentence about something that was not returned by itself."""
    return re.sub("^returned ", "got ", difference)


def _unequal(got: object, expected: object, reveal: bool) -> str:
    if reveal:
        return f"returned {_plain(got)}, expected {_plain(expected)}"
    if (
        isinstance(got, numbers.Real)
        and isinstance(expected, numbers.Real)
        and not (isinstance(expected, bool))
    ):
        return f"{_plain(got)} is too {'small' if got < expected else 'large'}"
    return f"{_plain(got)} is not it"


def _is_tensor(value: object) -> bool:
    torch = sys.modules.get("torch")
    return torch is not None and isinstance(value, torch.Tensor)


def _plain(value: object) -> str:
    """A value as a learner writes it, short: 36,864; 0.3333; [1, 2]; a 2x3 tensor."""
    if _is_tensor(value):
        return _describe(value)
    if isinstance(value, bool) or value is None:
        return str(value)
    if isinstance(value, numbers.Integral):
        return f"{value:,}" if abs(value) >= 10_000 else str(int(value))
    if isinstance(value, numbers.Real):
        return f"{float(value):.6g}"
    if isinstance(value, (tuple, list)) and len(value) <= 12:
        inner = ", ".join(map(_plain, value))
        if isinstance(value, list):
            return f"[{inner}]"
        return f"({inner},)" if len(value) == 1 else f"({inner})"
    text = getattr(value, "__name__", None) or repr(value)
    if " at 0x" in text:
        text = f"a {type(value).__name__}"
    return text if len(text) <= 60 else text[:57] + "..."


def _describe(value: object) -> str:
    """ "a string 'abc'", "a tensor of shape (2, 3)": what the learner gave."""
    if _is_tensor(value):
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
        return f"{words[type(value)]} {repr(value) if isinstance(value, str) else _plain(value)}"
    return "None" if value is None else f"an object of type {type(value).__name__}"


def _kind_of(expected: object) -> str:
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
        return f"a {type(expected).__name__} of {_count(len(expected), 'element')}"
    return f"a {type(expected).__name__}"


def _conversion(got, expected) -> str:
    if isinstance(expected, bool) or not isinstance(expected, numbers.Real):
        return ""
    name = "int" if isinstance(expected, numbers.Integral) else "float"
    return f": {name}(x)" if got.numel() == 1 else ""


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}{'' if number == 1 else 's'}"
