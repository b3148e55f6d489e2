"""Chapter 02: its exercises are sound, its explorer sees right, its claims have their cells."""

from __future__ import annotations

import math
import re

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from cnnlab.arithmetic import GeometryError
from cnnlab.course.exercises import ch02, ch02_answers, ch02_quiz
from cnnlab.course.explorers.ch02_receptive_field import (
    IMAGE,
    MOST_LAYERS,
    START,
    Taps,
    axis,
    draw,
    geometry,
    most,
    pick,
    receptive_field,
    spread,
)
from tests.course.chapter import stored_cells, texts

# Every claim of the chapter: the cell that shows it, and what that cell's output must say.
CLAIMS = {
    "left and right are told": ("02-marks", "[left, right, left, right]"),
    "equal networks, one blind": ("02-puzzle", "1, 1, 1: accuracy below 0.51 \u2713"),
    "with equal logits": ("02-puzzle", "against right's below 1e-09 \u2713"),
    "the other perfect": ("02-puzzle", "1, 1, 2: accuracy above 0.9 \u2713"),
    "three 3 see seven pixels, not 27": ("02-backwards", "3 units, 5 units, and so 7 pixels"),
    "by gradient, too": ("02-by-hand", "three kernels of 3: [2, 3, 4, 5, 6, 7, 8]"),
    "kernels minus one do not add up": (
        "02-by-hand",
        "[8, 9, 10, 11, 12, 13, 14, 15, 16, 17, 18]",
    ),
    "three 3x3 = one 7x7 on 10x10": (
        "02-formula",
        "three 3x3 7 (4, 4) 27 one 7x7 7 (4, 4) 49",
    ),
    "an early stride widens most, a last one not": ("02-formula", "1 19 2 17 3 15 4 13 5 11"),
    "equal dilations leave holes": ("02-formula", "(2, 2, 2) 13 7 #.#.#.#.#.#.#"),
    "1, 2, 4 leave none": ("02-formula", "(1, 2, 4) 15 15"),
    "AlexNet's first center is at 3": ("02-branches", "0 3 1 7 2 11"),
    "branches see the union": ("02-branches", "paddings 1, 1 (-13, 13) 0"),
    "centers may disagree without an error": ("02-branches", "paddings 2, 2 (-21, 5) -8"),
    "the window is the gradient's support: LeNet-5": ("02-proof", "lenet5 16 (6, 21) (6, 21)"),
    "VGG-16": ("02-proof", "vgg16 212 (38, 249) (38, 249)"),
    "ResNet-18": ("02-proof", "resnet18 435 (39, 473) (39, 473)"),
    "chance whenever the receptive field is at most d": (
        "02-measure-verdict",
        "at most d: accuracy each above 0.49 and below 0.51 \u2713",
    ),
    "solved otherwise": ("02-measure-verdict", "above d: accuracy each above 0.8 \u2713"),
    "equal to the last bit, for any weights": ("02-equal-logits", "(1, 1, 1) 200 (1, 1, 2) 0"),
    "the bell is much narrower than the window": (
        "02-profile",
        "of 65 columns above 15 and below 25 \u2713",
    ),
    "a network of one's own, checked": ("02-own", "5 8 (6, 10) (6, 10)"),
    "published: AlexNet 195": ("02-published", "195 195"),
    "published: VGG-16 212": ("02-published", "212 212"),
    "published: MobileNet 315": ("02-published", "315 315"),
    "published: ResNet-50 483": ("02-published", "483 483"),
    "published: ResNet-101 1027": ("02-published", "1,027 1,027"),
    "published: ResNet-152 1507": ("02-published", "1,507 1,507"),
    "ResNet-50 as used today: 427, ResNet-18: 435": ("02-published", "427 resnet18 - 435"),
    "a cut window is not what is seen": ("02-larger", "(4, 9) (4, 8) (4, 7) (4, 7)"),
    "sigma is the root of 2n/3": ("02-sigma", "on average above 0.85 and below 1.15 \u2713"),
}
stacks = st.lists(
    st.builds(Taps, st.integers(1, 7), st.integers(1, 3), st.integers(1, 9)),
    min_size=1,
    max_size=MOST_LAYERS,
)


