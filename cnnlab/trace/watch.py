"""Which module and which call of its code is running, while a pass runs.

Private parts of PyTorch that the trace cannot do without, all of them:
- `_cdata` of a storage (`memory_of`): on the meta device every `data_ptr` is 0
- `_schema` of an operation (`recorder`): the names and defaults of its arguments
- `torch.utils._python_dispatch` (`recorder`, `kept`): the home of the documented TorchDispatchMode
- `_parameters`, `_buffers`, `_modules` of a module (`run`): to put back what forward stored
- `_scaled_dot_product_flash_attention_for_cpu` (`kept`): what attention calls on a CPU
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.overrides import TorchFunctionMode


class Calls(TorchFunctionMode):
    """Numbers the calls that each module's code makes, so that two passes can be matched."""

    def __init__(self, stack: list[tuple[str, str]]):
        super().__init__()
        self.stack, self.counts, self.now, self.paused = stack, {}, ("", 0), False

    def __torch_function__(self, func, types, args=(), kwargs=None):
        if not self.paused:
            path = self.stack[-1][0] if self.stack else ""
            self.counts[path] = number = self.counts.get(path, 0) + 1
            self.now = (path, number)
        if func is F.batch_norm:  # its own check refuses a single image
            func = _batch_norm
        return func(*args, **(kwargs or {}))


def _batch_norm(x, mean, var, weight=None, bias=None, training=False, momentum=0.1, eps=1e-5):
    return torch.batch_norm(x, weight, bias, mean, var, training, momentum, eps, False)


@contextmanager
def module_stack(
    places: Mapping[int, tuple[str, str]], stack: list[tuple[str, str]]
) -> Iterator[None]:
    """While inside, `stack` holds (path, class name) of the modules whose forward is running."""

    plain, here = nn.Module.__call__, threading.get_ident()

    def watched(module, *args, **kwargs):
        if threading.get_ident() != here:  # a model that runs beside the traced one
            return plain(module, *args, **kwargs)
        name = type(module).__name__
        stack.append(places.get(id(module)) or (f"({name} made in forward)", name))
        try:
            return plain(module, *args, **kwargs)
        finally:
            stack.pop()

    # Not hooks: the caller's modules carry none, and hooks cost PyTorch's slow way of calling.
    nn.Module.__call__ = watched
    try:
        yield
    finally:
        nn.Module.__call__ = plain


def meta_twin(x: Any) -> Any:
    """A tensor of the same shape without memory; a number stays where it is."""
    return torch.empty_like(x, device="meta") if x.dim() and x.device.type != "meta" else x


def memory_of(tensor: Tensor) -> int:
    """The address of the storage of `tensor`: equal for its views. Free again when it is gone."""
    return tensor.untyped_storage()._cdata


def map_tensors(tree: Any, change: Callable[[Tensor], Tensor]) -> Any:
    """The same lists, tuples and dicts with every tensor changed."""
    if isinstance(tree, Tensor):
        return change(tree)
    if isinstance(tree, dict):
        return {key: map_tensors(value, change) for key, value in tree.items()}
    if type(tree) in (list, tuple):
        return type(tree)(map_tensors(value, change) for value in tree)
    return tree


def tensors_in(tree: Any) -> list[Tensor]:
    """All tensors in lists, tuples and dicts, in order."""
    found: list[Tensor] = []
    map_tensors(tree, lambda x: found.append(x) or x)
    return found
