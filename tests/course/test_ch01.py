"""Chapter 01: its exercises are sound, its explorer computes right, its claims have their cells."""

from __future__ import annotations

import re

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn
from torch.nn import functional as F

from cnnlab.arithmetic import GeometryError, output_size
from cnnlab.course.exercises import ch01, ch01_answers, ch01_quiz
from cnnlab.course.explorers import ch01_channels, stored
from cnnlab.course.explorers.ch01_convolution import (
    KERNELS,
    _tight,
    convolution,
    correlate,
    draw,
    kernel_values,
    never_read,
    picture,
)
from cnnlab.course.look import INK, MUTED
from tests.course.chapter import printed, stored_cells, texts
from tests.tools import stored as tool

START = {
    "image": "digit",
    "values": "vertical edge",
    "kernel": 3,
    "stride": 1,
    "padding": 0,
    "dilation": 1,
    "row": 2,
    "col": 1,
    "flip": False,
}
# Every claim of the chapter: the cell that shows it, and what that cell's output must say.
CLAIMS = {
    "the two layers of the puzzle have the same weights": ("01-puzzle", "36,864 36,864"),
    "the same weights, 50 times the time": ("01-puzzle", "as long above 50 \u2713"),
    "the same weights, 50,176 times the MACs": ("01-reveal", "measured: 50,176 times"),
    "stride 2 without padding never reads the last of 8 pixels": (
        "01-windows",
        "###..... ..###... ....###. 3: stride 2",
    ),
    "224 pixels, kernel 7, stride 2, padding 3 give 112": ("01-size-by-hand", "224 112 112"),
    "GoogLeNet's first pooling needs ceil mode": ("01-size-by-hand", "ceil mode 112 56 56"),
    "without ceil mode it gives 55": ("01-size-by-hand", "pooling 3/2 112 55 55"),
    "conv1_1 has 1,728 or 1,792 parameters": ("01-prices", "conv1_1 1,728 1,792 86,704,128"),
    "conv1_2 has 36,864 or 36,928 parameters": ("01-prices", "conv1_2 36,864 36,928"),
    "7 kB of weights, 13 MB of output": ("01-prices", "6.9 kB 12.8 MB"),
    "connecting everything takes two terabytes": ("01-naive-cost", "483,385,147,392 1934 GB"),
    "neighbors save the work": ("01-naive-cost", "86,704,128 347 MB 86,704,128"),
    "sharing saves the weights": ("01-naive-cost", "1,728 6.9 kB 86,704,128"),
    "a convolution is a matrix of zeros and repeats": ("01-matrix", "below 0.001 \u2713"),
    "six loops are nn.Conv2d": ("01-loops-equal", "below 0.0001 \u2713"),
    "MACs = weights x output pixels, counted": ("01-loops-equal", "9,600 9,600"),
    "a kernel is learned by gradient descent": ("01-learn-picture", "steps below 0.1 \u2713"),
    "groups divide the weights": ("01-special", "1 2,304 4 576 16 144"),
    "1x1 is nn.Linear at every pixel": ("01-special", "below 0.0001 \u2713"),
    "dense uses each value 288 times": ("01-equal-macs", "7,225,344 25,088 288"),
    "depthwise uses each value 4.5 times": ("01-equal-macs", "7,225,344 1,605,632 4.5"),
    "depthwise takes longer at equal MACs": ("01-equal-macs-picture", "3x3 above 1 \u2713"),
    "VGG-19's 19.6 billion FLOPs are MACs": ("01-flops", "19.6 39.3"),
    "padding='same' does not know strides": ("01-flops", "not supported for strided"),
    "no equal padding keeps the size under an even kernel": ("01-flops", "an even number"),
    "a convolution layer does not flip": ("01-flip-show", "[1, 2, 3] [3, 2, 1]"),
    "im2col is one matrix product": ("01-im2col-show", "below 0.0001 \u2713"),
    "im2col stores nine values for each one": ("01-im2col-show", "input value: 9"),
}


