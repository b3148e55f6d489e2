"""Chapter 06: its exercises are sound, its explorer counts right, its claims have their cells."""

from __future__ import annotations

import copy
import inspect
import re

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from cnnlab.arithmetic import count_text
from cnnlab.course.exercises import ch06, ch06_answers, ch06_quiz
from cnnlab.course.explorers.ch06_inception import draw, inception, naive, reduced
from cnnlab.models.googlenet import TABLE, GoogLeNet, Inception, NaiveInception, Row
from cnnlab.trace.run import trace
from tests.course.chapter import stored_cells, texts

START = {
    "inputs": 192,
    "modules": 1,
    "n1x1": 64,
    "pool_proj": 32,
    "n3x3": 128,
    "n3x3_reduce": 96,
    "n5x5": 32,
    "n5x5_reduce": 16,
    "size": 28,
}
# Every claim of the chapter: the cell that shows it, and what that cell's output must say.
CLAIMS = {
    "a tenth of the weights": ("06-puzzle", "1x1, then 5x5 (1, 32, 28, 28) 15,872"),
    "naive module: 416 x 100 x 100": ("06-naive", "all (416, 100, 100)"),
    "the pooling passes 192 through": ("06-naive", "branch4 (192, 100, 100) 0"),
    "channels grow when naive modules are stacked": (
        "06-stack-table",
        "5b 4,944 28,497,920 1,024 1,442,816",
    ),
    "nine naive modules: 92.5 million weights": ("06-stack-table", "all - 92,451,840 - 5,842,176"),
    "128 to 128 directly: 147,456": ("06-hand", "147,456 4,096 36,864"),
    "through 32: 40,960, 3.6 times less": ("06-hand", "40,960, 3.6 times fewer"),
    "when a reduction pays": ("06-hand", "3x3 128 128 115.2"),
    "rank at most 32 at each tap and together": ("06-rank", "through 32 32 32"),
    "the direct one has full rank": ("06-rank", "direct 128 128"),
    "not the same function class, with the ReLU too": ("06-blind", "pair below 1e-09 \u2713"),
    "the direct one tells the inputs apart": ("06-blind", "direct 3x3 above 1 \u2713"),
    "half of the channels are enough for the digits": (
        "06-dial-verdict",
        "r = 16, 56% of the weights on average below 2 \u2713",
    ),
    "one channel is not": ("06-dial-verdict", "on average above 20 \u2713"),
    "two linear layers in a row are one, a ReLU between makes two": ("06-relu", "3, 1 0 2"),
    "8.7 times fewer than AlexNet, not twelve": ("06-twelve", "GoogLeNet 6,998,552 8.7"),
    "receptive field: the longest path": ("06-paths", "1 3 5 3 5"),
    "torchvision's 3x3 in place of 5x5": ("06-paths", "torchvision 43 107 379"),
    "the paper's network sees 715": ("06-paths", "paper 59 171 715"),
    "average pooling: no worse on centered digits": (
        "06-gap-verdict",
        "averaged, centered each above 90 \u2713",
    ),
    "average pooling: robust to shifts": (
        "06-gap-verdict",
        "averaged, moved by 2 each above 75 \u2713",
    ),
    "a flattened end knows places": (
        "06-gap-verdict",
        "flattened, moved by 2 each below 40 \u2713",
    ),
    "a module is sparse beside the dense layer of its view": ("06-sparse", "module 3a 163,328 13%"),
    "naive against reduced: MACs": ("06-measure-verdict", "4 3,338,108,928 543,506,432 6.1"),
    "one module, 2.4 times the MACs": ("06-measure-verdict", "128,049,152 2.4"),
    "the pooling has no MACs": ("06-measure-verdict", "pooling 0"),
    "Network in Network slides a small network": ("06-nin", "outputs below 0.001 \u2713"),
    "13.0M with torchvision's auxiliary classifiers": ("06-aux", "13,004,888"),
    "table 1: the dense stem is 118M and 9,408": (
        "06-table1",
        "9,408 -70.6% 34 118,013,952 -71.2%",
    ),
    "table 1: 4c's parameters do not follow": ("06-table1", "4c 463 509,440 -6.9%"),
    "table 1: a separable stem": ("06-table1-verdict", "channels 2,688 34M"),
    "table 1: all operations": ("06-table1-verdict", "1,502M"),
}


