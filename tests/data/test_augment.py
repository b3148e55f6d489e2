"""Augmented batches: each image its own change, the same for seed and epoch, however shared."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F

from cnnlab.data import batches as module
from cnnlab.data.augment import Augment, DataError
from cnnlab.data.batches import Batches, train_val
from cnnlab.data.images import Images
from cnnlab.data.sets import load

ALL = Augment(crop=2, flip=True, cutout=3, jitter=0.4)


def photos(count=40, channels=3, height=7, width=9):
    pixels = torch.randint(
        1,
        256,
        (count, channels, height, width),
        dtype=torch.uint8,
        generator=torch.Generator().manual_seed(0),
    )
    return Images(pixels, torch.arange(count), tuple(map(str, range(count))), "photos")


def epoch(batches, number=0, **share):
    x, y = zip(*batches.at(number, **share))
    return torch.cat(x), torch.cat(y)


def test_cropped_and_mirrored_images_are_windows_of_the_padded_ones():
    images = photos()
    x, y = epoch(Batches(images, 16, shuffle=True, augment=Augment(crop=2, flip=True)))
    places, mirrored = set(), 0
    for image, label in zip((255 * x).round().byte(), y):
        padded = F.pad(images.images[label], (2, 2, 2, 2))
        windows = {
            (row, col, flip): window.flip(2) if flip else window
            for row in range(5)
            for col in range(5)
            for flip in (False, True)
            for window in [padded[:, row : row + 7, col : col + 9]]
        }
        (found,) = [place for place, window in windows.items() if torch.equal(window, image)]
        places.add(found[:2])
        mirrored += found[2]
    assert len(places) > 12 and 10 <= mirrored <= 30


def test_cutout_zeroes_one_square_of_normalized_images():
    images = photos(200)
    x, _ = epoch(Batches(images, 64, augment=Augment(cutout=3), mean=[0.5] * 3, std=[0.2] * 3))
    plain, _ = epoch(Batches(images, 64, mean=[0.5] * 3, std=[0.2] * 3))
    hole = ((x == 0) & (plain != 0)).all(1)
    assert torch.equal(x[~hole.unsqueeze(1).expand_as(x)], plain[~hole.unsqueeze(1).expand_as(x)])
    rows, cols = hole.any(2).sum(1), hole.any(1).sum(1)
    assert torch.equal(hole.sum((1, 2)), rows * cols)  # a rectangle
    assert rows.max() == cols.max() == 3 and rows.min() == 2  # partly outside at the border
    assert hole.any(0).all()  # anywhere


def test_jitter_is_drawn_per_image_within_its_range_and_keeps_black_and_white():
    gray = Images(
        torch.full((300, 1, 4, 4), 100, dtype=torch.uint8),
        torch.arange(300),
        tuple(map(str, range(300))),
    )
    x, _ = epoch(Batches(gray, 100, augment=Augment(jitter=0.3)))
    factor = x.mean((1, 2, 3)) * 255 / 100  # constant images: contrast does nothing
    assert 0.7 <= factor.min() < 0.75 and 1.25 < factor.max() <= 1.3001
    x, _ = epoch(Batches(photos(), 16, augment=Augment(jitter=0.9)))
    assert x.min() >= 0 and x.max() <= 1
    color = photos()
    x, _ = epoch(Batches(color, 40, augment=Augment(jitter=0.4)))
    chroma = (x - x.mean(1, keepdim=True)).abs().mean((1, 2, 3))
    before = color.images / 255
    before = (before - before.mean(1, keepdim=True)).abs().mean((1, 2, 3))
    assert (chroma / before).std() > 0.05  # saturation differs from image to image


@pytest.mark.parametrize("size", [1, 7, 40])
def test_an_epoch_is_the_same_again_whatever_the_batch_and_the_ranks(size):
    batches = Batches(photos(), size, shuffle=True, seed=3, augment=ALL)
    whole = epoch(batches, 2)
    again = epoch(Batches(photos(), 11, shuffle=True, seed=3, augment=ALL), 2)
    assert torch.equal(whole[0], again[0]) and torch.equal(whole[1], again[1])
    first = next(batches.at(2))[0]
    if size > 1:
        shares = [next(batches.at(2, rank=rank, world=2))[0] for rank in (0, 1)]
        assert torch.equal(shares[0], first[0::2]) and torch.equal(shares[1], first[1::2])
    assert not torch.equal(epoch(batches, 3)[0], whole[0])


def test_without_augmentation_and_in_validation_images_are_as_stored():
    digits = load("digits")
    train, val = train_val(digits, 64, augment=ALL)
    _, plain = train_val(digits, 64)
    assert torch.equal(next(iter(val))[0], next(iter(plain))[0])
    assert not Augment() and train.augment is ALL
    assert next(iter(train))[0].shape[1:] == digits.train.shape


def test_the_stored_images_are_never_changed():
    images = photos()
    before = images.images.clone()
    epoch(Batches(images, 16, augment=ALL))
    floats = Images(images.images.float(), images.labels, images.classes)
    epoch(Batches(floats, 16, mean=[1, 2, 3]))
    assert torch.equal(images.images, before) and torch.equal(floats.images, before.float())


@pytest.mark.parametrize("options", [{"crop": -1}, {"cutout": -2}, {"jitter": 1.0}])
def test_impossible_augmentations_are_refused(options):
    with pytest.raises(DataError, match="expected whole pixels from 0 and a jitter"):
        Augment(**options)


def test_jitter_would_cut_floats_beyond_black_and_white():
    images = photos()
    for scale, shift in ((1, 0), (255, 0.5)):
        floats = replace(images, images=images.images / scale - shift)
        with pytest.raises(DataError, match="jitter 0.4 for images that run from .* before they"):
            Batches(floats, 16, augment=ALL)
        Batches(floats, 16, augment=replace(ALL, jitter=0.0))
    Batches(replace(images, images=images.images / 255), 16, augment=ALL)


def test_a_set_too_large_for_the_device_is_streamed_and_says_so(monkeypatch):
    resident = epoch(Batches(photos(), 16, shuffle=True, augment=ALL))
    monkeypatch.setattr(module, "free_memory", lambda device: 1000)
    with pytest.warns(
        UserWarning,
        match=r"photos: .* do not fit in half of the .* free on cpu, so "
        "each batch is copied",
    ):
        batches = Batches(photos(), 16, shuffle=True, augment=ALL)
    assert not batches.resident
    assert torch.equal(epoch(batches)[0], resident[0])
