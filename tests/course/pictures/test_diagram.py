"""Diagrams show what was traced: each operation once, each line, in the order of the pass."""

from __future__ import annotations

import re
import xml.etree.ElementTree as ElementTree

import pytest
import torch
from torch import nn

from cnnlab.course.errors import CourseError
from cnnlab.course.look import SERIES
from cnnlab.course.pictures.diagram import diagram
from cnnlab.models import build
from cnnlab.trace.run import trace
from tests.course.chapter import texts

NAMESPACE = "{http://www.w3.org/2000/svg}"


def draw(model, shape, **options):
    return diagram(trace(model, shape), title="T", alt="A", **options).svg


def shapes(svg):
    """(x, y, width, height) of every box, and the (from, to) points of every line."""
    root = ElementTree.fromstring(svg)
    rects = [
        tuple(float(r.get(k)) for k in ("x", "y", "width", "height"))
        for r in root.iter(f"{NAMESPACE}rect")
        if r.get("x")
    ]
    lines = [
        tuple(map(float, re.findall(r"-?[\d.]+", path.get("d"))))
        for path in root.iter(f"{NAMESPACE}path")
        if path.get("fill") == "none"
    ]
    return rects, [(line[:2], line[-2:]) for line in lines]


class Block(nn.Module):
    def __init__(self):
        super().__init__()
        self.long = nn.Sequential(nn.Conv2d(4, 8, 1), nn.ReLU(), nn.Conv2d(8, 8, (1, 3), 2, (0, 1)))
        self.short = nn.MaxPool2d(2)

    def forward(self, x):
        return torch.cat([self.long(x), self.short(x)], 1).relu() + 1


def test_words_are_those_of_the_operations():
    words = texts(draw(Block(), (4, 8, 8)))
    assert words == [
        "T",
        "input",
        "4 x 8 x 8",
        "1x1 conv",
        "ReLU",
        "8 x 8 x 8",
        "1x3 conv, stride 2",
        "8 x 4 x 4",
        "2x2 max pool, stride 2",
        "4 x 4 x 4",
        "concatenate",
        "ReLU",
        "12 x 4 x 4",
        "+",
    ]


@pytest.mark.parametrize(
    "model, shape, boxes, joins",
    [
        (build("googlenet").inception3a, (192, 28, 28), 9, 11),  # figure 2b of the paper
        (build("resnet20").layer2[0], (16, 32, 32), 5, 5),  # in, two convolutions, shortcut, sum
        (build("densenet121").features.denseblock1, (64, 56, 56), 1 + 6 * 3 + 1, 6 * 2 + 7 + 21),
    ],
)
def test_every_operation_and_every_line_is_there(model, shape, boxes, joins):
    """Joins: what each box reads, counted by hand; a line that passes rows is one line."""
    svg = draw(model, shape)
    assert len(shapes(svg)[0]) + svg.count("<circle") == boxes
    assert svg.count("l-4 -8h8z") == joins


@pytest.mark.parametrize(
    "name, shape, depth",
    [
        ("googlenet", (3, 224, 224), 1),
        ("resnet18", (3, 224, 224), 2),
        ("vgg16", (3, 224, 224), None),
        ("unet", (1, 572, 572), 1),
        ("densenet121", (3, 224, 224), 2),
        ("lenet5", (1, 28, 28), None),
    ],
)
def test_boxes_never_overlap_and_lines_go_down_or_right(name, shape, depth):
    rects, lines = shapes(draw(build(name), shape, depth=depth))
    for i, (x, y, w, h) in enumerate(rects):
        for other_x, other_y, other_w, other_h in rects[i + 1 :]:
            assert (
                x + w <= other_x
                or other_x + other_w <= x
                or y + h <= other_y
                or other_y + other_h <= y
            )
    assert lines and all(start[1] < end[1] or start[0] < end[0] for start, end in lines)


def test_depth_draws_modules_as_boxes_and_lists_are_looked_into():
    class Listed(nn.Module):
        def __init__(self):
            super().__init__()
            self.stem = nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU())
            self.steps = nn.ModuleList([nn.Conv2d(4, 4, 1), nn.Conv2d(4, 4, 1)])

        def forward(self, x):
            x = self.stem(x)
            for step in self.steps:
                x = step(x)
            return x

    words = texts(draw(Listed(), (3, 8, 8), depth=1))
    assert words[3:] == [
        "stem",
        "Sequential",
        "4 x 6 x 6",
        "steps.0",
        "Conv2d",
        "4 x 6 x 6",
        "steps.1",
        "Conv2d",
        "4 x 6 x 6",
    ]


def test_too_many_boxes_are_refused_with_a_way_out():
    with pytest.raises(CourseError, match="expected at most 60: .* depth=1"):
        draw(build("resnet152"), (3, 224, 224))


def test_a_dropout_of_zero_is_left_out():
    words = texts(draw(nn.Sequential(nn.Conv2d(1, 1, 1), nn.Dropout(0.0)), (1, 4, 4)))
    assert "dropout" not in words
    words = texts(draw(nn.Sequential(nn.Conv2d(1, 1, 1), nn.Dropout(0.5)), (1, 4, 4)))
    assert "dropout" in words


def test_a_narrow_page_gets_shorter_lines():
    wide, narrow = (
        ElementTree.fromstring(draw(build("vgg16"), (3, 224, 224), width=width))
        for width in (720, 480)
    )
    assert float(narrow.get("width")) <= 480 < float(wide.get("width")) <= 720
    assert float(narrow.get("height")) > float(wide.get("height"))


def test_a_stage_a_line_where_asked_for():
    net = nn.Sequential(*[nn.Conv2d(3, 3, 3, padding=1), nn.MaxPool2d(2)] * 3)

    def lines(**options):
        boxes, _ = shapes(draw(net, (3, 32, 32), width=3000, **options))
        return len({round(y + height / 2) for _, y, _, height in boxes})

    assert lines(stages=True) == 3 and lines() == 1


def test_a_linear_layer_has_its_color_at_every_depth():
    model = nn.Sequential(nn.Conv2d(1, 2, 3), nn.Flatten(), nn.Linear(72, 4))
    for depth in (None, 1):
        assert f'stroke="{SERIES[4]}"' in draw(model, (1, 8, 8), depth=depth)
