"""Exercises of chapter 09, DenseNet."""

from __future__ import annotations

import math

import torch
from torch import nn

from cnnlab.course.exercises.exercise import Exercise, Exercises, Mistake
from cnnlab.course.exercises.judge import at_least, at_most
from cnnlab.course.exercises.sandbox import called, output_of, reads_of
from cnnlab.course.explorers.ch09_dense_block import dense

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


def _observe_polite(build):
    if not (isinstance(build, type) and issubclass(build, nn.Module)):
        raise ValueError("give the class itself, a subclass of nn.Module, without calling it")
    model, x = called(build, TwoLayers, 8, 4), torch.randn(1, 8, 6, 6)
    given, reads = x.clone(), reads_of(m for m in model.modules() if isinstance(m, nn.Conv2d))
    with torch.no_grad():
        out = output_of(model, given)
        rectified = bool(all((read >= 0).all() for read in reads))
        stands = out.shape[1] > 7 and torch.equal(out[:, :8], x)
        linear = torch.allclose(model(x.clone()) + model(-x), torch.zeros(1), atol=1e-5)
    return {
        "shape for an input of (1, 8, 6, 6)": tuple(out.shape),
        "weights": sum(p.numel() for p in model.parameters()),
        "there is a ReLU": not linear,
        "no convolution reads a value below zero: each stands behind a ReLU": rectified,
        "the first 8 channels that come out are the input": stands,
        "the tensor that was given is unchanged": torch.equal(given, x),
    }


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
    block = dense(64, growth, layers, bottleneck)
    return {
        f"at least {OUTPUTS} channels come out": at_least(block.outputs, OUTPUTS),
        f"the last layer sees at least {VIEW} x {VIEW}": at_least(2 * layers + 1, VIEW),
        f"at most {WEIGHTS:,} weights": at_most(sum(block.weights), WEIGHTS),
        f"at most {KEPT:,} kept values for each pixel": at_most(block.kept, KEPT),
    }


