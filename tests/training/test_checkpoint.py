from __future__ import annotations

import errno
import json
import os
import random
import resource
import signal
import subprocess
import sys
import time
import traceback
import zipfile
from contextlib import contextmanager
from pathlib import Path

import pytest
import torch
from torch import nn

from cnnlab import _tools
from cnnlab.data.augment import Augment
from cnnlab.data.batches import Batches
from cnnlab.data.images import Images
from cnnlab.models import build
from cnnlab.training.checkpoint import architecture, read, write
from cnnlab.training.history import TrainingError
from cnnlab.training.loop import fit

ROOT = Path(__file__).resolve().parents[2]
STATE = {"weights": torch.arange(1000.0), "row": {"epoch": 1, "loss": 0.1, "none": None}}


def same(a, b):
    return torch.equal(a["weights"], b["weights"]) and a["row"] == b["row"]


# The file


def test_what_is_written_is_read(tmp_path):
    path = tmp_path / "run.pt"
    write(path, STATE)
    assert same(read(path), STATE) and os.listdir(tmp_path) == ["run.pt"]


def test_every_cut_and_every_damaged_part_is_found(tmp_path):
    path = tmp_path / "run.pt"
    write(path, STATE)
    whole = path.read_bytes()
    for length in (0, 1, len(whole) // 2, len(whole) - 1):
        path.write_bytes(whole[:length])
        with pytest.raises(TrainingError, match="damaged or no checkpoint.*begin anew"):
            read(path)
    with zipfile.ZipFile(tmp_path / "run.pt", "w"):
        pass
    path.write_bytes(whole)
    at = whole.index(torch.tensor([500.0, 501.0]).numpy().tobytes())  # in the middle of the weights
    path.write_bytes(whole[:at] + b"x" + whole[at + 1 :])
    torch.load(path, weights_only=True)  # PyTorch takes it without a word
    with pytest.raises(TrainingError, match="the checksum of .*data/0 is wrong"):
        read(path)
    at = whole.index(b"PK\x01\x02")  # a name in the table of contents: UTF-8, and no such text
    path.write_bytes(
        whole[: at + 8] + b"\x00\x08" + whole[at + 10 : at + 46] + b"\xff" + whole[at + 47 :]
    )
    with pytest.raises(TrainingError, match="damaged or no checkpoint: 'utf-8' codec"):
        read(path)
    path.write_bytes(whole.replace(b"PK\x03\x04", b"PK\x03\x05", 1))
    with pytest.raises(TrainingError, match="damaged or no checkpoint"):
        read(path)


@pytest.mark.parametrize(
    "content, message",
    [
        (
            lambda: {"weights": torch.zeros(1)},
            "not a cnnlab checkpoint 3; it may hold weights alone",
        ),
        (lambda: torch.zeros(3), "not a cnnlab checkpoint 3"),
        (
            lambda: Evil(),
            "is not read: it holds more than tensors and plain values, and that could be code",
        ),
    ],
)
def test_a_foreign_file_is_refused_and_code_is_never_run(tmp_path, content, message):
    torch.save(content(), tmp_path / "run.pt")
    with pytest.raises(TrainingError, match=message):
        read(tmp_path / "run.pt")
    assert not Evil.ran


class Evil:
    ran = False

    def __reduce__(self):
        return exec, (f"import {__name__} as t; t.Evil.ran = True",)


def test_a_folder_in_place_of_the_file_is_named(tmp_path):
    with pytest.raises(TrainingError, match="cannot be read: Is a directory"):
        read(tmp_path)


# Disks


@contextmanager
def small_disk(folder, options):
    """A file system of 64 kB, mounted by root alone."""
    folder.mkdir()
    done = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", f"size=64k,{options}", "tmpfs", folder],
        capture_output=True,
        text=True,
        timeout=30,
    )
    if done.returncode:
        pytest.skip(f"no small disk can be mounted here: {done.stderr.strip()}")
    try:
        yield folder
    finally:
        subprocess.run(["umount", folder], check=True, timeout=30)


@contextmanager
def small_files(folder, options):
    """A limit of 64 kB on files, for everybody: where it ends, writing fails as on a full disk."""
    folder.mkdir()
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    ignored = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (64 * 1024, before[1]))
    try:
        yield folder
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
        signal.signal(signal.SIGXFSZ, ignored)


