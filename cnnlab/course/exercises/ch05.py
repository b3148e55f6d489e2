"""Exercises of chapter 05, VGG."""

from __future__ import annotations

from cnnlab.course.exercises.ch05_answers import (
    Sixteen,
    _below_zero,
    _Eleven,
    _fixed_for_each_image,
    _kept_as_values,
    _more,
    _Nineteen,
    _no_fixed_bill,
    _no_momentum,
    _no_pooling,
    _no_relu,
    _observe_layers,
    _observe_sixteen,
    _observe_small,
    _one_per_stage,
    _only_threes,
    _padded_by_one,
    _Thirteen,
    _unpadded,
    _weights_only,
    largest_batch,
    make_layers,
)
from cnnlab.course.exercises.exercise import Exercise, Exercises, Mistake

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
        "layers",
        "From a row of table 1 to layers",
        "implement",
        8,
        make_layers,
        observe=_observe_layers,
        mistakes=(
            Mistake(
                _padded_by_one,
                "Right for 3x3. In row C a 1x1 padded by 1 makes the map larger: kernel // 2 is "
                "1 for a 3x3 and 0 for a 1x1.",
            ),
            Mistake(_unpadded, "Each 3x3 shrinks the map by 2: pad by kernel // 2 on each side."),
            Mistake(
                _only_threes,
                "Row C has 1x1 kernels. Read the kernel from the row, also where it is a 3.",
            ),
            Mistake(_no_relu, "The parameters are right, but there is no ReLU."),
            Mistake(
                _no_pooling,
                "The poolings are missing: each stage ends in nn.MaxPool2d(2).",
            ),
            Mistake(
                _one_per_stage,
                "One convolution per stage. A stage is a tuple of kernels: loop over it, too.",
            ),
        ),
        hints=(
            "Two loops: for kernels, width in zip(stages, widths), and in it for kernel in "
            "kernels.",
            "What comes into a convolution is what the last one gave: keep it in `channels`.",
            "nn.Conv2d(channels, width, kernel, padding=kernel // 2), nn.ReLU(), then "
            "channels = width; after the inner loop nn.MaxPool2d(2).",
        ),
        note="Five rows, one function: the table is the architecture.",
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
        more=_more,
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
            "Which poolings may stay, if the last map is to be 4 x 4?",
            "Memory and MACs are spent early, parameters late. Which widths does each limit "
            "hold down?",
            "poolings=(1, 2, 3). An eighth of VGG's widths is a good start: (8, 16, 32, 64, 64).",
        ),
        note="Memory and MACs are decided by the first stages, parameters by the last ones. Each "
        "budget has its own place in the network.",
    ),
)
