"""Answers to the exercises of chapter 10: right ones, known mistakes, and what is looked at."""

from __future__ import annotations

from numbers import Real

import torch
import torch.nn.functional as F
from torch import nn

from cnnlab.course.exercises.built import must_be_function
from cnnlab.course.exercises.sandbox import called

# -- losses: the loop itself


def my_fit(model, batches, rates):
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    losses = []
    model.train()
    for (images, labels), rate in zip(batches, rates):
        optimizer.param_groups[0]["lr"] = rate
        loss = F.cross_entropy(model(images), labels)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    return losses


def _zeroed_late(model, batches, rates, late=True):
    """Gradients are set to zero between backward() and step(); without `late` never."""
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    losses = []
    for (images, labels), rate in zip(batches, rates):
        optimizer.param_groups[0]["lr"] = rate
        loss = F.cross_entropy(model(images), labels)
        loss.backward()
        if late:
            optimizer.zero_grad()
        optimizer.step()
        losses.append(loss.item())
    return losses


def _never_zeroed(model, batches, rates):
    return _zeroed_late(model, batches, rates, late=False)


def _rate_ignored(model, batches, rates):
    return my_fit(model, batches, [0.1] * len(rates))


def _rate_late(model, batches, rates):
    return my_fit(model, batches, [0.1, *rates[:-1]])


def _softmax_twice(model, batches, rates):
    return my_fit(nn.Sequential(model, nn.Softmax(dim=1)), batches, rates)


def _last_only(model, batches, rates):
    return my_fit(model, batches, rates)[-1]


def observe_fit(answer):
    must_be_function(answer)
    torch.manual_seed(0)
    model = nn.Sequential(nn.Flatten(), nn.Linear(16, 8), nn.ReLU(), nn.Linear(8, 3))
    batches = [(torch.randn(12, 1, 4, 4), torch.randint(3, (12,))) for _ in range(4)]
    before = [p.detach().clone() for p in model.parameters()]
    losses = called(answer, my_fit, model, batches, [0.5, 1.0, 0.25, 2.0])
    if isinstance(losses, (list, tuple)) and any(torch.is_tensor(loss) for loss in losses):
        raise ValueError(
            "the losses are tensors, expected plain numbers: keep loss.item(), which needs no graph"
        )
    moved = sum(float((p.detach() - b).abs().sum()) for p, b in zip(model.parameters(), before))
    return {
        "losses of four steps with rates 0.5, 1, 0.25, 2": losses,
        "how far the weights went": round(moved, 3),
    }


# -- epoch: five faults


def run_epoch(model, optimizer, train, val, rate):
    model.train()
    losses = []
    for step, (images, labels) in enumerate(train):
        optimizer.param_groups[0]["lr"] = rate(step)
        loss = F.cross_entropy(model(images), labels)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    model.eval()
    right = count = 0
    with torch.no_grad():
        for images, labels in val:
            right += (model(images).argmax(dim=1) == labels).sum().item()
            count += len(labels)
    return losses, right / count


def epoch_with_five_faults(model, optimizer, train, val, rate):
    losses = []
    for step, (images, labels) in enumerate(train):
        optimizer.param_groups[0]["lr"] = rate(2 * step)
        loss = F.cross_entropy(model(images), labels)
        loss.backward()
        optimizer.step()
        losses.append(loss)
    right = 0
    for images, labels in val:
        right += (model(images).argmax(dim=1) == labels).sum().item()
    return losses, right / len(val)


def _without_zero_grad(model, optimizer, train, val, rate):
    zero_grad, optimizer.zero_grad = optimizer.zero_grad, lambda: None
    try:
        return run_epoch(model, optimizer, train, val, rate)
    finally:
        optimizer.zero_grad = zero_grad


def _never_eval(model, optimizer, train, val, rate):
    losses = run_epoch(model, optimizer, train, val, rate)[0]
    return losses, _score(model.train(), val)


def _never_train(model, optimizer, train, val, rate):
    class Still(nn.Module):
        def __init__(self):
            super().__init__()
            self.inner = model.eval()

        def train(self, mode=True):
            return self

        def forward(self, x):
            return self.inner(x)

    return run_epoch(Still(), optimizer, train, val, rate)


def _rate_twice(model, optimizer, train, val, rate):
    return run_epoch(model, optimizer, train, val, lambda step: rate(2 * step))


def _per_batch(model, optimizer, train, val, rate):
    losses, share = run_epoch(model, optimizer, train, val, rate)
    return losses, share * sum(len(labels) for _, labels in val) / len(val)


def _score(model, val):
    with torch.no_grad():
        right = [(model(images).argmax(dim=1) == labels).float() for images, labels in val]
    return torch.cat(right).mean().item()


def _is_number(value):
    return isinstance(value, Real) or torch.is_tensor(value) and value.numel() == 1


