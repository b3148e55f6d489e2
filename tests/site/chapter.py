"""A chapter's stored notebook as a page: text, folded code, stored outputs; what can be moved or
answered carries what the page's script needs. Nothing is run."""

from __future__ import annotations

import ast
import base64
import html
import json
import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import mistune
import nbformat
from pygments import highlight
from pygments.formatters import HtmlFormatter
from pygments.lexers import PythonLexer

from cnnlab.course.look import inline, unmarked
from cnnlab.course.prediction import Prediction
from cnnlab.course.quiz import Quiz
from cnnlab.course.quiz_widget import guess_view, quiz_view
from tests.site import live

OTHER = "In the notebook it shows what the cells above made; here, what comes with the course."
STOPS = "*Run the cell"  # a Markdown twin ends with what to do in JupyterLab
MATH = "\x02{}\x03"


@dataclass
class Page:
    """What becomes one file of the site."""

    name: str  # the file, without .html
    title: str
    body: str = ""
    heads: list[tuple[int, str, str]] = field(default_factory=list)  # level, id, HTML
    sections: list[dict[str, str]] = field(default_factory=list)  # for the search
    about: str = ""  # what stands under the title in lists


class Text(mistune.HTMLRenderer):
    """Markdown as the notebooks use it; headings have JupyterLab's ids, formulas wait in `math`."""

    def __init__(self, page: Page, math: list[tuple[str, bool]]):
        super().__init__(escape=False)
        self.page, self.math = page, math

    def heading(self, text: str, level: int, **_: object) -> str:
        name = plain(text).replace(" ", "-")
        self.page.heads.append((level, name, text))
        return f'<h{level} id="{html.escape(name)}">{text}</h{level}>\n'

    def link(self, text: str, url: str, title: str | None = None) -> str:
        return super().link(text, re.sub(r"^([\w.-]+)\.(ipynb|md)(?=#|$)", r"\1.html", url), title)

    def block_code(self, code: str, info: str | None = None) -> str:
        return colored(code) if info == "python" else f"<pre>{html.escape(code)}</pre>\n"

    def inline_math(self, text: str) -> str:
        return self._formula(text, False)

    def block_math(self, text: str) -> str:
        return f'<div class="formula">{self._formula(text, True)}</div>\n'

    def _formula(self, text: str, display: bool) -> str:
        self.math.append((text.strip(), display))
        return MATH.format(len(self.math) - 1)

    def table(self, text: str) -> str:
        return wide(f"<table>{text}</table>")

    def table_cell(self, text: str, align: str | None = None, head: bool = False) -> str:
        tag = "th" if head and text.strip() else "td"  # an empty head is none
        side = f' style="text-align:{align}"' if align else ""
        return f"<{tag}{side}>{text}</{tag}>\n"


def markdown(page: Page, math: list) -> mistune.Markdown:
    """A converter of Markdown to HTML, which notes the page's headings and formulas."""
    return mistune.create_markdown(renderer=Text(page, math), plugins=["table", "math"])


def wide(markup: str) -> str:
    """What may be wider than a phone: it scrolls by itself."""
    return f'<div class="wide">{markup}</div>\n'


def plain(markup: str) -> str:
    """HTML without its tags."""
    return html.unescape(re.sub(r"<[^>]*>", "", markup))


def headed(notebook: nbformat.NotebookNode) -> tuple[str, str]:
    """A chapter's title, and its one idea in Markdown; "" where it names none."""
    first = notebook.cells[0].source
    idea = re.search(r"\*\*The one idea\.\*\*\s*(.+)", first)
    return first.partition("\n")[0].lstrip("# "), idea.group(1) if idea else ""


def colored(code: str) -> str:
    """Python as HTML, with Pygments' classes."""
    return highlight(code, PythonLexer(), HtmlFormatter(cssclass="code", wrapcode=True))


def data(kind: str, content: object) -> str:
    """JSON for the page's script, in the element that it belongs to."""
    text = json.dumps(content, ensure_ascii=False).replace("</", "<\\/")
    return f'<script type="application/json" class="{kind}">{text}</script>'