@pytest.fixture(scope="module")
def cells():
    return stored_cells("01")


# Notebook


def test_equal_macs_are_equal(cells):
    shown = printed(cells["01-equal-macs"])
    assert shown.count("36,864 7,225,344") == 5
    assert 1_605_632 == 64 * 25_088


def test_the_kernel_is_learned_by_plain_gradient_descent(cells):
    """The page's loop against the closed form: least squares over all windows."""
    photograph = torch.tensor(picture("photograph")[0]).float()[None, None]
    space = {"torch": torch, "nn": nn, "F": F, "kernel_values": kernel_values}
    space |= {"photograph": photograph}
    exec(cells["01-learn"].source, space)
    windows = F.unfold(space["photo"], 3)[0].T.double()  # (pixels, 9)
    target = space["target"].flatten().double()
    best = torch.linalg.lstsq(windows, target[:, None]).solution.view(3, 3).float()
    torch.testing.assert_close(best, space["wanted"][0, 0], atol=1e-3, rtol=0)
    assert (space["kernels"][1][0, 0] - best).abs().max() < 0.1


@pytest.mark.filterwarnings("ignore:Using padding='same' with even kernel")
def test_same_padding_of_an_even_kernel_is_unequal():
    layer, pixels = nn.Conv2d(1, 1, 4, padding="same", bias=False), torch.arange(8.0)
    row = F.conv2d(F.pad(pixels.expand(1, 1, 8, 8), (1, 2, 1, 2)), layer.weight)
    torch.testing.assert_close(layer(pixels.expand(1, 1, 8, 8)), row)


# Exercises and quiz


def test_each_exercise_has_its_cell(cells):
    for exercise in ch01.exercises:
        checked = [cell for cell in cells.values() if f"ex.{exercise.name}.check(" in cell.source]
        assert len(checked) == 1
        assert "not attempted yet" in checked[0].outputs[0]["data"]["text/plain"], exercise.name
        prose = "".join(cell.source for cell in cells.values() if cell.cell_type == "markdown")
        assert f"{exercise.name}** ({exercise.level}, {exercise.minutes} minutes)" in prose


def test_answers_against_pytorch():
    answers = {exercise.name: exercise.answer for exercise in ch01.exercises}
    assert answers["params"] == sum(p.numel() for p in nn.Conv2d(32, 96, 5).parameters())
    chain = nn.Sequential(
        nn.Conv2d(1, 1, 7, 2, 3), nn.MaxPool2d(3, 2), nn.Conv2d(1, 1, 3, dilation=2)
    )
    maps = [torch.zeros(1, 1, 96, 96)]
    for layer in chain:
        maps.append(layer(maps[-1]))
    assert answers["chain"] == tuple(x.shape[-1] for x in maps[1:])


@given(
    size=st.integers(7, 40),
    width=st.integers(1, 8),
    deep=st.integers(1, 8),
    kernel=st.integers(1, 7),
    stride=st.integers(1, 4),
    padding=st.integers(0, 3),
    groups=st.integers(1, 4),
)
def test_macs_against_the_values_of_pytorch(size, width, deep, kernel, stride, padding, groups):
    layer = nn.Conv2d(
        width * groups, deep * groups, kernel, stride, padding, groups=groups, device="meta"
    )
    out = layer(torch.empty(1, width * groups, size, size, device="meta"))
    macs = ch01_answers.macs(size, width * groups, deep * groups, kernel, stride, padding, groups)
    assert macs == layer.weight.numel() * out.shape[-1] * out.shape[-2]


def test_the_block_in_the_notebook_is_the_diagnosed_one(cells):
    space = {"nn": nn}
    exec(cells["01-ex-separable-check"].source.split("Repaired")[0], space)
    verdict = ch01.exercises.separable.check(space["Separable"])
    assert verdict.status == "wrong" and "36,864 weights" in verdict.message
    assert ch01.exercises.separable.check(ch01_answers.Separable).passed


