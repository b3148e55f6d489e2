"""`python -m cnnlab train`: a model on a data set, with a run folder."""

from __future__ import annotations

import argparse
import ast
import inspect
import shutil
import sys
from contextlib import suppress
from typing import TYPE_CHECKING

from cnnlab._commands.refused import Refused, sentence

if TYPE_CHECKING:
    import torch
    from torch import nn

    from cnnlab.data.images import Splits
    from cnnlab.training.history import History

TRAIN = """Train a model on a data set, look at validation images after every epoch and at test
images once, at the end. The options are those of cnnlab.training.fit.

  python -m cnnlab train lenet5 --data letters
  python -m cnnlab train resnet20 --data ./my-pictures --epochs 20
  python -m cnnlab train resnet20 --data ./my-pictures --epochs 20 --out runs/mine --resume
  torchrun --nproc-per-node=2 -m cnnlab train resnet20 --data digits

Ctrl-C stops after the current step and keeps the run. The run folder holds, after every epoch:
weights.pt (of the epoch that was best on validation), checkpoint.pt (of the last), history.json,
curves.png and config.json. Then: python -m cnnlab predict RUN image.png"""
# What `train` hands to `fit` as it is.
FIT = (
    "epochs optimizer lr weight_decay schedule warmup label_smoothing clip precision compile seed"
).split()
_METAVARS = {int: "N", float: "X", str: "NAME"}


