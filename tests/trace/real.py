"""What a real pass keeps: the authority for the trace's bytes, in tests and in the sweep."""

from __future__ import annotations

import weakref

import torch
from torch import nn


def kept_for_real(model: nn.Module, *inputs: object) -> int:
    """Bytes that autograd holds after a real pass, each storage once, parameters not counted.

    Not what it is asked to keep: of a branch that leads to no output nothing is left. The nms of
    torchvision makes such branches, in compiled code, where a trace does not look.
    """
    tensors = (*model.parameters(), *model.buffers())
    own = {tensor.untyped_storage().data_ptr() for tensor in tensors}
    packed: list[weakref.ref[torch.Tensor]] = []

    def pack(tensor: torch.Tensor) -> torch.Tensor:
        bare = tensor.detach()
        packed.append(weakref.ref(bare))
        return bare  # with its graph, kept by that graph, it would never be freed

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        output = model(*inputs)
    held = [ref().untyped_storage() for ref in packed if ref() is not None]
    sizes = {storage.data_ptr(): storage.nbytes() for storage in held}
    del output
    return sum(size for place, size in sizes.items() if place not in own)
