"""Running what a learner wrote: observed with a time limit, whatever happens kept and named."""

from __future__ import annotations

import ctypes
import dis
import inspect
import linecache
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass

from cnnlab.course.exercises.judge import describe, is_tensor


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


def same_failure(one: object, other: object, same_errors: bool) -> bool:
    """Whether two failures are one mistake: the same error, at need with the same words."""
    if not (isinstance(one, Failure) and isinstance(other, Failure) and one.error):
        return False
    return one.error == other.error and (one.text == other.text or not same_errors)


class _OutOfTime(BaseException):
    """Not an Exception, so that an `except Exception` in the learner's loop does not eat it."""


def attempt(run: Callable[[], object], answer: object, seconds: float) -> object:
    """What `run` gives, or the `Failure` that it ends in: an error, or no end within `seconds`."""
    try:
        with time_limit(seconds), _seeded():
            return run()
    except _OutOfTime:
        return Failure(
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
            return Failure(text, name, text)
        return Failure(
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


def signature_misfit(answer: Callable, solution: Callable, case: tuple) -> Failure | None:
    """A failure that names the parameters, where `answer` cannot take the case's arguments."""
    try:
        signature = inspect.signature(answer)
    except (TypeError, ValueError):  # some builtins have none
        return None
    try:
        signature.bind(*case)
    except TypeError:
        wanted = ", ".join(inspect.signature(solution).parameters)
        return Failure(
            f"takes ({', '.join(signature.parameters)}), expected ({wanted}): "
            "keep the parameters as the exercise gives them",
            "signature",
        )
    return None


def stub_of(answer: object) -> str:
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
