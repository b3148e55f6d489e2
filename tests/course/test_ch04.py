"""Chapter 04: its exercises are sound, its explorer counts right, its claims have their cells."""

from __future__ import annotations

import inspect
import random

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from cnnlab.arithmetic import conv_params, output_size
from cnnlab.course.exercises import ch04, ch04_answers
from cnnlab.course.explorers.ch04_grouped import (
    SECONDS,
    cost,
    draw,
    grouped,
    layer,
    layers,
    through,
)
from cnnlab.models.alexnet import AlexNet
from cnnlab.trace.run import trace
from tests.course.chapter import stored_cells, texts

START = {
    "inputs": 12,
    "outputs": 12,
    "groups": 2,
    "kernel": 3,
    "size": 13,
    "second": "none",
    "unit": 0,
}
# Every claim of the chapter: the cell that shows it, and what that cell's output must say.
CLAIMS = {
    "the cut saves 2% of the parameters": ("04-puzzle", "62,378,344 60,965,224 2.3%"),
    "and 36% of the MACs": ("04-puzzle", "1,135,256,096 724,406,816 36.2%"),
    "the guess is held against the two towers": ("04-talk-run", "on average below 76 ✓"),
    "weights of conv1 are used 3,025 times": ("04-hand", "conv1 34,848 3,025 105,415,200"),
    "fc6 is the largest": ("04-hand", "fc6 37,748,736 1 37,748,736"),
    "five convolutions, three fully connected": ("04-hand", "fc8 4,096,000 1 4,096,000"),
    "two towers: 60,965,224, 96% fully connected": (
        "04-three",
        "paper 60,965,224 96.2% 96 256 384 384 256",
    ),
    "without grouping: 62,378,344": ("04-three", "ungrouped 62,378,344 94.0%"),
    "torchvision's: 61,100,840": ("04-three", "torchvision 61,100,840 96.0% 64 192 384 256 256"),
    "11x11x3x96 = 34,848 is 0.06%": ("04-kernel", "11 x 11 34,848 0.057% 14.6%"),
    "a 3x3 saves MACs": ("04-kernel", "3 x 3 2,592 0.004% 1.1%"),
    "224 gives no 55": ("04-off-by-three", "224 0 54 26 12 5 26,214,400"),
    "227 does": ("04-off-by-three", "227 0 55 27 13 6 37,748,736"),
    "and so does padding 2": ("04-off-by-three", "224 2 55 27 13 6 37,748,736"),
    "grouping saves no memory": ("04-memory", "uncut 2.35 cut 2.33"),
    "the cut saves traffic": ("04-memory", "121,520 only conv3 does 21,632"),
    "groups=2 is dense with zeros": ("04-matrix", "largest difference below 0.0001 \u2713"),
    "weights halved": ("04-matrix-picture", "432 864 432"),
    "stacking does not mix, seeing all does": (
        "04-depends",
        "2 2 4 4 4 4 4 4 4 4 2 1 8 8 8 8 8 8 8 8",
    ),
    "depthwise": ("04-depends", "8 8 1 1 1 1 1 1 1 1"),
    "cross-talk blocked": (
        "04-talk-run",
        "two towers, apart, 4,962 parameters on average below",
    ),
    "cross-talk in conv3": ("04-talk-run", "on average above 85 \u2713"),
    "sigmoid stays at chance": ("04-activations-run", "sigmoid each above 2 \u2713"),
    "ReLU and tanh learn": ("04-activations-run", "tanh each below 1 \u2713"),
    "model.eval() forgotten": ("04-modes-verdict", "ahead in top-1 by above 1 \u2713"),
    "LRN with the paper's constants": ("04-norm", "cnnlab's AlexNet below 0.1 \u2713"),
    "PyTorch divides alpha by n": ("04-norm", "constants above 1 \u2713"),
    "normalization leaks over the border": ("04-leak", "with normalization 50 96 96 96"),
    "conv2 sees one tower, conv3 both": ("04-leak", "without 48 96 96 96"),
}


@pytest.fixture(scope="module")
def cells():
    return stored_cells("04")


# Exercises


def test_fc6_for_larger_images_is_what_a_network_would_need():
    sides = [output_size(256, 11, stride=4, padding=2)]
    for _ in range(3):
        sides.append(output_size(sides[-1], 3, stride=2))
    assert sides == [63, 31, 15, 7]
    with torch.device("meta"):
        maps = AlexNet().features(torch.empty(1, 3, 256, 256))
    assert ch04.exercises.fc6.check(maps[0].numel() * 4096).passed


@pytest.mark.parametrize("k, share", [(1, 1 / 3), (3, 2 / 3), (7, 1.0)])
def test_top_k_by_hand(k, share):
    logits = torch.tensor([[2.0, 9, 4, 6, 8, 5, 1], [7, 3, 9, 8, 6, 5, 4], [1, 2, 3, 4, 5, 6, 7]])
    assert ch04_answers.top_k(logits, torch.tensor([1, 0, 0]), k) == pytest.approx(share)


