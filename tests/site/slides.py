"""`make slides`: a file of slides for each chapter, into build/slides, from its own headings,
pictures and questions; one idea a slide. Arrow keys turn them; printed, each is a page.

    python -m tests.site.slides
"""

from __future__ import annotations

import html
import re
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path

import nbformat

from cnnlab.course.chapters import CHAPTERS
from cnnlab.course.explorers.widget import MOVE
from cnnlab.course.look import inline
from cnnlab.course.quiz import Quiz
from tests.site.chapter import MATH, Page, headed, markdown, plain

ROOT = Path(__file__).resolve().parents[2]
LAST = ("Quiz", "For the curious", "What to keep")
SKIPPED = ("Exercises", "One more exercise", "Myths")
STORED = re.compile(f"<text[^>]*>{re.escape(MOVE)}</text>")  # says how it moves in JupyterLab
STYLE = """
html { scroll-snap-type: y mandatory; }
body { margin: 0; font: 3.2vmin/1.45 system-ui, "DejaVu Sans", sans-serif; color: #1f2933;
  background: #fdfcf9; counter-reset: slide; }
section { height: 100vh; box-sizing: border-box; padding: 6vmin 8vmin; display: flex;
  flex-direction: column; justify-content: center; gap: 2vmin; scroll-snap-align: start;
  break-after: page; position: relative; counter-increment: slide; }
section::after { content: counter(slide); position: absolute; right: 3vmin; bottom: 2vmin;
  font-size: 0.7em; color: #55606b; }
h1, h2, p, ol { margin: 0; }
h1 { font-size: 2em; } h2 { font-size: 1.5em; }
img, svg { flex: 1; min-height: 0; width: 100%; object-fit: contain; }
details { color: #00694c; } summary { cursor: pointer; }
"""
TURN = """
const slides = [...document.querySelectorAll("section")];
addEventListener("keydown", event => {
  const step = { ArrowRight: 1, PageDown: 1, " ": 1, ArrowLeft: -1, PageUp: -1 }[event.key];
  if (!step || (event.key === " " && event.target.closest("summary"))) return;
  event.preventDefault();
  slides[Math.round(scrollY / innerHeight) + step]?.scrollIntoView();
});
"""


def slides(notebook: nbformat.NotebookNode, quiz: Quiz) -> Iterator[str]:
    """The slides of a chapter, each as HTML: its title and idea; a slide for each heading with the
    first sentence below it, for each picture, for each prediction and for each question."""
    title, idea = headed(notebook)
    yield f"<h1>{html.escape(title)}</h1>{text(idea)}"
    heading = title
    for cell in notebook.cells[1:]:
        if cell.cell_type == "markdown":
            found = re.findall(r"^## (.+)\n+([^\n#|*-].*)?", cell.source, re.MULTILINE)
            if any(name.startswith(LAST) for name, _ in found):
                break
            for heading, paragraph in found:
                sentence = re.split(r"(?<=[.!?]) ", paragraph, maxsplit=1)[0]
                if sentence[-1:] in tuple(".!?") and not heading.startswith(SKIPPED):
                    yield f"<h2>{plain(text(heading))}</h2>{text(sentence)}"
            continue
        for output in cell.outputs:
            shown = output.get("data", {})
            if "image/svg+xml" in shown:
                yield f"<h2>{plain(text(heading))}</h2>{STORED.sub('', shown['image/svg+xml'])}"
            elif "image/png" in shown:
                alt = output.metadata.get("image/png", {}).get("alt", "")
                source = f"data:image/png;base64,{shown['image/png'].strip()}"
                said = alt.partition(". ")[2] or alt  # its title stands in the picture
                yield f'<img src="{source}" alt="{html.escape(alt)}"><p>{html.escape(said)}</p>'
            elif "Run the cell to type your guess" in shown.get("text/markdown", ""):
                question = shown["text/markdown"].partition("\n")[0]
                yield f"<h2>Write it down first</h2>{text(question)}"
    for number, question in enumerate(quiz.questions, 1):
        options = "".join(f"<li>{inline(option.text)}</li>" for option in question.options)
        right = next(option for option in question.options if option.right)
        yield (
            f"<h2>{number}. {inline(question.text)}</h2><ol type='a'>{options}</ol><details>"
            f"<summary>Answer</summary>{inline(right.text)}. {inline(right.feedback)}</details>"
        )


def text(source: str) -> str:
    """Markdown as HTML; a formula as it is typed."""
    math: list[tuple[str, bool]] = []
    made = markdown(Page("", ""), math)(source)
    for number, (formula, _) in enumerate(math):
        made = made.replace(MATH.format(number), f"<code>{html.escape(formula)}</code>")
    return re.sub(r'<a href="(?!http)[^"]*">(.*?)</a>', r"\1", made)


def file(title: str, shown: Iterator[str]) -> str:
    """The whole file of slides, which needs no other."""
    sections = "\n".join(f"<section>{slide}</section>" for slide in shown)
    return (
        f'<!doctype html><html lang="en"><head><meta charset="utf-8"><title>{html.escape(title)}'
        f"</title><style>{STYLE}</style></head><body>\n{sections}\n<script>{TURN}</script></body>"
        "</html>\n"
    )


def main() -> None:
    folder = ROOT / "build/slides"
    folder.mkdir(parents=True, exist_ok=True)
    for chapter in CHAPTERS:
        notebook = nbformat.read(ROOT / "notebooks" / chapter.notebook, as_version=4)
        quiz = import_module(f"cnnlab.course.exercises.ch{chapter.number}_quiz").quiz
        made = file(f"{chapter.number} {chapter.title}", slides(notebook, quiz))
        target = (folder / chapter.notebook).with_suffix(".html")
        target.write_text(made, encoding="utf-8")
        print(f"{target}: {made.count('<section>')} slides, {len(made) / 1e6:.1f} MB")


if __name__ == "__main__":
    main()
