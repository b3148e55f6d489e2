from __future__ import annotations

import errno
import os
import signal
import subprocess
import sys

import pytest
import torch

from cnnlab.training import guards
from cnnlab.training.guards import interruptible, locked, own_random_numbers
from cnnlab.training.history import Busy, TrainingError


def test_a_run_that_is_written_by_somebody_else_is_refused_until_he_ends(tmp_path):
    path = tmp_path / "run.pt"
    code = (
        "import sys; from pathlib import Path; from cnnlab.training.guards import locked\n"
        "with locked(Path(sys.argv[1])): print('held', flush=True); sys.stdin.read()"
    )
    other = subprocess.Popen(
        [sys.executable, "-c", code, str(path)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert other.stdout.readline() == "held\n"
    with pytest.raises(TrainingError, match="another training writes to .*run.pt. Wait for its"):
        with locked(path):
            pass
    other.kill()  # as by kill -9: nothing is tidied up
    other.wait()
    with locked(path):
        assert os.listdir(tmp_path) == ["run.pt.lock"]
    assert os.listdir(tmp_path) == []
    other.stdin.close(), other.stdout.close()


@pytest.mark.parametrize("name", ["SIGINT", "SIGTERM", "SIGHUP"])
def test_the_first_signal_sets_the_event_and_the_second_acts_as_usual(name):
    number = getattr(signal, name)
    came = []
    before = signal.signal(number, lambda *args: came.append(args[0]))
    try:
        with interruptible() as stop:
            assert not stop.is_set()
            os.kill(os.getpid(), number)
            assert stop.is_set() and came == []
            os.kill(os.getpid(), number)
            assert came == [number]
        os.kill(os.getpid(), number)
        assert came == [number] * 2
    finally:
        signal.signal(number, before)


def test_a_signal_that_is_ignored_stays_so():
    """nohup has SIGHUP ignored, so that a closed terminal does not end the run."""
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        with interruptible() as stop:
            os.kill(os.getpid(), signal.SIGHUP)
            assert not stop.is_set()
    finally:
        signal.signal(signal.SIGHUP, before)


def test_random_numbers_follow_the_seed_and_are_put_back():
    state = torch.get_rng_state()
    drawn = []
    for seed in (1, 1, 2):
        with own_random_numbers(torch.device("cpu"), seed):
            drawn.append(torch.rand(3))
    assert torch.equal(drawn[0], drawn[1]) and not torch.equal(drawn[0], drawn[2])
    assert torch.equal(torch.get_rng_state(), state)


def test_a_lock_whose_file_was_removed_meanwhile_is_taken_again(tmp_path, monkeypatch):
    lock, removed = guards.lock, []

    def late(file):
        if not removed:  # its holder ends between open and lock
            removed.append(os.unlink(file.name))
        lock(file)

    monkeypatch.setattr(guards, "lock", late)
    with locked(tmp_path / "run.pt"):
        assert removed and os.listdir(tmp_path) == ["run.pt.lock"]
        with pytest.raises(Busy, match="another training writes"), locked(tmp_path / "run.pt"):
            pass


def test_a_disk_without_locks_is_no_other_training(tmp_path, monkeypatch):
    def refuse(file):
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr(guards, "lock", refuse)
    with locked(tmp_path / "run.pt"):
        pass
