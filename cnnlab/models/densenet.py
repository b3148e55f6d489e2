"""DenseNet: Huang, Liu, van der Maaten, Weinberger, "Densely connected convolutional networks",
CVPR 2017 (arXiv:1608.06993): section 3, table 1 (ImageNet), table 2 (CIFAR).
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import NamedTuple

import torch
from torch import nn
from torch.utils.checkpoint import checkpoint

from cnnlab.models.blocks import check_image, init_he


class DenseLayer(nn.Module):
    """Makes `growth` new channels from all that came before.

    Norm, ReLU and convolution, in this order; with `bottleneck` (DenseNet-B) a 1x1 to 4 * growth
    channels before the 3x3. `recompute` forgets the concatenation and what follows it, up to the
    first convolution, and computes them again in the backward pass (arXiv:1707.06990). Gradients
    stay the same, but norm1 then sees each batch twice: a training step moves its running
    statistics two times, which evaluation notices.
    """

    def __init__(
        self, in_channels: int, growth: int, *, bottleneck: bool, dropout: float, recompute: bool
    ) -> None:
        super().__init__()
        self.recompute = recompute
        self.norm1 = nn.BatchNorm2d(in_channels)
        self.relu1 = nn.ReLU(inplace=True)
        if bottleneck:
            self.conv1 = nn.Conv2d(in_channels, 4 * growth, 1, bias=False)
            self.norm2 = nn.BatchNorm2d(4 * growth)
            self.relu2 = nn.ReLU(inplace=True)
            self.conv2 = nn.Conv2d(4 * growth, growth, 3, padding=1, bias=False)
        else:
            self.conv1 = nn.Conv2d(in_channels, growth, 3, padding=1, bias=False)
            self.conv2 = None
        self.dropout = nn.Dropout(dropout)

    def first(self, *features: torch.Tensor) -> torch.Tensor:
        x = torch.cat(features, dim=1)  # (B, in_channels, H, W)
        return self.conv1(self.relu1(self.norm1(x)))  # (B, 4 * growth or growth, H, W)

    def forward(self, features: Sequence[torch.Tensor]) -> torch.Tensor:
        if self.recompute and torch.is_grad_enabled():
            x = checkpoint(self.first, *features, use_reentrant=False)
        else:
            x = self.first(*features)
        if self.conv2 is not None:
            x = self.conv2(self.relu2(self.norm2(x)))  # (B, growth, H, W)
        return self.dropout(x)


class DenseBlock(nn.ModuleDict):
    """Layers that each see the block's input and what every layer before them has made."""

    def __init__(self, layers: int, in_channels: int, growth: int, **options) -> None:
        super().__init__()
        for i in range(layers):
            self[f"denselayer{i + 1}"] = DenseLayer(in_channels + i * growth, growth, **options)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """(B, in_channels, H, W) -> (B, in_channels + layers * growth, H, W)"""
        features = [x]
        for layer in self.values():
            features.append(layer(features))
        return torch.cat(features, dim=1)


class Transition(nn.Sequential):
    """Between blocks: norm, ReLU, 1x1 convolution to fewer channels, 2x2 average pooling."""

    def __init__(self, in_channels: int, out_channels: int) -> None:
        super().__init__()
        self.norm = nn.BatchNorm2d(in_channels)
        self.relu = nn.ReLU(inplace=True)
        self.conv = nn.Conv2d(in_channels, out_channels, 1, bias=False)
        self.pool = nn.AvgPool2d(2)


class Row(NamedTuple):
    """One column of table 1, or one row of table 2."""

    growth: int  # k
    blocks: tuple[int, ...]  # dense layers in each block
    stem_width: int


IMAGENET = {
    121: Row(growth=32, blocks=(6, 12, 24, 16), stem_width=64),
    169: Row(growth=32, blocks=(6, 12, 32, 32), stem_width=64),
    201: Row(growth=32, blocks=(6, 12, 48, 32), stem_width=64),
    # In the paper's earlier versions on arXiv; the last one has 264 layers with k = 32 instead.
    161: Row(growth=48, blocks=(6, 12, 36, 24), stem_width=96),
}


