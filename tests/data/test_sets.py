from __future__ import annotations

import subprocess
import sys

import pytest
import torch
from torch import nn

from cnnlab.data.images import DataError, Images, stratified
from cnnlab.data.sets import load, scattered, two_marks


def images(count=6, classes=3):
    pixels = torch.arange(count * 4, dtype=torch.uint8).view(count, 1, 2, 2)
    return Images(pixels, torch.arange(count) % classes, tuple("abc")[:classes], "tiny")


def as_rows(part):
    return {row.numpy().tobytes() for row in part.images}


def test_digits_are_all_there_once_and_split_by_class():
    splits = load("digits")
    assert (len(splits.train), len(splits.val), len(splits.test)) == (1257, 180, 360)
    assert splits.train.shape == (1, 8, 8)
    rows = [as_rows(part) for part in (splits.train, splits.val, splits.test)]
    assert len(rows[0] | rows[1] | rows[2]) == sum(map(len, rows)) == 1797  # all digits differ
    share = splits.test.labels.bincount() / splits.train.labels.bincount()
    assert (share - 360 / 1257).abs().max() < 0.02


def test_digits_need_no_import_of_scikit_learn(monkeypatch):
    code = "import sys, cnnlab.data.sets as d; d.load('digits'); sys.exit('sklearn' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0
    monkeypatch.setattr("cnnlab.data.sets.find_spec", lambda name: None)  # a file in another place
    imported = load("digits")
    monkeypatch.undo()
    own = load("digits")
    for part in ("train", "val", "test"):
        mine, theirs = getattr(own, part), getattr(imported, part)
        assert torch.equal(mine.images, theirs.images) and torch.equal(mine.labels, theirs.labels)


def test_digits_keep_their_values_as_255ths():
    from sklearn.datasets import load_digits

    splits = load("digits")
    assert splits.train.images.min() == 0 and splits.train.images.max() == 255
    original = {tuple(image.flatten().astype(int)) for image in load_digits().images}
    back = (splits.val.images.double() * 16 / 255).round().long().flatten(1)
    assert {tuple(row) for row in back.tolist()} <= original


def test_split_follows_the_seed():
    assert torch.equal(load("digits").val.images, load("digits").val.images)
    assert not torch.equal(load("digits").val.images, load("digits", seed=1).val.images)


def test_mean_and_std_are_of_the_training_part():
    splits = load("digits")
    pixels = splits.train.images.double() / 255
    assert splits.mean[0] == pytest.approx(float(pixels.mean()))
    assert splits.std[0] == pytest.approx(float(pixels.std(correction=0)))
    assert splits.mean != splits.val.mean_std()[0]


def test_stratified_gives_every_part_its_share_of_every_class():
    labels = torch.tensor([0] * 100 + [1] * 50 + [2] * 10)
    whole = Images(torch.zeros(160, 1, 1, 1), labels, tuple("abc"))
    small, large = stratified(whole, (1, 4), seed=3)
    assert small.labels.bincount().tolist() == [20, 10, 2]
    assert large.labels.bincount().tolist() == [80, 40, 8]


def test_resized_scales_pixels_and_keeps_the_rest():
    splits = load("digits")
    large = splits.resized(32)
    assert large.train.images.shape == (1257, 1, 32, 32)
    assert large.train.images.dtype == torch.uint8
    assert torch.equal(large.train.labels, splits.train.labels)
    assert large.mean[0] == pytest.approx(splits.mean[0], abs=0.01)
    assert large.std[0] < splits.std[0] - 0.005  # interpolation smooths
    assert torch.equal(splits.train.resized(8).images, splits.train.images)


def test_index_slice_mask_and_int_give_images():
    tiny = images()
    assert tiny[1:3].labels.tolist() == [1, 2]
    assert tiny[torch.tensor([5, 0])].labels.tolist() == [2, 0]
    assert len(tiny[tiny.labels == 1]) == 2
    assert tiny[-1].images.shape == (1, 1, 2, 2)
    assert repr(tiny) == "Images('tiny': 6 of 1x2x2 uint8, 3 classes)"
    with pytest.raises(IndexError):
        tiny[6]


@pytest.mark.parametrize(
    "pixels, labels, message",
    [
        (torch.zeros(2, 2, 2), torch.zeros(2).long(), r"\(2, 2, 2\); expected .*unsqueeze"),
        (torch.zeros(2, 1, 2, 2).long(), torch.zeros(2).long(), "int64.*expected uint8"),
        (torch.zeros(2, 1, 2, 2), torch.zeros(3).long(), r"shape \(3,\); expected .*\(2,\)"),
        (torch.zeros(2, 1, 2, 2), torch.zeros(2), "labels are torch.float32"),
        (torch.zeros(2, 1, 2, 2), torch.tensor([0, 3]), "from 0 to 3; expected 0 to 2"),
        (torch.zeros(2, 1, 2, 2), torch.tensor([-1, 0]), "from -1 to 0"),
    ],
)
def test_wrong_tensors_are_named(pixels, labels, message):
    with pytest.raises(DataError, match=message):
        Images(pixels, labels, tuple("abc"), "mine")


