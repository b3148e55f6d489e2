"""Recipes: each names real options of the command and builds its model."""

from __future__ import annotations

import pytest
import torch

from cnnlab import __main__ as command
from cnnlab.models import build
from cnnlab.training.schedules import learning_rate
from tests.bench.recipes import RECIPES, flags

SHAPES = {
    "digits": (1, 28, 28),  # as they are scaled for those that need it
    "letters": (1, 28, 28),
    "fashion-mnist": (1, 28, 28),
    "cifar-10": (3, 32, 32),
}


@pytest.mark.parametrize("name", RECIPES)
def test_a_recipe_fits_its_data_and_the_command(name):
    recipe = RECIPES[name]
    options = vars(command._parser().parse_args(["train", *flags(recipe)]))
    assert recipe.train.items() <= options.items() and recipe.source
    assert dict(options["build"]) == recipe.build
    channels, *sides = SHAPES[recipe.train["data"]]
    model = build(recipe.model, num_classes=10, in_channels=channels, **recipe.build).eval()
    assert model(torch.zeros(1, channels, *sides)).shape == (1, 10)


def test_the_plain_ones_are_the_residual_ones_without_skips():
    for depth in (20, 56):
        plain, residual = RECIPES[f"plain{depth}-cifar10"], RECIPES[f"resnet{depth}-cifar10"]
        assert plain.train == residual.train and plain.build == {"skip": False}


def test_the_learning_rate_of_the_paper():
    """Section 4.2: 0.1, divided by 10 at 32k and 48k iterations, stopped at 64k."""
    steps = -(-45_000 // 128) * RECIPES["resnet20-cifar10"].train["epochs"]
    assert abs(steps - 64_000) < 352  # an epoch
    rate = [
        learning_rate(step, steps, 0.1, "steps", 0.0)
        for step in (0, 31_900, 32_100, 47_900, 48_100, steps - 1)
    ]
    assert rate == pytest.approx([0.1, 0.1, 0.01, 0.01, 0.001, 0.001])
