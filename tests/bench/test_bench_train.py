"""The benchmark of training runs, on anything, and its arithmetic is right. No time is tested."""

from __future__ import annotations

import json
import re
from datetime import date
from importlib import metadata

import pytest
import torch
from torch import nn

from tests.bench import bench_train
from tests.bench.bench_train import Case


def tiny():
    return nn.Sequential(
        nn.Conv2d(1, 2, 3), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(2, 10)
    )


CASE = Case("a tiny net", tiny, (1, 8, 8), batch=4, steps=3)


def test_every_way_trains_and_gives_the_seconds_of_one_epoch():
    seconds = bench_train.measure(CASE, torch.device("cpu"))
    assert list(seconds)[:3] == ["floor", "cnnlab", "plain loop"]
    assert min(seconds.values()) > 0


def measured(monkeypatch, times):
    """These seconds instead of measured ones, one of each list a round."""
    rounds = [dict(zip(times, row)) for row in zip(*times.values())]
    monkeypatch.setattr(bench_train, "measure", lambda case, device: rounds.pop(0))


def test_the_report_divides_by_the_floor(monkeypatch):
    times = {"floor": [1.0, 3.0, 2.0], "cnnlab": [1.25, 3.0, 2.5], "fast": [0.5, 1.5, 1.0]}
    measured(monkeypatch, times)
    monkeypatch.setattr(bench_train, "find_spec", lambda name: None)
    head, peers, *lines, _, floor, ours, fast = bench_train.run((CASE,), rounds=3)
    assert "a tiny net, batch 4, float32 on CPU" in head and "one epoch of 3 steps" in head
    assert peers == "  not installed, so not measured: accelerate, lightning"
    assert len(lines) == 3
    assert "round 2 of 3, CPU seconds: floor 3.00, cnnlab 3.00, fast 1.50" in lines[1]
    assert fast.endswith("noise: above the floor") and "noise" not in ours
    assert floor.split() == ["floor", "6", "1.000", "0.00"]  # 12 images in 2 s
    # shares 0.8, 1, 0.8; 0.25 s, 0, 0.5 s more in 3 steps
    assert ours.split() == ["cnnlab", "5", "0.800", "83.33"]


def test_a_stored_result_says_what_was_measured_where_and_with_what(monkeypatch, tmp_path):
    times = {"floor": [1.0, 3.0], "cnnlab": [1.25, 3.0]}
    measured(monkeypatch, times)
    other = Case("another", tiny, (1, 8, 8), batch=4, steps=3)
    report = list(bench_train.run((CASE, other), rounds=2, only="Tiny", store=tmp_path / "new"))
    (file,) = (tmp_path / "new").iterdir()
    assert report[-1] == f"  kept in {file}" and "train-a-tiny-net-cpu" in file.name
    kept = json.loads(file.read_text())
    assert kept["seconds_of_an_epoch"] == times
    assert (kept["name"], kept["batch"], kept["steps"], kept["shape"]) == (
        "a tiny net",
        4,
        3,
        [1, 8, 8],
    )
    assert kept["device"].startswith("CPU")
    assert kept["versions"]["torch"] == metadata.version("torch")
    date.fromisoformat(kept["date"])
    assert re.fullmatch(r"([0-9a-f]{40}|\S+-g[0-9a-f]{40})(-dirty)?|unknown", kept["commit"])


def test_a_case_that_is_not_there_is_refused():
    with pytest.raises(ValueError, match="no case has 'x' in its name; on this device there are a"):
        list(bench_train.run((CASE,), only="x"))


@pytest.mark.parametrize("case", bench_train.GPU, ids=lambda case: case.name)
def test_the_cases_of_the_gpu_fit_their_images(case):
    with torch.device("meta"):
        model = case.model().eval()
        assert model(torch.zeros(2, *case.shape)).shape == (2, 10)
