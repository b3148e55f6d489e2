"""ConvNeXt: Liu, Mao, Wu, Feichtenhofer, Darrell, Xie, "A ConvNet for the 2020s", CVPR 2022
(arXiv:2201.03545), section 2, figure 4 and table 9.
"""

from __future__ import annotations

from functools import partial
from typing import NamedTuple

import torch
from torch import nn
from torch.nn import functional as F

from cnnlab.models.blocks import check_image


class Permute(nn.Module):
    """Reorder the axes. The layer norm and the linear layers want the channels last."""

    def __init__(self, *axes: int) -> None:
        super().__init__()
        self.axes = axes

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x.permute(self.axes)


class LayerNorm2d(nn.LayerNorm):
    """Layer norm over the channels of (B, C, H, W), at each pixel by itself."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = F.layer_norm(
            x.permute(0, 2, 3, 1), self.normalized_shape, self.weight, self.bias, self.eps
        )
        return x.permute(0, 3, 1, 2)


class ConvNeXtBlock(nn.Module):
    """A 7x7 depthwise convolution, then a two-layer perceptron at each pixel, 4 times wider inside.

    drop is the probability of leaving the branch out for an image, in training only (stochastic
    depth, Huang et al. 2016, arXiv:1603.09382).
    """

    def __init__(self, width: int, drop: float) -> None:
        super().__init__()
        self.drop = drop
        self.block = nn.Sequential(
            nn.Conv2d(width, width, 7, padding=3, groups=width),  # (B, C, H, W)
            Permute(0, 2, 3, 1),  # (B, H, W, C)
            nn.LayerNorm(width, eps=1e-6),
            nn.Linear(width, 4 * width),  # (B, H, W, 4C)
            nn.GELU(),
            nn.Linear(4 * width, width),  # (B, H, W, C)
            Permute(0, 3, 1, 2),  # (B, C, H, W)
        )
        self.layer_scale = nn.Parameter(torch.full((width, 1, 1), 1e-6))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y = self.layer_scale * self.block(x)
        if self.training and self.drop > 0:
            keep = 1 - self.drop
            y = y * x.new_empty(x.shape[0], 1, 1, 1).bernoulli_(keep) / keep
        return x + y


class Stage(NamedTuple):
    """One stage of a column of table 9."""

    width: int
    blocks: int


TABLE = {"T": (Stage(96, 3), Stage(192, 3), Stage(384, 9), Stage(768, 3))}


class ConvNeXt(nn.Module):
    """A 4x4 patch stem, four stages with a 2x2 convolution between, average pooling, linear layer.

    stochastic_depth  `drop` of the last block; the others rise to it from 0 in equal steps
    """

    def __init__(
        self,
        stages: tuple[Stage, ...],
        *,
        num_classes: int = 1000,
        in_channels: int = 3,
        stochastic_depth: float = 0.1,
    ) -> None:
        super().__init__()
        self.in_channels = in_channels
        last = sum(stage.blocks for stage in stages) - 1
        drops = (stochastic_depth * block / max(last, 1) for block in range(last + 1))
        width = stages[0].width
        stem = nn.Conv2d(in_channels, width, 4, stride=4)
        self.features = nn.Sequential(nn.Sequential(stem, LayerNorm2d(width, eps=1e-6)))
        for number, stage in enumerate(stages):
            if number > 0:
                halve = nn.Conv2d(width, stage.width, 2, stride=2)
                self.features.append(nn.Sequential(LayerNorm2d(width, eps=1e-6), halve))
                width = stage.width
            blocks = [ConvNeXtBlock(width, next(drops)) for _ in range(stage.blocks)]
            self.features.append(nn.Sequential(*blocks))
        self.avgpool = nn.AdaptiveAvgPool2d(1)
        self.classifier = nn.Sequential(
            LayerNorm2d(width, eps=1e-6), nn.Flatten(1), nn.Linear(width, num_classes)
        )
        for layer in self.modules():  # appendix A.1
            if isinstance(layer, (nn.Conv2d, nn.Linear)):
                nn.init.trunc_normal_(layer.weight, std=0.02)
                nn.init.zeros_(layer.bias)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Logits (B, num_classes) of images (B, in_channels, H, W), at least 32x32."""
        needs = [("the stem", 4), ("stage 2", 8), ("stage 3", 16), ("stage 4", 32)]
        check_image("ConvNeXt", x, self.in_channels, needs)
        x = self.features(x)  # (B, 768, 7, 7) for 224x224
        x = self.avgpool(x)  # (B, 768, 1, 1)
        return self.classifier(x)  # (B, num_classes)


convnext_tiny = partial(ConvNeXt, TABLE["T"])
