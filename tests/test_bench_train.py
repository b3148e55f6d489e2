"""The benchmark of training runs, on anything, and its arithmetic is right. No time is tested."""
from __future__ import annotations

import pytest
import torch
from torch import nn

from cnnlab import bench_train
from cnnlab.bench_train import Case


def tiny():
    return nn.Sequential(nn.Conv2d(1, 2, 3), nn.AdaptiveAvgPool2d(1), nn.Flatten(),
                         nn.Linear(2, 10))


CASE = Case("a tiny net", tiny, (1, 8, 8), batch=4, steps=3)


def test_every_way_trains_and_gives_the_seconds_of_one_epoch():
    seconds = bench_train.measure(CASE, torch.device("cpu"), rounds=2)
    assert list(seconds)[:3] == ["floor", "cnnlab", "plain loop"]
    assert all(len(times) == 2 and min(times) > 0 for times in seconds.values())


def test_the_report_divides_by_the_floor(monkeypatch):
    times = {"floor": [1.0, 3.0, 2.0], "cnnlab": [1.25, 3.0, 2.5]}
    monkeypatch.setattr(bench_train, "measure", lambda case, device, rounds: times)
    head, _, floor, ours = bench_train.run((CASE,), rounds=3)
    assert "a tiny net, batch 4, float32 on CPU" in head and "one epoch of 3 steps" in head
    assert floor.split() == ["floor", "6", "1.000", "0.00"]         # 12 images in 2 s
    # shares 0.8, 1, 0.8; 0.25 s, 0, 0.5 s more in 3 steps
    assert ours.split() == ["cnnlab", "5", "0.800", "83.33"]


@pytest.mark.parametrize("case", bench_train.GPU, ids=lambda case: case.name)
def test_the_cases_of_the_gpu_fit_their_images(case):
    with torch.device("meta"):
        model = case.model().eval()
        assert model(torch.zeros(2, *case.shape)).shape == (2, 10)
