"""Chapter 11: its exercises are sound, its explorer counts right, its claims have their cells."""

from __future__ import annotations

import inspect

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from cnnlab.course.exercises import ch11, ch11_answers
from cnnlab.course.explorers.ch11_separable import designs, draw, separable
from cnnlab.course.stored import stored
from cnnlab.models.mobilenet_v1 import TABLE, MobileNetV1
from cnnlab.models.mobilenet_v2 import InvertedResidual
from cnnlab.models.unet import UNet
from cnnlab.trace.run import trace
from tests.course.chapter import stored_cells, texts

START = {"kernel": 3, "channels": 64, "groups": "all", "expansion": 6, "size": 28}
# Every claim of the chapter: the cell that shows it, and what that cell's output must say.
CLAIMS = {
    "a dense 3x3": ("11-puzzle", "dense 3x3 147,456 115,605,504"),
    "separated it needs an eighth": ("11-puzzle", "the pair 17,536 13,748,224"),
    "MobileNet's MACs are in its 1x1": ("11-where", "1x1 94.86 94.86"),
    "and not where it looks around": ("11-where", "depthwise 3x3 3.06 3.06"),
    "a ReLU in two channels destroys": (
        "11-relu",
        "2 channels (expected 75%) on average above 60 \u2713",
    ),
    "in fifteen it does not": (
        "11-relu",
        "15 channels (expected 0.0488%) on average below 1 \u2713",
    ),
    "MobileNet v1": ("11-v2", "mobilenet_v1 4,231,976 568,740,352 41,035,264"),
    "v2 has half its MACs and keeps more": (
        "11-v2",
        "mobilenet_v2 3,504,872 300,774,272 78,345,984",
    ),
    "cardinality at one price, one group": ("11-resnext", "1 64 64 69,632"),
    "and 32 groups": ("11-resnext", "32 4 128 70,144"),
    "U-Net draws thin lines": ("11-unet-run", "line, with shortcuts on average above 0.3 \u2713"),
    "not without its shortcuts": ("11-unet-run", "line, without shortcuts each below 0.3 \u2713"),
    "shapes survive that": ("11-unet-run", "shape, without shortcuts each above 0.6 \u2713"),
    "the paper's border": ("11-sizes", "4 16 204 92"),
    "the closing table": ("11-closing-table", "MobileNet v2 20 8,990"),
    "a SqueezeExcite is nearly free": ("11-se", "2,048 526,464"),
    "ConvNeXt's 7x7 costs little": ("11-next", "kernel 7: ConvNeXt's block 96 78,432"),
    "ResNeXt on ImageNet": ("11-all-table", "resnext50_32x4d 224 25,028,904"),
}


@pytest.fixture(scope="module")
def cells():
    return stored_cells("11")


# Exercises


def test_the_learners_mobilenet_is_the_packages():
    rows = [(row.stride, row.width) for row in TABLE]
    mine, theirs = ch11_answers.mobilenet(rows, 32, 1000), MobileNetV1()
    mine.load_state_dict(dict(zip(mine.state_dict(), theirs.state_dict().values())))
    x = torch.randn(2, 3, 32, 32)
    torch.testing.assert_close(mine(x), theirs(x))


@pytest.mark.parametrize("case", [(6, 6, 1, 4), (6, 9, 2, 3), (6, 9, 1, 2), (6, 6, 2, 2)])
def test_the_learners_inverted_residual_is_the_packages(case):
    mine, theirs = ch11_answers.Inverted(*case), InvertedResidual(*case)
    mine.load_state_dict(dict(zip(mine.state_dict(), theirs.state_dict().values())))
    x = torch.randn(2, 6, 8, 8)
    torch.testing.assert_close(mine(x), theirs(x))


def test_a_pair_has_the_weights_that_modules_have():
    pair = nn.Sequential(
        nn.Conv2d(64, 64, 5, groups=64, bias=False), nn.Conv2d(64, 128, 1, bias=False)
    )
    assert ch11.exercises.pair.answer == sum(p.numel() for p in pair.parameters())


def test_the_most_groups_that_pytorch_takes():
    def there_are(groups):
        try:
            nn.Conv2d(48, 72, 1, groups=groups)
        except ValueError:
            return False
        return True

    assert ch11.exercises.groups.answer == max(filter(there_are, range(1, 73)))


def test_the_field_is_what_the_gradient_shows():
    net = UNet(width=2, depth=2, padded=True).double().eval()
    net.bottom.append(nn.Conv2d(8, 8, 3, padding=1, dtype=torch.double))  # a third
    for convs in (net.down[0], net.join[-1]):  # 5x5 on the first level
        for place in (0, 2):
            before, after = convs[place].in_channels, convs[place].out_channels
            convs[place] = nn.Conv2d(before, after, 5, padding=2, dtype=torch.double)
    with torch.no_grad():
        for parameter in net.parameters():
            parameter.abs_().add_(0.1)  # nothing cancels, no ReLU is closed
    image = torch.ones(1, 1, 96, 96, dtype=torch.double, requires_grad=True)
    # Max pooling passes the gradient to one pixel of four, so sums take its place.
    net.pool = nn.AvgPool2d(2)
    net(image)[0, 0, 48, 48].backward()
    seen = (image.grad[0, 0].abs().sum(0) > 0).sum()
    assert seen == ch11.exercises.field.answer == trace(net, (1, 96, 96))[-1].receptive_field[0]


