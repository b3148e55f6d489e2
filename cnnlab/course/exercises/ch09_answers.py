"""Answers to the exercises of chapter 09: right ones, known mistakes, and what is looked at."""

from __future__ import annotations

import math

import torch
from torch import nn

from cnnlab.course.exercises.built import observe_cases
from cnnlab.course.exercises.judge import at_least, at_most
from cnnlab.course.exercises.sandbox import called, output_of, reads_of
from cnnlab.course.explorers.ch09_dense_block import dense

# -- dense_layer: reads everything, writes `growth` new channels beside it


class DenseLayer(nn.Module):
    def __init__(self, inputs, growth):
        super().__init__()
        self.norm1 = nn.BatchNorm2d(inputs)
        self.conv1 = nn.Conv2d(inputs, 4 * growth, 1, bias=False)
        self.norm2 = nn.BatchNorm2d(4 * growth)
        self.conv2 = nn.Conv2d(4 * growth, growth, 3, padding=1, bias=False)

    def forward(self, x):
        y = self.conv1(torch.relu(self.norm1(x)))
        y = self.conv2(torch.relu(self.norm2(y)))
        return torch.cat([x, y], dim=1)


class _GivesOnlyTheNew(DenseLayer):
    def forward(self, x):
        return super().forward(x)[:, x.shape[1] :]


class _WritesBefore(DenseLayer):
    def forward(self, x):
        both = super().forward(x)
        return torch.cat([both[:, x.shape[1] :], x], dim=1)


class _WithoutFirstRelu(DenseLayer):
    def forward(self, x):
        y = self.conv2(torch.relu(self.norm2(self.conv1(self.norm1(x)))))
        return torch.cat([x, y], dim=1)


class _WithoutSecondRelu(DenseLayer):
    def forward(self, x):
        y = self.conv2(self.norm2(self.conv1(torch.relu(self.norm1(x)))))
        return torch.cat([x, y], dim=1)


class _SecondNormBehindRelu(DenseLayer):
    def forward(self, x):
        y = self.norm2(torch.relu(self.conv1(torch.relu(self.norm1(x)))))
        return torch.cat([x, self.conv2(y)], dim=1)


class _NormsBehind(DenseLayer):
    def __init__(self, inputs, growth):
        super().__init__(inputs, growth)
        self.norm1, self.norm2 = nn.BatchNorm2d(4 * growth), nn.BatchNorm2d(growth)

    def forward(self, x):
        y = torch.relu(self.norm1(self.conv1(x)))
        return torch.cat([x, torch.relu(self.norm2(self.conv2(y)))], dim=1)


class _WithoutBottleneck(nn.Module):
    def __init__(self, inputs, growth):
        super().__init__()
        self.norm = nn.BatchNorm2d(inputs)
        self.conv = nn.Conv2d(inputs, growth, 3, padding=1, bias=False)

    def forward(self, x):
        return torch.cat([x, self.conv(torch.relu(self.norm(x)))], dim=1)


def _observe_layer(answer):
    cases = (((12, 4), (2, 12, 5, 5)), ((5, 3), (1, 5, 6, 4)))
    return observe_cases(answer, DenseLayer, cases)


# -- widths: what enters each block, and what leaves the last one


def widths(stem, growth, blocks, compression):
    found = [stem]
    for number, layers in enumerate(blocks, 1):
        width = found[-1] + layers * growth  # the block appends to what it got
        if number < len(blocks):  # no transition after the last block
            width = int(width * compression)
        found.append(width)
    return found


def _also_after_the_last(stem, growth, blocks, compression):
    found = [stem]
    for layers in blocks:
        found.append(int((found[-1] + layers * growth) * compression))
    return found


def _without_the_input(stem, growth, blocks, compression):
    found = [stem]
    for number, layers in enumerate(blocks, 1):
        found.append(int(layers * growth * (compression if number < len(blocks) else 1)))
    return found


def _only_new_channels_compressed(stem, growth, blocks, compression):
    found = [stem]
    for number, layers in enumerate(blocks, 1):
        new = layers * growth
        found.append(found[-1] + (int(new * compression) if number < len(blocks) else new))
    return found


def _rounded_up(stem, growth, blocks, compression):
    found = [stem]
    for number, layers in enumerate(blocks, 1):
        width = found[-1] + layers * growth
        found.append(math.ceil(width * compression) if number < len(blocks) else width)
    return found


