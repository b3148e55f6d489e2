"""VGG: Simonyan, Zisserman, "Very deep convolutional networks for large-scale image recognition",
ICLR 2015 (arXiv:1409.1556), table 1. Batch norm came later; `vgg16_bn` is torchvision's form.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import NamedTuple

import torch
from torch import nn

from cnnlab.models.blocks import check_image, init_he


class Stages(NamedTuple):
    """One column of table 1: the kernel of each convolution, stage by stage."""

    conv1: tuple[int, ...]
    conv2: tuple[int, ...]
    conv3: tuple[int, ...]
    conv4: tuple[int, ...]
    conv5: tuple[int, ...]


WIDTHS = (64, 128, 256, 512, 512)
TABLE = {
    "A": Stages((3,), (3,), (3, 3), (3, 3), (3, 3)),
    "B": Stages((3, 3), (3, 3), (3, 3), (3, 3), (3, 3)),
    "C": Stages((3, 3), (3, 3), (3, 3, 1), (3, 3, 1), (3, 3, 1)),
    "D": Stages((3, 3), (3, 3), (3, 3, 3), (3, 3, 3), (3, 3, 3)),
    "E": Stages((3, 3), (3, 3), (3, 3, 3, 3), (3, 3, 3, 3), (3, 3, 3, 3)),
}


class VGG(nn.Module):
    """Stages of 3x3 convolutions, each stage closed by a 2x2 max pooling, and three linear layers.

    stages     kernels of each stage, a row of `TABLE`
    widths     channels of each stage
    poolings   which stages (from 1) end in a pooling; fewer keep small images alive
    pool_size  side of the map that goes into the head; other sizes are averaged to it
    hidden     width of the head's linear layers; () leaves one linear layer
    """

    def __init__(
        self,
        stages: Sequence[Sequence[int]],
        *,
        batch_norm: bool = False,
        num_classes: int = 1000,
        in_channels: int = 3,
        dropout: float = 0.5,
        widths: Sequence[int] = WIDTHS,
        poolings: Sequence[int] = (1, 2, 3, 4, 5),
        pool_size: int = 7,
        hidden: Sequence[int] = (4096, 4096),
    ) -> None:
        super().__init__()
        if len(widths) != len(stages):
            raise ValueError(f"{len(stages)} stages need as many widths, got {tuple(widths)}")
        if not set(poolings) <= set(range(1, len(stages) + 1)):
            raise ValueError(f"poolings are stages from 1 to {len(stages)}, got {tuple(poolings)}")
        self.in_channels = in_channels
        self.needs = [(f"the pooling of stage {s}", 2**n) for n, s in enumerate(poolings, 1)]
        layers: list[nn.Module] = []
        for stage, (kernels, width) in enumerate(zip(stages, widths), 1):
            for kernel in kernels:
                layers.append(nn.Conv2d(in_channels, width, kernel, padding=kernel // 2))
                if batch_norm:
                    layers.append(nn.BatchNorm2d(width))
                layers.append(nn.ReLU(inplace=True))
                in_channels = width
            if stage in poolings:
                layers.append(nn.MaxPool2d(2))
        self.features = nn.Sequential(*layers)
        self.avgpool = nn.AdaptiveAvgPool2d(pool_size)  # changes nothing at 224x224

        head: list[nn.Module] = []
        features = in_channels * pool_size**2
        for width in hidden:
            head += [nn.Linear(features, width), nn.ReLU(inplace=True), nn.Dropout(dropout)]
            features = width
        self.classifier = nn.Sequential(*head, nn.Linear(features, num_classes))

        # The paper draws with variance 10^-2 and starts the deep ones from a trained A (section
        # 3.1); He's rule trains them from scratch. The head's deviation is torchvision's.
        init_he(self)
        for layer in self.classifier:
            if isinstance(layer, nn.Linear):
                nn.init.normal_(layer.weight, std=0.01)
                nn.init.zeros_(layer.bias)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Logits (B, num_classes) of images (B, in_channels, H, W).

        The smallest side doubles with each pooling: 32 for the paper's five, 8 for three.
        """
        check_image("VGG", x, self.in_channels, self.needs)
        x = self.features(x)  # (B, 512, 7, 7) for 224x224
        x = self.avgpool(x)  # (B, 512, 7, 7)
        x = x.flatten(1)  # (B, 25088)
        return self.classifier(x)  # (B, num_classes)


vgg11 = partial(VGG, TABLE["A"])
vgg13 = partial(VGG, TABLE["B"])
vgg16 = partial(VGG, TABLE["D"])
vgg16_c = partial(VGG, TABLE["C"])  # 16 layers, too: the one column with 1x1 convolutions
vgg19 = partial(VGG, TABLE["E"])
vgg11_bn = partial(VGG, TABLE["A"], batch_norm=True)
vgg13_bn = partial(VGG, TABLE["B"], batch_norm=True)
vgg16_bn = partial(VGG, TABLE["D"], batch_norm=True)
vgg19_bn = partial(VGG, TABLE["E"], batch_norm=True)

# Ours, not the paper's: three stages for 28x28 gray images (28, 14, 7, then 3x3 into the head).
vgg_small = partial(
    VGG,
    ((3, 3), (3, 3), (3, 3)),
    widths=(32, 64, 128),
    poolings=(1, 2, 3),
    pool_size=3,
    hidden=(128,),
    batch_norm=True,
    num_classes=10,
    in_channels=1,
)