def test_separable_wants_the_class():
    verdict = ch01.exercises.separable.check(ch01_answers.Separable(64, 128))
    assert verdict.status == "wrong" and "give the class itself" in verdict.message


def test_separable_is_for_any_number_of_channels():
    class Separable(ch01_answers.Separable):
        def __init__(self, in_channels, out_channels):
            super().__init__(in_channels, out_channels)
            self.depthwise = nn.Conv2d(
                in_channels, in_channels, 3, padding=1, groups=64, bias=False
            )

    verdict = ch01.exercises.separable.check(Separable)
    assert verdict.status == "wrong" and "divisible by groups" in verdict.message


class TwiceAsMany(ch01_answers.Separable):
    def __init__(self, in_channels, out_channels):
        super().__init__(in_channels, 2 * in_channels)


class Square(ch01_answers.Separable):
    def forward(self, x):
        y = super().forward(x)
        return y.reshape(len(x), -1, x.shape[2], x.shape[2])


class FirstImage(ch01_answers.Separable):
    def forward(self, x):
        return super().forward(x[:1])


class Cropped(ch01_answers.Separable):
    def forward(self, x):
        return super().forward(x[:, :, :28, :28])


class SpoilsInEvaluation(ch01_answers.Separable):
    def forward(self, x):
        y = super().forward(x)
        return y if self.training else y + 0 * x.zero_().sum()


class Cut(ch01_answers.Separable):
    def forward(self, x):
        return self.pointwise(self.depthwise(x).detach())


@pytest.mark.parametrize(
    "answer, words",
    [
        (TwiceAsMany, "for (3, 32, 7, 8): parameters: got 2336, expected 3360"),
        (Square, "shape '[2, -1, 9, 9]' is invalid"),
        (FirstImage, "shape of the output for (2, 64, 9, 7): element 0: got 1, expected 2"),
        (Cropped, "shape of the output for (2, 8, 30, 33): element 2: got 28, expected 30"),
        (SpoilsInEvaluation, "not fulfilled: with (64, 128), for (2, 64, 9, 7): the input is left"),
        (Cut, "parameters that get no gradient: got 576, expected 0"),
    ],
)
def test_separable_is_for_any_image(answer, words):
    verdict = ch01.exercises.separable.check(answer)
    assert (verdict.status, words in verdict.message) == ("wrong", True), verdict.message


class Linear(ch01_answers.Separable):
    def __init__(self, in_channels, out_channels):
        super().__init__(in_channels, out_channels)
        self.pointwise = nn.Linear(in_channels, out_channels, bias=False)

    def forward(self, x):
        return self.pointwise(self.depthwise(x).permute(0, 2, 3, 1)).permute(0, 3, 1, 2)


class OwnWeights(nn.Module):
    def __init__(self, in_channels, out_channels):
        super().__init__()
        self.kernels = nn.Parameter(torch.randn(in_channels, 3, 3))
        self.pointwise = nn.LazyConv2d(out_channels, 1, bias=False)

    def forward(self, x):
        kernels = self.kernels[:, None]
        return self.pointwise(F.conv2d(x, kernels, padding=1, groups=len(kernels)))


@pytest.mark.parametrize("answer", [Linear, OwnWeights])
def test_separable_in_another_style(answer):
    verdict = ch01.exercises.separable.check(answer)
    assert verdict.passed, verdict.message


def test_halve_wants_the_function():
    verdict = ch01.exercises.halve.check(ch01_answers.halve())
    assert verdict.status == "wrong" and "give the function itself" in verdict.message


@pytest.mark.parametrize(
    "layers",
    [
        [nn.AvgPool2d(2), nn.Conv2d(64, 128, 1)],
        [nn.Conv2d(64, 64, 2, stride=2, groups=64), nn.Conv2d(64, 128, 1), nn.ReLU()],
        [nn.MaxPool2d(3, 2, 1), nn.Conv2d(64, 32, 1), nn.BatchNorm2d(32), nn.Conv2d(32, 128, 1)],
    ],
)
def test_halve_takes_any_design_that_fits(layers):
    assert ch01.exercises.halve.check(lambda: nn.Sequential(*layers)).passed


