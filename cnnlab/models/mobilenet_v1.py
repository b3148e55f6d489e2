"""MobileNet: Howard et al., "MobileNets: efficient convolutional neural networks for mobile vision
applications", arXiv:1704.04861, 2017, table 1 and section 3.3 (width multiplier).
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import nn

from cnnlab.models.blocks import ConvNormActivation, check_image, init_he


class Separable(NamedTuple):
    """Two rows of table 1: a 3x3 depthwise convolution and the 1x1 that mixes its channels."""

    stride: int  # of the depthwise
    width: int  # of the 1x1


TABLE = (
    Separable(stride=1, width=64),
    Separable(stride=2, width=128),
    Separable(stride=1, width=128),
    Separable(stride=2, width=256),
    Separable(stride=1, width=256),
    Separable(stride=2, width=512),
    *[Separable(stride=1, width=512)] * 5,
    Separable(stride=2, width=1024),
    # The table prints stride 2 here, but its next line is 7x7 still: it must be 1.
    Separable(stride=1, width=1024),
)


class MobileNetV1(nn.Module):
    """A 3x3 stem, thirteen depthwise separable convolutions, average pooling, one linear layer.

    width_multiplier  the paper's alpha, which thins every layer
    """

    def __init__(
        self, *, num_classes: int = 1000, in_channels: int = 3, width_multiplier: float = 1.0
    ) -> None:
        super().__init__()
        self.in_channels = in_channels
        width = int(32 * width_multiplier)
        self.features = nn.Sequential(ConvNormActivation(in_channels, width, 3, stride=2))
        for row in TABLE:
            out_channels = int(row.width * width_multiplier)
            depthwise = ConvNormActivation(width, width, 3, stride=row.stride, groups=width)
            pointwise = ConvNormActivation(width, out_channels, 1)
            self.features.append(nn.Sequential(depthwise, pointwise))
            width = out_channels
        self.avgpool = nn.AdaptiveAvgPool2d(1)
        self.classifier = nn.Linear(width, num_classes)
        init_he(self)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Logits (B, num_classes) of images (B, in_channels, H, W) of any size."""
        check_image("MobileNet v1", x, self.in_channels)
        x = self.features(x)  # (B, 1024, 7, 7) for 224x224
        x = self.avgpool(x).flatten(1)  # (B, 1024)
        return self.classifier(x)  # (B, num_classes)
