"""What a real pass keeps: the authority for the trace's bytes, in tests and in the sweep."""

from __future__ import annotations

import torch
from torch import nn


def kept_for_real(model: nn.Module, *inputs: object) -> int:
    """Bytes that autograd keeps in a real pass, each storage once, parameters not counted."""
    tensors = (*model.parameters(), *model.buffers())
    own = {tensor.untyped_storage().data_ptr() for tensor in tensors}
    alive, total = [], 0

    def pack(tensor: torch.Tensor) -> torch.Tensor:
        nonlocal total
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in own:
            own.add(storage.data_ptr())
            alive.append(storage)
            total += storage.nbytes()
        return tensor.detach()  # with its graph, kept by that graph, it is never freed

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        output = model(*inputs)
    del output
    return total
