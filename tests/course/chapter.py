"""What the tests of all chapters share: an exercise, a stored notebook, the words of a picture."""

from __future__ import annotations

import re
from html import unescape
from importlib import import_module
from pathlib import Path

import nbformat

from cnnlab.course.exercises.exercise import Exercise

NOTEBOOKS = Path(__file__).parents[2] / "notebooks"


def exercise(name: str) -> Exercise:
    """An exercise by chapter and name: "07.copying"."""
    chapter, name = name.split(".")
    return getattr(import_module(f"cnnlab.course.exercises.ch{chapter}").exercises, name)


def stored_cells(chapter: str) -> dict:
    """The cells of a chapter's notebook by id, in order."""
    (path,) = NOTEBOOKS.glob(f"{chapter}-*.ipynb")
    return {cell.id: cell for cell in nbformat.read(path, as_version=4).cells}


def printed(cell) -> str:
    """What a cell printed or put on the page when it was stored, with single blanks."""
    shown = (
        output.get("text") or output.get("data", {}).get("text/plain", "")
        for output in cell.get("outputs", [])
    )
    return " ".join("\n".join(shown).split())


def texts(svg: str) -> list[str]:
    """The words in a picture, in drawing order."""
    return [unescape(text) for text in re.findall(r"<text[^>]*>([^<]*)</text>", svg)]