def test_the_bug_in_the_notebook_is_the_diagnosed_one(cells):
    space = {"nn": nn}
    exec(cells["04-ex-head"].source.split("Calm = ")[0], space)
    verdict = ch04.exercises.head.check(space["Restless"])
    assert verdict.status == "wrong" and "Still active after model.eval()" in verdict.message


class Dropping(ch04_answers.Head):
    """A head made of three functions, `part(self, x)`: before, between and behind the layers."""

    def before(self, x):
        return x

    def between(self, h):
        return F.dropout(F.relu(h), 0.5, self.training)

    def behind(self, logits):
        return logits

    def forward(self, x):
        return self.behind(self.last(self.between(self.hidden(self.before(x)))))


def dropping(**parts):
    return type("Dropping", (Dropping,), parts)


class StaysOff(Dropping):
    def eval(self):
        self.between = F.relu
        return super().eval()


class OwnFlag(Dropping):
    """Its eval() is not called by that of a network around it."""

    on = True

    def eval(self):
        self.on = False
        return self

    def train(self, mode=True):
        self.on = self.on or mode
        return self

    def between(self, h):
        return F.dropout(F.relu(h), 0.5, self.on)


class Frozen(Dropping):
    def __init__(self, features, classes):
        super().__init__(features, classes)
        self.hidden.requires_grad_(False)


class FiveClasses(Dropping):
    def __init__(self, features, classes):
        super().__init__(features, 5)


class OffAtFirst(Dropping):
    def __init__(self, features, classes):
        super().__init__(features, classes)
        self.eval()


class NoReturn(ch04_answers.Head):
    def forward(self, x):
        self.last(F.relu(self.hidden(x)))


@pytest.mark.parametrize(
    "answer, words",
    [
        (
            dropping(between=lambda self, h: F.dropout(h, 0.5, self.training)),
            "its bias, as with a ReLU",
        ),
        (
            dropping(between=lambda self, h: F.dropout(h.abs(), 0.5, self.training)),
            "its bias, as with a ReLU",
        ),
        (
            dropping(between=lambda self, h: F.dropout(F.relu6(h), 0.5, self.training)),
            "a logit whose hidden unit is above 0 is that unit and its bias",
        ),
        (
            dropping(
                between=lambda self, h: F.relu(h),
                behind=lambda self, y: F.dropout(y, 0.5, self.training),
            ),
            "dropout acts before the last layer",
        ),
        (
            dropping(between=lambda self, h: F.dropout(F.relu(h), 0.48, self.training)),
            "doubled as with a dropout of 0.5",
        ),
        (
            dropping(between=lambda self, h: F.relu(h) * (1 + torch.randn_like(h) * self.training)),
            "in training each unit is dropped, or doubled",
        ),
        (
            dropping(
                before=lambda self, x: F.dropout(x, 0.5, self.training),
                between=lambda self, h: F.relu(h),
            ),
            "in training each unit is dropped, or doubled",
        ),
        (
            dropping(
                between=lambda self, h: (
                    F.relu(h) * F.dropout(torch.ones(h.shape[1]), 0.5, self.training)
                )
            ),
            "each row of a batch is dropped for itself",
        ),
        (
            dropping(
                between=lambda self, h: (
                    F.relu(h) * F.dropout(torch.ones(len(h), 1), 0.5, self.training)
                )
            ),
            "each hidden unit is dropped for itself",
        ),
        (
            dropping(
                between=lambda self, h: (
                    F.relu(h)
                    * 2
                    * (torch.rand_like(h) < (0.7 if self.training else 2))
                    / (1 if self.training else 2)
                )
            ),
            "half of what the ReLU lets through is dropped",
        ),
        (
            dropping(
                between=lambda self, h: F.dropout(
                    F.relu(h), 0.5, self.training and not torch.is_grad_enabled()
                )
            ),
            "two passes differ after model.train()",
        ),
        (
            dropping(
                between=lambda self, h: F.dropout(F.relu(h), 0.5, self.training and len(h) > 9)
            ),
            "two passes differ after model.train()",
        ),
        (StaysOff, "two passes differ after model.train()"),
        (OwnFlag, "two passes agree after eval() of a network around it"),
        (OffAtFirst, "two passes differ before any call of train() or eval()"),
        (
            dropping(between=lambda self, h: F.dropout(F.relu(h.detach()), 0.5, self.training)),
            "parameters that get no gradient: got 1344, expected 0",
        ),
        (Frozen, "parameters that get no gradient: got 1344, expected 0"),
        (FiveClasses, "parameters for (7, 3): got 837, expected 707"),
        (dropping(behind=lambda self, y: y * torch.nan), "two passes differ after model.train()"),
        (
            dropping(behind=lambda self, y: y.double() if self.training else y),
            "type of its numbers: got torch.float64, expected torch.float32",
        ),
        (NoReturn, "forward gives None, expected a tensor: is the `return` missing?"),
    ],
)
def test_head_says_what_is_missing(answer, words):
    verdict = ch04.exercises.head.check(answer)
    assert (verdict.status, words in verdict.message) == ("wrong", True), verdict.message


