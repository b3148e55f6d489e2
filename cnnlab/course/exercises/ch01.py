"""Exercises of chapter 01, convolution arithmetic."""

from __future__ import annotations

from cnnlab.course.exercises.ch01_answers import (
    Separable,
    _flops,
    _GroupsOnBoth,
    _GroupsOnThePointwise,
    _halve_dense,
    _halve_grouped,
    _halve_not,
    _halve_skipping,
    _halve_too_late,
    _macs_groups_twice,
    _macs_of_one_row,
    _macs_on_input_pixels,
    _macs_with_bias,
    _macs_without_groups,
    _macs_without_stride,
    _more_macs,
    _observe_halving,
    _observe_separable,
    _SeparableAsGiven,
    _WithBias,
    halve,
    macs,
)
from cnnlab.course.exercises.exercise import Exercise, Exercises, Mistake

exercises = Exercises(
    Exercise(
        "params",
        "Parameters of a 5x5 convolution from 32 to 96 channels, with bias",
        "recall",
        2,
        76_896,
        mistakes=(
            Mistake(
                76_800, "That is without bias. The question says with: one number more per filter."
            ),
            Mistake(
                2_496,
                "You counted each filter as one 5x5 slice. A filter spans all 32 input "
                "channels: 5 x 5 x 32 weights.",
            ),
            Mistake(801, "That is one filter. Each of the 96 output channels has its own."),
            Mistake(
                76_832, "A bias belongs to a filter, so to an output channel: there are 96, not 32."
            ),
            Mistake(
                79_872,
                "You gave each of a filter's 32 slices its own bias. The slices are "
                "summed to one number, so a filter has one bias.",
            ),
        ),
        hints=(
            "How many weights does one filter hold? It is as deep as the input.",
            "One filter: 5 x 5 x 32 weights and 1 bias. How many filters are there?",
        ),
        note="Filters x (kernel height x kernel width x input channels + 1 for the bias).",
        working="96 * (5 * 5 * 32 + 1)",
    ),
    Exercise(
        "chain",
        "Sizes after three layers",
        "compute",
        4,
        (48, 23, 19),
        mistakes=(
            Mistake(
                (48, 23, 21), "The last layer has dilation 2: three taps then span 5 pixels, not 3."
            ),
            Mistake(
                (48, 23, 18),
                "In the last layer a kernel of 3 with dilation 2 spans 2 x (3 - 1) + 1 = 5 "
                "pixels. And add 1, for the first window.",
            ),
            Mistake(
                (48, 24, 20),
                "In the pooling you rounded a half up. Without ceil mode the last window must "
                "fit: round down.",
            ),
            Mistake(
                (47, 22, 17),
                "There is one output more than there are steps: the first window needs no "
                "step. Add 1 in each layer.",
            ),
            Mistake(
                (45, 22, 18),
                "You left out the first layer's padding: 3 pixels on each side, 6 in all.",
            ),
        ),
        hints=(
            "One layer at a time: floor((size + 2 padding - span) / stride) + 1.",
            "The first layer gives 48.",
            "The pooling: (48 - 3) / 2 = 22.5. The last kernel spans 2 x (3 - 1) + 1 = 5.",
        ),
        note="Layer by layer, always rounded down: 96, 48, 23, 19.",
        working="(96 + 6 - 7) // 2 + 1 = 48\n(48 - 3) // 2 + 1 = 23\n(23 - 5) // 1 + 1 = 19",
    ),
    Exercise(
        "macs",
        "MACs of a convolution, from the size of its input",
        "implement",
        6,
        macs,
        cases=(
            (224, 3, 64, 3, 1, 1, 1),
            (224, 3, 64, 7, 2, 3, 1),
            (28, 256, 256, 3, 1, 1, 256),
            (15, 128, 256, 1, 2, 0, 4),
            (28, 16, 24, 3, 2, 0, 1),
        ),
        more=_more_macs,
        mistakes=(
            Mistake(
                _macs_without_stride, "You left out the stride: divide by it before you add 1."
            ),
            Mistake(
                _macs_on_input_pixels,
                "You multiplied by the input's pixels. A weight works "
                "once per output pixel: stride 2 makes that a quarter.",
            ),
            Mistake(
                _macs_without_groups,
                "Right for groups=1. With groups a filter reads only "
                "in_channels // groups channels.",
            ),
            Mistake(
                _macs_groups_twice,
                "You divided by groups twice. Each filter gets thinner by "
                "groups, but there are still out_channels filters.",
            ),
            Mistake(
                _macs_of_one_row,
                "That is one row of the output. It has as many rows as columns: square its size.",
            ),
            Mistake(
                _macs_with_bias,
                "You counted the bias. Adding it is no multiplication; this "
                "course leaves it out of MACs.",
            ),
            Mistake(
                _flops,
                "That is FLOPs. One MAC is a multiplication and an addition: 1 MAC = 2 FLOPs.",
            ),
        ),
        hints=(
            "MACs = weights x output pixels.",
            "The output's size first: (size + 2 * padding - kernel) // stride + 1.",
            "Weights: out_channels * (in_channels // groups) * kernel * kernel.",
        ),
        note="MACs = weights without bias x output pixels.",
    ),
    Exercise(
        "separable",
        "A depthwise separable block that is far too heavy",
        "spot the bug",
        6,
        Separable,
        observe=_observe_separable,
        mistakes=(
            Mistake(
                _SeparableAsGiven,
                "The shapes are right, the cost is not: the depthwise layer alone holds 36,864 "
                "weights. One 3x3 filter per channel would be 64 x 9 = 576.",
            ),
            Mistake(
                _GroupsOnThePointwise,
                "The groups went to the wrong layer: the 1x1 is there "
                "to mix the channels, the 3x3 must not.",
            ),
            Mistake(
                _GroupsOnBoth, "Now nothing mixes the channels: the 1x1 layer must see all of them."
            ),
            Mistake(
                _WithBias, "Right, but the block says without bias, and yours has one per filter."
            ),
        ),
        hints=(
            "Trace it: which of the two layers has more parameters than it should?",
            "What makes a convolution depthwise is a single argument of nn.Conv2d.",
            "groups=in_channels gives every channel its own filter.",
        ),
        note="No shape error will ever tell you: dense and depthwise layers have the same shapes. "
        "Count.",
    ),
    Exercise(
        "halve",
        "64 x 56 x 56 to 128 x 28 x 28 on a budget",
        "design",
        10,
        halve,
        observe=_observe_halving,
        mistakes=(
            Mistake(
                _halve_dense,
                "The right shape at too high a price: both budgets are broken. Count each layer "
                "by itself: a dense 3x3 pays 9 weights for every pair of channels, a 1x1 pays one.",
            ),
            Mistake(
                _halve_too_late,
                "Only the MACs are too many: a layer works at all 56 x 56 "
                "pixels. Shrink first; then there are a quarter of them.",
            ),
            Mistake(
                _halve_skipping,
                "Cheap, because it looks away: some input pixels are never "
                "read. (A 1x1 with stride 2, for one, reads one in four.)",
            ),
            Mistake(
                _halve_grouped,
                "Cheap, but some output channels do not see every input channel (with groups, each "
                "sees only its own). Something must mix all channels.",
            ),
            Mistake(
                _halve_not,
                "The size is still 56: one of the layers needs stride 2, and that "
                "will also cut the MACs.",
            ),
        ),
        hints=(
            "Two jobs: shrink the image, and mix the channels. They need not be one layer.",
            "A depthwise layer shrinks for 64 x 9 weights. Which layer mixes all channels for "
            "the fewest weights?",
            "Depthwise 3x3 with stride 2 and padding 1, then 1x1 from 64 to 128.",
        ),
        note="Shrink first, then mix: 8,960 parameters and 6.9 million MACs. An average pooling "
        "and a 1x1 would do as well.",
    ),
)
