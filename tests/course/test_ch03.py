"""Chapter 03: its exercises are sound, its explorer counts right, its claims have their cells."""

from __future__ import annotations

import inspect

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from matplotlib.font_manager import FontProperties
from matplotlib.textpath import TextPath
from torch import nn

from cnnlab.course.exercises import ch03, ch03_quiz
from cnnlab.course.explorers.ch03_small_kernels import cost, draw, small_kernels
from cnnlab.trace.run import trace
from tests.course.chapter import stored_cells, texts

START = {
    "inputs": 128,
    "hidden": 128,
    "outputs": 128,
    "kernel": 3,
    "depth": 2,
    "size": 28,
    "groups": 1,
    "padded": True,
}
# Every claim of the chapter: the cell that shows it, and what that cell's output must say.
CLAIMS = {
    "the stack stores more": ("03-puzzle", "one 5x5 409,600 802,816 two 3x3 294,912 1,204,224"),
    "the stem's stack has 8 times the weights": ("03-reveal", "measured: 8.04 times"),
    "5x5 = 25 weights, two 3x3 = 18": ("03-hand", "2 1 18 5x5 25 0.72"),
    "7x7 = 49 weights, three 3x3 = 27": ("03-hand", "3 1 27 7x7 49 0.55"),
    "at 128 channels 294,912 against 409,600": ("03-hand", "2 128 294,912 5x5 409,600 0.72"),
    "n k^2 / K^2": ("03-rule", "7 x 7 0.49 0.55 0.65 -"),
    "the stack loses at a 3-channel stem": ("03-vgg-stages", "2 38,592 5x5 4,800 8.04"),
    "two of VGG's stages cost more as stacks": ("03-vgg-stages", "221,184 5x5 204,800 1.08"),
    "break-even at 3 channels: 7 save, 8 do not": ("03-break-even", "3 64 7.96"),
    "64 to 128 ties below 128": ("03-break-even", "64 128 118.5"),
    "one pixel alone costs more": ("03-macs", "5 x 5 25 90 3.60"),
    "without padding the tie is at 10 x 10": ("03-macs", "10 x 10 900 900 1.00"),
    "a linear stack is one kernel": ("03-border", "without padding below 0.0001 \u2713"),
    "with padding the border differs": ("03-border", "padded, at the border above 0.1 \u2713"),
    "the 5x5 is ahead of both after four epochs": ("03-record", "A - C above 2 \u2713"),
    "the 5x5 is the one ahead": ("03-record", "measured: A"),
    "freed weights against kept maps": ("03-memory", "128 x 28 x 28 401,408 1,835,008 5"),
    "many channels compose, too": ("03-channels", "largest difference below 0.01 \u2713"),
    "in one dimension every kernel is reached": ("03-line", "below 1e-09 \u2713"),
    "ResNet-C's stem costs more": ("03-myth-stem", "one 7x7 118,013,952 7"),
}


@pytest.fixture(scope="module")
def cells():
    return stored_cells("03")


# Exercises


@pytest.mark.parametrize(
    "inputs, outputs, small", [(3, 64, 3), (64, 128, 3), (18, 18, 3), (7, 5, 2)]
)
def test_break_even_is_the_last_width_that_saves(inputs, outputs, small):
    def weights(*widths, kernel):
        return sum(kernel**2 * a * b for a, b in zip(widths, widths[1:]))

    large = weights(inputs, outputs, kernel=2 * small - 1)
    h = ch03.break_even(inputs, outputs, small)
    assert weights(inputs, h, outputs, kernel=small) < large
    assert weights(inputs, h + 1, outputs, kernel=small) >= large


def test_the_shared_layer_in_the_notebook_is_the_diagnosed_one(cells):
    code = cells["03-ex-shared"].source.split("repaired")[0]
    space = {"nn": nn}
    exec(code, space)
    verdict = ch03.exercises.shared_layer.check(space["stack_of"])
    assert verdict.status == "wrong" and "same layer, three times" in verdict.message
    assert ch03.exercises.shared_layer.check(ch03.stack_of).passed