@pytest.mark.parametrize(
    "layers, words",
    [
        ([nn.AvgPool2d(2), nn.Conv2d(64, 128, 1, groups=2)], "do not see every input channel"),
        ([nn.Conv2d(64, 128, 1, stride=2)], "some input pixels are never read"),
        ([nn.Conv2d(64, 128, 1)], "The size is still 56"),
        ([nn.Conv2d(64, 128, 1), nn.AvgPool2d(2)], "Only the MACs are too many"),
        (
            [nn.AvgPool2d(2), nn.Conv2d(64, 128, 1), nn.Conv2d(128, 128, 3, padding=1, groups=64)],
            "not fulfilled: at most 10,000 parameters",
        ),
        ([nn.AvgPool2d(4), nn.Conv2d(64, 128, 1)], "got '128 x 14 x 14', expected '128 x 28 x 28'"),
        ([nn.Conv2d(3, 128, 1)], "64"),
    ],
)
def test_halve_says_what_is_missing(layers, words):
    verdict = ch01.exercises.halve.check(lambda: nn.Sequential(*layers))
    assert verdict.status == "wrong" and words in verdict.message


def test_quiz_has_five_questions_and_the_right_options_vary():
    right = [
        [option.right for option in question.options].index(True)
        for question in ch01_quiz.quiz.questions
    ]
    assert len(right) == 5 and len(set(right)) >= 3
    assert ch01_quiz.quiz.score(right) == 5


# Explorer of channels


def test_one_filter_over_three_channels_is_pytorchs():
    layer = nn.Conv2d(3, 1, 3)
    with torch.no_grad():
        layer.weight.copy_(torch.tensor(ch01_channels.FILTER)[None])
        layer.bias.fill_(-10)
        wanted = layer(torch.tensor(ch01_channels.IMAGE).float()[None])[0, 0]
    got = [[ch01_channels.output(row, col, -10) for col in range(3)] for row in range(3)]
    assert got == wanted.tolist()
    explorer = ch01_channels.channels()
    explorer.set(row=2, col=1)
    words = texts(explorer.svg)
    sums = [ch01_channels.slice_sum(channel, 2, 1) for channel in range(3)]
    assert {str(n).replace("-", "\u2212") for n in sums} <= set(words)
    assert f"= {sum(sums) - 10}" in words


def test_a_bias_leaves_one_pixel_above_zero():
    def above(bias):
        return sum(ch01_channels.output(r, c, bias) > 0 for r in range(3) for c in range(3))

    assert above(-10) == 3 and above(-48) == 1


# Explorer

geometry = {
    "kernel": st.integers(1, 7),
    "stride": st.integers(1, 4),
    "padding": st.integers(0, 4),
    "dilation": st.integers(1, 4),
}


@given(name=st.sampled_from(KERNELS), image=st.sampled_from(["digit", "photograph"]), **geometry)
@settings(max_examples=60, deadline=None)
def test_the_output_map_is_pytorchs(name, image, kernel, stride, padding, dilation):
    pixels, weights = picture(image)[0], kernel_values(name, kernel)
    x, w = (torch.tensor(t, dtype=torch.float64)[None, None] for t in (pixels, weights))
    try:
        wanted = F.conv2d(x, w, stride=stride, padding=padding, dilation=dilation)[0, 0]
    except RuntimeError:
        with pytest.raises(GeometryError, match="does not fit"):
            correlate(pixels, weights, stride, padding, dilation)
    else:
        got = correlate(pixels, weights, stride, padding, dilation)
        torch.testing.assert_close(torch.tensor(got, dtype=torch.float64), wanted)