@pytest.mark.parametrize(
    "disk, words",
    [
        (small_disk, "No space left on device"),
        (small_files, "File too large"),
    ],
)
def test_a_full_disk_keeps_history_and_the_checkpoint_before(tmp_path, disk, words):
    with disk(tmp_path / "small", "rw") as folder:
        path, model = folder / "run.pt", net()

        class Filling(list):
            def at(self, epoch):  # from epoch 3 on the checkpoint is too large
                if epoch == 2:
                    model.register_buffer("ballast", torch.zeros(20_000))
                return iter(self)

        with pytest.raises(TrainingError, match=f"run.pt .* cannot be written: {words}") as caught:
            fit(model, Filling(batches()), batches(), epochs=4, progress=False, checkpoint=path)
        assert "What it held before is still there. Free some space" in str(caught.value)
        assert len(caught.value.history.epochs) == 3  # one more than the checkpoint holds
        assert len(read(path)["epochs"]) == 2 and os.listdir(folder) == ["run.pt"]


def test_a_folder_that_cannot_be_written_to_is_found_before_the_first_step(tmp_path):
    with small_disk(tmp_path / "fixed", "ro") as folder:
        with pytest.raises(TrainingError, match="Read-only file system. There was none") as caught:
            fit(net(), batches(), batches(), epochs=1, checkpoint=folder / "run.pt")
        assert caught.value.history.losses == []
    with pytest.raises(TrainingError, match="No such file or directory.*name a folder that exists"):
        fit(net(), batches(), batches(), epochs=1, checkpoint=tmp_path / "missing" / "run.pt")


def test_missing_permission_is_found_too(tmp_path, monkeypatch):
    def refuse(*args):
        raise PermissionError(errno.EACCES, "Permission denied")

    monkeypatch.setattr(_tools, "open", refuse, raising=False)
    with pytest.raises(TrainingError, match="Permission denied. There was none before"):
        fit(net(), batches(), batches(), epochs=1, checkpoint=tmp_path / "run.pt")


# Going on


def net(width=4, dropout=0.2):
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(1, width, 3, bias=False),
        nn.BatchNorm2d(width),
        nn.ReLU(),
        nn.Dropout(dropout),
        nn.Flatten(),
        nn.Linear(width * 36, 10),
    )


def batches(size=16, count=88, seed=0):
    pixels = torch.randn(count, 1, 8, 8, generator=torch.Generator().manual_seed(0))
    images = Images(pixels, torch.arange(count) % 10, tuple("0123456789"))
    return Batches(images, size, shuffle=True, seed=seed)


OPTIONS = {"epochs": 4, "lr": 0.02, "clip": 1.0, "progress": False}


def outcome(model, history):
    """All numbers of a run but the seconds."""
    rows = {key: value for key, value in history.to_dict().items() if key != "seconds"}
    return rows, history.losses, [t.tolist() for t in model.state_dict().values()]


class Power(list):
    """Batches that fail at one place, as if the power did."""

    def __init__(self, source, epoch, batch):
        super().__init__(source)
        self.source, self.place = source, (epoch, batch)
        self.batch_size, self.seed = source.batch_size, source.seed

    def at(self, epoch, *, rank=0, world=1):
        for number, pair in enumerate(self.source.at(epoch)):
            if (epoch, number) == self.place:
                raise PowerError
            yield pair


class PowerError(Exception):
    pass


@pytest.mark.parametrize("place", [(0, 0), (1, 0), (1, 3), (2, 5)])  # an epoch has 6 batches
@pytest.mark.parametrize("optimizer", ["sgd", "adam"])
def test_a_stopped_run_goes_on_to_the_same_bits(tmp_path, place, optimizer):
    options = {**OPTIONS, "optimizer": optimizer}
    whole = net()
    expected = outcome(whole, fit(whole, batches(), batches(), **options))
    path = tmp_path / "run.pt"
    with pytest.raises(PowerError):
        fit(net(), Power(batches(), *place), batches(), checkpoint=path, **options)
    model = net()
    for tensor in model.state_dict().values():
        tensor.zero_()  # nothing comes from the model that goes on
    history = fit(model, batches(), batches(), checkpoint=path, **options)
    assert outcome(model, history) == expected
    again = net()  # a finished run is there at once
    assert outcome(again, fit(again, batches(), [(1, 1)], checkpoint=path, **options)) == expected


