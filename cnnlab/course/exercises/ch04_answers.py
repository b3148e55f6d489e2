"""Answers to the exercises of chapter 04: right ones, known mistakes, and what is looked at."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import nn

from cnnlab.arithmetic import GeometryError, conv_params
from cnnlab.course.exercises.built import fill, made, observe_built, observe_cases
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
    cases = (((8, 12, 3), (2, 8, 6, 6)), ((4, 4, 5), (1, 4, 7, 7)))
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
    model = made(build, Head, 20, 5)
    features = torch.randn(64, 20)
    other = Head(20, 5)
    fill(model), fill(other)
    with torch.no_grad():
        model.train()
        passes = [output_of(model, features) for _ in range(400)]
        spread = torch.stack([other(features) for _ in range(100)]).std(0).mean()
        model.eval()
        still = [model(features) for _ in range(2)]
        bent = model(features) + model(-features) - 2 * model(0 * features)
    if tuple(still[0].shape) != (64, 5):
        return {"shape for an input of (64, 20)": tuple(still[0].shape)}
    built = observe_built(build, Head, 20, 5, shape=(3, 20))
    gap = (torch.stack(passes).mean(0) - still[0]).abs().mean() / still[0].std()
    return {
        "shape for an input of (64, 20)": tuple(still[0].shape),
        "parameters for (20, 5)": built["parameters"],
        "two passes agree after model.eval()": torch.equal(*still),
        "two passes differ after model.train()": not torch.equal(*passes[:2]),
        "the mean of many training passes is near the pass after model.eval()": bool(gap < 0.1),
        "there is a ReLU": bool(bent.abs().max() > 1e-4),
        "dropout acts before the last layer: no logit is set to 0": not any(
            (logits == 0).any() for logits in passes
        ),
        "in training the logits spread as with a dropout of 0.5": abs(
            float(torch.stack(passes).std(0).mean() / spread) - 1
        )
        < 0.05,
        "output in evaluation": built["output in evaluation"],
    }


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
