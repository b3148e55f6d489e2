from __future__ import annotations

import pytest
import torch
from torch import nn

from cnnlab.data.batches import evaluation, train_val
from cnnlab.data.sets import load
from cnnlab.training.experiment import accuracy, trained
from cnnlab.training.loop import evaluate, fit


def net():
    return nn.Sequential(nn.Flatten(), nn.Dropout(0.1), nn.Linear(64, 10))


def test_it_is_what_a_chapter_would_write_out():
    digits = load("digits")
    torch.manual_seed(3)
    by_hand = net()
    batches = train_val(digits, 64, seed=3)
    fit(by_hand, *batches, epochs=2, optimizer="adam", lr=0.01, seed=3, progress=False)
    model = trained(net, digits, seed=3, epochs=2, optimizer="adam", lr=0.01)
    assert all(map(torch.equal, model.state_dict().values(), by_hand.state_dict().values()))
    expected = evaluate(by_hand, evaluation(digits, digits.test)).accuracy
    assert accuracy(model, digits) == expected
    assert 0.8 < accuracy(model, digits, digits.val) != expected


def test_another_seed_is_another_network_and_the_default_is_sgd():
    digits = load("digits")
    one, other = (trained(net, digits, seed=seed, epochs=1, lr=0.1) for seed in (0, 1))
    assert not torch.equal(one[2].weight, other[2].weight)
    torch.manual_seed(0)
    by_hand = net()
    fit(by_hand, *train_val(digits, 64), epochs=1, lr=0.1, progress=False)
    assert torch.equal(one[2].weight, by_hand[2].weight)
    with pytest.raises(RuntimeError, match="epochs is 0"):
        trained(net, digits, seed=0, epochs=0)
