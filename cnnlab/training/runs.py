"""The folder of a run: config.json, history.json, curves.png, weights.pt, checkpoint.pt.

`load_trained("runs/mine")` takes up what was learned: the network as it was best on validation.
"""

from __future__ import annotations

import io
import json
import platform
import textwrap
from dataclasses import asdict, dataclass
from pathlib import Path

import torch
from torch import Tensor, nn

from cnnlab._tools import unused
from cnnlab.data.images import Splits
from cnnlab.models import build
from cnnlab.training.checkpoint import load_whole, replace, saved
from cnnlab.training.curves import PAPER, SERIES
from cnnlab.training.history import History, TrainingError

ANY = ("out", "resume", "device", "epochs")  # what may change when a run goes on
WEIGHTS = Path(__file__).with_name("weights")  # networks that the course has trained


@dataclass(frozen=True, eq=False)
class Trained:
    """A trained network in eval mode, and what it was trained on.

    shape        (C, H, W) of its images
    mean, std    of the training images, one number per channel, in units of 255
    test         {"loss": ..., "accuracy": ...} on the test images, if they were looked at
    """

    model: nn.Module
    classes: tuple[str, ...]
    shape: tuple[int, int, int]
    mean: tuple[float, ...]
    std: tuple[float, ...]
    test: dict[str, float] | None = None

    def probabilities(self, images: Tensor) -> Tensor:
        """(N, classes) for uint8 images (N, C, H, W) of this network's shape."""
        if images.dtype != torch.uint8 or tuple(images.shape[1:]) != self.shape:
            raise TrainingError(
                f"got {images.dtype} images of shape {tuple(images.shape)}; expected uint8 of "
                f"shape (N, {', '.join(map(str, self.shape))}), as this network was trained on."
            )
        mean, std = (torch.tensor(x).view(-1, 1, 1) for x in (self.mean, self.std))
        device = next(self.model.parameters()).device
        with torch.inference_mode():
            return self.model(((images / 255 - mean) / std).to(device)).softmax(1).cpu()


def load_trained(run: str | Path) -> Trained:
    """The network of a run's folder with its best weights, or one that comes with the course:
    `load_trained("runs/vgg_small-digits")`, `load_trained("lenet5-letters-10")`.

    Raises TrainingError where there is no such run, and where its files do not fit together.
    """
    folder = Path(run).expanduser()
    if not folder.exists() and (WEIGHTS / str(run)).is_dir():
        folder = WEIGHTS / str(run)
    if not (folder / "weights.pt").is_file():
        shipped = ", ".join(sorted(p.name for p in WEIGHTS.glob("*") if p.is_dir()))
        found = "has no weights.pt: no epoch was completed" if folder.is_dir() else "is not there"
        raise TrainingError(
            f"{folder} {found}. Name the folder of a run, such as runs/vgg_small-digits"
            + (f", or a network that comes with the course: {shipped}." if shipped else ".")
        )
    config, data = _config(folder), None
    try:
        data = config["trained on"]
        model = build(
            config["model"],
            num_classes=len(data["classes"]),
            in_channels=data["shape"][0],
            **config.get("build", {}),
        )
        weights = load_whole(folder / "weights.pt")
        model.load_state_dict(weights)
    except (KeyError, TypeError, ValueError, AttributeError, RuntimeError) as error:
        if isinstance(error, TrainingError):
            raise
        text = " ".join(str(error).split())[:200]
        raise TrainingError(
            f"{folder}: config.json and weights.pt do not fit together ({text}). Take both from "
            "the same run."
        ) from error
    lists = (tuple(data[key]) for key in ("classes", "shape", "mean", "std"))
    return Trained(model.eval(), *lists, config.get("test"))


def facts(options: dict[str, object], splits: Splits) -> dict[str, object]:
    """What config.json says of a run from its beginning."""
    data = {
        "classes": splits.train.classes,
        "shape": splits.train.shape,
        "mean": splits.mean,
        "std": splits.std,
    }
    return {**options, "trained on": data, "versions": _versions()}


def begin(options: dict[str, object], splits: Splits, out: str | None, resume: bool) -> Path:
    """The folder of a run with these options: a new one, or to `resume` one that was begun.

    Without `out` it is runs/<model>-<data>, with a number where that exists. In a run that is to
    go on nothing is written: `note` its `facts` when `fit` has accepted the checkpoint.
    """
    if resume and out is None:
        raise TrainingError("--resume: say which run should go on, with --out and its folder.")
    if resume:
        _compare(Path(out), options, splits)
        return Path(out)
    name = Path(out or f"runs/{options['model']}-{Path(str(options['data'])).name}")
    folder = name if out else unused(name)
    while not _claimed(folder):
        if out or not folder.exists():
            raise TrainingError(
                f"--out {folder} is there already. Go on with that run by --resume, or name a new "
                "folder."
            )
        folder = unused(name)
    note(folder, facts(options, splits))
    return folder


