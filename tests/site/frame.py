"""What stands around every page: head, menu, contents, links to its neighbors."""

from __future__ import annotations

import html
from collections.abc import Sequence

from tests.site.chapter import Page

THEME = (
    "try { const kept = localStorage.getItem('cnnlab-theme');"
    " if (kept) document.documentElement.dataset.theme = kept; } catch {}"
)
PAGES = (("teachers", "For teachers"), ("models", "Models"), ("glossary", "Glossary"))


def framed(page: Page, chapters: Sequence[Page], tools: str = "") -> str:
    """The whole file; `tools` are links under the title."""
    names = [chapter.name for chapter in chapters]
    place = names.index(page.name) if page.name in names else None
    links = "".join(
        f'<li><a href="{chapter.name}.html" data-chapter="{chapter.title[:2]}"'
        f"{_current(chapter, page)}>{html.escape(chapter.title)}</a></li>"
        for chapter in chapters
    )
    others = "".join(
        f'<a href="{name}.html"{_current(name, page)}>{title}</a>' for name, title in PAGES
    )
    title = "cnnlab" if page.name == "index" else f"{page.title} - cnnlab"
    body = page.body.replace("</h1>", f"</h1>\n{tools}", 1) if tools else page.body
    return f"""<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{html.escape(title)}</title>
<meta name="description" content="{html.escape(page.about)}">
<link rel="icon" href="data:,">
<script>{THEME}</script>
<link rel="stylesheet" href="assets/site.css">
<script defer src="assets/site.js"></script>
</head>
<body>
<a class="skip" href="#main">Skip to the text</a>
<header>
<a class="home" href="index.html">cnnlab</a>
<span class="pages">{others}</span>
<form class="search" role="search"><input id="search" type="search" placeholder="Search"
 aria-label="Search all chapters" autocomplete="off"><ol id="found" hidden></ol></form>
<button id="theme" type="button">Light or dark</button>
</header>
<div class="frame">
<nav class="chapters" aria-label="Chapters"><ul>{links}</ul></nav>
<main id="main">
<details class="menu"><summary>All chapters</summary><ul>{links}</ul></details>
<noscript><p class="note">Without JavaScript this page can be read as it is. What moves, answers or
searches needs it.</p></noscript>
{body}
{_turn(chapters, place)}
</main>
<nav class="here" aria-label="On this page">{_contents(page)}</nav>
</div>
<footer>Code: MIT. Text and pictures: CC BY 4.0. Nothing leaves your browser.</footer>
</body>
</html>
"""


def _current(one: Page | str, page: Page) -> str:
    return ' aria-current="page"' if getattr(one, "name", one) == page.name else ""


def _contents(page: Page) -> str:
    heads = [(name, text) for level, name, text in page.heads if level == 2]
    if not heads:
        return ""
    lines = "".join(f'<li><a href="#{html.escape(name)}">{text}</a></li>' for name, text in heads)
    return f"<p>On this page</p><ul>{lines}</ul>"


def _turn(chapters: Sequence[Page], place: int | None) -> str:
    if place is None:
        return ""
    before = chapters[place - 1] if place else None
    after = chapters[place + 1] if place + 1 < len(chapters) else None
    return (
        '<p class="turn">'
        + (f'<a href="{before.name}.html" rel="prev">← {before.title}</a>' if before else "")
        + (f'<a href="{after.name}.html" rel="next">{after.title} →</a>' if after else "")
        + "</p>"
    )
