"""Exercises of chapter 08, ResNet and skip connections."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import nn

from cnnlab.course.exercises.exercise import Exercise, Exercises, Mistake
from cnnlab.course.exercises.judge import at_least, at_most
from cnnlab.course.exercises.sandbox import called, output_of, reads_of
from cnnlab.models.resnet import BasicBlock, ResNet
from cnnlab.trace.run import trace

# -- pad_shortcut: option A as a function


def pad_shortcut(x, channels, stride):
    x = x[:, :, ::stride, ::stride]  # every stride-th pixel
    missing = channels - x.shape[1]
    return torch.cat([x, x.new_zeros(len(x), missing, *x.shape[2:])], dim=1)


def _zeros_first(x, channels, stride):
    x = x[:, :, ::stride, ::stride]
    return F.pad(x, (0, 0, 0, 0, channels - x.shape[1], 0))


def _average(x, channels, stride):
    return pad_shortcut(F.avg_pool2d(x, stride), channels, 1)


def _without_stride(x, channels, stride):
    return pad_shortcut(x, channels, 1)


def _repeated(x, channels, stride):
    return x[:, :, ::stride, ::stride].repeat(1, channels // x.shape[1], 1, 1)


def _padded_image(x, channels, stride):
    return F.pad(x[:, :, ::stride, ::stride], (0, channels - x.shape[1]))


def _map(channels, size):
    return torch.arange(1.0, 2 * channels * size**2 + 1).view(2, channels, size, size)


# -- only_grows: a ReLU at the end of the branch


class Block(nn.Module):
    def __init__(self, channels):
        super().__init__()
        self.conv1 = nn.Conv2d(channels, channels, 3, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(channels)
        self.conv2 = nn.Conv2d(channels, channels, 3, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(channels)

    def forward(self, x):
        y = F.relu(self.bn1(self.conv1(x)))
        y = self.bn2(self.conv2(y))  # the correction may be negative
        return F.relu(x + y)


class _OnlyGrows(Block):
    def forward(self, x):
        y = F.relu(self.bn1(self.conv1(x)))
        y = F.relu(self.bn2(self.conv2(y)))
        return x + y


class _NoLastRelu(Block):
    def forward(self, x):
        return x + self.bn2(self.conv2(F.relu(self.bn1(self.conv1(x)))))


class _NoAddition(Block):
    def forward(self, x):
        return F.relu(self.bn2(self.conv2(F.relu(self.bn1(self.conv1(x))))))


def _build(answer, solution, channels=8):
    if not (isinstance(answer, type) and issubclass(answer, nn.Module)):
        raise ValueError("give the class itself, a subclass of nn.Module, without calling it")
    return called(answer, solution, channels)


def _last(block, kind):
    """The block's last layer of a kind."""
    found = [layer for layer in block.modules() if isinstance(layer, kind)]
    if not found:
        raise ValueError(f"the block has no {kind.__name__} left: keep its layers")
    return found[-1]


def _last_norm_zero(block):
    for parameter in _last(block, nn.BatchNorm2d).parameters():
        nn.init.zeros_(parameter)
    return block


def _observe_block(answer):
    image = torch.rand(4, 8, 6, 6)  # as after a ReLU: nothing negative
    block = _build(answer, Block)
    reads = reads_of([_last(block, nn.Conv2d)])
    output = output_of(block, image)
    return {
        "parameters of the block for 8 channels": sum(p.numel() for p in block.parameters()),
        "shape for an input of (4, 8, 6, 6)": tuple(output.shape),
        "some outputs lie above their inputs": bool((output > image + 0.01).any()),
        "some outputs lie below their inputs": bool((output < image - 0.01).any()),
        "no output is negative": bool((output >= 0).all()),
        "with its last norm at zero, the block passes its input on": torch.allclose(
            _last_norm_zero(_build(answer, Block))(image), image
        ),
        "conv2 reads nothing below zero, as behind a ReLU": bool(
            all((x >= 0).all() for x in reads)
        ),
    }


# -- in_place: a shortcut overwritten by the branch


class PreBlock(nn.Module):
    def __init__(self, channels):
        super().__init__()
        self.relu = nn.ReLU()  # not in place: x is still needed
        self.conv1 = nn.Conv2d(channels, channels, 3, padding=1, bias=False)
        self.bn = nn.BatchNorm2d(channels)
        self.conv2 = nn.Conv2d(channels, channels, 3, padding=1, bias=False)

    def forward(self, x):
        y = self.conv1(self.relu(x))
        y = self.conv2(self.relu(self.bn(y)))
        return x + y


class _InPlace(PreBlock):
    def __init__(self, channels):
        super().__init__(channels)
        self.relu = nn.ReLU(inplace=True)


class _AddInPlace(PreBlock):
    def forward(self, x):
        x += self.conv2(self.relu(self.bn(self.conv1(self.relu(x)))))
        return x


