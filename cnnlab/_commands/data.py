"""`python -m cnnlab data`: the data sets, where they are; fetch one; look at a folder of images."""

from __future__ import annotations

import argparse
from pathlib import Path

from cnnlab._commands.refused import Refused, sentence

DATA = """Without NAME: the data sets and where they are on this machine. With the name of one: read
it, and fetch it first if it is missing. With a folder of images: read it as `train` would, and draw
what was read into a file to look at.

  python -m cnnlab data
  python -m cnnlab data fashion-mnist
  python -m cnnlab data ./my-pictures"""
SHIPPED = {"digits": "1,797 images 1x8x8, with scikit-learn", "letters": "33,800 images 1x28x28"}


def add(commands: argparse._SubParsersAction) -> None:
    """Describe the command."""
    parser = commands.add_parser(
        "data",
        help="the data sets: where they are; fetch one; look at a folder of images",
        description=DATA,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("name", nargs="?", metavar="NAME", help="a data set, or a folder")
    parser.add_argument("--size", type=int, default=64, metavar="N", help="of a folder's images")
    parser.add_argument("--ground", default="white", metavar="COLOR", help="under transparency")
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    """List, fetch or look."""
    from cnnlab.data.folder import sheet
    from cnnlab.data.published import SETS, data_folder, find
    from cnnlab.data.sets import is_folder, load

    if options.name is None:
        for name, text in SHIPPED.items():
            print(f"{name:<14} {text}, always here")
        for name in SETS:
            print(f"{name:<14} {find(name) or f'not in {data_folder()}; data {name} fetches it'}")
        return 0
    own = is_folder(options.name)
    try:
        splits = load(options.name, size=options.size if own else None, ground=options.ground)
        for part in (splits.train, splits.val, splits.test):
            print(part)
        if own:
            page = Path(f"{Path(options.name).resolve().name}.png")
            if page.exists():
                raise Refused(f"{page} is there already; move it, then look again")
            sheet(splits).save(page)
            print(f"look at what was read: {page}")
    except (ValueError, RuntimeError, OSError) as error:
        raise Refused(sentence(error)) from error
    return 0