@pytest.fixture(scope="module")
def cells():
    return stored_cells("02")


def drawn(stack, padded=True, layer=0, unit=None, used=True) -> str:
    state = {"padded": padded, "used": used, "stack": tuple(stack), "layer": layer, "unit": unit}
    return draw(**stack[layer]._asdict(), **state)


# The notebook


def test_the_prediction_is_far_from_the_window(cells):
    shown = cells["02-reveal"].outputs[0]["data"]["text/plain"]
    measured = int(re.search(r"measured: (\d+) columns", shown).group(1))
    # A normal curve holds 95% within 1.96 sigma on both sides.
    assert abs(measured - 2 * 1.96 * math.sqrt(2 * 32 / 3)) <= 2


# Exercises and quiz


def test_each_exercise_has_its_cell(cells):
    for exercise in ch02.exercises:
        checked = [cell for cell in cells.values() if f"ex.{exercise.name}.check(" in cell.source]
        assert len(checked) == 1
        assert "not attempted yet" in checked[0].outputs[0]["data"]["text/plain"]


def test_the_block_in_the_notebook_is_the_diagnosed_one(cells):
    space = {"nn": nn}
    exec(cells["02-ex-block"].source.split("\nRepaired")[0], space)
    verdict = ch02.exercises.block.check(space["Block"])
    assert verdict.status == "wrong" and "sees rows 6 to 8" in verdict.message


def test_block_takes_another_repair():
    class Cropped(ch02._Shifted):
        def forward(self, x):
            return x + self.conv(x)[..., 1:-1, 1:-1]

    assert ch02.exercises.block.check(Cropped).passed


def test_block_says_what_a_concatenation_makes():
    class Beside(ch02.Block):
        def forward(self, x):
            return torch.cat([x, self.conv(x)], 1)

    message = ch02.exercises.block.check(Beside).message
    assert message == "shape for an input of (1, 2, 17, 17): element 1: got 4, expected 2"


@pytest.mark.parametrize(
    "dilations, words",
    [
        ([9, 3, 27, 1], None),
        ((1, 3, 9, 17), None),
        ([1, 3, 9, 16], "No holes, but less than 60 pixels wide"),
        ([1, 3, 9, 28], "no further apart than the windows"),
        ([2, 6, 18, 54], "no further apart than the windows"),
        ([1, 3, 9], "not fulfilled: four layers"),
        ([1] * 30, "not fulfilled: four layers"),
        ([1, 3, 9, "27"], "whole numbers"),
        ([0, 3, 9, 27], "whole numbers"),
        (27, "give a list"),
    ],
)
def test_dilations_says_what_is_missing(dilations, words):
    verdict = ch02.exercises.dilations.check(dilations)
    assert verdict.passed if words is None else words in verdict.message


@given(
    st.lists(
        st.tuples(st.integers(1, 7), st.integers(1, 3), st.integers(0, 3), st.integers(1, 4)),
        max_size=6,
    ),
    st.integers(0, 40),
)
def test_sees_walks_down_what_the_recurrence_walks_up(layers, unit):
    from cnnlab.arithmetic import Window

    window = Window()
    for layer in layers:
        window = window.then(*layer)
    assert ch02.sees(layers, unit) == window.box(unit)


@given(
    st.lists(
        st.tuples(st.integers(1, 7), st.integers(1, 3), st.integers(0, 3), st.integers(1, 4)),
        max_size=6,
    )
)
def test_the_loop_is_window_and_the_closed_formula(layers):
    from cnnlab.arithmetic import Window

    window, closed = Window(), 1
    for number, layer in enumerate(layers):
        window = window.then(*layer)
        before = math.prod(stride for _, stride, _, _ in layers[:number])
        closed += layer[3] * (layer[0] - 1) * before
    assert ch02_answers.my_window(layers) == (window.size, window.jump, window.start)
    assert window.size == closed


