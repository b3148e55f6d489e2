"""GoogLeNet: Szegedy et al., "Going deeper with convolutions", CVPR 2015 (arXiv:1409.4842):
figure 2 (naive and reduced Inception module), table 1, figure 3, section 5 (auxiliary heads).

    "paper"        6,998,552   5x5 convolutions with bias, local response normalization
    "torchvision"  6,624,904   batch norm; 3x3 for 5x5 (github.com/pytorch/vision/issues/906)

Parameters for 1,000 classes, without the auxiliary heads.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import nn

from cnnlab.models.blocks import check_image, init_he


class Row(NamedTuple):
    """One Inception module: its row of table 1, under the table's column names."""

    n1x1: int
    n3x3_reduce: int
    n3x3: int
    n5x5_reduce: int
    n5x5: int
    pool_proj: int

    @property
    def width(self) -> int:
        return self.n1x1 + self.n3x3 + self.n5x5 + self.pool_proj


TABLE = {
    "3a": Row(n1x1=64, n3x3_reduce=96, n3x3=128, n5x5_reduce=16, n5x5=32, pool_proj=32),
    "3b": Row(n1x1=128, n3x3_reduce=128, n3x3=192, n5x5_reduce=32, n5x5=96, pool_proj=64),
    "4a": Row(n1x1=192, n3x3_reduce=96, n3x3=208, n5x5_reduce=16, n5x5=48, pool_proj=64),
    "4b": Row(n1x1=160, n3x3_reduce=112, n3x3=224, n5x5_reduce=24, n5x5=64, pool_proj=64),
    "4c": Row(n1x1=128, n3x3_reduce=128, n3x3=256, n5x5_reduce=24, n5x5=64, pool_proj=64),
    "4d": Row(n1x1=112, n3x3_reduce=144, n3x3=288, n5x5_reduce=32, n5x5=64, pool_proj=64),
    "4e": Row(n1x1=256, n3x3_reduce=160, n3x3=320, n5x5_reduce=32, n5x5=128, pool_proj=128),
    "5a": Row(n1x1=256, n3x3_reduce=160, n3x3=320, n5x5_reduce=32, n5x5=128, pool_proj=128),
    "5b": Row(n1x1=384, n3x3_reduce=192, n3x3=384, n5x5_reduce=48, n5x5=128, pool_proj=128),
}

# Smallest images. Rounded up, a 3x3 pooling with stride 2 needs 2 units and makes 1 of 2 or 3,
# 2 of 4 or 5, and so on; torchvision's last pooling is 2x2 and takes a single unit.
NEEDS = (("pooling 1", 3), ("pooling 2", 7), ("pooling 3", 15), ("pooling 4", 31))


class Conv(nn.Module):
    """Convolution and ReLU, with a bias or (torchvision's form) with a batch norm between."""

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel: int,
        *,
        stride: int = 1,
        batch_norm: bool = False,
    ) -> None:
        super().__init__()
        self.conv = nn.Conv2d(
            in_channels, out_channels, kernel, stride, padding=kernel // 2, bias=not batch_norm
        )
        self.bn = nn.BatchNorm2d(out_channels, eps=0.001) if batch_norm else nn.Identity()

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return torch.relu_(self.bn(self.conv(x)))


