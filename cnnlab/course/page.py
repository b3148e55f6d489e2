"""The script of a widget's page: what all pages share, then its own. Standard library only."""

from __future__ import annotations

from pathlib import Path

_SHARED = Path(__file__).with_name("page.js")


def script(own: Path) -> str:
    """The text of `page.js` and of a widget's own file, as one module."""
    return "\n".join(file.read_text(encoding="utf-8") for file in (_SHARED, own))
