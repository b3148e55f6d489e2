"""Chapter 09: its exercises are sound, its explorer counts right, its claims have their cells."""

from __future__ import annotations

import inspect

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from cnnlab.course.exercises import ch09, ch09_answers, ch09_quiz
from cnnlab.course.explorers.ch09_dense_block import dense, dense_block, draw, reads, residual
from cnnlab.models import build
from cnnlab.models.densenet import DenseBlock, DenseNet, Row
from cnnlab.models.resnet import Bottleneck, ResNet
from cnnlab.trace.run import trace
from tests.course.chapter import stored_cells, texts

START = {
    "inputs": 64,
    "growth": 32,
    "layers": 6,
    "bottleneck": True,
    "compression": 0.5,
    "chosen": 4,
}
# Every claim of the chapter: the cell that shows it, and what that cell's output must say.
CLAIMS = {
    "fewest parameters, most kept memory": (
        "09-puzzle",
        "densenet121 7,978,856 2,834,161,664 130,695,936",
    ),
    "ResNet-50 beside it": ("09-puzzle", "resnet50 25,557,032 4,089,184,256 86,121,984"),
    "a sum hides its parts, a concatenation shows them": (
        "09-add",
        "([4, 2], [3, 1]) [7, 3] [4, 2, 3, 1]",
    ),
    "concatenation instead of addition": ("09-tied", "largest difference below 1e-12 \u2713"),
    "growth rate: k more with each layer": ("09-hand", "6 224 28,672 36,864 256"),
    "channels linear, weights quadratic, paths geometric": (
        "09-growth",
        "24 832 2,211,840 300 8,388,608",
    ),
    "at half the depth": ("09-growth", "12 448 811,008 78 2,048"),
    "the factor of a doubled block": ("09-reveal", "measured: 2.73 times"),
    "the exponent tends to 2": ("09-exponent", "1,000 4,000 1.99"),
    "and is lower at real depths": ("09-exponent", "6 24 1.37"),
    "bottleneck": ("09-naive", "bottleneck 13,908,584"),
    "compression": ("09-naive", "compression 10,869,096"),
    "both": ("09-naive", "both 7,978,856"),
    "DenseNet-169": ("09-accuracy", "densenet169 75.6 14,149,480 157,942,016"),
    "DenseNet-201": ("09-accuracy", "densenet201 76.9 20,013,928 203,885,824"),
    "DenseNet-161": ("09-accuracy", "densenet161 77.14 28,681,000 243,652,608"),
    "CIFAR, without bottleneck": ("09-cifar", "densenet100_k24 27,249,082 27.2"),
    "CIFAR, DenseNet-BC": ("09-cifar", "densenet_bc250_k24 15,324,406 15.3"),
    "what a DenseNet is weighed against": ("09-accuracy", "resnet50 76.13 25,557,032 86,121,984"),
    "memory at equal parameters": (
        "09-fair-table",
        "equal parameters 8,176,491 1,322,103,552 51,372,560",
    ),
    "memory at equal MACs": ("09-fair-table", "equal MACs 17,832,051 2,850,839,808 72,941,168"),
    "the copies are quadratic, recomputed they are linear": (
        "09-copies",
        "24 10,436,608 337,182,720 337,290,240 87,130,112",
    ),
    "checkpointing halves what is kept, for 1.14 times the MACs": (
        "09-price",
        "recompute=True 62,975,872 1.14",
    ),
    "and shows batch norm each batch twice": ("09-trap", "recompute=True 2 0.19"),
    "equal parameters": ("09-four", "residual 9,556 243,192"),
    "thin layers need to read everything": (
        "09-train-show",
        "newest only on average below 0.85 \u2713",
    ),
    "more weights alone do not do it": ("09-train-show", "dense - newest, wider above 0 \u2713"),
    "dense and residual are equally accurate": (
        "09-train-show",
        "dense - residual above -0.06 and below 0.06 \u2713",
    ),
    "weights show what is read": (
        "09-reuse-show",
        "rank correlation, weight decay 0.02 on average above 0.6 \u2713",
    ),
    "not without weight decay": (
        "09-reuse-show",
        "rank correlation, weight decay 0.0 on average below 0.6 \u2713",
    ),
    "the newest features matter most": (
        "09-reuse-show",
        "losing the newest source / another one above 2 \u2713",
    ),
}


@pytest.fixture(scope="module")
def cells():
    return stored_cells("09")


# What the chapter takes for granted


