"""Answers that the judge once took for right and that are wrong, and right ones that it refused."""

import re

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from cnnlab.course.exercises import (
    ch06_answers,
    ch07,
    ch08_answers,
    ch09_answers,
    ch10_answers,
    ch12_answers,
)
from tests.course.chapter import exercise


class CutShortcut(ch08_answers.PreBlock):
    def forward(self, x):
        y = self.conv1(self.relu(x))
        return x.detach().clone() + self.conv2(self.relu(self.bn(y)))


class CutDense(ch09_answers.DenseLayer):
    def forward(self, x):
        y = super().forward(x)
        kept = x.shape[1]
        return torch.cat([x.detach(), y[:, kept:]], 1)


def rectified_by(solution, activation):
    """The same class with another activation as its `relu`."""

    class Other(solution):
        def __init__(self, *arguments):
            super().__init__(*arguments)
            self.relu = activation

    return Other


class NarrowedUnprojected(ch08_answers.ResidualBlock):
    def __init__(self, before, after, stride=1):
        super().__init__(before, after, stride)
        if stride == 1 and before > after:
            self.downsample = None


def copies(after):
    def layer(channels):
        conv = ch07.copying_layer(channels)[0]
        return nn.Sequential(conv, after)

    return layer


def named_weights(model, images, labels):
    F.cross_entropy(model(images), labels).backward()
    norms = [p.grad.norm().item() for name, p in model.named_parameters() if "weight" in name]
    model.zero_grad()
    return norms


def renamed_by(change):
    def renamed(state):
        return {
            change(key.removeprefix("module.")): value
            for key, value in state.items()
            if not key.endswith("num_batches_tracked")
        }

    return renamed


def by_a_millionth(scores, labels, k):
    rows, found = torch.arange(len(labels)), []
    for move in (-1e-6, 1e-6):
        moved = scores.clone()
        moved[rows, labels] += move
        found.append((moved.topk(k).indices == labels[:, None]).any(1).float().mean().item())
    return tuple(found)


def only_features_asleep(net, images, labels, steps):
    net.features.eval()
    net.features.requires_grad_(False)
    ch12_answers._steps(net, net.head.parameters(), images, labels, steps)


def validates_first(model, optimizer, train, val, rate):
    share = ch10_answers.run_epoch(model, optimizer, [], val, rate)[1]
    return ch10_answers.run_epoch(model, optimizer, train, val, rate)[0], share


@pytest.mark.parametrize(
    "name, answer, words",
    [
        ("08.in_place", CutShortcut, "gradient that reaches the input"),
        ("09.dense_layer", CutDense, "gradient that reaches the input"),
        ("08.residual_block", NarrowedUnprojected, ""),
        ("07.copying", copies(nn.ReLU6()), "maps without negative values pass unchanged"),
        ("07.copying", copies(nn.Hardtanh(0, 1)), "maps without negative values pass unchanged"),
        ("07.all_gone", named_weights, "norms of the first call"),
        (
            "08.in_place",
            rectified_by(ch08_answers.PreBlock, nn.ReLU6()),
            "gradient that reaches the input",
        ),
        (
            "09.polite",
            rectified_by(ch09_answers.TwoLayers, nn.ReLU6()),
            "gradient that reaches the input",
        ),
        ("09.polite", rectified_by(ch09_answers.TwoLayers, nn.Tanh()), "stands behind a ReLU"),
        ("10.epoch", validates_first, "share of the validation images right"),
        ("12.rename", renamed_by(lambda key: key.replace("norm.1", "norm1")), "norm.10"),
        ("12.rename", renamed_by(lambda key: key.replace(".1.", "1.")), "layers.1"),
        ("12.rename", renamed_by(lambda key: re.sub("^norm.1.", "norm1.", key)), "block.norm"),
        ("12.ties", by_a_millionth, ""),
        ("12.freeze", only_features_asleep, "in 5 steps: "),
    ],
)
def test_wrong(name, answer, words):
    verdict = exercise(name).check(answer)
    assert (verdict.status, words in verdict.message) == ("wrong", True), verdict.message


def lazy(solution):
    """The same class, whose convolutions and norms take their channels from what they first see."""

    class Lazy(solution):
        def __init__(self, *arguments):
            super().__init__(*arguments)
            for module in list(self.modules()):
                for name, child in list(module.named_children()):
                    if type(child) is nn.Conv2d:
                        new = nn.LazyConv2d(
                            child.out_channels,
                            child.kernel_size,
                            child.stride,
                            child.padding,
                            bias=child.bias is not None,
                        )
                        setattr(module, name, new)
                    if type(child) is nn.BatchNorm2d:
                        setattr(module, name, nn.LazyBatchNorm2d())

    return Lazy


def asks_twice(model, optimizer, train, val, rate):
    def twice(step):
        rate(step)
        return rate(step)

    return ch10_answers.run_epoch(model, optimizer, train, val, twice)


def detached_losses(*arguments):
    losses, share = ch10_answers.run_epoch(*arguments)
    return [[torch.tensor(loss) for loss in losses], share]


@pytest.mark.parametrize(
    "name, answer",
    [
        ("06.module", lazy(ch06_answers.MyInception)),
        ("08.residual_block", lazy(ch08_answers.ResidualBlock)),
        ("08.only_grows", lazy(ch08_answers.Block)),
        ("08.in_place", lazy(ch08_answers.PreBlock)),
        ("09.dense_layer", lazy(ch09_answers.DenseLayer)),
        ("10.epoch", detached_losses),
        ("10.epoch", asks_twice),
    ],
)
def test_right(name, answer):
    verdict = exercise(name).check(answer)
    assert verdict.passed, verdict.message


def test_variables_that_torch_sets_are_not_the_answers(monkeypatch):
    """Its first optimizer sets one."""

    def with_optimizer(model, images, labels):
        monkeypatch.setenv("TORCHINDUCTOR_CACHE_DIR", "here")
        return ch07.report(model, images, labels)

    verdict = ch07.exercises.all_gone.check(with_optimizer)
    assert verdict.passed and "environment" not in verdict.message
