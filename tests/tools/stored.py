"""Compute the numbers that explorers look up, and store them beside them.

    python -m tests.tools.stored            everything, about two minutes
    python -m tests.tools.stored flow       one of: pictures, flow, lenet, walks

LeNet-5 is trained once and its weights kept in tests/course/lenet.bin, in half precision: the
network whose maps are stored is the one with these weights, on every machine.
"""

from __future__ import annotations

import json
import sys
from array import array
from functools import cache
from math import log10
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from cnnlab.course.explorers import stored
from cnnlab.course.explorers.ch07_gradient_flow import NOTHING, PER_DECADE, Flow, states
from cnnlab.data.sets import load
from cnnlab.models import build

CHANNELS, IMAGES = 16, 8
ACTIVATIONS = {
    "sigmoid": torch.sigmoid,
    "tanh": torch.tanh,
    "ReLU": torch.relu,
    "none": lambda x: x,
}
# Standard deviation of the normal distribution that weights are drawn from.
INITIALIZATIONS = {
    "Xavier": lambda fan_in, fan_out: (2 / (fan_in + fan_out)) ** 0.5,
    "He": lambda fan_in, fan_out: (2 / fan_in) ** 0.5,
    "small, 0.01": lambda fan_in, fan_out: 0.01,
    "large, 0.3": lambda fan_in, fan_out: 0.3,
}
WEIGHTS = Path(__file__).parents[1] / "course" / "lenet.bin"


# Pictures


def pictures() -> bytes:
    """The first of scikit-learn's digits, 8 x 8, and a corner of china.jpg, 50 x 50 in gray."""
    from sklearn.datasets import load_digits, load_sample_image

    gray = load_sample_image("china.jpg")[0:400, 10:410].mean(2)
    small = gray.reshape(50, 8, 50, 8).mean((1, 3)).round()  # each pixel the mean of 8 x 8
    return load_digits().images[0].astype(np.uint8).tobytes() + small.astype(np.uint8).tobytes()


# Chapters 07 and 08


