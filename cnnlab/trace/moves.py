"""Rules of operations that compute nothing: views, turns, cuts, borders. The image's axes move."""

from __future__ import annotations

from collections.abc import Callable
from math import prod

import torch

from cnnlab.trace.call import Call
from cnnlab.trace.sight import Remap, Resize, Sight, Slide


def view(call: Call) -> None:
    """Same values in order, other dimensions: an axis lives on where it is still a dimension."""
    before, after = call.data[0].shape, call.out.shape

    def step(sight: Sight, dim: int):
        inner = prod(before[dim + 1 :])
        for new in range(len(after)):
            if after[new] == before[dim] and prod(after[new + 1 :]) == inner:
                return sight, new
        return sight.whole(), None

    held = sum(dim is not None for dim in call.at)
    call.each(step)
    kept = sum(dim is not None for dim in call.at)
    channels = before[1] if len(before) > 1 else 1
    flat = len(after) <= 2 or prod(after[2:]) == 1 or channels == 1
    if kept < held and not flat and prod(before[2:]) > 1:
        call.lose(f"{call.name} mixes the image's axes: positions are not followed any further")


def permute(call: Call) -> None:
    """permute, transpose, movedim ...: the axes change places."""
    x, a = call.data[0], call.args
    if "dims" in a:
        order = [d % x.dim() for d in a["dims"]]
    elif "source" in a:
        source, target = (
            [d % x.dim() for d in ([dims] if isinstance(dims, int) else dims)]
            for dims in (a["source"], a["destination"])
        )
        rest = iter(d for d in range(x.dim()) if d not in source)
        moved = dict(zip(target, source))
        order = [moved[d] if d in moved else next(rest) for d in range(x.dim())]
    elif call.name in ("t", "numpy_T", "matrix_H", "mT", "mH"):
        flip = x.dim() if call.name in ("t", "numpy_T") else 2
        order = [*range(x.dim() - flip), *reversed(range(x.dim() - flip, x.dim()))]
    else:
        order = list(range(x.dim()))
        i, j = (a["dim0"], a["dim1"]) if "dim0" in a else (a["axis0"], a["axis1"])
        order[i], order[j] = order[j], order[i]
    call.each(lambda sight, dim: (sight, order.index(dim)))


def expand(call: Call) -> None:
    """Repeated without memory: an axis that grows from one unit is the same everywhere."""
    shift = call.out.dim() - call.data[0].dim()

    def step(sight: Sight, dim: int):
        grown = call.data[0].shape[dim] != call.out.shape[dim + shift]
        return (sight.whole(), None) if grown else (sight, dim + shift)

    call.each(step)


def split(call: Call) -> None:
    """chunk, split, unbind: parts of the channels keep their positions."""
    dim = call.args["dim"] % call.data[0].dim()
    if dim in call.at:
        return call.lose(f"{call.name} cuts the image into parts")
    gone = call.name in ("unbind", "select")
    call.each(lambda sight, d: (sight, d - (gone and d > dim)))


def cut(call: Call) -> None:
    """A slice: an axis that is cut starts later, or takes every n-th unit; narrow has no step."""
    x, a = call.data[0], call.args
    cut = a["dim"] % x.dim()
    start = slice(a["start"], None).indices(x.shape[cut])[0]

    def step(sight: Sight, dim: int):
        if dim != cut:
            return sight, dim
        return sight.slide(Slide(1, a.get("step", 1), -start), call.out.shape[dim]), dim

    call.each(step)


def pad(call: Call) -> None:
    """Zeros, or the image's own pixels: reflected, repeated, or from the other side."""
    pads, x = call.args["pad" if "pad" in call.args else "padding"], call.data[0]
    mode = call.args.get("mode") or call.name
    kinds = ("circular", "reflect", "replic")
    kind = next((kind for kind in kinds if kind in mode), "constant")

    def step(sight: Sight, dim: int):
        j = 2 * (x.dim() - 1 - dim)
        if j >= len(pads) or not (pads[j] or pads[j + 1]):
            return sight, dim
        here = Slide(padding=pads[j])
        taps = here if kind == "constant" else Remap(pads[j], x.shape[dim], kind)
        return sight.slide(here, call.out.shape[dim], reads=taps), dim

    call.each(step)


def select(call: Call) -> None:
    """Picking, repeating and reordering: positions stay where only other dimensions are touched."""
    x, a = call.data[0], call.args
    dims = a.get("dims", a.get("dim"))
    counts = a.get("repeats") if call.name == "repeat" else a.get("dims")
    if call.name in ("repeat", "tile"):  # one count per dimension
        shift = call.out.dim() - x.dim()
        counts = [1] * (call.out.dim() - len(counts)) + list(counts)
        touched = {dim - shift for dim, count in enumerate(counts) if count != 1}
        return _keep_untouched(call, touched, lambda dim: dim + shift)
    if call.name == "index":  # a tensor per dimension
        touched = {dim for dim, one in enumerate(a["indices"]) if one is not None}
        only = a["indices"][min(touched)] if len(touched) == 1 else None
        if only is None or only.dtype is torch.bool or x is not a["self"]:
            touched = set(range(x.dim()))
        else:
            grown = only.dim() - 1
            return _keep_untouched(call, touched, lambda dim: dim + grown * (dim > min(touched)))
    elif dims is None or dims == [] or x is not a.get("self"):
        touched = set(range(x.dim()))
    else:
        touched = {dim % x.dim() for dim in ([dims] if isinstance(dims, int) else dims)}
    _keep_untouched(call, touched, lambda dim: dim)


def _keep_untouched(call: Call, touched: set[int], moved: Callable[[int], int]) -> None:
    if len(call.data) > 1 or not touched.isdisjoint(call.at):
        if any(dim is not None for dim in call.at):
            call.lose(f"{call.name} moves positions")
    else:
        call.each(lambda sight, dim: (sight, moved(dim)))


def shuffle(call: Call) -> None:
    """pixel_shuffle and back: channels become positions, positions become channels."""
    x, out = call.data[0].shape, call.out.shape

    def step(sight: Sight, dim: int):
        if x[dim] == out[dim]:
            return sight, dim
        if x[dim] < out[dim]:
            return sight.resize(Resize(x[dim], out[dim], "nearest")), dim
        size = x[dim] // out[dim]
        return sight.slide(Slide(size, size), out[dim]), dim

    call.each(step)
