"""Run, normalize and check the notebooks: what `make refresh` and `make check` call.

    python -m tests.tools.notebooks refresh notebooks/01-convolution-arithmetic.ipynb
    python -m tests.tools.notebooks normalize notebooks/*.ipynb
    python -m tests.tools.notebooks check

`refresh` runs a notebook top to bottom at quick scale, in a copy of its folder, with an empty
progress folder, then normalizes it; a notebook with an error is left as it was. `normalize` runs
nothing. `check` fails when `normalize` would change a byte, or when a stored output does not belong
in the repository. Without file names: every notebook of the course.
"""

from __future__ import annotations

import argparse
import base64
import math
import os
import re
import shutil
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import nbformat

from cnnlab._tools import write_whole

ROOT = Path(__file__).resolve().parents[2]
CELL_SECONDS = 1200  # a backstop: a busy machine is not a failure
IMAGE_BYTES = 400_000
NOTEBOOK_BYTES = 1_500_000
CELL_KEYS = ("tags", "jupyter")  # of a cell's metadata, what the course uses
WIDGET_VIEW = "application/vnd.jupyter.widget-view+json"
METADATA = {
    "kernelspec": {"name": "python3", "display_name": "Python 3 (ipykernel)", "language": "python"},
    "language_info": {
        "name": "python",
        "file_extension": ".py",
        "mimetype": "text/x-python",
        "codemirror_mode": {"name": "ipython", "version": 3},
        "nbconvert_exporter": "python",
        "pygments_lexer": "ipython3",
    },
}
# stderr that says nothing about the course.
NOISE = (re.compile(r"^.*IPKernelApp.*WARNING.*\n?", re.MULTILINE),)
# Ids that an editor made up: a UUID, or eight hexadecimal digits.
MADE_UP = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}|[0-9a-f]{8}")
# What a stored output must not tell: where it was made, and where in memory.
LEAKS = (
    (re.compile(r"\b0x[0-9a-f]{8,}\b"), "a memory address"),
    (re.compile(r"(?<![\w.])/(home|root|Users|tmp|private|var|opt)/[\w.]+"), "a machine's path"),
)


def notebooks(names=()) -> list[Path]:
    """The notebooks named, or all of the course in order."""
    return [Path(name) for name in names] or sorted((ROOT / "notebooks").glob("*.ipynb"))


# Normalizing


def normalize(text: str, name: str) -> str:
    """The one way to write this notebook: same cells, same outputs, no noise.

    name: the file's stem, such as "01-convolution-arithmetic"; new cell ids start with its number.
    Normalizing the result again gives the same text.
    """
    notebook = nbformat.reads(text, as_version=4)
    notebook.metadata = nbformat.from_dict(METADATA)
    notebook.nbformat, notebook.nbformat_minor = 4, 5
    number = 0
    ids = set()
    for cell in notebook.cells:
        cell.id = _cell_id(cell, name.split("-")[0], ids)
        ids.add(cell.id)
        cell.metadata = {key: cell.metadata[key] for key in CELL_KEYS if cell.metadata.get(key)}
        if "tags" in cell.metadata:
            cell.metadata["tags"] = sorted(cell.metadata["tags"])
        cell.source = "\n".join(line.rstrip() for line in cell.source.strip("\n").split("\n"))
        if cell.cell_type != "code":
            continue
        if cell.execution_count is not None and cell.source.strip():
            number += 1
            cell.execution_count = number
        else:
            cell.execution_count = None
        cell.outputs = _outputs(cell)
    return nbformat.writes(notebook).rstrip("\n") + "\n"


def _cell_id(cell, chapter, taken):
    """The cell's own id, or one made of the chapter and its first words."""
    own = cell.get("id", "")
    if own and own not in taken and not MADE_UP.fullmatch(own):
        return own
    words = re.findall(r"[a-z0-9]+", cell.source.lower()) or [cell.cell_type]
    slug = "-".join([chapter, *words[:4]])[:40].rstrip("-")
    names = [slug] + [f"{slug}-{n}" for n in range(2, 1000)]
    return next(name for name in names if name not in taken)