def test_quiz_has_five_questions_and_the_right_options_vary():
    right = [
        [option.right for option in question.options].index(True)
        for question in ch02_quiz.quiz.questions
    ]
    assert len(right) == 5 and len(set(right)) >= 3
    assert ch02_quiz.quiz.score(right) == 5


# The explorer


@settings(deadline=None, max_examples=60)
@given(stacks, st.booleans(), st.data())
def test_paths_are_the_gradient_of_equal_weights(stack, padded, data):
    try:
        sizes, windows = geometry(stack, padded)
    except GeometryError:
        with pytest.raises(GeometryError):
            drawn(stack, padded)
        return
    unit = data.draw(st.integers(0, sizes[-1] - 1))
    layers = []
    for taps in stack:
        layers.append(
            nn.Conv1d(
                1, 1, taps.kernel, taps.stride, taps.padding(padded), taps.dilation, bias=False
            )
        )
        nn.init.ones_(layers[-1].weight)
    row = torch.ones(1, 1, IMAGE, dtype=torch.float64, requires_grad=True)
    out = nn.Sequential(*layers).double()(row)
    assert out.shape[-1] == sizes[-1]
    out[0, 0, unit].backward()
    gradient = row.grad[0, 0] / (row.grad.sum() or 1)
    seen = axis(stack, padded, unit)
    assert torch.allclose(torch.tensor(seen.paths, dtype=torch.float64), gradient)
    assert seen.seen[0] == tuple(gradient.nonzero().flatten().tolist())
    first, last = windows[-1].box(unit)
    assert all(first <= pixel <= last for pixel in seen.seen[0])


@given(stacks)
def test_sigma_is_that_of_all_paths(stack):
    offsets, jump = {0: 1}, 1
    for taps in stack:
        step, below = taps.dilation * jump, {}
        for offset, ways in offsets.items():
            for tap in range(taps.kernel):
                below[offset + tap * step] = below.get(offset + tap * step, 0) + ways
        offsets, jump = below, jump * taps.stride
    total = sum(offsets.values())
    mean = sum(x * ways for x, ways in offsets.items()) / total
    variance = sum((x - mean) ** 2 * ways for x, ways in offsets.items()) / total
    assert math.isclose(spread(stack), math.sqrt(variance), rel_tol=1e-9, abs_tol=1e-9)


def test_most_counts_the_heaviest_pixels():
    assert most([0.02, 0.05, 0.9, 0.03]) == 2
    assert most([0.25] * 4) == 4
    assert most([1.0]) == 1
    assert most([0.0]) == 0


@pytest.mark.parametrize(
    "dilations, words",
    [
        (
            (2, 2, 2),
            "It sees 7 of these pixels, 6 are holes; the 6 with most paths hold 95% of them.",
        ),
        ((1, 2, 4), "It sees 15 of these pixels; the 14 with most paths hold 95% of them."),
        ((1, 3, 9), "It sees 27 of these pixels; the 26 with most paths hold 95% of them."),
    ],
)
def test_things_to_find_dilations(dilations, words):
    assert words in " ".join(texts(drawn([Taps(dilation=d) for d in dilations])))


@pytest.mark.parametrize("place, size", list(enumerate((19, 17, 15, 13, 11))))
def test_things_to_find_stride(place, size):
    shown = texts(drawn([Taps(stride=2 if i == place else 1) for i in range(5)]))
    assert any(text.startswith(f"Receptive field {size}:") for text in shown)


def test_things_to_find_larger_than_the_image():
    shown = " ".join(texts(drawn([Taps(kernel=7)] * 6)))
    assert "Receptive field 37: columns -2 to 34 of 0 to 31" in shown
    assert "5 would be padding; the 20 with most paths hold 95%" in shown