@pytest.mark.parametrize(
    "answer, words",
    [
        ([(4, 64)], "kernel 4 is even"),
        ([(3, 64, 1)], "a layer is a pair"),
        ([(3, 2.5)], "whole numbers"),
        (7, "give a list"),
        ([(5, 32), (5, 32)], "not fulfilled: the last layer has 64"),
        ([(5, 64), (5, 64)], "too many weights"),
        ([(3, 64)] * 5, "both budgets are broken"),
        ([(3, 64), (3, 16), (3, 64), (3, 16), (3, 64)], "not fulfilled: at most 150,000 stored"),
    ],
)
def test_budget_says_what_is_missing(answer, words):
    verdict = ch03.exercises.budget.check(answer)
    assert verdict.status == "wrong" and words in verdict.message


def test_budget_takes_any_design_that_fits():
    assert ch03.exercises.budget.check([(5, 32), (5, 64)]).passed


def test_quiz_has_five_questions_and_the_right_options_vary():
    right = [
        [option.right for option in question.options].index(True)
        for question in ch03_quiz.quiz.questions
    ]
    assert len(right) == 5 and len(set(right)) >= 3
    assert ch03_quiz.quiz.score(right) == 5


# Explorer


def test_explorer_shows_the_start():
    svg = draw(**START)
    shown = texts(svg)
    for text in (
        "294,912",
        "409,600",
        "231,211,008",
        "321,126,400",
        "803 kB",
        "401 kB",
        "sees 5 x 5",
        "2 layers of 3 x 3",
        "1 layer of 5 x 5",
        "The stack needs 0.72x the weights and 2.00x the activations.",
    ):
        assert text in shown
    assert shown.count("0.72x") == 2 and shown.count("2.00x") == 2
    assert draw(**START) == svg


def test_what_there_is_to_find():
    thin = {**START, "inputs": 3, "outputs": 64}
    assert "The stack needs 0.88x" in texts(draw(**{**thin, "hidden": 7}))[-1]
    assert "No bargain" in texts(draw(**{**thin, "hidden": 8}))[-1]
    three = {**START, "depth": 3}
    assert "0.55x the weights and 3.00x" in texts(draw(**three))[-1]
    assert texts(draw(**three))[-1] == texts(draw(**{**three, "groups": 8}))[-1]
    bare = {**START, "padded": False}
    assert "1.00x the MACs" in texts(draw(**{**bare, "size": 10}))[-1]
    assert "1.07x the MACs" in texts(draw(**{**bare, "size": 9}))[-1]


def test_the_longest_verdict_stays_in_the_picture():
    bold = FontProperties(family="DejaVu Sans", weight="bold")
    verdict = texts(draw(**{**START, "hidden": 256, "padded": False}))[-1]
    assert verdict.startswith("No bargain") and verdict.count("x the") == 3
    assert TextPath((0, 0), verdict, size=14, prop=bold).get_extents().x1 < 720 - 2 * 28


@pytest.mark.parametrize(
    "change, words",
    [
        ({"groups": 3}, "3 groups do not divide 128 channels"),
        ({"groups": 8, "hidden": 12}, "8 groups do not divide 12 channels"),
        ({"padded": False, "depth": 4, "kernel": 5}, ""),
        (
            {"padded": False, "depth": 4, "kernel": 5, "size": 16},
            "choose a resolution of at least 17",
        ),
    ],
)
def test_an_impossible_state_is_a_sentence_and_the_explorer_goes_on(change, words):
    explorer = small_kernels()
    explorer.set(**change)
    assert words in explorer.error if words else explorer.error == ""
    explorer.reset()
    assert explorer.error == "" and explorer.svg == draw(**START)


def test_groups_named_in_the_sentence_fit():
    with pytest.raises(ValueError, match=r"choose groups among 1, 2, 4\.$"):
        draw(**{**START, "hidden": 12, "groups": 8})


def test_one_layer_is_the_kernel_itself():
    shown = texts(draw(**{**START, "depth": 1}))
    assert "With one layer both are the same 3 x 3 convolution." in shown


