"""Chapter 07: its exercises are sound, its explorer measures right, its claims have their cells."""

from __future__ import annotations

import inspect
import math
import re

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from cnnlab.course.exercises import ch07
from cnnlab.course.explorers.ch07_gradient_flow import (
    Flow,
    draw,
    flow,
    gradient_flow,
    short,
    verdict,
)
from cnnlab.course.look import KERNEL
from tests.course.chapter import stored_cells, texts
from tests.tools.stored import ACTIVATIONS, INITIALIZATIONS, measure_flow

START = {"depth": 20, "activation": "sigmoid", "init": "Xavier", "norm": False, "skip": False}
# Every claim of the chapter: the cell that shows it, and what that cell's output must say.
CLAIMS = {
    "0.25 per layer at best": ("07-chain-table", "20    9e-13              1e-13"),
    "larger weights do not save the sigmoid": ("07-chain-table", "4e-22     2e-50"),
    "below 1 goes to 0, above 1 explodes": (
        "07-chain-table",
        "0.9: 0.0027   56 factors of 1.1: 208",
    ),
    "1 / fan-in keeps the size without activation": (
        "07-variance-table",
        "no activation, 1 / fan-in: predicted 1  on average above 0.9 and below 1.1 \u2713",
    ),
    "He's factor 2": (
        "07-variance-table",
        "ReLU, 2 / fan-in: predicted 1           on average above 0.9 and below 1.1 \u2713",
    ),
    "sigmoid's gradient vanishes": ("07-measure-table", "sigmoid, Xavier    4e-15  2e-02"),
    "tanh cures it only in part: small weights lose all": (
        "07-measure-table",
        "tanh, small, 0.01  9e-19  7e-20",
    ),
    "tanh with large weights explodes": ("07-measure-table", "tanh, large, 0.3   6e+00  4e-03"),
    "initialization matters as much: ReLU with Xavier fades": (
        "07-measure-table",
        "ReLU, Xavier       2e-06  1e-06",
    ),
    "batch norm undoes the weights' size": (
        "07-measure-table",
        "sigmoid, Xavier    4e-15  2e-02              1e-02             1e-02",
    ),
    "zeros around the map take a share": ("07-border", "2 x 2              44%"),
    "sigmoid stays at chance without norm": ("07-train", "sigmoid              each below 0.25"),
    "ReLU learns without norm": ("07-train", "ReLU                 each above 0.35 \u2713"),
    "tanh learns with the right weights": (
        "07-train",
        "tanh                 each above 0.35 \u2713",
    ),
    "batch norm cures the sigmoid": ("07-train", "sigmoid, batch norm  each above 0.35 \u2713"),
    "56 layers do worse than 20 on training data": (
        "07-puzzle",
        "plain-56, training loss     each above 1.4 \u2713",
    ),
    "and on other data": ("07-puzzle", "plain-56, new images right  each below 0.4 \u2713"),
    "during training: exploded first, then still": (
        "07-during-run",
        "first layer's share, step 0          above 50 \u2713",
    ),
    "degradation stays when gradients have equal size": (
        "07-equal-run",
        "plain-56, equal steps  each above 1.2 \u2713",
    ),
    "while plain-20 learns": (
        "07-equal-run",
        "plain-20, equal steps  each below 0.9 \u2713",
    ),
    "and plain-20 learns with the sizes of plain-56": (
        "07-reverse-run",
        "training loss at the end                each below 1.2 \u2713",
    ),
    "a 56-layer net can copy the 20-layer one": ("07-copy-run", "plain-56 made of it   below 0.9"),
    "so it is an optimization failure: from copies it learns": (
        "07-copies-run",
        "training loss, from copies          each below 1.4 \u2713",
    ),
    "plain-20's gradient holds further": (
        "07-promise-run",
        "plain-20, a step of 1e-04  each above 0.5 \u2713",
    ),
    "plain-56's gradient holds over tiny steps only": (
        "07-promise-run",
        "plain-56, a step of 1e-04  each below 0.5 \u2713",
    ),
}


