"""`python -m cnnlab records`: the measured results, as a Markdown table."""

from __future__ import annotations

import argparse
from pathlib import Path

from cnnlab._commands.refused import Refused
from cnnlab._tools import did_you_mean


def add(commands: argparse._SubParsersAction) -> None:
    """Describe the command."""
    parser = commands.add_parser("records", help="what was measured, as a Markdown table")
    parser.add_argument("--data", metavar="NAME", help="of this data set only")
    parser.add_argument("--into", metavar="FILE", help="put the table between its marks in FILE")
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    """Print the table, or write it."""
    from cnnlab.training.records import into, records, table

    every = records()
    known = list(dict.fromkeys(r["data"] for r in every))
    if options.data not in (None, *known):
        raise Refused(
            f"no records of {options.data!r}.{did_you_mean(options.data, known)} Known: "
            f"{', '.join(known)}"
        )
    found = [r for r in every if options.data in (None, r["data"])]
    if options.into is None:
        print(table(found))
        return 0
    try:
        path = Path(options.into)
        path.write_text(into(path.read_text(encoding="utf-8"), found), encoding="utf-8")
    except (OSError, ValueError) as error:
        raise Refused(f"{options.into}: {error}") from error
    return 0