def observe_epoch(answer):
    must_be_function(answer)
    torch.manual_seed(5)  # 13 of 27 at the end, and neither before, on the way nor while training
    model = nn.Sequential(
        nn.Conv2d(1, 6, 3), nn.BatchNorm2d(6), nn.ReLU(), nn.Flatten(), nn.Linear(24, 4)
    )
    model.eval()  # as an epoch before it left it
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    # Shifted and stretched, so that batch norm's own statistics and a batch's differ.
    before = [p.detach().clone() for p in model.parameters()]
    train = [(3 + 2 * torch.randn(16, 1, 4, 4), torch.randint(4, (16,))) for _ in range(5)]
    val = [(3 + 2 * torch.randn(n, 1, 4, 4), torch.randint(4, (n,))) for n in (20, 7)]
    asked = []

    def rate(step):
        asked.append(step)
        return 1 / (1 + step)

    found = called(answer, run_epoch, model, optimizer, train, val, rate)
    if not isinstance(found, (tuple, list)) or len(found) != 2:
        raise ValueError("the function must return two things: losses, share of val right")
    losses, share = found
    if not isinstance(losses, (list, tuple)) or not all(map(_is_number, [*losses, share])):
        raise ValueError("return a list of numbers, the losses, and one number, the share")
    moved = sum(float((p.detach() - b).abs().sum()) for p, b in zip(model.parameters(), before))
    return {
        "no loss that is kept holds its graph": not any(
            torch.is_tensor(loss) and loss.requires_grad for loss in losses
        ),
        "steps for which the rate was asked": list(dict.fromkeys(asked)),
        "losses": [float(torch.as_tensor(loss).detach()) for loss in losses],
        "share of the validation images right": float(share),
        "how far the weights went": round(moved, 3),
    }


# -- clock: a device that does not wait


def my_timing(call, wait, clock):
    call()
    wait()
    times = []
    for _ in range(5):
        began = clock()
        call()
        wait()
        times.append(1000 * (clock() - began))
    return sorted(times)[2]


def timing_with_four_faults(call, wait, clock):
    times = []
    for _ in range(5):
        began = clock()
        call()
        times.append(clock() - began)
    return sum(times) / 5


def _never_waits(call, wait, clock):
    return my_timing(call, lambda: None, clock)


def _five(call, wait, clock):
    """The five timings of `my_timing`, which stands whole: its source is what a learner reads."""
    times = []
    for _ in range(5):
        began = clock()
        call()
        wait()
        times.append(1000 * (clock() - began))
    return times


def _cold(call, wait, clock):
    wait()
    return sorted(_five(call, wait, clock))[2]


def _cold_and_queued(call, wait, clock):
    return sorted(_five(call, wait, clock))[2]


def _queued(call, wait, clock):
    call()
    return sorted(_five(call, wait, clock))[2]


def _mean(call, wait, clock):
    call()
    wait()
    return sum(_five(call, wait, clock)) / 5


def _mean_of_a_queue(call, wait, clock):
    call()
    wait()
    began = clock()
    for _ in range(5):
        call()
    wait()
    return 1000 * (clock() - began) / 5


def _fastest(call, wait, clock):
    call()
    wait()
    return min(_five(call, wait, clock))


def _in_seconds(call, wait, clock):
    return my_timing(call, wait, clock) / 1000


class Device:
    """Works through what it is handed, one piece after the other; its clock moves only here.

    Times are in milliseconds: `first` for the first call, `later` in turn from then on, `queued`
    for what somebody left in the queue, `launch` to hand a piece over.
    """

    def __init__(self, later, first=None, queued=0.0, launch=0.01):
        self.later, self.first, self.launch = later, first, launch
        self.now, self.idle_at, self.calls = 1000.0, 1000.0 + queued, 0

    def call(self):
        took = self.later[self.calls % len(self.later)]
        if self.calls == 0 and self.first is not None:
            took = self.first
        self.calls += 1
        self.now += self.launch
        self.idle_at = max(self.idle_at, self.now) + took

    def wait(self):
        self.now = max(self.now, self.idle_at)

    def clock(self):
        return self.now / 1000


def observe_timing(answer):
    must_be_function(answer)
    # Five times in turn: whichever five calls are timed, the median is the same. No device is even
    # on both sides of it, and the long call comes at another place in each, so that no other mean
    # and no first timing that is too long agrees with it in all.
    found = {}
    for label, device in {
        "calls of about 4 ms, one of 31": Device((4.5, 4.0, 4.1, 4.2, 31.0)),
        "a first call of 90 ms, then about 4, one of 31": Device(
            (4.2, 31.0, 4.5, 4.0, 4.1), first=90.0
        ),
        "50 ms of work left in the queue, then calls of about 4, one of 31": Device(
            (4.0, 4.2, 4.1, 31.0, 4.5), queued=50.0
        ),
        "calls of about 200 ms, one of 700": Device(
            (190.0, 200.0, 213.0, 700.0, 205.0), launch=0.5
        ),
    }.items():
        found[label] = called(answer, my_timing, device.call, device.wait, device.clock)
    return found
