"""Exercises of chapter 10, Training."""

from __future__ import annotations

from numbers import Real

import torch
import torch.nn.functional as F
from torch import nn

from cnnlab.course.exercises.built import must_be_function
from cnnlab.course.exercises.exercise import Exercise, Exercises, Mistake
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


def _observe_fit(answer):
    must_be_function(answer)
    torch.manual_seed(0)
    model = nn.Sequential(nn.Flatten(), nn.Linear(16, 8), nn.ReLU(), nn.Linear(8, 3))
    batches = [(torch.randn(12, 1, 4, 4), torch.randint(3, (12,))) for _ in range(4)]
    before = [p.detach().clone() for p in model.parameters()]
    losses = called(answer, my_fit, model, batches, [0.5, 1.0, 0.25, 2.0])
    if isinstance(losses, (list, tuple)) and any(torch.is_tensor(loss) for loss in losses):
        raise ValueError(
            "the losses are tensors: each keeps its whole graph in memory; keep loss.item()"
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


def _observe_epoch(answer):
    must_be_function(answer)
    torch.manual_seed(0)
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
        return 0.1 / (1 + step)

    found = called(answer, run_epoch, model, optimizer, train, val, rate)
    if not isinstance(found, tuple) or len(found) != 2:
        raise ValueError("the function must return two things: losses, share of val right")
    losses, share = found
    if not isinstance(losses, (list, tuple)) or not all(map(_is_number, [*losses, share])):
        raise ValueError("return a list of numbers, the losses, and one number, the share")
    moved = sum(float((p.detach() - b).abs().sum()) for p, b in zip(model.parameters(), before))
    return {
        "plain numbers, not tensors, are kept": not any(torch.is_tensor(loss) for loss in losses),
        "steps for which the rate was asked": asked,
        "losses": [float(torch.as_tensor(loss).detach()) for loss in losses],
        "share of the validation images right": float(share),
        "how far the weights went": round(moved, 3),
    }


exercises = Exercises(
    Exercise(
        "guessing",
        "The loss of a guess",
        "recall",
        2,
        4.605,
        tolerance=2e-3,
        mistakes=(
            Mistake(
                0.01, "That is the probability it gives the right class. The loss is -ln of it."
            ),
            Mistake(2.303, "That is ln(10), the loss of a guess among ten classes."),
            Mistake(
                2.0, "With the logarithm to base 10 it is 2. Cross-entropy uses the natural one."
            ),
            Mistake(-4.605, "ln(0.01) is negative; the loss is minus that."),
        ),
        hints=("Each class gets the probability 1/100.", "-ln(1/100) = ln(100)"),
        note="A loss of ln(classes) is a guess. A training that stays there has learned nothing.",
        working="import math; math.log(100)",
    ),
    Exercise(
        "steps",
        "Steps of a run",
        "compute",
        2,
        7820,
        mistakes=(
            Mistake(7800, "The last batch of an epoch is not full, and still is a step: round up."),
            Mistake(391, "That is one epoch."),
            Mistake(
                390, "That is one epoch, and the last batch of it, which is not full, is lost."
            ),
            Mistake(7813, "Each epoch begins a new batch: round up 50,000 / 128 first."),
        ),
        hints=("Steps of an epoch: 50,000 / 128, rounded up.", "391 in each of 20 epochs."),
        note="Steps = epochs x images / batch size, the division rounded up. Rates follow steps.",
        working="391 * 20",
    ),
    Exercise(
        "loop",
        "The loop, written by you",
        "implement",
        8,
        my_fit,
        observe=_observe_fit,
        tolerance=1e-4,
        mistakes=(
            Mistake(
                _never_zeroed,
                "The gradients of all earlier steps are still there: backward() adds to them. "
                "optimizer.zero_grad() before each backward().",
            ),
            Mistake(
                _zeroed_late,
                "Nothing is learned: the weights stay as they are. Is there a step() after each "
                "backward(), and no zero_grad() between the two?",
            ),
            Mistake(_rate_ignored, "Every step uses the rate 0.1: set it from `rates`, each time."),
            Mistake(_rate_late, "Each rate comes one step late: set it before the step."),
            Mistake(
                _softmax_twice,
                "`F.cross_entropy` takes the scores as they are: the softmax is inside it.",
            ),
            Mistake(_last_only, "That is the last loss only; return the list of all."),
        ),
        hints=(
            "for (images, labels), rate in zip(batches, rates): and "
            'optimizer.param_groups[0]["lr"] = rate',
            "loss = F.cross_entropy(model(images), labels), then zero_grad, backward, step.",
            "losses.append(loss.item()); return losses at the end.",
        ),
        note="Forward, loss, zero_grad, backward, step. All that is added later is speed and care.",
    ),
    Exercise(
        "epoch",
        "Five faults in one epoch",
        "spot the bug",
        8,
        run_epoch,
        observe=_observe_epoch,
        tolerance=1e-4,
        mistakes=(
            Mistake(
                epoch_with_five_faults,
                "All five are still there. The first symptom: memory grows with every step. What "
                "is kept of each step?",
            ),
            Mistake(
                _without_zero_grad,
                "One left, at least: backward() adds to the gradients of the step before.",
            ),
            Mistake(
                _never_eval,
                "One left: the share depends on which images stand together in a batch. Batch norm "
                "must use what it learned: model.eval() before the validation.",
            ),
            Mistake(
                _never_train,
                "One left, at least: the epoch before ended in eval mode, so batch norm and "
                "dropout do not train. model.train() first.",
            ),
            Mistake(_rate_twice, "One left: the rate falls twice as fast as it should."),
            Mistake(
                _per_batch,
                "One left: the share is one of images, not of batches: divide by their number.",
            ),
        ),
        hints=(
            "Memory grows: keep loss.item(), a number, not the tensor with its graph.",
            "The losses jump: zero_grad is missing, and the rate is asked for step 0, 2, 4.",
            "The share: model.train() at the top, model.eval() and torch.no_grad() before the "
            "validation; divide by the number of images.",
        ),
        note="train(), zero_grad, item(), the step's own rate, eval(), a share of the images: six "
        "lines that no error message reminds you of.",
    ),
)
