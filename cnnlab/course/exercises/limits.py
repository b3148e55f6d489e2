"""Time limits for a learner's code, in CPU time, so that a busy machine changes no verdict.

The process's CPU time is looked at a few times a second. Code that computes too long is stopped;
so is code that waits for something, which uses no CPU at all. Nothing is stopped inside an import:
half a module would be left behind.
"""

from __future__ import annotations

import contextlib
import ctypes
import signal
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

WAITING = 15.0  # seconds on the wall in which waiting code used no CPU
_TICK = 0.2
_DEAF = 5  # stops that a bare `except:` may eat
# A process that computes gets more than this in WAITING, even as one of a hundred on a core.
_SOME_CPU = 0.02


# Code on its way out of a block; raised there, a stop would leave things half undone.
_OWN = (__file__, contextlib.__file__)


class OutOfTime(BaseException):
    """Not an Exception, so that an `except Exception` in the learner's loop does not eat it."""


class _Meter:
    """What a block used so far, and the sentence that stops it."""

    def __init__(self, seconds: float):
        self.seconds, self.running, self.stops = seconds, True, 0
        self._began = self._seen = time.process_time()
        self._since = time.monotonic()

    def verdict(self, frame: FrameType | None) -> str:
        """Why the block must stop now, or "" while it may go on."""
        used, now = time.process_time(), time.monotonic()
        if used - self._seen > _SOME_CPU:
            self._seen, self._since = used, now
        if not self.running or _importing(frame) or frame and frame.f_code.co_filename in _OWN:
            return ""
        if used - self._began > self.seconds:
            return (
                f"still running after {self.seconds:.2g} s of computing, stopped: does a loop "
                "ever end?"
            )
        if now - self._since > WAITING:
            return (
                f"computes nothing for {WAITING:.0f} s, stopped: it waits for something (sleep, "
                "input, a lock, the network?)"
            )
        return ""


def _importing(frame: FrameType | None) -> bool:
    """Whether an import is under way in the block, which ends at `time_limit`'s own frame."""
    while frame is not None and frame.f_code.co_filename != __file__:
        if frame.f_code.co_filename.startswith("<frozen importlib"):
            return True
        frame = frame.f_back
    return False


@contextmanager
def time_limit(seconds: float) -> Iterator[None]:
    """Raise `OutOfTime` in the block when it computes for more than `seconds` or waits for
    `WAITING`; nothing fires later.

    In the main thread of a Unix system an alarm also ends a blocking call; elsewhere a watchdog
    raises in the thread, which a block that stays inside one C call notices only when it returns.
    """
    main = threading.current_thread() is threading.main_thread()
    with (_alarm if main and hasattr(signal, "setitimer") else _watchdog)(_Meter(seconds)):
        yield


@contextmanager
def _alarm(meter: _Meter) -> Iterator[None]:
    def look(signum, frame):
        reason = meter.verdict(frame)
        if reason:
            meter.stops += 1
            if meter.stops > _DEAF:  # so often that one comes between two `try`
                signal.setitimer(signal.ITIMER_REAL, 37e-6, 53e-6)
            raise OutOfTime(reason)

    before = signal.signal(signal.SIGALRM, look)
    # Looks again and again: a bare `except:` in the learner's loop may eat some.
    timer = signal.setitimer(signal.ITIMER_REAL, _TICK, _TICK)
    started = time.monotonic()
    try:
        try:
            yield
        finally:
            meter.running = False
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
        if timer[0]:  # somebody else's alarm goes on
            left = max(timer[0] - (time.monotonic() - started), 0.001)
            signal.setitimer(signal.ITIMER_REAL, left, timer[1])


@contextmanager
def _watchdog(meter: _Meter) -> Iterator[None]:
    ident = threading.get_ident()
    finished, lock = threading.Event(), threading.Lock()

    def watch():
        while not finished.wait(_TICK):
            with lock:
                frame = sys._current_frames().get(ident)  # documented; there is no other way
                reason = meter.verdict(frame) if not finished.is_set() else ""
                if reason:
                    reasons.append(reason)
                    _raise_in(ident, OutOfTime)

    reasons: list[str] = []
    watcher = threading.Thread(target=watch, daemon=True)
    watcher.start()
    try:
        yield
    except OutOfTime:
        raise OutOfTime(reasons[-1]) from None
    finally:
        with lock:
            finished.set()
        _raise_in(ident, None)  # whatever was sent and has not arrived yet is taken back


def _raise_in(ident: int, error: type[BaseException] | None) -> None:
    ctypes.pythonapi.PyThreadState_SetAsyncExc(
        ctypes.c_ulong(ident), None if error is None else ctypes.py_object(error)
    )
