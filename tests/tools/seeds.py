"""Other random starts: `python -m tests.tools.seeds 10 [notebook ...]` prints the claims that fell.

Runs each notebook so many times, with CNNLAB_SEEDS=1000, 2000, ..., and reads the rows of
`show_results`: a claim that holds at the stored seeds only belongs softened. Not part of a test:
ten runs of all chapters take hours.
"""

from __future__ import annotations

import argparse
import os
from pathlib import Path

from tests.tools.notebooks import claimed, execute, notebooks


def fallen(path: Path, first: int) -> tuple[list[str], int]:
    """(rows whose claim fell, rows with a claim) of one run with seeds from `first`."""
    os.environ["CNNLAB_SEEDS"] = str(first)
    try:
        notebook = execute(path)
    finally:
        del os.environ["CNNLAB_SEEDS"]
    lines = [
        line
        for cell in notebook.cells
        for output in cell.get("outputs", [])
        for line in (output.get("data", {}).get("text/plain") or "").splitlines()
    ]
    judged = [(line, claimed(line)) for line in lines]
    held = [line for line, holds in judged if holds is not None]
    return [line for line, holds in judged if holds is False], len(held)


def main() -> int:
    """Command line; 1 where a claim fell."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("runs", type=int)
    parser.add_argument("notebooks", nargs="*")
    chosen = parser.parse_args()
    status = 0
    for path in notebooks(chosen.notebooks):
        for run in range(1, chosen.runs + 1):
            rows, total = fallen(path, 1000 * run)
            print(f"{path.stem}, seeds from {1000 * run}: {len(rows)} of {total} claims fell")
            for row in rows:
                print(f"    {row}", flush=True)
            status |= bool(rows)
    return status


if __name__ == "__main__":
    raise SystemExit(main())