@pytest.fixture(scope="module")
def cells():
    return stored_cells("07")


def test_equal_steps_are_equal(cells):
    """Every layer moves by the share that is asked for, whatever its gradient."""
    space = {"torch": torch, "F": F}
    exec(cells["07-equal-steps"].source, space)
    torch.manual_seed(0)
    net = nn.Sequential(nn.Flatten(), nn.Linear(4, 8, bias=False), nn.Linear(8, 3, bias=False))
    before = [p.detach().clone() for p in net.parameters()]

    class Once(list):
        def at(self, epoch):
            return iter(self)

    space["learning_rate"] = lambda step, steps, peak: peak
    batch = torch.randn(5, 1, 2, 2), torch.tensor([0, 1, 2, 0, 1])
    space["train_equal"](net, Once([batch]), epochs=1, peak=0.01)
    moved = [((p - old).norm() / old.norm()).item() for p, old in zip(net.parameters(), before)]
    assert moved == pytest.approx([0.01, 0.01], rel=1e-5)


def test_copies_are_what_stands_in_same_width_convolutions(cells):
    space = {"torch": torch, "nn": nn}
    exec(cells["07-plain-net"].source, space)
    exec(cells["07-from-copies"].source, space)
    weights = [p for p in space["from_copies"](0).parameters() if p.ndim == 4]
    copies = [w for w in weights if w.shape[0] == w.shape[1]]
    assert (len(weights), len(copies)) == (55, 52)
    assert all(
        w.abs().sum() == len(w) and (w[:, :, 1, 1] == torch.eye(len(w))).all() for w in copies
    )
    assert all(w.abs().sum() > len(w) for w in weights if w.shape[0] != w.shape[1])


def test_the_predicted_gradient_grows(cells):
    shown = cells["07-reveal"].outputs[0]["data"]["text/plain"]
    assert int(re.search(r"measured: ([\d,]+) times", shown).group(1).replace(",", "")) > 1000


# Exercises


def test_levels():
    levels = [exercise.level for exercise in ch07.exercises]
    assert levels == ["recall", "compute", "implement", "spot the bug", "design"]


def test_the_bug_in_the_notebook_is_the_diagnosed_one(cells):
    space = {"F": F}
    exec(cells["07-ex-gone"].source.split("repaired")[0], space)
    verdict = ch07.exercises.all_gone.check(space["report"])
    assert verdict.status == "wrong" and "cleared *before* they are read" in verdict.message


@pytest.mark.parametrize(
    "answer", [("tanh", "He", False), ("sigmoid", "He", True), ("tanh", "He", True)]
)
def test_healthy_takes_every_design_that_fits(answer):
    assert ch07.exercises.healthy.check(answer).passed


@pytest.mark.parametrize(
    "answer, words",
    [
        (("ReLU", "He", True), "the gradient explodes"),
        (("ReLU", "He", False), "every layer's share is at least 0.002, got 0.0006"),
        (("tanh", "Xavier", False), "every layer's share is at least 0.002, got 0.001"),
        (("sigmoid", "He", False), "all images look the same"),
        (("ReLU", "small, 0.01", True), "the gradient explodes"),
        (("tanh", "large, 0.3", False), "the gradient explodes"),
        (("ReLU", "large, 0.3", False), "do not drift apart"),
        (("none", "He", True), "choose one of sigmoid, tanh, ReLU"),
        (("ReLU", "he", True), "choose one of 'Xavier', 'He'"),
        (("ReLU", "He"), "give a triple"),
        (("ReLU", "He", 1), "batch norm is True or False, got 1"),
    ],
)
def test_healthy_says_what_is_wrong(answer, words):
    verdict = ch07.exercises.healthy.check(answer)
    assert verdict.status == "wrong" and words in verdict.message


@pytest.mark.parametrize(
    "fill, words",
    [
        (lambda weight: weight[0, 0, 1, 1].fill_(1), "Channel 0 passes, and no other"),
        (lambda weight: weight, "Nothing passes: are all weights zero?"),
    ],
)
def test_copying_looks_at_every_channel(fill, words):
    verdict = ch07.exercises.copying.check(lambda n: ch07._filled(n, fill))
    assert words in verdict.message


