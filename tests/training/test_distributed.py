from __future__ import annotations

import json
import multiprocessing
import os
import signal
import socket
import time
from contextlib import contextmanager
from pathlib import Path

import pytest
import torch
from torch import nn

from cnnlab.data.batches import Batches
from cnnlab.data.images import Images
from cnnlab.training import distributed
from cnnlab.training.distributed import World, together, world
from cnnlab.training.history import TrainingError
from cnnlab.training.loop import evaluate, fit

BACKSTOP = 900  # seconds for what comes at once on a quiet machine: nothing is judged by it


def net():
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(1, 8, 3, bias=False),
        nn.GroupNorm(2, 8),
        nn.ReLU(),
        nn.Conv2d(8, 8, 3, stride=2),
        nn.ReLU(),
        nn.Flatten(),
        nn.Linear(32, 10),
    ).double()


class Double:
    """Batches in float64."""

    def __init__(self, batches):
        self.batches = batches

    def __len__(self):
        return len(self.batches)

    def at(self, epoch, **share):
        return ((x.double(), y) for x, y in self.batches.at(epoch, **share))


def data(size=20):
    """Training batches of 20, the last of 13, so that two shares differ; validation of 7 and 1."""
    pixels = torch.randn(61, 1, 8, 8, generator=torch.Generator().manual_seed(0))
    images = Images(pixels, torch.arange(61) % 10, tuple("0123456789"))
    return Double(Batches(images[:53], size, shuffle=True)), Double(Batches(images[53:], 7))


def outcome(**options):
    """What a training came to: losses, rows without seconds, weights."""
    train, val = data()
    model = net()
    history = fit(model, train, val, epochs=3, lr=0.05, progress=False, **options)
    rows = [vars(row) for row in history.epochs]
    last = evaluate(model, val)
    return {
        "losses": history.losses,
        "rows": [[row[key] for key in row if key != "seconds"] for row in rows],
        "weights": torch.cat([t.double().flatten() for t in model.state_dict().values()]).tolist(),
        "last": list(last),
    }


CASES = {
    "plain": {},
    "every option": {"clip": 0.5, "label_smoothing": 0.1, "optimizer": "adam"},
}


# Each process is forked from one that has imported all this, and what torch's wrapper for several
# processes imports when it is first made, and has no threads yet.
SERVER = multiprocessing.get_context("forkserver")
SERVER.set_forkserver_preload([__name__, "torch._dynamo"])


