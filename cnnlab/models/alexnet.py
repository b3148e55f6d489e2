"""AlexNet: Krizhevsky, Sutskever, Hinton, "ImageNet classification with deep convolutional neural
networks", NeurIPS 2012, section 3.5 and figure 2. Three networks carry the name; parameters with
bias, 1,000 classes:

    "paper"        60,965,224   two towers, one per GPU: groups=2 in convolutions 2, 4 and 5
    "ungrouped"    62,378,344   the same widths on one GPU
    "torchvision"  61,100,840   the narrower tower of Krizhevsky, "One weird trick for parallelizing
                                convolutional neural networks" (arXiv:1404.5997, footnote 1)
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import nn

from cnnlab.models.blocks import check_image


class Conv(NamedTuple):
    """One convolution of the paper's section 3.5."""

    width: int
    kernel: int
    stride: int = 1
    padding: int = 0
    groups: int = 1
    norm: bool = False  # local response normalization after the ReLU
    pool: bool = False  # overlapping 3x3 max pooling with stride 2, last


TABLE = {
    # The first padding is not in the paper. An unpadded 11x11 with stride 4 cannot turn its 224x224
    # into its 55x55; it would take 227x227 or, torchvision's choice, a padding of 2.
    "paper": (
        Conv(96, 11, stride=4, padding=2, norm=True, pool=True),
        Conv(256, 5, padding=2, groups=2, norm=True, pool=True),
        Conv(384, 3, padding=1),  # sees both towers
        Conv(384, 3, padding=1, groups=2),
        Conv(256, 3, padding=1, groups=2, pool=True),
    ),
    "ungrouped": (
        Conv(96, 11, stride=4, padding=2, norm=True, pool=True),
        Conv(256, 5, padding=2, norm=True, pool=True),
        Conv(384, 3, padding=1),
        Conv(384, 3, padding=1),
        Conv(256, 3, padding=1, pool=True),
    ),
    "torchvision": (
        Conv(64, 11, stride=4, padding=2, pool=True),
        Conv(192, 5, padding=2, pool=True),
        Conv(384, 3, padding=1),
        Conv(256, 3, padding=1),  # 384 in the footnote: github.com/pytorch/vision/pull/463
        Conv(256, 3, padding=1, pool=True),
    ),
}

# Going back through the poolings: 3 = (1-1)*2+3, 7 = (3-1)*2+3, 15 = (7-1)*2+3 units before each
# pooling, and (n-1)*4 + 11 - 2*2 pixels for n units of the first convolution.
NEEDS = (("convolution 1", 7), ("pooling 1", 15), ("pooling 2", 31), ("pooling 3", 63))


class AlexNet(nn.Module):
    """Five convolutions and three linear layers. `form` is a key of `TABLE`."""

    def __init__(
        self,
        *,
        form: str = "paper",
        num_classes: int = 1000,
        in_channels: int = 3,
        dropout: float = 0.5,
    ) -> None:
        super().__init__()
        if form not in TABLE:
            raise ValueError(f"form must be one of {', '.join(TABLE)}; got {form!r}")
        self.in_channels = in_channels
        layers: list[nn.Module] = []
        for row in TABLE[form]:
            layers.append(
                nn.Conv2d(
                    in_channels, row.width, row.kernel, row.stride, row.padding, groups=row.groups
                )
            )
            layers.append(nn.ReLU(inplace=True))
            if row.norm:
                # Section 3.3 sums over 5 neighbours with alpha = 1e-4. PyTorch takes their mean, so
                # the same normalization needs 5 times the alpha.
                layers.append(nn.LocalResponseNorm(5, alpha=5 * 1e-4, beta=0.75, k=2.0))
            if row.pool:
                layers.append(nn.MaxPool2d(3, stride=2))
            in_channels = row.width
        self.features = nn.Sequential(*layers)
        self.avgpool = nn.AdaptiveAvgPool2d(6)  # changes nothing at 224x224; other sizes fit, too
        head: list[nn.Module] = []
        for features in (256 * 6 * 6, 4096):
            linear = [nn.Linear(features, 4096), nn.ReLU(inplace=True)]
            drop = [nn.Dropout(dropout)]
            # The paper drops these layers' outputs (section 4.2), torchvision their inputs:
            # github.com/pytorch/vision/issues/549
            head += drop + linear if form == "torchvision" else linear + drop
        self.classifier = nn.Sequential(*head, nn.Linear(4096, num_classes))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Logits (B, num_classes) of images (B, in_channels, H, W), at least 63x63."""
        check_image("AlexNet", x, self.in_channels, NEEDS)
        x = self.features(x)  # (B, 256, 6, 6) for 224x224
        x = self.avgpool(x)  # (B, 256, 6, 6)
        x = x.flatten(1)  # (B, 9216)
        return self.classifier(x)  # (B, num_classes)
