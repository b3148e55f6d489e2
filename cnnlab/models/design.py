"""A network as four short lists of numbers, for designs under a budget. Ours, no paper's: stages of
3x3 convolutions as in VGG, strides in place of poolings, skips as in ResNet, one linear layer.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from torch import nn

from cnnlab.models.blocks import ConvNormActivation, init_he
from cnnlab.models.resnet import BasicBlock


@dataclass(frozen=True)
class Design:
    """One number per stage.

    convs    3x3 convolutions, each with batch norm and ReLU
    widths   their channels
    strides  of the first of them; the others keep the size
    skips    around each two convolutions of a stage after its first; they cost no parameters
    """

    convs: Sequence[int]
    widths: Sequence[int]
    strides: Sequence[int]
    skips: bool = False


def network(design: Design, num_classes: int = 10, in_channels: int = 1) -> nn.Sequential:
    """The design with fresh weights: convolutions, average over the map, one linear layer.

    Raises ValueError where the three lists differ in length or hold something below 1.
    """
    parts = design.convs, design.widths, design.strides
    lists = all(isinstance(part, Sequence) for part in parts)
    if not lists or not len(parts[0]) == len(parts[1]) == len(parts[2]) > 0:
        raise ValueError(f"{design}: give convs, widths and strides one number for each stage")
    plan = tuple(zip(*parts))
    if any(type(n) is not int or n < 1 for row in plan for n in row):
        raise ValueError(f"{design}: every number must be an int of at least 1")
    layers, before = [], in_channels
    for convs, width, stride in plan:
        layers.append(ConvNormActivation(before, width, 3, stride))
        pairs = (convs - 1) // 2 if design.skips else 0
        layers += [BasicBlock(width, width) for _ in range(pairs)]
        layers += [ConvNormActivation(width, width, 3) for _ in range(convs - 1 - 2 * pairs)]
        before = width
    model = nn.Sequential(
        *layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(before, num_classes)
    )
    init_he(model)
    return model
