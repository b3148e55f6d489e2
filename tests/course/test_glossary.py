"""Every word of the glossary stands in the chapter that it names; every chapter leads there."""

from __future__ import annotations

import re

import nbformat

from tests.tools.notebooks import notebooks

CHAPTERS = {path.name: path for path in notebooks()}
GLOSSARY = next(iter(CHAPTERS.values())).with_name("glossary.md")


def prose(path) -> str:
    cells = nbformat.read(path, as_version=4).cells
    return "\n".join(cell.source for cell in cells if cell.cell_type == "markdown")


def entries() -> list[tuple[str, str, str]]:
    """(word, sentence, file name of its chapter)."""
    pattern = r"^#### (.+)\n\n(.+?) \[Chapter (\d\d)\]\((\3-[\w-]+\.ipynb)\)$"
    found = re.findall(pattern, GLOSSARY.read_text(encoding="utf-8"), re.MULTILINE)
    return [(word, sentence, file) for word, sentence, _, file in found]


def test_the_words_are_in_order_and_none_is_skipped():
    words = [word for word, _, _ in entries()]
    assert len(words) == GLOSSARY.read_text(encoding="utf-8").count("####") > 40
    assert words == sorted(words, key=str.lower)
    assert len(set(words)) == len(words)


def test_each_word_stands_in_the_chapter_that_it_names():
    texts = {name: prose(path).lower() for name, path in CHAPTERS.items()}
    missing = [(word, file) for word, _, file in entries() if word.lower() not in texts[file]]
    assert missing == []


def test_every_chapter_leads_to_the_glossary():
    assert [name for name, path in CHAPTERS.items() if "](glossary.md)" not in prose(path)] == []
