from __future__ import annotations

import json
import pickle
from dataclasses import replace

import pytest
import torch

from cnnlab.data.batches import evaluation, train_val
from cnnlab.data.sets import load
from cnnlab.models import build
from cnnlab.training import runs
from cnnlab.training.history import Epoch, History, TrainingError
from cnnlab.training.loop import evaluate, fit
from cnnlab.training.runs import load_trained

OPTIONS = {"model": "lenet5", "data": "digits", "epochs": 3, "build": {}}


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """A run in which the second epoch was the best: folder, data, the weights of that epoch."""
    splits = load("digits", size=28)
    folder = runs.begin(OPTIONS, splits, str(tmp_path_factory.mktemp("runs") / "mine"), False)
    torch.manual_seed(0)
    model, kept = build("lenet5"), []

    def keep(model, history):
        if len(history.epochs) == 3:  # pretend that it got worse
            last = history.epochs[-1]
            history.epochs[-1] = Epoch(3, last.train_loss, last.train_accuracy, 9.0, 0.0, 1.0)
        kept.append({name: value.clone() for name, value in model.state_dict().items()})
        runs.keep(folder, model, history, "lenet5 on digits")

    history = fit(model, *train_val(splits, 64), epochs=3, each_epoch=keep, progress=False)
    assert history.best().epoch == 2
    return folder, splits, kept[1]


def test_the_best_weights_are_kept_as_a_plain_state_dict(run):
    folder, _, best = run
    weights = torch.load(folder / "weights.pt", weights_only=True)
    assert list(weights) == list(best)
    assert all(torch.equal(weights[name], best[name]) for name in best)
    rows = json.loads((folder / "history.json").read_text())
    assert len(rows["epochs"]) == 3 and len(rows["losses"]) == 60


def test_a_trained_network_is_taken_up_with_all_that_it_needs(run):
    folder, splits, best = run
    trained = load_trained(folder)
    assert not trained.model.training and trained.classes == tuple("0123456789")
    assert trained.shape == (1, 28, 28) and trained.mean == splits.mean
    shares = trained.probabilities(splits.test.images)
    assert shares.shape == (360, 10) and torch.allclose(shares.sum(1), torch.ones(360))
    right = (shares.argmax(1) == splits.test.labels).float().mean().item()
    expected = evaluate(trained.model, evaluation(splits, splits.test)).accuracy
    assert right == pytest.approx(expected, abs=1e-6) and right > 0.5
    with pytest.raises(TrainingError, match=r"expected uint8 of shape \(N, 1, 28, 28\)"):
        trained.probabilities(splits.test.images[:, :, :8])


def test_what_does_not_fit_together_is_a_sentence(run, tmp_path):
    folder, *_ = run
    with pytest.raises(TrainingError, match="nowhere is not there. Name the folder of a run"):
        load_trained(tmp_path / "nowhere")
    with pytest.raises(TrainingError, match="has no weights.pt: no epoch was completed"):
        load_trained(tmp_path)
    weights = (folder / "weights.pt").read_bytes()
    (tmp_path / "weights.pt").write_bytes(weights)
    with pytest.raises(TrainingError, match="config.json cannot be read"):
        load_trained(tmp_path)
    config = json.loads((folder / "config.json").read_text())
    for change in ({"model": "vgg_small"}, {"model": "nothing"}, {"trained on": {}}):
        (tmp_path / "config.json").write_text(json.dumps({**config, **change}))
        with pytest.raises(
            TrainingError, match="do not fit together .* Take both from the same run"
        ):
            load_trained(tmp_path)
    (tmp_path / "config.json").write_text(json.dumps(config))
    (tmp_path / "weights.pt").write_bytes(weights[: len(weights) // 2])
    with pytest.raises(TrainingError, match="weights.pt .* is damaged"):
        load_trained(tmp_path)
    (tmp_path / "weights.pt").write_bytes(pickle.dumps(print))
    with pytest.raises(TrainingError, match="weights.pt .* is damaged"):
        load_trained(tmp_path)


def test_the_epoch_with_the_lower_loss_wins_a_tie_and_nan_never():
    rows = [(0.5, 0.9), (0.4, 0.9), (float("nan"), 0.9), (0.1, 0.8)]
    history = History(
        [Epoch(i, 1.0, 1.0, loss, right, 1.0) for i, (loss, right) in enumerate(rows)]
    )
    assert history.best().epoch == 1
    assert History().best() is None


def test_the_curve_says_which_epoch_was_best_in_a_title_that_fits(monkeypatch):
    from matplotlib.figure import Figure

    figures = []
    draw = Figure.savefig
    monkeypatch.setattr(Figure, "savefig", lambda f, *a, **k: (figures.append(f), draw(f, *a, **k)))
    history = History([Epoch(i, 2 / i, 0.5, 1 / i, 0.5 + i / 10, 1.0, 0.1 / i) for i in (1, 2, 3)])
    png = runs._curves(history, "resnet20 on ./" + "a-long-folder/" * 12)
    assert png.startswith(b"\x89PNG")
    (figure,) = figures
    title = figure._suptitle
    assert "80.0% of the validation images right in epoch 3" in title.get_text().replace("\n", " ")
    box = title.get_window_extent()
    assert box.x0 >= 0 and box.x1 <= figure.bbox.x1
    lines = [list(line.get_ydata()) for axes in figure.axes for line in axes.lines]
    assert lines[0] == [2, 1, 2 / 3] and lines[1] == [1, 1 / 2, 1 / 3]  # training, validation
    assert lines[4] == [0.1, 0.05, 0.1 / 3]


def test_a_run_that_may_not_go_on_is_left_as_it_is(tmp_path):
    splits = load("digits", size=28)
    folder = runs.begin(OPTIONS, splits, str(tmp_path / "mine"), False)
    before = (folder / "config.json").read_bytes()
    renamed = replace(splits.train, classes=(*"123456789", "zero"))
    with pytest.raises(TrainingError, match="begun on other data: classes 0, .* there and 1, "):
        runs.begin(OPTIONS | {"epochs": 4}, replace(splits, train=renamed), str(folder), True)
    assert runs.begin(OPTIONS | {"epochs": 4}, splits, str(folder), True) == folder
    assert (folder / "config.json").read_bytes() == before  # until the checkpoint is accepted


def test_of_runs_that_begin_at_once_each_has_a_folder_of_its_own(tmp_path, monkeypatch):
    splits = load("digits")
    monkeypatch.chdir(tmp_path)
    first = runs.begin(OPTIONS, splits, None, False)
    # The second one looked before the first one made its folder.
    monkeypatch.setattr(
        runs, "unused", lambda path, looks=iter([first, first]): next(looks, path.with_name("new"))
    )
    assert runs.begin(OPTIONS, splits, None, False).name == "new"
    (tmp_path / "empty").mkdir()
    assert runs.begin(OPTIONS, splits, "empty", False).name == "empty"
    with pytest.raises(TrainingError, match="--out empty is there already"):
        runs.begin(OPTIONS, splits, "empty", False)
    monkeypatch.setattr(runs.Path, "iterdir", lambda self: iter(()))  # as it was for both
    with pytest.raises(TrainingError, match="--out empty is there already"):
        runs.begin(OPTIONS, splits, "empty", False)