def _outputs(cell):
    """The cell's outputs: streams joined, widget views and noise dropped, tracebacks shortened."""
    kept = []
    for output in cell.outputs:
        output = nbformat.from_dict(output)
        if output.output_type == "stream":
            if output.name == "stderr":
                for noise in NOISE:
                    output.text = noise.sub("", output.text)
            if not output.text:
                continue
            last = kept[-1] if kept else None
            if last and last.output_type == "stream" and last.name == output.name:
                last.text += output.text
                continue
        elif output.output_type == "error":
            # A traceback quotes paths and colors; its last line is what the reader needs.
            output.traceback = [f"{output.ename}: {output.evalue}"]
        else:
            output.data.pop(WIDGET_VIEW, None)
            output.metadata = {
                mime: value
                for mime, value in output.metadata.items()
                if mime in output.data and value
            }
            if not output.data:
                continue
        if output.output_type == "execute_result":
            output.execution_count = cell.execution_count
        kept.append(output)
    return kept


# Checking


def problems(path: Path) -> list[str]:
    """What is wrong with a stored notebook, one sentence each; empty when it may be committed."""
    text = path.read_text(encoding="utf-8")
    found = []
    if len(text.encode()) > NOTEBOOK_BYTES:
        found.append(
            f"it has {len(text.encode()):,} bytes, expected at most {NOTEBOOK_BYTES:,}: "
            "store smaller or fewer pictures"
        )
    normal = normalize(text, path.stem)
    if normal != text:
        line = _difference(text, normal)
        found.append(
            f"it is not normalized (first difference in line {line}): make refresh "
            f"NB=notebooks/{path.name}, or python -m tests.tools.notebooks normalize"
        )
    for cell in nbformat.reads(text, as_version=4).cells:
        if cell.cell_type == "code":
            found += [f"cell {cell.get('id', '?')}: {problem}" for problem in _cell_problems(cell)]
    return found


def _difference(text, normal):
    """Number of the first line in which two texts differ."""
    pairs = zip(text.split("\n"), normal.split("\n"))
    return next((n for n, (a, b) in enumerate(pairs, 1) if a != b), "last")


def _cell_problems(cell):
    """What is wrong with one code cell's stored outputs."""
    tags = cell.metadata.get("tags", [])
    if cell.source.strip() and cell.execution_count is None:
        yield "it was never run: make refresh"
    for output in cell.outputs:
        if output.output_type == "error" and "raises-exception" not in tags:
            yield f"it stores an error, {output.ename}: {output.evalue}"
        for mime, value in _parts(output):
            if mime.startswith("image/") and mime != "image/svg+xml":
                size = len(base64.b64decode(value))
                if size > IMAGE_BYTES:
                    yield f"its {mime} has {size:,} bytes, expected at most {IMAGE_BYTES:,}"
                continue
            for leak, what in LEAKS:
                match = leak.search(value)
                if match:
                    yield f"its {mime} shows {what}: {match.group()}"


def _parts(output):
    """(mime type, text) of everything an output stores as text."""
    if output.output_type == "stream":
        return [(output.name, output.text)]
    if output.output_type == "error":
        return [("error", f"{output.evalue} {' '.join(output.traceback)}")]
    return [(mime, value) for mime, value in output.data.items() if isinstance(value, str)]


# A row of cnnlab.course.results: its claim in words, tick or cross, and the numbers between marks.
_NUMBER = r"-?[\d,]+(?:\.\d+)?(?:e[-+]\d+)?|-?inf|nan"
_ROW = re.compile(
    rf"(on average |each )?(?:above ({_NUMBER}))?(?: and )?(?:below ({_NUMBER}))?"
    rf"\u00a0([\u2713\u2717]) +\u2039({_NUMBER})(?: \(({_NUMBER}) to ({_NUMBER})\))?"
)


def claimed(line: str) -> bool | None:
    """Whether a stored row's numbers keep its claim, and say so; None where nothing is claimed."""
    row = _ROW.search(line)
    if row is None:
        return None
    who, above, below, tick, mean, low, high = row.groups()
    above, below, mean, low, high = (
        default if text is None else float(text.replace(",", ""))
        for text, default in (
            (above, -math.inf),
            (below, math.inf),
            (mean, None),
            (low, None),
            (high, None),
        )
    )
    if low is not None:  # a mean lies in its range, up to the rounding of three digits
        slack = 0.01 * max(abs(low), abs(high))
        if not low - slack <= mean <= high + slack:
            return False
    if low is None or (who or "").startswith("on average"):
        low = high = mean
    return tick == "\u2713" and above < low and high < below