def test_functions_with_other_parameters_are_told_which():
    message = ch07.exercises.copying.check(lambda: nn.ReLU()).message
    assert message.startswith("takes (), expected (channels)")
    message = ch07.exercises.all_gone.check(lambda model: [model]).message
    assert message.startswith("takes (model), expected (model, images, labels)")


def test_copying_layers_can_be_stacked_in_any_number():
    net = nn.Sequential(*(ch07.copying_layer(5) for _ in range(36)))
    maps = torch.rand(2, 5, 4, 4)
    torch.testing.assert_close(net(maps), maps)


# Explorer


def laboratory(depth, activation, spread, norm, skip):
    """The network of `flow`, built of modules, with the same random numbers: gradient shares."""
    from cnnlab.data.sets import load

    train = load("digits").train
    images, labels = train.images[:8].double(), train.labels[:8]
    images = (images - images.mean()) / images.std()
    generator = torch.Generator().manual_seed(0)
    convs = []
    for before in [1, *[16] * (depth - 2)]:
        conv = nn.Conv2d(before, 16, 3, padding=1, padding_mode="circular", bias=False).double()
        draws = torch.randn(conv.weight.shape, generator=generator, dtype=torch.float64)
        conv.weight.data = draws * spread(9 * before, 9 * 16)
        convs.append(conv)
    norms = [nn.BatchNorm2d(16).double() if norm else nn.Identity() for _ in convs]
    x = activation(norms[0](convs[0](images)))
    for a in range(1, depth - 1, 2):
        y = norms[a + 1](convs[a + 1](activation(norms[a](convs[a](x)))))
        x = activation(x + y if skip else y)
    head = torch.randn(10, 16, generator=generator, dtype=torch.float64) / 4
    F.cross_entropy(x.mean((2, 3)) @ head.T, labels).backward()
    return [(conv.weight.grad.norm() / conv.weight.norm()).item() for conv in convs]


@pytest.mark.parametrize(
    "depth, activation, init, norm, skip",
    [
        (8, "sigmoid", "Xavier", False, False),
        (12, "ReLU", "He", True, True),
        (10, "tanh", "large, 0.3", False, True),
        (6, "none", "small, 0.01", True, False),
    ],
)
def test_flow_is_what_modules_and_autograd_give(depth, activation, init, norm, skip):
    expected = laboratory(depth, ACTIVATIONS[activation], INITIALIZATIONS[init], norm, skip)
    passed = flow(depth, activation, init, norm, skip)
    assert len(passed.gradients) == len(passed.sizes) == len(passed.spreads) == depth - 1
    measured = measure_flow(depth, activation, init, norm, skip)
    assert measured.gradients == pytest.approx(expected, rel=1e-9)
    for got, wanted in zip(passed, measured):  # stored to half a step
        assert got == pytest.approx(wanted, rel=1e-3)
    assert passed.ratio == pytest.approx(expected[0] / expected[-1], rel=2e-3)


def test_sizes_follow_the_arithmetic():
    """Without activation Xavier keeps the mean square: from layer 2 fan-in equals fan-out."""
    sizes = flow(20, "none", "Xavier").sizes
    assert all(0.5 < size / sizes[0] < 2 for size in sizes)
    gain = (flow(20, "none", "He").sizes[-1] / flow(20, "none", "He").sizes[1]) ** (1 / 17)
    assert gain == pytest.approx(2**0.5, rel=0.05)
    normed = flow(20, "ReLU", "large, 0.3", True).sizes
    assert all(size == pytest.approx(1, abs=1e-3) for size in normed)


def test_a_gradient_is_never_lost_to_rounding():
    passed = flow(56, "sigmoid", "small, 0.01")
    assert 0 < passed.gradients[0] < 1e-60 and 0 < passed.ratio < 1e-60


