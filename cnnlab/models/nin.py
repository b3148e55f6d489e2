"""Network in Network: Lin, Chen, Yan, ICLR 2014 (arXiv:1312.4400), section 3 and figure 2.

The paper gives the shape; the widths of its CIFAR-10 network are in the authors' Caffe
configuration (github.com/mavenlin/cuda-convnet, file NIN/cifar-10_def).
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import nn

from cnnlab.models.blocks import check_image, init_he


class MLPConv(NamedTuple):
    """One convolution, and two 1x1 convolutions: a small network slid over the image."""

    width: int
    kernel: int
    cccp1: int  # "cascaded cross-channel parametric pooling", the authors' name for the 1x1
    cccp2: int
    pool: str | None


TABLE = (
    MLPConv(192, 5, cccp1=160, cccp2=96, pool="max"),
    MLPConv(192, 5, cccp1=192, cccp2=192, pool="average"),
    MLPConv(192, 3, cccp1=192, cccp2=0, pool=None),  # cccp2: one map for each class
)


class NIN(nn.Module):
    """The CIFAR-10 network: no linear layer; each class's map is averaged into its logit."""

    def __init__(
        self, *, num_classes: int = 10, in_channels: int = 3, dropout: float = 0.5
    ) -> None:
        super().__init__()
        self.in_channels = in_channels
        layers: list[nn.Module] = []
        for row in TABLE:
            out_channels = row.cccp2 or num_classes
            layers += [
                nn.Conv2d(in_channels, row.width, row.kernel, padding=row.kernel // 2),
                nn.ReLU(inplace=True),
                nn.Conv2d(row.width, row.cccp1, 1),
                nn.ReLU(inplace=True),
                nn.Conv2d(row.cccp1, out_channels, 1),
                nn.ReLU(inplace=True),  # also before the last averaging, as in the authors' code
            ]
            if row.pool:
                pool = nn.MaxPool2d if row.pool == "max" else nn.AvgPool2d
                # Caffe rounds sizes up: 32, 16, 8. Rounding down would give 15 and 7.
                layers += [pool(3, stride=2, ceil_mode=True), nn.Dropout(dropout)]
            in_channels = out_channels
        self.features = nn.Sequential(*layers)
        self.avgpool = nn.AdaptiveAvgPool2d(1)
        init_he(self)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Logits (B, num_classes) of images (B, in_channels, H, W), at least 4x4."""
        check_image("NIN", x, self.in_channels, [("pooling 1", 2), ("pooling 2", 4)])
        x = self.features(x)  # (B, num_classes, 8, 8) for 32x32
        return self.avgpool(x).flatten(1)  # (B, num_classes)
