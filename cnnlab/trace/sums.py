"""Rules of operations that sum up: reductions, normalization, distances, transforms, losses."""

from __future__ import annotations

from math import prod

import torch

from cnnlab.trace.call import Call, meet, mix
from cnnlab.trace.sight import Sight


def reduce(call: Call) -> None:
    """sum, mean, max ... over some dimensions: axes among them are seen as a whole."""
    if isinstance(call.args.get("other"), torch.Tensor):  # max(a, b) is maximum(a, b)
        call.other_ops = call.out.numel()
        return meet(call)
    x, dims = call.data[0], call.args.get("dim")
    dims = range(x.dim()) if dims is None or dims == [] else dims
    gone = {d % x.dim() for d in ([dims] if isinstance(dims, int) else dims)}
    keep = bool(call.args.get("keepdim"))
    call.other_ops = x.numel()

    def step(sight: Sight, dim: int):
        if dim in gone:
            return sight.whole(), dim if keep else None
        return sight, dim if keep else dim - sum(d < dim for d in gone)

    call.each(step)


def distance(call: Call) -> None:
    """Products or differences of values, summed along one dimension: no MACs, as if written out."""
    tensors = [x for x in call.args.values() if isinstance(x, torch.Tensor)]
    shape = torch.broadcast_shapes(*(x.shape for x in tensors))
    dim = call.args.get("dim", -1) % len(shape)
    meet(call, out=shape)
    gone = bool(call.out.dim() < len(shape))
    call.other_ops = 3 * prod(shape)
    call.each(lambda s, d: (s.whole(), None) if d == dim else (s, d - (gone and d > dim)))


def all_pairs(call: Call) -> None:
    """cdist: differences of every row with every row, no MACs."""
    call.other_ops = 3 * call.out.numel() * call.args["x1"].shape[-1]
    if call.data[0] is call.args["x1"] and len(call.data) == 1:
        last = call.data[0].dim() - 1
        return call.each(lambda s, dim: (s.whole(), None) if dim == last else (s, dim))
    mix(call)


def fourier(call: Call) -> None:
    """Fast Fourier transforms, n log n without MACs: along the image every value sees all of it."""
    x, dims = call.data[0], call.args.get("dim")
    dims = range(x.dim()) if dims is None else [dims] if isinstance(dims, int) else dims
    gone = {dim % x.dim() for dim in dims}
    size = max(x.numel(), call.out.numel())
    call.other_ops = 5 * size * (prod(x.shape[dim] for dim in gone) - 1).bit_length()
    call.each(lambda sight, dim: (sight.whole(), None) if dim in gone else (sight, dim))


def loss(call: Call) -> None:
    """One number over all positions."""
    call.other_ops = 3 * max(x.numel() for x in call.data)
    if call.args.get("reduction", 1) == 0:  # one per position
        mix(call)
    elif None not in (sights := [seen.sights for seen in call.seen]):
        call.follow([s.whole() for s in max(sights, key=len)], [None] * max(map(len, sights)))
    else:
        call.lose("one of its inputs has an unknown receptive field")


def along(call: Call) -> None:
    """softmax, cumsum ... along one dimension: an image axis there brings context."""
    dim = call.args["dim"] % call.data[0].dim()
    call.other_ops = 3 * call.out.numel()
    if dim in call.at and call.out.shape[dim] != call.data[0].shape[dim]:  # topk, glu
        return call.lose(f"{call.name} leaves only a part of the image's positions")
    call.context |= dim in call.at


def batch_norm(call: Call) -> None:
    """Scaled and shifted per channel; by what is made of the image, with context."""
    call.other_ops = 2 * call.out.numel()
    call.context |= len(call.data) > 1


def spatial_norm(call: Call) -> None:
    """Group, instance and layer normalization: statistics over space bring context."""
    batch_norm(call)
    first = 1
    if call.name == "layer_norm":
        first = call.out.dim() - len(call.args["normalized_shape"])
    call.context |= any(dim is not None and dim >= first for dim in call.at)