def test_the_widths_of_the_fair_pairs_are_the_nearest():
    def counted(width):
        with torch.device("meta"):
            net = ResNet(Bottleneck, (3, 4, 6, 3), stage_widths=[width * 2**i for i in range(4)])
            return trace(net, (3, 224, 224))

    with torch.device("meta"):
        dense121 = trace(build("densenet121"), (3, 224, 224))
    for width, of in ((35, lambda t: t.params), (53, lambda t: t.macs)):
        off = {w: abs(of(counted(w)) - of(dense121)) for w in (width - 1, width, width + 1)}
        assert min(off, key=off.get) == width


def test_the_formula_of_the_chapter():
    for inputs, growth, layers in ((64, 32, 6), (64, 32, 24), (10, 4, 3)):
        formula = 2 * growth**2 * layers**2 + (4 * growth * inputs + 34 * growth**2) * layers
        assert formula == sum(dense(inputs, growth, layers, True).weights)


# Exercises


@pytest.mark.parametrize(
    "blocks, growth, stem, compression",
    [((6, 12, 24, 16), 32, 64, 0.5), ((3, 2), 5, 9, 0.3), ((4,), 3, 7, 0.5)],
)
def test_widths_are_those_of_the_model(blocks, growth, stem, compression):
    with torch.device("meta"):
        net = DenseNet(Row(growth, blocks, stem), compression=compression)
    found = ch09_answers.widths(stem, growth, blocks, compression)
    made = [
        module.conv.out_channels
        for name, module in net.features.named_children()
        if name.startswith("transition")
    ]
    assert found == [stem, *made, net.classifier.in_features]


def test_the_answers_about_a_block_are_those_of_the_model():
    block = DenseBlock(12, 128, 32, bottleneck=True, dropout=0.0, recompute=False)
    last = block["denselayer12"]
    assert ch09.exercises.channels.answer == block(torch.zeros(1, 128, 4, 4)).shape[1]
    assert ch09.exercises.last_layer.answer == sum(
        p.numel() for p in last.parameters() if p.ndim == 4
    )


def test_the_bad_guest_in_the_notebook_is_the_diagnosed_one(cells):
    code = cells["09-ex-polite"].source.split("Repaired")[0]
    space = {"nn": nn, "torch": torch}
    exec(code, space)
    verdict = ch09.exercises.polite.check(space["TwoLayers"])
    assert verdict.status == "wrong" and "`inplace=True`" in verdict.message
    assert ch09.exercises.polite.check(ch09_answers.TwoLayers).passed


class OtherOrder(ch09_answers.TwoLayers):
    def forward(self, x):
        first = self.conv1(self.relu(x))
        second = self.conv2(self.relu(torch.cat([x, first], 1)))
        return torch.cat([second, first, x], 1)


class NoFirstReLU(ch09_answers.TwoLayers):
    def forward(self, x):
        first = self.conv1(x)
        second = self.conv2(self.relu(torch.cat([x, first], 1)))
        return torch.cat([x, first, second], 1)


class NoReturn(ch09_answers.TwoLayers):
    def forward(self, x):
        self.conv1(x)


@pytest.mark.parametrize(
    "answer, words",
    [
        (OtherOrder, "changed, replaced, or not put first"),
        (NoFirstReLU, "not fulfilled: no convolution reads a value below zero"),
        (NoReturn, "forward gives None, expected a tensor: is the `return` missing?"),
    ],
)
def test_polite_says_what_is_wrong(answer, words):
    verdict = ch09.exercises.polite.check(answer)
    assert verdict.status == "wrong" and words in verdict.message


@pytest.mark.parametrize(
    "answer, words",
    [
        (7, "give (growth, layers, bottleneck)"),
        ((24, 8), "give (growth, layers, bottleneck)"),
        ((24.0, 8, False), "whole numbers from 1"),
        ((24, 8, 1), "bottleneck is True or False"),
        ((24, 8, True), "it keeps too much"),
        ((16, 8, False), "not fulfilled: at least 256 channels come out, got 192"),
        ((32, 6, True), "not fulfilled: the last layer sees"),
    ],
)
def test_budget_says_what_is_missing(answer, words):
    verdict = ch09.exercises.budget.check(answer)
    assert verdict.status == "wrong" and words in verdict.message


def test_budget_takes_any_design_that_fits():
    assert ch09.exercises.budget.check((22, 9, False)).passed


def test_the_right_options_vary():
    right = [
        [option.right for option in question.options].index(True)
        for question in ch09_quiz.quiz.questions
    ]
    assert len(set(right)) == 4 and ch09_quiz.quiz.score(right) == 5


# Explorer


