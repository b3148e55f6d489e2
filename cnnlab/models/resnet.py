"""ResNet: He, Zhang, Ren, Sun, "Deep residual learning for image recognition", CVPR 2016
(arXiv:1512.03385): table 1 (ImageNet), section 4.2 (CIFAR-10), section 4.1 (plain networks).
Pre-activation: the same authors, "Identity mappings in deep residual networks", ECCV 2016
(arXiv:1603.05027), figure 4(e) and appendix.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import NamedTuple

import torch
from torch import nn
from torch.nn import functional as F

from cnnlab.models.blocks import check_image, init_he


class PadShortcut(nn.Module):
    """Option A of section 3.3: every second pixel, new channels zero. No parameters."""

    def __init__(self, new_channels: int, stride: int) -> None:
        super().__init__()
        self.new_channels, self.stride = new_channels, stride

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = x[:, :, :: self.stride, :: self.stride]
        return F.pad(x, (0, 0, 0, 0, 0, self.new_channels))


def conv3x3(in_channels: int, out_channels: int, stride: int = 1, groups: int = 1) -> nn.Conv2d:
    """Padded, so that stride 1 keeps the size; without bias, a norm follows or precedes."""
    return nn.Conv2d(in_channels, out_channels, 3, stride, padding=1, groups=groups, bias=False)


def conv1x1(in_channels: int, out_channels: int, stride: int = 1) -> nn.Conv2d:
    """Mixes the channels of each pixel; without bias."""
    return nn.Conv2d(in_channels, out_channels, 1, stride, bias=False)


class Residual(nn.Module):
    """A branch and a shortcut, added. The subclasses are the branches.

    skip           False leaves the shortcut out: a block of the paper's plain network
    shortcut       where the shape changes: "projection" (option B, a 1x1) or "padding" (option A)
    preactivation  norm and ReLU stand before each convolution and none after the addition
    """

    expansion: int  # output channels / width

    def __init__(
        self,
        in_channels: int,
        width: int,
        stride: int = 1,
        *,
        skip: bool = True,
        shortcut: str = "projection",
        preactivation: bool = False,
    ) -> None:
        super().__init__()
        out_channels = width * self.expansion
        self.skip, self.preactivation = skip, preactivation
        self.relu = nn.ReLU(inplace=not preactivation)
        self.downsample = None
        if skip and (stride > 1 or in_channels != out_channels):
            if shortcut == "padding":
                self.downsample = PadShortcut(out_channels - in_channels, stride)
            elif preactivation:
                self.downsample = conv1x1(in_channels, out_channels, stride)
            else:
                self.downsample = nn.Sequential(
                    conv1x1(in_channels, out_channels, stride), nn.BatchNorm2d(out_channels)
                )

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """(B, in_channels, H, W) -> (B, width * expansion, H / stride, W / stride)"""
        if self.preactivation:
            active = self.relu(self.bn1(x))
            y = self.preactivated_branch(active)
            if self.skip:  # a changed shape is taken after the activation, as in the authors' code
                y = y + (x if self.downsample is None else self.downsample(active))
            return y
        y = self.branch(x)
        if self.skip:
            y = y + (x if self.downsample is None else self.downsample(x))
        return self.relu(y)


class BasicBlock(Residual):
    """Two 3x3 convolutions (figure 5, left)."""

    expansion = 1

    def __init__(self, in_channels: int, width: int, stride: int = 1, **residual) -> None:
        super().__init__(in_channels, width, stride, **residual)
        self.conv1 = conv3x3(in_channels, width, stride)
        self.bn1 = nn.BatchNorm2d(in_channels if self.preactivation else width)
        self.conv2 = conv3x3(width, width)
        self.bn2 = nn.BatchNorm2d(width)

    def branch(self, x: torch.Tensor) -> torch.Tensor:
        x = self.relu(self.bn1(self.conv1(x)))  # (B, width, H / stride, W / stride)
        return self.bn2(self.conv2(x))  # (B, width, H / stride, W / stride)

    def preactivated_branch(self, x: torch.Tensor) -> torch.Tensor:
        x = self.conv1(x)
        return self.conv2(self.relu(self.bn2(x)))


class Bottleneck(Residual):
    """1x1, 3x3, 1x1 convolutions; the last has `expansion` times the width (figure 5, right)."""

    expansion = 4
    groups = 1  # of the 3x3

    def __init__(
        self, in_channels: int, width: int, stride: int = 1, *, stride_on: str = "3x3", **residual
    ) -> None:
        super().__init__(in_channels, width, stride, **residual)
        # The paper strides on the first 1x1, which skips three of four pixels unseen. On the 3x3
        # it is "v1.5", as in github.com/facebookarchive/fb.resnet.torch, models/resnet.lua.
        first, second = (stride, 1) if stride_on == "1x1" else (1, stride)
        self.conv1 = conv1x1(in_channels, width, first)
        self.bn1 = nn.BatchNorm2d(in_channels if self.preactivation else width)
        self.conv2 = conv3x3(width, width, second, self.groups)
        self.bn2 = nn.BatchNorm2d(width)
        self.conv3 = conv1x1(width, width * self.expansion)
        self.bn3 = nn.BatchNorm2d(width if self.preactivation else width * self.expansion)

    def branch(self, x: torch.Tensor) -> torch.Tensor:
        x = self.relu(self.bn1(self.conv1(x)))  # (B, width, H, W)
        x = self.relu(self.bn2(self.conv2(x)))  # (B, width, H / stride, W / stride)
        return self.bn3(self.conv3(x))  # (B, width * expansion, H / stride, W / stride)

    def preactivated_branch(self, x: torch.Tensor) -> torch.Tensor:
        x = self.conv1(x)
        x = self.conv2(self.relu(self.bn2(x)))
        return self.conv3(self.relu(self.bn3(x)))


class Row(NamedTuple):
    """One column of table 1: the block and how many of it each stage has."""

    block: type[Residual]
    conv2_x: int
    conv3_x: int
    conv4_x: int
    conv5_x: int


TABLE = {
    18: Row(BasicBlock, conv2_x=2, conv3_x=2, conv4_x=2, conv5_x=2),
    34: Row(BasicBlock, conv2_x=3, conv3_x=4, conv4_x=6, conv5_x=3),
    50: Row(Bottleneck, conv2_x=3, conv3_x=4, conv4_x=6, conv5_x=3),
    101: Row(Bottleneck, conv2_x=3, conv3_x=4, conv4_x=23, conv5_x=3),
    152: Row(Bottleneck, conv2_x=3, conv3_x=8, conv4_x=36, conv5_x=3),
}


class ResNet(nn.Module):
    """Stem, stages of residual blocks, global average pooling, one linear layer.

    stage_widths   width of the blocks of each stage; every stage but the first halves the image
    stem           "7x7" with stride 2 and a max pooling, or "3x3" for small images
    skip, shortcut, preactivation    see `Residual`
    stride_on      "3x3" (v1.5) or "1x1" (the paper's), for networks of bottlenecks
    zero_init      start the last norm of each branch at 0, so that each block starts as the
                   identity (Goyal et al. 2017, arXiv:1706.02677, section 5.1)
    """

    def __init__(
        self,
        block: type[Residual],
        blocks: Sequence[int],
        *,
        num_classes: int = 1000,
        in_channels: int = 3,
        stage_widths: Sequence[int] = (64, 128, 256, 512),
        stem: str = "7x7",
        skip: bool = True,
        shortcut: str = "projection",
        preactivation: bool = False,
        stride_on: str = "3x3",
        zero_init: bool = False,
    ) -> None:
        super().__init__()
        if len(stage_widths) != len(blocks):
            raise ValueError(
                f"{len(blocks)} stages need as many stage_widths, got {tuple(stage_widths)}"
            )
        _expect("stem", stem, ("7x7", "3x3"))
        _expect("shortcut", shortcut, ("projection", "padding"))
        bottleneck = issubclass(block, Bottleneck)
        _expect("stride_on", stride_on, ("3x3", "1x1") if bottleneck else ("3x3",))
        if zero_init and (preactivation or not skip):
            raise ValueError(
                "zero_init needs skip=True and preactivation=False, got "
                f"skip={skip} and preactivation={preactivation}"
            )
        options = {"skip": skip, "shortcut": shortcut, "preactivation": preactivation}
        if bottleneck:
            options["stride_on"] = stride_on

        width = stage_widths[0]
        if stem == "7x7":
            width = 64
            self.conv1 = nn.Conv2d(in_channels, width, 7, stride=2, padding=3, bias=False)
            self.maxpool = nn.MaxPool2d(3, stride=2, padding=1)
        else:
            self.conv1 = conv3x3(in_channels, width)
            self.maxpool = nn.Identity()
        self.bn1 = nn.BatchNorm2d(width)
        self.relu = nn.ReLU(inplace=True)

        self.stages = len(blocks)
        for number, (count, stage_width) in enumerate(zip(blocks, stage_widths), 1):
            stage = nn.Sequential()
            for i in range(count):
                stride = 2 if number > 1 and i == 0 else 1
                stage.append(block(width, stage_width, stride, **options))
                width = stage_width * block.expansion
            self.add_module(f"layer{number}", stage)

        self.preactivation = preactivation
        if preactivation:
            # The stem's norm and ReLU are the first block's; one more pair closes the last block.
            self.layer1[0].bn1 = nn.Identity()
            self.bn_last = nn.BatchNorm2d(width)
        self.avgpool = nn.AdaptiveAvgPool2d(1)
        self.fc = nn.Linear(width, num_classes)

        init_he(self)
        if zero_init:
            for module in self.modules():
                if isinstance(module, Residual):
                    last = module.bn3 if isinstance(module, Bottleneck) else module.bn2
                    nn.init.zeros_(last.weight)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Logits (B, num_classes) of images (B, in_channels, H, W) of any size."""
        check_image("ResNet", x, self.conv1.in_channels)
        x = self.relu(self.bn1(self.conv1(x)))  # (B, 64, 112, 112) for 224x224
        x = self.maxpool(x)  # (B, 64, 56, 56)
        for number in range(1, self.stages + 1):
            x = getattr(self, f"layer{number}")(x)  # 56x56, 28x28, 14x14, 7x7
        if self.preactivation:
            x = torch.relu(self.bn_last(x))
        x = self.avgpool(x).flatten(1)  # (B, 512) or, of bottlenecks, (B, 2048)
        return self.fc(x)  # (B, num_classes)


def _expect(option: str, got: str, choices: Sequence[str]) -> None:
    if got not in choices:
        raise ValueError(f"{option} must be {' or '.join(map(repr, choices))} here, got {got!r}")


def _imagenet(depth: int) -> partial[ResNet]:
    block, *blocks = TABLE[depth]
    return partial(ResNet, block, tuple(blocks))


def _cifar(depth: int) -> partial[ResNet]:
    """Section 4.2: 6n + 2 layers, three stages of n basic blocks each, option A."""
    return partial(
        ResNet,
        BasicBlock,
        ((depth - 2) // 6,) * 3,
        num_classes=10,
        stage_widths=(16, 32, 64),
        stem="3x3",
        shortcut="padding",
    )


resnet18 = _imagenet(18)
resnet34 = _imagenet(34)
resnet50 = _imagenet(50)
resnet101 = _imagenet(101)
resnet152 = _imagenet(152)
resnet20 = _cifar(20)
resnet32 = _cifar(32)
resnet44 = _cifar(44)
resnet56 = _cifar(56)
resnet110 = _cifar(110)