@given(size=st.integers(1, 20), **geometry)
def test_never_read_is_where_the_gradient_is_zero(size, kernel, stride, padding, dilation):
    x = torch.zeros(1, 1, size, requires_grad=True)
    try:
        F.conv1d(
            x, torch.ones(1, 1, kernel), stride=stride, padding=padding, dilation=dilation
        ).sum().backward()
    except RuntimeError:
        with pytest.raises(GeometryError):
            never_read(size, kernel, stride, padding, dilation)
    else:
        unread = (x.grad[0, 0] == 0).nonzero().flatten().tolist()
        assert never_read(size, kernel, stride, padding, dilation) == unread


@given(
    name=st.sampled_from(KERNELS),
    image=st.sampled_from(["digit", "photograph"]),
    row=st.integers(0, 57),
    col=st.integers(0, 57),
    flip=st.booleans(),
    **geometry,
)
@settings(max_examples=40, deadline=None)
def test_every_state_draws_its_formula_or_gives_a_sentence(
    name, image, row, col, flip, kernel, stride, padding, dilation
):
    state = {
        **START,
        "values": name,
        "image": image,
        "row": row,
        "col": col,
        "flip": flip,
        "kernel": kernel,
        "stride": stride,
        "padding": padding,
        "dilation": dilation,
    }
    size = {"digit": 8, "photograph": 50}[image]
    try:
        out = output_size(size, kernel, stride, padding, dilation)
    except GeometryError as error:
        with pytest.raises(ValueError, match=re.escape(str(error))):
            draw(**state)
        return
    svg = draw(**state)
    assert svg == draw(**state)
    words = texts(svg)
    span = dilation * (kernel - 1) + 1
    assert any(
        f"({size} + 2\u00d7{padding} \u2212 {span}) / {stride}" in text
        and text.endswith(f"+ 1 = {out}")
        for text in words
    )
    assert f"output {out} \u00d7 {out}" in words
    assert any(text.endswith(f"= {kernel**2 * out**2:,} MACs") for text in words)
    assert f"at row {min(row, out - 1)}," in words and f"column {min(col, out - 1)}" in words


def test_the_start_shows_window_kernel_products_and_their_sum():
    words = texts(draw(**START))
    window = np.array(picture("digit")[0])[2:5, 1:4]
    sum_ = int((window[:, 2] - window[:, 0]).sum())
    assert sum_ == -10 and "\u221210" in words
    grids = [text for text in words if re.fullmatch("\u2212?\\d+", text)]
    as_text = [str(int(value)).replace("-", "\u2212") for value in window.flatten()]
    assert grids[:9] == as_text
    assert grids[9:18] == ["\u22121", "0", "1"] * 3


@pytest.mark.parametrize("image, values", [("digit", "blur"), ("photograph", "outline")])
def test_large_kernels_show_their_numbers_too(image, values):
    state = {**START, "image": image, "values": values, "padding": 3}
    small, large = (texts(draw(**{**state, "kernel": kernel})) for kernel in (5, 7))
    assert len(large) == len(small) + 3 * 24
    assert all(len(text) <= 4 for text in large if re.fullmatch("-?[.\\d]+k?", text))


@pytest.mark.parametrize(
    "value, text",
    [(1 / 49, ".02"), (0.98, "1.0"), (-48, "-48"), (12240, "12k"), (0, "0"), (2.5, "2.5")],
)
def test_small_cells_have_short_numbers(value, text):
    assert _tight(value) == text


def test_padding_is_drawn_in_the_color_of_zero():
    dark, light = (draw(**{**START, "image": i, "padding": 2}) for i in ("photograph", "digit"))
    assert f'fill="{INK}" stroke="{MUTED}"' in dark and 'fill="#ffffff" stroke="#5f' in light


def test_the_stored_pictures_are_scikit_learns():
    from sklearn.datasets import load_digits

    assert picture("digit")[0] == load_digits().images[0].astype(int).tolist()
    assert stored.read("pictures") == tool.pictures()
    assert {len(line) for line in picture("photograph")[0]} == {50}