def test_explorer_shows_the_start():
    svg = draw(**START)
    shown = texts(svg)
    for text in (
        "Layer 4 reads 160 channels: 64 of the input + 3 x 32 of layers 1 to 3.",
        "331,776  dense",
        "3,538,944  residual",
        "3,264  dense",
        "1,760  dense, recomputed",
        "3,072  residual",
        "Dense: 1/10.7 of the weights, 1.06x the kept values, 0.57x if recomputed.",
    ):
        assert text in shown
    assert draw(**START) == svg


def test_what_there_is_to_find():
    weights = [sum(dense(64, 32, layers, True).weights) for layers in (6, 12, 24)]
    assert weights[1] / weights[0] > 2 and 2 < weights[2] / weights[1] < 4
    with_it, without = (dense(64, 32, 8, b).weights for b in (True, False))
    assert [a < b for a, b in zip(with_it, without)] == [False] * 6 + [True] * 2
    assert "1.06x the kept" in texts(draw(**START))[-1]
    assert "0.67x the kept" in texts(draw(**{**START, "layers": 24}))[-1]


def test_the_written_layers_are_the_models_block():
    """Layers that write beside what they read, in a row: the package's dense block."""
    mine = nn.Sequential(*(ch09_answers.DenseLayer(6 + 4 * i, 4) for i in range(3)))
    theirs = DenseBlock(3, 6, 4, bottleneck=True, dropout=0.0, recompute=False)
    mine.load_state_dict(dict(zip(mine.state_dict(), theirs.state_dict().values())))
    x = torch.randn(2, 6, 5, 5)
    torch.testing.assert_close(mine(x), theirs(x))


@settings(max_examples=20, deadline=None)
@given(
    inputs=st.integers(1, 9),
    growth=st.integers(1, 5),
    layers=st.integers(1, 4),
    bottleneck=st.booleans(),
)
def test_dense_is_what_the_trace_sees(inputs, growth, layers, bottleneck):
    side, middle = 5, 4 * growth if bottleneck else 0
    cost = dense(inputs, growth, layers, bottleneck)
    for again, values in ((False, cost.kept), (True, cost.lean)):
        block = DenseBlock(
            layers, inputs, growth, bottleneck=bottleneck, dropout=0.0, recompute=again
        )
        assert sum(cost.weights) == sum(p.numel() for p in block.parameters() if p.ndim == 4)
        seen = 0 if again else sum(reads(inputs, growth, layers))
        statistics = 2 * (seen + middle * layers)  # mean and spread in each norm
        table = trace(block, (inputs, side, side))
        assert table[-1].out_shape[0] == cost.outputs
        assert table.kept_bytes == 4 * (values * side**2 + statistics)


@pytest.mark.parametrize("width, layers", [(4, 2), (6, 3)])
def test_residual_is_what_the_trace_sees(width, layers):
    class Layer(nn.Sequential):
        def forward(self, x):
            return x + super().forward(x)

    net = nn.Sequential(
        *[
            Layer(
                nn.BatchNorm2d(width), nn.ReLU(), nn.Conv2d(width, width, 3, padding=1, bias=False)
            )
            for _ in range(layers)
        ]
    )
    cost, table = residual(width, layers), trace(net, (width, 5, 5))
    assert sum(cost.weights) == sum(p.numel() for p in net.parameters() if p.ndim == 4)
    assert table.kept_bytes == 4 * (25 * cost.kept + 2 * width * layers)


def test_a_click_chooses_a_layer_and_fewer_layers_keep_the_picture():
    explorer = dense_block()
    assert explorer.state == START
    explorer.answer({"n": 1, "steps": [["pick", "layer,6"]]})
    assert "Layer 6 reads 224 channels" in "".join(texts(explorer.svg))
    explorer.set(layers=2)
    assert explorer.error == "" and "Layer 2 reads 96" in "".join(texts(explorer.svg))
    explorer.reset()
    assert explorer.svg == draw(**START)


def test_an_impossible_state_is_a_sentence():
    with pytest.raises(ValueError, match="leaves nothing of 8 channels: raise it"):
        draw(**{**START, "inputs": 4, "growth": 4, "layers": 1, "compression": 0.1})
    explorer = dense_block()
    explorer.set(inputs=4, growth=4, layers=1, compression=0.1)
    assert "raise it" in explorer.error
    explorer.reset()
    assert explorer.error == ""


def test_every_state_is_a_picture():
    for layers in (1, 2, 12, 13, 24):
        for growth, inputs in ((4, 256), (64, 4), (32, 64)):
            for bottleneck in (True, False):
                svg = draw(inputs, growth, layers, bottleneck, 1.0, 24)
                assert f"Layer {layers} reads {inputs + (layers - 1) * growth:,} channels" in svg


def test_draw_takes_what_the_controls_give():
    assert set(inspect.signature(draw).parameters) == set(dense_block().state)