def test_a_failure_in_validation_costs_that_epoch(tmp_path):
    class Val(list):
        def __iter__(self):  # the power fails in the validation after epoch 2
            calls.append(1)
            if len(calls) == 2:
                raise PowerError
            return super().__iter__()

    calls, options = [], OPTIONS
    whole = net()
    expected = outcome(whole, fit(whole, batches(), list(batches().at(0)), **options))
    path = tmp_path / "run.pt"
    with pytest.raises(PowerError):
        fit(net(), batches(), Val(batches().at(0)), checkpoint=path, **options)
    saved = read(path)
    assert len(saved["epochs"]) == 1 and len(saved["losses"]) == 6
    model = net()
    history = fit(model, batches(), list(batches().at(0)), checkpoint=path, **options)
    assert len(history.epochs) == 4 and outcome(model, history) == expected


def test_loaders_that_draw_from_torch_go_on_with_the_same_order(tmp_path):
    pixels = torch.randn(60, 1, 8, 8, generator=torch.Generator().manual_seed(0))
    pairs = [(x, i % 10) for i, x in enumerate(pixels)]

    def loader():
        return torch.utils.data.DataLoader(pairs, 10, shuffle=True)

    class Failing:
        batch_size = 10

        def __init__(self, loader):
            self.loader, self.epochs = loader, 0

        def __len__(self):
            return len(self.loader)

        def __iter__(self):
            self.epochs += 1
            for number, pair in enumerate(self.loader):
                if (self.epochs, number) == (2, 4):
                    raise PowerError
                yield pair

    options = {**OPTIONS, "epochs": 3}
    whole = net()
    expected = outcome(whole, fit(whole, loader(), batches(), **options))
    with pytest.raises(PowerError):
        fit(net(), Failing(loader()), batches(), checkpoint=tmp_path / "run.pt", **options)
    model = net()
    history = fit(model, loader(), batches(), checkpoint=tmp_path / "run.pt", **options)
    assert outcome(model, history) == expected


def test_an_interrupted_run_goes_on_from_its_last_whole_epoch(tmp_path):
    class Interrupting(Power):
        def at(self, epoch, *, rank=0, world=1):
            for number, pair in enumerate(self.source.at(epoch)):
                if (epoch, number) == self.place:
                    os.kill(os.getpid(), signal.SIGINT)
                yield pair

    whole = net()
    expected = outcome(whole, fit(whole, batches(), batches(), **OPTIONS))
    path = tmp_path / "run.pt"
    history = fit(net(), Interrupting(batches(), 1, 3), batches(), checkpoint=path, **OPTIONS)
    assert history.interrupted and len(history.losses) == 9 and len(read(path)["losses"]) == 6
    model = net()
    history = fit(model, batches(), batches(), checkpoint=path, **OPTIONS)
    assert history.stopped is None and outcome(model, history) == expected


@pytest.mark.parametrize(
    "change, message",
    [
        ({"epochs": 3, "lr": 0.1}, r"epochs is 4 there and 3 here; lr is 0.02 there and 0.1 here"),
        ({"optimizer": "adam"}, "optimizer is sgd there and adam here"),
        ({"clip": None}, "clip is 1.0 there and None here"),
    ],
)
def test_a_checkpoint_of_other_options_is_refused(tmp_path, change, message):
    path = tmp_path / "run.pt"
    fit(net(), batches(), batches(), checkpoint=path, **OPTIONS)
    before = path.read_bytes()
    with pytest.raises(TrainingError, match=f"belongs to another run: {message}. Go on with"):
        fit(net(), batches(), batches(), checkpoint=path, **{**OPTIONS, **change})
    assert path.read_bytes() == before