class Chapter:
    """Makes the page of one notebook; `judged` holds the ids of the cells whose exercises a browser
    can judge."""

    def __init__(self, path: Path, number: str, quiz: Quiz, judged: list[str]):
        self.notebook = nbformat.read(path, as_version=4)
        self.path, self.number, self.quiz, self.judged = path, number, quiz, set(judged)
        self.guesses = dict(self._guesses())

    def page(self, math: list[tuple[str, bool]], pictures: Path) -> Page:
        """The page. Formulas are left as marks, and appended to `math`; PNGs go to `pictures`."""
        title, idea = headed(self.notebook)
        page = Page(self.path.stem, title)
        convert = markdown(page, math)
        blocks = []
        for cell in self.notebook.cells:
            if cell.cell_type == "markdown":
                source = re.sub(r"\]\(pictures/", "](notebooks/pictures/", cell.source)
                blocks.append(f'<div class="text" id="{cell.id}">{convert(source)}</div>')
                self._find(page, cell.id, blocks[-1])
            else:
                blocks.append(self._code(cell, convert, pictures))
        page.body = "\n".join(blocks)
        page.about = plain(convert(idea))
        return page

    def _find(self, page: Page, cell: str, markup: str) -> None:
        """Add a text to what is searched, under the heading that it stands under."""
        head = page.heads[-1] if page.heads else (1, cell, page.title)
        words = " ".join(re.sub("\x02\\d+\x03", "", plain(markup)).split())
        page.sections.append(
            {"page": page.name, "at": cell, "title": plain(head[2]), "text": words}
        )

    # Code and outputs

    def _code(self, cell: nbformat.NotebookNode, convert, pictures: Path) -> str:
        code = colored(cell.source)
        if "hide-input" in cell.metadata.get("tags", []):
            code = f'<details class="folded"><summary>Code of this cell</summary>{code}</details>'
        outputs = [
            self._output(cell, index, output, convert, pictures)
            for index, output in enumerate(cell.outputs)
        ]
        if asked(cell.source):
            outputs = [self._exercise(cell, "".join(outputs))]
        shown = f'<div class="out">{"".join(outputs)}</div>' if any(outputs) else ""
        return f'<div class="cell" id="{cell.id}">{code}{shown}</div>'

    def _output(self, cell, index, output, convert, pictures: Path) -> str:
        if output.output_type == "stream":
            return text_block(output.text)
        if output.output_type == "error":
            return text_block("\n".join(output.traceback))
        kinds = output.data
        if "image/svg+xml" in kinds:
            return self._explorer(cell, output)
        if "image/png" in kinds:
            return self._picture(cell, index, output, pictures)
        if "text/html" in kinds:
            return self._card(cell, output)
        if "text/markdown" in kinds:
            return self._asked(cell, output, convert)
        return text_block(kinds.get("text/plain", ""))

    def _picture(self, cell, index, output, pictures: Path) -> str:
        name = f"{cell.id}-{index}.png"
        (pictures / name).write_bytes(base64.b64decode(output.data["image/png"]))
        about = output.metadata.get("image/png", {})
        size = "".join(f' {key}="{about[key]}"' for key in ("width", "height") if key in about)
        alt = html.escape(about.get("alt", unmarked(output.data.get("text/plain", ""))))
        return f'<img class="picture" loading="lazy" src="pictures/{name}" alt="{alt}"{size}>'

    def _explorer(self, cell, output) -> str:
        shown = live.called(cell.source)
        explorer = live.explorer(f"{self.path.stem}/{cell.id}", shown)
        fixed, first = explorer.page(), explorer.shown()
        find = "".join(f"<li>{item}</li>" for item in fixed["find"])
        start = {**first, "svg": ""}  # it stands in the page already
        own = {"key": f"{self.path.stem}/{cell.id}", "call": shown, "page": fixed, "shown": start}
        note = "" if shown["kept"] else f'<p class="note">{OTHER}</p>'
        return (
            f'<div class="explorer"><div class="still"><p><b>{fixed["title"]}</b></p>'
            f'<div class="picture">{first["svg"]}</div>'
            + (f"<p><b>Things to find</b></p><ol>{find}</ol>" if find else "")
            + f"</div>{data('of-explorer', own)}{note}</div>"
        )

    def _card(self, cell, output) -> str:
        markup = output.data["text/html"]
        said = output.data.get("text/plain", "")
        for variable, guess in self.guesses.items():
            if f"{variable}.reveal(" in cell.source and said.startswith(guess["question"]):
                guess["measured"] = measured(said)
                return f'<div class="reveal" data-name="{guess["name"]}">{markup}</div>'
        if re.search(r"^lesson\.progress\(\)", cell.source, re.MULTILINE):
            return '<div class="progress">Your progress is kept in this browser.</div>'
        return wide(markup)

    def _asked(self, cell, output, convert) -> str:
        """A quiz or a prediction: its Markdown twin, which the script replaces."""
        twin = convert(output.data["text/markdown"].partition(STOPS)[0])
        if output.data.get("text/plain", "").startswith("Quiz"):
            return f'<div class="quiz">{twin}{data("of-quiz", quiz_data(self.quiz))}</div>'
        last = cell.source.strip().splitlines()[-1]
        if last not in self.guesses:
            return twin
        return f'<div class="guess" data-name="{self.guesses[last]["name"]}">{twin}</div>'

    def _guesses(self):
        """(variable, what the page needs) of each prediction, read from the notebook's code."""
        for cell in self.notebook.cells:
            if cell.cell_type != "code" or "lesson.predict(" not in cell.source:
                continue
            for node in ast.parse(cell.source).body:
                if not (isinstance(node, ast.Assign) and isinstance(node.value, ast.Call)):
                    continue
                if ast.unparse(node.value.func) != "lesson.predict":
                    continue
                names = ("name", "value", "question", "unit", "default")
                given = {n: ast.literal_eval(v) for n, v in zip(names, node.value.args)}
                given |= {k.arg: ast.literal_eval(k.value) for k in node.value.keywords}
                given = {"unit": "", "default": None} | given
                view = guess_view(Prediction(**given, record=lambda *_: None))
                yield node.targets[0].id, {**given, "page": dict(view.page), "measured": None}

    def _exercise(self, cell, outputs: str) -> str:
        if cell.id not in self.judged:
            return (
                f'{outputs}<p class="note elsewhere">This one needs PyTorch: do it in JupyterLab, '
                'in the course on your machine (<a href="index.html#Start">how to start</a>).</p>'
            )
        own = {"chapter": self.number, "source": cell.source, "names": asked(cell.source)}
        return f'<div class="exercise">{outputs}{data("of-exercise", own)}</div>'

    def about(self) -> str:
        """What the script needs once for the whole page."""
        guesses = {guess["name"]: guess for guess in self.guesses.values()}
        for guess in guesses.values():
            guess["shown"] = inline(guess["question"])
        return data("of-chapter", {"number": self.number, "guesses": guesses})


