"""Running what a learner wrote: observed, whatever happens kept and named, nothing left changed."""

from __future__ import annotations

import dis
import inspect
import linecache
import os
import random
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass

from cnnlab.course.exercises.judge import describe, is_tensor, plain_text


def called(answer: Callable, solution: Callable, *arguments: object) -> object:
    """What the learner's function or class gives. Raises ValueError where it takes others."""
    misfit = signature_misfit(answer, solution, arguments)
    if misfit:
        raise ValueError(misfit.sentence)
    return answer(*arguments)


def output_of(model: Callable, *inputs: object) -> object:
    """The tensor that the learner's model gives. Raises ValueError where it gives none."""
    out = model(*inputs)
    if not is_tensor(out):
        missing = ": is the `return` missing?" if out is None else ""
        raise ValueError(f"forward gives {describe(out)}, expected a tensor{missing}")
    return out


def reads_of(layers: Iterable) -> list:
    """What these layers of a learner's model read, call by call, in the passes to come."""
    reads = []
    for layer in layers:
        layer.register_forward_pre_hook(lambda _, given: reads.append(given[0].clone()))
    return reads


@dataclass(frozen=True)
class Failure:
    """What went wrong in place of a result, in a sentence for the learner."""

    sentence: str
    error: str = ""  # the type's name
    text: str = ""
    timed_out: bool = False
    own: bool = True  # the sentence is about the learner's code
    asked_for: bool = False  # raised by the answer's own code itself, not by what it calls


def same_failure(one: object, other: object, same_errors: bool) -> bool:
    """Whether two failures are one mistake: the same error, at need with the same words."""
    if not (isinstance(one, Failure) and isinstance(other, Failure) and one.error):
        return False
    return one.error == other.error and (one.text == other.text or not same_errors)


def attempt(
    run: Callable[[], object],
    answer: object,
    seconds: float | None,
    changed: list[str] | None = None,
) -> object:
    """What `run` gives, or the `Failure` that it ends in: an error, or no end.

    seconds  of CPU time it may take; None: as long as it likes. `changed` gets the names of
             everything global that it changed; all of it is put back.
    """
    try:
        with restored([] if changed is None else changed), _limit(seconds):
            return run()
    except BaseException as error:  # SystemExit too: `exit()` in an answer
        place, innermost = _place(error, answer)
        if isinstance(error, KeyboardInterrupt) and not (innermost and _by_raise(error)):
            raise  # somebody pressed the button
        if _out_of_time(error):
            return Failure(str(error), timed_out=True)
        text = " ".join(_words(error).split())
        text = text if len(text) <= 300 else text[:297] + "..."
        name = type(error).__name__
        if isinstance(error, ValueError) and not place and text:
            return Failure(text, name, text)
        return Failure(
            f"raises {name}{': ' + text if text else ''}{place}",
            name,
            text,
            own=bool(place),
            asked_for=innermost,
        )


def _by_raise(error: BaseException) -> bool:
    """Whether a `raise` in Python code raised it, not a signal."""
    last = error.__traceback__
    while last.tb_next is not None:
        last = last.tb_next
    return dis.opname[last.tb_frame.f_code.co_code[last.tb_lasti]] == "RAISE_VARARGS"


def _words(error: BaseException) -> str:
    try:
        return str(error)
    except Exception:  # an error class of the learner's own
        return ""


def _limit(seconds: float | None):
    """The time limit, where there are signals or threads to keep one: not in a browser's Python."""
    if seconds is None or sys.platform == "emscripten":
        return nullcontext()
    from cnnlab.course.exercises.limits import time_limit

    return time_limit(seconds)


def _out_of_time(error: BaseException) -> bool:
    limits = sys.modules.get("cnnlab.course.exercises.limits")
    return limits is not None and isinstance(error, limits.OutOfTime)


def _others(variables: Mapping[str, str]) -> dict[str, str]:
    """All but those that torch itself sets, when the first optimizer is made."""
    own = "TORCHINDUCTOR_", "TRITON_"
    return {name: value for name, value in variables.items() if not name.startswith(own)}


@contextmanager
def restored(changed: list[str]) -> Iterator[None]:
    """Fixed seeds inside the block; after it, everything global is as before, and `changed` names
    what was not: the block's code changed it."""
    torch, numpy = sys.modules.get("torch"), sys.modules.get("numpy")
    state = random.getstate()
    random.seed(0)
    drawn = numpy.random.get_state() if numpy else None
    if numpy:
        numpy.random.seed(0)
    place, variables = os.getcwd(), dict(os.environ)
    settings = _settings(torch)
    for get, put, start, _ in settings.values():
        if get() != start:
            put(start)
    with torch.random.fork_rng(devices=[]) if torch else nullcontext():
        if torch:
            torch.random.default_generator.manual_seed(0)
        try:
            yield
        finally:
            random.setstate(state)
            if drawn is not None:
                numpy.random.set_state(drawn)
            for name, (get, put, start, value) in settings.items():
                if get() != start:
                    changed.append(name)
                if get() != value:
                    put(value)
            if os.environ != variables:
                if _others(os.environ) != _others(variables):
                    changed.append("the environment's variables")
                os.environ.clear()
                os.environ.update(variables)
            if not _is_here(place):
                changed.append("the current folder")
                os.chdir(place)


