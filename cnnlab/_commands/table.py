"""`python -m cnnlab table`: a model layer by layer."""

from __future__ import annotations

import argparse

from cnnlab._commands.refused import Refused, sentence


def add(commands: argparse._SubParsersAction) -> None:
    """Describe the command."""
    table = commands.add_parser("table", help="a model layer by layer: shapes, parameters, MACs")
    table.add_argument("model", help="for example vgg16")
    table.add_argument(
        "--input",
        type=_shape,
        metavar="C,H,W",
        help="such as 3,224,224; default: the images that the model was made for",
    )
    table.add_argument("--depth", type=int, help="one row per module, down to this depth, from 1")
    table.set_defaults(run=run)


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


def run(options: argparse.Namespace) -> int:
    """Trace the model and print its table."""
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
        raise Refused(sentence(error)) from error
    return 0