exercises = Exercises(
    Exercise(
        "channels",
        "What leaves a dense block",
        "recall",
        2,
        512,
        mistakes=(
            Mistake(
                384,
                "That is what the 12 layers add. The block's input is handed on as well: "
                "it is the first entry of the concatenation.",
            ),
            Mistake(160, "Each of the 12 layers adds 32 channels, not only the last one."),
            Mistake(480, "That is what the last layer reads. Its own 32 channels come on top."),
            Mistake(
                524288,
                "You doubled at each layer. A layer adds 32 channels, however many it "
                "reads: the channels grow linearly.",
            ),
            Mistake(256, "That is what the transition after the block makes of it."),
        ),
        hints=("Each layer adds k channels beside what there is.", "k0 + L k."),
        note="k0 + L k: linear in the number of layers.",
        working="128 + 12 * 32",
    ),
    Exercise(
        "last_layer",
        "Weights of the last layer of that block, without bias",
        "compute",
        4,
        98304,
        mistakes=(
            Mistake(
                102400,
                "You let the layer read its own output. Before it there are 128 "
                "channels and 11 layers with 32 each.",
            ),
            Mistake(61440, "That is the 1x1 alone. The 3x3 from 128 to 32 channels is missing."),
            Mistake(36864, "That is the 3x3 alone. The 1x1 that reads everything is missing."),
            Mistake(
                138240,
                "That is a layer without bottleneck: a 3x3 on all 480 channels. With "
                "it, a 1x1 makes 4k = 128 channels first.",
            ),
            Mistake(
                98464, "You counted a bias for every output channel; these convolutions have none."
            ),
        ),
        hints=(
            "How many channels are there before layer 12?",
            "480 channels go through a 1x1 to 128, then through a 3x3 to 32.",
            "480 * 128 + 9 * 128 * 32.",
        ),
        note="The 1x1 grows with what is read, the 3x3 is the same in every layer.",
        working="(128 + 11 * 32) * 128 + 9 * 128 * 32",
    ),
    Exercise(
        "widths",
        "The widths of a whole DenseNet",
        "implement",
        8,
        widths,
        cases=(
            (64, 32, (6, 12, 24, 16), 0.5),
            (96, 48, (6, 12, 36, 24), 0.5),
            (16, 12, (12, 12, 12), 1.0),
            (9, 5, (2, 2), 0.5),
        ),
        mistakes=(
            Mistake(
                _also_after_the_last,
                "After the last block there is no transition: the "
                "classifier reads all its channels.",
            ),
            Mistake(
                _without_the_input,
                "The input of a block is forgotten: it is part of what comes out.",
            ),
            Mistake(
                _only_new_channels_compressed,
                "A transition reads the whole concatenation, the block's input included, and "
                "compresses all of it.",
            ),
            Mistake(
                _rounded_up,
                "Nearly: half of an odd number is rounded down (section 3, compression).",
            ),
        ),
        hints=(
            "Keep one number, the width, and append it to a list after each block.",
            "A block makes width + layers * growth, a transition int(width * compression).",
            "Skip the transition after the last block.",
        ),
        note="DenseNet-121: 64, 128, 256, 512 and, at the classifier, 1024.",
    ),
    Exercise(
        "polite",
        "A block that spoils what it was lent",
        "spot the bug",
        8,
        TwoLayers,
        observe=_observe_polite,
        mistakes=(
            Mistake(
                _OverwritesItsInput,
                "The fault is still there: `inplace=True` lets the first ReLU write over x, which "
                "the second layer, the output and the caller still want to read.",
            ),
            Mistake(
                _ClonesAtTheDoor,
                "The caller's tensor is safe now. But the first 8 channels that come out are not "
                "the input: inside the block x is still changed, replaced, or not put first.",
            ),
            Mistake(
                _WithoutReLU,
                "Nothing is overwritten now, but the ReLUs are gone, and the "
                "whole block is linear.",
            ),
            Mistake(
                _ForgetsItsInput,
                "The input is missing in the concatenation that comes out: "
                "16 channels, 8 of them the input's, are expected.",
            ),
        ),
        hints=(
            "Give it an input with negative numbers. Are they still there in the output?",
            "Which tensor does the first ReLU write to?",
            "An in-place ReLU is harmless on a tensor that nobody else reads, such as a "
            "fresh concatenation. x is not such a tensor.",
        ),
        note="What is concatenated is shared. In cnnlab.models.densenet the ReLUs are in place, "
        "but each follows a norm, which writes to new memory.",
    ),
    Exercise(
        "budget",
        "A dense block under two budgets",
        "design",
        8,
        (24, 8, False),
        observe=_observe_budget,
        reveal=True,
        mistakes=(
            Mistake(
                (12, 16, True),
                "It sees far and needs few weights, but it keeps too much. Every layer keeps "
                "twice what it reads, and with bottleneck 8k more.",
            ),
            Mistake(
                (48, 4, False),
                "Weights and memory fit, but it is short-sighted: each layer "
                "adds 2 to the side of the view, whatever it reads.",
            ),
            Mistake(
                (32, 8, False),
                "The weights do not fit: they grow with the square of the "
                "growth rate. You have more channels than you need.",
            ),
        ),
        hints=(
            "How many layers does a view of 17 need, at 2 pixels each?",
            "Which growth rate gives 256 channels with that many layers?",
            "A bottleneck pays only for layers that read more than 7.2k channels, and it keeps "
            "8k values more in each layer.",
        ),
        note="(24, 8, False): 255,744 weights and 2,368 values. With bottleneck the same block has "
        "279,552 weights and keeps 3,904 values. Also (22, 9, False) fits.",
        working="# 3x3 only: 9 * 24 * (64 + 88 + ... + 232) weights, 2 * (64 + 88 + ... + 232) "
        "values",
    ),
)
