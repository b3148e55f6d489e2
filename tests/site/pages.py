"""The pages beside the chapters: the landing page, for teachers, the glossary, the models."""

from __future__ import annotations

import html
import re
from collections.abc import Iterable, Sequence
from importlib import import_module
from pathlib import Path

import torch

from cnnlab.arithmetic import count_text
from cnnlab.course.pictures.diagram import diagram
from cnnlab.models import MODELS, build, image_shape
from cnnlab.trace import trace
from tests.site.chapter import Chapter, Page, markdown, plain, wide
from tests.tools.pages import measure

ROOT = Path(__file__).resolve().parents[2]
README, GLOSSARY = ROOT / "README.md", ROOT / "notebooks/glossary.md"
FILES = sorted(p for p in (ROOT / "cnnlab/models").glob("*.py") if p.stem != "catalog")
WINDOWS = "for Windows see the README"
ONE_DAY = ("00", "01", "02", "05", "08", "10")  # of the chapters, those for one day
FACTS = ("parameters", "MACs", "image", "receptive field", "chapters")  # of a network
SESSION = 45  # minutes in class; what a chapter takes beyond is homework


def table(head: Iterable[str], rows: Iterable[Iterable[str]]) -> str:
    """A table of HTML cells; columns of numbers are flush right."""
    rows = [list(row) for row in rows]
    right = [
        ' class="number"' if all(re.fullmatch(r"[\d,]+", cell) for cell in column) else ""
        for column in zip(*rows)
    ]
    lines = [
        f"<tr>{''.join(f'<{tag}{side}>{cell}</{tag}>' for side, cell in zip(right, row))}</tr>"
        for tag, row in (("th", head), *(("td", row) for row in rows))
    ]
    return wide(f"<table>{''.join(lines)}</table>")


def link(page: Page, at: str = "") -> str:
    """A link to a page, with its title."""
    return f'<a href="{page.name}.html{at and "#" + at}">{html.escape(page.title)}</a>'


def written(name: str, title: str, source: str) -> Page:
    """A page of Markdown."""
    page = Page(name, title)
    page.body = f'<div class="text plain">{markdown(page, [])(source)}</div>'
    return page


def landing(chapters: Sequence[Page], makers: Sequence[Chapter], repo: str = "") -> Page:
    """README's promise in one screen, an explorer, and the list of chapters; `repo` is owner/name
    on GitHub, where the course can be had."""
    readme = README.read_text(encoding="utf-8")
    promise = readme.split("\n\n")[1]
    whom = re.search(r"\*\*For whom:\*\*(.+?)\n\*\*", readme, re.DOTALL).group(1)
    needs = re.search(r"\nYou need Python.+?\n\n", readme, re.DOTALL).group()
    needs = needs.strip().partition(" Only want")[0].replace("for Windows see below", WINDOWS)
    shown = re.search(
        r'<div class="explorer">.*?</script>(<p class="note">.*?</p>)?</div>',
        chapters[0].body,
        re.DOTALL,
    )
    clone = f"git clone https://github.com/{repo}\ncd {repo.partition('/')[2]}\n" if repo else ""
    page = Page("index", "cnnlab", about=promise)
    convert = markdown(page, [])
    chosen = "".join(
        f"<li><b>{link(chapter)}</b>, {measure(maker.path).minutes} min<br>{chapter.about}</li>"
        for chapter, maker in zip(chapters, makers)
    )
    explorer = re.sub(r'<p class="note">.*?</p>', "", shown.group()) if shown else ""
    page.body = f"""<h1>cnnlab</h1>
<p class="promise">{html.escape(promise)}</p>
<p><a class="start" href="{chapters[0].name}.html">Begin with chapter 00</a></p>
<h2 id="move">Move it</h2>
{explorer}
<div class="text">{
        convert(f'''## Chapters

**For whom:**{whom}''')
    }</div>
<ol class="list">{chosen}</ol>
<div class="text">{
        convert(f'''## Start

Here you can read, move what moves, answer, and solve the exercises that need no PyTorch. To run
and change everything, take the course to your machine:

```
{clone}make lab     # opens the course in JupyterLab
make test    # checks that all of it works on your machine
```

{needs}

## Your progress
''')
    }</div>
<div class="progress">It is kept in your browser, and needs JavaScript.</div>"""
    return page