def measure_flow(
    depth: int, activation: str, init: str, norm: bool, skip: bool, seed: int = 0
) -> Flow:
    """The network that `ch07_gradient_flow.flow` describes, with random weights, in float64."""
    active, spread = ACTIVATIONS[activation], INITIALIZATIONS[init]
    images, labels = _digits()
    generator = torch.Generator().manual_seed(seed)
    weights: list[Tensor] = []
    outputs: list[Tensor] = []

    def convolution(x: Tensor) -> Tensor:
        fan_in, fan_out = 9 * x.shape[1], 9 * CHANNELS
        weight = torch.randn(CHANNELS, x.shape[1], 3, 3, generator=generator, dtype=torch.float64)
        weights.append((weight * spread(fan_in, fan_out)).requires_grad_())
        y = F.conv2d(F.pad(x, (1, 1, 1, 1), mode="circular"), weights[-1])  # (8, 16, 8, 8)
        outputs.append(F.batch_norm(y, None, None, training=True) if norm else y)
        return outputs[-1]

    x = active(convolution(images))
    for _ in range((depth - 2) // 2):
        y = convolution(active(convolution(x)))
        x = active(x + y if skip else y)
    head = torch.randn(10, CHANNELS, generator=generator, dtype=torch.float64) / CHANNELS**0.5
    loss = F.cross_entropy(x.mean((2, 3)) @ head.T, labels)
    gradients = torch.autograd.grad(loss, weights)
    with torch.no_grad():
        rows = [
            (
                (g.norm() / w.norm()).item(),
                y.square().mean().sqrt().item(),
                y.var(0, correction=0).mean().sqrt().item(),
            )
            for g, w, y in zip(gradients, weights, outputs)
        ]
    return Flow(*zip(*rows), loss.item())


@cache
def _digits() -> tuple[Tensor, Tensor]:
    train = load("digits").train
    images = train.images[:IMAGES].double()
    return (images - images.mean()) / images.std(), train.labels[:IMAGES]


def flow() -> bytes:
    """Every network of chapter 07's explorer, as logarithms."""
    numbers = []
    for state in states():
        gradients, sizes, spreads, loss = measure_flow(*state)
        numbers += [*gradients, *sizes, *spreads, loss]
    return stored.pack([round(PER_DECADE * log10(n)) if n > 0 else NOTHING for n in numbers])


# Chapter 00


def networks() -> dict[str, torch.nn.Module]:
    """LeNet-5 with the kept weights, and as it began."""
    torch.manual_seed(0)
    trained, untrained = build("lenet5", image_size=32), build("lenet5", image_size=32)
    values = torch.frombuffer(bytearray(WEIGHTS.read_bytes()), dtype=torch.float16).float()
    torch.nn.utils.vector_to_parameters(values, trained.parameters())
    return {"trained": trained.eval(), "untrained": untrained.eval()}


def train() -> None:
    """Train LeNet-5 on digits anywhere in the field, as the chapter does but longer; keep it."""
    from cnnlab.course.explorers.seeing import everywhere

    torch.manual_seed(0)
    model, data = build("lenet5", image_size=32), load("digits").train
    optimizer = torch.optim.Adam(model.parameters(), 0.002)
    for epoch in range(9):
        for rows in torch.randperm(len(data)).split(64):
            place = torch.randint(81, (len(rows),))
            images = everywhere(data.images[rows])[torch.arange(len(rows)), place]
            loss = F.cross_entropy(model((images / 255 - mean()) / deviation()), data.labels[rows])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
        print(f"epoch {epoch}: loss {loss.item():.3f}", flush=True)
    values = torch.nn.utils.parameters_to_vector(model.parameters())
    WEIGHTS.write_bytes(values.detach().half().numpy().tobytes())


def mean() -> float:
    """Of the enlarged digits in their fields."""
    return 0.17


def deviation() -> float:
    """Of the same."""
    return 0.32


def ten_digits() -> Tensor:
    """(10, 1, 8, 8): the first of each class in the test set."""
    test = load("digits").test
    return test.images[[test.labels.tolist().index(digit) for digit in range(10)]]


def lenet() -> bytes:
    """Ten digits, and what a trained and an untrained LeNet-5 make of them at every place."""
    from cnnlab.course.explorers.ch00_lenet import LAYERS
    from cnnlab.course.explorers.seeing import look

    if not WEIGHTS.exists():
        train()
    images = ten_digits()
    parts = [images.to(torch.uint8).numpy().tobytes()]
    for network in networks().values():
        seen = look(network, images, mean(), deviation())
        parts += [bytes(seen._maps[path].cast("B")) for path in LAYERS]
        parts.append(array("f", seen._scores).tobytes())
    return b"".join(parts)


# Chapter 12

# Network, its name, its data, and pairs of images of the test set: from, toward.
WALKS = (
    ("lenet5-letters-10", "LeNet-5", "letters", ((0, 7), (18, 23), (19, 22))),
    ("vgg_small-fashion-4", "small VGG", "fashion-mnist", ((186, 140), (13, 18))),
)


def walks() -> bytes:
    """The walks of chapter 12's explorer, as JSON; those of the VGG need Fashion-MNIST, and a
    minute or two each."""
    from cnnlab.course.explorers.walking import walked
    from cnnlab.training import load_trained

    rows = []
    for weights, name, data, pairs in WALKS:
        trained, test = load_trained(weights), load(data).test
        for start, toward in pairs:
            first, goal = test.images[start], test.images[toward]
            words = [test.classes[test.labels[place]] for place in (start, toward)]
            walk = walked(trained, first, goal, f"{name}: {words[0]} toward {words[1]}")
            pixels = torch.tensor([*walk.pixels, walk.toward], dtype=torch.uint8)
            rows.append(
                {
                    "name": walk.name,
                    "weights": weights,
                    "size": pixels.shape[-1],
                    "classes": list(walk.classes),
                    "pixels": pixels.numpy().tobytes().hex(),
                    "scores": walk.scores,
                }
            )
            last = len(walk.pixels) - 1
            print(walk.name, f"{walk.way(last):.1%}", f"{walk.change(last):.2%}", flush=True)
    return json.dumps(rows).encode()


MAKE = {"pictures": pictures, "flow": flow, "lenet": lenet, "walks": walks}


def main() -> None:
    for name in sys.argv[1:] or MAKE:
        stored.write(name, MAKE[name]())
        print(f"{name}: {(stored.FOLDER / f'{name}.bin').stat().st_size:,} bytes", flush=True)


if __name__ == "__main__":
    main()