class AsConvolutions(ch04_answers.Head):
    def __init__(self, features, classes):
        super().__init__(features, classes)
        self.hidden, self.last = nn.Conv1d(features, 64, 1), nn.Conv1d(64, classes, 1)

    def forward(self, x):
        h = F.relu(self.hidden(x[:, :, None]))
        return self.last(F.dropout(h, 0.5, self.training))[:, :, 0]


class OwnMask(ch04_answers.Head):
    def forward(self, x):
        h = self.hidden(x).clamp(min=0)
        if self.training:
            h = h * torch.tensor([[random.choice((0.0, 2.0)) for _ in row] for row in h])
        return self.last(h)


class Lazy(ch04_answers.Head):
    def __init__(self, features, classes):
        super().__init__(features, classes)
        self.hidden = nn.LazyLinear(64)


@pytest.mark.parametrize("answer", [AsConvolutions, OwnMask, Lazy, dropping()])
def test_head_in_another_style(answer):
    verdict = ch04.exercises.head.check(answer)
    assert verdict.passed, verdict.message


def test_a_head_with_weights_that_lie_otherwise_is_not_judged():
    class Turned(nn.Module):
        def __init__(self, features, classes):
            super().__init__()
            self.first = nn.Parameter(torch.randn(features, 64))
            self.last = nn.Linear(64, classes)
            self.bias = nn.Parameter(torch.zeros(64))

        def forward(self, x):
            h = F.relu(x @ self.first + self.bias)
            return self.last(F.dropout(h, 0.5, self.training))

    verdict = ch04.exercises.head.check(Turned)
    assert verdict.status == "not judged"
    assert "yours has one of (20, 64) where the course's has one of (64, 20)" in verdict.message


