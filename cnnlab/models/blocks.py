"""What two or more papers share: the check at every model's door, convolution with norm and
activation, He's initialization."""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import nn
from torch.fx import Proxy


def check_image(
    model: str, x: torch.Tensor, channels: int, needs: Iterable[tuple[str, int]] = ()
) -> tuple[int, ...]:
    """The sides (H, W) of `x`. Raises ValueError unless it is a batch that `model` can take.

    model     name for the message
    x         (B, C, H, W), floating point
    channels  the C that the stem was built for
    needs     (stage, smallest image side that gets through this stage), in the order of the stages

    Looks at the shape and the type only, never at values, so it costs nothing on a GPU and stays
    out of the way of `torch.compile`, `torch.export` and symbolic tracing: then it gives ().
    """
    if isinstance(x, Proxy) or torch.jit.is_tracing():
        return ()  # stand-ins without a shape; a recorded comparison would be wrong later
    shape = tuple(x.shape)
    if len(shape) != 4:
        step = "add the batch axis with x.unsqueeze(0)" if len(shape) == 3 else "reshape it"
        raise ValueError(
            f"{model} expects images of shape (B, {channels}, H, W), got {shape}: {step}"
        )
    if not x.is_floating_point():
        raise ValueError(
            f"{model} expects floating-point images, got {x.dtype}: convert with x.float() / 255"
        )
    if shape[1] != channels:
        step = f"build the model with in_channels={shape[1]}"
        if shape[3] == channels:
            step = "move the channels to the front with x.permute(0, 3, 1, 2)"
        raise ValueError(f"{model} expects {channels} channels, got {shape[1]} in {shape}: {step}")
    needs = tuple(needs)
    side = min(shape[2:])
    for stage, least in needs:
        if side < least:
            whole = max(least for _, least in needs)
            raise ValueError(
                f"{model}: nothing is left for {stage}, which needs an image of at least "
                f"{least}x{least}, got {shape[2]}x{shape[3]}: enlarge the image (the whole network "
                f"needs {whole}x{whole}) or use a network with fewer reductions"
            )
    return shape[2:]


class ConvNormActivation(nn.Sequential):
    """Convolution without bias, batch norm, activation. The norm's shift is the bias.

    An odd kernel is padded so that stride 1 keeps the size.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel: int,
        stride: int = 1,
        groups: int = 1,
        activation: type[nn.Module] = nn.ReLU,
    ) -> None:
        super().__init__(
            nn.Conv2d(
                in_channels,
                out_channels,
                kernel,
                stride,
                padding=kernel // 2,
                groups=groups,
                bias=False,
            ),
            nn.BatchNorm2d(out_channels),
            activation(inplace=True),
        )


def init_he(model: nn.Module) -> None:
    """Initialize in place as in He et al. 2015 (arXiv:1502.01852, section 2.2).

    Convolutions: normal with variance 2 / fan, which keeps the signal's scale through ReLUs. The
    fan counts the outputs, as the ResNet authors' code does. Biases start at zero; norms already
    start as the identity; linear layers keep PyTorch's default.
    """
    for layer in model.modules():
        if isinstance(layer, (nn.Conv2d, nn.ConvTranspose2d)):
            nn.init.kaiming_normal_(layer.weight, mode="fan_out", nonlinearity="relu")
            if layer.bias is not None:
                nn.init.zeros_(layer.bias)


def count(model: nn.Module) -> int:
    """How many parameters `model` has, each once, also where layers share them."""
    return sum(parameter.numel() for parameter in model.parameters())
