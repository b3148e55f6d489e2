"""The course from a terminal: `python -m cnnlab table | train | bench | doctor`."""

from __future__ import annotations

import argparse
import importlib.util
import os
import platform
import sys
from collections.abc import Sequence


class Refused(Exception):
    """Bad input, in one sentence for the person at the terminal."""


def main(argv: Sequence[str] | None = None) -> int:
    """Exit status: 0 done, 1 something is missing or failed, 2 bad input, 130 interrupted."""
    options = _parser().parse_args(argv)
    try:
        return options.run(options)
    except Refused as error:
        print(f"cnnlab: {error}", file=sys.stderr)
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
    table.add_argument("--input", default="3,224,224", metavar="C,H,W", help="default: %(default)s")
    table.add_argument("--depth", type=int, help="one row per module, down to this depth")
    table.set_defaults(run=_table)

    train = commands.add_parser("train", help="train a model on a data set")
    train.add_argument("model", help="for example vgg_small")
    train.add_argument("--data", default="digits", help="default: %(default)s")
    train.add_argument("--size", type=int, help="scale the images to this height and width")
    train.add_argument("--epochs", type=int, default=3, help="default: %(default)s")
    train.add_argument("--batch-size", type=int, default=64, help="default: %(default)s")
    train.add_argument("--optimizer", default="sgd", help="sgd or adam; default: %(default)s")
    train.add_argument("--lr", type=float, help="peak learning rate; default: the optimizer's")
    train.add_argument("--weight-decay", type=float, default=0.0, help="default: %(default)s")
    train.add_argument("--seed", type=int, default=0, help="default: %(default)s")
    train.add_argument("--device", help="cpu or cuda; default: a GPU if there is one")
    train.set_defaults(run=_train)

    bench = commands.add_parser("bench", help="time this project beside its peers")
    bench.add_argument(
        "what", help="start: importing; trace: analysers; fit: training loops; chapters: notebooks"
    )
    bench.set_defaults(run=_bench)

    doctor = commands.add_parser("doctor", help="what the course found on this machine")
    doctor.set_defaults(run=_doctor)
    return parser


def _table(options: argparse.Namespace) -> int:
    try:
        shape = tuple(int(size) for size in options.input.split(","))
        if len(shape) != 3 or min(shape) < 1:
            raise ValueError
    except ValueError:
        raise Refused(
            f"--input {options.input}: expected channels,height,width, such as 3,224,224"
        ) from None
    from cnnlab.models import build
    from cnnlab.models import options as known
    from cnnlab.trace import trace

    try:
        given = {"in_channels": shape[0]} if "in_channels" in known(options.model) else {}
        table = trace(build(options.model, **given), shape)
        print(table.fold(options.depth) if options.depth else table)
    except (ValueError, RuntimeError) as error:
        raise Refused(_sentence(error)) from error
    return 0


def _train(options: argparse.Namespace) -> int:
    import torch

    from cnnlab.batches import evaluation, train_val
    from cnnlab.data import load
    from cnnlab.models import build
    from cnnlab.training import TrainingError, evaluate, fit

    try:
        device = torch.device(options.device or ("cuda" if torch.cuda.is_available() else "cpu"))
        torch.empty(0, device=device)
    except (RuntimeError, AssertionError) as error:
        raise Refused(f"--device {options.device}: {_sentence(error)}") from error
    if options.size is not None and options.size < 1:
        raise Refused(f"--size {options.size}: expected at least 1")
    try:
        splits = load(options.data, seed=options.seed)
        if options.size:
            splits = splits.resized(options.size)
        torch.manual_seed(options.seed)
        classes, channels = len(splits.train.classes), splits.train.shape[0]
        model = build(options.model, num_classes=classes, in_channels=channels).to(device)
        train, val = train_val(splits, options.batch_size, seed=options.seed, device=device)
        history = fit(
            model, train, val, epochs=options.epochs, optimizer=options.optimizer, lr=options.lr,
            weight_decay=options.weight_decay, seed=options.seed,
        )  # fmt: skip
    except TrainingError as error:
        if error.history.losses:  # it ran, and went wrong on the way
            print(error.history)
        raise Refused(_sentence(error)) from error
    except (ValueError, RuntimeError) as error:
        raise Refused(_sentence(error)) from error
    print(history)
    if history.stopped:
        return 130
    test = evaluate(model, evaluation(splits, splits.test, device=device))
    print(f"test: loss {test.loss:.4f}, accuracy {test.accuracy:.4f} on {len(splits.test)} images")
    return 0


def _bench(options: argparse.Namespace) -> int:
    from cnnlab.bench import BENCHES

    if options.what not in BENCHES:
        raise Refused(f"no benchmark {options.what!r}; there are {', '.join(BENCHES)}")
    for text in BENCHES[options.what]():
        print(text, flush=True)
    return 0


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

    from cnnlab import lesson
    from cnnlab.data import data_folder

    try:
        rows.append(("scale", f"{lesson.scale_for(device)} (set CNNLAB_SCALE to change it)"))
    except ValueError as error:
        rows.append(("scale", str(error)))
        status = 1
    for package in ("jupyterlab", "ipywidgets", "anywidget", "matplotlib", "sklearn", "tqdm"):
        found = importlib.util.find_spec(package) is not None
        rows.append((package, "found" if found else "missing: run `make lab`"))
        status = status if found else 1
    from cnnlab.torchvision_compat import import_torchvision

    try:
        rows.append(("torchvision", import_torchvision().__version__))
    except Exception as error:  # whatever a broken install raises: the doctor reports it
        rows.append(("torchvision", f"cannot be imported: {_sentence(error)}"))
        status = 1
    rows.append(("data", f"{data_folder()} (set CNNLAB_DATA to change it)"))
    progress = lesson.progress_folder().resolve()
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