def asked(source: str) -> list[str]:
    """Names of the exercises that a cell checks."""
    return re.findall(r"\bex\.(\w+)\.check\(", source)


def text_block(text: str) -> str:
    """Plain output."""
    return f"<pre>{html.escape(unmarked(text))}</pre>" if text.strip() else ""


def measured(said: str) -> float | str | None:
    """The measurement that a stored reveal tells: a number, or a word."""
    found = re.search(r"; measured: (.+?)\.$", unmarked(said), re.MULTILINE)
    if found is None:
        return None
    number = re.match(r"-?[\d,]*\.?\d+(e[-+]?\d+)?(?=\s|$)", found.group(1))
    return float(number.group().replace(",", "")) if number else found.group(1)


def quiz_data(quiz: Quiz) -> dict[str, Any]:
    """Questions and every option's feedback, as the notebook's own page words them."""
    view = quiz_view(quiz.bound(lambda *_: None))
    count, feedback = len(quiz), []
    for place, question in enumerate(quiz.questions):
        told = []
        for index in range(len(question.options)):
            chosen = [index if n == place else None for n in range(count)]
            view.asked = {"n": place * 10 + index + 1, "chosen": chosen}
            told.append(view.shown["feedback"][place])
        feedback.append(told)
    right = [[option.right for option in q.options].index(True) for q in quiz.questions]
    return {"questions": list(view.questions), "feedback": feedback, "right": right}
