"""The closed formulas against what PyTorch really does, and against published figures."""

import doctest

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn
from torch.nn import functional as F

from cnnlab import arithmetic
from cnnlab.arithmetic import GeometryError, Window

sizes = st.integers(1, 40)
kernels = st.integers(1, 7)
strides = st.integers(1, 4)
paddings = st.integers(0, 5)
dilations = st.integers(1, 4)


def conv_output(size, kernel, stride, padding, dilation):
    """What PyTorch's convolution gives, or its refusal (2.6 refuses too little on meta)."""
    x, w = torch.zeros(1, 1, size), torch.zeros(1, 1, kernel)
    return F.conv1d(x, w, stride=stride, padding=padding, dilation=dilation).shape[-1]


def test_docstring_examples():
    assert doctest.testmod(arithmetic).failed == 0
    assert doctest.testmod(arithmetic).attempted >= 10


@given(sizes, kernels, strides, paddings, dilations)
def test_output_size_is_pytorchs(size, kernel, stride, padding, dilation):
    try:
        expected = conv_output(size, kernel, stride, padding, dilation)
    except RuntimeError:
        with pytest.raises(GeometryError, match="does not fit"):
            arithmetic.output_size(size, kernel, stride, padding, dilation)
    else:
        assert arithmetic.output_size(size, kernel, stride, padding, dilation) == expected


@given(sizes, kernels, strides, paddings, dilations, st.booleans())
def test_pooling_output_size_is_pytorchs(size, kernel, stride, padding, dilation, ceil_mode):
    if padding > kernel // 2:  # PyTorch forbids it for pooling, whatever the size
        return
    x = torch.zeros(1, 1, size)
    try:
        expected = F.max_pool1d(x, kernel, stride, padding, dilation, ceil_mode).shape[-1]
    except RuntimeError:
        with pytest.raises(GeometryError, match="does not fit"):
            arithmetic.output_size(size, kernel, stride, padding, dilation, ceil_mode)
    else:
        got = arithmetic.output_size(size, kernel, stride, padding, dilation, ceil_mode)
        assert got == expected


@given(sizes, kernels, strides, paddings, dilations, st.integers(0, 4))
def test_transposed_output_size_is_pytorchs(size, kernel, stride, padding, dilation, extra):
    x, w = torch.empty(1, 1, size, device="meta"), torch.empty(1, 1, kernel, device="meta")
    arguments = (size, kernel, stride, padding, dilation, extra)
    allowed = extra < max(stride, dilation)  # the meta kernel does not check this rule
    try:
        expected = F.conv_transpose1d(
            x, w, stride=stride, padding=padding, output_padding=extra, dilation=dilation
        ).shape[-1]
    except RuntimeError:
        allowed, expected = False, None
    if not allowed or expected < 1:
        with pytest.raises(GeometryError):
            arithmetic.transposed_output_size(*arguments)
    else:
        assert arithmetic.transposed_output_size(*arguments) == expected


@given(kernels, dilations, st.integers(30, 40))
def test_same_padding_keeps_the_size(kernel, dilation, size):
    if ((kernel - 1) * dilation) % 2:
        with pytest.raises(GeometryError, match="even number"):
            arithmetic.same_padding(kernel, dilation)
    else:
        padding = arithmetic.same_padding(kernel, dilation)
        assert conv_output(size, kernel, 1, padding, dilation) == size


@given(st.integers(1, 24), st.integers(1, 24), kernels, kernels, st.integers(1, 6), st.booleans())
def test_conv_params_are_pytorchs(in_channels, out_channels, height, width, groups, bias):
    try:
        conv = nn.Conv2d(
            in_channels, out_channels, (height, width), groups=groups, bias=bias, device="meta"
        )
    except ValueError:
        with pytest.raises(GeometryError, match="not divisible by groups"):
            arithmetic.conv_params(in_channels, out_channels, (height, width), groups, bias)
        return
    expected = sum(p.numel() for p in conv.parameters())
    got = arithmetic.conv_params(in_channels, out_channels, (height, width), groups, bias)
    assert got == expected


