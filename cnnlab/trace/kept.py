"""What autograd keeps for the backward pass: a second pass on shapes, this time with autograd."""

from __future__ import annotations

import weakref
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager

import torch
from torch import Tensor
from torch.nn import functional as F
from torch.utils._python_dispatch import TorchDispatchMode

from cnnlab.trace.shapes import rnn_shapes
from cnnlab.trace.watch import Calls, memory_of, near, tensors_in, without_moving


class Keeper:
    """Collects what is `kept`: row -> dtype -> bytes, and rows of which nobody can say it.

    A buffer that two operations keep is counted once, at the first; those of `own` (parameters and
    buffers) are not counted. `calls` tells which call of which module is running, `row_of` which
    row of the table that call made.
    """

    def __init__(
        self,
        own: list[Tensor],
        stack: list[tuple[str, str]],
        row_of: Callable[[tuple[str, int]], int],
    ) -> None:
        self.unknown: set[int] = set()
        self._known: set[int] = set()
        self.add_own(own)
        self._packed: list[tuple[int, weakref.ref[Tensor]]] = []  # row, and what its graph holds
        self.calls, self._row_of = Calls(stack, {torch.lstm: self._lstm}), row_of

    def add_own(self, own: Iterable[Tensor]) -> None:
        """More parameters and buffers."""
        self._known.update(map(memory_of, own))

    def pack(self, tensor: Tensor) -> Tensor:
        """The hook that autograd calls for every tensor it keeps: noted, not a call of the model.

        What it returns has no graph: kept by the graph it belongs to, a tensor with one is never
        freed.
        """
        row, self.calls.paused = self._row_of(self.calls.now), True
        tensor = tensor.detach()
        self._packed.append((row, weakref.ref(tensor)))
        self.calls.paused = False
        return tensor

    def kept(self) -> dict[int, dict[str, int]]:
        """What is kept now. A branch that leads to no output is freed with its last tensor."""
        kept: dict[int, dict[str, int]] = {}
        for row, held in self._packed:
            tensor = held()
            if tensor is not None and memory_of(tensor) not in self._known:
                self._known.add(memory_of(tensor))
                here, dtype = kept.setdefault(row, {}), str(tensor.dtype).removeprefix("torch.")
                here[dtype] = here.get(dtype, 0) + tensor.untyped_storage().nbytes()
        return kept

    @contextmanager
    def watching(self) -> Iterator[None]:
        """While inside, what autograd keeps is counted."""
        hooks = torch.autograd.graph.saved_tensors_hooks(self.pack, lambda tensor: tensor)
        # A patch, because PyTorch's own functions call it where no mode sees it.
        plain, F.scaled_dot_product_attention = F.scaled_dot_product_attention, _attention
        try:
            with torch.enable_grad(), hooks, _QuickNorm():
                yield
        finally:
            F.scaled_dot_product_attention = plain

    def _lstm(self, x, *args):
        """An LSTM keeps a workspace whose size only its library (oneDNN, cuDNN) knows."""
        if not x.is_meta:
            return torch.lstm(x, *args)
        names = "hx params has_biases num_layers dropout train bidirectional batch_first".split()
        shapes = rnn_shapes({"input": x, **dict(zip(names, args))})
        grad = torch.is_grad_enabled() and any(t.requires_grad for t in tensors_in((x, args)))
        if grad:
            self.unknown.add(self._row_of(self.calls.now))
        return tuple(x.new_empty(shape).requires_grad_(grad) for shape in shapes)


class _QuickNorm(TorchDispatchMode):
    """Shapes of batch norm below autograd: PyTorch's own rule takes most of a pass's time."""

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        kwargs = kwargs or {}
        if not any(x.is_meta for x in near(args, kwargs)):
            return func(*args, **kwargs)
        if func is torch.ops.aten.native_batch_norm.default:
            x = args[0]
            channels = x.shape[1] if args[5] else 0  # in training only
            return torch.empty_like(x), x.new_empty(channels), x.new_empty(channels)
        args, kwargs = without_moving(func.overloadpacket.__name__, args, kwargs)
        return func(*args, **kwargs)


def _attention(query, key, value, attn_mask=None, dropout_p=0.0, is_causal=False, **others):
    """Attention as PyTorch runs it on a CPU: on meta tensors it would keep the whole matrix."""
    mask = attn_mask
    flash = query.is_meta and not dropout_p and not others.get("enable_gqa")
    flash = flash and all(x.dim() == 4 and x.stride(-1) == 1 for x in (query, key, value))
    flash = flash and query.shape[:2] == key.shape[:2] and query.shape[-1] == value.shape[-1]
    flash = flash and (mask is None or (mask.dim() in (2, 4) and not mask.requires_grad))
    if not flash:
        plain = torch._C._nn.scaled_dot_product_attention
        return plain(query, key, value, mask, dropout_p, is_causal, **others)
    if mask is not None and mask.dtype is torch.bool:  # it becomes 0 and minus infinity
        mask = torch.empty_like(mask, dtype=query.dtype)
    operation = torch.ops.aten._scaled_dot_product_flash_attention_for_cpu
    scale = others.get("scale")
    return operation(query, key, value, 0.0, is_causal, attn_mask=mask, scale=scale)[0]
