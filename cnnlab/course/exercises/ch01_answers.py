"""Answers to the exercises of chapter 01: right ones, known mistakes, and what is looked at."""

from __future__ import annotations

import copy
from collections.abc import Callable

import torch
from torch import nn

from cnnlab.course.exercises.built import fill, observe_cases
from cnnlab.course.exercises.judge import at_least, at_most
from cnnlab.course.exercises.sandbox import called, output_of

# -- implement: MACs from the input's size


def macs(size, in_channels, out_channels, kernel, stride=1, padding=0, groups=1):
    output = (size + 2 * padding - kernel) // stride + 1
    weights = out_channels * (in_channels // groups) * kernel * kernel
    return weights * output * output


def _macs_on_input_pixels(size, in_channels, out_channels, kernel, stride=1, padding=0, groups=1):
    return out_channels * (in_channels // groups) * kernel * kernel * size * size


def _macs_without_stride(size, in_channels, out_channels, kernel, stride=1, padding=0, groups=1):
    return macs(size, in_channels, out_channels, kernel, 1, padding, groups)


def _macs_without_groups(size, in_channels, out_channels, kernel, stride=1, padding=0, groups=1):
    return macs(size, in_channels, out_channels, kernel, stride, padding)


def _macs_groups_twice(size, in_channels, out_channels, kernel, stride=1, padding=0, groups=1):
    return macs(size, in_channels, out_channels, kernel, stride, padding, groups) // groups


def _macs_with_bias(size, in_channels, out_channels, kernel, stride=1, padding=0, groups=1):
    output = (size + 2 * padding - kernel) // stride + 1
    return (
        macs(size, in_channels, out_channels, kernel, stride, padding, groups)
        + out_channels * output * output
    )


def _macs_of_one_row(size, in_channels, out_channels, kernel, stride=1, padding=0, groups=1):
    output = (size + 2 * padding - kernel) // stride + 1
    return macs(size, in_channels, out_channels, kernel, stride, padding, groups) // output


def _flops(size, in_channels, out_channels, kernel, stride=1, padding=0, groups=1):
    return 2 * macs(size, in_channels, out_channels, kernel, stride, padding, groups)


def _more_macs(draw):
    groups = draw.choice((1, 1, 2, 4))
    channels = groups * draw.randint(1, 8), groups * draw.randint(1, 8)
    kernel, stride = draw.randint(1, 7), draw.randint(1, 3)
    return draw.randint(kernel, 40), *channels, kernel, stride, draw.randint(0, kernel // 2), groups


# -- spot the bug: a depthwise separable block that is not depthwise


class Separable(nn.Module):
    """3x3 depthwise, then 1x1 to mix the channels. Both without bias."""

    def __init__(self, in_channels, out_channels):
        super().__init__()
        self.depthwise = nn.Conv2d(
            in_channels, in_channels, 3, padding=1, groups=in_channels, bias=False
        )
        self.pointwise = nn.Conv2d(in_channels, out_channels, 1, bias=False)

    def forward(self, x):  # (B, in_channels, H, W)
        return self.pointwise(self.depthwise(x))  # (B, out_channels, H, W)


class _SeparableAsGiven(Separable):
    def __init__(self, in_channels, out_channels):
        super().__init__(in_channels, out_channels)
        self.depthwise = nn.Conv2d(in_channels, in_channels, 3, padding=1, bias=False)


class _GroupsOnThePointwise(_SeparableAsGiven):
    def __init__(self, in_channels, out_channels):
        super().__init__(in_channels, out_channels)
        self.pointwise = nn.Conv2d(in_channels, out_channels, 1, groups=in_channels, bias=False)


class _GroupsOnBoth(Separable):
    def __init__(self, in_channels, out_channels):
        super().__init__(in_channels, out_channels)
        self.pointwise = nn.Conv2d(in_channels, out_channels, 1, groups=in_channels, bias=False)


class _WithBias(Separable):
    def __init__(self, in_channels, out_channels):
        super().__init__(in_channels, out_channels)
        self.depthwise = nn.Conv2d(in_channels, in_channels, 3, padding=1, groups=in_channels)
        self.pointwise = nn.Conv2d(in_channels, out_channels, 1)


def _seen_in_separable(block: Callable[[int, int], nn.Module]) -> dict[str, object]:
    if not isinstance(block, type):
        raise ValueError("give the class itself: ex.separable.check(Separable)")
    model, small = called(block, Separable, 64, 128), block(32, 64)
    dyed = torch.zeros(1, 64, 28, 28)
    dyed[:, :, 14, 14] = torch.nan  # whatever reads a NaN becomes one
    with torch.no_grad():
        output, plain = output_of(model, dyed), output_of(model, torch.zeros_like(dyed))
        output_of(small, dyed[:, :32])  # a lazy layer takes its size from what it first sees
    table, other = _trace(model, (64, 28, 28)), _trace(small, (32, 28, 28))
    return {
        "output (channels, height, width)": tuple(output.shape[1:]),
        "parameters": table.params,
        "parameters from 32 to 64 channels": other.params,
        "output pixels that see one input pixel, through both layers": int(
            (output[0, 0].isnan() & ~plain[0, 0].isnan()).sum()
        ),
    }


def _observe_separable(block: Callable[[int, int], nn.Module]) -> dict[str, object]:
    cases = (((64, 128), (2, 64, 9, 7)), ((32, 96), (3, 32, 7, 8)), ((8, 8), (2, 8, 30, 33)))
    return {**_seen_in_separable(block), **observe_cases(block, Separable, cases)}


# -- design: halve the size, double the channels, on a budget


def halve():
    return nn.Sequential(
        nn.Conv2d(64, 64, 3, stride=2, padding=1, groups=64),  # 64 x 28 x 28
        nn.Conv2d(64, 128, 1),  # 128 x 28 x 28
    )


def _halve_dense():
    return nn.Conv2d(64, 128, 3, stride=2, padding=1)


def _halve_skipping():
    return nn.Conv2d(64, 128, 1, stride=2)


def _halve_grouped():
    return nn.Conv2d(64, 128, 3, stride=2, padding=1, groups=16)


def _halve_not():
    return nn.Sequential(nn.Conv2d(64, 64, 3, padding=1, groups=64), nn.Conv2d(64, 128, 1))


def _halve_too_late():
    return nn.Sequential(
        nn.Conv2d(64, 128, 1), nn.Conv2d(128, 128, 3, stride=2, padding=1, groups=128)
    )


LEAST_CHANNELS = 32  # fewer would squeeze all 64 through a few


def _observe_halving(build: Callable[[], nn.Module]) -> dict[str, object]:
    if isinstance(build, nn.Module):
        raise ValueError("give the function itself, not the model: ex.halve.check(halve)")
    model = called(build, halve)
    if isinstance(model, (list, tuple)):
        raise ValueError(
            f"the function gives a {type(model).__name__}, expected an nn.Module: put "
            "the layers into nn.Sequential(...)"
        )
    if not isinstance(model, nn.Module):
        raise ValueError("the function must return a model, an nn.Module: is a `return` missing?")
    table = _trace(model, (64, 56, 56))
    read, mixed = _who_is_read(model)
    images = torch.randn(2, 64, 56, 56)
    learned = output_of(copy.deepcopy(model).train(), images)
    still = output_of(copy.deepcopy(model).eval(), images)
    return {
        "output": " x ".join(map(str, table[-1].out_shape)),
        "at most 10,000 parameters, with bias": at_most(table.params, 10_000),
        "at most 10,000,000 MACs": at_most(table.macs, 10_000_000),
        f"no map on the way has fewer than {LEAST_CHANNELS} channels": at_least(
            min(row.out_shape[0] for row in table), LEAST_CHANNELS
        ),
        "every input pixel is read": read,
        "every output channel sees every input channel": mixed,
        "it works for two images, in training and in evaluation": (2, 128, 28, 28)
        == tuple(learned.shape)
        == tuple(still.shape),
        "its output is float32, and a gradient reaches it": learned.dtype == torch.float32
        and learned.requires_grad,
    }


def _who_is_read(model: nn.Module) -> tuple[bool, bool]:
    """(is every pixel read, does every output channel see every input channel)?

    NaN is the dye: whatever reads a NaN becomes one. Four images have it in one pixel each, the
    four places of a 2 x 2 block; 16 have it in one channel. A pixel elsewhere is read where a
    gradient reaches it, with random weights.
    """
    still = copy.deepcopy(model).eval()
    dyed = torch.zeros(20, 64, 56, 56)
    for image in range(4):
        dyed[image, :, 28 + image // 2, 28 + image % 2] = torch.nan
    for image, channel in enumerate((0, 63, *torch.randperm(62)[:14] + 1), 4):
        dyed[image, channel] = torch.nan
    with torch.no_grad():
        output = output_of(still, dyed)
    stained = output.isnan().flatten(2).any(2)  # (20, channels)
    images = torch.randn(4, 64, 56, 56, requires_grad=True)
    fill(still)
    output = output_of(still, images)
    if output.requires_grad:
        (output * torch.randn_like(output)).sum().backward()
    far = images.grad is None or images.grad.abs().sum((0, 1)).all()
    return bool(stained[:4].any(1).all() and far), bool(stained[4:].all())


def _trace(model: nn.Module, shape: tuple[int, ...]):
    from cnnlab.trace.run import TraceError, trace

    try:
        return trace(model, shape)
    except TraceError as error:
        raise ValueError(str(error)) from error
