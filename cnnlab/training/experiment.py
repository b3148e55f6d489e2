"""One training of a comparison: a network drawn from a seed, trained, and its score."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import nn

from cnnlab.data.batches import evaluation, train_val
from cnnlab.data.images import Images, Splits
from cnnlab.training.loop import evaluate, fit


def trained(
    make: Callable[[], nn.Module],
    splits: Splits,
    *,
    seed: int,
    epochs: int,
    optimizer: str = "sgd",
    lr: float | None = None,
    device: torch.device | str | None = None,
) -> nn.Module:
    """What `make()` builds, trained on `splits.train` in batches of 64, without a bar.

    seed  of the first weights, of the order of the images and of dropout. torch's generator is
          left where the network's weights left it.

    The other options are those of `fit`, and so are the errors.
    """
    torch.manual_seed(seed)
    model = make()
    batches = train_val(splits, 64, seed=seed, device=device or "cpu")
    options = {"optimizer": optimizer, "lr": lr, "seed": seed, "device": device}
    fit(model, *batches, epochs=epochs, progress=False, **options)
    return model


def accuracy(model: nn.Module, splits: Splits, images: Images | None = None) -> float:
    """Share of right answers, 0 to 1, on `images` or the test part, normalized like `splits`."""
    batches = evaluation(splits, splits.test if images is None else images)
    return evaluate(model, batches).accuracy