# Running


def execute(
    path: Path,
    change: Callable[[nbformat.NotebookNode], None] = lambda notebook: None,
    progress: str = "",
) -> nbformat.NotebookNode:
    """Run a notebook in a copy of its folder; return it with fresh outputs, not yet normalized.

    `change` may change its cells before; `progress` is the folder of the learner's progress, if it
    is not the one beside the notebook.
    """
    # After the environment is set: the kernel found must be this Python's.
    os.environ["JUPYTER_PREFER_ENV_PATH"] = "1"
    from nbclient import NotebookClient

    notebook = nbformat.read(path, as_version=4)
    notebook.metadata = nbformat.from_dict(METADATA)
    change(notebook)
    with tempfile.TemporaryDirectory(prefix="cnnlab-refresh-") as temporary:
        folder = Path(temporary) / "notebooks"
        shutil.copytree(
            path.parent, folder, ignore=shutil.ignore_patterns(".ipynb_checkpoints", "my-progress")
        )
        environment = dict(os.environ, CNNLAB_SCALE="quick", CNNLAB_PROGRESS=progress)
        environment["LOGNAME"] = "learner"  # a stored page names nobody
        client = NotebookClient(
            notebook,
            timeout=CELL_SECONDS,
            kernel_name="python3",
            resources={"metadata": {"path": str(folder)}},
        )
        client.execute(env=environment)
    return notebook


def refresh(path: Path) -> str:
    """Run and normalize one notebook in place; return a line saying how it went."""
    began = time.monotonic()
    text = normalize(nbformat.writes(execute(path)), path.stem)
    changed = write(path, text)
    return (
        f"{path.name}: {time.monotonic() - began:.1f} s, "
        f"{'changed, read its diff' if changed else 'unchanged'}"
    )


def write(path: Path, text: str) -> bool:
    """Replace the file in one step if it differs; return whether it did."""
    if path.read_text(encoding="utf-8") == text:
        return False
    write_whole(path, text.encode())
    return True


def compared(paths) -> tuple[int, int]:
    """(compared, printing): code cells with a stored output, and those of them nbval compares."""
    printing = [
        cell
        for path in paths
        for cell in nbformat.read(path, as_version=4).cells
        if cell.cell_type == "code" and cell.outputs
    ]
    ignored = ("nbval-ignore-output", "nbval-skip")
    strict = [
        cell
        for cell in printing
        if not any(tag in ignored for tag in cell.metadata.get("tags", []))
    ]
    return len(strict), len(printing)


def main(arguments=None) -> int:
    """Command line; 0 when all is well, 1 otherwise."""
    parser = argparse.ArgumentParser(
        prog="python -m tests.tools.notebooks", description=__doc__.split("\n")[0]
    )
    parser.add_argument("command", choices=("refresh", "normalize", "check"))
    parser.add_argument("notebooks", nargs="*", help="default: every notebook of the course")
    chosen = parser.parse_args(arguments)
    status = 0
    paths = notebooks(chosen.notebooks)
    if not paths:
        print("no notebooks found in notebooks/", file=sys.stderr)
        return 1
    for path in paths:
        try:
            if chosen.command == "refresh":
                print(refresh(path), flush=True)
            elif chosen.command == "normalize":
                text = normalize(path.read_text(encoding="utf-8"), path.stem)
                print(f"{path.name}: {'changed' if write(path, text) else 'unchanged'}")
            bad = problems(path)
        except Exception as error:  # whatever one notebook does, the others are treated too
            bad = [f"{type(error).__name__}: {error}"]
        for problem in bad:
            print(f"{path.name}: {problem}", file=sys.stderr)
        status |= bool(bad)
    if chosen.command == "check" and not status:
        print(f"{len(paths)} notebooks are normalized")
    return status


if __name__ == "__main__":
    raise SystemExit(main())
