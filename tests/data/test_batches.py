from __future__ import annotations

import pytest
import torch

from cnnlab.data.batches import Batches, evaluation, plan, train_val
from cnnlab.data.images import DataError, Images
from cnnlab.data.sets import load


def images(count=10, dtype=torch.uint8):
    pixels = torch.arange(count, dtype=dtype).view(count, 1, 1, 1).expand(count, 2, 3, 3)
    return Images(pixels.contiguous(), torch.arange(count), tuple("abcdefghij"[:count]))


def labels(batches):
    return [y.tolist() for _, y in batches]


def test_in_order_without_shuffle_and_with_a_smaller_last_batch():
    batches = Batches(images(), 4)
    assert labels(batches) == [[0, 1, 2, 3], [4, 5, 6, 7], [8, 9]]
    assert len(batches) == 3
    short = Batches(images(), 4, drop_last=True)
    assert [len(y) for y in labels(short)] == [4, 4] and len(short) == 2
    assert len(Batches(images(), 5)) == len(labels(Batches(images(), 5))) == 2


def test_shuffle_is_a_permutation_that_keeps_images_with_their_labels():
    for x, y in Batches(images(), 4, shuffle=True, seed=1):
        assert torch.allclose(x[:, 0, 0, 0] * 255, y.float(), atol=1e-5)
    seen = sum(labels(Batches(images(), 4, shuffle=True, seed=1)), [])
    assert sorted(seen) == list(range(10)) and seen != sorted(seen)


def test_an_epoch_is_a_pure_function_of_seed_and_number():
    batches = Batches(images(), 4, shuffle=True, seed=5)
    first = labels(batches.at(0))
    assert first == labels(batches.at(0)) == labels(Batches(images(), 4, shuffle=True, seed=5))
    assert first != labels(batches.at(1))
    assert not torch.equal(plan(50, 0, 1), plan(50, 1, 0))


def test_plain_loops_count_epochs_and_at_does_not():
    batches = Batches(images(), 4, shuffle=True)
    expected = [labels(batches.at(epoch)) for epoch in range(3)]
    assert batches.epoch == 0
    assert [labels(batches) for _ in range(3)] == expected
    assert batches.epoch == 3


@pytest.mark.parametrize("shuffle", [False, True])
def test_ranks_share_each_batch(shuffle):
    batches = Batches(images(), 4, shuffle=shuffle, seed=2)
    whole = labels(batches.at(3))
    shares = [labels(batches.at(3, rank=rank, world=3)) for rank in range(3)]
    for number, expected in enumerate(whole):
        assert [share[number] for share in shares] == [expected[rank::3] for rank in range(3)]
    x, y = next(batches.at(3, rank=1, world=3))
    assert torch.equal(x, next(batches.at(3))[0][1::3])
    with pytest.raises(DataError, match="rank 2 of 2; expected 0 to 1"):
        next(batches.at(0, rank=2, world=2))


def test_the_global_generator_is_left_alone():
    before = torch.get_rng_state()
    list(Batches(images(), 4, shuffle=True))
    assert torch.equal(before, torch.get_rng_state())


@pytest.mark.parametrize("dtype, scale", [(torch.uint8, 255), (torch.float64, 1)])
def test_normalized_per_channel_and_the_stored_images_unchanged(dtype, scale):
    source = images(dtype=dtype)
    before = source.images.clone()
    batches = Batches(source, 10, mean=(0.5, 0.1), std=(0.25, 2.0))
    for _ in range(2):
        x = next(iter(batches))[0]
        expected = source.images[:, 1].double() / scale
        assert x.dtype == torch.float32
        assert torch.allclose(x[:, 1].double(), (expected - 0.1) / 2.0, atol=1e-6)
        assert torch.allclose(x[:, 0].double(), (expected - 0.5) / 0.25, atol=1e-5)
    assert torch.equal(source.images, before)


def test_float32_images_are_not_normalized_in_place():
    source = images(dtype=torch.float32)
    before = source.images.clone()
    list(Batches(source, 10, mean=(1, 1), std=(2, 2)))
    assert torch.equal(source.images, before)


def test_train_val_of_a_data_set_have_mean_0_and_std_1():
    splits = load("digits")
    train, val = train_val(splits, 64, seed=2)
    x = torch.cat([x for x, _ in train])
    assert abs(float(x.mean())) < 1e-4 and float(x.std()) == pytest.approx(1, abs=1e-4)
    assert (len(train), len(val), train.shuffle, val.shuffle) == (20, 1, True, False)
    again = next(iter(evaluation(splits, splits.val)))
    assert torch.equal(again[0], next(iter(val))[0])


@pytest.mark.parametrize(
    "count, options, message",
    [
        (10, {"batch_size": 0}, "batch_size 0; expected at least 1"),
        (0, {"batch_size": 4}, "no images, so no batches"),
        (3, {"batch_size": 4, "drop_last": True}, "3 images are fewer than one batch of 4"),
        (3, {"batch_size": 4, "mean": (0.5,)}, "mean has 1 numbers for images of 2 channels"),
        (3, {"batch_size": 4, "std": (0.0, 1.0)}, r"std \(0.0, 1.0\); expected numbers above 0"),
    ],
)
def test_bad_arguments_are_named(count, options, message):
    with pytest.raises(DataError, match=message):
        Batches(images()[:count], **options)
