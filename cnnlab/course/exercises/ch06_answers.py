"""Answers to the exercises of chapter 06: right ones, known mistakes, and what is looked at."""

from __future__ import annotations

from itertools import permutations

import torch
import torch.nn.functional as F
from torch import nn

from cnnlab.course.exercises.built import (
    known,
    made,
    must_be_function,
    observe_built,
    observe_cases,
)
from cnnlab.course.exercises.sandbox import called, output_of
from cnnlab.models import count
from cnnlab.models.googlenet import TABLE, Row

# -- collapse: two linear layers with nothing between


def collapse(first, second):
    merged = nn.Linear(first.in_features, second.out_features)
    with torch.no_grad():
        merged.weight.copy_(second.weight @ first.weight)
        merged.bias.copy_(second.weight @ first.bias + second.bias)
    return merged


def _joined(first, second, weight, bias):
    merged = nn.Linear(first.in_features, second.out_features, bias=bias is not None)
    with torch.no_grad():
        merged.weight.copy_(weight)
        if bias is not None:
            merged.bias.copy_(bias)
    return merged


def _bias_of_the_second_only(first, second):
    return _joined(first, second, second.weight @ first.weight, second.bias)


def _bias_of_the_first_only(first, second):
    return _joined(first, second, second.weight @ first.weight, second.weight @ first.bias)


def _without_bias(first, second):
    return _joined(first, second, second.weight @ first.weight, None)


def _biases_added(first, second):
    return _joined(first, second, second.weight @ first.weight, first.bias + second.bias)


def _wrong_order(first, second):
    bias = first.weight @ second.bias + first.bias
    return _joined(first, second, first.weight @ second.weight, bias)


def _weights_in_the_wrong_order(first, second):
    bias = second.weight @ first.bias + second.bias
    return _joined(first, second, first.weight @ second.weight, bias)


def _still_two(first, second):
    return nn.Sequential(first, second)


def _observe_collapse(answer):
    must_be_function(answer)
    first, second = nn.Linear(6, 6), nn.Linear(6, 6)  # square, so that no mistake hides in a shape
    a, b = nn.Linear(5, 4), nn.Linear(4, 3)
    vectors, others = torch.rand(3, 6) - 0.5, torch.rand(2, 5) - 0.5
    before = second(first(vectors))
    merged = called(answer, collapse, first, second)
    if not isinstance(merged, nn.Module):
        raise ValueError(
            f"the function gives a {type(merged).__name__}, expected an nn.Linear; "
            "make one, copy the weights into it and return it"
        )
    wanted = b(a(others))
    try:
        other = answer(a, b)(others)
    except RuntimeError:  # shapes that do not fit
        other = torch.zeros(())
    joins = other.shape == wanted.shape and torch.allclose(other, wanted, atol=1e-5)
    return {
        "it is a single nn.Linear": isinstance(merged, nn.Linear),
        "output for zeros": merged(torch.zeros(1, 6)).detach(),
        "output for three vectors": merged(vectors).detach(),
        "it also joins layers that are not square, 5 to 4 and 4 to 3": joins,
        "the two layers are left as they were": torch.equal(second(first(vectors)), before),
    }


# -- module: the Inception module, written by the learner


