"""What autograd keeps for the backward pass: a second pass on shapes, this time with autograd."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

import torch
from torch import Tensor
from torch.nn import functional as F
from torch.utils._python_dispatch import TorchDispatchMode

from cnnlab.trace.watch import Calls, map_tensors, memory_of, meta_twin, tensors_in


class Keeper:
    """Collects `kept`: row -> dtype -> bytes, per image.

    A buffer that two operations keep is counted once, at the first; those of `own` (parameters and
    buffers) are not counted. `calls` tells which call of which module is running, `row_of` which
    row of the table that call made.
    """

    def __init__(
        self, own: list[Tensor], calls: Calls, row_of: Callable[[tuple[str, int]], int]
    ) -> None:
        self.kept: dict[int, dict[str, int]] = {}
        self._known = {memory_of(tensor) for tensor in own}
        self._alive = []  # an address must not be used twice
        self._calls, self._row_of = calls, row_of

    def pack(self, tensor: Tensor) -> Tensor:
        """The hook that autograd calls for every tensor it keeps: counted, not a call of the model.

        What it returns has no graph: kept by the graph it belongs to, a tensor with one is never
        freed.
        """
        row, self._calls.paused = self._row_of(self._calls.now), True
        storage = tensor.untyped_storage()
        if memory_of(tensor) not in self._known:
            self._known.add(memory_of(tensor))
            self._alive.append(storage)
            here = self.kept.setdefault(row, {})
            dtype = str(tensor.dtype).removeprefix("torch.")
            here[dtype] = here.get(dtype, 0) + storage.nbytes()
        tensor = tensor.detach()
        self._calls.paused = False
        return tensor

    @contextmanager
    def watching(self) -> Iterator[None]:
        """While inside, what autograd keeps is counted."""
        hooks = torch.autograd.graph.saved_tensors_hooks(self.pack, lambda tensor: tensor)
        with torch.enable_grad(), hooks, _flash_attention(), _QuickNorm():
            yield


class _QuickNorm(TorchDispatchMode):
    """Shapes of batch norm below autograd: PyTorch's own rule takes most of a pass's time."""

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        kwargs = kwargs or {}
        if not any(x.is_meta for x in tensors_in((args, kwargs))):
            return func(*args, **kwargs)
        if func is torch.ops.aten.native_batch_norm.default:
            x = args[0]
            channels = x.shape[1] if args[5] else 0  # in training only
            return torch.empty_like(x), x.new_empty(channels), x.new_empty(channels)
        args, kwargs = map_tensors((args, kwargs), meta_twin)  # a constant made in forward
        return func(*args, **kwargs)


@contextmanager
def _flash_attention() -> Iterator[None]:
    """Attention as PyTorch runs it on a CPU: on meta tensors it would keep the whole matrix."""
    plain = F.scaled_dot_product_attention

    def attention(query, key, value, attn_mask=None, dropout_p=0.0, is_causal=False, **others):
        usual = query.is_meta and query.dim() == 4 and attn_mask is None and not dropout_p
        usual = usual and all(x.stride(-1) == 1 for x in (query, key, value))
        if not usual or others.get("enable_gqa"):
            return plain(query, key, value, attn_mask, dropout_p, is_causal, **others)
        flash = torch.ops.aten._scaled_dot_product_flash_attention_for_cpu
        return flash(query, key, value, 0.0, is_causal, scale=others.get("scale"))[0]

    F.scaled_dot_product_attention = attention
    try:
        yield
    finally:
        F.scaled_dot_product_attention = plain