def test_explorer_shows_the_start():
    shown = texts(draw(**START))
    passed = flow(20, "sigmoid", "Xavier")
    for text in (
        "20 layers, sigmoid, Xavier",
        short(passed.ratio),
        f"layer 1: {short(passed.gradients[0])}",
        f"layer 19: {short(passed.gradients[-1])}",
        "Vanishing: hardly anything arrives at the first layers.",
    ):
        assert text in shown
    assert passed.ratio < 1e-12 and draw(**START) == draw(**START)


def test_a_dot_in_its_square_is_seen():
    """Signal size and spread often coincide: the square is open and the dot is drawn after it."""
    svg = draw(20, "none", "Xavier", False, False)
    assert svg.index('width="8" height="8" fill="none"') < svg.index(f'r="2.6" fill="{KERNEL}"')


def test_what_there_is_to_find():
    vanish = [depth for depth in range(4, 58, 2) if flow(depth, "sigmoid", "Xavier").ratio < 1e-6]
    assert vanish[0] == 12
    relu = {init: flow(56, "ReLU", init) for init in INITIALIZATIONS}
    assert all(1 / 20 < passed.ratio < 20 for passed in relu.values())
    gone = [init for init, passed in relu.items() if max(passed.gradients) < 1e-4]
    assert gone == ["Xavier", "small, 0.01"]
    assert flow(20, "sigmoid", "Xavier").spreads[-1] < 1e-10
    assert flow(20, "sigmoid", "Xavier", True).spreads[-1] > 0.5
    assert 0.1 < flow(20, "sigmoid", "Xavier", True).ratio < 10


def test_chapter_08_finds_its_switch():
    """plain-56 with batch norm explodes toward the first layers; with skips it does not."""
    assert flow(56, "ReLU", "He", True, False).ratio > 1000
    assert 1 / 20 < flow(56, "ReLU", "He", True, True).ratio < 20
    explorer = gradient_flow(56, "ReLU", "He", True, True, find=("One.",))
    assert explorer.find == ("One.",) and "56 layers, ReLU, He, batch norm, skips" in explorer.svg


@pytest.mark.parametrize(
    "gradients, word",
    [
        ((1e-9, 1e-2), "Vanishing:"),
        ((1e-9, 1e-8), "Vanished:"),
        ((1e2, 1e-3), "Exploding:"),
        ((1e5, 1e4), "Exploded:"),
        ((0.1, 0.2), "Every layer"),
    ],
)
def test_verdicts(gradients, word):
    assert verdict(Flow(gradients, (1.0, 1.0), (1.0, 1.0), 2.3)).startswith(word)


@pytest.mark.parametrize(
    "value, text",
    [
        (0.3149, "0.31"),
        (8.55, "8.6"),
        (12.3, "12"),
        (2345.0, "2,300"),
        (3.64e-14, "3.6e-14"),
        (99.6, "100"),
        (4.1e9, "4.1e+09"),
        (5.0, "5"),
    ],
)
def test_short_numbers(value, text):
    assert short(value) == text


@pytest.mark.parametrize(
    "change, words",
    [
        ({"depth": 7}, "Choose an even number from 4"),
        ({"depth": 2}, "do not come out even"),
        ({"activation": "relu"}, "no activation 'relu'; choose one of sigmoid, tanh, ReLU"),
        ({"init": "he"}, "no initialization 'he'; choose one of Xavier, He"),
    ],
)
def test_an_impossible_network_is_a_sentence(change, words):
    with pytest.raises(ValueError, match=re.escape(words)):
        draw(**{**START, **change})


def test_every_state_is_a_picture_with_finite_places():
    for depth in (4, 20, 56):
        for activation in ACTIVATIONS:
            for init in INITIALIZATIONS:
                for norm, skip in ((False, False), (True, False), (False, True)):
                    svg = draw(depth, activation, init, norm, skip)
                    assert "nan" not in svg and "inf" not in svg.replace("info", "")
                    assert all(
                        math.isfinite(v)
                        for v in flow(depth, activation, init, norm, skip).gradients
                    )


def test_draw_takes_what_the_controls_give():
    assert set(inspect.signature(draw).parameters) == set(gradient_flow().state) == set(START)
    assert gradient_flow().state == START
