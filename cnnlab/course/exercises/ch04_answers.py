"""Answers to the exercises of chapter 04: right ones, known mistakes, and what is looked at."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import nn

from cnnlab.arithmetic import GeometryError, conv_params
from cnnlab.course.exercises.built import (
    made,
    observe_cases,
    ready,
    size,
    sizes,
    without_gradient,
)
from cnnlab.course.exercises.judge import at_least, at_most
from cnnlab.course.exercises.sandbox import output_of
from cnnlab.course.explorers.ch04_grouped import layer, through

# -- top_k: the share of images whose truth is among the k highest logits


def top_k(logits, labels, k):
    best = logits.topk(k, dim=1).indices  # (B, k)
    hits = (best == labels[:, None]).any(dim=1)  # (B,)
    return hits.float().mean().item()


def _error_not_accuracy(logits, labels, k):
    return 1 - top_k(logits, labels, k)


def _highest_only(logits, labels, k):
    return (logits.argmax(1) == labels).float().mean().item()


def _in_any_row(logits, labels, k):
    return torch.isin(labels, logits.topk(k, dim=1).indices).float().mean().item()


def _ties_count_as_right(logits, labels, k):
    truth = logits.gather(1, labels[:, None])  # (B, 1)
    return ((logits > truth).sum(1) < k).float().mean().item()


def _along_the_batch(logits, labels, k):
    best = logits.topk(k, dim=0).indices  # (k, C)
    return (best == labels[None, : logits.shape[1]]).any(0).float().mean().item()


def _values_not_indices(logits, labels, k):
    return (logits.topk(k, dim=1).values == labels[:, None]).any(1).float().mean().item()


def _more(draw):
    images, classes = draw.randint(1, 6), draw.randint(2, 8)
    places = list(range(images * classes))
    draw.shuffle(places)  # no ties; some logits are whole numbers, as labels are
    logits = torch.tensor(places).reshape(images, classes) / 2
    labels = torch.tensor([draw.randrange(classes) for _ in range(images)])
    return logits, labels, draw.randint(1, classes)


_generator = torch.Generator().manual_seed(5)  # a third are right at k = 1, two thirds at k = 3
_logits = torch.randn(6, 8, generator=_generator)
_labels = torch.randint(8, (6,), generator=_generator)


# -- towers: one tower does the work of both


class TwoTowers(nn.Module):
    def __init__(self, before, after, kernel):
        super().__init__()
        self.left = nn.Conv2d(before // 2, after // 2, kernel, padding=kernel // 2)
        self.right = nn.Conv2d(before // 2, after // 2, kernel, padding=kernel // 2)

    def forward(self, x):
        a, b = x.chunk(2, dim=1)
        return torch.cat([self.left(a), self.right(b)], dim=1)


class _LeftTwice(TwoTowers):
    def forward(self, x):
        a, b = x.chunk(2, dim=1)
        return torch.cat([self.left(a), self.left(b)], dim=1)


class _Crossed(TwoTowers):
    def forward(self, x):
        a, b = x.chunk(2, dim=1)
        return torch.cat([self.right(b), self.left(a)], dim=1)


class _OneDenseLayer(nn.Module):
    def __init__(self, before, after, kernel):
        super().__init__()
        self.both = nn.Conv2d(before, after, kernel, padding=kernel // 2)

    def forward(self, x):
        return self.both(x)


class _OnlyOneTower(nn.Module):
    def __init__(self, before, after, kernel):
        super().__init__()
        self.left = nn.Conv2d(before // 2, after // 2, kernel, padding=kernel // 2)

    def forward(self, x):
        a, b = x.chunk(2, dim=1)
        return torch.cat([self.left(a), self.left(b)], dim=1)


def _seen_in_towers(build):
    model = made(build, TwoTowers, 8, 12, 3)
    image = torch.rand(1, 8, 6, 6, requires_grad=True)
    output = output_of(model, image)
    observed = {
        "shape for an input of (1, 8, 6, 6)": tuple(output.shape),
        "parameters for (8, 12, 3)": sum(p.numel() for p in model.parameters()),
    }
    if tuple(output.shape) != (1, 12, 6, 6):
        return observed
    seen = [
        torch.autograd.grad(half.sum(), image, retain_graph=True)[0].abs().sum((0, 2, 3)) > 0
        for half in output.chunk(2, dim=1)
    ]
    first = torch.arange(8) < 4
    observed["the first half of the output sees the first half of the input, and no more"] = (
        torch.equal(seen[0], first)
    )
    observed["the second half of the output sees the second half of the input, and no more"] = (
        torch.equal(seen[1], ~first)
    )
    output.sum().backward()
    observed["every parameter takes part"] = all(p.grad is not None for p in model.parameters())
    return observed


def _grouped(before, after, kernel):
    return nn.Conv2d(before, after, kernel, padding=kernel // 2, groups=2)


def _observe_towers(build):
    cases = (((8, 12, 3), (2, 8, 6, 6)), ((4, 6, 5), (1, 4, 7, 6)))
    found = observe_cases(build, TwoTowers, cases, accept=(_grouped,))
    return {**_seen_in_towers(build), **found}


# -- head: dropout that model.eval() cannot switch off


class Head(nn.Module):
    def __init__(self, features, classes):
        super().__init__()
        self.hidden = nn.Linear(features, 64)
        self.last = nn.Linear(64, classes)

    def forward(self, x):
        x = F.dropout(F.relu(self.hidden(x)), 0.5, training=self.training)
        return self.last(x)


class _AlwaysOn(Head):
    def forward(self, x):
        return self.last(F.dropout(F.relu(self.hidden(x)), 0.5))


class _NeverOn(Head):
    def forward(self, x):
        return self.last(F.relu(self.hidden(x)))


class _OnlyInEval(Head):
    def forward(self, x):
        return self.last(F.dropout(F.relu(self.hidden(x)), 0.5, training=not self.training))


class _HalvedOnTop(Head):
    def forward(self, x):
        x = F.dropout(F.relu(self.hidden(x)), 0.5, training=self.training)
        return self.last(x if self.training else 0.5 * x)


def _observe_head(build):
    model, other = made(build, Head, 20, 5), made(build, Head, 7, 3)
    features = torch.randn(64, 20, generator=torch.Generator().manual_seed(4))
    few = features[:3]
    ready(model, features), ready(other, torch.randn(2, 7))
    with torch.no_grad():
        fresh = [output_of(model, few) for _ in range(2)]
    around = nn.Sequential(model)  # whose eval() and train() a head must follow as well
    around.train()
    training = output_of(model, features)
    found = {
        "shape for an input of (64, 20)": tuple(training.shape),
        "type of its numbers": training.dtype,
        "parameters for (20, 5)": sum(p.numel() for p in model.parameters()),
        "parameters for (7, 3)": sum(p.numel() for p in other.parameters()),
        "two passes agree after model.eval()": all(_equal(model, model.eval, few)),
        "two passes differ after model.train()": not any(_equal(model, model.train, few)),
        "two passes agree after eval() of a network around it": all(
            _equal(model, around.eval, few)
        ),
        "two passes differ after train() of a network around it": not any(
            _equal(model, around.train, few)
        ),
        "two passes differ before any call of train() or eval()": not torch.equal(*fresh),
        "parameters that get no gradient": without_gradient(model, features),
        "sizes of the parameters": sizes(model),
    }
    model.eval()
    still = {"output in evaluation": output_of(model, few).detach()}
    usual = sizes(Head(20, 5)) == found["sizes of the parameters"]
    return found | (_seen_inside(model) if usual else {}) | still


def _equal(model, change, features):
    """Whether two passes after the change of mode are equal: without gradients, and with them."""
    change()
    pairs = []
    for gradients in (False, True):
        with torch.set_grad_enabled(gradients):
            pairs.append([output_of(model, features).detach() for _ in range(2)])
    return [torch.allclose(*pair, rtol=0, atol=0, equal_nan=True) for pair in pairs]


_ROWS, _PASSES = 64, 20
_NEAR = 0.05  # six standard deviations of a share of so many draws, three units each


def _seen_inside(model):
    """Five hidden units stand at 9, 1, 1/4, -1 and -9 before the ReLU; each logit is one of them
    plus 10, so that it tells whether the unit was dropped."""
    weights = torch.eye(64, 20), torch.ones(64), torch.eye(5, 64), torch.full((5,), 10.0)
    put = {tuple(numbers.shape): numbers for numbers in weights}
    for parameter in model.parameters():
        numbers = put[size(parameter)]
        parameter.data.copy_(numbers.reshape(parameter.shape))
    features = torch.zeros(_ROWS, 20)
    features[:, :5] = torch.tensor([8.0, 0.0, -0.75, -2.0, -10.0])
    model.train()
    training = torch.stack([output_of(model, features).detach() for _ in range(_PASSES)])
    model.eval()
    still = output_of(model, features).detach()
    kept = training[..., :3] > training[..., :3].mean((0, 1))  # (passes, rows, 3)
    hidden = torch.tensor([9.0, 1.0, 0.25, 0.0, 0.0])
    return {
        "in evaluation a logit whose hidden unit is below 0 is its bias, as with a ReLU": _near(
            still[..., 3:], 10
        ),
        "in evaluation a logit whose hidden unit is above 0 is that unit and its bias": _near(
            still[..., :3], 10 + hidden[:3]
        ),
        "dropout acts before the last layer: where its bias is 10, no logit is 0 in training": bool(
            (training != 0).all()
        ),
        "in training each unit is dropped, or doubled as with a dropout of 0.5": _near(
            training, torch.where(training > 10 + hidden / 2, 10 + 2 * hidden, torch.tensor(10.0))
        ),
        "half of what the ReLU lets through is dropped": abs(kept.double().mean().item() - 0.5)
        < _NEAR,
        "each row of a batch is dropped for itself": bool((kept != kept[:, :1]).any()),
        "each hidden unit is dropped for itself": bool((kept[..., 0] != kept[..., 1]).any()),
    }


def _near(got, expected):
    return bool((got - expected).abs().max() < 1e-3)


# -- mixing: every output depends on every input, for few weights

MIXING_WEIGHTS = 6_000


def _observe_mixing(answer):
    if not isinstance(answer, (list, tuple)) or not answer:
        raise ValueError(
            "give a list of (kernel, output channels, groups), one triple per layer, "
            "such as [(3, 64, 2)]"
        )
    view, weights, before, narrowest, reached = 1, 0, 64, 64, layer(64, 64, 64)
    for one in answer:
        if not isinstance(one, (list, tuple)) or len(one) != 3:
            raise ValueError(f"a layer is a triple (kernel, output channels, groups), got {one!r}")
        if any(type(n) is not int or n < 1 for n in one):
            raise ValueError(f"kernel, channels and groups are whole numbers from 1, got {one!r}")
        kernel, after, groups = one
        try:
            weights += conv_params(before, after, kernel, groups, bias=False)
        except GeometryError:
            raise ValueError(
                f"{groups} groups do not divide {before} channels in and {after} out evenly"
            ) from None
        if weights > 50 * MIXING_WEIGHTS:
            raise ValueError(f"{weights:,} weights up to {one!r}: far beyond {MIXING_WEIGHTS:,}")
        view += kernel - 1
        reached = through(reached, layer(before, after, groups))
        before, narrowest = after, min(narrowest, after)
    return {
        "the last layer has 64 output channels": before == 64,
        "the view is at least 3 x 3": at_least(view, 3),
        "every output depends on every input": all(all(row) for row in reached),
        "no layer has fewer than 16 output channels": at_least(narrowest, 16),
        f"at most {MIXING_WEIGHTS:,} weights": at_most(weights, MIXING_WEIGHTS),
    }
