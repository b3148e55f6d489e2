"""Every model that torchvision has: its parameters, its operations, its state, its logits."""

import math

import pytest
import torch
from torch import nn

from cnnlab._torchvision import import_torchvision
from cnnlab.models import MODELS, build
from cnnlab.models.pretrained import TORCHVISION_OPTIONS

import_torchvision()
from torchvision import models as published  # noqa: E402

BOTH = [name for name in MODELS if name in published.list_models(module=published)]


def ours(name):
    return build(name, **TORCHVISION_OPTIONS.get(name, {}))


def theirs(name):
    return published.get_model(name, **({"init_weights": False} if name == "googlenet" else {}))


def metadata(name):
    return published.get_model_weights(name).DEFAULT.meta


def parameters(model):
    return sum(p.numel() for p in model.parameters())


def multiply_accumulates(model, shape):
    """MACs of convolutions and linear layers, counted where they are called; bias left out."""
    macs = 0

    def count(layer, inputs, output):
        nonlocal macs
        # each output value is one row of the weight times one patch (or vector) of the input
        macs += output.numel() * layer.weight[0].numel()

    for layer in model.modules():
        if isinstance(layer, (nn.Conv2d, nn.Linear)):
            layer.register_forward_hook(count)
    model(torch.empty(1, *shape, device="meta"))
    return macs


def plausible_state(model, seed=0):
    """A value for every name of `model`'s state: signals keep their scale, no two tensors agree."""
    generator = torch.Generator().manual_seed(seed)
    shared = torch.randn(1 << 20, generator=generator)  # drawing 100 million numbers takes seconds
    state = {}
    for key, like in model.state_dict().items():
        count = like.numel()
        if like.dtype == torch.int64:
            state[key] = torch.tensor(1)
        elif like.dim() > 1:
            start = int(torch.randint(0, 1 << 19, (), generator=generator))
            values = shared[start:].repeat(count // (len(shared) - start) + 1)[:count]
            state[key] = values.view(like.shape) / math.sqrt(like[0].numel() / 2)
        elif key.endswith(("var", "weight")):
            state[key] = 0.5 + torch.rand(count, generator=generator)
        else:
            state[key] = 0.1 * torch.randn(count, generator=generator)
    return state


def test_the_list_compared_with_torchvision_is_not_empty_by_accident():
    assert len(BOTH) == 22 and set(TORCHVISION_OPTIONS) <= set(BOTH)


@pytest.mark.parametrize("name", BOTH)
def test_parameters_and_operations_are_the_published_ones(name):
    meta = metadata(name)
    with torch.device("meta"):
        model = ours(name).eval()
        without_auxiliary = [p for k, p in model.named_parameters() if not k.startswith("aux")]
    assert sum(p.numel() for p in without_auxiliary) == meta["num_params"]
    macs = multiply_accumulates(model, (3, 224, 224))
    assert round(macs / 1e9, 3) == meta["_ops"]  # published in units of 10^9, three decimals


@pytest.mark.parametrize("name", BOTH)
@torch.inference_mode()
def test_the_same_weights_give_the_same_logits(name):
    with torch.device("meta"):
        here, there = ours(name).eval(), theirs(name).eval()
    state = plausible_state(there)
    # strict, both ways: the same names, the same shapes
    here.load_state_dict(state, strict=True, assign=True)
    there.load_state_dict(here.state_dict(), strict=True, assign=True)
    if name == "googlenet":
        there.transform_input = True  # as torchvision sets it for its weights
    # Small, for speed, and not square; every model still has more than one unit at its end.
    size = (32, 64) if name.startswith("vgg") else (64, 72)
    x = torch.randn(2, 3, *size, generator=torch.Generator().manual_seed(1))
    got, expected = here(x), there(x)
    assert expected.std() > 1e-3 and got.shape == (2, 1000)
    assert (got - expected).abs().max() <= 1e-5 * expected.abs().max()
    assert (expected[0] - expected[1]).abs().max() > 1e-4 * expected.abs().max()  # the image counts
