"""Answers to the exercises of chapter 08: right ones, known mistakes, and what is looked at."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import nn

from cnnlab.course.exercises.built import known, observe_cases
from cnnlab.course.exercises.judge import at_least, at_most
from cnnlab.course.exercises.sandbox import called, output_of, reads_of
from cnnlab.models.resnet import BasicBlock, ResNet
from cnnlab.trace.run import trace


def _build(answer, solution, *arguments):
    if not (isinstance(answer, type) and issubclass(answer, nn.Module)):
        raise ValueError("give the class itself, a subclass of nn.Module, without calling it")
    block = called(answer, solution, *(arguments or (8,)))
    return block if arguments else known(block, torch.zeros(4, 8, 6, 6))


# -- residual_block: the block with a projection where its shape changes


class ResidualBlock(nn.Module):
    def __init__(self, before, after, stride=1):
        super().__init__()
        self.conv1 = nn.Conv2d(before, after, 3, stride, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(after)
        self.conv2 = nn.Conv2d(after, after, 3, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(after)
        self.downsample = None
        if stride > 1 or before != after:
            self.downsample = nn.Sequential(
                nn.Conv2d(before, after, 1, stride, bias=False), nn.BatchNorm2d(after)
            )

    def forward(self, x):
        y = self.bn2(self.conv2(F.relu(self.bn1(self.conv1(x)))))
        if self.downsample is not None:
            x = self.downsample(x)
        return F.relu(x + y)


class _WithoutSkip(ResidualBlock):
    def forward(self, x):
        return F.relu(self.bn2(self.conv2(F.relu(self.bn1(self.conv1(x))))))


class _ReluBeforeTheSum(ResidualBlock):
    def forward(self, x):
        y = F.relu(self.bn2(self.conv2(F.relu(self.bn1(self.conv1(x))))))
        return (self.downsample(x) if self.downsample else x) + y


class _WithoutLastRelu(ResidualBlock):
    def forward(self, x):
        y = self.bn2(self.conv2(F.relu(self.bn1(self.conv1(x)))))
        return (self.downsample(x) if self.downsample else x) + y


class _WithoutReluBetween(ResidualBlock):
    def forward(self, x):
        y = self.bn2(self.conv2(self.bn1(self.conv1(x))))
        return F.relu((self.downsample(x) if self.downsample else x) + y)


class _ProjectsAlways(ResidualBlock):
    def __init__(self, before, after, stride=1):
        super().__init__(before, after, stride)
        self.downsample = nn.Sequential(
            nn.Conv2d(before, after, 1, stride, bias=False), nn.BatchNorm2d(after)
        )


class _ProjectsWhereChannelsChange(ResidualBlock):
    def __init__(self, before, after, stride=1):
        super().__init__(before, after, stride)
        if before == after:
            self.downsample = None


class _ProjectsWhereChannelsChangeTurned(_ProjectsWhereChannelsChange):
    def forward(self, x):
        y = self.bn2(self.conv2(F.relu(self.bn1(self.conv1(x)))))
        return F.relu(y + (self.downsample(x) if self.downsample else x))  # other words of PyTorch


class _ProjectsWithoutNorm(ResidualBlock):
    def __init__(self, before, after, stride=1):
        super().__init__(before, after, stride)
        if self.downsample is not None:
            self.downsample = self.downsample[0]


def _observe_residual(answer):
    cases = (
        ((8, 8), (4, 8, 6, 6)),
        ((8, 16, 2), (4, 8, 6, 6)),
        ((5, 5, 2), (2, 5, 7, 8)),
        ((4, 6, 1), (2, 4, 5, 5)),
        ((6, 4), (2, 6, 5, 4)),
        ((4, 4, 3), (2, 4, 7, 8)),
    )
    return observe_cases(answer, ResidualBlock, cases)


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
        return x + F.relu(self.bn2(self.conv2(y)))


class _NoLastRelu(Block):
    def forward(self, x):
        return x + self.bn2(self.conv2(F.relu(self.bn1(self.conv1(x)))))


class _NoAddition(Block):
    def forward(self, x):
        return F.relu(self.bn2(self.conv2(F.relu(self.bn1(self.conv1(x))))))


class _NormForgotten(Block):
    def forward(self, x):
        return F.relu(x + self.conv2(F.relu(self.bn1(self.conv1(x)))))


class _NormGone(Block):
    def __init__(self, channels):
        super().__init__(channels)
        self.bn1 = self.bn2 = nn.Identity()


class _NoReluBetween(Block):
    def forward(self, x):
        return F.relu(x + self.bn2(self.conv2(self.bn1(self.conv1(x)))))


def _last(block, kind):
    """The block's last layer of a kind."""
    found = [layer for layer in block.modules() if isinstance(layer, kind)]
    if not found:
        raise ValueError(f"the block has no {kind.__name__} left: keep its layers")
    return found[-1]