@pytest.fixture(scope="module")
def cells():
    return stored_cells("06")


# Exercises


def test_answers_agree_with_the_networks():
    table = trace(Inception(832, TABLE["5b"]), (832, 7, 7))
    branch = table["branch3"]
    assert branch.params - 48 - 128 == ch06.exercises.branch.answer
    row = Row(176, 80, 200, 24, 56, 72)
    assert row.width == ch06.exercises.width.answer
    assert f"{832 * 128 * 25:,}" in ch06.exercises.branch.note
    head = nn.Sequential(nn.Linear(1024, 512), nn.Linear(512, 1000))
    merged = ch06_answers.collapse(*head)
    for model in (head, merged):
        count = sum(p.numel() for p in model.parameters())
        assert f"{count:,}" in ch06.exercises.collapse.note
    image = torch.randn(2, 1024)
    torch.testing.assert_close(merged(image), head(image), rtol=1e-4, atol=1e-5)


def learners(cells, name):
    """The class in an exercise's cell."""
    space = {"nn": nn, "torch": torch}
    exec(cells[name].source.split("\nRepaired")[0], space)
    return next(value for value in space.values() if inspect.isclass(value))


def test_the_bugs_in_the_notebook_are_the_diagnosed_ones(cells):
    module = learners(cells, "06-ex-naive")
    verdict = ch06.exercises.naive_module.check(module)
    assert verdict.status == "wrong" and "no `kernel`, nor a `pad`" in verdict.message
    branches = learners(cells, "06-ex-axis")
    assert branches(24)(torch.rand(2, 24, 5, 5)).shape == (6, 16, 5, 5)
    verdict = ch06.exercises.wrong_axis.check(branches)
    assert verdict.status == "wrong" and "six come out" in verdict.message


def test_repairing_the_first_fault_shows_the_second(cells):
    source = cells["06-ex-naive"].source.split("\nRepaired")[0]
    for wrong, right in (("kernel=3", "kernel_size=3"), ("pad=1)", "padding=1)")):
        assert wrong in source
        source = source.replace(wrong, right, 1)
    space = {"nn": nn, "torch": torch}
    exec(source.replace("stride=1, padpadding=1", "stride=1, padding=1"), space)
    assert space["Module"](192)(torch.rand(1, 192, 5, 5)).shape == (1, 352, 5, 5)
    verdict = ch06.exercises.naive_module.check(space["Module"])
    assert "352 channels instead of 416" in verdict.message

    source = cells["06-ex-axis"].source.split("\nRepaired")[0]
    space = {"nn": nn, "torch": torch}
    exec(source.replace("self.branch3(x)])", "self.branch3(x)], dim=1)"), space)
    verdict = ch06.exercises.wrong_axis.check(space["Branches"])
    assert "5,208 parameters too many" in verdict.message
    extra = [
        sum(p.numel() for p in model(24).parameters())
        for model in (space["Branches"], ch06_answers.EqualBranches)
    ]
    assert extra[0] - extra[1] == 5208


def merged_by_parts(first, second):
    merged = copy.deepcopy(second)
    merged.weight = nn.Parameter(second.weight @ first.weight)
    merged.bias = nn.Parameter(second.weight @ first.bias + second.bias)
    return merged


def merged_for_square_layers(first, second):
    merged = nn.Linear(second.out_features, first.in_features)
    with torch.no_grad():
        merged.weight.copy_(second.weight @ first.weight)
        merged.bias.copy_(second.weight @ first.bias + second.bias)
    return merged


class ReluEverywhere(ch06_answers.NaiveModule):
    def forward(self, x):
        return F.relu(super().forward(x))


class OddOrder(ch06_answers.NaiveModule):
    def forward(self, x):
        return torch.cat([self.branch1(x), self.branch3(x), self.branch2(x), self.branch4(x)], 1)


class NothingPooled(ch06_answers.NaiveModule):
    def forward(self, x):
        return torch.cat([self.branch1(x), self.branch2(x), self.branch3(x), x], 1)


