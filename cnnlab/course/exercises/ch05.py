"""Exercises of chapter 05, VGG."""

from __future__ import annotations

import torch
from torch import nn

from cnnlab.course.exercises.exercise import Exercise, Exercises, Mistake
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
        raise ValueError("give the class itself, without calling it: ex.sixteen.check(Fixed)")
    with torch.device("meta"):  # shapes without memory
        model = called(build, Sixteen)
    try:
        table = trace(model, (3, 224, 224))
    except TraceError as error:
        raise ValueError(f"it does not run on a 3 x 224 x 224 image: {error}") from None
    kinds = [row.op for row in table]
    return {
        "convolutions": kinds.count("conv2d"),
        "linear layers": kinds.count("linear"),
        "parameters with bias": table.params,
        "shape of the logits": table[-1].out_shape,
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
        f"at most {MOST_PARAMS:,} parameters": at_most(table.params, MOST_PARAMS),
        f"at most {MOST_MACS:,} MACs": at_most(table.macs, MOST_MACS),
        f"at most {MOST_KEPT:,} bytes kept": at_most(table.kept_bytes, MOST_KEPT),
    }


exercises = Exercises(
    Exercise(
        "nineteen",
        "Convolutions of VGG-19",
        "recall",
        1,
        16,
        mistakes=(
            Mistake(19, "The name counts all layers with weights. Three of them are linear."),
            Mistake(13, "That is VGG-16: its name counts 13 convolutions and 3 linear layers."),
            Mistake(
                21,
                "You counted the poolings. They have no weights, and the name does not count them.",
            ),
        ),
        hints=(
            "The number in the name counts the layers with weights.",
            "Three of them are the linear layers at the end.",
        ),
        note="2 + 2 + 4 + 4 + 4 convolutions and three linear layers: 19 layers with weights.",
        working="2 + 2 + 4 + 4 + 4",
    ),
    Exercise(
        "double",
        "The first linear layer for images twice as large, with bias",
        "compute",
        4,
        411_045_888,
        mistakes=(
            Mistake(
                102_764_544,
                "That is the layer for 224 x 224. Five halvings of 448 leave a map of 14 x 14.",
            ),
            Mistake(
                411_041_792,
                "The weights are right. With bias: one more for each of the 4,096 outputs.",
            ),
            Mistake(205_529_088, "Twice the side is four times the map."),
            Mistake(1_644_171_264, "You stopped after four poolings. There are five."),
        ),
        hints=(
            "How large is the map after five poolings of 2?",
            "It has 512 channels. Each of the 4,096 outputs has a weight for each value.",
        ),
        note="Four times the weights, in one layer. That is why later forms of VGG average the "
        "last map to 7 x 7, and why it is so tempting to leave this layer out.",
        working="512 * 14 * 14 * 4096 + 4096",
    ),
    Exercise(
        "largest_batch",
        "The largest batch that fits",
        "implement",
        6,
        largest_batch,
        cases=(
            (24 * 10**9, 138_357_544, 73_355_264),
            (12_000_500, 10**6, 100),
            (2 * 10**9, 143_678_248, 138_025_984),
            (10**9, 138_357_544, 73_355_264),
        ),
        mistakes=(
            Mistake(
                _weights_only,
                "The weights are only a third of the fixed bill: their "
                "gradients and the momentum are as large.",
            ),
            Mistake(
                _no_fixed_bill,
                "You spent all the memory on images. The weights, their "
                "gradients and the momentum have to fit in as well.",
            ),
            Mistake(
                _no_momentum,
                "SGD with momentum keeps a third number per parameter, beside "
                "the weight and its gradient.",
            ),
            Mistake(
                _fixed_for_each_image,
                "You pay for the weights once per image. They are paid "
                "once; only `kept` is multiplied by the batch.",
            ),
            Mistake(
                _below_zero,
                "Nearly: when not even the weights fit, the answer is 0 images, "
                "not a negative number.",
            ),
            Mistake(
                _kept_as_values,
                "`kept` is in bytes already. Only the parameters are counted "
                "as numbers of 4 bytes.",
            ),
        ),
        hints=(
            "Which bytes are there even with no image at all?",
            "4 bytes each for weight, gradient and momentum: 12 * params.",
            "What is left is shared by the images; // rounds down, and max(..., 0) catches "
            "the case that nothing is left.",
        ),
        note="fixed + batch * per image <= memory. An estimate: workspace of the libraries comes "
        "on top.",
    ),
    Exercise(
        "sixteen",
        "A VGG-16 that is none",
        "spot the bug",
        6,
        Sixteen,
        observe=_observe_sixteen,
        mistakes=(
            Mistake(
                _Eleven,
                "Eight convolutions and three linear layers are eleven layers with weights: this "
                "is VGG-11, 132,863,336 parameters. Compare with row D of the table.",
            ),
            Mistake(
                _Thirteen,
                "Ten convolutions: this is VGG-13. From the third stage on VGG-16 "
                "has three per stage.",
            ),
            Mistake(
                _Nineteen,
                "Sixteen convolutions: this is VGG-19. The name counts the three "
                "linear layers, too.",
            ),
        ),
        hints=(
            "Count the layers with weights. What does the number in the name say?",
            "sum(p.numel() for p in model.parameters()) gives 132.9 million. Which row of the "
            "table has that?",
            "VGG-16 has 2, 2, 3, 3, 3 convolutions in its stages.",
        ),
        note="It ran, it trained, and its name was wrong. Shapes do not tell; counts do.",
    ),
    Exercise(
        "small_budget",
        "VGG-16's convolutions on a budget",
        "design",
        8,
        ((16, 32, 64, 64, 64), (1, 2, 3)),
        observe=_observe_small,
        mistakes=(
            Mistake(
                ((16, 32, 64, 64, 64), (1, 2, 3, 4, 5)),
                "Cheap enough, but too many poolings: each one halves the side, and no map "
                "may be smaller than 4 x 4. Leave some out.",
            ),
            Mistake(
                ((32, 64, 64, 64, 64), (1, 2, 3)),
                "Few enough parameters, but too many MACs and bytes: both are spent early. "
                "Narrow the first stages, and keep the early poolings.",
            ),
            Mistake(
                ((16, 32, 64, 128, 128), (1, 2, 3)),
                "Memory fits, but not the parameters: they sit late. Narrow the last stages.",
            ),
        ),
        hints=(
            "Which poolings may stay, if the last map shall be 4 x 4?",
            "Memory and MACs are spent early, parameters late. Which widths does each limit "
            "hold down?",
            "poolings=(1, 2, 3). An eighth of VGG's widths is a good start: (8, 16, 32, 64, 64).",
        ),
        note="Memory and MACs are decided by the first stages, parameters by the last ones. Each "
        "budget has its own place in the network.",
    ),
)
