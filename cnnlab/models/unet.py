"""U-Net: Ronneberger, Fischer, Brox, "U-Net: convolutional networks for biomedical image
segmentation", MICCAI 2015 (arXiv:1505.04597), figure 1 and section 2.
"""

from __future__ import annotations

import torch
from torch import nn

from cnnlab.models.blocks import check_image, init_he


def double_conv(in_channels: int, width: int, *, padded: bool, batch_norm: bool) -> nn.Sequential:
    """Two 3x3 convolutions with ReLU; unpadded they take two pixels off every side."""
    layers: list[nn.Module] = []
    for channels in (in_channels, width):
        layers.append(nn.Conv2d(channels, width, 3, padding=int(padded), bias=not batch_norm))
        if batch_norm:
            layers.append(nn.BatchNorm2d(width))
        layers.append(nn.ReLU(inplace=True))
    return nn.Sequential(*layers)


def crop(x: torch.Tensor, height: int, width: int) -> torch.Tensor:
    """The central height x width pixels of (B, C, H, W)."""
    top, left = (x.shape[2] - height) // 2, (x.shape[3] - width) // 2
    return x[:, :, top : top + height, left : left + width]


class UNet(nn.Module):
    """A contracting path, an expanding path, and at each level a shortcut joined by concatenation.

    width   channels of the first level; each level down has twice as many
    depth   number of 2x2 poolings
    padded  False: the paper's unpadded convolutions, 572x572 in and 388x388 out.
            True, common today: the output is as large as the image
    """

    def __init__(
        self,
        *,
        num_classes: int = 2,
        in_channels: int = 1,
        width: int = 64,
        depth: int = 4,
        padded: bool = False,
        batch_norm: bool = False,
        dropout: float = 0.5,
    ) -> None:
        super().__init__()
        if depth < 0:
            raise ValueError(f"depth {depth}: give the number of poolings, from 0")
        self.in_channels, self.depth, self.padded = in_channels, depth, padded
        widths = [width * 2**level for level in range(depth + 1)]  # 64, 128, 256, 512, 1024

        def conv(inputs: int, outputs: int) -> nn.Sequential:
            return double_conv(inputs, outputs, padded=padded, batch_norm=batch_norm)

        self.down = nn.ModuleList(
            conv(inputs, outputs) for inputs, outputs in zip([in_channels, *widths], widths[:-1])
        )
        self.pool = nn.MaxPool2d(2)
        self.bottom = conv(widths[-2] if depth else in_channels, widths[-1])
        self.dropout = nn.Dropout(dropout)  # section 3.1, "at the end of the contracting path"
        self.up = nn.ModuleList(
            nn.ConvTranspose2d(2 * w, w, 2, stride=2) for w in reversed(widths[:-1])
        )
        self.join = nn.ModuleList(conv(2 * w, w) for w in reversed(widths[:-1]))
        self.head = nn.Conv2d(width, num_classes, 1)
        init_he(self)

    def smallest(self) -> int:
        """The smallest image side. Larger ones differ from it by multiples of 2 ** depth."""
        lost = 0 if self.padded else 4  # by two convolutions
        side = 1  # of the output; then up the right-hand path of figure 1, and the left
        for _ in range(self.depth):
            side = (side + lost + 1) // 2
        side += lost
        for _ in range(self.depth):
            side = 2 * side + lost
        return side

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Logits (B, num_classes, H', W') for each pixel of images (B, in_channels, H, W)."""
        least, step = self.smallest(), 2**self.depth
        for side in check_image("U-Net", x, self.in_channels, [("the bottom level", least)]):
            if (side - least) % step:
                below = side - (side - least) % step
                raise ValueError(
                    f"U-Net: {self.depth} poolings of 2x2 must each get an even size, which a side "
                    f"of {side} does not give: crop it to {below} or pad it to {below + step}"
                )
        # Sizes for the paper's 572x572.
        levels = []
        for down in self.down:
            x = down(x)  # (B, 64, 568, 568), (B, 128, 280, 280), ... (B, 512, 64, 64)
            levels.append(x)
            x = self.pool(x)  # (B, 64, 284, 284), (B, 128, 140, 140), ... (B, 512, 32, 32)
        x = self.dropout(self.bottom(x))  # (B, 1024, 28, 28)
        for up, join, level in zip(self.up, self.join, reversed(levels)):
            x = up(x)  # (B, 512, 56, 56), ... (B, 64, 392, 392)
            x = torch.cat([crop(level, x.shape[2], x.shape[3]), x], dim=1)  # twice the channels
            x = join(x)  # (B, 512, 52, 52), ... (B, 64, 388, 388)
        return self.head(x)  # (B, num_classes, 388, 388)