class Functional(ch06_answers.EqualBranches):
    def __init__(self, inputs):
        super().__init__(inputs)
        self.branch3 = nn.Conv2d(inputs, 16, 1)
        self.branch2 = nn.Sequential(nn.Conv2d(inputs, 8, 1), nn.Conv2d(8, 16, 3, padding=1))

    def forward(self, x):
        two = self.branch2[1](F.relu(self.branch2[0](x)))
        three = self.branch3(F.max_pool2d(x, 3, stride=1, padding=1))
        return torch.cat([self.branch1(x), two, three], 1)


class OneTwice(ch06_answers.EqualBranches):
    def forward(self, x):
        return torch.cat([self.branch1(x), self.branch1(x), self.branch3(x)], 1)


class PooledAfter(ch06_answers.EqualBranches):
    def __init__(self, inputs):
        super().__init__(inputs)
        self.branch3 = nn.Sequential(*reversed(self.branch3))


@pytest.mark.parametrize(
    "exercise, answer, words",
    [
        ("collapse", merged_by_parts, "Well done"),
        ("collapse", merged_for_square_layers, "it also joins layers that are not square"),
        ("collapse", lambda head: head, "takes (head), expected (first, second)"),
        ("naive_module", ReluEverywhere, "Well done"),
        ("naive_module", OddOrder, "All four branches are there, in another order"),
        (
            "naive_module",
            NothingPooled,
            "not fulfilled: the branches are 1x1, 3x3, 5x5 and 3x3 max",
        ),
        ("wrong_axis", Functional, "Well done"),
        ("wrong_axis", OneTwice, "not fulfilled: the branches are 1x1, then 1x1, ReLU and 3x3"),
        ("wrong_axis", PooledAfter, "not fulfilled: the branches are 1x1, then 1x1, ReLU and 3x3"),
        ("wrong_axis", ch06_answers._NoPooling, "nothing pools now"),
    ],
)
def test_behavior_is_judged_and_not_the_names_of_layers(exercise, answer, words):
    assert words in getattr(ch06.exercises, exercise).check(answer).message


@pytest.mark.parametrize(
    "answer, words",
    [
        ((1, 2, 3), "six numbers"),
        ((128, 128, 192, 32, 96, 64.0), "whole numbers"),
        (7, "six numbers"),
        ((176, 48, 128, 24, 64, 111), "channels that come out: got 479, expected 480"),
        ((176, 48, 128, 21, 64, 112), "5x5 reduction at least a third of its branch, got 21"),
        ((176, 42, 128, 21, 64, 112), "narrower than a third of its branch"),
        (
            (80, 96, 192, 32, 64, 144),
            "at most 194,048 weights (which layer costs most?), got 307,200",
        ),
        ((200, 48, 127, 24, 64, 89), "at least 128 channels of the 3x3, got 127"),
        ((201, 48, 127, 24, 63, 89), "Too little looks around"),
        ((176, 48, 64, 24, 64, 112), "channels that come out: got 416, expected 480"),
    ],
)
def test_budget_says_what_is_missing(answer, words):
    verdict = ch06.exercises.budget.check(answer)
    assert verdict.status == "wrong" and words in verdict.message


def test_budget_counts_like_the_trace():
    row = Row(*ch06.exercises.budget.answer)
    weights = sum(p.numel() for p in Inception(256, row).parameters() if p.ndim == 4)
    half = sum(p.numel() for p in Inception(256, TABLE["3b"]).parameters() if p.ndim == 4) // 2
    assert weights <= ch06.BUDGET == half and row.width == 480
    assert ch06.exercises.budget.check((160, 48, 144, 24, 64, 112)).passed


def test_quiz_figures_are_the_traces():
    def sees(model):
        return trace(model, (3, 224, 224))["inception5b"].receptive_field[0]

    kernels_only = GoogLeNet(form="torchvision")
    kernels_only.maxpool4.kernel_size = 3  # as in the paper
    far = sees(GoogLeNet(form="paper"))
    words = f"takes {far - sees(kernels_only)} of {far} pixels off"
    assert any(words in option.text for q in ch06_quiz.quiz.questions for option in q.options)


