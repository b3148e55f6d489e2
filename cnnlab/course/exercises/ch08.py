"""Exercises of chapter 08, ResNet and skip connections."""

from __future__ import annotations

from cnnlab.course.exercises.ch08_answers import (
    Block,
    PreBlock,
    ResidualBlock,
    _AddInPlace,
    _InPlace,
    _NoAddition,
    _NoLastRelu,
    _NoReluBetween,
    _NormForgotten,
    _NormGone,
    _observe_block,
    _observe_budget,
    _observe_pre_block,
    _observe_residual,
    _OnlyGrows,
    _ProjectsAlways,
    _ProjectsWhereChannelsChange,
    _ProjectsWhereChannelsChangeTurned,
    _ProjectsWithoutNorm,
    _ReluBeforeTheSum,
    _ReluDropped,
    _WithoutLastRelu,
    _WithoutReluBetween,
    _WithoutSkip,
)
from cnnlab.course.exercises.exercise import Exercise, Exercises, Mistake

exercises = Exercises(
    Exercise(
        "paths",
        "Paths that are left",
        "recall",
        2,
        64,
        mistakes=(
            Mistake(512, "That is all of them, 2 to the 9. Three blocks are gone."),
            Mistake(448, "Those are the paths that are gone: 512 minus the ones that are left."),
            Mistake(
                8,
                "That is 2 to the 3, the ways through the three deleted blocks. Count the "
                "ways through the others.",
            ),
            Mistake(
                6,
                "Six blocks are left. Each of them can be passed or skipped: how many "
                "combinations?",
            ),
        ),
        hints=("Each block that is left is passed or skipped.", "Two ways, six times over."),
        note="Each deletion halves the number of paths: 2 to the number of blocks that are left.",
        working="2 ** (9 - 3)",
    ),
    Exercise(
        "projections",
        "What option B adds to ResNet-56",
        "compute",
        4,
        2752,
        mistakes=(
            Mistake(
                2560,
                "Those are the two 1x1 convolutions. Each projection ends in a batch "
                "norm, with a scale and a shift per channel.",
            ),
            Mistake(
                2656,
                "A batch norm has two parameters per channel, scale and shift; you have "
                "counted one.",
            ),
            Mistake(23232, "A projection is a 1x1 convolution, not a 3x3."),
            Mistake(576, "That is the first projection alone; the shape changes twice."),
        ),
        hints=(
            "The shape changes twice: from 16 to 32 channels, from 32 to 64.",
            "A 1x1 without bias from a to b channels has a * b weights; the norm has 2 * b.",
        ),
        note="Option B adds 2,752 parameters to 853,018: a third of a percent. In a CIFAR ResNet "
        "the two options differ in principle more than in cost.",
        working="(16 * 32 + 2 * 32) + (32 * 64 + 2 * 64)",
    ),
    Exercise(
        "residual_block",
        "The residual block with a projection",
        "implement",
        8,
        ResidualBlock,
        observe=_observe_residual,
        mistakes=(
            Mistake(_WithoutSkip, "Nothing is added: that is the plain block. Where is x + y?"),
            Mistake(
                _ReluBeforeTheSum,
                "The last ReLU belongs after the addition. Inside the branch it makes every "
                "correction positive.",
            ),
            Mistake(_WithoutLastRelu, "The ReLU after the addition is missing."),
            Mistake(_WithoutReluBetween, "The ReLU between the two convolutions is missing."),
            Mistake(
                _ProjectsAlways,
                "There is a projection also where the shape stays. There the shortcut is x itself.",
            ),
            *(
                Mistake(
                    block,
                    "With stride 2 the map shrinks also where the channels stay: downsample is "
                    "needed if stride != 1 or before != after.",
                )
                for block in (_ProjectsWhereChannelsChange, _ProjectsWhereChannelsChangeTurned)
            ),
            Mistake(_ProjectsWithoutNorm, "The norm behind the 1x1 of the shortcut is missing."),
        ),
        hints=(
            "Write the plain block first: conv1, bn1, ReLU, conv2, bn2. Its result is y.",
            "self.downsample is None, or nn.Sequential of a 1x1 with the stride and a norm.",
            "return F.relu(x + y), where x has gone through downsample if there is one.",
        ),
        note="Two convolutions, an addition, a ReLU behind it. The shortcut has weights only "
        "where the shape changes.",
    ),
    Exercise(
        "only_grows",
        "A block that can only add",
        "spot the bug",
        6,
        Block,
        observe=_observe_block,
        mistakes=(
            Mistake(
                _OnlyGrows,
                "Still the ReLU at the end of the branch: a correction is never "
                "negative, and from block to block values can only grow.",
            ),
            Mistake(
                _NoLastRelu,
                "The correction may be negative now. But this is the paper's "
                "block, which ends with a ReLU *after* the addition.",
            ),
            Mistake(
                _NormForgotten,
                "The second batch norm is there, but the branch does not call it any more.",
            ),
            Mistake(_NormGone, "The batch norms are gone: each convolution is followed by one."),
            Mistake(
                _NoReluBetween,
                "The end is right. But the ReLU between the two convolutions is gone.",
            ),
            Mistake(_NoAddition, "Now the input is not added any more: that is a plain block."),
        ),
        hints=(
            "Look at the smallest value of output - input. Then at x + relu(...).",
            "Which sign can a correction have here?",
            "The last ReLU belongs after the addition.",
        ),
        note="With a ReLU as its last step a branch can only add. He et al. tried it at 110 layers "
        "(2016, figure 4c): it did worse than the original block.",
    ),
    Exercise(
        "in_place",
        "A shortcut that loses its negative half",
        "spot the bug",
        7,
        PreBlock,
        observe=_observe_pre_block,
        mistakes=(
            Mistake(
                _InPlace,
                "Still there: the in-place ReLU writes into x, and that is what the last line "
                "adds. A second name, s = x, is no copy, and a copy made after the ReLU comes too "
                "late.",
            ),
            Mistake(
                _AddInPlace,
                "The shortcut is whole, but something still writes into the "
                "tensor that the caller handed in: an in-place ReLU on x, or "
                "`x += ...`. Whoever uses it next gets other values.",
            ),
            Mistake(
                _ReluDropped,
                "The shortcut is whole, but the branch has lost its first "
                "ReLU. Keep it, not in place.",
            ),
        ),
        hints=(
            "Compare x before and after the call.",
            "What does inplace=True write into, the first time the ReLU is called?",
            "inplace=False, for the first ReLU at least.",
        ),
        note="In place is safe where nobody needs the value any more. The input of a residual "
        "block is needed twice. No shape and no error tells.",
    ),
    Exercise(
        "budget",
        "Fifty layers on a budget",
        "design",
        9,
        [(14, 8), (8, 32), (2, 64)],
        observe=_observe_budget,
        mistakes=(
            Mistake(
                [(9, 16), (9, 32), (9, 64)],
                "Too many parameters and too many MACs, as in ResNet-56. A block's "
                "parameters grow with the square of its width; its MACs do so too, and with "
                "the area of the map.",
            ),
            Mistake(
                [(22, 16), (1, 32), (1, 64)],
                "The parameters fit, but the MACs do not: a block pays for each pixel of its map, "
                "1,024 in the first stage, 256 in the second. Make these narrower, or move blocks "
                "to later stages.",
            ),
            Mistake(
                [(16, 8), (1, 32), (8, 64)],
                "Too many parameters: a block of width 64 has 73,728 weights. On the smallest "
                "map blocks are cheap in MACs, not in parameters.",
            ),
        ),
        hints=(
            "A block of width w has about 18 w * w weights, and as many MACs per pixel; the "
            "maps have 1,024, 256 and 64 pixels.",
            "One or two blocks of width 64 are enough; put the depth where blocks are narrow.",
            "A first stage of width 8 costs 1.2 million MACs per block.",
        ),
        note="Parameters sit in the last stage, MACs are spread evenly when width doubles as the "
        "map halves. Depth alone is nearly free in narrow stages.",
    ),
)