def teachers(chapters: Sequence[Page], makers: Sequence[Chapter]) -> Page:
    """Outcomes, minutes and exercises of each chapter; plans for a term and for a day."""
    rows, weeks, day = [], [], []
    for week, (chapter, maker) in enumerate(zip(chapters, makers), 1):
        first = maker.notebook.cells[0].source
        outcome = re.search(r"\*\*You will be able to\*\*\s*(.+)", first)
        convert = markdown(Page("", ""), [])
        minutes = measure(maker.path).minutes
        exercises = list(import_module(f"cnnlab.course.exercises.ch{maker.number}").exercises)
        listed = "<br>".join(
            f'<span class="line">{html.escape(e.name)}: {e.level}, {e.minutes} min</span>'
            for e in exercises
        )
        able = convert(outcome.group(1)) if outcome else ""
        rows.append((link(chapter), able, str(minutes), listed))
        home = max(0, minutes - SESSION)
        weeks.append((str(week), link(chapter), f"{SESSION} min", f"{home} min of exercises"))
        if maker.number in ONE_DAY:
            begins = 9 * 60 + 75 * len(day) + (45 if len(day) >= 3 else 0)
            at = f"{begins // 60}:{begins % 60:02}"
            day.append((at, link(chapter), "60 min, then 15 min of rest"))
    page = written(
        "teachers",
        "For teachers",
        """# For teachers

Everything runs offline on students' laptops, with fixed seeds; a page of this site needs a browser
only. Let everybody write down the prediction before the measurement is looked at: disagreement is
the best start.

## Chapters, outcomes, minutes

@rows@

Minutes are computed: words, cells and exercises.

## One term, a chapter a week

@weeks@

## One day

Each chapter's main path, without its exercises for home; lunch after the third.

@day@

## Results of a class

Students hand in `report.json` (`python -m cnnlab report` writes it) or, from this site, the file
that *Save as a file* gives. Put them into one folder:

```
python -m cnnlab report --class FOLDER --out class.csv
```

gives a row for each learner: exercises per chapter, quiz points, predictions.

## Solutions

`CNNLAB_SOLUTIONS=hide`, set where JupyterLab is started, hides the solutions there. This site shows
them: who can read the page's source could read them anyway.

## Slides

`make slides` makes a file of slides of each chapter, from its own pictures and questions.
""",
    )
    page.about = "Outcomes, minutes, plans for a term and for a day, results of a class."
    for mark, head, lines in (
        ("rows", ("chapter", "students will be able to", "minutes", "exercises"), rows),
        ("weeks", ("week", "chapter", "in class", "at home"), weeks),
        ("day", ("from", "chapter", "time"), day),
    ):
        page.body = page.body.replace(f"<p>@{mark}@</p>", table(head, lines))
    return page


def glossary() -> Page:
    """The course's glossary, with its words as contents."""
    source = GLOSSARY.read_text(encoding="utf-8")
    page = written("glossary", "Glossary", source.replace("\n#### ", "\n## "))
    page.about = source.split("\n\n")[1]
    page.body = f'<div class="glossary">{page.body}</div>'
    page.sections = [
        {
            "page": page.name,
            "at": plain(word).replace(" ", "-"),
            "title": f"Glossary: {word}",
            "text": re.sub(r"\[|\]\(.*?\)", "", sentence),
        }
        for word, sentence in re.findall(r"^#### (.+)\n\n(.+)$", source, re.MULTILINE)
    ]
    return page


def models(names: Iterable[str], makers: Sequence[Chapter]) -> list[Page]:
    """The list of the networks, and a page of each with its table and diagram."""
    rows, pages = [], []
    for name in names:
        shape = image_shape(name)
        with torch.device("meta"):  # shapes suffice
            layers = trace(build(name), shape)
        where = mentions(name, makers)
        source = paper(name)
        size = "x".join(map(str, shape))
        field = layers.output.receptive_field
        sees = "all of it" if field is None else " x ".join(map(str, dict.fromkeys(field)))
        page = Page(f"model-{name}", name, about=source)
        chapters = ", ".join(f'<a href="{m.path.stem}.html">{m.number}</a>' for m in where) or "-"
        facts = (count_text(layers.params), count_text(layers.macs), size, sees, chapters)
        drawn = diagram(layers, title=name, alt=f"{name} from input to output.", depth=1).svg
        listed = layers._repr_mimebundle_()["text/html"]
        page.body = (
            f'<div class="plain"><h1>{name}</h1><p>{html.escape(source)}</p>{table(FACTS, [facts])}'
            f'<h2 id="diagram">Diagram</h2><div class="picture">{drawn}</div>'
            f'<h2 id="layers">Layer by layer</h2>{listed}</div>'
        )
        page.heads = [(2, "diagram", "Diagram"), (2, "layers", "Layer by layer")]
        page.sections = [
            {"page": page.name, "at": "main", "title": f"Model: {name}", "text": source}
        ]
        pages.append(page)
        rows.append((link(page), *facts))
    front = Page("models", "Models", about="The networks of the course, with tables and diagrams.")
    front.body = (
        '<div class="plain"><h1>Models</h1><p>Every network of <code>cnnlab.models</code>, counted '
        "by the course's own trace when this site was built. Receptive field: what one unit of the "
        f"output sees.</p>{table(('network', *FACTS), rows)}</div>"
    )
    return [front, *pages]


def paper(name: str) -> str:
    """The paper of a network, as the head of its file names it."""
    files = (import_module(f"cnnlab.models.{path.stem}") for path in FILES)
    module = next(file for file in files if MODELS[name] in vars(file).values())
    return " ".join(module.__doc__.split("\n\n")[0].split())


def mentions(name: str, makers: Sequence[Chapter]) -> list[Chapter]:
    """The chapters whose code or text uses the network's name."""
    word = re.compile(rf"(?<![\w.-]){re.escape(name)}(?![\w-])", re.IGNORECASE)
    return [m for m in makers if any(word.search(cell.source) for cell in m.notebook.cells)]
