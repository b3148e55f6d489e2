"""Which module and which call of its code is running, while a pass runs.

Private parts of PyTorch that the trace cannot do without, all of them:
- `_cdata` of a storage (`memory_of`): on the meta device every `data_ptr` is 0
- `_schema` of an operation (`recorder`): the names and defaults of its arguments
- `torch.utils._python_dispatch` (`recorder`, `kept`): the home of the documented TorchDispatchMode
- `_parameters`, `_buffers`, `_modules` of a module (`run`): to run it with other weights, as
  `torch.func.functional_call` does, also layers that are not registered, and to put back what
  forward stored
- `torch._C._nn.scaled_dot_product_attention` (`kept`): the function behind the one in `F`, which
  is patched meanwhile
- `_scaled_dot_product_flash_attention_for_cpu` (`kept`): what attention calls on a CPU
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from types import FrameType
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.overrides import TorchFunctionMode


class Calls(TorchFunctionMode):
    """Numbers the calls that each module's code makes, so that two passes can be matched.

    instead: functions of PyTorch -> what is called in their place
    """

    def __init__(self, stack: list[tuple[str, str]], instead: Mapping[Callable, Callable] = {}):
        super().__init__()
        self.stack, self.counts, self.now, self.paused = stack, {}, ("", 0), False
        self.instead = {F.batch_norm: _batch_norm, **instead}
        self.autocast = False  # whether any call was made with it

    def __torch_function__(self, func, types, args=(), kwargs=None):
        if not self.paused:
            path = self.stack[-1][0] if self.stack else ""
            self.counts[path] = number = self.counts.get(path, 0) + 1
            self.now = (path, number)
            self.autocast = self.autocast or any(map(torch.is_autocast_enabled, ("cpu", "cuda")))
        return self.instead.get(func, func)(*args, **(kwargs or {}))


def _batch_norm(x, mean, var, weight=None, bias=None, training=False, momentum=0.1, eps=1e-5):
    """Without PyTorch's check, which refuses a single image."""
    return torch.batch_norm(x, weight, bias, mean, var, training, momentum, eps, False)


@contextmanager
def module_stack(
    places: Mapping[int, tuple[str, str]],
    stack: list[tuple[str, str]],
    meet: Callable[[nn.Module], tuple[str, str]],
    leave: Callable[[str, Any], None] | None = None,
) -> Iterator[None]:
    """While inside, `stack` holds (path, class name) of the modules whose forward is running;
    `meet` gives those of a module without a place, and `leave` is told what each returned."""

    plain, here = nn.Module.__call__, threading.get_ident()

    def watched(module, *args, **kwargs):
        if threading.get_ident() != here:  # a model that runs beside the traced one
            return plain(module, *args, **kwargs)
        stack.append(places.get(id(module)) or meet(module))
        try:
            result = plain(module, *args, **kwargs)
            if leave is not None:
                leave(stack[-1][0], result)
            return result
        finally:
            stack.pop()

    # Not hooks: the caller's modules carry none, and hooks cost PyTorch's slow way of calling.
    nn.Module.__call__ = watched
    try:
        yield
    finally:
        nn.Module.__call__ = plain


def module_of(frame: FrameType) -> nn.Module | None:
    """The module that was called, if this is the frame of a call that was watched."""
    ours = frame.f_code.co_filename == __file__ and frame.f_code.co_name == "watched"
    return frame.f_locals["module"] if ours else None


def meta_twin(x: Any) -> Any:
    """A tensor of the same shape without memory; a number stays where it is."""
    return torch.empty_like(x, device="meta") if x.dim() and x.device.type != "meta" else x


def without_moving(name: str, args: Any, kwargs: Any) -> tuple[Any, Any]:
    """What `forward` moves to a device stays on meta, as does what it mixes with meta tensors."""
    if not all(x.is_meta for x in near(args, kwargs)):
        args, kwargs = map_tensors((args, kwargs), meta_twin)
    if name in ("to", "_to_copy", "cpu", "cuda"):
        meta = torch.device("meta")
        args = tuple(meta if isinstance(x, torch.device) else x for x in args)
        kwargs = {k: meta if isinstance(x, torch.device) else x for k, x in kwargs.items()}
    return args, kwargs


def memory_of(tensor: Tensor) -> int:
    """The address of the storage of `tensor`: equal for its views. Free again when it is gone."""
    return tensor.untyped_storage()._cdata


def map_tensors(tree: Any, change: Callable[[Tensor], Tensor]) -> Any:
    """The same lists, tuples and dicts with every tensor changed."""
    if isinstance(tree, Tensor):
        return change(tree)
    if isinstance(tree, dict):
        return {key: map_tensors(value, change) for key, value in tree.items()}
    if hasattr(tree, "_fields"):  # a named tuple
        return type(tree)(*(map_tensors(value, change) for value in tree))
    if type(tree) in (list, tuple):
        return type(tree)(map_tensors(value, change) for value in tree)
    return tree


def tensors_in(tree: Any) -> list[Tensor]:
    """All tensors in lists, tuples and dicts, in order."""
    found: list[Tensor] = []
    map_tensors(tree, lambda x: found.append(x) or x)
    return found


def near(args: Sequence[Any], kwargs: Mapping[str, Any]) -> list[Tensor]:
    """The tensors among the arguments of an operation, and in lists among them."""
    found = [x for x in args if isinstance(x, Tensor)]
    for x in args:
        if isinstance(x, (list, tuple)):
            found += [y for y in x if isinstance(y, Tensor)]
    return found + [x for x in kwargs.values() if isinstance(x, Tensor)]
