"""Recipes: each names real options, builds its model, and gives way to what is typed."""

from __future__ import annotations

import pytest
import torch

from cnnlab import __main__ as command
from cnnlab.data.sets import Images, Splits
from cnnlab.models import build
from cnnlab.training.loop import learning_rate
from tests.bench.recipes import RECIPES

SHAPES = {"fashion-mnist": (1, 28, 28), "cifar-10": (3, 32, 32)}


@pytest.mark.parametrize("name", RECIPES)
def test_a_recipe_fits_its_data_and_the_command(name):
    recipe = RECIPES[name]
    options = command._parser(name).parse_args(["train", name])
    assert recipe.train.items() <= vars(options).items() and recipe.source
    channels, *sides = SHAPES[options.data]
    model = build(recipe.model, num_classes=10, in_channels=channels, **recipe.build).eval()
    assert model(torch.zeros(1, channels, *sides)).shape == (1, 10)
    unknown = set(recipe.train) - set(vars(command._parser().parse_args(["train", "x"])))
    assert not unknown


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


def test_a_recipe_trains_and_what_is_typed_wins(monkeypatch, capsys, tmp_path):
    asked = []

    def small(name, *, seed, size):
        asked.append(name)
        images = torch.randint(256, (40, 3, 32, 32), dtype=torch.uint8)
        part = Images(images, torch.arange(40) % 10, tuple("0123456789"), "small")
        return Splits(part, part, part, *part.mean_std())

    monkeypatch.setattr("cnnlab.data.sets.load", small)
    run = ["train", "plain20-cifar10", "--epochs", "1", "--device", "cpu", "--lr", "0.01"]
    assert command.main([*run, "--out", str(tmp_path / "run")]) == 0
    config = (tmp_path / "run" / "config.json").read_text()
    assert asked == ["cifar-10"] and '"lr": 0.01' in config and '"batch_size": 128' in config
    assert "test: loss" in capsys.readouterr().out
