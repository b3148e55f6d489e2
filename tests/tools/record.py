"""Store what a page's experiment gives for many seeds: `python -m tests.tools.record 03 scores 20`.

Runs the code cells of a chapter, in order and at quick scale, up to the one that defines the
function; calls it with seeds 0, 1, ...; and writes what `cnnlab.course.stored` reads.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import tempfile
from datetime import date

import nbformat

from cnnlab._tools import write_whole
from cnnlab.course.stored import FOLDER
from tests.tools.notebooks import notebooks


def defined(chapter: str, function: str) -> dict:
    """The names that a chapter's page knows once `function` is defined."""
    (path,) = (path for path in notebooks() if path.stem.startswith(chapter))
    space: dict = {"__name__": "page"}
    for cell in nbformat.read(path, as_version=4).cells:
        if cell.cell_type == "code":
            exec(compile(cell.source, cell.id, "exec"), space)
            if f"def {function}(" in cell.source:
                return space
    raise SystemExit(f"{path.name} has no cell with `def {function}(`; give a function of the page")


def record(chapter: str, function: str, seeds: range) -> dict:
    """{"values": {row: [one number per seed]}, "seeds": [...], "made": machine and date}."""
    import torch

    measure = defined(chapter, function)[function]
    torch.set_num_threads(1)
    rows: dict[str, list[float]] = {}
    for seed in seeds:
        for name, value in measure(seed).items():
            rows.setdefault(name, []).append(round(value, 6))
        print(seed, {name: values[-1] for name, values in rows.items()}, flush=True)
    made = f"one thread, {platform.machine()}, torch {torch.__version__}, {date.today()}"
    return {"made": made, "seeds": list(seeds), "values": rows}


def main() -> int:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("chapter")
    parser.add_argument("function")
    parser.add_argument("seeds", type=int)
    chosen = parser.parse_args()
    with tempfile.TemporaryDirectory() as progress:
        os.environ.update(CNNLAB_SCALE="quick", CNNLAB_PROGRESS=progress)
        found = record(chosen.chapter, chosen.function, range(chosen.seeds))
    text = json.dumps(found, indent=1)
    write_whole(FOLDER / f"{chosen.chapter}-{chosen.function}.json", f"{text}\n".encode())
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
