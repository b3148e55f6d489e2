"""`python -m cnnlab table`: a model layer by layer."""

from __future__ import annotations

import argparse
import importlib
import importlib.util
import sys
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

from cnnlab._commands.refused import Refused, sentence
from cnnlab._tools import did_you_mean

_FORMATS = ("text", "markdown", "csv", "json", "html")


def add(commands: argparse._SubParsersAction) -> None:
    """Describe the command."""
    table = commands.add_parser("table", help="a model layer by layer: shapes, parameters, MACs")
    table.add_argument(
        "model",
        help="vgg16, torchvision.models.resnet18, timm.NAME, mymodule:make or path/to/file.py:Net",
    )
    table.add_argument(
        "--input",
        type=_shape,
        metavar="C,H,W",
        help="such as 3,224,224; default: the images that the model was made for",
    )
    table.add_argument("--depth", type=int, help="one row per module, down to this depth, from 1")
    table.add_argument("--format", default="text", choices=_FORMATS, help="default: text")
    table.set_defaults(run=run)


def _shape(text: str) -> tuple[int, ...]:
    try:
        shape = tuple(int(size) for size in text.split(","))
        if min(shape) < 1:
            raise ValueError
    except ValueError:
        raise Refused(
            f"--input {text}: expected channels,height,width, such as 3,224,224"
        ) from None
    return shape


def run(options: argparse.Namespace) -> int:
    """Trace the model and print its table."""
    from cnnlab.trace import show
    from cnnlab.trace.run import trace

    if options.depth is not None and options.depth < 1:
        raise Refused(f"--depth {options.depth}: expected at least 1")
    try:
        make, shape = _found(options.model, options.input)
        table = trace(make(), shape)
        table = table.fold(options.depth) if options.depth else table
        writers = {
            "text": str,
            "markdown": show.markdown,
            "csv": show.csv_text,
            "json": show.json_text,
            "html": show.html,
        }
        print(writers[options.format](table))
    except (ValueError, RuntimeError) as error:
        raise Refused(sentence(error)) from error
    return 0


def _found(name: str, shape: tuple[int, ...] | None) -> tuple[Callable[[], Any], tuple[int, ...]]:
    """What makes the model, and the shape of its images."""
    if ":" in name:
        return _of_a_file(name), shape or _needed(name)
    if name.startswith("torchvision.models."):
        return _of_torchvision(name, shape)
    if name.startswith("timm."):
        try:
            import timm
        except ImportError:
            raise Refused(f"{name}: timm is not installed: pip install timm") from None
        model = timm.create_model(name.removeprefix("timm."))
        return lambda: model, shape or model.pretrained_cfg["input_size"]
    from cnnlab.models import build, image_shape
    from cnnlab.models import options as known

    shape = shape or image_shape(name)
    given = {"in_channels": shape[0]} if "in_channels" in known(name) else {}
    if given and len(shape) != 3:
        raise Refused(f"--input has {len(shape)} sizes; expected channels,height,width: 3,224,224")
    return lambda: build(name, **given), shape


def _of_torchvision(name: str, shape: tuple[int, ...] | None):
    from cnnlab._torchvision import import_torchvision

    models = import_torchvision().models
    *_, short = name.split(".")
    if short not in models.list_models():
        raise Refused(f"{name}: no such model.{did_you_mean(short, models.list_models())}")
    make = models.get_model_builder(short)
    if shape is None:
        with suppress(Exception):  # detection, video and optical flow have no crop
            side = models.get_model_weights(short).DEFAULT.transforms().crop_size[-1]
            shape = (3, side, side)
    options = {"weights": None}
    with suppress(Exception):
        if "weights_backbone" in make.__kwdefaults__:
            options["weights_backbone"] = None
    return lambda: make(**options), shape or _needed(name)


def _of_a_file(name: str) -> Callable[[], Any]:
    """The function or class NAME of `mymodule:NAME` or `path/to/file.py:NAME`."""
    place, _, wanted = name.rpartition(":")
    path = Path(place)
    sys.path.insert(0, str(path.parent.resolve()) if path.suffix == ".py" else "")
    try:
        if path.suffix == ".py":
            spec = importlib.util.spec_from_file_location(path.stem, path)
            module = importlib.util.module_from_spec(spec)
            sys.modules[path.stem] = module
            spec.loader.exec_module(module)
        else:
            module = importlib.import_module(place)
    except Exception as error:  # whatever a learner's file raises
        raise Refused(f"{place} cannot be imported: {sentence(error)}") from error
    finally:
        del sys.path[0]
    if not hasattr(module, wanted):
        names = [n for n, value in vars(module).items() if callable(value) and n[0] != "_"]
        raise Refused(f"{place} has no {wanted!r}; it has {', '.join(names) or 'nothing to call'}")
    made = getattr(module, wanted)
    if not callable(made) or hasattr(made, "named_modules") and not isinstance(made, type):
        return lambda: made  # a model itself

    def make() -> Any:
        try:
            return made()
        except TypeError as error:
            raise Refused(
                f"{wanted}() fails: {sentence(error)}; give a function without arguments"
            ) from error

    return make


def _needed(name: str) -> tuple[int, ...]:
    raise Refused(f"{name}: say which input it takes, such as --input 3,224,224")