@contextmanager
def processes(job, folder, size=2, **environment):
    """`size` processes that run `job(folder)`, as torchrun would start them."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    running = []
    for rank in range(size):
        names = {
            "RANK": rank,
            "LOCAL_RANK": rank,
            "WORLD_SIZE": size,
            "MASTER_PORT": port,
            "MASTER_ADDR": "127.0.0.1",
            **environment,
        }
        running.append(SERVER.Process(target=start, args=(job, folder, names)))
        running[-1].start()
    try:
        yield running
    finally:
        for process in running:
            process.kill()
            process.join()


def start(job, folder, names):
    """What one process does; its errors are kept in a file."""
    os.environ.update({key: str(value) for key, value in names.items()})
    with open(folder / f"{names['RANK']}.stderr", "w") as file:
        os.dup2(file.fileno(), 2)
    torch.set_num_threads(1)
    job(folder)


def status_of(process, folder, rank):
    """Of a process that ends: its exit status, and its errors."""
    process.join(BACKSTOP)
    return process.exitcode, (folder / f"{rank}.stderr").read_text()


def test_two_processes_give_the_numbers_of_one(tmp_path):
    with processes(compare, tmp_path) as running:
        for rank, process in enumerate(running):
            status, err = status_of(process, tmp_path, rank)
            assert status == 0, err
    both = [json.loads((tmp_path / f"{rank}.json").read_text()) for rank in range(2)]
    assert both[0] == both[1]  # the processes agree, to the bit
    for name, options in CASES.items():
        ours, one = both[0][name], outcome(**options)
        assert ours["losses"] == pytest.approx(one["losses"], rel=1e-12), name
        for row, other in zip(ours["rows"], one["rows"]):
            assert row == pytest.approx(other, rel=1e-12), name
        assert ours["weights"] == pytest.approx(one["weights"], rel=1e-10, abs=1e-12), name
        assert ours["last"] == pytest.approx(one["last"], rel=1e-12), name


def compare(folder):
    with together("cpu") as device:
        assert device == torch.device("cpu") and world().size == 2
        results = {name: outcome(**options) for name, options in CASES.items()}
        Path(folder, f"{world().rank}.json").write_text(json.dumps(results))


def test_a_killed_process_ends_the_others(tmp_path):
    # Their own timeout would come too late for this test: something else must tell them.
    with processes(forever, tmp_path, CNNLAB_TEST_TIMEOUT=3600) as running:
        wait_for(tmp_path / "0.started", tmp_path / "1.started")
        os.kill(running[1].pid, signal.SIGKILL)
        status, err = status_of(running[0], tmp_path, 0)
        assert status == 3, err
    text = (tmp_path / "0.error").read_text()
    assert "another process of this run ended or does not answer" in text, text
    assert "at step" in text


def test_a_process_that_hangs_ends_the_others_after_the_timeout(tmp_path):
    with processes(forever, tmp_path, CNNLAB_TEST_TIMEOUT=10) as running:
        wait_for(tmp_path / "0.started", tmp_path / "1.started")
        os.kill(running[1].pid, signal.SIGSTOP)
        status, err = status_of(running[0], tmp_path, 0)
        assert status == 3, err
    assert "does not answer" in (tmp_path / "0.error").read_text()


def wait_for(*paths):
    until = time.monotonic() + BACKSTOP
    while not all(path.exists() for path in paths):
        assert time.monotonic() < until, "the processes did not start"
        time.sleep(0.05)


class Signalling(Double):
    """Says when the second epoch begins; there, `act` happens."""

    def __init__(self, batches, act):
        super().__init__(batches)
        self.act = act

    def at(self, epoch, **share):
        if epoch == 1:
            self.act()
        return super().at(epoch, **share)


def forever(folder):
    from datetime import timedelta

    distributed.TIMEOUT = timedelta(seconds=int(os.environ["CNNLAB_TEST_TIMEOUT"]))
    Path(folder, os.environ["RANK"]).touch()
    wait_for(Path(folder, "0"), Path(folder, "1"))  # imports are slow on a busy machine
    with together("cpu"):
        rank = world().rank
        train, val = data()
        started = Signalling(train.batches, Path(folder, f"{rank}.started").touch)
        try:
            fit(net(), started, val, epochs=100_000, lr=1e-3, progress=False)
        except TrainingError as error:
            Path(folder, f"{rank}.error").write_text(str(error))
            os._exit(3)


def test_ctrl_c_in_one_process_stops_all_at_the_same_step_and_they_go_on(tmp_path):
    for turn in range(2):
        with processes(interrupted, tmp_path) as running:
            for rank, process in enumerate(running):
                status, err = status_of(process, tmp_path, rank)
                assert status == 0, err
        first, second = (json.loads((tmp_path / f"{rank}.json").read_text()) for rank in range(2))
        assert first == second
        if turn == 0:  # asked after 18 steps, found when they look
            assert first["stopped"] == "interrupted in epoch 2, after 20 of 54 steps"
    train, val = data(3)
    history = fit(net(), train, val, epochs=3, lr=0.05, progress=False)
    assert first["stopped"] is None and first["losses"] == pytest.approx(history.losses, rel=1e-12)


def interrupted(folder):
    def act():
        if world().rank == 1 and not (Path(folder) / "1.json").exists():
            os.kill(os.getpid(), signal.SIGINT)

    with together("cpu"):
        train, val = data(3)
        history = fit(
            net(),
            Signalling(train.batches, act),
            val,
            epochs=3,
            lr=0.05,
            progress=False,
            checkpoint=Path(folder, "run.pt"),
        )
        result = {"stopped": history.stopped, "losses": history.losses}
        Path(folder, f"{world().rank}.json").write_text(json.dumps(result))


def test_one_process_is_a_world_of_its_own(monkeypatch):
    monkeypatch.delenv("WORLD_SIZE", raising=False)
    with together("cpu") as device:
        assert device == torch.device("cpu") and world() == World(0, 1)
        assert world().sum(3) == 3 and world().any(True) and not world().any(False)
        assert world().gather("a") == ["a"] and world().from_first(2) == 2


def test_several_processes_need_batches_that_all_can_order_alike(monkeypatch):
    monkeypatch.setattr("cnnlab.training.refusals.world", lambda: World(0, 2))
    with pytest.raises(TrainingError, match=r"2 processes share every batch.*a list has none"):
        fit(net(), [(torch.zeros(2, 1, 8, 8), torch.zeros(2).long())], [1], epochs=1)