class DenseNet(nn.Module):
    """Stem, dense blocks with a transition after each but the last, average pooling, linear layer.

    stem         "7x7" with stride 2 and a max pooling, or "3x3" for small images
    bottleneck   the B of DenseNet-BC; see `DenseLayer`
    compression  the C: a transition keeps this share of the channels
    recompute    memory against time, and batch norm's running statistics move twice per training
                 step; see `DenseLayer`
    """

    def __init__(
        self,
        row: Row,
        *,
        num_classes: int = 1000,
        in_channels: int = 3,
        stem: str = "7x7",
        bottleneck: bool = True,
        compression: float = 0.5,
        dropout: float = 0.0,
        recompute: bool = False,
    ) -> None:
        super().__init__()
        if stem not in ("7x7", "3x3"):
            raise ValueError(f"stem must be '7x7' or '3x3', got {stem!r}")
        width = row.stem_width
        self.features = nn.Sequential()
        if stem == "7x7":
            self.features.conv0 = nn.Conv2d(in_channels, width, 7, 2, padding=3, bias=False)
            self.features.norm0 = nn.BatchNorm2d(width)
            self.features.relu0 = nn.ReLU(inplace=True)
            self.features.pool0 = nn.MaxPool2d(3, stride=2, padding=1)
        else:
            self.features.conv0 = nn.Conv2d(in_channels, width, 3, padding=1, bias=False)
        # n transitions halve n times, and the 7x7 stem quarters before, rounding up
        self.needs = [
            (f"transition {n}", 4 * 2**n - 3 if stem == "7x7" else 2**n)
            for n in range(1, len(row.blocks))
        ]
        for number, layers in enumerate(row.blocks, 1):
            block = DenseBlock(
                layers,
                width,
                row.growth,
                bottleneck=bottleneck,
                dropout=dropout,
                recompute=recompute,
            )
            self.features.add_module(f"denseblock{number}", block)
            width += layers * row.growth
            if number < len(row.blocks):
                kept = int(width * compression)
                self.features.add_module(f"transition{number}", Transition(width, kept))
                width = kept
        self.features.norm5 = nn.BatchNorm2d(width)
        self.classifier = nn.Linear(width, num_classes)
        init_he(self)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Logits (B, num_classes) of images (B, in_channels, H, W)."""
        check_image("DenseNet", x, self.features.conv0.in_channels, self.needs)
        x = torch.relu_(self.features(x))  # (B, 1024, 7, 7) for DenseNet-121 at 224x224
        x = x.mean(dim=(2, 3))  # (B, 1024)
        return self.classifier(x)  # (B, num_classes)


def _cifar(depth: int, growth: int, *, bc: bool) -> partial[DenseNet]:
    """Section 3, "Implementation details": three equal blocks, of depth - 4 convolutions in all."""
    layers = (depth - 4) // (6 if bc else 3)
    return partial(
        DenseNet,
        Row(growth, blocks=(layers,) * 3, stem_width=2 * growth if bc else 16),
        num_classes=10,
        stem="3x3",
        bottleneck=bc,
        compression=0.5 if bc else 1.0,
    )


densenet121 = partial(DenseNet, IMAGENET[121])
densenet169 = partial(DenseNet, IMAGENET[169])
densenet201 = partial(DenseNet, IMAGENET[201])
densenet161 = partial(DenseNet, IMAGENET[161])
densenet40_k12 = _cifar(40, 12, bc=False)
densenet100_k12 = _cifar(100, 12, bc=False)
densenet100_k24 = _cifar(100, 24, bc=False)
densenet_bc100_k12 = _cifar(100, 12, bc=True)
densenet_bc250_k24 = _cifar(250, 24, bc=True)
