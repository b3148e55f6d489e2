"""The made task of segmentation: its classes are where it says, and its lines are thin."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F

from cnnlab.data import scenes
from cnnlab.data.images import DataError


def test_shapes_types_and_classes():
    images, labels = scenes(5, seed=3, size=24)
    assert images.shape == (5, 1, 24, 24) and images.dtype == torch.float32
    assert labels.shape == (5, 24, 24) and set(labels.unique().tolist()) == {0, 1, 2}


def test_the_same_seed_gives_the_same_scenes_and_another_others():
    first, again, other = scenes(4, seed=1), scenes(4, seed=1), scenes(4, seed=2)
    assert torch.equal(first[0], again[0]) and torch.equal(first[1], again[1])
    assert not torch.equal(first[1], other[1])


def test_things_are_brighter_than_the_ground():
    images, labels = scenes(50, seed=0)
    assert images[:, 0][labels == 0].mean().abs() < 0.01
    for kind in (1, 2):
        gray = images[:, 0][labels == kind]
        assert 0.7 < gray.mean() < 0.8 and gray.std() > 0.1


def test_lines_are_thin_and_reach_from_border_to_border():
    _, labels = scenes(50, seed=0)
    line = (labels == 2).float()[:, None]
    # A square of 4 x 4 holds at most three lines of one pixel in each of its rows and columns.
    assert F.avg_pool2d(line, 4, 1).max() < 1
    for picture in labels:
        edges = torch.cat([picture[0], picture[-1], picture[:, 0], picture[:, -1]])
        assert (edges == 2).sum() >= 2


def test_what_cannot_be_is_refused():
    with pytest.raises(DataError, match="0 images of side 8; expected at least 1, of side 16"):
        scenes(0, seed=0, size=8)