@given(
    st.integers(1, 4), st.integers(1, 4), st.integers(1, 3), st.integers(1, 3), st.integers(3, 9)
)
def test_conv_macs_count_every_product(group_in, group_out, groups, kernel, size):
    """All-ones weights on all-ones pixels: each output value counts its own products."""
    in_channels, out_channels = group_in * groups, group_out * groups
    weight = torch.ones(out_channels, group_in, kernel, kernel, dtype=torch.float64)
    image = torch.ones(1, in_channels, size, size, dtype=torch.float64)
    out = F.conv2d(image, weight, groups=groups)
    got = arithmetic.conv_macs(in_channels, out_channels, kernel, out.shape[-1], groups)
    assert got == out.sum().item()


def test_linear_is_a_convolution_that_covers_its_input():
    layer = nn.Linear(400, 120)
    assert arithmetic.linear_params(400, 120) == sum(p.numel() for p in layer.parameters())
    assert arithmetic.linear_params(400, 120) == arithmetic.conv_params(16, 120, 5)
    assert arithmetic.linear_macs(400, 120) == arithmetic.conv_macs(16, 120, 5, output=1)


layers = st.tuples(kernels, strides, st.integers(0, 3), st.integers(1, 3))


@given(st.lists(layers, min_size=1, max_size=3))
def test_window_is_the_support_of_the_gradient(chain):
    """Positive weights: the gradient of a unit is nonzero from the first pixel it sees to the last.

    Compared at the unit in the middle of a signal long enough that its window is inside.
    """
    signal = torch.ones(1, 1, 900, dtype=torch.float64, requires_grad=True)
    out, window = signal, Window()
    for kernel, stride, padding, dilation in chain:
        weight = torch.ones(1, 1, kernel, dtype=torch.float64)
        out = F.conv1d(out, weight, stride=stride, padding=padding, dilation=dilation)
        window = window.then(kernel, stride, padding, dilation)
    unit = out.shape[-1] // 2
    first, last = window.box(unit)
    assert 0 <= first and last < 900
    out[0, 0, unit].backward()
    seen = signal.grad[0, 0].nonzero().flatten()
    assert (seen.min().item(), seen.max().item()) == (first, last)
    assert window.center(unit) == (first + last) / 2
    assert window.size == last - first + 1


def test_window_at_branches_is_what_either_sees():
    one_by_one = Window().then(3, stride=2, padding=1).then(1)
    three_by_three = Window().then(3, stride=2, padding=1).then(3, padding=1)
    joined = one_by_one.join(three_by_three)
    assert joined == three_by_three.join(one_by_one) == three_by_three
    left, right = Window(3, 1, -4), Window(3, 1, 2)
    assert left.join(right) == Window(9, 1, -4)


# Araujo, Norris and Sim (Distill, 2019): table of receptive fields of published networks.
VGG_16_CHAIN = [(3, 1)] * 2 + [(2, 2)] + [(3, 1)] * 2 + [(2, 2)]
VGG_16_CHAIN += ([(3, 1)] * 3 + [(2, 2)]) * 3
ALEXNET_V2_CHAIN = [(11, 4), (3, 2), (5, 1), (3, 2), (3, 1), (3, 1), (3, 1), (3, 2)]


@pytest.mark.parametrize(
    "chain, size, jump", [(ALEXNET_V2_CHAIN, 195, 32), (VGG_16_CHAIN, 212, 32)]
)
def test_published_receptive_fields(chain, size, jump):
    window = Window()
    for kernel, stride in chain:
        window = window.then(kernel, stride)
    assert (window.size, window.jump) == (size, jump)


def test_vgg_paper_section_2_3_figures():
    """Simonyan and Zisserman, section 2.3: 27 C^2 against 49 C^2, i.e. 81% more."""
    assert arithmetic.stack_params(1, 3, n=3) == 27
    assert arithmetic.stack_params(1, 7, n=1) == 49
    assert arithmetic.stack_kernel(3, 3) == 7
    assert round(100 * (49 - 27) / 27) == 81


def test_stack_params_with_unequal_widths():
    stack = [nn.Conv2d(3, 64, 3, bias=False), nn.Conv2d(64, 64, 3, bias=False)]
    stack += [nn.Conv2d(64, 32, 3, bias=False)]
    expected = sum(layer.weight.numel() for layer in stack)
    assert arithmetic.stack_params((3, 64, 32), 3, n=3) == expected
    assert arithmetic.stack_params((3, 64, 32), 7, n=1) == 3 * 32 * 49