def _is_here(place: str) -> bool:
    try:
        return os.getcwd() == place
    except OSError:  # it was removed
        return False


def _settings(torch) -> dict[str, tuple]:
    """{name: (how to read it, how to set it, its value in a check, its value now)} of switches
    for all code."""
    switches = {
        "Python's recursion limit": (sys.getrecursionlimit, sys.setrecursionlimit),
        "sys.stdout": (lambda: sys.stdout, lambda stream: setattr(sys, "stdout", stream)),
    }
    plain = {}
    numpy = sys.modules.get("numpy")
    if numpy:
        switches["numpy's print options"] = (
            numpy.get_printoptions,
            lambda options: numpy.set_printoptions(**options),
        )
    if torch is not None:
        switches |= {
            "torch's default dtype": (torch.get_default_dtype, torch.set_default_dtype),
            "torch's default device": (
                lambda: torch.empty(0).device.type,
                lambda kind: torch.set_default_device(None if kind == "cpu" else kind),
            ),
            "torch's gradient switch": (torch.is_grad_enabled, torch.set_grad_enabled),
            "torch's number of threads": (torch.get_num_threads, torch.set_num_threads),
            "torch's matmul precision": (
                torch.get_float32_matmul_precision,
                torch.set_float32_matmul_precision,
            ),
            "torch's deterministic mode": (
                torch.get_deterministic_debug_mode,
                torch.set_deterministic_debug_mode,
            ),
            "cuDNN's switches": (
                lambda: (torch.backends.cudnn.deterministic, torch.backends.cudnn.benchmark),
                _set_cudnn,
            ),
        }
        # What an earlier cell has set does not count either.
        plain = {
            "torch's default dtype": torch.float32,
            "torch's default device": "cpu",
            "torch's gradient switch": True,
        }
    found = {name: (*ways, ways[0]()) for name, ways in switches.items()}
    return {name: (get, put, plain.get(name, v), v) for name, (get, put, v) in found.items()}


def _set_cudnn(switches: tuple[bool, bool]) -> None:
    cudnn = sys.modules["torch"].backends.cudnn
    cudnn.deterministic, cudnn.benchmark = switches


def _place(error: BaseException, answer: object) -> tuple[str, bool]:
    """(" (line 3: `return a + b`)" for the last frame in the file that defines the answer,
    whether that is where it was raised)."""
    filename = _source_file(answer)
    found, last, frame = None, None, error.__traceback__
    while frame is not None:
        last = frame
        if filename is not None and frame.tb_frame.f_code.co_filename == filename:
            found = frame
        frame = frame.tb_next
    if found is None:
        return "", False
    line = linecache.getline(filename, found.tb_lineno).strip()
    return f" (line {found.tb_lineno}{': `' + line + '`' if line else ''})", found is last


def _source_file(answer: object) -> str | None:
    """The file (or notebook cell) that defines a function, a class or an instance's class."""
    if hasattr(answer, "__code__"):
        return answer.__code__.co_filename
    owner = answer if inspect.isclass(answer) else type(answer)
    for member in vars(owner).values():
        if inspect.isfunction(member):
            return member.__code__.co_filename
    return None


def signature_misfit(answer: Callable, solution: Callable, case: tuple) -> Failure | None:
    """A failure that names the parameters, where `answer` cannot take the case's arguments."""
    try:
        signature = inspect.signature(answer)
    except (TypeError, ValueError):  # some builtins have none
        return None
    try:
        signature.bind(*case)
    except TypeError:
        return Failure(
            f"takes ({_parameters(signature)}), expected "
            f"({_parameters(inspect.signature(solution))}): "
            "keep the parameters as the exercise gives them",
            "signature",
        )
    return None


def _parameters(signature: inspect.Signature) -> str:
    """ "before, after, stride=1", without annotations."""
    return ", ".join(
        one.name if one.default is one.empty else f"{one.name}={plain_text(one.default)}"
        for one in signature.parameters.values()
    )


def stub_of(answer: object) -> str:
    """Why the answer counts as not attempted, or ""."""
    if answer is ...:
        return "Replace the `...` by your answer."
    rows = answer if isinstance(answer, (tuple, list, set, frozenset)) else ()
    if any(
        part is ... or isinstance(part, (tuple, list)) and any(one is ... for one in part)
        for part in rows
    ):
        return "There is still a `...` in it: replace it by your answer."
    if isinstance(answer, dict) and any(part is ... for part in answer.values()):
        return "There is still a `...` in it: replace it by your answer."
    if inspect.isfunction(answer) and _empty(answer):
        return f"The body of `{answer.__name__}` {_stub(answer)}."
    owner = answer if inspect.isclass(answer) else type(answer)
    for name in ("forward", "__call__", "__init__"):
        method = vars(owner).get(name)
        if inspect.isfunction(method) and _empty(method):
            return f"The body of `{owner.__name__}.{name}` {_stub(method)}."
    return ""


def _stub(function: Callable) -> str:
    try:
        source = inspect.getsource(function)
    except (OSError, TypeError):
        source = "..."
    return "is still `...`" if "..." in source else "does nothing yet"


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