class NaiveInception(nn.Module):
    """Figure 2(a): four branches side by side. The pooling passes every input channel on, so the
    width grows by n1x1 + n3x3 + n5x5 from module to module."""

    def __init__(self, in_channels: int, n1x1: int, n3x3: int, n5x5: int) -> None:
        super().__init__()
        self.branch1 = Conv(in_channels, n1x1, 1)
        self.branch2 = Conv(in_channels, n3x3, 3)
        self.branch3 = Conv(in_channels, n5x5, 5)
        self.branch4 = nn.MaxPool2d(3, stride=1, padding=1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """(B, in_channels, H, W) -> (B, n1x1 + n3x3 + n5x5 + in_channels, H, W)"""
        branches = [self.branch1(x), self.branch2(x), self.branch3(x), self.branch4(x)]
        return torch.cat(branches, dim=1)


class Inception(nn.Module):
    """Figure 2(b): 1x1 convolutions reduce the width, before the 3x3 and 5x5, after the pooling.

    `kernel5` is the kernel of the paper's 5x5 branch, 3 in torchvision's form.
    """

    def __init__(
        self,
        in_channels: int,
        row: Row,
        *,
        batch_norm: bool = False,
        kernel5: int = 5,
    ) -> None:
        super().__init__()

        def conv(inputs: int, outputs: int, kernel: int) -> Conv:
            return Conv(inputs, outputs, kernel, batch_norm=batch_norm)

        self.branch1 = conv(in_channels, row.n1x1, 1)
        self.branch2 = nn.Sequential(
            conv(in_channels, row.n3x3_reduce, 1), conv(row.n3x3_reduce, row.n3x3, 3)
        )
        self.branch3 = nn.Sequential(
            conv(in_channels, row.n5x5_reduce, 1), conv(row.n5x5_reduce, row.n5x5, kernel5)
        )
        self.branch4 = nn.Sequential(
            nn.MaxPool2d(3, stride=1, padding=1), conv(in_channels, row.pool_proj, 1)
        )

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """(B, in_channels, H, W) -> (B, row.width, H, W)"""
        branches = [self.branch1(x), self.branch2(x), self.branch3(x), self.branch4(x)]
        return torch.cat(branches, dim=1)


class AuxiliaryHead(nn.Module):
    """Section 5: a small classifier half-way; its loss, times 0.3, helps the early layers learn."""

    def __init__(self, in_channels: int, num_classes: int, *, batch_norm: bool) -> None:
        super().__init__()
        # The paper's 5x5 with stride 3 fits 14x14 only; torchvision averages any size to 4x4.
        self.avgpool = nn.AdaptiveAvgPool2d(4) if batch_norm else nn.AvgPool2d(5, stride=3)
        self.conv = Conv(in_channels, 128, 1, batch_norm=batch_norm)
        self.fc1 = nn.Linear(128 * 4 * 4, 1024)
        self.dropout = nn.Dropout(0.7)
        self.fc2 = nn.Linear(1024, num_classes)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        size = tuple(x.shape[2:])
        if isinstance(self.avgpool, nn.AvgPool2d) and size != (14, 14):
            raise ValueError(
                f"GoogLeNet's auxiliary heads expect 14x14 maps, got {size[0]}x{size[1]}: train on "
                "224x224 images, or build the model with aux=False or form='torchvision'"
            )
        x = self.avgpool(x)  # (B, 512 or 528, 4, 4)
        x = self.conv(x).flatten(1)  # (B, 2048)
        x = self.dropout(torch.relu_(self.fc1(x)))  # (B, 1024)
        return self.fc2(x)  # (B, num_classes)


class Outputs(NamedTuple):
    """What a GoogLeNet with auxiliary heads returns in training."""

    logits: torch.Tensor  # (B, num_classes)
    aux_logits2: torch.Tensor  # (B, num_classes), after module 4d
    aux_logits1: torch.Tensor  # (B, num_classes), after module 4a


class GoogLeNet(nn.Module):
    """Stem, nine Inception modules in three stages, global average pooling, one linear layer.

    form             "paper" or "torchvision"; see above
    aux              with the two auxiliary heads; in training the model then returns `Outputs`
    transform_input  from torchvision's usual normalization of images to the one that its weights
                     for this network were trained with, mean and deviation 0.5
    """

    def __init__(
        self,
        *,
        form: str = "paper",
        aux: bool = False,
        num_classes: int = 1000,
        in_channels: int = 3,
        dropout: float = 0.4,
        transform_input: bool = False,
    ) -> None:
        super().__init__()
        if form not in ("paper", "torchvision"):
            raise ValueError(f"form must be 'paper' or 'torchvision', got {form!r}")
        if transform_input and in_channels != 3:
            raise ValueError(f"transform_input is for 3 channels, in_channels is {in_channels}")
        bn = form == "torchvision"
        self.in_channels = in_channels
        self.needs = NEEDS[:3] if bn else NEEDS
        self.transform_input = transform_input

        def norm() -> nn.Module:
            # The paper's figure 3 gives no constants; these are the Caffe model's (bvlc_googlenet).
            return nn.Identity() if bn else nn.LocalResponseNorm(5, alpha=1e-4, beta=0.75)

        def pool(kernel: int = 3) -> nn.Module:
            return nn.MaxPool2d(kernel, stride=2, ceil_mode=True)  # 112, 56, 28, 14, 7

        self.conv1 = Conv(in_channels, 64, 7, stride=2, batch_norm=bn)
        self.maxpool1 = pool()
        self.norm1 = norm()
        self.conv2 = Conv(64, 64, 1, batch_norm=bn)
        self.conv3 = Conv(64, 192, 3, batch_norm=bn)
        self.norm2 = norm()
        self.maxpool2 = pool()
        width = 192
        for name, row in TABLE.items():
            module = Inception(width, row, batch_norm=bn, kernel5=3 if bn else 5)
            self.add_module(f"inception{name}", module)
            width = row.width
        self.maxpool3 = pool()
        self.maxpool4 = pool(2 if bn else 3)  # table 1: 3x3
        self.aux1 = AuxiliaryHead(512, num_classes, batch_norm=bn) if aux else None
        self.aux2 = AuxiliaryHead(528, num_classes, batch_norm=bn) if aux else None
        self.avgpool = nn.AdaptiveAvgPool2d(1)
        self.dropout = nn.Dropout(dropout)
        self.fc = nn.Linear(width, num_classes)
        init_he(self)

    def forward(self, x: torch.Tensor) -> torch.Tensor | Outputs:
        """Logits (B, num_classes) of images (B, in_channels, H, W), at least 31x31.

        In training a model with auxiliary heads returns `Outputs`.
        """
        check_image("GoogLeNet", x, self.in_channels, self.needs)
        if self.transform_input:
            mean = x.new_tensor([0.485, 0.456, 0.406]).view(3, 1, 1)
            deviation = x.new_tensor([0.229, 0.224, 0.225]).view(3, 1, 1)
            x = (x * deviation + mean - 0.5) / 0.5
        x = self.conv1(x)  # (B, 64, 112, 112)
        x = self.norm1(self.maxpool1(x))  # (B, 64, 56, 56)
        x = self.conv3(self.conv2(x))  # (B, 192, 56, 56)
        x = self.maxpool2(self.norm2(x))  # (B, 192, 28, 28)
        x = self.inception3a(x)  # (B, 256, 28, 28)
        x = self.inception3b(x)  # (B, 480, 28, 28)
        x = self.maxpool3(x)  # (B, 480, 14, 14)
        x = self.inception4a(x)  # (B, 512, 14, 14)
        with_aux = self.training and self.aux1 is not None
        aux1 = self.aux1(x) if with_aux else None
        x = self.inception4b(x)  # (B, 512, 14, 14)
        x = self.inception4c(x)  # (B, 512, 14, 14)
        x = self.inception4d(x)  # (B, 528, 14, 14)
        aux2 = self.aux2(x) if with_aux else None
        x = self.inception4e(x)  # (B, 832, 14, 14)
        x = self.maxpool4(x)  # (B, 832, 7, 7)
        x = self.inception5a(x)  # (B, 832, 7, 7)
        x = self.inception5b(x)  # (B, 1024, 7, 7)
        x = self.avgpool(x).flatten(1)  # (B, 1024)
        logits = self.fc(self.dropout(x))  # (B, num_classes)
        return Outputs(logits, aux2, aux1) if with_aux else logits
