"""Answers to the exercises of chapter 05: right ones, known mistakes, and what is looked at."""

from __future__ import annotations

import torch
from torch import nn

from cnnlab.course.exercises.built import observe_cases
from cnnlab.course.exercises.judge import at_least, at_most
from cnnlab.course.exercises.sandbox import called
from cnnlab.models.vgg import TABLE, VGG
from cnnlab.trace.run import TraceError, trace

# -- largest_batch: both bills in one budget


def largest_batch(memory, params, kept):
    fixed = 3 * 4 * params  # weights, gradients, momentum
    return max((memory - fixed) // kept, 0)


def _weights_only(memory, params, kept):
    return max((memory - 4 * params) // kept, 0)


def _no_momentum(memory, params, kept):
    return max((memory - 8 * params) // kept, 0)


def _no_fixed_bill(memory, params, kept):
    return memory // kept


def _fixed_for_each_image(memory, params, kept):
    return memory // (12 * params + kept)


def _below_zero(memory, params, kept):
    return (memory - 12 * params) // kept


def _kept_as_values(memory, params, kept):
    return max((memory - 12 * params) // (4 * kept), 0)


def _more(draw):
    params = draw.randint(10, 10**6)
    return draw.randint(4, 40) * params + draw.randint(0, 10), params, draw.randint(1, 10**5)


# -- layers: a row of table 1 becomes a network


def make_layers(stages, widths):
    layers, channels = [], 3
    for kernels, width in zip(stages, widths):
        for kernel in kernels:
            layers.append(nn.Conv2d(channels, width, kernel, padding=kernel // 2))
            layers.append(nn.ReLU())
            channels = width
        layers.append(nn.MaxPool2d(2))
    return nn.Sequential(*layers)


def _changed(stages, widths, *, padding=None, kernel=None, relu=True, pooling=True):
    layers, channels = [], 3
    for kernels, width in zip(stages, widths):
        for size in kernels:
            size = kernel or size
            around = size // 2 if padding is None else padding
            layers.append(nn.Conv2d(channels, width, size, padding=around))
            layers += [nn.ReLU()] if relu else []
            channels = width
        layers += [nn.MaxPool2d(2)] if pooling else []
    return nn.Sequential(*layers)


def _padded_by_one(stages, widths):
    return _changed(stages, widths, padding=1)


def _unpadded(stages, widths):
    return _changed(stages, widths, padding=0)


def _only_threes(stages, widths):
    return _changed(stages, widths, kernel=3)


def _no_relu(stages, widths):
    return _changed(stages, widths, relu=False)


def _no_pooling(stages, widths):
    return _changed(stages, widths, pooling=False)


def _one_per_stage(stages, widths):
    return _changed([kernels[:1] for kernels in stages], widths)


def _observe_layers(build):
    narrow = (4, 6, 8, 8, 8)
    # Large enough that a map is left also without padding.
    sizes = {"A": (1, 3, 160, 160), "C": (2, 3, 64, 96)}
    cases = [((TABLE[letter], narrow), size) for letter, size in sizes.items()]
    return observe_cases(build, make_layers, cases)


# -- sixteen: a class whose name counts wrong


class Sixteen(nn.Module):
    PLAN = (64, 64, "M", 128, 128, "M", 256, 256, 256, "M", 512, 512, 512, "M", 512, 512, 512, "M")

    def __init__(self, num_classes=1000):
        super().__init__()
        layers, channels = [], 3
        for step in self.PLAN:
            if step == "M":
                layers.append(nn.MaxPool2d(2))
            else:
                layers += [nn.Conv2d(channels, step, 3, padding=1), nn.ReLU()]
                channels = step
        self.features = nn.Sequential(*layers)
        self.classifier = nn.Sequential(
            nn.Linear(512 * 7 * 7, 4096),
            nn.ReLU(),
            nn.Dropout(),
            nn.Linear(4096, 4096),
            nn.ReLU(),
            nn.Dropout(),
            nn.Linear(4096, num_classes),
        )

    def forward(self, x):
        return self.classifier(self.features(x).flatten(1))


class _Eleven(Sixteen):
    PLAN = (64, "M", 128, "M", 256, 256, "M", 512, 512, "M", 512, 512, "M")


class _Thirteen(Sixteen):
    PLAN = (64, 64, "M", 128, 128, "M", 256, 256, "M", 512, 512, "M", 512, 512, "M")


class _Nineteen(Sixteen):
    PLAN = (
        64,
        64,
        "M",
        128,
        128,
        "M",
        256,
        256,
        256,
        256,
        "M",
        512,
        512,
        512,
        512,
        "M",
        512,
        512,
        512,
        512,
        "M",
    )


def _observe_sixteen(build):
    if isinstance(build, nn.Module):
        raise ValueError("give the class itself, without calling it: ex.sixteen.check(Repaired)")
    with torch.device("meta"):  # shapes without memory
        model = called(build, Sixteen)
    try:
        table = trace(model, (3, 224, 224))
    except TraceError as error:
        raise ValueError(f"it does not run on a 3 x 224 x 224 image: {error}") from None
    kinds = [row.op for row in table if row.op != "dropout"]
    heavy = [at for at, kind in enumerate(kinds) if kind in ("conv2d", "linear")]
    sides = [row.out_shape[-1] for row in table if row.op == "conv2d"]
    return {
        "convolutions": kinds.count("conv2d"),
        "linear layers": kinds.count("linear"),
        "parameters with bias": table.params,
        "shape of the logits": table[-1].out_shape,
        "convolutions on maps of each size": {side: sides.count(side) for side in sides},
        "a ReLU behind each convolution and linear layer but the last": all(
            kinds[at + 1 : at + 2] == ["relu"] for at in heavy[:-1]
        ),
        "the logits come straight from the last linear layer": heavy[-1:] == [len(kinds) - 1],
        "max poolings": kinds.count("max_pool2d"),
        "pixels that a unit behind the last pooling sees": [
            row.receptive_field for row in table if row.op == "max_pool2d"
        ][-1:],
    }


# -- small_budget: VGG-16's convolutions for 32 x 32

MOST_PARAMS, MOST_MACS, MOST_KEPT = 500_000, 20_000_000, 500_000


def _observe_small(answer):
    if not isinstance(answer, (list, tuple)) or len(answer) != 2:
        raise ValueError(
            "give a pair (widths, poolings), such as ((64, 128, 256, 512, 512), (1, 2, 3, 4, 5))"
        )
    widths, poolings = answer
    if (
        not isinstance(widths, (list, tuple))
        or len(widths) != 5
        or not all(type(width) is int and width >= 1 for width in widths)
    ):
        raise ValueError(f"give five widths, whole numbers from 1, got {widths!r}")
    if (
        not isinstance(poolings, (list, tuple))
        or len({*poolings}) < len(poolings)
        or not all(type(stage) is int and 1 <= stage <= 5 for stage in poolings)
    ):
        raise ValueError(
            "give the stages that end in a pooling as different whole numbers from 1 "
            f"to 5, such as (1, 2, 3), got {poolings!r}"
        )
    try:
        with torch.device("meta"):  # shapes without memory
            model = VGG(
                TABLE["D"], widths=widths, poolings=poolings, pool_size=4, hidden=(), num_classes=10
            )
        table = trace(model, (3, 32, 32))
    except (TypeError, ValueError, TraceError) as error:
        raise ValueError(
            f"VGG with widths={widths!r}, poolings={poolings!r} fails: {error}"
        ) from None
    sides = [min(row.out_shape[1:]) for row in table if len(row.out_shape) == 3]
    return {
        "no map smaller than 4 x 4": at_least(min(sides), 4),
        "the first stage at least 8 wide": at_least(widths[0], 8),
        "the last stage at least 64 wide": at_least(widths[-1], 64),
        "no stage narrower than the one before": list(widths) == sorted(widths),
        f"at most {MOST_PARAMS:,} parameters": at_most(table.params, MOST_PARAMS),
        f"at most {MOST_MACS:,} MACs": at_most(table.macs, MOST_MACS),
        f"at most {MOST_KEPT:,} bytes kept": at_most(table.kept_bytes, MOST_KEPT),
    }