def add(commands: argparse._SubParsersAction) -> None:
    """Describe the command."""
    train = commands.add_parser(
        "train",
        help="train a model on a data set",
        description=TRAIN,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    train.add_argument("model", help="for example resnet20; a wrong name lists all")
    train.add_argument(
        "--build",
        nargs="*",
        type=_option,
        default=[],
        metavar="OPTION=VALUE",
        help="options of the model, for example skip=False",
    )
    _add(
        train,
        "what to learn from",
        data=(
            "digits",
            "digits, letters, fashion-mnist, cifar-10, or the path of a folder of images, with a "
            "slash in it",
        ),
        size=(int, "scale the images to this height and width; default: what the model needs"),
        ground=("white", "color under what is transparent in image files"),
        crop=(0, "shift training images by up to so many pixels"),
        flip=(False, "mirror every second training image (not digits)"),
        cutout=(0, "gray out a square of this side in training images"),
        jitter=(0.0, "change brightness, contrast and color by up to this share"),
    )
    _add(
        train,
        "how to learn",
        epochs=(int, "how often to see every image; default: 10, of 10,000 images and more 3"),
        batch_size=(64, "images per step"),
        optimizer=("adam", "sgd or adam"),
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
    train.set_defaults(run=run)


def _option(text: str) -> list:
    """["skip", False] for "skip=False" and for "skip=false"."""
    name, equals, value = text.partition("=")
    if not equals:
        raise argparse.ArgumentTypeError(f"{text!r} has no value; say {text}=True, or another one")
    if name in ("num_classes", "in_channels"):
        raise argparse.ArgumentTypeError(f"{name} comes from the data; leave it out")
    try:
        value = value.capitalize() if value.lower() in ("true", "false") else value
        return [name, ast.literal_eval(value)]
    except (ValueError, SyntaxError):
        return [name, value]


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


def run(options: argparse.Namespace) -> int:
    """Train, in one process or in those of torchrun."""
    import torch

    from cnnlab.training.distributed import together

    try:
        kind = torch.device(options.device or "cpu").type
        if kind not in ("cpu", "cuda"):
            raise Refused(f"--device {options.device}: training is tested on cpu and cuda only")
        torch.empty(0, device=options.device)
    except (RuntimeError, AssertionError) as error:
        raise Refused(f"--device {options.device}: {sentence(error)}") from error
    if options.size is not None and options.size < 1:
        raise Refused(f"--size {options.size}: expected at least 1")
    try:
        with together(options.device) as device:
            return _train_on(device, options)
    except (ValueError, RuntimeError, OSError) as error:
        raise Refused(sentence(error)) from error


def _train_on(device: torch.device, options: argparse.Namespace) -> int:
    """Data, model, run folder, training, report: what a notebook does in five cells."""
    import torch

    from cnnlab.data.augment import Augment
    from cnnlab.data.batches import evaluation, train_val
    from cnnlab.data.folder import sheet
    from cnnlab.data.sets import is_folder
    from cnnlab.training import runs
    from cnnlab.training.distributed import world
    from cnnlab.training.history import Busy, TrainingError
    from cnnlab.training.loop import evaluate, fit

    given = {name: value for name, value in vars(options).items() if name != "run"}
    first = world().rank == 0
    augment = Augment(options.crop, options.flip, options.cutout, options.jitter)
    for turn in (True, False):  # the first process alone: it may have to download
        if first == turn:
            splits, given["size"] = _images(options)
        world().any(False)  # waits for all
    given["epochs"] = options.epochs
    if options.epochs is None:
        given["epochs"] = 10 if len(splits.train) < 10_000 else 3
    torch.manual_seed(options.seed)
    given["build"] = dict(options.build)
    model = _built(options, splits).to(device)
    train, val = train_val(
        splits, options.batch_size, seed=options.seed, device=device, augment=augment
    )
    title = f"{options.model} on {options.data}"
    folder = runs.begin(given, splits, options.out, options.resume) if first else None
    folder = world().from_first(folder)
    if first and is_folder(options.data) and not options.resume:
        sheet(splits).save(folder / "images.png")
        print(f"look at what was read: {folder / 'images.png'}", file=sys.stderr, flush=True)

    def keep(model: torch.nn.Module, history: History) -> None:
        if options.resume:  # only now, when the checkpoint was accepted, do the new options count
            # What was tested are weights that may soon be replaced.
            runs.note(folder, {**runs.facts(given, splits), "test": None})
        runs.keep(folder, model, history, title)

    try:
        history = fit(
            model,
            train,
            val,
            device=device,
            checkpoint=folder / "checkpoint.pt",
            each_epoch=keep,
            **{name: given[name] for name in FIT},
        )
    except TrainingError as error:
        if not error.history.losses:  # it did not begin, so there is nothing to keep
            if first and not options.resume and not isinstance(error, Busy):  # else not ours
                shutil.rmtree(folder, ignore_errors=True)
        elif first:
            with suppress(TrainingError):  # the first error is the one to tell
                runs.record(folder, error.history)
            print(error.history, flush=True)
        raise
    if first:
        runs.record(folder, history)
        print(history, flush=True)
        if history.note:
            print(history.note, file=sys.stderr, flush=True)
    if history.interrupted:
        text = f"to go on, give the same command with --out {folder} --resume"
    else:  # of the best epoch on validation, as they stand in weights.pt
        weights = runs.load_trained(folder).model.state_dict() if first else None
        model.load_state_dict(world().from_first(weights))
        test = evaluate(model, evaluation(splits, splits.test, device=device))
        best = f"epoch {history.best().epoch}, the best on validation"
        text = (
            f"test: loss {test.loss:.4f}, accuracy {test.accuracy:.4f} on {len(splits.test)} "
            f"images ({best})"
        )
        if first:
            runs.note(folder, {"test": test._asdict()})
    if first:
        print(f"{text}\nrun folder: {folder}")
    return 130 if history.interrupted else 0


def _built(options: argparse.Namespace, splits: Splits) -> nn.Module:
    """The model with fresh weights, for these classes and channels."""
    from cnnlab.models import build
    from cnnlab.models.catalog import MODELS

    classes, channels = len(splits.train.classes), splits.train.shape[0]
    given, known = dict(options.build), inspect.signature(MODELS[options.model]).parameters
    for name, value in given.items():
        if (
            name in known
            and type(known[name].default) is bool
            and not isinstance(value, (bool, int))
        ):
            raise Refused(f"--build {name}={value}: expected True or False")
    try:
        return build(options.model, num_classes=classes, in_channels=channels, **given)
    except (TypeError, AttributeError, LookupError, ArithmeticError) as error:
        usual = " ".join(f"{name}={known[name].default!r}" for name in given)
        raise Refused(
            f"--build: {options.model} cannot be built with these values ({sentence(error)}); "
            f"expected values like the default ones, {usual}"
        ) from error


def _images(options: argparse.Namespace) -> tuple[Splits, int | None]:
    """The data set, and the size it was scaled to: if none was asked for, its own where the model
    takes it, else the one that the model was made for."""
    import torch

    from cnnlab.data.sets import is_folder, load
    from cnnlab.models import image_shape

    size, wanted = options.size, image_shape(options.model)[1]
    if is_folder(options.data):
        size = size or wanted
    splits = load(options.data, seed=options.seed, size=size, ground=options.ground)
    if size is None:
        try:
            with torch.no_grad(), torch.random.fork_rng():
                model = _built(options, splits).eval()
                model(torch.zeros(1, *splits.train.shape))
        except (RuntimeError, ValueError):
            size, splits = wanted, splits.resized(wanted)
    return splits, size