# Explorer


def test_explorer_shows_the_start():
    svg = draw(**START)
    shown = texts(svg)
    for text in (
        "in: 192 channels of 28 x 28",
        "out: 64 + 128 + 32 + 192 = 416 channels",
        "out: 64 + 128 + 32 + 32 = 256 channels",
        "221,184",
        "129,024",
        "none",
        "387,072 naive",
        "163,328 reduced",
        "303,464,448 naive",
        "128,049,152 reduced",
        "The reduced one has 0.42x the weights, and 256 channels instead of 416.",
    ):
        assert text in shown
    assert shown.count("0.42x") == 2 and draw(**START) == svg


def test_what_there_is_to_find():
    three = texts(draw(**{**START, "modules": 3}))
    assert "out: 64 + 128 + 32 + 640 = 864 channels" in three  # 224 more with each module
    assert "out: 64 + 128 + 32 + 32 = 256 channels" in three
    tie = {**START, "n3x3_reduce": 164}
    assert "220,416" in texts(draw(**tie))  # below 221,184
    assert "221,760" in texts(draw(**{**tie, "n3x3_reduce": 165}))
    assert texts(draw(**{**START, "n3x3_reduce": 192, "n5x5_reduce": 192}))[-1].startswith(
        "No bargain: it has 1.21x"
    )


@settings(max_examples=25, deadline=None)
@given(inputs=st.integers(1, 60), row=st.tuples(*(st.integers(1, 40),) * 6))
def test_weights_and_channels_are_what_the_trace_sees(inputs, row):
    row = Row(*row)
    for drawn, module in (
        (
            naive(inputs, row.n1x1, row.n3x3, row.n5x5),
            NaiveInception(inputs, row.n1x1, row.n3x3, row.n5x5),
        ),
        (reduced(inputs, *row), Inception(inputs, row)),
    ):
        table = trace(module, (inputs, 6, 6))
        assert table.macs == 36 * drawn.weights
        assert table[-1].out_shape[0] == sum(drawn.channels)
        assert drawn.weights == sum(p.numel() for p in module.parameters() if p.ndim == 4)


def test_a_stack_counts_all_its_modules():
    modules = [Inception(192, TABLE["3a"]), Inception(256, TABLE["3a"])]
    table = trace(nn.Sequential(*modules), (192, 28, 28))
    shown = texts(draw(**{**START, "modules": 2}))
    assert f"{count_text(table.macs)} reduced" in shown
    assert "Reduced module, number 2 of 2" in shown


@pytest.mark.parametrize("name", list(START))
def test_the_ends_of_every_slider_give_a_picture(name):
    explorer = inception()
    slider = explorer._controls[name]
    for value in (slider.minimum, slider.maximum):
        explorer.set(**{name: value})
        assert explorer.error == "" and "channels instead of" in explorer.svg
    explorer.set(**{n: c.maximum for n, c in explorer._controls.items()})
    assert explorer.error == "" and "10,240 naive" in explorer.svg


def test_no_channels_is_a_sentence():
    with pytest.raises(ValueError, match="in_channels"):
        draw(**{**START, "inputs": 0})


def test_draw_takes_what_the_controls_give():
    assert set(inspect.signature(draw).parameters) == set(inception().state) == set(START)
    assert inception().state == START


@pytest.mark.parametrize("form, corner", [("paper", (0, 223)), ("torchvision", (0, 211))])
def test_both_fields_are_larger_than_the_image_and_one_sees_all_of_it_everywhere(form, corner):
    with torch.device("meta"):
        table = trace(GoogLeNet(form=form), (3, 224, 224))
    assert min(table["inception5b"].receptive_field) > 224
    assert table.box("inception5b", 3, 3) == ((0, 223), (0, 223))
    assert table.box("inception5b", 0, 0) == (corner, corner)


def test_one_channel_is_singular():
    shown = texts(draw(1, 1, 1, 1, 1, 1, 1, 28, 1))
    assert "in: 1 channel of 28 x 28" in shown
    assert not any(re.search(r"\b1 channels", text) for text in shown)