def test_a_checkpoint_of_another_model_or_other_batches_is_refused(tmp_path):
    path = tmp_path / "run.pt"
    fit(net(), batches(), batches(), checkpoint=path, **OPTIONS)
    message = r"model's 0.weight is \(4, 1, 3, 3\) there and \(5, 1, 3, 3\) here"
    with pytest.raises(TrainingError, match=message):
        fit(net(width=5), batches(), batches(), checkpoint=path, **OPTIONS)
    with pytest.raises(TrainingError, match="model's 6.weight is missing there"):
        fit(net().append(nn.Linear(10, 10)), batches(), batches(), checkpoint=path, **OPTIONS)
    with pytest.raises(TrainingError, match="batches is 6 there and 11 here; batch_size is 16"):
        fit(net(), batches(8), batches(), checkpoint=path, **OPTIONS)
    with pytest.raises(TrainingError, match="seed of the batches is 0 there and 1 here"):
        fit(net(), batches(seed=1), batches(), checkpoint=path, **OPTIONS)


def test_no_checkpoint_answers_for_a_network_or_images_that_only_look_alike(tmp_path):
    path = tmp_path / "run.pt"

    def go_on(model, train, val, message):
        with pytest.raises(TrainingError, match=message):
            fit(model, train, val, checkpoint=path, **OPTIONS)

    fit(net(), batches(), batches(), checkpoint=path, **OPTIONS)
    go_on(net(dropout=0.3), batches(), batches(), "another run: the architecture is .* there and")
    other = batches()
    other.images = other.images + 1
    go_on(net(), other, batches(), "the training data is 88 images 1x8x8 .checksum .* here. Go")
    go_on(net(), batches(), other, "the validation data is 88 images")
    changed = batches()
    changed.augment = Augment(flip=True)
    go_on(net(), changed, batches(), "the training data is .*flip=True")


def test_a_residual_network_and_its_plain_one_differ():
    nets = [build("resnet20", skip=skip) for skip in (True, False)]
    shapes = [{n: t.shape for n, t in net.state_dict().items()} for net in nets]
    assert shapes[0] == shapes[1]
    assert architecture(nets[0]) != architecture(nets[1])
    assert architecture(nets[0]) == architecture(build("resnet20").eval())


def test_a_network_that_counts_its_runs_goes_on(tmp_path):
    class Counting(nn.Sequential):
        runs = 0

        def forward(self, images):
            self.runs += 1
            return super().forward(images)

    options = {**OPTIONS, "checkpoint": tmp_path / "run.pt"}
    fit(Counting(net()), batches(), batches(), **{**options, "epochs": 1})
    assert len(fit(Counting(net()), batches(), batches(), **options).epochs) == OPTIONS["epochs"]


def test_a_run_is_given_more_epochs(tmp_path):
    path = tmp_path / "run.pt"
    options = {**OPTIONS, "schedule": "constant"}
    fit(net(), batches(), batches(), checkpoint=path, **{**options, "epochs": 2, "warmup": 0.0})
    model, whole = net(), net()
    history = fit(model, batches(), batches(), checkpoint=path, **{**options, "warmup": 0.0})
    expected = fit(whole, batches(), batches(), **{**options, "warmup": 0.0})
    assert outcome(model, history) == outcome(whole, expected)  # this schedule knows no length


def test_a_damaged_checkpoint_is_refused_and_left_alone(tmp_path):
    path = tmp_path / "run.pt"
    path.write_bytes(b"not a checkpoint")
    with pytest.raises(TrainingError, match="damaged or no checkpoint: File is not a zip file"):
        fit(net(), batches(), batches(), checkpoint=path, **OPTIONS)
    assert path.read_bytes() == b"not a checkpoint"


# Kill -9. A process of its own, with one thread, forks the trainings: importing takes longer.


def train_to_the_end(folder, **options):
    """One training process: its result is written when it ends."""
    model = net()
    history = fit(
        model,
        batches(),
        batches(),
        checkpoint=folder / "run.pt",
        **{**OPTIONS, **options},
    )
    (folder / "result.json").write_text(json.dumps(outcome(model, history)))


