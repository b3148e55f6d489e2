"""The cone of what a unit sees: as many units in each map as the layers read."""

from __future__ import annotations

import re

import pytest

from cnnlab.arithmetic import Window
from cnnlab.course.pictures.sight import backwards
from tests.course.chapter import texts


@pytest.mark.parametrize(
    "layers, counts",
    [
        ([(3, 1)] * 3, ["1 unit", "3 units", "5 units", "7 pixels"]),
        ([(7, 2), (3, 2)], ["1 unit", "3 units", "11 pixels"]),
        ([(5, 1)], ["1 unit", "5 pixels"]),
    ],
)
def test_each_map_shows_what_is_read_of_it(layers, counts):
    shown = backwards(layers).svg
    assert set(counts) <= set(texts(shown))
    drawn = len(re.findall('rx="3"', shown))
    assert drawn == sum(int(count.split()[0]) for count in counts)
    window = Window()
    for layer in layers:
        window = window.then(*layer)
    assert counts[-1] == f"{window.size} pixels"


def test_each_weight_is_a_line_and_each_layer_says_what_it_adds():
    drawing = backwards([(7, 2), (3, 2)])
    assert drawing.svg.count("<path") == 3 + 3 * 7
    assert {"adds 4 pixels", "adds 6 pixels", "kernel 7, stride 2"} <= set(texts(drawing.svg))
    assert repr(drawing).startswith("Drawing: One unit reads 3 units, and so 11 pixels")
