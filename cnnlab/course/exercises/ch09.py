"""Exercises of chapter 09, DenseNet."""

from __future__ import annotations

from cnnlab.course.exercises.ch09_answers import (
    DenseLayer,
    TwoLayers,
    _also_after_the_last,
    _ClonesAtTheDoor,
    _ForgetsItsInput,
    _GivesOnlyTheNew,
    _more,
    _NormsBehind,
    _observe_budget,
    _observe_layer,
    _observe_polite,
    _only_new_channels_compressed,
    _OverwritesItsInput,
    _rounded_up,
    _SecondNormBehindRelu,
    _without_the_input,
    _WithoutBottleneck,
    _WithoutFirstRelu,
    _WithoutReLU,
    _WithoutSecondRelu,
    _WritesBefore,
    widths,
)
from cnnlab.course.exercises.exercise import Exercise, Exercises, Mistake

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
        "dense_layer",
        "A layer that reads everything",
        "implement",
        8,
        DenseLayer,
        observe=_observe_layer,
        mistakes=(
            Mistake(
                _GivesOnlyTheNew,
                "Those are the new channels alone. What came in has to come out as well: write "
                "the new ones beside it.",
            ),
            Mistake(_WritesBefore, "The new channels stand before the old ones; put them behind."),
            Mistake(_WithoutFirstRelu, "The ReLU before the 1x1 is missing."),
            Mistake(_WithoutSecondRelu, "The ReLU before the 3x3 is missing."),
            Mistake(
                _SecondNormBehindRelu,
                "The second norm stands behind its ReLU. It comes before: norm2, ReLU, conv2.",
            ),
            Mistake(
                _NormsBehind,
                "Norm and ReLU stand *before* each convolution here, as in pre-activation.",
            ),
            Mistake(
                _WithoutBottleneck,
                "That is a layer without bottleneck: a 1x1 to 4 * growth channels comes first.",
            ),
        ),
        hints=(
            "norm1, ReLU, conv1; norm2, ReLU, conv2. The first norm has `inputs` channels.",
            "torch.cat([x, y], dim=1) puts the channels of y beside those of x.",
        ),
        note="What came in comes out unchanged, with `growth` channels beside it. A dense block is "
        "such layers in a row.",
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
        more=_more,
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
                "The fault is still there: something, as given `inplace=True`, writes over x, "
                "which the second layer, the output and the caller still want to read.",
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
                "It sees far enough and its weights fit, but it keeps too much. Every layer "
                "keeps twice what it reads, and with bottleneck 8k more.",
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
