"""How long a chapter is for its reader: `python -m tests.tools.pages` prints a table.

The main path is everything before "For the curious". Minutes: 200 words a minute, one minute for
each code cell, the exercises' own minutes, three for the explorer and three for the quiz.
"""

from __future__ import annotations

import re
import statistics
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path

import nbformat

from tests.tools.notebooks import notebooks

CURIOUS = "## For the curious"
EXPLORER, QUIZ, WORDS_A_MINUTE = 3, 3, 200
CELLS, WORDS, LINES, MEDIAN, LONGEST, MINUTES = 45, 2200, 220, 7, 16, 60
# What a window of 800 pixels with a scroll bar shows of a line of code, in JupyterLab.
COLUMNS = 76
# A cell with one of these tags may be longer: its length is the point.
LONGER = {"loop-taken-apart": 40, "to-repair": 30}


@dataclass(frozen=True)
class Page:
    """The measures of a chapter's main path."""

    cells: int
    words: int
    lines: int
    median: float
    minutes: int
    too_long: tuple[str, ...]  # ids of code cells over their limit

    def problems(self) -> list[str]:
        """What is above its limit, one sentence each."""
        rows = (
            ("cells", self.cells, CELLS),
            ("words", self.words, WORDS),
            ("lines of code", self.lines, LINES),
            ("lines in the median code cell", self.median, MEDIAN),
            ("minutes", self.minutes, MINUTES),
        )
        found = [
            f"{value} {name}, expected at most {most}" for name, value, most in rows if value > most
        ]
        if self.too_long:
            found.append(f"code cells over {LONGEST} lines: {', '.join(self.too_long)}")
        return found


def wide_lines(path: Path) -> list[str]:
    """The lines of code of a whole page that a reader of a narrow window has to scroll."""
    found = []
    for cell in nbformat.read(path, as_version=4).cells:
        lines = cell.source.splitlines() if cell.cell_type == "code" else []
        if "hide-input" in cell.metadata.get("tags", []):  # folded: a line and three dots
            lines = [f"{lines[0]} • • •"]
        found += [f"{cell.id}: {line}" for line in lines if len(line) > COLUMNS]
    return found


def main_path(notebook: nbformat.NotebookNode) -> list[nbformat.NotebookNode]:
    """The cells before "For the curious"."""
    cells = list(notebook.cells)
    curious = [
        n
        for n, cell in enumerate(cells)
        if cell.cell_type == "markdown" and cell.source.startswith(CURIOUS)
    ]
    return cells[: curious[0]] if curious else cells


def measure(path: Path) -> Page:
    """The measures of a stored notebook; a collapsed cell's code is no reading matter."""
    cells = main_path(nbformat.read(path, as_version=4))
    code = [c for c in cells if c.cell_type == "code"]
    read = [c for c in code if "hide-input" not in c.metadata.get("tags", [])]
    lines = {c.id: sum(bool(line.strip()) for line in c.source.splitlines()) for c in read}
    limits = {
        c.id: max([LONGER.get(tag, LONGEST) for tag in c.metadata.get("tags", [])] or [LONGEST])
        for c in read
    }
    words = sum(len(prose(c.source).split()) for c in cells if c.cell_type == "markdown")
    module = import_module(f"cnnlab.course.exercises.ch{path.name[:2]}")
    asked = {name for c in code for name in re.findall(r"\bex\.(\w+)\.check\(", c.source)}
    exercises = sum(e.minutes for e in module.exercises if e.name in asked)
    return Page(
        cells=len(cells),
        words=words,
        lines=sum(lines.values()),
        median=statistics.median(lines.values()),
        minutes=round(words / WORDS_A_MINUTE + len(read) + exercises + EXPLORER + QUIZ),
        too_long=tuple(name for name, count in lines.items() if count > limits[name]),
    )


def prose(markdown: str) -> str:
    """A markdown cell without code blocks, tables, formulas and the targets of links."""
    text = re.sub(r"```.*?```|\$\$.*?\$\$|^\|[^\n]*$", "", markdown, flags=re.DOTALL | re.MULTILINE)
    return re.sub(r"\]\([^)]*\)", "]", text)


def main() -> int:
    """Print the table; 1 where a chapter is over a limit."""
    print(f"{'chapter':<28}{'cells':>6}{'words':>7}{'lines':>7}{'median':>8}{'minutes':>9}")
    status = 0
    for path in notebooks():
        page = measure(path)
        status |= bool(page.problems())
        print(
            f"{path.stem:<28}{page.cells:>6}{page.words:>7,}{page.lines:>7}{page.median:>8}"
            f"{page.minutes:>9}  {'; '.join(page.problems())}"
        )
    return status


if __name__ == "__main__":
    raise SystemExit(main())
