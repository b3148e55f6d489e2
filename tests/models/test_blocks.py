"""The check at the models' door: what it says, and that no tracer stumbles over it."""

import math
import warnings

import pytest
import torch
from torch import nn

from cnnlab.models.blocks import ConvNormActivation, check_image, init_he


@pytest.mark.parametrize(
    "shape, needs, message",
    [
        (
            (3, 32, 32),
            (),
            r"Net expects images of shape \(B, 3, H, W\), got \(3, 32, 32\).*unsqueeze",
        ),
        ((2, 5), (), r"got \(2, 5\): reshape it"),
        ((1, 1, 32, 32), (), r"expects 3 channels, got 1 in \(1, 1, 32, 32\).*in_channels=1"),
        ((1, 32, 32, 3), (), r"expects 3 channels, got 32 .*permute\(0, 3, 1, 2\)"),
        (
            (1, 3, 30, 9),
            [("pooling 1", 8), ("pooling 2", 16), ("pooling 3", 32)],
            r"nothing is left for pooling 2, which needs .* 16x16, got 30x9.*whole network needs "
            r"32x32",
        ),
    ],
)
def test_each_mistake_is_named_with_what_to_do(shape, needs, message):
    with pytest.raises(ValueError, match=message):
        check_image("Net", torch.zeros(shape), 3, needs)


def test_bytes_are_not_images_yet():
    with pytest.raises(ValueError, match=r"got torch.uint8: convert with x.float\(\) / 255"):
        check_image("Net", torch.zeros(1, 3, 8, 8, dtype=torch.uint8), 3)


def test_a_good_image_passes_in_any_floating_type_and_on_meta():
    for dtype in (torch.float32, torch.float16, torch.bfloat16, torch.float64):
        x = torch.zeros(1, 3, 16, 99, dtype=dtype, device="meta")
        assert check_image("Net", x, 3, [("pooling", 16)]) == (16, 99)


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(3, 4, 3)

    def forward(self, x):
        check_image("Net", x, 3, [("the convolution", 3)])
        return self.conv(x)


def test_tracing_compiling_and_exporting_pass_through():
    model, x = Net().eval(), torch.randn(1, 3, 8, 8)
    expected, larger = model(x), torch.randn(1, 3, 9, 9)
    assert torch.equal(torch.fx.symbolic_trace(model)(x), expected)
    assert torch.equal(torch.export.export(model, (x,)).module()(x), expected)
    with warnings.catch_warnings():
        warnings.simplefilter("error", torch.jit.TracerWarning)
        warnings.simplefilter("ignore", DeprecationWarning)
        traced = torch.jit.trace(model, x)
    assert torch.equal(traced(larger), model(larger))
    compiled = torch.compile(model, backend="eager", fullgraph=True)  # no break in the graph
    assert torch.equal(compiled(x), expected)
    assert torch.equal(compiled(larger), model(larger))


@pytest.mark.parametrize("kernel", [1, 3, 5, 7])
def test_conv_norm_activation_keeps_the_size_and_has_no_bias(kernel):
    layers = ConvNormActivation(4, 8, kernel, groups=2, activation=nn.ReLU6)
    y = layers(torch.randn(2, 4, 9, 12))
    assert y.shape == (2, 8, 9, 12) and 0 <= y.min() and y.max() <= 6
    assert sum(p.numel() for p in layers.parameters()) == kernel**2 * 2 * 8 + 2 * 8


def test_init_he_has_the_variance_of_the_paper_and_no_bias():
    torch.manual_seed(0)
    model = nn.Sequential(nn.Conv2d(64, 128, 3), nn.Conv2d(128, 128, 3, groups=4))
    init_he(model)
    for layer, fan in zip(model, (128 * 9, 128 * 9)):
        assert math.isclose(layer.weight.std().item(), math.sqrt(2 / fan), rel_tol=0.02)
        assert not layer.bias.any()
