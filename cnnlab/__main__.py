"""The course from a terminal: `python -m cnnlab table`, `train`, `predict`, `data` and more."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence

import cnnlab
from cnnlab._commands import data, doctor, predict, records, report, table, train
from cnnlab._commands.refused import Refused


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
    parser.add_argument("--version", action="version", version=f"cnnlab {cnnlab.__version__}")
    commands = parser.add_subparsers(required=True, metavar="command")
    for command in (table, train, predict, data, records, report, doctor):
        command.add(commands)
    return parser


if __name__ == "__main__":
    sys.exit(main())
