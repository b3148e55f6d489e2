"""Answers to the exercise of chapter 10 on checkpoints: the right one, mistakes, what is seen."""

from __future__ import annotations

from numbers import Integral
from pathlib import Path
from tempfile import TemporaryDirectory
from types import SimpleNamespace

import torch
import torch.nn.functional as F
from torch import nn

from cnnlab.course.exercises.judge import describe
from cnnlab.course.exercises.sandbox import called


class Checkpoint:
    def __init__(self, path):
        self.path = path

    def save(self, model, optimizer, epoch):
        kept = {
            "model": model.state_dict(),
            "optimizer": optimizer.state_dict(),
            "random": torch.get_rng_state(),
            "epoch": epoch,
        }
        torch.save(kept, self.path)

    def resume(self, model, optimizer):
        kept = torch.load(self.path)
        model.load_state_dict(kept["model"])
        optimizer.load_state_dict(kept["optimizer"])
        torch.set_rng_state(kept["random"])
        return kept["epoch"] + 1


class CheckpointWithFourFaults:
    def __init__(self, path):
        self.path = path

    def save(self, model, optimizer, epoch):
        weights = dict(model.named_parameters())
        torch.save({"weights": weights, "epoch": epoch}, self.path)

    def resume(self, model, optimizer):
        kept = torch.load(self.path)
        model.load_state_dict(kept["weights"], strict=False)
        return kept["epoch"]


class _WithoutBuffers(Checkpoint):
    def resume(self, model, optimizer):
        before = {name: value.clone() for name, value in model.named_buffers()}
        epoch = super().resume(model, optimizer)
        for name, value in model.named_buffers():
            value.copy_(before[name])
        return epoch


class _WithoutMomentum(Checkpoint):
    def resume(self, model, optimizer):
        return super().resume(model, torch.optim.SGD(model.parameters(), momentum=0.9))


class _SameEpoch(Checkpoint):
    def resume(self, model, optimizer):
        return super().resume(model, optimizer) - 1


class _OtherDraws(Checkpoint):
    def resume(self, model, optimizer):
        now = torch.get_rng_state()
        epoch = super().resume(model, optimizer)
        torch.set_rng_state(now)
        return epoch


def _network():
    norm = nn.BatchNorm1d(8), nn.ReLU(), nn.Dropout(0.5)
    net = nn.Sequential(nn.Flatten(), nn.Linear(16, 8), *norm, nn.Linear(8, 3))
    return net, torch.optim.SGD(net.parameters(), lr=0.1, momentum=0.9)


def _train(net, optimizer, batches):
    net.train()
    for images, labels in batches:
        optimizer.zero_grad()
        F.cross_entropy(net(images), labels).backward()
        optimizer.step()


def _apart(one, other):
    """The largest difference of two lists of tensors, in six digits."""
    return round(max(float((a.detach() - b.detach()).abs().max()) for a, b in zip(one, other)), 6)


def _rate(optimizer):
    return float(optimizer.param_groups[0]["lr"])


def _momenta(net, optimizer):
    """The running sums that SGD with momentum keeps, zero where it keeps none."""
    found = [optimizer.state[p].get("momentum_buffer") for p in net.parameters()]
    return [torch.zeros(1) if kept is None else kept.clone() for kept in found]


def observe_checkpoint(answer):
    if not callable(answer):
        raise ValueError("give the class itself, without calling it")
    torch.manual_seed(0)
    batches = [(2 + torch.randn(6, 1, 4, 4), torch.randint(3, (6,))) for _ in range(3)]
    with TemporaryDirectory() as place:
        run = _cut_run(answer, Path(place, "run"), batches, epochs=2)
        # Another run keeps its own, and the first one's folder goes to another machine.
        _cut_run(answer, Path(place, "other"), batches, epochs=6)
        Path(place, "run").rename(Path(place, "taken along"))

        again, fresh = _network()
        torch.manual_seed(99)
        start = called(answer, Checkpoint, f"{place}/taken along/run").resume(again, fresh)
        if isinstance(start, bool) or not isinstance(start, Integral):
            raise ValueError(
                f"resume must return the number of an epoch, a whole number; got {describe(start)}"
            )
        seen = {
            "the epoch to go on with, after epochs 0 and 1": int(start),
            "weights, from those at the cut": _apart(again.parameters(), run.weights),
            "batch norm's running values, from those at the cut": _apart(
                _running(again), run.running
            ),
            "momentum, from that at the cut": _apart(_momenta(again, fresh), run.momenta),
            "learning rate, from that at the cut": round(abs(_rate(fresh) - run.rate), 6),
            "dropout goes on drawing where it stood": bool(
                torch.equal(torch.get_rng_state(), run.draws)
            ),
        }
        _train(again, fresh, batches)
    torch.set_rng_state(run.draws)
    _train(run.net, run.optimizer, batches)
    same = _apart(again.parameters(), run.net.parameters()) < 1e-5
    return seen | {"the next epoch ends with the weights of the run that was not cut": same}


def _cut_run(answer, folder, batches, epochs):
    """A training of so many epochs, kept after each in `folder`, and how it stood at its end."""
    folder.mkdir()
    net, optimizer = _network()
    keeper = called(answer, Checkpoint, f"{folder}/run")
    for epoch in range(epochs):
        optimizer.param_groups[0]["lr"] = 0.1 / (epoch + 1)
        _train(net, optimizer, batches)
        # Before save, which may change them.
        weights, running = ([v.clone() for v in one] for one in (net.parameters(), _running(net)))
        momenta, rate = _momenta(net, optimizer), _rate(optimizer)
        keeper.save(net, optimizer, epoch)
    if not any(folder.iterdir()):
        raise ValueError("after save there is no file at `path`")
    draws = torch.get_rng_state()
    return SimpleNamespace(
        net=net,
        optimizer=optimizer,
        weights=weights,
        running=running,
        momenta=momenta,
        rate=rate,
        draws=draws,
    )


def _running(net):
    """What batch norm computes with; its count of batches it does not need here."""
    return [value for value in net.buffers() if value.is_floating_point()]
