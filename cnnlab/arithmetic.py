"""Closed-form rules of one layer: sizes, parameters, MACs, receptive fields.

Integers in, NumPy's too, and plain integers out; standard library only. `cnnlab.trace.run` watches
what PyTorch really does; the tests hold the two against each other.

Sizes are along one axis, in pixels. MACs are multiply-accumulates for one image, without
bias: 1 MAC = 2 FLOPs. "Without bias" and "with bias" are always an explicit argument.

Sources: Dumoulin and Visin, "A guide to convolution arithmetic for deep learning" (2016),
relations 6, 14 and 15; Araujo, Norris and Sim, "Computing receptive fields of convolutional
neural networks" (Distill, 2019), equations 1 to 5.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from math import prod
from numbers import Integral


class GeometryError(ValueError):
    """A layer that cannot exist. The message says got, expected, and what to do next."""


def extent(kernel: int, dilation: int = 1) -> int:
    """Pixels from the first to the last tap of a dilated kernel.

    >>> extent(3), extent(3, dilation=2)
    (3, 5)
    """
    kernel, dilation = _at_least(1, kernel=kernel, dilation=dilation)
    return dilation * (kernel - 1) + 1


def output_size(
    size: int,
    kernel: int,
    stride: int = 1,
    padding: int = 0,
    dilation: int = 1,
    ceil_mode: bool = False,
) -> int:
    """Output size of a convolution or a pooling along one axis.

    With `ceil_mode` the last window may hang over the padded edge by less than a stride, but, as
    in PyTorch, it must start inside the image or its leading padding.

    >>> output_size(224, kernel=7, stride=2, padding=3)
    112

    Raises GeometryError if the kernel does not fit.
    """
    size, stride = _at_least(1, size=size, stride=stride)
    (padding,) = _at_least(0, padding=padding)
    reach = extent(kernel, dilation)
    spare = size + 2 * padding - reach
    out = (-(-spare // stride) if ceil_mode else spare // stride) + 1
    if out < 1 or (spare < 0 and not ceil_mode):
        shown = f"kernel {kernel}" + (f" with dilation {dilation}" if dilation > 1 else "")
        spans = f" (it spans {reach})" if dilation > 1 else ""
        raise GeometryError(
            f"{shown}{spans} does not fit size {size} with padding {padding}: pad by at least "
            f"{-((size - reach) // 2)} on each side, or use a kernel that spans at most "
            f"{size + 2 * padding}"
        )
    starts_beyond_image = (out - 1) * stride >= size + padding
    return out - 1 if ceil_mode and starts_beyond_image else out


def transposed_output_size(
    size: int,
    kernel: int,
    stride: int = 1,
    padding: int = 0,
    dilation: int = 1,
    output_padding: int = 0,
) -> int:
    """Output size of a transposed convolution along one axis.

    >>> transposed_output_size(7, kernel=2, stride=2)
    14

    Raises GeometryError if nothing would be left, or if `output_padding` is not smaller than
    the stride or the dilation (PyTorch's rule: it only settles which of several sizes is meant).
    """
    size, stride = _at_least(1, size=size, stride=stride)
    padding, output_padding = _at_least(0, padding=padding, output_padding=output_padding)
    reach = extent(kernel, dilation)
    if output_padding >= max(stride, dilation):
        raise GeometryError(
            f"output_padding {output_padding} is too large: it must be smaller than the stride "
            f"({stride}) or the dilation ({dilation})"
        )
    out = (size - 1) * stride - 2 * padding + reach + output_padding
    if out < 1:
        raise GeometryError(
            f"padding {padding} removes the whole output ({out} pixels left): use a padding of "
            f"at most {(out + 2 * padding - 1) // 2}"
        )
    return out


def same_padding(kernel: int, dilation: int = 1) -> int:
    """Padding on each side that keeps the size at stride 1.

    >>> same_padding(3), same_padding(3, dilation=2)
    (1, 2)

    Raises GeometryError for an even extent: no equal padding on both sides can keep the size.
    """
    reach = extent(kernel, dilation)
    if reach % 2 == 0:
        raise GeometryError(
            f"kernel {kernel} with dilation {dilation} spans {reach} pixels, an even number: no "
            f"equal padding on both sides keeps the size; use an odd kernel"
        )
    return reach // 2


def conv_params(
    in_channels: int,
    out_channels: int,
    kernel: int | tuple[int, int],
    groups: int = 1,
    bias: bool = True,
) -> int:
    """Parameters of a 2-d convolution: one kernel per output channel over its group's inputs.

    >>> conv_params(3, 64, 3), conv_params(3, 64, 3, bias=False)
    (1792, 1728)

    Raises GeometryError if `groups` does not divide both channel counts.
    """
    in_channels, out_channels, groups = _at_least(
        1, in_channels=in_channels, out_channels=out_channels, groups=groups
    )
    for name, channels in (("in_channels", in_channels), ("out_channels", out_channels)):
        if channels % groups:
            raise GeometryError(
                f"{name} {channels} is not divisible by groups {groups}: choose groups among the "
                f"common divisors of {in_channels} and {out_channels}"
            )
    weights = out_channels * (in_channels // groups) * prod(_pair(kernel, "kernel"))
    return weights + (out_channels if bias else 0)


def conv_macs(
    in_channels: int,
    out_channels: int,
    kernel: int | tuple[int, int],
    output: int | tuple[int, int],
    groups: int = 1,
) -> int:
    """MACs of a 2-d convolution for one image: every weight once per output pixel.

    `output` is the size of the *output*, a number for a square or (height, width).

    >>> conv_macs(3, 64, 3, output=224)
    86704128
    """
    pixels = prod(_pair(output, "output"))
    return conv_params(in_channels, out_channels, kernel, groups, bias=False) * pixels


def linear_params(in_features: int, out_features: int, bias: bool = True) -> int:
    """Parameters of a fully connected layer.

    >>> linear_params(4096, 1000)
    4097000
    """
    in_features, out_features = _at_least(1, in_features=in_features, out_features=out_features)
    return in_features * out_features + (out_features if bias else 0)


def linear_macs(in_features: int, out_features: int) -> int:
    """MACs of a fully connected layer for one vector: each weight is used exactly once."""
    return linear_params(in_features, out_features, bias=False)


def stack_kernel(n: int, kernel: int) -> int:
    """Receptive field of `n` stacked stride-1 convolutions with the same kernel: n(k-1)+1.

    >>> stack_kernel(2, 3), stack_kernel(3, 3)
    (5, 7)
    """
    n, kernel = _at_least(1, n=n, kernel=kernel)
    return n * (kernel - 1) + 1


def stack_params(
    channels: int | tuple[int, int, int],
    kernel: int,
    n: int,
    groups: int = 1,
    bias: bool = False,
) -> int:
    """Parameters of `n` stacked convolutions, by default without bias.

    `channels` is one width for all, or (input, hidden, output). With n = 1 there is no
    hidden width and it is ignored.

    >>> stack_params(128, 3, n=2), stack_params(128, 5, n=1)
    (294912, 409600)
    """
    (n,) = _at_least(1, n=n)
    first, hidden, last = (channels,) * 3 if isinstance(channels, Integral) else channels
    widths = (first, *(hidden,) * (n - 1), last)
    pairs = zip(widths, widths[1:])
    return sum(conv_params(a, b, kernel, groups, bias) for a, b in pairs)


@dataclass(frozen=True)
class Window:
    """What the units of one feature map see of the input, along one axis.

    Unit i sees the input pixels `start + i*jump` to `start + i*jump + size - 1`. Pixels left
    of 0 are padding. The default is the input itself: each pixel sees itself.

    size:  receptive field, in input pixels
    jump:  input pixels between neighboring units
    start: first input pixel that unit 0 sees; negative when there is padding
    """

    size: int = 1
    jump: int = 1
    start: int = 0

    def then(self, kernel: int, stride: int = 1, padding: int = 0, dilation: int = 1) -> Window:
        """The window after one more convolution or pooling.

        >>> Window().then(3, stride=2, padding=1).then(3)
        Window(size=7, jump=2, start=-1)
        """
        (stride,) = _at_least(1, stride=stride)
        (padding,) = _at_least(0, padding=padding)
        return Window(
            size=self.size + (extent(kernel, dilation) - 1) * self.jump,
            jump=self.jump * stride,
            start=self.start - padding * self.jump,
        )

    def join(self, other: Window) -> Window:
        """The window where two branches meet (by `+` or concatenation): what either of them sees.

        Raises GeometryError if the branches move at different jumps.
        """
        if self.jump != other.jump:
            raise GeometryError(
                f"branches with jumps {self.jump} and {other.jump} cannot meet: their strides "
                f"must multiply to the same number"
            )
        start = min(self.start, other.start)
        return Window(max(self.end, other.end) - start + 1, self.jump, start)

    @property
    def end(self) -> int:
        """Last input pixel that unit 0 sees."""
        return self.start + self.size - 1

    def box(self, unit: int) -> tuple[int, int]:
        """First and last input pixel `unit` sees; outside the image where it sees padding."""
        return self.start + unit * self.jump, self.end + unit * self.jump

    def center(self, unit: int) -> float:
        """Middle of what `unit` sees, in input pixels; half a pixel off for an even size."""
        first, last = self.box(unit)
        return (first + last) / 2


def count_text(count: int) -> str:
    """A count with separators: 138,357,544."""
    return f"{count:,}"


def bytes_text(count: float) -> str:
    """Bytes in decimal units, three digits: 61.1 MB is 61.1 million bytes."""
    for unit in ("B", "kB", "MB", "GB"):
        if count < 999.5 or unit == "GB":
            break
        count /= 1000
    return f"{count:.0f} {unit}" if unit == "B" or count >= 99.95 else f"{count:.1f} {unit}"


def _at_least(least: int, **values: int) -> tuple[int, ...]:
    """The values as Python's own integers, which do not overflow."""
    for name, value in values.items():
        if isinstance(value, bool) or not isinstance(value, Integral):
            raise GeometryError(
                f"{name} must be a whole number, got {value!r} ({type(value).__name__})"
            )
        if value < least:
            raise GeometryError(f"{name} must be at least {least}, got {value}")
    return tuple(map(int, values.values()))


def _pair(value: int | tuple[int, int], name: str) -> tuple[int, int]:
    pair = tuple(value) if isinstance(value, Iterable) else (value, value)
    if len(pair) != 2:
        raise GeometryError(f"{name} must be a number or (height, width), got {value!r}")
    return _at_least(1, **{f"{name} height": pair[0], f"{name} width": pair[1]})