class MyInception(nn.Module):
    def __init__(self, inputs, row):
        super().__init__()

        def conv(before, after, kernel):
            layer = nn.Conv2d(before, after, kernel, padding=kernel // 2)
            return nn.Sequential(layer, nn.ReLU())

        self.one = conv(inputs, row.n1x1, 1)
        self.three = nn.Sequential(
            conv(inputs, row.n3x3_reduce, 1), conv(row.n3x3_reduce, row.n3x3, 3)
        )
        self.five = nn.Sequential(
            conv(inputs, row.n5x5_reduce, 1), conv(row.n5x5_reduce, row.n5x5, 5)
        )
        self.pool = nn.Sequential(
            nn.MaxPool2d(3, stride=1, padding=1), conv(inputs, row.pool_proj, 1)
        )

    def forward(self, x):
        return torch.cat([self.one(x), self.three(x), self.five(x), self.pool(x)], dim=1)


class _NoReluBetween(MyInception):
    def __init__(self, inputs, row):
        super().__init__(inputs, row)
        self.three[0][1], self.five[0][1] = nn.Identity(), nn.Identity()


class _NoRelu(MyInception):
    def __init__(self, inputs, row):
        super().__init__(inputs, row)
        for branch in (self.one, self.three[0], self.three[1], self.five[0], self.five[1]):
            branch[1] = nn.Identity()
        self.pool[1][1] = nn.Identity()


class _PoolingKeepsAll(MyInception):
    def __init__(self, inputs, row):
        super().__init__(inputs, row)
        self.pool = nn.MaxPool2d(3, stride=1, padding=1)


class _ProjectionFirst(MyInception):
    def __init__(self, inputs, row):
        super().__init__(inputs, row)
        self.pool = nn.Sequential(self.pool[1], self.pool[0])


class _NoReduction(MyInception):
    def __init__(self, inputs, row):
        super().__init__(inputs, row)
        self.three = nn.Sequential(nn.Conv2d(inputs, row.n3x3, 3, padding=1), nn.ReLU())
        self.five = nn.Sequential(nn.Conv2d(inputs, row.n5x5, 5, padding=2), nn.ReLU())


class _NoBias(MyInception):
    def __init__(self, inputs, row):
        super().__init__(inputs, row)
        for layer in self.modules():
            if isinstance(layer, nn.Conv2d):
                layer.bias = None


class _BranchesReversed(MyInception):
    def forward(self, x):
        return torch.cat([self.pool(x), self.five(x), self.three(x), self.one(x)], dim=1)


class _FiveBeforeThree(MyInception):
    def forward(self, x):
        return torch.cat([self.one(x), self.five(x), self.three(x), self.pool(x)], dim=1)


class _NoReluInThree(MyInception):
    def __init__(self, inputs, row):
        super().__init__(inputs, row)
        self.three[0][1] = nn.Identity()


class _NoReluInFive(MyInception):
    def __init__(self, inputs, row):
        super().__init__(inputs, row)
        self.five[0][1] = nn.Identity()


class _PoolingAverages(MyInception):
    def __init__(self, inputs, row):
        super().__init__(inputs, row)
        self.pool[0] = nn.AvgPool2d(3, stride=1, padding=1)


def _observe_module(answer):
    row = Row(n1x1=5, n3x3_reduce=4, n3x3=7, n5x5_reduce=2, n5x5=3, pool_proj=6)
    return {
        **observe_built(answer, MyInception, 8, row, shape=(2, 8, 6, 5)),
        "parameters of module 3a": count(
            known(called(answer, MyInception, 192, TABLE["3a"]), torch.zeros(2, 192, 8, 8))
        ),
    }


# -- naive_module: wrong keyword names, then branch 1 twice


class NaiveModule(nn.Module):
    def __init__(self, inputs):
        super().__init__()
        self.branch1 = nn.Conv2d(inputs, 64, kernel_size=1)
        self.branch2 = nn.Conv2d(inputs, 128, kernel_size=3, padding=1)
        self.branch3 = nn.Conv2d(inputs, 32, kernel_size=5, padding=2)
        self.branch4 = nn.MaxPool2d(3, stride=1, padding=1)

    def forward(self, x):
        return torch.cat(
            [self.branch1(x), self.branch2(x), self.branch3(x), self.branch4(x)], dim=1
        )


class _WrongNames(NaiveModule):
    def __init__(self, inputs):
        super().__init__(inputs)
        self.branch2 = nn.Conv2d(inputs, 128, kernel=3, pad=1)


class _WrongPaddingName(NaiveModule):
    def __init__(self, inputs):
        super().__init__(inputs)
        self.branch2 = nn.Conv2d(inputs, 128, kernel_size=3, pad=1)


class _FirstBranchTwice(NaiveModule):
    def forward(self, x):
        return torch.cat([self.branch1(x), self.branch1(x), self.branch3(x), self.branch4(x)], 1)


class _NoPadding(NaiveModule):
    def __init__(self, inputs):
        super().__init__(inputs)
        self.branch2 = nn.Conv2d(inputs, 128, kernel_size=3)


class _OtherOrder(NaiveModule):
    def forward(self, x):
        return torch.cat([self.branch2(x), self.branch1(x), self.branch3(x), self.branch4(x)], 1)


class _WithReLUs(NaiveModule):
    def forward(self, x):
        branches = F.relu(self.branch1(x)), F.relu(self.branch2(x)), F.relu(self.branch3(x))
        return torch.cat([*branches, self.branch4(x)], dim=1)


class _ReLUBehindAll(NaiveModule):
    def forward(self, x):
        return F.relu(super().forward(x))


def _with_weights_of(model, reference):
    """`reference` with the convolutions of `model` in the places of its own, each way that fits."""
    own, given = (
        [m for m in net.modules() if isinstance(m, nn.Conv2d)] for net in (reference, model)
    )
    for order in permutations(given):
        if [m.weight.shape for m in order] == [m.weight.shape for m in own]:
            for mine, theirs in zip(own, order):
                mine.load_state_dict(theirs.state_dict())
            yield reference


def _does_the_same(model, reference, image):
    with torch.no_grad():
        outputs = [net(image) for net in _with_weights_of(model, reference)]
        return any(torch.allclose(model(image), out, atol=1e-5) for out in outputs)


_ORDER = "the branches are 1x1, 3x3, 5x5 and 3x3 max pooling, in this order"


def _seen_in_naive(answer):
    model = made(answer, NaiveModule, 192)
    image = torch.rand(1, 192, 6, 6)  # nothing negative, as behind a ReLU
    output = output_of(model, image)
    seen = {"output shape for (1, 192, 6, 6)": tuple(output.shape)}
    seen["parameters with bias"] = sum(p.numel() for p in model.parameters())
    widths = sorted(m.out_channels for m in model.modules() if isinstance(m, nn.Conv2d))
    seen["output channels of the convolutions"] = widths
    if [*seen.values()] != [(1, 416, 6, 6), 387_296, [32, 64, 128]]:
        return seen
    sums = []
    with torch.no_grad():
        for net in _with_weights_of(model, NaiveModule(192)):
            # A ReLU on the branches is welcome.
            sums += [kind(net(image)).square().sum((0, 2, 3)) for kind in (F.relu, nn.Identity())]
    got = output.detach().square().sum((0, 2, 3))  # a number per channel
    seen[_ORDER] = any(torch.allclose(got, wanted, rtol=1e-4) for wanted in sums)
    seen["so they are, in whatever order"] = any(
        torch.allclose(got.sort()[0], wanted.sort()[0], rtol=1e-4) for wanted in sums
    )
    return seen


def _observe_naive(answer):
    seen = _seen_in_naive(answer)
    if seen.get(_ORDER) is False:
        return seen
    cases = (((192,), (1, 192, 6, 6)), ((5,), (2, 5, 7, 6)))
    return seen | observe_cases(answer, NaiveModule, cases, accept=(_WithReLUs, _ReLUBehindAll))


# -- wrong_axis: concatenated along the batch, then a pooling that is a convolution


class EqualBranches(nn.Module):
    def __init__(self, inputs):
        super().__init__()
        self.branch1 = nn.Conv2d(inputs, 16, 1)
        self.branch2 = nn.Sequential(
            nn.Conv2d(inputs, 8, 1), nn.ReLU(), nn.Conv2d(8, 16, 3, padding=1)
        )
        self.branch3 = nn.Sequential(nn.MaxPool2d(3, stride=1, padding=1), nn.Conv2d(inputs, 16, 1))

    def forward(self, x):
        return torch.cat([self.branch1(x), self.branch2(x), self.branch3(x)], dim=1)


def _convolution_for_pooling(inputs):
    return nn.Sequential(nn.Conv2d(inputs, inputs, 3, padding=1), nn.Conv2d(inputs, 16, 1))


class _BothFaults(EqualBranches):
    def __init__(self, inputs):
        super().__init__(inputs)
        self.branch3 = _convolution_for_pooling(inputs)

    def forward(self, x):
        return torch.cat([self.branch1(x), self.branch2(x), self.branch3(x)])


class _StackedBatch(EqualBranches):
    def forward(self, x):
        return torch.cat([self.branch1(x), self.branch2(x), self.branch3(x)])


class _PoolingIsConvolution(EqualBranches):
    def __init__(self, inputs):
        super().__init__(inputs)
        self.branch3 = _convolution_for_pooling(inputs)


class _AddedBranches(EqualBranches):
    def forward(self, x):
        return self.branch1(x) + self.branch2(x) + self.branch3(x)


class _AveragePooling(EqualBranches):
    def __init__(self, inputs):
        super().__init__(inputs)
        self.branch3[0] = nn.AvgPool2d(3, stride=1, padding=1)


class _NoPooling(EqualBranches):
    def __init__(self, inputs):
        super().__init__(inputs)
        self.branch3 = nn.Sequential(nn.Conv2d(inputs, 16, 1))


class _ReLULost(EqualBranches):
    def __init__(self, inputs):
        super().__init__(inputs)
        self.branch2 = nn.Sequential(nn.Conv2d(inputs, 8, 1), nn.Conv2d(8, 16, 3, padding=1))


def _seen_in_axis(answer):
    model = made(answer, EqualBranches, 24)
    image = torch.rand(2, 24, 6, 6)
    seen = {
        "output shape for (2, 24, 6, 6)": tuple(output_of(model, image).shape),
        "parameters with bias": sum(p.numel() for p in model.parameters()),
    }
    count = sum(p.numel() for p in EqualBranches(24).parameters())
    if [*seen.values()] != [(2, 48, 6, 6), count]:
        return seen
    right = "the branches are 1x1, then 1x1, ReLU and 3x3, then 3x3 max pooling and 1x1"
    wrong = {
        "the pooling takes the maximum": _AveragePooling,
        "there is a pooling": _NoPooling,
        "there is a ReLU": _ReLULost,
    }
    seen[right] = _does_the_same(model, EqualBranches(24), image)
    return seen | {name: not _does_the_same(model, w(24), image) for name, w in wrong.items()}


def _observe_axis(answer):
    cases = (((24,), (2, 24, 6, 6)), ((6,), (1, 6, 5, 7)))
    seen = _seen_in_axis(answer)
    return seen if False in seen.values() else seen | observe_cases(answer, EqualBranches, cases)