def test_an_impossible_layer_gives_a_sentence_and_the_explorer_goes_on():
    explorer = convolution()
    before = explorer.svg
    explorer.set(kernel=7, dilation=2)
    assert "kernel 7 with dilation 2 (it spans 13) does not fit size 8" in explorer.error
    explorer.set(padding=3)
    assert explorer.error == "" and "output 2 \u00d7 2" in explorer.svg
    explorer.reset()
    assert explorer.svg == before


def test_picking_an_output_pixel_moves_the_window():
    explorer = convolution()
    explorer.answer({"n": 1, "steps": [["pick", "output,5,0"]]})
    assert (explorer.state["row"], explorer.state["col"]) == (5, 0)
    assert "at row 5," in texts(explorer.svg) and 'data-at="5,0"' in explorer.svg


def test_what_there_is_to_find():
    def size(**geometry):
        return len(
            correlate(
                picture("digit")[0],
                np.ones((geometry.pop("kernel"),) * 2),
                **{"stride": 1, "padding": 0, "dilation": 1, **geometry},
            )
        )

    assert size(kernel=3, padding=1) == 8
    assert [p for p in range(5) if size(kernel=3, padding=p, dilation=2) == 8] == [2]
    assert [p for p in range(1, 5) if size(kernel=5, padding=p, dilation=2) == 8] == [4]
    assert "1,875 of 2,500 pixels are never read (faded)" in texts(
        draw(**{**START, "image": "photograph", "kernel": 1, "stride": 2})
    )
    assert [k for k in range(1, 8) if not never_read(50, k, 2, 0, 1)] == [2, 4, 6]


def test_the_flip_keeps_negates_or_moves():
    pixels = picture("digit")[0]
    effect = {}
    for name in KERNELS:
        weights = kernel_values(name, 3)
        both = weights, [line[::-1] for line in weights[::-1]]
        plain, flipped = (np.array(correlate(pixels, w, 1, 1, 1)) for w in both)
        effect[name] = (
            "same"
            if np.array_equal(plain, flipped)
            else "sign"
            if np.array_equal(plain, -flipped)
            else "moved"
            if np.array_equal(plain[:-2, :-2], flipped[2:, 2:])
            else "?"
        )
    assert effect == {
        "vertical edge": "sign",
        "horizontal edge": "sign",
        "outline": "same",
        "sharpen": "same",
        "blur": "same",
        "identity": "same",
        "shift": "moved",
    }


@pytest.mark.parametrize(
    "name, total",
    [
        ("vertical edge", 0),
        ("outline", 0),
        ("sharpen", 1),
        ("blur", 1),
        ("identity", 1),
        ("shift", 1),
    ],
)
def test_kernels_add_up(name, total):
    for size in range(1, 8):
        assert sum(map(sum, kernel_values(name, size))) == pytest.approx(total)


def test_an_unknown_kernel_is_named():
    with pytest.raises(ValueError, match="no kernel 'wave': choose one of vertical edge"):
        kernel_values("wave", 3)


def takes_same_padding(size, in_channels, out_channels, kernel, stride=1, padding=0, groups=1):
    return -((-size // stride) ** 2) * out_channels * in_channels // groups * kernel**2


class NoReturn(ch01_answers.Separable):
    def forward(self, x):
        self.pointwise(self.depthwise(x))


class DepthwiseUnused(ch01_answers.Separable):
    def forward(self, x):
        self.depthwise(x)
        return self.pointwise(x)


@pytest.mark.parametrize(
    "exercise, answer, words",
    [
        ("macs", takes_same_padding, "expected"),
        ("macs", ch01_answers._macs_without_stride, "You left out the stride"),
        ("separable", NoReturn, "forward gives None, expected a tensor: is the `return` missing?"),
        (
            "separable",
            DepthwiseUnused,
            "output pixels that see one input pixel, through both layers: got 1, expected 9",
        ),
        ("halve", lambda: [nn.ReLU()], "put the layers into nn.Sequential"),
    ],
)
def test_what_a_reader_got_away_with(exercise, answer, words):
    verdict = getattr(ch01.exercises, exercise).check(answer)
    assert verdict.status == "wrong" and words in verdict.message
