"""Exercises of chapter 06, Inception and GoogLeNet."""

from __future__ import annotations

from cnnlab.arithmetic import conv_params
from cnnlab.course.exercises.ch06_answers import (
    EqualBranches,
    MyInception,
    NaiveModule,
    _AddedBranches,
    _AveragePooling,
    _bias_of_the_first_only,
    _bias_of_the_second_only,
    _biases_added,
    _BothFaults,
    _BranchesReversed,
    _FirstBranchTwice,
    _FiveBeforeThree,
    _NoBias,
    _NoPadding,
    _NoPooling,
    _NoReduction,
    _NoRelu,
    _NoReluBetween,
    _NoReluInFive,
    _NoReluInThree,
    _observe_axis,
    _observe_collapse,
    _observe_module,
    _observe_naive,
    _OtherOrder,
    _PoolingAverages,
    _PoolingIsConvolution,
    _PoolingKeepsAll,
    _ProjectionFirst,
    _ReLULost,
    _StackedBatch,
    _still_two,
    _weights_in_the_wrong_order,
    _without_bias,
    _wrong_order,
    _WrongNames,
    _WrongPaddingName,
    collapse,
)
from cnnlab.course.exercises.exercise import Exercise, Exercises, Mistake
from cnnlab.course.exercises.judge import at_least, at_most

# -- budget: another row for module 3b

BUDGET = 194_048  # half of module 3b's weights


def _observe_budget(answer):
    if not isinstance(answer, (list, tuple)) or len(answer) != 6:
        raise ValueError("give six numbers: 1x1, 3x3 reduce, 3x3, 5x5 reduce, 5x5, pool projection")
    if not all(type(width) is int and width >= 1 for width in answer):
        raise ValueError(f"widths are whole numbers from 1, got {tuple(answer)!r}")
    n1x1, n3x3_reduce, n3x3, n5x5_reduce, n5x5, pool_proj = answer
    weights = sum(
        conv_params(a, b, k, bias=False)
        for a, b, k in (
            (256, n1x1, 1),
            (256, n3x3_reduce, 1),
            (n3x3_reduce, n3x3, 3),
            (256, n5x5_reduce, 1),
            (n5x5_reduce, n5x5, 5),
            (256, pool_proj, 1),
        )
    )
    return {
        "channels that come out": n1x1 + n3x3 + n5x5 + pool_proj,
        "at least 64 channels of the 1x1": at_least(n1x1, 64),
        "at least 32 channels of the pool projection": at_least(pool_proj, 32),
        "at least 128 channels of the 3x3": at_least(n3x3, 128),
        "at least 64 channels of the 5x5": at_least(n5x5, 64),
        "3x3 reduction at least a third of its branch": at_least(n3x3_reduce, n3x3 / 3),
        "5x5 reduction at least a third of its branch": at_least(n5x5_reduce, n5x5 / 3),
        f"at most {BUDGET:,} weights (which layer costs most?)": at_most(weights, BUDGET),
    }


