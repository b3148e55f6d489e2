"""Exercises of chapter 03, small kernels."""

from __future__ import annotations

import torch
from torch import nn

from cnnlab.arithmetic import conv_params, stack_kernel
from cnnlab.course.exercises.exercise import Exercise, Exercises, Mistake
from cnnlab.course.exercises.judge import at_least, at_most
from cnnlab.course.exercises.sandbox import called, output_of, reads_of

# -- break_even: the largest hidden width that still saves weights


def break_even(inputs, outputs, small):
    large = 2 * small - 1
    budget = large**2 * inputs * outputs  # one large kernel
    per_hidden = small**2 * (inputs + outputs)  # what each hidden channel costs
    return (budget - 1) // per_hidden  # strictly below the budget


def _equal_counts_as_saving(inputs, outputs, small):
    return (2 * small - 1) ** 2 * inputs * outputs // (small**2 * (inputs + outputs))


def _first_layer_only(inputs, outputs, small):
    return ((2 * small - 1) ** 2 * inputs * outputs - 1) // (small**2 * inputs)


def _all_widths_equal(inputs, outputs, small):
    return ((2 * small - 1) ** 2 * inputs - 1) // (2 * small**2)


def _one_above(inputs, outputs, small):
    return break_even(inputs, outputs, small) + 1


# -- shared_layer: a list multiplied instead of layers made


def _same_layer_three_times(channels, layers):
    return nn.Sequential(
        *[nn.Conv2d(channels, channels, 3, padding=1, bias=False), nn.ReLU()] * layers
    )


def stack(channels, layers):
    modules = []
    for _ in range(layers):
        modules += [nn.Conv2d(channels, channels, 3, padding=1, bias=False), nn.ReLU()]
    return nn.Sequential(*modules)


def _without_relu(channels, layers):
    convolutions = [nn.Conv2d(channels, channels, 3, padding=1, bias=False) for _ in range(layers)]
    return nn.Sequential(*convolutions)


def _without_padding(channels, layers):
    modules = []
    for _ in range(layers):
        modules += [nn.Conv2d(channels, channels, 3, bias=False), nn.ReLU()]
    return nn.Sequential(*modules)


def _with_bias(channels, layers):
    modules = []
    for _ in range(layers):
        modules += [nn.Conv2d(channels, channels, 3, padding=1), nn.ReLU()]
    return nn.Sequential(*modules)


def _observe_stack(build):
    if not callable(build) or isinstance(build, nn.Module):
        raise ValueError("give the function itself, without calling it")
    model = called(build, stack, 8, 3)
    if not isinstance(model, nn.Module):
        raise ValueError(
            f"the function gives a {type(model).__name__}, expected an nn.Module; "
            "return nn.Sequential(*modules)"
        )
    if isinstance(model, nn.ModuleList):
        raise ValueError(
            "a ModuleList only holds layers, it does not run them; return nn.Sequential(*modules)"
        )
    reads = reads_of(m for m in model.modules() if isinstance(m, nn.Conv2d))
    output = output_of(model, torch.rand(1, 8, 12, 12))
    return {
        "convolutions that run in stack_of(8, 3)": len(reads),
        "weights of stack_of(8, 3)": sum(p.numel() for p in model.parameters()),
        "shape for an input of (1, 8, 12, 12)": tuple(output.shape),
        "there is a ReLU between the layers": not any((x < 0).any() for x in reads[1:]),
        "weights of stack_of(4, 2)": sum(p.numel() for p in build(4, 2).parameters()),
    }


# -- budget: a block from 64 to 64 channels on 28 x 28

BUDGET_WEIGHTS, BUDGET_VALUES = 110_000, 150_000


def _observe_budget(answer):
    if not isinstance(answer, (list, tuple)) or not answer:
        raise ValueError(
            "give a list of (kernel, output channels), one pair per layer, such as "
            "[(3, 32), (3, 64)]"
        )
    view, weights, values, before = 1, 0, 0, 64
    for layer in answer:
        if not isinstance(layer, (list, tuple)) or len(layer) != 2:
            raise ValueError(f"a layer is a pair (kernel, output channels), got {layer!r}")
        kernel, after = layer
        if type(kernel) is not int or type(after) is not int or kernel < 1 or after < 1:
            raise ValueError(f"kernel and channels are whole numbers from 1, got {layer!r}")
        if kernel % 2 == 0:
            raise ValueError(f"kernel {kernel} is even: no equal padding keeps the size")
        view += kernel - 1
        weights += conv_params(before, after, kernel, bias=False)
        values += after * 28 * 28
        before = after
    return {
        "the last layer has 64 output channels": before == 64,
        "the view is at least 9 x 9": at_least(view, 9),
        f"at most {BUDGET_WEIGHTS:,} weights": at_most(weights, BUDGET_WEIGHTS),
        f"at most {BUDGET_VALUES:,} stored values": at_most(values, BUDGET_VALUES),
    }


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
        8,
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
        "shared_layer",
        "A stack that is suspiciously cheap",
        "spot the bug",
        6,
        stack,
        observe=_observe_stack,
        mistakes=(
            Mistake(
                _same_layer_three_times,
                "Still the same layer, three times: `[layer] * 3` repeats the object, so 9 * 8 * "
                "8 = 576 weights are shared by all. Make a new layer in each turn.",
            ),
            Mistake(
                _without_relu,
                "The weights are right now, but there is no ReLU between the "
                "layers. With nothing there, this is one 7x7 in disguise.",
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
                "You see far enough, but both budgets are broken: too many wide layers. Only "
                "the last one must have 64 channels; those in the middle may be narrower.",
            ),
            Mistake(
                [(9, 64)],
                "You see far enough and store little, but there are too many weights: they "
                "grow with the kernel's area and with both widths. Narrow the middle, or "
                "stack smaller kernels.",
            ),
            Mistake(
                [(3, 32), (3, 64)],
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