def _seen_in_block(answer):
    image = torch.rand(4, 8, 6, 6)  # as after a ReLU: nothing negative
    block = _build(answer, Block)
    reads = reads_of([_last(block, nn.Conv2d)])
    output = output_of(block, image)
    zeroed = _build(answer, Block)
    for parameter in _last(zeroed, nn.BatchNorm2d).parameters():
        nn.init.zeros_(parameter)
    passes = torch.allclose(zeroed(image), image)
    return {
        "parameters of the block for 8 channels": sum(p.numel() for p in block.parameters()),
        "shape for an input of (4, 8, 6, 6)": tuple(output.shape),
        "some outputs lie above their inputs": bool((output > image + 0.01).any()),
        "some outputs lie below their inputs": bool((output < image - 0.01).any()),
        "no output is negative": bool((output >= 0).all()),
        "with its last norm at zero, the block passes its input on": passes,
        "conv2 reads nothing below zero, as behind a ReLU": all((x >= 0).all() for x in reads),
    }


def _observe_block(answer):
    return {
        **_seen_in_block(answer),
        **observe_cases(answer, Block, (((8,), (4, 8, 6, 6)), ((3,), (2, 3, 5, 4)))),
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


def _seen_in_pre_block(answer):
    image = torch.randn(4, 8, 6, 6)
    given, block = image.clone(), _build(answer, PreBlock)
    conv2, norm = _last(block, nn.Conv2d), _last(block, nn.BatchNorm2d)
    reads, before = reads_of([conv2]), norm.running_mean.clone()
    with torch.no_grad():
        output = output_of(block, given)
        nn.init.zeros_(conv2.weight)
        through = block(image.clone())
        low = _build(answer, PreBlock)
        first = low(image.clamp(max=0)) - image.clamp(max=0)
        other = low(2 * image.clamp(max=0)) - 2 * image.clamp(max=0)
    blind = torch.allclose(first, other, atol=1e-6)
    return {
        "parameters of the block for 8 channels": sum(p.numel() for p in block.parameters()),
        "shape for an input of (4, 8, 6, 6)": tuple(output.shape),
        "the branch adds something": not torch.allclose(output, image),
        "with conv2 at zero, the block passes its input on": torch.allclose(through, image),
        "the caller's tensor is left as it was": torch.equal(given, image),
        "the branch begins with a ReLU: it does not see values below zero": blind,
        "the batch norm is used": not torch.equal(norm.running_mean, before),
        "conv2 reads nothing below zero, as behind a ReLU": all((x >= 0).all() for x in reads),
    }


def _observe_pre_block(answer):
    return {
        **_seen_in_pre_block(answer),
        **observe_cases(answer, PreBlock, (((8,), (4, 8, 6, 6)), ((3,), (2, 3, 5, 4)))),
    }


# -- budget: depth where it is cheap

DEPTH, PARAMETERS, MACS, WIDTH = 50, 400_000, 70_000_000, 64


def _observe_budget(answer):
    if not isinstance(answer, (list, tuple)) or len(answer) != 3:
        raise ValueError(
            "give three stages as (blocks, width), such as [(9, 16), (9, 32), (9, 64)]"
        )
    for stage in answer:
        pair = isinstance(stage, (list, tuple)) and len(stage) == 2
        if not pair or not all(type(n) is int and n >= 1 for n in stage):
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
    table, depth = trace(model, (3, 32, 32)), 2 * sum(blocks) + 2
    return {
        f"at least {DEPTH} layers: 2 per block, the stem, the linear layer": at_least(depth, DEPTH),
        "the first stage is at least 8 wide": at_least(widths[0], 8),
        f"the last stage is at least {WIDTH} wide": at_least(widths[-1], WIDTH),
        f"at most {PARAMETERS:,} parameters": at_most(table.params, PARAMETERS),
        f"at most {MACS:,} MACs": at_most(table.macs, MACS),
    }