def test_the_bell_is_not_shown_before_the_prediction():
    explorer = receptive_field()
    words = ("hold 95%", "paths start", "normal curve")
    assert not any(word in " ".join(texts(explorer.svg)) for word in words)
    blue = set(re.findall(r'fill="(#[0-9a-f]{6})" d="M(?:456|[4-6]\d\d)', explorer.svg))
    assert len(blue) <= 2  # seen pixels all alike
    explorer.set(used=True)
    assert all(word in " ".join(texts(explorer.svg)) for word in words)


def test_table_shows_size_jump_start_and_center():
    shown = texts(drawn([Taps(7, 2, 1), Taps(3, 2, 1), Taps(2, 2, 1)]))
    at = shown.index("2 x 2")
    assert shown[at - 1 : at + 8] == ["3", "2 x 2", "2", "1", "4", "15", "8", "-5", "2"]


def test_draw_is_pure():
    assert drawn(START) == drawn(START)
    assert len(drawn([Taps(kernel=7)] * 6)) < 70_000


@pytest.mark.parametrize("stack", [[Taps(7, 1, 9)], [Taps(3, 3, 1)] * 4, [Taps(5, 3, 1)] * 3])
def test_an_impossible_stack_is_a_sentence(stack):
    with pytest.raises(GeometryError, match="does not fit size"):
        drawn(stack, padded=False)


def test_the_explorer_goes_on_after_an_impossible_stack():
    explorer = receptive_field()
    shown = explorer.svg
    explorer.set(kernel=7, dilation=9, padded=False)
    assert "does not fit size" in explorer.error
    explorer.reset()
    assert explorer.error == "" and explorer.svg == shown


def test_choosing_a_layer_hands_it_to_the_sliders():
    explorer = receptive_field()
    explorer.set(kernel=5, dilation=2)
    explorer.set(**pick(explorer.state, "layer,0"))
    assert (explorer.state["kernel"], explorer.state["stride"]) == (3, 1)
    explorer.set(**pick(explorer.state, "layer,1"))
    assert (explorer.state["kernel"], explorer.state["dilation"]) == (5, 2)


def test_layers_are_added_and_removed():
    explorer = receptive_field()
    for count in (5, 6, 6):
        explorer.set(**pick(explorer.state, "add"))
        assert len(explorer.state["stack"]) == count and explorer.state["layer"] == count - 1
    assert 'aria-label="add a layer: not possible now"' in explorer.svg
    for count in (5, 4, 3, 2, 1, 1):
        explorer.set(**pick(explorer.state, "remove"))
        assert len(explorer.state["stack"]) == count
    assert explorer.state["layer"] == 0
    assert 'aria-label="remove layer 1: not possible now"' in explorer.svg
    assert 'aria-label="add a layer"' in explorer.svg  # both stay where a key's focus may be
    assert "Receptive field 3: columns 15 to 17" in " ".join(texts(explorer.svg))


def test_a_unit_outside_a_smaller_map_moves_in():
    explorer = receptive_field()
    explorer.set(**pick(explorer.state, "unit,15,15"))
    assert "unit (15, 15)" in texts(explorer.svg)
    explorer.set(stride=3)
    assert "unit (10, 10)" in texts(explorer.svg)


@settings(deadline=None, max_examples=40)
@given(stacks, st.booleans(), st.data())
def test_every_state_gives_a_picture_or_a_sentence(stack, padded, data):
    layer = data.draw(st.integers(0, len(stack) - 1))
    unit = data.draw(st.none() | st.tuples(st.integers(0, 40), st.integers(0, 40)))
    try:
        svg = drawn(stack, padded, layer, unit, data.draw(st.booleans()))
    except GeometryError as error:
        assert "does not fit" in str(error)
        return
    assert svg.startswith("<svg") and "nan" not in svg and "None" not in svg
    assert f'data-pick="layer,{len(stack) - 1}"' in svg
