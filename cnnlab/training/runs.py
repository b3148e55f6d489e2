"""The folder of a run: config.json, history.csv, history.json, curves.png, checkpoint.pt."""

from __future__ import annotations

import csv
import io
import json
import platform
from pathlib import Path

from cnnlab.training.checkpoint import replace
from cnnlab.training.curves import PAPER, SERIES
from cnnlab.training.history import History, TrainingError

ANY = ("out", "resume", "device")  # what may change when a run goes on


def begin(options: dict[str, object], out: str | None, resume: bool) -> Path:
    """The folder of a run with these options: a new one, or to `resume` one that was begun.

    Without `out` it is runs/<model>-<data>, with a number where that exists.
    """
    if resume and out is None:
        raise TrainingError("--resume: say which run should go on, with --out and its folder.")
    if out is None:
        stem = f"runs/{options['model']}-{Path(str(options['data'])).name}"
        names = [stem, *(f"{stem}-{number}" for number in range(2, 10_000))]
        folder = next(path for path in map(Path, names) if not path.exists())
    else:
        folder = Path(out)
    config = folder / "config.json"
    if resume:
        _compare(config, options)
    elif folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise TrainingError(
            f"--out {folder} is there already. Go on with that run by --resume, or name a new "
            "folder."
        )
    else:
        _write(config, json.dumps({**options, "versions": _versions()}, indent=1).encode())
    return folder


def finish(folder: Path, history: History, title: str) -> None:
    """Write what happened, as far as it went."""
    rows = history.to_dict()
    table = io.StringIO()
    writer = csv.writer(table, lineterminator="\n")
    writer.writerow(rows)
    writer.writerows(zip(*rows.values()))
    _write(folder / "history.csv", table.getvalue().encode())
    record = {**rows, "losses": history.losses, "stopped": history.stopped}
    _write(folder / "history.json", json.dumps(record, indent=1).encode())
    if history.epochs:
        accuracy = history.last().val_accuracy
        what = f"{title}: {accuracy:.1%} of the validation images right"
        _write(folder / "curves.png", _curves(rows, what))


def _curves(rows: dict[str, list[float]], title: str) -> bytes:
    """A PNG of the loss in training and validation over the epochs."""
    from matplotlib.figure import Figure  # no pyplot: no window, no state

    figure = Figure((7.2, 4.0), facecolor=PAPER, layout="constrained")
    axes = figure.add_subplot(facecolor=PAPER, title=title, xlabel="epoch", ylabel="cross-entropy")
    for name, color, mark in zip(("train", "val"), SERIES, "os"):
        axes.plot(rows["epoch"], rows[f"{name}_loss"], color=color, marker=mark, label=name)
    axes.legend(["training", "validation"], frameon=False)
    png = io.BytesIO()
    figure.savefig(png, format="png", dpi=150)
    return png.getvalue()


def _write(path: Path, data: bytes) -> None:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        replace(path, data)
    except OSError as error:
        raise TrainingError(str(error)) from error


def _compare(config: Path, options: dict[str, object]) -> None:
    try:
        begun = json.loads(config.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise TrainingError(
            f"--resume: {config} cannot be read ({error}), so there is no run to go on with in "
            f"{config.parent}. Leave out --resume to begin one."
        ) from error
    other = [
        f"--{name.replace('_', '-')} was {begun.get(name)} and is {value}"
        for name, value in options.items()
        if name not in ANY and begun.get(name) != value
    ]
    if other:
        raise TrainingError(
            f"--resume: the run in {config.parent} was begun with other options: "
            f"{'; '.join(other)}. Give the same ones, or another --out."
        )


def _versions() -> dict[str, str]:
    import torch

    import cnnlab

    return {
        "cnnlab": cnnlab.__version__,
        "torch": torch.__version__,
        "python": platform.python_version(),
        "threads": str(torch.get_num_threads()),
    }