def test_towers_takes_a_grouped_convolution_and_head_a_dropout_layer():
    class Grouped(nn.Module):
        def __init__(self, before, after, kernel):
            super().__init__()
            self.conv = nn.Conv2d(before, after, kernel, padding=kernel // 2, groups=2)

        def forward(self, x):
            return self.conv(x)

    class WithLayer(nn.Module):
        def __init__(self, features, classes):
            super().__init__()
            self.layers = nn.Sequential(
                nn.Linear(features, 64), nn.ReLU(), nn.Dropout(0.5), nn.Linear(64, classes)
            )

        def forward(self, x):
            return self.layers(x)

    assert ch04.exercises.towers.check(Grouped).passed
    assert ch04.exercises.head.check(WithLayer).passed


@pytest.mark.parametrize(
    "answer, words",
    [
        ([(3, 64)], "a triple (kernel, output channels, groups)"),
        ([(3, 64, 5)], "5 groups do not divide 64 channels in and 64 out"),
        ([(3, 64.5, 1)], "whole numbers"),
        (3, "give a list"),
        ([(3, 64, 64), (1, 32, 1)], "not fulfilled: the last layer has 64"),
        ([(3, 64, 64), (1, 64, 2)], "but not everything is mixed"),
        ([(3, 64, 1), (1, 64, 1)], "for too many weights"),
    ],
)
def test_mixing_says_what_is_missing(answer, words):
    verdict = ch04.exercises.mixing.check(answer)
    assert verdict.status == "wrong" and words in verdict.message


@pytest.mark.parametrize("answer", [[(1, 64, 1), (3, 64, 64)], [(1, 16, 1), (3, 64, 16)]])
def test_mixing_takes_any_design_that_fits(answer):
    assert ch04.exercises.mixing.check(answer).passed


def test_numbers_in_exercises_and_quiz():
    kernel = {k: conv_params(3, 96, k, bias=False) for k in (11, 3)}
    assert kernel[11] == 34_848 and round(100 * kernel[11] / 60_965_224, 2) == 0.06
    assert round(100 * (1 - kernel[3] / kernel[11])) == 93
    assert round(100 * (kernel[11] - kernel[3]) * 55**2 / 724_406_816) == 13
    assert conv_params(64, 64, 3, bias=False) == 36_864
    assert conv_params(64, 64, 3, groups=64, bias=False) + 64 * 64 == 576 + 4096 == 4672


# Explorer


def test_explorer_shows_the_start():
    svg = draw(**START)
    shown = texts(svg)
    for text in (
        "12 to 12 channels in 2 groups, 6 to 6 each",
        "output 0 sees 6 of 12",
        "648",
        "1,296",
        "109,512",
        "219,024",
        "Output 0 sees 6 of 12 channels, for 0.50x the weights of a dense layer.",
    ):
        assert text in shown
    assert shown.count("0.50x") == 2
    assert draw(**START) == svg


def test_what_there_is_to_find():
    def last(**change):
        return texts(draw(**{**START, **change}))[-1]

    assert "sees 1 of 12 channels, for 0.08x the weights" in last(groups=12)
    assert "depthwise" in texts(draw(**{**START, "groups": 12}))[0]
    assert "sees 6 of 12" in last(second="grouped")
    assert "sees 12 of 12 channels, for 0.75x the weights of two" in last(second="dense")
    assert last() == last(kernel=11) == last(size=1)


def test_a_unit_beyond_the_last_is_the_last():
    assert "Output 3 sees 6 of 12" in texts(draw(**{**START, "outputs": 4, "unit": 11}))[-1]


@pytest.mark.parametrize(
    "change, words",
    [
        (
            {"groups": 5},
            "5 groups do not divide 12 channels. For 12 in and 12 out choose groups among "
            "1, 2, 3, 4, 6, 12.",
        ),
        (
            {"outputs": 7},
            "2 groups do not divide 7 channels. For 12 in and 7 out choose groups among 1.",
        ),
        ({"inputs": 1}, "2 groups do not divide 1 channel."),
    ],
)
def test_an_impossible_state_is_a_sentence_and_the_explorer_goes_on(change, words):
    explorer = grouped()
    explorer.set(**change)
    assert words in explorer.error
    explorer.reset()
    assert explorer.error == "" and explorer.svg == draw(**START)


def test_every_state_is_a_picture_or_a_sentence():
    for inputs in (1, 4, 12, 16):
        for outputs in (1, 8, 12, 16):
            for groups in range(1, 17):
                for _, second in SECONDS:
                    state = {
                        **START,
                        "inputs": inputs,
                        "outputs": outputs,
                        "groups": groups,
                        "second": second,
                        "unit": 15,
                    }
                    if inputs % groups or outputs % groups:
                        with pytest.raises(ValueError, match="do not divide"):
                            draw(**state)
                    else:
                        assert f"output {outputs - 1} sees" in draw(**state)


def test_draw_takes_what_the_controls_give():
    assert set(inspect.signature(draw).parameters) == set(grouped().state) == set(START)
    assert grouped().state == START


def test_a_pick_chooses_the_output():
    explorer = grouped()
    explorer.answer({"n": 1, "steps": [["pick", "output,0,7"]]})
    assert explorer.state["unit"] == 7
    assert "Output 7 sees 6 of 12" in texts(explorer.svg)[-1]


@settings(max_examples=25, deadline=None)
@given(
    groups=st.integers(1, 4),
    widths=st.tuples(st.integers(1, 3), st.integers(1, 3)),
    kernel=st.sampled_from((1, 3, 5)),
    size=st.integers(1, 6),
    second=st.sampled_from([value for _, value in SECONDS]),
)
def test_cost_and_reach_are_what_the_trace_and_the_gradient_see(
    groups, widths, kernel, size, second
):
    inputs, outputs = (groups * width for width in widths)
    chain = layers(inputs, outputs, groups, second)
    net = nn.Sequential(
        *[nn.Conv2d(a, b, kernel, padding=kernel // 2, groups=g, bias=False) for a, b, g in chain]
    )
    table, found = trace(net, (inputs, size, size)), cost(chain, kernel, size)
    assert (found.weights, found.macs) == (table.params, table.macs)

    whole = layer(*chain[0]) if len(chain) == 1 else through(*(layer(*one) for one in chain))
    for parameter in net.parameters():
        nn.init.ones_(parameter)
    image = torch.rand(1, inputs, size, size, requires_grad=True)
    for row, total in zip(whole, net(image).sum((0, 2, 3))):
        gradient = torch.autograd.grad(total, image, retain_graph=True)[0]
        assert row == tuple((gradient.abs().sum((0, 2, 3)) > 0).tolist())


# The chapter's central identity, apart from the notebook


@pytest.mark.parametrize("groups", [1, 2, 4, 8])
def test_a_grouped_convolution_is_a_dense_one_with_zero_blocks(groups):
    conv = nn.Conv2d(8, 16, 3, padding=1, groups=groups).double()
    mask = torch.tensor(layer(8, 16, groups)).double()
    dense = conv.weight.repeat(1, groups, 1, 1) * mask[:, :, None, None]
    image = torch.randn(2, 8, 6, 6).double()
    torch.testing.assert_close(conv(image), F.conv2d(image, dense, conv.bias, padding=1))
    assert int((dense != 0).sum()) == conv.weight.numel()
