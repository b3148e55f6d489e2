"""Exercises of chapter 04, AlexNet."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import nn

from cnnlab.arithmetic import GeometryError, conv_params
from cnnlab.course.exercises.exercise import Exercise, Exercises, Mistake
from cnnlab.course.exercises.judge import at_least, at_most
from cnnlab.course.exercises.sandbox import called, output_of
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


def _observe_towers(build):
    model = _built(build, TwoTowers, 8, 12, 3)
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
    model = _built(build, Head, 20, 5)
    features = torch.randn(64, 20)
    with torch.no_grad():
        model.train()
        passes = [output_of(model, features) for _ in range(400)]
        model.eval()
        still = [model(features) for _ in range(2)]
        bent = model(features) + model(-features) - 2 * model(0 * features)
    if tuple(still[0].shape) != (64, 5):
        return {"shape for an input of (64, 20)": tuple(still[0].shape)}
    gap = (torch.stack(passes).mean(0) - still[0]).abs().mean() / still[0].std()
    return {
        "shape for an input of (64, 20)": tuple(still[0].shape),
        "two passes agree after model.eval()": torch.equal(*still),
        "two passes differ after model.train()": not torch.equal(*passes[:2]),
        "the mean of many training passes is near the pass after model.eval()": bool(gap < 0.1),
        "there is a ReLU": bool(bent.abs().max() > 1e-4),
        "dropout acts before the last layer: no logit is set to 0": not any(
            (logits == 0).any() for logits in passes
        ),
    }


def _built(build, solution, *arguments):
    if isinstance(build, nn.Module) or not callable(build):
        raise ValueError("give the class itself, without calling it")
    model = called(build, solution, *arguments)
    if not isinstance(model, nn.Module):
        raise ValueError(f"it makes a {type(model).__name__}, expected an nn.Module")
    return model


# -- mixing: every output depends on every input, for few weights

MIXING_WEIGHTS = 6_000


def _observe_mixing(answer):
    if not isinstance(answer, (list, tuple)) or not answer:
        raise ValueError(
            "give a list of (kernel, output channels, groups), one triple per layer, "
            "such as [(3, 64, 2)]"
        )
    view, weights, before, reached = 1, 0, 64, layer(64, 64, 64)
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
        view += kernel - 1
        reached = through(reached, layer(before, after, groups))
        before = after
    return {
        "the last layer has 64 output channels": before == 64,
        "the view is at least 3 x 3": at_least(view, 3),
        "every output depends on every input": all(all(row) for row in reached),
        f"at most {MIXING_WEIGHTS:,} weights": at_most(weights, MIXING_WEIGHTS),
    }


exercises = Exercises(
    Exercise(
        "fc6",
        "Weights of fc6 for larger images",
        "compute",
        5,
        51_380_224,
        mistakes=(
            Mistake(
                37_748_736,
                "That is the 6 x 6 map that 224 x 224 gives. Follow 256 through the layers.",
            ),
            Mistake(
                67_108_864,
                "That is an 8 x 8 map: 256 divided by the strides, 32. But each "
                "layer also loses its border. Use output_size four times.",
            ),
            Mistake(51_384_320, "Right map, but with bias: 4,096 too many."),
            Mistake(
                12_544,
                "That is how many values go in. Each of 4,096 units has a weight for each of them.",
            ),
        ),
        hints=(
            "conv1: output_size(256, 11, stride=4, padding=2).",
            "Then three times output_size(size, 3, stride=2): the other convolutions keep the "
            "size.",
            "side * side * 256 channels, each to 4,096 units.",
        ),
        note="63, 31, 15, 7: a 7 x 7 map. A fully connected layer fixes the size of the image; "
        "that is why torchvision pools to 6 x 6 first.",
        working="7 * 7 * 256 * 4096",
    ),
    Exercise(
        "top_k",
        "Top-1, top-5, top-k",
        "implement",
        8,
        top_k,
        cases=(
            (_logits, _labels, 1),
            (_logits, _labels, 3),
            (_logits, _labels, 8),
            (torch.zeros(5, 5), torch.arange(5), 2),
        ),
        mistakes=(
            Mistake(_error_not_accuracy, "That is the error. Asked for: the share that is right."),
            Mistake(_highest_only, "That is top-1, whatever k. Look at the k highest logits."),
            Mistake(
                _values_not_indices,
                "You compare logits with labels. topk gives values and "
                "indices: the classes are the indices.",
            ),
            Mistake(
                _in_any_row,
                "You ask whether a label is among the best of *any* image. "
                "Compare each label with the best of its own row.",
            ),
            Mistake(
                _ties_count_as_right,
                "Nearly: with all logits equal nothing is above the "
                "truth, so a network that says nothing would be always "
                "right. Take exactly k classes, with topk.",
            ),
            Mistake(
                _along_the_batch,
                "You took the k highest along the batch. Logits are (B, classes): use dim=1.",
            ),
        ),
        hints=(
            "logits.topk(k, dim=1).indices has shape (B, k).",
            "labels[:, None] has shape (B, 1) and can be compared with it.",
            "any(dim=1) says for each image whether one of the k was right.",
        ),
        note="Top-k counts an image as right when the truth is among its k highest logits. For "
        "k = number of classes it is always 1.",
    ),
    Exercise(
        "towers",
        "Two towers, one of them idle",
        "spot the bug",
        6,
        TwoTowers,
        observe=_observe_towers,
        mistakes=(
            Mistake(
                _LeftTwice,
                "Still one tower for both halves: `self.left(b)`. Half of the "
                "parameters never take part and get no gradient.",
            ),
            Mistake(
                _Crossed,
                "Each tower has its own half now, but they are glued together in "
                "the wrong order: the first half of the output comes from the "
                "second half of the input.",
            ),
            Mistake(
                _OneDenseLayer,
                "That sees everything, for twice the weights: the cut is gone. Keep two towers.",
            ),
            Mistake(
                _OnlyOneTower,
                "Consistent, but that is one set of kernels shared by both "
                "halves: half of the parameters are gone.",
            ),
        ),
        hints=(
            "Shape and number of parameters are right, so look at which ones are used.",
            "model(x).sum().backward(), then print p.grad for each parameter.",
            "Which line should name `self.right`?",
        ),
        note="A module that is built but not called shows in no shape and in no count: only its "
        "missing gradient tells. It is groups=2, written by hand.",
    ),
    Exercise(
        "head",
        "A network that changes its mind",
        "spot the bug",
        6,
        Head,
        observe=_observe_head,
        mistakes=(
            Mistake(
                _AlwaysOn,
                "Still active after model.eval(). F.dropout knows nothing of the "
                "module's mode (its `training` is True unless you say otherwise), "
                "and an nn.Dropout made inside forward is always in train mode.",
            ),
            Mistake(
                _NeverOn,
                "Now it is never active, not even in training. Switch it off in eval mode only.",
            ),
            Mistake(_OnlyInEval, "The wrong way round: it now drops in eval mode only."),
            Mistake(
                _HalvedOnTop,
                "Off in eval mode, but the outputs are halved on top: that "
                "belongs to the paper's form. PyTorch has doubled the survivors "
                "in training already.",
            ),
        ),
        hints=(
            "Call the head twice on the same features after .eval().",
            "Compare nn.Dropout with F.dropout: how does each know the mode?",
            "F.dropout(x, 0.5, training=self.training)",
        ),
        note="nn.Dropout follows train() and eval(); F.dropout needs training=self.training.",
    ),
    Exercise(
        "mixing",
        "Cheap, and fully mixed",
        "design",
        8,
        [(3, 64, 64), (1, 64, 1)],
        observe=_observe_mixing,
        mistakes=(
            Mistake(
                [(3, 64, 1)],
                "Everything is mixed, for too many weights: one dense 3x3 alone "
                "has 36,864. Let one layer see far and another one mix.",
            ),
            Mistake(
                [(3, 64, 64)],
                "Cheap and far-sighted, but not everything is mixed: an output "
                "of a grouped layer sees its own group only. Add a layer that "
                "sees all groups.",
            ),
            Mistake(
                [(3, 64, 8), (3, 64, 8)],
                "Two layers in the same groups mix no more than one "
                "does, and these two are over budget as well. Let "
                "one see far, with more groups, and one see all.",
            ),
            Mistake([(1, 64, 1)], "It mixes, but sees a single pixel: the view is 1 x 1."),
        ),
        hints=(
            "A 3x3 need not mix, and a layer that mixes need not be 3x3.",
            "What does a depthwise 3x3 cost: (3, 64, 64)?",
            "64 x 64 weights for a 1x1 that sees all groups leave 1,904 for the 3x3.",
        ),
        note="Depthwise 3x3, then a dense 1x1: 576 + 4,096 = 4,672 weights instead of 36,864. "
        "MobileNet is built of such pairs.",
    ),
)
