"""MobileNet v2: Sandler, Howard, Zhu, Zhmoginov, Chen, "MobileNetV2: inverted residuals and linear
bottlenecks", CVPR 2018 (arXiv:1801.04381), table 2 and figure 4(d).
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import nn

from cnnlab.models.blocks import ConvNormActivation, check_image, init_he


class Row(NamedTuple):
    """One row of table 2, under its column names."""

    t: int  # expansion
    c: int  # output channels
    n: int  # blocks
    s: int  # stride of the first


TABLE = (
    Row(t=1, c=16, n=1, s=1),
    Row(t=6, c=24, n=2, s=2),
    Row(t=6, c=32, n=3, s=2),
    Row(t=6, c=64, n=4, s=2),
    Row(t=6, c=96, n=3, s=1),
    Row(t=6, c=160, n=3, s=2),
    Row(t=6, c=320, n=1, s=1),
)


def round_width(width: float) -> int:
    """The nearest multiple of 8, at least 8 and not over 10% less than asked.

    Not in the paper; the authors' code (tensorflow/models, slim/nets/mobilenet) rounds so.
    """
    rounded = max(8, int(width + 4) // 8 * 8)
    return rounded if rounded >= 0.9 * width else rounded + 8


class InvertedResidual(nn.Module):
    """1x1 to widen, 3x3 depthwise, 1x1 without activation to narrow; the narrow ends are joined."""

    def __init__(self, in_channels: int, out_channels: int, stride: int, expansion: int) -> None:
        super().__init__()
        hidden = in_channels * expansion
        self.skip = stride == 1 and in_channels == out_channels
        layers: list[nn.Module] = []
        if expansion > 1:
            layers.append(ConvNormActivation(in_channels, hidden, 1, activation=nn.ReLU6))
        self.conv = nn.Sequential(
            *layers,
            ConvNormActivation(hidden, hidden, 3, stride, groups=hidden, activation=nn.ReLU6),
            nn.Conv2d(hidden, out_channels, 1, bias=False),
            nn.BatchNorm2d(out_channels),
        )

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y = self.conv(x)  # (B, out_channels, H / stride, W / stride)
        return x + y if self.skip else y


class MobileNetV2(nn.Module):
    """A 3x3 stem, seven stages of inverted residuals, a 1x1 to 1,280 channels, one linear layer."""

    def __init__(
        self,
        *,
        num_classes: int = 1000,
        in_channels: int = 3,
        width_multiplier: float = 1.0,
        dropout: float = 0.2,
    ) -> None:
        super().__init__()
        self.in_channels = in_channels
        width = round_width(32 * width_multiplier)
        self.features = nn.Sequential(
            ConvNormActivation(in_channels, width, 3, stride=2, activation=nn.ReLU6)
        )
        for row in TABLE:
            out_channels = round_width(row.c * width_multiplier)
            for i in range(row.n):
                stride = row.s if i == 0 else 1
                self.features.append(InvertedResidual(width, out_channels, stride, row.t))
                width = out_channels
        # Section 4, at its end: multipliers below 1 leave the last layer alone.
        last = round_width(1280 * max(1.0, width_multiplier))
        self.features.append(ConvNormActivation(width, last, 1, activation=nn.ReLU6))
        self.avgpool = nn.AdaptiveAvgPool2d(1)
        self.classifier = nn.Sequential(nn.Dropout(dropout), nn.Linear(last, num_classes))
        init_he(self)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Logits (B, num_classes) of images (B, in_channels, H, W) of any size."""
        check_image("MobileNet v2", x, self.in_channels)
        x = self.features(x)  # (B, 1280, 7, 7) for 224x224
        x = self.avgpool(x).flatten(1)  # (B, 1280)
        return self.classifier(x)  # (B, num_classes)
