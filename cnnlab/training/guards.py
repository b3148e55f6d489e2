"""What a run stands under: its own random numbers, a lock, signals that end it in order."""

from __future__ import annotations

import errno
import os
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO

import torch

from cnnlab._tools import lock
from cnnlab.training.distributed import world
from cnnlab.training.history import Busy

# What asks a run to end: Ctrl-C, a machine or a batch system that stops, a terminal that closes.
SIGNALS = [getattr(signal, s) for s in ("SIGINT", "SIGTERM", "SIGHUP") if hasattr(signal, s)]


@contextmanager
def own_random_numbers(device: torch.device, seed: int) -> Iterator[None]:
    """Seed torch's generators, and put them back afterwards. Each process has numbers of its own,
    or all would drop out the same units.
    """
    seed += 1_000_003 * world().rank
    cuda = [device] if device.type == "cuda" else []
    with torch.random.fork_rng(devices=cuda):
        torch.default_generator.manual_seed(seed)  # torch.manual_seed would seed every GPU too
        if cuda:
            with torch.cuda.device(device):
                torch.cuda.manual_seed(seed)
        yield


@contextmanager
def interruptible() -> Iterator[threading.Event]:
    """An event that the first of `SIGNALS` sets; the second one acts as usual.

    A `KeyboardInterrupt` in the middle of an update would leave half of the weights updated.
    """
    stop = threading.Event()
    if threading.current_thread() is not threading.main_thread():
        yield stop  # Python lets only the main thread handle signals
        return
    usual = {number: signal.getsignal(number) or signal.SIG_DFL for number in SIGNALS}
    usual = {number: handler for number, handler in usual.items() if handler != signal.SIG_IGN}

    def put_back() -> None:
        for number, handler in usual.items():
            signal.signal(number, handler)

    def handle(number: int, frame: object) -> None:
        stop.set()
        put_back()

    for number in usual:
        signal.signal(number, handle)
    try:
        yield stop
    finally:
        put_back()


@contextmanager
def locked(path: Path | None) -> Iterator[None]:
    """Nobody else writes this run meanwhile. The lock ends with the process, however that ends.

    Raises `Busy` where somebody does. Where no lock is to be had, the run goes on without.
    """
    if path is None or world().rank > 0:
        yield
        return
    name = path.with_name(f"{path.name}.lock")
    while True:
        try:
            file = open(name, "a")
        except OSError:  # the first checkpoint will say what is wrong with the folder
            yield
            return
        with file:
            try:
                lock(file)
            except OSError as error:
                if error.errno in (errno.EAGAIN, errno.EACCES):
                    raise Busy(
                        f"another training writes to {path}. Wait for its end, or give this one "
                        "another folder."
                    ) from error
            if not _names(name, file):  # its holder ended, and removed it, since it was opened
                continue
            try:
                yield
            finally:
                with suppress(OSError):  # Windows keeps an open file
                    name.unlink()
            return


def _names(name: Path, file: IO) -> bool:
    """Whether the open file is still the one of that name."""
    try:
        return os.path.samestat(os.stat(name), os.fstat(file.fileno()))
    except FileNotFoundError:
        return False