@pytest.mark.parametrize(
    "call, message",
    [
        (
            lambda: arithmetic.output_size(5, 7),
            "kernel 7 does not fit size 5 with padding 0: pad by at least 1 on each side, "
            "or use a kernel that spans at most 5",
        ),
        (
            lambda: arithmetic.output_size(6, 4, dilation=3),
            "kernel 4 with dilation 3 (it spans 10) does not fit size 6 with padding 0: pad by "
            "at least 2 on each side, or use a kernel that spans at most 6",
        ),
        (lambda: arithmetic.output_size(5, 3, stride=0), "stride must be at least 1, got 0"),
        (lambda: arithmetic.output_size(5, 3, padding=-1), "padding must be at least 0, got -1"),
        (
            lambda: arithmetic.output_size(5.0, 3),
            "size must be a whole number, got 5.0 (float)",
        ),
        (
            lambda: arithmetic.conv_macs(3, 64, 3, output=224 / 2),
            "output height must be a whole number, got 112.0 (float)",
        ),
        (
            lambda: arithmetic.conv_params(3, True, 3),
            "out_channels must be a whole number, got True (bool)",
        ),
        (
            lambda: arithmetic.conv_params(6, 8, 3, groups=3),
            "out_channels 8 is not divisible by groups 3: choose groups among the common "
            "divisors of 6 and 8",
        ),
        (
            lambda: arithmetic.conv_params(6, 8, (3, 3, 3)),
            "kernel must be a number or (height, width), got (3, 3, 3)",
        ),
        (
            lambda: arithmetic.transposed_output_size(4, 2, stride=2, output_padding=2),
            "output_padding 2 is too large: it must be smaller than the stride (2) or the "
            "dilation (1)",
        ),
        (
            lambda: arithmetic.transposed_output_size(1, 2, padding=1),
            "padding 1 removes the whole output (0 pixels left): use a padding of at most 0",
        ),
        (
            lambda: Window(3, 2).join(Window(3, 4)),
            "branches with jumps 2 and 4 cannot meet: their strides must multiply to the same "
            "number",
        ),
    ],
)
def test_errors_say_got_expected_and_next_step(call, message):
    with pytest.raises(GeometryError) as caught:
        call()
    assert str(caught.value) == message


def test_numpys_integers_are_taken_and_plain_ones_given():
    """3 * 3 * 512 * 512 weights at 64 x 64 pixels: 9,663,676,416 MACs overflow 32 bits."""
    three, width, side = (np.int32(n) for n in (3, 512, 64))
    macs = arithmetic.conv_macs(width, width, three, output=(side, side))
    assert macs == 9_663_676_416 == arithmetic.conv_macs(width, width, (three, three), side)
    assert arithmetic.linear_params(np.int32(100_000), np.int32(100_000), bias=False) == 10**10
    assert arithmetic.stack_params(width, three, n=np.int32(1)) == 9 * 512 * 512
    counts = (
        macs,
        arithmetic.output_size(side, three, np.int32(2), padding=np.int32(1)),
        arithmetic.transposed_output_size(side, three, np.int32(2), output_padding=np.int32(1)),
        arithmetic.stack_kernel(three, three),
        Window().then(three, np.int32(2), np.int32(1)).jump,
    )
    assert [type(count) for count in counts] == [int] * 5


@given(st.integers(2, 30), st.integers(1, 3), st.integers(1, 9))
def test_advice_of_the_kernel_error_works(size, dilation, kernel):
    """Doing what the message says makes the kernel fit, and one pixel less does not."""
    try:
        arithmetic.output_size(size, kernel, dilation=dilation)
    except GeometryError as error:
        advised = int(str(error).split("at least ")[1].split(" ")[0])
        assert arithmetic.output_size(size, kernel, padding=advised, dilation=dilation) >= 1
        with pytest.raises(GeometryError):
            arithmetic.output_size(size, kernel, padding=advised - 1, dilation=dilation)


@pytest.mark.parametrize(
    "count, text",
    [
        (0, "0 B"),
        (999, "999 B"),
        (1_000, "1.0 kB"),
        (61_100_000, "61.1 MB"),
        (138_357_544 * 4, "553 MB"),
        (999_600, "1.0 MB"),
        (5e12, "5000 GB"),
    ],
)
def test_bytes_text(count, text):
    assert arithmetic.bytes_text(count) == text


def test_count_text():
    assert arithmetic.count_text(138357544) == "138,357,544"
