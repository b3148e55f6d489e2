"""LeNet-5: LeCun, Bottou, Bengio, Haffner, "Gradient-based learning applied to document
recognition", Proc. IEEE 86(11), 1998, section II.B and figure 2.

    layer  maps  size             parameters (with bias)
    C1        6  5x5 convolution     156
    S2        6  2x2 pooling           0
    C3       16  5x5 convolution   2,416
    S4       16  2x2 pooling           0
    C5      120  5x5 convolution  48,120
    F6       84  linear           10,164
    output   10  linear              850      61,706 in all
"""

from __future__ import annotations

import torch
from torch import nn

from cnnlab.models.blocks import check_image


class LeNet5(nn.Module):
    """LeNet-5 in its common form: 61,706 parameters with bias, for 28x28 or 32x32 images.

    Activations and poolings are the paper's (tanh, average) by default: it is the paper's network
    that carries the name, and on digits it trains well. `modern=True` takes ReLU and max pooling;
    neither has parameters, so the count is the same.

    The common form differs from the paper's (60,000 trainable parameters) in four places:
    - C3 sees all six maps. The paper's table I connects 60 of the 96 pairs: 1,516 parameters.
    - S2 and S4 are plain averages. The paper's scale and shift each map, 12 and 32 parameters.
    - tanh is not scaled; the paper uses 1.7159 tanh(2x/3) (appendix A).
    - The output is linear and goes to a cross entropy; the paper's output units are radial basis
      functions with fixed targets.
    """

    def __init__(
        self,
        *,
        num_classes: int = 10,
        in_channels: int = 1,
        image_size: int = 28,
        modern: bool = False,
    ) -> None:
        super().__init__()
        if image_size not in (28, 32):
            raise ValueError(
                f"image_size must be 28 (padded by 2) or 32, got {image_size}: resize the images"
            )
        self.image_size = image_size
        # MNIST's digits are 28x28; the paper sets them in a 32x32 field.
        self.c1 = nn.Conv2d(in_channels, 6, 5, padding=(32 - image_size) // 2)
        self.s2 = nn.MaxPool2d(2) if modern else nn.AvgPool2d(2)
        self.c3 = nn.Conv2d(6, 16, 5)
        self.s4 = nn.MaxPool2d(2) if modern else nn.AvgPool2d(2)
        # 16 x 5 x 5 under a 5x5 kernel leaves 1x1: the paper's convolution C5 is a linear layer.
        self.c5 = nn.Linear(16 * 5 * 5, 120)
        self.f6 = nn.Linear(120, 84)
        self.output = nn.Linear(84, num_classes)
        self.activation = nn.ReLU() if modern else nn.Tanh()

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Logits (B, num_classes) of images (B, in_channels, image_size, image_size)."""
        size = self.image_size
        smaller = 32 - size
        needs = [("C1", 5 - smaller), ("C3", 14 - smaller), ("C5", size)]
        sides = check_image("LeNet-5", x, self.c1.in_channels, needs)
        if sides not in ((), (size, size)):
            got = "x".join(map(str, sides))
            raise ValueError(f"LeNet-5 was built for {size}x{size} images, got {got}: resize them")
        x = self.activation(self.c1(x))  # (B, 6, 28, 28)
        x = self.s2(x)  # (B, 6, 14, 14)
        x = self.activation(self.c3(x))  # (B, 16, 10, 10)
        x = self.s4(x)  # (B, 16, 5, 5)
        x = x.flatten(1)  # (B, 400)
        x = self.activation(self.c5(x))  # (B, 120)
        x = self.activation(self.f6(x))  # (B, 84)
        return self.output(x)  # (B, num_classes)
