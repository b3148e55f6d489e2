"""Random networks: shapes and MACs are PyTorch's, boxes the gradient's, bytes a real pass's."""

import copy

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from cnnlab.trace.run import TraceError, trace
from tests.trace.real import kept_for_real


class Meeting(nn.Module):
    """Branches of one map that meet again, side by side or summed."""

    def __init__(self, how, branches):
        super().__init__()
        self.how, self.branches = how, nn.ModuleList(branches)

    def forward(self, x):
        outputs = [branch(x) for branch in self.branches]
        return torch.cat(outputs, 1) if self.how == "cat" else sum(outputs[1:], outputs[0])


def two(draw, values):
    """One for the height, one for the width."""
    return draw(st.tuples(values, values))


def random_conv(draw, channels, out):
    kernel = two(draw, st.integers(1, 4))
    return nn.Conv2d(
        channels,
        out,
        kernel,
        stride=two(draw, st.integers(1, 3)),
        padding=tuple(draw(st.integers(0, k - 1)) for k in kernel),
        dilation=two(draw, st.integers(1, 2)),
        groups=draw(st.sampled_from([1, 2])),
        bias=draw(st.booleans()),
    )


def random_pool(draw):
    kernel = two(draw, st.integers(1, 4))
    return draw(st.sampled_from([nn.MaxPool2d, nn.AvgPool2d]))(
        kernel,
        stride=two(draw, st.integers(1, 3)),
        padding=tuple(draw(st.integers(0, k // 2)) for k in kernel),
        ceil_mode=draw(st.booleans()),
    )


def random_branch(draw, channels, out, stride):
    """Whatever its kernels, its map has the size that the stride alone gives."""
    layers = [nn.MaxPool2d(3, stride=1, padding=1)] if draw(st.booleans()) else []
    for _ in range(draw(st.integers(1, 2))):
        kernel, dilation = two(draw, st.sampled_from([1, 3, 5])), two(draw, st.integers(1, 2))
        padding = tuple(d * (k - 1) // 2 for k, d in zip(kernel, dilation))
        layers += [nn.Conv2d(channels, out, kernel, stride, padding, dilation), nn.ReLU()]
        channels, stride = out, 1
    return nn.Sequential(*layers)


@st.composite
def random_networks(draw):
    layers, channels = [], 2
    kinds = st.sampled_from(["conv", "pool", "cat", "add"])
    for kind in draw(st.lists(kinds, min_size=1, max_size=4)):
        out = draw(st.sampled_from([2, 4]))
        if kind == "conv":
            layers += [random_conv(draw, channels, out), nn.ReLU(inplace=draw(st.booleans()))]
            channels = out
        elif kind == "pool":
            layers.append(random_pool(draw))
        else:
            stride = two(draw, st.integers(1, 2))
            branches = [random_branch(draw, channels, out, stride) for _ in range(2)]
            if stride == (1, 1) and out == channels and draw(st.booleans()):
                branches[0] = nn.Identity()
            layers.append(Meeting(kind, branches))
            channels = 2 * out if kind == "cat" else out
    return nn.Sequential(*layers)


def ones_and_means(model):
    """All weights 1, means for maxima: no two paths cancel, no ReLU closes, no pixel hides."""
    model = copy.deepcopy(model).double()
    for parameter in model.parameters():
        nn.init.ones_(parameter)
    for parent in list(model.modules()):
        for name, pool in parent.named_children():
            if isinstance(pool, nn.MaxPool2d):
                mean = nn.AvgPool2d(pool.kernel_size, pool.stride, pool.padding, pool.ceil_mode)
                setattr(parent, name, mean)
    return model


def gradients_support(model, shape, unit):
    """((top, bottom), (left, right)) of the pixels with a gradient; None if there is none."""
    image = torch.ones(1, *shape, dtype=torch.float64, requires_grad=True)
    (gradient,) = torch.autograd.grad(model(image)[0, :, unit[0], unit[1]].sum(), image)
    pixels = gradient[0].sum(0).nonzero()
    return tuple((int(axis.min()), int(axis.max())) for axis in pixels.T) if len(pixels) else None


@settings(max_examples=60)
@given(random_networks(), st.integers(5, 18), st.integers(5, 18), st.data())
def test_random_networks(model, height, width, data):
    """Shapes and MACs are PyTorch's, boxes the gradient's; what PyTorch refuses is refused."""
    shape = (2, height, width)
    try:
        with FlopCounterMode(display=False) as counter, torch.no_grad():
            real = model(torch.zeros(1, *shape))
    except RuntimeError:
        with pytest.raises(TraceError):
            trace(model, shape)
        return
    table = trace(model, shape)
    assert table.params == sum(parameter.numel() for parameter in model.parameters())
    assert table.macs == counter.get_total_flops() // 2
    assert table[-1].out_shape == tuple(real.shape[1:])
    last_unit = tuple(n - 1 for n in real.shape[2:])
    drawn = data.draw(st.tuples(*(st.integers(0, last) for last in last_unit)), "unit")
    positive = ones_and_means(model)
    for unit in {(0, 0), drawn, last_unit}:
        box = table.box(len(table) - 1, *unit)
        nothing = any(first > last for first, last in box)
        assert gradients_support(positive, shape, unit) == (None if nothing else box)


activations = st.sampled_from(
    [nn.ReLU, nn.ReLU6, nn.SiLU, nn.Hardswish, nn.Hardsigmoid, nn.LeakyReLU, nn.GELU, nn.Sigmoid]
    + [nn.Tanh, nn.Identity, nn.BatchNorm2d, nn.Dropout, nn.LocalResponseNorm]
)


class Joined(nn.Module):
    """Two branches of one map, joined in any of the ways that networks know."""

    def __init__(self, how, first, second):
        super().__init__()
        self.how, self.first, self.second = how, first, second

    def forward(self, x):
        a, b = self.first(x), self.second(x)
        if self.how == "cat":
            return torch.cat([a, b], 1)[:, :4]
        return {"add": a + b, "mul": a * b, "div": a / b, "self": a * a, "gate": a * 0.5}[self.how]


@st.composite
def random_trained_networks(draw):
    """Whatever may keep something: activations in place or not, norms, dropout, frozen parts."""

    def activation():
        kind = draw(activations)
        if kind is nn.BatchNorm2d or kind is nn.LocalResponseNorm:
            return kind(4)
        if kind is nn.Dropout:
            return kind(draw(st.sampled_from([0.0, 0.5])), inplace=draw(st.booleans()))
        in_place = "inplace" in kind.__init__.__code__.co_varnames and draw(st.booleans())
        return kind(inplace=True) if in_place else kind()

    def part():
        kind = draw(st.sampled_from(["conv", "pool", "pair", "pair"]))
        if kind == "conv":
            return nn.Conv2d(4, 4, 3, padding=1, bias=draw(st.booleans()))
        if kind == "pool":
            return draw(st.sampled_from([nn.MaxPool2d, nn.AvgPool2d]))(3, 1, 1)
        return nn.Sequential(nn.Conv2d(4, 4, 1), activation(), activation())

    layers = []
    for _ in range(draw(st.integers(1, 4))):
        how = draw(st.sampled_from(["none", "cat", "add", "mul", "div", "self", "gate"]))
        layers.append(part() if how == "none" else Joined(how, part(), part()))
        layers.append(activation())
    head = draw(st.sampled_from([1, 2]))
    linear = nn.Linear(4 * head * head, 3, bias=draw(st.booleans()))
    layers += [nn.AdaptiveAvgPool2d(head), nn.Flatten(), linear]
    for layer in layers:
        layer.requires_grad_(draw(st.integers(0, 3)) > 0)
    return nn.Sequential(*layers)


@settings(max_examples=60)
@given(random_trained_networks())
def test_random_networks_keep_what_a_real_pass_keeps(model):
    model.train()
    expected = kept_for_real(model, torch.rand(1, 4, 6, 5))
    assert trace(model, (4, 6, 5), training=True).kept_bytes == expected
