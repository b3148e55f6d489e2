"""Trainings with a name, for the records still to be measured.

None has been run to its end for this course yet: what they should reach is their sources' word.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True)
class Recipe:
    """model: a name of `models.MODELS`; build: options for it; train: options of the command."""

    model: str
    train: Mapping[str, object]
    source: str
    build: Mapping[str, object] = field(default_factory=dict)


# 64,000 steps of 128 out of 45,000 images are 182 epochs; a tenth of the rate from steps 32,000 and
# 48,000 on, which are a half and three quarters.
_CIFAR = {
    "data": "cifar-10",
    "epochs": 182,
    "batch_size": 128,
    "lr": 0.1,
    "weight_decay": 1e-4,
    "schedule": "steps",
    "warmup": 0.0,
    "crop": 4,
    "flip": True,
}
_HE = "He, Zhang, Ren, Sun 2016, section 4.2; {}"

RECIPES = {
    "vgg_small-fashion": Recipe(
        "vgg_small",
        {
            "data": "fashion-mnist",
            "epochs": 100,
            "batch_size": 128,
            "optimizer": "adam",
            "lr": 1e-3,
            "weight_decay": 5e-4,
            "label_smoothing": 0.1,
            "crop": 2,
            "flip": True,
        },
        "ours, for chapter 05: batch norm, Adam, augmentation; 92.68% of the test images is the "
        "number to beat",
    ),
    "resnet20-cifar10": Recipe("resnet20", _CIFAR, _HE.format("8.75% test error in table 6")),
    "resnet56-cifar10": Recipe("resnet56", _CIFAR, _HE.format("6.97% test error in table 6")),
    "plain20-cifar10": Recipe("resnet20", _CIFAR, _HE.format("figure 6, left"), {"skip": False}),
    "plain56-cifar10": Recipe("resnet56", _CIFAR, _HE.format("figure 6, left"), {"skip": False}),
}
