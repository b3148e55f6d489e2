"""What a LeNet-5 makes of a digit at every place of its field. Needs torch; drawing does not."""

from __future__ import annotations

from array import array

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from cnnlab.course.explorers.ch00_lenet import FIELD, LAYERS, SIDE, STEPS, ZOOM, Seen
from cnnlab.probes import activations


def everywhere(images: Tensor) -> Tensor:
    """(N, 1, 8, 8) -> (N, 81, 1, 32, 32): enlarged, at each place of the field, row by row."""
    large = F.interpolate(images, scale_factor=ZOOM)
    room = FIELD - large.shape[-1]
    places = [
        (left, room - left, top, room - top) for top in range(room + 1) for left in range(room + 1)
    ]
    return torch.stack([F.pad(large, place) for place in places], dim=1)


def look(network: nn.Module, images: Tensor, mean: float, std: float) -> Seen:
    """Run a LeNet-5 on digits (N, 1, 8, 8) of 0 to 255 at every place and keep what it sees."""
    inputs = (everywhere(images).flatten(0, 1) / 255 - mean) / std
    found = activations(network, inputs, [*LAYERS, "output"])
    maps = {}
    for path, layer in LAYERS.items():
        # The convolutions are shown after their activation, as the next layer gets them.
        values = network.activation(found[path]) if path[0] == "c" else found[path]
        values = (values / values.abs().max().clamp(min=1e-9) * STEPS).round().to(torch.int8)
        maps[path] = _joined(values.cpu().unflatten(0, (len(images), SIDE, SIDE)), layer.jump)
    scores = found["output"].softmax(1).float().cpu().flatten().tolist()
    return Seen(maps, array("f", scores))


def _joined(values: Tensor, jump: int) -> bytes:
    """Maps (N, 9, 9, maps, H, W) at each place -> one larger map per digit and phase.

    A digit that moves by `jump` pixels moves its maps by one: places that are multiples of `jump`
    apart are windows of the same larger map.
    """
    count, _, _, maps, height, width = values.shape
    room = (SIDE - 1) // jump
    large = torch.zeros(count, jump, jump, maps, height + room, width + room, dtype=torch.int8)
    for down in range(SIDE):
        for right in range(SIDE):
            top, left = room - down // jump, room - right // jump
            window = large[:, down % jump, right % jump, :, top : top + height, left : left + width]
            window.copy_(values[:, down, right])
    return large.numpy().tobytes()
