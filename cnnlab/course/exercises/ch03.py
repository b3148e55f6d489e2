"""Exercises of chapter 03, small kernels."""

from __future__ import annotations

from cnnlab.arithmetic import stack_kernel
from cnnlab.course.exercises.ch03_answers import (
    _all_widths_equal,
    _always_three,
    _equal_counts_as_saving,
    _first_layer_only,
    _last_pair_left_out,
    _more,
    _no_bias,
    _no_relu_at_all,
    _not_padded,
    _observe_budget,
    _observe_stack,
    _observe_written,
    _one_above,
    _padded_for_three,
    _relu_only_between,
    _same_layer_three_times,
    _with_bias,
    _without_padding,
    _without_relu,
    break_even,
    stack,
    stack_of,
)
from cnnlab.course.exercises.exercise import Exercise, Exercises, Mistake

exercises = Exercises(
    Exercise(
        "view",
        "How far four 3x3 layers see",
        "recall",
        2,
        stack_kernel(4, 3),
        mistakes=(
            Mistake(
                12,
                "You added the kernels. Each layer after the first adds only the 2 pixels "
                "by which a 3x3 reaches beyond its center.",
            ),
            Mistake(
                8,
                "Each of the four layers adds 2 pixels, but you began from nothing: before "
                "any layer a pixel already sees itself.",
            ),
            Mistake(81, "That is the whole square. Give the side K of the K x K view."),
        ),
        hints=("Two layers see 5 pixels, three see 7.", "K = n (k - 1) + 1."),
        note="K = n (k - 1) + 1: each 3x3 adds 2 to the side of the view.",
        working="4 * (3 - 1) + 1",
    ),
    Exercise(
        "deep_stem",
        "Weights of a stem of three 3x3, without bias",
        "compute",
        4,
        28512,
        mistakes=(
            Mistake(9408, "That is the single 7x7 from 3 to 64. Asked for: the three 3x3."),
            Mistake(28640, "That is with bias: 32 + 32 + 64 too many."),
            Mistake(
                5184,
                "27 * 3 * 64 treats all layers as 3 to 64. The three layers go from 3 to "
                "32, from 32 to 32 and from 32 to 64.",
            ),
            Mistake(19296, "One of the three layers is missing: 3 to 32, 32 to 32, 32 to 64."),
        ),
        hints=(
            "Write down input and output channels of each layer.",
            "9 * 3 * 32 + 9 * 32 * 32 + ...",
        ),
        note="28,512 against 9,408 for one 7x7 from 3 to 64: three times the weights. A stack at "
        "the image itself is bought for accuracy, not for cost.",
        working="9 * (3 * 32 + 32 * 32 + 32 * 64)",
    ),
    Exercise(
        "break_even",
        "The widest middle that still saves weights",
        "implement",
        6,
        break_even,
        cases=(
            (128, 128, 3),
            (3, 64, 3),
            (64, 128, 3),
            (18, 18, 3),
            (3, 96, 4),
            (64, 64, 4),
            (128, 128, 2),
        ),
        more=_more,
        mistakes=(
            Mistake(
                _equal_counts_as_saving,
                "Nearly: at exactly the same number of weights "
                "nothing is saved. Try 18 in, 18 out: 25 is a tie.",
            ),
            Mistake(
                _first_layer_only,
                "The hidden width is paid twice: as output of the first "
                "layer and as input of the second.",
            ),
            Mistake(_all_widths_equal, "That takes the output as wide as the input. Keep both."),
            Mistake(_one_above, "One too many: that is the first width that does not save."),
        ),
        hints=(
            "Each hidden channel costs k*k weights per input channel and k*k per output channel.",
            "The large kernel has (2k - 1)^2 * inputs * outputs weights. How many hidden "
            "channels fit below that?",
            "Strictly below: use (budget - 1) // cost_of_one_hidden_channel.",
        ),
        note="Stack of two: h < K^2 a b / (k^2 (a + b)), so a thin side decides.",
    ),
    Exercise(
        "stack",
        "A stack of convolutions, as a function",
        "implement",
        6,
        stack,
        observe=_observe_written,
        mistakes=(
            Mistake(
                _no_relu_at_all,
                "The weights are right, but there is no ReLU. Without it the stack is one large "
                "kernel.",
            ),
            Mistake(
                _relu_only_between,
                "Nearly: VGG has a ReLU after the last convolution, too, not only between them.",
            ),
            Mistake(
                _not_padded,
                "The maps shrink by kernel - 1 in each layer: pad with kernel // 2 on each side.",
            ),
            Mistake(
                _padded_for_three,
                "Right for 3x3. With kernel 5 a padding of 1 is too little: kernel // 2 fits any "
                "odd kernel.",
            ),
            Mistake(_no_bias, "VGG's convolutions have a bias: leave bias=True, the default."),
            Mistake(_always_three, "`kernel` is not used: stack((4, 6), 5) has a 5x5."),
            Mistake(
                _last_pair_left_out,
                "One layer too few: n widths make n - 1 layers, the last one too.",
            ),
        ),
        hints=(
            "zip(widths, widths[1:]) gives the pairs (before, after).",
            "In each turn append two layers: nn.Conv2d(before, after, kernel, "
            "padding=kernel // 2) and nn.ReLU().",
        ),
        note="A stage of VGG is this loop. What makes it VGG is the list of widths.",
    ),
    Exercise(
        "shared_layer",
        "A stack that is suspiciously cheap",
        "spot the bug",
        6,
        stack_of,
        observe=_observe_stack,
        mistakes=(
            Mistake(
                _same_layer_three_times,
                "Still the same layer, three times: `[layer] * 3` repeats the object, so 9 * 8 * "
                "8 = 576 weights are shared by all. Make a new layer in each turn.",
            ),
            Mistake(
                _without_relu,
                "The weights are right now, but not every layer has a ReLU before the next. "
                "Convolutions with nothing between are one larger kernel in disguise.",
            ),
            Mistake(
                _without_padding,
                "The layers are new ones, but each loses a border of one pixel: keep padding=1.",
            ),
            Mistake(
                _with_bias, "The layers are new ones, but they have gained a bias: keep bias=False."
            ),
        ),
        hints=(
            "Compare sum(p.numel() for p in model.parameters()) with 9 * 8 * 8 * 3.",
            "What does [a, b] * 3 do: three copies, or three times the same?",
            "Make the layers in a for loop.",
        ),
        note="`[layer] * n` is one layer used n times: shapes and output look right, and only the "
        "count of weights tells.",
    ),
    Exercise(
        "budget",
        "A 9 x 9 view under two budgets",
        "design",
        8,
        [(3, 32), (3, 32), (3, 32), (3, 64)],
        observe=_observe_budget,
        mistakes=(
            Mistake(
                [(3, 64), (3, 64), (3, 64), (3, 64)],
                "You see far enough, but both budgets are broken: take fewer layers, smaller "
                "kernels or a narrower middle. Only the last one must have 64 channels.",
            ),
            Mistake(
                [(9, 64)],
                "You see far enough and store little, but there are too many weights: they "
                "grow with the kernel's area and with both widths. Narrow the middle, or "
                "stack smaller kernels.",
            ),
            Mistake(
                [(3, 32), (3, 32), (3, 64)],
                "Cheap, but short-sighted: each k x k adds only k - 1 to the side of the view.",
            ),
        ),
        hints=(
            "Add up what a 9 x 9 view needs: the kernels minus one must sum to 8.",
            "Only the last layer must have 64 channels. What does a middle of 32 cost?",
            "Two 5x5 through 32 channels also fit: fewer layers, fewer stored values.",
        ),
        note="Four 3x3 through 32 channels: 55,296 weights, 125,440 values. Two 5x5 through 32: "
        "102,400 weights, 75,264 values. Which is better depends on what you lack.",
    ),
)