class _ReluDropped(PreBlock):
    def forward(self, x):
        return x + self.conv2(self.relu(self.bn(self.conv1(x))))


def _observe_pre_block(answer):
    image = torch.randn(4, 8, 6, 6)
    given = image.clone()
    block = _build(answer, PreBlock)
    conv2, norm = _last(block, nn.Conv2d), _last(block, nn.BatchNorm2d)
    reads, before = reads_of([conv2]), norm.running_mean.clone()
    with torch.no_grad():
        output = output_of(block, given)
        nn.init.zeros_(conv2.weight)
        through = block(image.clone())
        low = _build(answer, PreBlock)
        first = low(image.clamp(max=0)) - image.clamp(max=0)
        other = low(2 * image.clamp(max=0)) - 2 * image.clamp(max=0)
    return {
        "parameters of the block for 8 channels": sum(p.numel() for p in block.parameters()),
        "shape for an input of (4, 8, 6, 6)": tuple(output.shape),
        "the branch adds something": not torch.allclose(output, image),
        "with conv2 at zero, the block passes its input on": torch.allclose(through, image),
        "the caller's tensor is left as it was": torch.equal(given, image),
        "the branch begins with a ReLU: it does not see values below zero": torch.allclose(
            first, other, atol=1e-6
        ),
        "the batch norm is used": not torch.equal(norm.running_mean, before),
        "conv2 reads nothing below zero, as behind a ReLU": bool(
            all((x >= 0).all() for x in reads)
        ),
    }


# -- budget: depth where it is cheap

DEPTH, PARAMETERS, MACS, WIDTH = 50, 400_000, 70_000_000, 64


def _observe_budget(answer):
    if not isinstance(answer, (list, tuple)) or len(answer) != 3:
        raise ValueError(
            "give three stages as (blocks, width), such as [(9, 16), (9, 32), (9, 64)]"
        )
    for stage in answer:
        if (
            not isinstance(stage, (list, tuple))
            or len(stage) != 2
            or not all(type(n) is int and n >= 1 for n in stage)
        ):
            raise ValueError(f"a stage is (blocks, width), two whole numbers from 1, got {stage!r}")
        if stage[0] > 100 or stage[1] > 1024:
            raise ValueError(f"{stage!r} is far beyond the budget: at most 100 blocks, width 1024")
    blocks, widths = zip(*answer)
    if list(widths) != sorted(widths):
        raise ValueError(
            f"widths {widths} shrink: zeros can be padded onto a shortcut, channels "
            "cannot be taken away"
        )
    with torch.device("meta"):
        model = ResNet(
            BasicBlock, blocks, stage_widths=widths, stem="3x3", shortcut="padding", num_classes=10
        )
    table = trace(model, (3, 32, 32))
    return {
        f"at least {DEPTH} layers: 2 per block, the stem, the linear layer": at_least(
            2 * sum(blocks) + 2, DEPTH
        ),
        f"the last stage is at least {WIDTH} wide": at_least(widths[-1], WIDTH),
        f"at most {PARAMETERS:,} parameters": at_most(table.params, PARAMETERS),
        f"at most {MACS:,} MACs": at_most(table.macs, MACS),
    }


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
        "pad_shortcut",
        "A shortcut without parameters",
        "implement",
        8,
        pad_shortcut,
        cases=((_map(2, 4), 4, 2), (_map(3, 4), 3, 1), (_map(2, 5), 6, 2), (_map(4, 2), 8, 1)),
        mistakes=(
            Mistake(
                _zeros_first,
                "The new channels stand before the old ones. Then channel 0 of "
                "the input meets another channel of the branch: put the zeros "
                "behind.",
            ),
            Mistake(
                _average,
                "You average the pixels; option A takes every second one as it is. "
                "(Averaging is a good idea of later networks.)",
            ),
            Mistake(
                _without_stride,
                "The channels are right, but the map is as large as before: "
                "take every stride-th pixel of both axes.",
            ),
            Mistake(
                _repeated, "The new channels repeat the old ones; option A fills them with zeros."
            ),
            Mistake(
                _padded_image,
                "F.pad starts at the last axis: this widens the map. Six "
                "numbers reach the channels: (0, 0, 0, 0, 0, new).",
            ),
        ),
        hints=(
            "Slicing with a step takes every second pixel: x[:, :, ::2, ::2].",
            "Channels are axis 1. Put zeros behind the ones that are there.",
            "F.pad(x, (0, 0, 0, 0, 0, new)) counts axes from the last one: columns, rows, "
            "channels.",
        ),
        note="No parameters, no MACs; three of four pixels are dropped, and the new channels get "
        "nothing from the shortcut.",
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
                "Still there: the in-place ReLU writes into x, and x is what the "
                "last line adds. Copying x after the ReLU comes too late.",
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
                "Few parameters, but too many MACs: on the 32 x 32 map each of the 1,024 "
                "pixels pays. Make the first stage narrower, or move blocks on.",
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
