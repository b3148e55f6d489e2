"""ResNeXt: Xie, Girshick, Dollár, Tu, He, "Aggregated residual transformations for deep neural
networks", CVPR 2017 (arXiv:1611.05431), table 1.
"""

from __future__ import annotations

from functools import partial

from cnnlab.models.resnet import Bottleneck, ResNet


class GroupedBottleneck(Bottleneck):
    """ResNet's bottleneck, twice as wide and in 32 groups: 32 paths of width 4, then 8, 16, 32."""

    expansion = 2
    groups = 32


# "32x4d": 32 groups of 4 channels each in the first stage, 128 in all. ResNet-50 has 64 there.
resnext50_32x4d = partial(
    ResNet, GroupedBottleneck, (3, 4, 6, 3), stage_widths=(128, 256, 512, 1024)
)
