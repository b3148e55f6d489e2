"""The networks that come with the course: they load strictly, and are as good as is written."""

from __future__ import annotations

import json

import pytest
import torch

from cnnlab.data.batches import evaluation
from cnnlab.data.published import SETS, find
from cnnlab.data.sets import load
from cnnlab.training.loop import evaluate
from cnnlab.training.runs import WEIGHTS, load_trained

NAMES = sorted(path.name for path in WEIGHTS.iterdir() if path.is_dir())


def test_they_are_small():
    files = [path for path in WEIGHTS.rglob("*") if path.is_file()]
    assert 1 <= len(NAMES) <= 3 and sum(path.stat().st_size for path in files) < 2_000_000


@pytest.mark.parametrize("name", NAMES)
def test_they_reach_the_accuracy_that_is_written_beside_them(name):
    config = json.loads((WEIGHTS / name / "config.json").read_text())
    stored = torch.load(WEIGHTS / name / "weights.pt", weights_only=True)
    assert {t.dtype for t in stored.values() if t.is_floating_point()} == {torch.float16}
    trained = load_trained(name)
    if config["data"] in SETS and not find(config["data"]):
        pytest.skip(f"{config['data']} is not on this machine")
    splits = load(config["data"], size=trained.shape[-1], download=False)
    assert trained.classes == splits.test.classes
    found = evaluate(trained.model, evaluation(splits, splits.test))
    assert found.accuracy == pytest.approx(trained.test["accuracy"], abs=0.5 / len(splits.test))