@pytest.mark.parametrize("side, depth", [(30, 1), (45, 2), (96, 3)])
def test_fitting_sides_go_through_and_their_neighbors_do_not(side, depth):
    net = UNet(width=1, depth=depth, padded=True).eval()
    below, above = ch11_answers.fitting(side, depth)
    assert below <= side <= above and above - below in (0, 2**depth)
    for fits in {below, above}:
        assert net(torch.zeros(1, 1, fits, fits)).shape[-1] == fits
    for other in {side} - {below, above}:
        with pytest.raises(ValueError, match="crop it to"):
            net(torch.zeros(1, 1, other, other))


def test_the_faulty_block_in_the_notebook_is_the_diagnosed_one(cells):
    space = {"nn": nn}
    source = cells["11-ex-fault"].source
    exec(source[: source.index("ex.fault.check")], space)
    verdict = ch11.exercises.fault.judge(space["Separable"])
    assert verdict.status == "wrong" and "Which other channels" in verdict.message
    assert ch11.exercises.fault.judge(ch11_answers.Separable).passed


@pytest.mark.parametrize(
    "answer, words",
    [
        (ch11_answers._dense_instead, "groups=width"),
        (ch11_answers._strided_mixing, "skips three of four pixels"),
        (ch11_answers._nothing_between, "between the depthwise 3x3 and its 1x1"),
        (ch11_answers._one_activation, "A ReLU is missing between"),
        (ch11_answers._large_stem, "The stem must have stride 2"),
        (ch11_answers._biased, "bias=False"),
        (lambda rows, width, classes: rows, "gives a tuple, expected an nn.Module"),
        (lambda rows: rows, "expected (rows, width, classes)"),
    ],
)
def test_v1_says_what_is_wrong(answer, words):
    assert words in ch11.exercises.v1.judge(answer).message


def test_a_plain_relu_is_told_from_relu6():
    message = ch11.exercises.inverted.judge(ch11_answers._PlainReLU).message
    assert "cuts off above 6" in message


# What the chapter stores


def test_the_closing_table_is_whole():
    kept = stored("11", "closing")
    assert len(kept.values) == 12 and len(kept.seeds) >= 5 and kept.made
    for name, values in kept.values.items():
        assert len(values) == len(kept.seeds), name
        # Shares of 360 test images, in percent.
        assert all(abs(v * 3.6 - round(v * 3.6)) < 1e-3 and 0 < v <= 100 for v in values)


def test_the_closing_table_stores_the_blocks_of_the_page(cells):
    source = cells["11-closing-blocks"].source
    assert all(f'"{name}":' in source for name in stored("11", "closing").values)


# Explorer


def test_explorer_shows_the_start():
    shown = texts(draw(**START))
    for text in (
        "28,901,376 MACs, 36,864 weights",
        "451,584 MACs, 576 weights",
        "3,662,848 MACs, 4,672 weights",
        "dense / this: 7.9",
        "64 of",
    ):
        assert text in shown
    assert draw(**START) == draw(**START)
    assert "dense / this: 256" in texts(draw(**START | {"channels": 256}))


@settings(max_examples=25, deadline=None)
@given(
    kernel=st.sampled_from([1, 3, 5, 7]),
    channels=st.sampled_from([8, 16, 24]),
    groups=st.sampled_from([1, 2, 4, 8]),
    expansion=st.integers(1, 4),
)
def test_the_designs_are_what_the_trace_sees(kernel, channels, groups, expansion):
    def conv(a, b, k, g=1):
        return nn.Conv2d(a, b, k, padding=k // 2, groups=g, bias=False)

    wide = channels * expansion
    built = (
        [conv(channels, channels, kernel)],
        [conv(channels, channels, kernel, groups)],
        [conv(channels, channels, kernel, groups), conv(channels, channels, 1)],
        [conv(channels, wide, 1), conv(wide, wide, kernel, wide), conv(wide, channels, 1)],
    )
    for design, layers in zip(designs(kernel, channels, groups, expansion), built):
        table = trace(nn.Sequential(*layers), (channels, 6, 6))
        assert design.weights == table.params == table.macs // 36
        assert design.kept == sum(row.out_shape[0] for row in table)


def test_what_there_is_to_find():
    def share(groups):
        pair = designs(3, 64, groups, 6)[2]
        return dict(pair.parts)["mix"] / pair.weights

    assert share(64) == pytest.approx(64 / 73)
    assert [share(groups) > 0.5 for groups in (32, 16, 8)] == [True, True, False]
    dense3, dense7 = (designs(k, 64, 64, 6)[0].weights for k in (3, 7))
    pair3, pair7 = (designs(k, 64, 64, 6)[2].weights for k in (3, 7))
    assert dense7 / dense3 == pytest.approx(49 / 9) and pair7 / pair3 < 1.6

    def cheaper(channels):
        return [
            t
            for t in range(1, 9)
            if designs(3, channels, 1, t)[3].weights <= designs(3, channels, 1, t)[0].weights
        ]

    assert max(cheaper(64)) == 4 and max(cheaper(16)) == 3


def test_groups_that_do_not_divide_are_a_sentence():
    explorer = separable()
    assert explorer.state == START
    explorer.set(channels=24, groups=16)
    assert "16 groups do not divide 24 channels" in explorer.error
    assert "Choose among 1, 2, 4, 8" in explorer.error
    explorer.reset()
    assert explorer.error == "" and explorer.svg == draw(**START)


def test_every_state_is_a_picture():
    for channels in (8, 64, 256):
        for groups in (1, 8, "all"):
            for kernel, expansion in ((1, 1), (11, 8)):
                assert f"{channels} to {channels}" in draw(kernel, channels, groups, expansion, 4)


def test_draw_takes_what_the_controls_give():
    assert set(inspect.signature(draw).parameters) == set(separable().state)