def _claimed(folder: Path) -> bool:
    """Whether the folder is new or was empty, and now is ours: of several runs that begin at once
    only one can make config.json."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        if any(folder.iterdir()):
            return False
        (folder / "config.json").touch(exist_ok=False)
    except FileExistsError:  # also where it is a file
        return False
    except OSError as error:
        raise TrainingError(str(error)) from error
    return True


def keep(folder: Path, model: nn.Module, history: History, title: str) -> None:
    """After an epoch, write what happened; and the weights, if they are the best so far."""
    record(folder, history)
    _write(folder / "curves.png", _curves(history, title))
    if history.best() is history.last():
        _write(folder / "weights.pt", saved(model.state_dict()))


def record(folder: Path, history: History) -> None:
    """Write the history, as far as it went: a row per epoch, a loss per step."""
    rows = {"epochs": [asdict(row) for row in history.epochs], "losses": history.losses}
    rows |= {"stopped": history.stopped, "note": history.note}
    _write(folder / "history.json", json.dumps(rows, indent=1).encode())


def note(folder: Path, facts: dict[str, object]) -> None:
    """Add facts to the run's config.json."""
    path = folder / "config.json"
    config = _config(folder) if path.is_file() and path.stat().st_size else {}
    _write(folder / "config.json", json.dumps({**config, **facts}, indent=1).encode())


def _curves(history: History, title: str) -> bytes:
    """A PNG of loss, accuracy and learning rate over the epochs."""
    from matplotlib.figure import Figure  # no pyplot: no window, no state
    from matplotlib.ticker import MaxNLocator

    best, rows = history.best(), history.to_dict()
    text = f"{title}: {best.val_accuracy:.1%} of the validation images right in epoch {best.epoch}"
    figure = Figure((9.6, 3.6), facecolor=PAPER, layout="constrained")
    figure.suptitle(textwrap.fill(text, 90))
    panels = {
        "loss": "cross-entropy",
        "accuracy": "share of right answers",
        "rate": "learning rate",
    }
    for axes, (what, label) in zip(figure.subplots(1, 3), panels.items()):
        axes.set(facecolor=PAPER, xlabel="epoch", ylabel=label)
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        if what == "rate":
            axes.plot(rows["epoch"], rows["rate"], color=SERIES[0], marker="o")
            continue
        for part, name, color, mark in zip(
            ("train", "val"), ("training", "validation"), SERIES, "os"
        ):
            axes.plot(rows["epoch"], rows[f"{part}_{what}"], color=color, marker=mark, label=name)
        axes.legend(frameon=False)
    png = io.BytesIO()
    figure.savefig(png, format="png", dpi=120)
    return png.getvalue()


def _write(path: Path, data: bytes | memoryview) -> None:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        replace(path, data)
    except OSError as error:
        raise TrainingError(str(error)) from error


def _config(folder: Path) -> dict:
    config = folder / "config.json"
    try:
        return dict(json.loads(config.read_text(encoding="utf-8")))
    except (OSError, ValueError, TypeError) as error:
        raise TrainingError(f"{config} cannot be read ({error}).") from error


def _compare(folder: Path, options: dict[str, object], splits: Splits) -> None:
    try:
        begun = _config(folder)
    except TrainingError as error:
        raise TrainingError(
            f"--resume: {error} So there is no run to go on with in {folder}. Leave out --resume "
            "to begin one."
        ) from error
    options = json.loads(json.dumps(options))  # as config.json holds them: tuples become lists
    other = [
        f"--{name.replace('_', '-')} was {begun.get(name)} and is {value}"
        for name, value in options.items()
        if name not in ANY and begun.get(name) != value
    ]
    if options["epochs"] < begun.get("epochs", 0):
        other.append(f"--epochs was {begun['epochs']} and is {options['epochs']}, not more")
    if other:
        raise TrainingError(
            f"--resume: the run in {folder} was begun with other options: "
            f"{'; '.join(other)}. Give the same ones, or another --out."
        )
    # The images themselves are compared by the checkpoint, which does not know the classes' names.
    there = begun.get("trained on", {})
    here = {"classes": splits.train.classes, "shape": splits.train.shape}
    for what, value in here.items():
        if what in there and there[what] != list(value):
            was, now = (", ".join(map(str, x)) for x in (there[what], value))
            raise TrainingError(
                f"--resume: the run in {folder} was begun on other data: {what} {was} there and "
                f"{now} here. Bring the data back, or give another --out."
            )


def _versions() -> dict[str, str]:
    import cnnlab

    return {
        "cnnlab": cnnlab.__version__,
        "torch": torch.__version__,
        "python": platform.python_version(),
        "threads": str(torch.get_num_threads()),
    }