exercises = Exercises(
    Exercise(
        "width",
        "Channels that leave a module",
        "recall",
        2,
        504,
        mistakes=(
            Mistake(
                608,
                "All six numbers add up to that. The two reductions stay inside the module: "
                "only what a branch ends with is concatenated.",
            ),
            Mistake(
                912,
                "That is what it would be with all 480 channels behind the pooling, as in the "
                "naive module. Here a 1x1 after the pooling brings them down to 72.",
            ),
            Mistake(
                432,
                "That is 72 too few: as many as the 1x1 behind the pooling gives. What each of the "
                "four branches ends with is concatenated, and nothing else.",
            ),
        ),
        hints=(
            "Which of the six numbers are the last ones of their branch?",
            "1x1 + 3x3 + 5x5 + pool projection.",
        ),
        note="Width = n1x1 + n3x3 + n5x5 + pool_proj. The reductions set the cost, not the width.",
        working="176 + 200 + 56 + 72",
    ),
    Exercise(
        "branch",
        "Weights of the 5x5 branch of module 5b, without bias",
        "compute",
        4,
        193536,
        mistakes=(
            Mistake(
                2662400,
                "That is the direct 5x5 from 832 to 128. The module goes through 48 "
                "channels first.",
            ),
            Mistake(193712, "That is with bias: 48 + 128 too many."),
            Mistake(153600, "The 1x1 in front is missing: 832 * 48."),
            Mistake(95232, "That is torchvision's version, with a 3x3 instead of the 5x5."),
        ),
        hints=(
            "The branch has two convolutions. Write down the channels before and after each.",
            "832 * 48 + 48 * 128 * ...",
        ),
        note="Through 48 channels the 5x5 costs 14 times less than without: 193,536 against "
        "2,662,400.",
        working="832 * 48 + 48 * 128 * 25",
    ),
    Exercise(
        "module",
        "The Inception module",
        "implement",
        8,
        MyInception,
        observe=_observe_module,
        mistakes=(
            Mistake(_NoRelu, "Parameters and shapes are right. But no convolution has its ReLU."),
            Mistake(
                _NoReluBetween,
                "Parameters and shapes are right. But between the 1x1 and the 3x3, and between the "
                "1x1 and the 5x5, the ReLU is missing: without it the two are one layer.",
            ),
            Mistake(
                _PoolingKeepsAll,
                "The pooling passes all input channels on. A 1x1 behind it, to row.pool_proj "
                "channels, brings them down.",
            ),
            Mistake(
                _ProjectionFirst,
                "The 1x1 stands before the pooling. In the paper's figure 2(b) it stands behind.",
            ),
            Mistake(
                _NoReduction,
                "That is the naive 3x3 and 5x5, on all input channels. A 1x1 with its ReLU goes "
                "before each: row.n3x3_reduce and row.n5x5_reduce channels.",
            ),
            Mistake(
                _NoReluInThree,
                "Behind the 1x1 before the 3x3 the ReLU is missing: without it the two are one "
                "layer.",
            ),
            Mistake(
                _NoReluInFive,
                "Behind the 1x1 before the 5x5 the ReLU is missing: without it the two are one "
                "layer.",
            ),
            Mistake(_PoolingAverages, "The pooling takes the mean. The paper's takes the maximum."),
            Mistake(_NoBias, "The convolutions have no bias. The paper's have one: leave it on."),
            Mistake(
                _BranchesReversed,
                "Everything is there, concatenated in another order. The course has 1x1, 3x3, "
                "5x5, pooling.",
            ),
            Mistake(
                _FiveBeforeThree,
                "Everything is there, but the 5x5 stands before the 3x3. The course has 1x1, 3x3, "
                "5x5, pooling.",
            ),
        ),
        hints=(
            "Four branches, each assigned to self. Write one small function that gives a "
            "convolution and its ReLU, padded by kernel // 2.",
            "The 3x3 branch: nn.Sequential(conv(inputs, row.n3x3_reduce, 1), "
            "conv(row.n3x3_reduce, row.n3x3, 3)).",
            "The pooling: nn.MaxPool2d(3, stride=1, padding=1), then conv(inputs, row.pool_proj, "
            "1). At the end torch.cat(four outputs, dim=1).",
        ),
        note="Four branches, three 1x1 that reduce, one concatenation: all of Inception.",
    ),
    Exercise(
        "collapse",
        "Two linear layers that are one",
        "implement",
        10,
        collapse,
        observe=_observe_collapse,
        mistakes=(
            Mistake(
                _bias_of_the_second_only,
                "The weights are right, but the first layer's bias "
                "is lost. It passes through the second layer too.",
            ),
            Mistake(
                _bias_of_the_first_only,
                "Nearly: the first layer's bias arrives as it should, but the second layer's own, "
                "second.bias, is missing.",
            ),
            Mistake(
                _without_bias,
                "The weights are right, the bias is missing: for an input of "
                "zeros the two layers do not give zeros.",
            ),
            Mistake(
                _biases_added,
                "Nearly: the first layer's bias arrives through the second "
                "layer's weights, so it is multiplied by them.",
            ),
            Mistake(
                _wrong_order,
                "The matrices are in the wrong order. The second layer acts on "
                "what the first gives: second.weight @ first.weight.",
            ),
            Mistake(
                _weights_in_the_wrong_order,
                "The bias is right. The matrices are in the wrong order: the second layer acts on "
                "what the first gives, second.weight @ first.weight.",
            ),
            Mistake(_still_two, "That still is two layers. Return one nn.Linear."),
        ),
        hints=(
            "Write it down: W2 (W1 x + b1) + b2. What stands before x, and what does not?",
            "weight: second.weight @ first.weight",
            "bias: second.weight @ first.bias + second.bias; copy both with .copy_() inside "
            "`with torch.no_grad():`",
        ),
        note="Without a non-linearity between, two layers are one. From 1024 through 512 to 1000 "
        "they have 1,037,800 parameters with bias and do less than one layer of 1,025,000 "
        "could: their product has rank 512 at most. A ReLU between is the repair.",
    ),
    Exercise(
        "naive_module",
        "A module that does not even begin",
        "spot the bug",
        6,
        NaiveModule,
        observe=_observe_naive,
        mistakes=(
            Mistake(
                _WrongNames,
                "It stops before it sees an image: nn.Conv2d has no `kernel`, nor "
                "a `pad` if you still have it. What are they called? Correct "
                "them, then check again: what follows has not run yet.",
            ),
            Mistake(
                _WrongPaddingName,
                "It stops before it sees an image: nn.Conv2d has no `pad`. What is it called?",
            ),
            Mistake(
                _FirstBranchTwice,
                "Now it runs, and gives 352 channels instead of 416. 64 + 64 + 32 + 192: which "
                "branch speaks twice, and which one is never asked?",
            ),
            Mistake(
                _NoPadding,
                "The second branch gives a smaller map than the first, and maps of different "
                "sizes cannot be concatenated. Has the 3x3 lost its padding?",
            ),
            Mistake(
                _OtherOrder,
                "All four branches are there, in another order. Keep 1x1, 3x3, "
                "5x5, pooling: whoever loads your weights relies on it.",
            ),
        ),
        hints=(
            "Read the error from its end: which word does it not know?",
            "help(nn.Conv2d): kernel_size and padding.",
            "Then print the output's shape and take 352 apart.",
        ),
        note="A wrong keyword stops at once. A branch used twice runs, has the right parameters, "
        "and only the number of channels tells.",
    ),
    Exercise(
        "wrong_axis",
        "Six images out of two",
        "spot the bug",
        6,
        EqualBranches,
        observe=_observe_axis,
        mistakes=(
            Mistake(
                _BothFaults,
                "Two images go in, six come out: torch.cat joins along axis 0, "
                "the batch, unless you say otherwise. Equal widths hid it: "
                "nothing complained. Mend it, then count the parameters.",
            ),
            Mistake(
                _StackedBatch,
                "The pooling is right. But two images go in and six come out: "
                "along which axis do branches belong?",
            ),
            Mistake(
                _PoolingIsConvolution,
                "The shape is right now. But there are 5,208 parameters too many: the third "
                "branch should pool, and a pooling has none.",
            ),
            Mistake(
                _AddedBranches,
                "You added the branches: 16 channels come out. Put them next to each other: 48.",
            ),
            Mistake(
                _NoPooling,
                "The 3x3 convolution is gone, but nothing pools now. Put a 3x3 max "
                "pooling, stride 1 and padded, before the 1x1.",
            ),
            Mistake(
                _AveragePooling,
                "An average pooling has no weights either, but the module's "
                "third branch takes the maximum.",
            ),
            Mistake(
                _ReLULost,
                "The ReLU between the 1x1 and the 3x3 is gone: without it the two "
                "are one convolution.",
            ),
        ),
        hints=(
            "Feed it two images. What is the first number of the output's shape?",
            "torch.cat(..., dim=1) joins channels.",
            "The third branch: nn.MaxPool2d(3, stride=1, padding=1), then the 1x1.",
        ),
        note="torch.cat joins along the batch by default. With branches of equal width nothing "
        "fails at once; the loss function sees too many images later, or never.",
    ),
    Exercise(
        "budget",
        "A module 3b at half the price",
        "design",
        8,
        (176, 48, 128, 24, 64, 112),
        observe=_observe_budget,
        mistakes=(
            Mistake(
                (192, 16, 128, 8, 64, 96),
                "Cheap, but a reduction is narrower than a third of its branch: many channels "
                "made of few mixtures.",
            ),
            Mistake(
                (256, 64, 64, 32, 32, 128),
                "Too little looks around: keep 128 channels of the 3x3 and 64 of the 5x5.",
            ),
        ),
        hints=(
            "A channel of the 1x1 or of the pool projection costs 256 weights. What does one of "
            "the 3x3 cost through 64?",
            "Take the 3x3 and the 5x5 as narrow as allowed, the reductions a little above a "
            "third of that.",
            "480 - 128 - 64 = 288 channels are left for the 1x1 and the projection.",
        ),
        note="The k x k branches set the price: keep them narrow, and fill up with 1x1.",
    ),
)