@settings(max_examples=25, deadline=None)
@given(
    groups=st.integers(1, 3),
    widths=st.lists(st.integers(1, 4), min_size=2, max_size=5),
    kernel=st.integers(2, 5),
    size=st.integers(17, 20),
    padded=st.booleans(),
)
def test_cost_is_what_the_trace_sees(groups, widths, kernel, size, padded):
    widths = tuple(groups * width for width in widths)
    layers = []
    for before, after in zip(widths, widths[1:]):
        if padded:
            layers.append(nn.ZeroPad2d(((kernel - 1) // 2, kernel // 2) * 2))
        layers += [nn.Conv2d(before, after, kernel, groups=groups, bias=False), nn.ReLU()]
    found = cost(widths, kernel, size, groups, padded)
    table = trace(nn.Sequential(*layers), (widths[0], size, size))
    relus = [row for row in table if row.op == "relu"]
    assert (found.weights, found.macs, found.relus) == (table.params, table.macs, len(relus))
    assert found.kept == sum(row.activations for row in relus)
    if not padded:  # a pad layer makes, and keeps, a copy of its own
        image = 4 * widths[0] * size**2
        assert 4 * found.kept + image == table.kept_bytes


def test_every_state_is_a_picture_or_a_sentence():
    for depth in range(1, 5):
        for kernel in range(2, 6):
            for size in (5, 17, 64):
                for padded in (True, False):
                    state = {
                        **START,
                        "depth": depth,
                        "kernel": kernel,
                        "size": size,
                        "padded": padded,
                    }
                    if padded or size >= depth * (kernel - 1) + 1:
                        assert f"sees {depth * (kernel - 1) + 1} x" in draw(**state)
                    else:
                        with pytest.raises(ValueError, match="does not fit a map of"):
                            draw(**state)


def test_draw_takes_what_the_controls_give():
    assert list(inspect.signature(draw).parameters) != []
    assert set(inspect.signature(draw).parameters) == set(small_kernels().state) == set(START)
    assert small_kernels().state == START


# The chapter's central identity, apart from the notebook


def test_composed_kernels_do_what_two_layers_do():
    first, second = torch.randn(6, 4, 3, 3).double(), torch.randn(5, 6, 3, 3).double()
    image = torch.randn(2, 4, 11, 11).double()
    composed = nn.functional.conv_transpose2d(second, first)
    two = nn.functional.conv2d(nn.functional.conv2d(image, first), second)
    torch.testing.assert_close(two, nn.functional.conv2d(image, composed))


def only_for_3x3(inputs, outputs, small):
    return (25 * inputs * outputs - 1) // (9 * (inputs + outputs))


def layers_of(turns, channels, middle):
    modules = []
    for _ in range(turns):
        modules += [nn.Conv2d(channels, channels, 3, padding=1, bias=False), middle()]
    return nn.Sequential(*modules)


def relu_at_the_end_only(channels, layers):
    return nn.Sequential(layers_of(layers, channels, nn.Identity), nn.ReLU())


@pytest.mark.parametrize(
    "exercise, answer, words",
    [
        ("break_even", only_for_3x3, "expected"),
        ("shared_layer", relu_at_the_end_only, "not every layer has a ReLU before the next"),
        (
            "shared_layer",
            lambda channels, layers: layers_of(3, channels, nn.ReLU),
            "stack_of(4, 2)",
        ),
        ("shared_layer", lambda channels, layers: layers_of(layers, 8, nn.ReLU), "stack_of(4, 2)"),
        (
            "shared_layer",
            lambda channels, layers: layers_of(1, channels, nn.ReLU),
            "convolutions that run in stack_of(8, 3): got 1, expected 3",
        ),
        (
            "shared_layer",
            lambda channels, layers: layers_of(layers, channels, nn.Tanh),
            "not every layer has a ReLU before the next",
        ),
    ],
)
def test_what_a_reader_got_away_with(exercise, answer, words):
    verdict = getattr(ch03.exercises, exercise).check(answer)
    assert verdict.status == "wrong" and words in verdict.message
