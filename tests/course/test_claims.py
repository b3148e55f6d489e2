"""Each of the 133 claims of the five study posts has a cell that answers it, or is an opinion."""

from __future__ import annotations

from pathlib import Path

import nbformat

from tests.tools.notebooks import notebooks

TABLE = Path(__file__).with_name("claims.tsv")
OPINION = "opinion"  # in place of a cell: what nobody can test


def rows() -> list[tuple[int, str, str, str]]:
    """(number of the claim, chapter, id of the cell, what it says)."""
    lines = TABLE.read_text(encoding="utf-8").splitlines()
    return [(int(n), *rest) for n, *rest in (line.split("\t") for line in lines)]


def test_every_claim_has_its_answer():
    assert sorted({number for number, _, _, _ in rows()}) == list(range(1, 134))
    assert sum(cell == OPINION for _, _, cell, _ in rows()) <= 6, "a short list"


def test_every_answering_cell_exists():
    cells = {path.name[:2]: nbformat.read(path, as_version=4).cells for path in notebooks()}
    ids = {chapter: {cell.id for cell in found} for chapter, found in cells.items()}
    gone = [row for row in rows() if row[2] != OPINION and row[2] not in ids.get(row[1], ())]
    assert gone == []