def _more(draw):
    blocks = tuple(draw.randint(1, 9) for _ in range(draw.randint(1, 4)))
    return draw.randint(1, 99), draw.randint(1, 49), blocks, draw.choice((0.5, 0.25, 1.0))


# -- polite: an in-place ReLU on a feature that others still read


class _OverwritesItsInput(nn.Module):
    def __init__(self, inputs, growth):
        super().__init__()
        self.conv1 = nn.Conv2d(inputs, growth, 3, padding=1, bias=False)
        self.conv2 = nn.Conv2d(inputs + growth, growth, 3, padding=1, bias=False)
        self.relu = nn.ReLU(inplace=True)

    def forward(self, x):
        first = self.conv1(self.relu(x))
        second = self.conv2(self.relu(torch.cat([x, first], 1)))
        return torch.cat([x, first, second], 1)


class TwoLayers(nn.Module):
    def __init__(self, inputs, growth):
        super().__init__()
        self.conv1 = nn.Conv2d(inputs, growth, 3, padding=1, bias=False)
        self.conv2 = nn.Conv2d(inputs + growth, growth, 3, padding=1, bias=False)
        self.relu = nn.ReLU()  # writes to new memory

    def forward(self, x):
        first = self.conv1(self.relu(x))
        second = self.conv2(self.relu(torch.cat([x, first], 1)))
        return torch.cat([x, first, second], 1)


class _ClonesAtTheDoor(_OverwritesItsInput):
    def forward(self, x):
        return super().forward(x.clone())


class _WithoutReLU(TwoLayers):
    def forward(self, x):
        first = self.conv1(x)
        second = self.conv2(torch.cat([x, first], 1))
        return torch.cat([x, first, second], 1)


class _ForgetsItsInput(TwoLayers):
    def forward(self, x):
        return super().forward(x)[:, self.conv1.in_channels :]


def _seen_in_polite(build):
    if not (isinstance(build, type) and issubclass(build, nn.Module)):
        raise ValueError("give the class itself, a subclass of nn.Module, without calling it")
    model, x = called(build, TwoLayers, 8, 4), torch.randn(1, 8, 6, 6)
    given, reads = x.clone(), reads_of(m for m in model.modules() if isinstance(m, nn.Conv2d))
    with torch.no_grad():
        out = output_of(model, given)
        rectified = bool(all((read >= 0).all() for read in reads))
        stands = out.shape[1] > 7 and torch.equal(out[:, :8], x)
        other, none = torch.randn_like(x), torch.zeros_like(x)
        together = model(x + other) + model(none)  # with bias, a straight line misses zero
        linear = torch.allclose(model(x.clone()) + model(other.clone()), together, atol=1e-4)
    return {
        "shape for an input of (1, 8, 6, 6)": tuple(out.shape),
        "weights": sum(p.numel() for p in model.parameters()),
        "there is a ReLU": not linear,
        "no convolution reads a value below zero: each stands behind a ReLU": rectified,
        "the first 8 channels that come out are the input": stands,
        "the tensor that was given is unchanged": torch.equal(given, x),
    }


def _observe_polite(build):
    cases = (((8, 4), (1, 8, 6, 6)), ((3, 2), (2, 3, 5, 4)))
    seen = _seen_in_polite(build)
    return seen if False in seen.values() else seen | observe_cases(build, TwoLayers, cases)


# -- budget: a block from 64 channels

OUTPUTS, VIEW, WEIGHTS, KEPT = 256, 17, 290_000, 3_000


def _observe_budget(answer):
    if not isinstance(answer, (tuple, list)) or len(answer) != 3:
        raise ValueError("give (growth, layers, bottleneck), such as (32, 6, True)")
    growth, layers, bottleneck = answer
    if any(type(n) is not int or n < 1 for n in (growth, layers)):
        raise ValueError(
            f"growth and layers are whole numbers from 1, got {growth!r} and {layers!r}"
        )
    if not isinstance(bottleneck, bool):
        raise ValueError(f"bottleneck is True or False, got {bottleneck!r}")
    if layers > 1000:
        raise ValueError(f"{layers:,} layers are far beyond both budgets")
    block = dense(64, growth, layers, bottleneck)
    return {
        f"at least {OUTPUTS} channels come out": at_least(block.outputs, OUTPUTS),
        f"the last layer sees at least {VIEW} x {VIEW}": at_least(2 * layers + 1, VIEW),
        f"at most {WEIGHTS:,} weights": at_most(sum(block.weights), WEIGHTS),
        f"at most {KEPT:,} kept values for each pixel": at_most(block.kept, KEPT),
    }
