"""What was measured, one JSON file for each recipe in records/, and a table made of them.

A record: model, data, recipe (options of `train`), epochs, runs (one for each seed: val and test
accuracy, seconds, cpu_seconds), machine, threads, versions, date, commit. The test images were
looked at once per run, after the recipe had been chosen on the validation images.
"""

from __future__ import annotations

import json
from pathlib import Path
from statistics import mean

from cnnlab._tools import counted

FOLDER = Path(__file__).with_name("records")
HEAD = ("model", "data", "epochs", "test", "validation", "seeds", "CPU minutes a run", "measured")
BEGIN, END = "<!-- records: made by `python -m cnnlab records` -->", "<!-- end of records -->"


def records(folder: Path = FOLDER) -> list[dict]:
    """All records, by data set and model."""
    found = [json.loads(path.read_text(encoding="utf-8")) for path in folder.glob("*.json")]
    return sorted(found, key=lambda r: (r["data"], _built(r), r["recipe"]["epochs"]))


def table(found: list[dict]) -> str:
    """A Markdown table, of several seeds mean and range, and a line that names the machines."""
    places = list(dict.fromkeys(map(_place, found)))
    rows = [HEAD, ["---"] * len(HEAD)]
    for record in found:
        runs = record["runs"]
        # None where a run was stopped and went on.
        counted_seconds = [run["cpu_seconds"] for run in runs if run["cpu_seconds"] is not None]
        rows.append(
            (
                _built(record),
                record["data"],
                str(record["recipe"]["epochs"]),
                _share([run["test_accuracy"] for run in runs]),
                _share([run["val_accuracy"] for run in runs]),
                str(len(runs)),
                f"{mean(counted_seconds) / 60:.1f}" if counted_seconds else "not counted",
                _whole(record["date"])
                + f" ({places.index(_place(record)) + 1})" * (len(places) > 1),
            )
        )
    names = [f"({n}) {name}" for n, name in enumerate(places, 1)] if len(places) > 1 else places
    lines = [f"| {' | '.join(row)} |" for row in rows]
    return "\n".join([*lines, "", f"Measured on: {'; '.join(names)}."])


def into(text: str, found: list[dict]) -> str:
    """A document with the table between its two marks. Raises ValueError if they are not there."""
    if BEGIN not in text or END not in text.split(BEGIN)[1]:
        raise ValueError(f"no place for the table; expected a line {BEGIN} and below it {END}")
    before, after = text.split(BEGIN)
    return f"{before}{BEGIN}\n\n{table(found)}\n\n{END}{after.split(END, 1)[1]}"


def _place(record: dict) -> str:
    """Where it was measured: "a processor, 1 thread"."""
    return f"{record['machine']}, {counted(record['threads'], 'thread')}"


def _whole(date: str) -> str:
    """With hyphens at which no narrow column breaks the line."""
    return date.replace("-", "\N{NON-BREAKING HYPHEN}")


def _built(record: dict) -> str:
    """The model and what it was built with: "`resnet20`, skip=False"."""
    options = (f", {name}={value}" for name, value in record["build"].items())
    return f"`{record['model']}`{''.join(options)}"


def _share(values: list[float]) -> str:
    spread = f" ({min(values):.2%} to {max(values):.2%})" if len(values) > 1 else ""
    return f"{mean(values):.2%}{spread}"
