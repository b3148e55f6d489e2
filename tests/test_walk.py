"""Walks on which scores stay: a linear map in closed form, real networks, refusals."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import nn

from cnnlab.models import build
from cnnlab.probes import ProbeError, level_set_walk


def linear(matrix, size=4):
    model = nn.Sequential(nn.Flatten(), nn.Linear(size * size, len(matrix)))
    with torch.no_grad():
        model[1].weight.copy_(matrix)
    return model


def drawn(*shape, seed=0):
    return torch.rand(*shape, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("case", ["full rank", "two equal rows", "one score"])
def test_with_a_linear_map_the_end_is_the_projection(case):
    """The nearest image with these scores is start + (1 - A+ A)(toward - start)."""
    matrix = torch.randn(1 if case == "one score" else 5, 16, generator=torch.manual_seed(0))
    if case == "two equal rows":
        matrix[4] = matrix[3]
    start, toward = drawn(1, 4, 4), drawn(1, 4, 4, seed=1)
    walk = level_set_walk(linear(matrix), start, toward)
    a, way = matrix.double(), (toward.double() - start.double()).flatten()
    hidden = way - torch.linalg.pinv(a) @ (a @ way)
    torch.testing.assert_close(
        walk.images[-1].flatten(), start.double().flatten() + hidden, atol=3e-3, rtol=0
    )
    assert walk.change.max() < 1e-9
    assert float(walk.left[-1]) == pytest.approx(float((way - hidden).norm() / way.norm()), 1e-3)
    assert walk.stopped == "no direction is left that comes nearer and changes no score"


def test_where_the_scores_say_everything_there_is_no_step():
    walk = level_set_walk(linear(torch.eye(16)), drawn(1, 4, 4), drawn(1, 4, 4, seed=1))
    assert len(walk.images) == 1 and walk.left.tolist() == [1.0]
    assert "no direction is left" in walk.stopped


def test_where_the_scores_do_not_see_the_difference_it_arrives():
    matrix = torch.zeros(2, 16)
    matrix[0, 0], matrix[1, 1] = 1, 2
    start = drawn(1, 4, 4)
    toward = start.clone()
    toward[0, 1:] = 0.5
    walk = level_set_walk(linear(matrix), start, toward)
    assert walk.left[-1] < 2e-3


def test_the_number_of_steps_is_a_limit_that_is_said():
    walk = level_set_walk(
        linear(torch.ones(1, 16)), drawn(1, 4, 4), drawn(1, 4, 4, seed=1), steps=3
    )
    assert len(walk.images) == len(walk.scores) == len(walk.left) == len(walk.change) == 4
    assert walk.stopped == "3 steps were made"


NETWORKS = {
    "tanh, average pooling": lambda: build("lenet5"),
    "ReLU, maximum pooling": lambda: build("lenet5", modern=True),
    "batch norm": lambda: build("vgg_small", widths=(4, 6, 8), hidden=(16,)),
}


@pytest.mark.parametrize("name", NETWORKS)
def test_a_real_network_keeps_its_scores_and_pixels_their_bounds(name):
    torch.manual_seed(0)
    model = NETWORKS[name]().train()
    before = copy.deepcopy(model.state_dict())
    start, toward = drawn(1, 28, 28), drawn(1, 28, 28, seed=1)
    walk = level_set_walk(model, start, toward, bounds=(0, 1), steps=12)
    assert model.training and all(
        torch.equal(value, before[key]) for key, value in model.state_dict().items()
    )
    with torch.no_grad():
        scores = copy.deepcopy(model).double().eval()(walk.images)
    torch.testing.assert_close(scores, walk.scores)
    spread = scores[0].max() - scores[0].min()
    assert (scores - scores[0]).abs().max() <= 0.002 * spread
    assert walk.images.min() >= 0 and walk.images.max() <= 1
    left = (walk.images - toward).flatten(1).norm(dim=1)
    torch.testing.assert_close(left / left[0], walk.left)
    assert (walk.left.diff() < 0).all() and walk.left[-1] < 0.8


class Rounds(nn.Module):
    def forward(self, x):
        return x.flatten(1).detach()


@pytest.mark.parametrize(
    "model, start, toward, options, message",
    [
        (None, drawn(1, 1, 4, 4), drawn(1, 1, 4, 4), {}, r"images\[i\], not images\[i:i\+1\]"),
        (None, drawn(1, 4, 4), drawn(1, 4, 5), {}, r"toward of \(1, 4, 5\); expected two images"),
        (None, torch.ones(1, 4, 4, dtype=torch.uint8), drawn(1, 4, 4), {}, "divided by 255"),
        (None, drawn(1, 4, 4), 2 + drawn(1, 4, 4), {"bounds": (0, 1)}, r"outside \(0, 1\)"),
        (None, drawn(1, 4, 4), drawn(1, 4, 4) / 0, {}, "outside the finite numbers"),
        (None, drawn(1, 4, 4), drawn(1, 4, 4), {}, "the same image"),
        (Rounds(), drawn(1, 4, 4), drawn(1, 4, 4, seed=1), {}, "carry no gradient"),
        (linear(torch.zeros(3, 16)), drawn(1, 4, 4), drawn(1, 4, 4, seed=1), {}, "model constant"),
        (nn.Conv2d(1, 2, 3), drawn(1, 4, 4), drawn(1, 4, 4, seed=1), {}, r"returns \(1, 2, 2, 2\)"),
    ],
)
def test_what_cannot_be_walked_is_said(model, start, toward, options, message):
    model = model or linear(torch.ones(2, 16))
    with pytest.raises(ProbeError, match=message):
        level_set_walk(model, start, toward, **options)
