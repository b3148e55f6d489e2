"""States of the explorers, and their pictures' SHA-256 in CPython and in Pyodide (states.mjs)."""

from __future__ import annotations

import hashlib
import itertools
import json
import random
import re
import subprocess
from collections.abc import Iterator, Sequence
from math import prod
from pathlib import Path

from tests.site import live

Asked = tuple[str, str, str]  # what live.moved takes


def explorers(folder: Path) -> list[tuple[str, dict]]:
    """(file, what the page's script knows) of every explorer on a chapter's page."""
    pattern = r'class="of-explorer">(.*?)</script>'
    return [
        (file.name, json.loads(found))
        for file in sorted(folder.glob("[0-9]*.html"))
        for found in re.findall(pattern, file.read_text(encoding="utf-8"), re.DOTALL)
    ]


def states(controls: Sequence[dict], most: int) -> Iterator[Sequence[tuple[str, object]]]:
    """Every combination of the controls' values; of more than `most`, so many drawn at random."""
    values = [[(control["name"], value) for value in _values(control)] for control in controls]
    if prod(map(len, values)) <= most:
        yield from itertools.product(*values)
        return
    chance = random.Random(0)
    for _ in range(most):
        yield [chance.choice(steps) for steps in values]


def _values(control: dict) -> Sequence[object]:
    if control["kind"] == "toggle":
        return (False, True)
    if control["kind"] == "choice":
        return range(len(control["options"]))
    low, high, step = control["min"], control["max"], control["step"]
    return [round(low + n * step, 6) for n in range(round((high - low) / step) + 1)]


def asked(folder: Path, most: int) -> list[Asked]:
    """What to ask of every explorer: at most `most` states of each."""
    return [
        (
            own["key"],
            json.dumps(own["call"]),
            json.dumps({"n": 1, "steps": [["reset"], *(["set", *one] for one in chosen)]}),
        )
        for _, own in explorers(folder)
        for chosen in states(own["page"]["controls"], most)
    ]


def in_cpython(asked: Sequence[Asked]) -> list[str]:
    """The pictures' hashes here."""
    drawn = (json.loads(live.moved(*given))["svg"] for given in asked)
    return [hashlib.sha256(svg.encode()).hexdigest() for svg in drawn]


def in_pyodide(folder: Path, asked: Sequence[Asked]) -> list[str]:
    """The pictures' hashes in Node.js, by the site's own Pyodide and zip."""
    command = ["node", Path(__file__).with_name("states.mjs"), (folder / "assets").resolve()]
    done = subprocess.run(command, input=json.dumps(asked), capture_output=True, text=True)
    if done.returncode:
        raise RuntimeError(done.stderr[-2000:])  # above it stands all of Pyodide
    return json.loads(done.stdout)
