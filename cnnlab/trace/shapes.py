"""Shapes of the hot operations, found directly: quicker than PyTorch's own, and an error in them
says what did not fit."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import torch
from torch import Tensor

from cnnlab._tools import counted
from cnnlab.arithmetic import GeometryError, extent, output_size
from cnnlab.trace.call import nth


def _slid(sizes, kernel, stride, padding, dilation=1, ceil_mode=False):
    """Sizes after a kernel has slid over them; each of the others is one for all, or one each."""
    taps = kernel, stride, padding, dilation
    return tuple(output_size(n, *(nth(t, i) for t in taps), ceil_mode) for i, n in enumerate(sizes))


def _same_shape(a):
    return a["input" if "input" in a else "self"].shape


def _norm_shape(a):
    x, per_channel = a["input"], (a["weight"], a["bias"], a["running_mean"], a["running_var"])
    for tensor in per_channel:
        if tensor is not None and tensor.numel() != x.shape[1]:
            raise GeometryError(
                f"it has {counted(x.shape[1], 'channel')} where the normalization expects "
                f"{tensor.numel()}; build it for {x.shape[1]}"
            )
    return x.shape


def _same_type(x: Tensor, weight: Tensor) -> None:
    """On the meta device PyTorch does not always mind, where a real pass fails."""
    if x.dtype != weight.dtype and not any(map(torch.is_autocast_enabled, ("cpu", "cuda"))):
        advice = f"give it .to({weight.dtype})"
        words = f"it has numbers of {x.dtype} where the weight has {weight.dtype}"
        raise GeometryError(words, advice, advice)


def _channels_misfit(got: int, expected: int) -> GeometryError:
    return GeometryError(
        f"it has {counted(got, 'channel')} where the weight expects {expected}",
        f"give an input with {counted(expected, 'channel')}, or build the model for {got}",
        f"let the layer before it make {counted(expected, 'channel')}, or build this one for {got}",
    )


def _conv_shape(a):
    x, weight, groups = a["input"], a["weight"], a["groups"]
    padding = 0 if a["padding"] == "valid" else a["padding"]
    _same_type(x, weight)
    if x.dim() != weight.dim() or padding == "same" or x.dtype != weight.dtype:
        return None
    expected = weight.shape[1] * groups
    if x.shape[1] != expected:
        raise _channels_misfit(x.shape[1], expected)
    sizes = _slid(x.shape[2:], weight.shape[2:], a["stride"], padding, a["dilation"])
    return (x.shape[0], weight.shape[0], *sizes)


def _conv_transpose_shape(a):
    """On the meta device PyTorch does not mind channels that do not fit."""
    x, weight = a["input"], a["weight"]
    _same_type(x, weight)
    if x.dim() == weight.dim() and x.shape[1] != weight.shape[0]:
        raise _channels_misfit(x.shape[1], weight.shape[0])
    return None


def _prelu_shape(a):
    x, slopes = a["self"], a["weight"].numel()
    if slopes > 1 and x.dim() > 1 and x.shape[1] != slopes:
        words = f"it has {counted(x.shape[1], 'channel')} where the slopes are {slopes}"
        advice = f"build it as nn.PReLU({x.shape[1]})"
        raise GeometryError(words, advice, advice)
    return None


def _linear_shape(a):
    x, weight = a["input"], a["weight"]
    _same_type(x, weight)
    expected, got = weight.shape[1], x.shape[-1]
    if got != expected:
        advice = f"build it as nn.Linear({got}, {weight.shape[0]}), or give inputs of another size"
        if x[0].numel() == expected:
            advice = "put nn.Flatten() before it"
        words = f"it has {counted(got, 'feature')} where the weight expects {expected}"
        raise GeometryError(words, advice, advice)
    if x.dtype != weight.dtype:
        return None
    return (*x.shape[:-1], weight.shape[0])


def _pool_shape(a, axes=2):
    x, kernel = a["self"], a["kernel_size"]
    if x.dim() != 2 + axes:
        return None
    stride, dilation = a.get("stride") or kernel, a.get("dilation") or 1
    taps = [(nth(kernel, i), nth(a["padding"], i), nth(dilation, i)) for i in range(axes)]
    if any(2 * padding > extent(size, step) for size, padding, step in taps):
        return None  # PyTorch words the error
    sizes = _slid(x.shape[2:], kernel, stride, a["padding"], dilation, a["ceil_mode"])
    return (*x.shape[:2], *sizes)


def _cat_shape(a):
    tensors, dim = a["tensors"], a["dim"]
    first = tensors[0]
    dim %= first.dim()
    total, rest = 0, None
    for tensor in tensors:
        shape = list(tensor.shape)
        total += shape.pop(dim) if len(shape) > dim else 0
        rest = rest or shape
        if shape != rest or tensor.dtype != first.dtype:
            return None  # PyTorch words the error, or promotes types
    return (*rest[:dim], total, *rest[dim:])


def _elementwise_shape(a):
    x = a["self"]
    y = a["other" if "other" in a else "exponent"]
    if not x.is_floating_point():
        return None  # PyTorch promotes types
    if not isinstance(y, Tensor):
        return x.shape if isinstance(y, (int, float)) else None
    if y.dim() > x.dim():
        x, y = y, x
    fits = all(b in (1, a) for a, b in zip(reversed(x.shape), reversed(y.shape)))
    return x.shape if fits and x.dtype == y.dtype else None


def _layer_norm_shape(a):
    x, expected = a["input"], list(a["normalized_shape"])
    return x.shape if list(x.shape[-len(expected) :]) == expected else None  # it words the error


def _adaptive_shape(a):
    x, sizes = a["self"], a["output_size"]
    return (*x.shape[:2], *sizes) if x.dim() == 4 and min(sizes) > 0 else None


def _mean_shape(a):
    x, dims = a["self"], a.get("dim")
    if not dims or not x.is_floating_point() or a["dtype"] is not None:
        return None
    gone = {d % x.dim() for d in dims}
    kept = ((1 if i in gone else n) for i, n in enumerate(x.shape) if a["keepdim"] or i not in gone)
    return tuple(kept)


def _pad_shape(a):
    shape, pads = list(a["self"].shape), a["pad"]
    if a["mode"] != "constant":
        return None
    for i in range(len(pads) // 2):
        shape[-1 - i] += pads[2 * i] + pads[2 * i + 1]
    return tuple(shape) if min(shape) > 0 else None  # PyTorch words the error


def rnn_shapes(a):
    """Outputs and last states of a recurrent layer; step by step it would take seconds."""
    x, weights = a["input"], [w for w in a["params"] if w.dim() == 2]
    if "batch_sizes" in a or x.dtype != weights[0].dtype:
        return None
    directions, states = 1 + a["bidirectional"], a["hx"]
    hidden = states[0].shape[-1] if isinstance(states, (list, tuple)) else states.shape[-1]
    last = [s.shape for s in states] if isinstance(states, (list, tuple)) else [states.shape]
    return [(*x.shape[:-1], directions * hidden), *last]


# Operation -> shape of its output by its arguments; None: PyTorch knows better.
SHAPES: dict[str, Callable[[dict[str, Any]], Sequence[int] | None]] = {
    **dict.fromkeys(("relu", "gelu", "silu", "hardswish", "hardsigmoid", "dropout"), _same_shape),
    "batch_norm": _norm_shape,
    "layer_norm": _layer_norm_shape,
    "adaptive_avg_pool2d": _adaptive_shape,
    "mean": _mean_shape,
    # All three: on the meta device PyTorch 2.6 gives an empty map where a kernel does not fit.
    **dict.fromkeys(("conv1d", "conv2d", "conv3d"), _conv_shape),
    **dict.fromkeys((f"conv_transpose{n}d" for n in (1, 2, 3)), _conv_transpose_shape),
    "prelu": _prelu_shape,
    "linear": _linear_shape,
    "max_pool2d": _pool_shape,
    "avg_pool2d": _pool_shape,
    "avg_pool3d": partial(_pool_shape, axes=3),
    "cat": _cat_shape,
    "pad": _pad_shape,
    **dict.fromkeys(("add", "mul", "div", "pow"), _elementwise_shape),
    **dict.fromkeys(("lstm", "gru", "rnn_tanh", "rnn_relu"), rnn_shapes),
}
