"""Physical lines of each room, beside their goals: what `make check` prints.

python -m tests.tools.sizes
"""

from __future__ import annotations

from pathlib import Path

PACKAGE = Path(__file__).resolve().parents[2] / "cnnlab"
SCIENCE = ("arithmetic", "_tools", "_torchvision", "models", "probes", "trace", "data", "training")
APART = ("course/explorers", "course/exercises")
OUTSIDE_LINES = 8_000  # everything that is not in APART
TRACE_LINES = 2_200


def lines(path: Path) -> int:
    """Physical lines of one file."""
    return len(path.read_text(encoding="utf-8").splitlines())


def room(path: Path) -> str:
    """The row of the table that a Python file of the package is counted in."""
    parts = path.relative_to(PACKAGE).with_suffix("").parts
    two = "/".join(parts[:2])
    if two in APART:
        return two
    return parts[0] if parts[0] in SCIENCE else "course and command"


def table() -> list[str]:
    """The sizes as lines of text: a row per room, then the sums that have a goal."""
    sizes = dict.fromkeys((*SCIENCE, "course and command", *APART), 0)
    for path in PACKAGE.rglob("*.py"):
        sizes[room(path)] += lines(path)
    web = sum(lines(path) for end in ("js", "css") for path in PACKAGE.rglob(f"*.{end}"))
    outside = sum(size for name, size in sizes.items() if name not in APART)
    rows = [f"  {name:<22}{size:>7,}" for name, size in sizes.items()]
    return [
        "Physical lines of Python",
        *rows,
        f"  {'all':<22}{sum(sizes.values()):>7,}    and {web:,} of JavaScript and CSS",
        _goal("outside " + " and ".join(APART), outside, OUTSIDE_LINES),
        _goal("trace", sizes["trace"], TRACE_LINES),
    ]


def _goal(name: str, size: int, goal: int) -> str:
    over = f", {size - goal:,} over" if size > goal else ""
    return f"{name}: {size:,}, the goal is at most {goal:,}{over}"


if __name__ == "__main__":
    print("\n".join(table()))
