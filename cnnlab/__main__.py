"""The course from a terminal: `python -m cnnlab table | train | doctor`."""

from __future__ import annotations

import argparse
import importlib.util
import os
import platform
import shutil
import sys
from collections.abc import Sequence
from contextlib import suppress
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch


TRAIN = """Train a model on a data set, look at validation images after every epoch and at test
images once, at the end. The options are those of cnnlab.training.loop.fit.

  python -m cnnlab train resnet20 --data digits --epochs 5
  python -m cnnlab train resnet20 --data digits --epochs 5 --out runs/mine --resume
  torchrun --nproc-per-node=2 -m cnnlab train resnet20 --data digits --epochs 5

Ctrl-C stops after the current step and keeps the run. What was learned is in the run folder:
config.json, history.csv, history.json, curves.png and checkpoint.pt."""
# What `train` hands to `fit` as it is.
FIT = (
    "epochs optimizer lr weight_decay schedule warmup label_smoothing clip precision compile seed"
).split()
_METAVARS = {int: "N", float: "X", str: "NAME"}


class Refused(Exception):
    """Bad input, in one sentence for the person at the terminal."""


def main(argv: Sequence[str] | None = None) -> int:
    """Exit status: 0 done, 1 something is missing or failed, 2 bad input, 130 interrupted."""
    try:
        options = _parser().parse_args(argv)
        return options.run(options)
    except Refused as error:
        print(f"cnnlab: {error}", file=sys.stderr, flush=True)
        if int(os.environ.get("WORLD_SIZE", "1")) > 1:
            os._exit(2)  # leaving in order would wait for the other processes
        return 2
    except KeyboardInterrupt:
        return 130
    except BrokenPipeError:  # `python -m cnnlab table vgg16 | head`
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m cnnlab", description=__doc__)
    commands = parser.add_subparsers(required=True, metavar="command")

    table = commands.add_parser("table", help="a model layer by layer: shapes, parameters, MACs")
    table.add_argument("model", help="for example vgg16")
    table.add_argument(
        "--input",
        type=_shape,
        metavar="C,H,W",
        help="such as 3,224,224; default: the images that the model was made for",
    )
    table.add_argument("--depth", type=int, help="one row per module, down to this depth, from 1")
    table.set_defaults(run=_table)

    train = commands.add_parser(
        "train",
        help="train a model on a data set",
        description=TRAIN,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    train.add_argument("model", help="for example resnet20; a wrong name lists all")
    _add(
        train,
        "what to learn from",
        data=(
            "digits",
            "digits, fashion-mnist, cifar-10, or the path of a folder of images, with "
            "a slash in it",
        ),
        size=(int, "scale the images to this height and width"),
        crop=(0, "shift training images by up to so many pixels"),
        flip=(False, "mirror every second training image (not digits)"),
        cutout=(0, "gray out a square of this side in training images"),
        jitter=(0.0, "change brightness, contrast and color by up to this share"),
    )
    _add(
        train,
        "how to learn",
        epochs=(3, "how often to see every image"),
        batch_size=(64, "images per step"),
        optimizer=("sgd", "sgd or adam"),
        lr=(float, "highest learning rate; default: 0.1 for sgd, 0.001 for adam"),
        weight_decay=(0.0, "pull on the weights, for example 0.0005"),
        schedule=(
            "one-cycle",
            "one-cycle, cosine, steps or constant: the learning rate over the run",
        ),
        warmup=(0.2, "share of the run in which the learning rate rises"),
        label_smoothing=(0.0, "share of the target spread over all classes"),
        clip=(float, "longest gradient allowed"),
        seed=(0, "of split, weights, order and dropout: the same seed, the same numbers"),
    )
    group = _add(
        train,
        "speed and memory",
        device=(str, "cpu or cuda; default: a GPU if there is one"),
        precision=("float32", "float32, bf16, or on a GPU fp16"),
    )
    group.add_argument(
        "--compile",
        nargs="?",
        const=True,
        default=False,
        metavar="MODE",
        help="compile the model: a long wait, then faster steps",
    )
    _add(
        train,
        "the run folder",
        out=(str, "where to keep the run; default: runs/MODEL-DATA"),
        resume=(False, "go on with the run in --out, where it was stopped or killed"),
    )
    train.set_defaults(run=_train)

    doctor = commands.add_parser("doctor", help="what the course found on this machine")
    doctor.set_defaults(run=_doctor)
    return parser


def _add(parser: argparse.ArgumentParser, title: str, **flags: tuple) -> argparse._ArgumentGroup:
    """A group of flags: name=(default, or its type if there is none, and what it is for)."""
    group = parser.add_argument_group(title)
    for name, (default, text) in flags.items():
        flag = "--" + name.replace("_", "-")
        if default is False:
            group.add_argument(flag, action="store_true", help=text)
        elif isinstance(default, type):
            group.add_argument(flag, type=default, help=text, metavar=_METAVARS[default])
        else:
            group.add_argument(
                flag,
                type=type(default),
                default=default,
                help=f"{text} (default: %(default)s)",
                metavar=_METAVARS[type(default)],
            )
    return group


def _shape(text: str) -> tuple[int, ...]:
    try:
        shape = tuple(int(size) for size in text.split(","))
        if len(shape) != 3 or min(shape) < 1:
            raise ValueError
    except ValueError:
        raise Refused(
            f"--input {text}: expected channels,height,width, such as 3,224,224"
        ) from None
    return shape


def _table(options: argparse.Namespace) -> int:
    from cnnlab.models import build, image_shape
    from cnnlab.models import options as known
    from cnnlab.trace.run import trace

    if options.depth is not None and options.depth < 1:
        raise Refused(f"--depth {options.depth}: expected at least 1")
    try:
        shape = options.input or image_shape(options.model)
        given = {"in_channels": shape[0]} if "in_channels" in known(options.model) else {}
        table = trace(build(options.model, **given), shape)
        print(table.fold(options.depth) if options.depth else table)
    except (ValueError, RuntimeError) as error:
        raise Refused(_sentence(error)) from error
    return 0


def _train(options: argparse.Namespace) -> int:
    import torch

    from cnnlab.training.distributed import together

    try:
        torch.empty(0, device=options.device)
    except (RuntimeError, AssertionError) as error:
        raise Refused(f"--device {options.device}: {_sentence(error)}") from error
    if options.size is not None and options.size < 1:
        raise Refused(f"--size {options.size}: expected at least 1")
    try:
        with together(options.device) as device:
            return _train_on(device, options)
    except (ValueError, RuntimeError, OSError) as error:
        raise Refused(_sentence(error)) from error


def _train_on(device: torch.device, options: argparse.Namespace) -> int:
    """Data, model, run folder, training, report: what a notebook does in five cells."""
    import torch

    from cnnlab.data.augment import Augment
    from cnnlab.data.batches import evaluation, train_val
    from cnnlab.data.sets import load
    from cnnlab.models import build
    from cnnlab.training import runs
    from cnnlab.training.distributed import world
    from cnnlab.training.history import TrainingError
    from cnnlab.training.loop import evaluate, fit

    given = {name: value for name, value in vars(options).items() if name != "run"}
    first = world().rank == 0
    augment = Augment(options.crop, options.flip, options.cutout, options.jitter)
    for turn in (True, False):  # the first process alone: it may have to download
        if first == turn:
            splits = load(options.data, seed=options.seed, size=options.size)
        world().any(False)  # waits for all
    torch.manual_seed(options.seed)
    classes, channels = len(splits.train.classes), splits.train.shape[0]
    model = build(options.model, num_classes=classes, in_channels=channels)
    model.to(device)
    train, val = train_val(
        splits, options.batch_size, seed=options.seed, device=device, augment=augment
    )
    title = f"{options.model} on {options.data}"
    folder = world().from_first(runs.begin(given, options.out, options.resume) if first else None)
    try:
        history = fit(
            model,
            train,
            val,
            device=device,
            checkpoint=folder / "checkpoint.pt",
            **{name: given[name] for name in FIT},
        )
    except TrainingError as error:
        if not error.history.losses:  # it did not begin, so there is nothing to keep
            if first and not options.resume:
                shutil.rmtree(folder, ignore_errors=True)
        elif first:
            print(error.history, flush=True)
            with suppress(TrainingError):  # the first error is the one to tell
                runs.finish(folder, error.history, title)
        raise
    if first:
        print(history, flush=True)
        runs.finish(folder, history, title)
    if history.interrupted:
        text = f"to go on, give the same command with --out {folder} --resume"
    else:
        loss, accuracy = evaluate(model, evaluation(splits, splits.test, device=device))
        text = f"test: loss {loss:.4f}, accuracy {accuracy:.4f} on {len(splits.test)} images"
    if first:
        print(f"{text}\nrun folder: {folder}")
    return 130 if history.interrupted else 0


def _doctor(options: argparse.Namespace) -> int:
    rows, status = [("python", f"{platform.python_version()} at {sys.executable}")], 0
    if not (3, 10) <= sys.version_info[:2] <= (3, 13):
        rows.append(("", "the course is tested with Python 3.10 to 3.13"))
    try:
        import torch
    except ImportError as error:
        rows.append(("torch", f"missing ({error}): run `make lab`"))
        return _report(rows, 1)
    rows.append(("torch", torch.__version__))
    device = "cuda" if torch.cuda.is_available() else "cpu"
    threads = f"{torch.get_num_threads()} threads"
    name = torch.cuda.get_device_name() if device == "cuda" else threads
    rows.append(("device", f"{device}, {name}"))

    from cnnlab.course import lesson
    from cnnlab.course.logbook import progress_folder
    from cnnlab.data.sets import data_folder

    try:
        rows.append(("scale", f"{lesson.scale_for(device)} (set CNNLAB_SCALE to change it)"))
    except ValueError as error:
        rows.append(("scale", str(error)))
        status = 1
    for package in ("jupyterlab", "ipywidgets", "anywidget", "matplotlib", "sklearn", "tqdm"):
        found = importlib.util.find_spec(package) is not None
        rows.append((package, "found" if found else "missing: run `make lab`"))
        status = status if found else 1
    from cnnlab._torchvision import import_torchvision

    try:
        rows.append(("torchvision", import_torchvision().__version__))
    except Exception as error:  # whatever a broken install raises: the doctor reports it
        rows.append(("torchvision", f"cannot be imported: {_sentence(error)}"))
        status = 1
    rows.append(("data", f"{data_folder()} (set CNNLAB_DATA to change it)"))
    progress = progress_folder().resolve()
    rows.append(("progress", f"{progress} (set CNNLAB_PROGRESS to change it)"))
    return _report(rows, status)


def _report(rows: list[tuple[str, str]], status: int) -> int:
    for name, text in rows:
        print(f"{name:<12} {text}")
    return status


def _sentence(error: BaseException) -> str:
    return " ".join(str(error).split()) or type(error).__name__


if __name__ == "__main__":
    sys.exit(main())
