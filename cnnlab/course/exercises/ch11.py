"""Exercises of chapter 11, Leaner and wider."""

from __future__ import annotations

from cnnlab.course.exercises.ch11_answers import (
    Inverted,
    Separable,
    _ActivatedEnd,
    _always_up,
    _AsGiven,
    _biased,
    _dense_instead,
    _DenseLook,
    _DenseMiddle,
    _half_is_enough,
    _large_stem,
    _MixesInPairs,
    _more,
    _NoShortcut,
    _nothing_between,
    _observe_fault,
    _observe_inverted,
    _observe_v1,
    _one_activation,
    _one_level_more,
    _PlainReLU,
    _ReluAfterSum,
    _ShortcutByWidth,
    _ShortcutByWidthTurned,
    _strided_mixing,
    _StridedWidening,
    _twice_the_depth,
    fitting,
    mobilenet,
)
from cnnlab.course.exercises.exercise import Exercise, Exercises, Mistake

exercises = Exercises(
    Exercise(
        "groups",
        "The most groups from 48 to 72 channels",
        "recall",
        2,
        24,
        mistakes=(
            Mistake(48, "48 groups split the input, but 72 outputs cannot be shared among them."),
            Mistake(72, "72 groups would need at least 72 input channels."),
            Mistake(144, "That is the least common multiple; what must divide both is asked."),
            Mistake(12, "12 divides both, but it is not the largest number that does."),
            Mistake(2, "2 divides both, but it is not the largest number that does."),
        ),
        hints=("Each group has as many inputs as every other, and as many outputs.",),
        note="Groups must divide both widths: at most their greatest common divisor. A group then "
        "reads 2 channels and writes 3.",
        working="import math; math.gcd(48, 72)",
    ),
    Exercise(
        "pair",
        "Weights of a separable 5x5 from 64 to 128 channels",
        "compute",
        2,
        9792,
        mistakes=(
            Mistake(
                204800, "That is one dense 5x5. Look around in each channel alone, then mix by 1x1."
            ),
            Mistake(8192, "That is the 1x1 alone. Each of the 64 channels has a 5x5 of its own."),
            Mistake(1600, "That is the 5x5 alone. The 1x1 from 64 to 128 is missing."),
            Mistake(
                11392,
                "You look around in 128 channels: there are 64 when the 5x5 works, the 1x1 makes "
                "128 of them afterwards.",
            ),
            Mistake(9984, "You counted biases; the chapter counts without."),
            Mistake(8768, "That is a 3x3; a 5x5 has 25 weights in each channel."),
        ),
        hints=("25 weights for each of the 64 input channels.", "And 64 * 128 for the 1x1."),
        note="A dense 5x5 has 204,800: 20.9 times as many.",
        working="64 * 25 + 64 * 128",
    ),
    Exercise(
        "field",
        "What a small U-Net sees",
        "compute",
        4,
        60,
        mistakes=(
            Mistake(
                44,
                "That is what the bottom sees, before the way up. (The U-Net of the table sees 44, "
                "too, but this is another one.)",
            ),
            Mistake(
                52,
                "8 are missing: the third 3x3 at the bottom adds 8, and the last two 5x5, on full "
                "size, add 4 each.",
            ),
            Mistake(
                56,
                "On the way up the pixels of the second level are two apart: its two 3x3 add 4 "
                "each, not 2.",
            ),
            Mistake(30, "That is with one pooling. With two there is a level below it."),
            Mistake(31, "That is all on full size. Below a pooling each step is two pixels."),
        ),
        hints=(
            "Down: two 5x5 see 9. A 2x2 pooling adds 1, and from then on a step is 2 pixels.",
            "9, 10, then two 3x3 at step 2: 18; pooling 20; bottom, three at step 4: 44.",
            "An up-convolution sees no further. Two 3x3 at step 2 add 8, two 5x5 at step 1 add 8.",
        ),
        note="Most of it comes from the bottom, where few pixels are computed.",
        working="1 + 8 + 1 + 8 + 2 + 24 + 8 + 8",
    ),
    Exercise(
        "v1",
        "MobileNet v1 from its table",
        "implement",
        8,
        mobilenet,
        observe=_observe_v1,
        mistakes=(
            Mistake(
                _dense_instead,
                "The 3x3 convolutions are dense: each channel must look around for itself, "
                "groups=width.",
            ),
            Mistake(
                _strided_mixing,
                "The stride stands on the 1x1, which skips three of four pixels unseen. It belongs "
                "on the 3x3.",
            ),
            Mistake(
                _nothing_between,
                "Batch norm and ReLU are missing between the depthwise 3x3 and its 1x1: each "
                "convolution has its own.",
            ),
            Mistake(
                _one_activation,
                "A ReLU is missing between the depthwise 3x3 and its 1x1: norm and ReLU follow "
                "each of the two.",
            ),
            Mistake(_large_stem, "The stem must have stride 2: it halves the image."),
            Mistake(_biased, "A norm follows each convolution: bias=False."),
        ),
        hints=(
            "A helper conv(before, after, kernel, stride, groups) that gives the three layers.",
            "For each (stride, after): conv(width, width, 3, stride, groups=width), then "
            "conv(width, after, 1), then width = after.",
            "At the end nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(width, classes).",
        ),
        note="Given the paper's table, width 32 and 1,000 classes, this is MobileNet v1: 4,231,976 "
        "parameters.",
    ),
    Exercise(
        "inverted",
        "The block of MobileNet v2",
        "implement",
        6,
        Inverted,
        observe=_observe_inverted,
        mistakes=(
            Mistake(
                _ActivatedEnd,
                "An activation stands on the narrow end: there it destroys most. The last 1x1 has "
                "a norm and nothing behind it.",
            ),
            Mistake(
                _NoShortcut,
                "The shortcut is missing: where stride is 1 and both widths are equal, x is added.",
            ),
            *(
                Mistake(
                    block,
                    "At stride 2 the map shrinks, so that x cannot be added: not only the widths "
                    "must be equal, the stride must be 1 as well.",
                )
                for block in (_ShortcutByWidth, _ShortcutByWidthTurned)
            ),
            Mistake(_PlainReLU, "ReLU6, which also cuts off above 6, stands in v2."),
            Mistake(_DenseMiddle, "The 3x3 in the middle is dense; it must be depthwise."),
            Mistake(
                _StridedWidening,
                "The stride stands on the first 1x1, which skips three of four pixels unseen. It "
                "belongs on the 3x3.",
            ),
            Mistake(
                _ReluAfterSum, "No activation after the sum either: the narrow end stays linear."
            ),
        ),
        hints=(
            "wide = t * before. 1x1 to wide, 3x3 depthwise with the stride, 1x1 to after.",
            "Norm after each; nn.ReLU6() after the first two only.",
            "In forward: x + y only where stride == 1 and before == after.",
        ),
        note="Wide where it is cheap to be (depthwise), narrow and linear where it is joined.",
    ),
    Exercise(
        "sizes",
        "Images that fit a U-Net",
        "implement",
        4,
        fitting,
        cases=((572, 4), (100, 2), (255, 3), (64, 5), (77, 1), (33, 0)),
        more=_more,
        mistakes=(
            Mistake(
                _half_is_enough,
                "An even side survives one pooling. `depth` of them need a multiple of 2 ** depth.",
            ),
            Mistake(_twice_the_depth, "Each pooling halves again: 2 ** depth, not 2 * depth."),
            Mistake(
                _always_up, "A side that fits already is its own answer, downwards and upwards."
            ),
            Mistake(_one_level_more, "One pooling too many: the bottom is not halved."),
        ),
        hints=("step = 2 ** depth", "side - side % step is the largest one that fits below."),
        note="572 = 35 * 16 + 12 does not fit a padded U-Net of depth 4; it is made for the "
        "unpadded one.",
    ),
    Exercise(
        "fault",
        "A block that never mixes",
        "spot the bug",
        4,
        Separable,
        observe=_observe_fault,
        mistakes=(
            Mistake(
                _AsGiven,
                "Still there: follow one input channel to the output. Which other channels does "
                "it ever meet?",
            ),
            Mistake(
                _MixesInPairs, "The 1x1 is still grouped: half of the channels never meet the rest."
            ),
            Mistake(
                _DenseLook,
                "The 3x3 is dense now: that mixes, at nine times the price. The 1x1 must do it.",
            ),
        ),
        hints=(
            "Count the weights of `mix`: a 1x1 from 8 to 16 channels has 128.",
            "`groups` belongs to one of the two convolutions only.",
        ),
        note="Shapes, and training too, go on without an error. A count of the parameters tells.",
    ),
)