def test_unknown_name_is_guessed():
    with pytest.raises(DataError, match="no data set 'digit'. Did you mean 'digits'"):
        load("digit")


# Two marks


def has_second_mark_at(image, distance):
    (row, first) = (image == 255).nonzero()[0].tolist()
    return image[row, (first + distance) % image.shape[1]] == 128


@pytest.mark.parametrize("distance", [1, 3, 7])
def test_two_marks_are_where_the_class_says(distance):
    marks = two_marks(distance, 200, seed=0, size=16)
    for image, label in zip(marks.images[:, 0], marks.labels):
        assert (image > 0).sum() == 2
        assert has_second_mark_at(image, distance if marks.classes[label] == "right" else -distance)
    assert marks.labels.bincount().tolist() == [100, 100]


def test_two_marks_come_in_pairs_wrap_around_and_follow_the_seed():
    marks = two_marks(7, 200, seed=0, size=16)
    first = marks.images == 255
    assert torch.equal(first[0::2], first[1::2])
    columns = first.nonzero()[:, 3]
    assert columns.min() == 0 and columns.max() == 15  # so some second mark has wrapped around
    assert torch.equal(marks.images, two_marks(7, 200, seed=0, size=16).images)
    assert not torch.equal(marks.images, two_marks(7, 200, seed=1, size=16).images)
    assert len(two_marks(3, 5, seed=0)) == 5


@pytest.mark.parametrize("distance, size", [(0, 32), (16, 32), (8, 16), (-1, 16)])
def test_two_marks_refuse_a_distance_without_sides(distance, size):
    with pytest.raises(DataError, match=f"distance {distance} in images {size} wide; expected 1"):
        two_marks(distance, 4, seed=0, size=size)
    assert len(two_marks((size - 1) // 2, 4, seed=0, size=size)) == 4


def torus_net(blocks, seed):
    """`blocks` of circular 3x3 convolution, norm, ReLU: receptive field 2 * blocks + 1."""
    torch.manual_seed(seed)
    layers, channels = [], 1
    for _ in range(blocks):
        layers += [
            nn.Conv2d(channels, 8, 3, padding=1, padding_mode="circular", bias=False),
            nn.BatchNorm2d(8),
            nn.ReLU(),
        ]
        channels = 8
    return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8, 2))


def exact(net):
    """Small integers as weights, in float64: sums are then exact in any order."""
    net = net.double().eval()
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for parameter in net.parameters():
            parameter.copy_(torch.randint(-2, 3, parameter.shape, generator=generator))
        for module in net.modules():
            if isinstance(module, nn.BatchNorm2d):
                module.weight.fill_(1)
                module.eps, module.running_var = 0.0, torch.full((8,), 4.0).double()
    return net


@pytest.mark.parametrize("blocks", [1, 2, 3, 4])
@pytest.mark.parametrize("distance", [2, 3, 4, 5, 7])
def test_logits_tell_the_sides_apart_only_beyond_the_distance(distance, blocks):
    pixels = two_marks(distance, 64, seed=0, size=16).images
    receptive_field = 2 * blocks + 1
    with torch.no_grad():
        logits = exact(torus_net(blocks, 0))(pixels.double() / 128)
        trained_mode = torus_net(blocks, 0).double()(pixels.double() / 255)
    assert logits.abs().sum() > 0
    difference = (logits[0::2] - logits[1::2]).abs()
    in_training = (trained_mode[0::2] - trained_mode[1::2]).abs()
    if receptive_field <= distance:
        assert difference.max() == 0  # equal, not close
        assert in_training.max() < 1e-14  # ordinary weights: up to the order of summation
    else:
        assert difference.max(1).values.min() > 0  # for every pair
        assert in_training.max(1).values.min() > 1e-6


def test_size_scales_a_set_as_it_is_loaded():
    assert torch.equal(load("digits", size=32).val.images, load("digits").resized(32).val.images)


@pytest.mark.parametrize("name", ["digits", "./pictures"])
@pytest.mark.parametrize("size", [0, -1, 2.5, "8"])
def test_a_size_that_is_none_is_refused(name, size):
    with pytest.raises(DataError, match="the pixels of a side: a whole number from 1"):
        load(name, size=size)


def test_scattered_digits_are_whole_and_lie_anywhere():
    digits = load("digits")
    fields = scattered(digits)
    assert fields.train.shape == (1, 32, 32) and len(fields.train) == len(digits.train)
    assert torch.equal(fields.val.labels, digits.val.labels)
    for part, small in ((fields.val, digits.val), (fields.test, digits.test)):
        ink, once = (p.images.sum((1, 2, 3), dtype=torch.int64) for p in (part, small))
        assert torch.equal(ink, 9 * once)  # each pixel nine times, none cut off
    rows = fields.train.images.amax(3)[:, 0].ne(0)  # which rows of a field hold ink
    tops = rows.int().argmax(1)
    assert set(range(9)) <= set(tops.tolist())
    again = scattered(digits)
    assert torch.equal(again.test.images, fields.test.images)
    assert fields.mean == fields.train.mean_std()[0]


def test_scattered_images_must_fit():
    with pytest.raises(DataError, match="24x24 do not fit a field of 20x20; give a larger side"):
        scattered(load("digits"), side=20)