def forked(job, delay=None):
    """Run `job` in a process; kill -9 it after `delay` seconds. Whether it came to its end."""
    pid = os.fork()
    if not pid:
        try:
            job()
        except BaseException:  # nothing of a child may go on in the parent's code
            traceback.print_exc()
            os._exit(1)
        os._exit(0)
    if delay is not None:
        time.sleep(delay)
        os.kill(pid, signal.SIGKILL)
    status = os.waitpid(pid, 0)[1]
    assert os.WIFSIGNALED(status) or os.WEXITSTATUS(status) == 0, "a training failed"
    return not os.WIFSIGNALED(status)


def kill_at_random(folder, kills):
    """Kill so often, and let the last run end -> how many within a write, how many runs."""
    count = within_a_write = runs = 0
    dice = random.Random(0)
    while count < kills:
        runs += 1
        whole, killed = folder / f"whole-{runs}", folder / f"killed-{runs}"
        whole.mkdir(), killed.mkdir()
        began = time.perf_counter()
        forked(lambda: train_to_the_end(whole, seed=runs, epochs=6))
        seconds = time.perf_counter() - began
        while not forked(
            lambda: train_to_the_end(killed, seed=runs, epochs=6),
            dice.uniform(0, seconds / 2) if count < kills else None,
        ):
            count += 1
            within_a_write += (killed / "run.pt.part").exists()
        results = [(place / "result.json").read_text() for place in (whole, killed)]
        assert results[0] == results[1], "another result after a kill"
    return within_a_write, runs


def kill_in_each_moment_of_a_write(folder):
    """Before, within and after each thing that a write does, at the third write of a run: one at
    its start, one after each of two epochs of six steps."""
    whole = folder / "whole"
    whole.mkdir()
    forked(lambda: train_to_the_end(whole))
    moments = 0
    for moment in ("half", "fsync", "replace", "replaced", "fsync of the folder"):
        place = folder / moment.replace(" ", "-")
        place.mkdir()
        assert not forked(lambda: (die_at(moment), train_to_the_end(place))), moment
        saved = len(read(place / "run.pt")["losses"])
        assert saved == (12 if moment in ("replaced", "fsync of the folder") else 6), (
            moment,
            saved,
        )
        assert forked(lambda: train_to_the_end(place))
        results = [(place / "result.json").read_text() for place in (whole, place)]
        assert results[0] == results[1], moment
        moments += 1
    return moments


def die_at(moment, write_number=3):
    """From now on this process kills itself in that moment of a write."""
    real_fsync, real_replace, real_open = os.fsync, os.replace, open
    calls = {"fsync": 0, "replace": 0, "open": 0}

    def die():
        os.kill(os.getpid(), signal.SIGKILL)

    def fsync(handle):
        calls["fsync"] += 1  # the file's and the folder's in turn
        if (moment, calls["fsync"]) in (
            ("fsync", 2 * write_number - 1),
            ("fsync of the folder", 2 * write_number),
        ):
            die()
        real_fsync(handle)

    def replace(old, new):
        calls["replace"] += 1
        if calls["replace"] == write_number and moment == "replace":
            die()
        real_replace(old, new)
        if calls["replace"] == write_number and moment == "replaced":
            die()

    def half(path, mode):
        file = real_open(path, mode)
        calls["open"] += 1
        if calls["open"] == write_number and moment == "half":
            write = file.write
            file = type("Half", (), {"__enter__": lambda self: self, "__exit__": lambda *e: None})()
            file.write = lambda data: (write(data[: len(data) // 2]), die())
        return file

    _tools.os = type("os", (), {**vars(os), "fsync": fsync, "replace": replace})
    _tools.open = half


def test_killed_ten_times_to_the_same_bits(tmp_path, record_property):
    done = subprocess.run(
        [sys.executable, "-m", "tests.training.test_checkpoint", str(tmp_path)],
        cwd=ROOT,
        timeout=900,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    within_a_write, runs, moments = json.loads(done.stdout)
    record_property(
        "note",
        f"checkpoints: 10 kills at random ({within_a_write} within a write, {runs} runs), "
        f"{moments} at chosen moments of a write",
    )
    assert moments == 5


if __name__ == "__main__":
    place = Path(sys.argv[1])
    fit(net(), batches(), batches(), **OPTIONS)  # loads what a first training loads
    print(json.dumps([*kill_at_random(place, 10), kill_in_each_moment_of_a_write(place)]))
