"""A walk between two images as the explorer shows it. Needs torch; drawing does not."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from cnnlab.course.explorers.ch12_walk import Walked
from cnnlab.probes import level_set_walk
from cnnlab.training import Trained

FRAMES = 24


class _OfPixels(nn.Module):
    """A network that takes pixels of 0 to 1: what it was trained with is part of it."""

    def __init__(self, trained: Trained):
        super().__init__()
        self.net = trained.model
        self.register_buffer("mean", torch.tensor(trained.mean).view(-1, 1, 1))
        self.register_buffer("std", torch.tensor(trained.std).view(-1, 1, 1))

    def forward(self, images: Tensor) -> Tensor:
        return self.net((images - self.mean) / self.std)


def walked(trained: Trained, start: Tensor, toward: Tensor, name: str, steps: int = 400) -> Walked:
    """Walk with a trained network from one uint8 image (1, H, W) toward another, in whole gray
    values: each picture kept is rounded to them, and its scores are those of the rounded one."""
    network = _OfPixels(trained).cpu().double().eval()
    walk = level_set_walk(network, start / 255, toward / 255, bounds=(0.0, 1.0), steps=steps)
    last = len(walk.images) - 1
    # Evenly in what is left of the way, so that a slider moves it evenly.
    marks = torch.linspace(1.0, float(walk.left[-1]), FRAMES, dtype=torch.float64)
    kept = [int((walk.left - mark).abs().argmin()) for mark in marks]
    kept = sorted({0, last, *kept})
    pixels = (walk.images[kept] * 255).round().to(torch.uint8)
    with torch.no_grad():
        scores = network(pixels.double() / 255)
    return Walked(
        name,
        trained.classes,
        pixels[:, 0].tolist(),
        [[round(value, 4) for value in row] for row in scores.tolist()],
        toward[0].tolist(),
    )
