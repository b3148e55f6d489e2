"""Builds the site from the stored notebooks: pages, scripts, search, packages, downloads."""

from __future__ import annotations

import html
import json
import re
import shutil
import subprocess
import sys
import zipfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path

import nbformat

from cnnlab.course.chapters import CHAPTERS
from cnnlab.course.page import script
from cnnlab.models import MODELS
from tests.site import pages, ways
from tests.site.chapter import Chapter, Page, asked
from tests.site.frame import framed
from tests.site.packages import Refused, unpacked

ROOT = Path(__file__).resolve().parents[2]
HERE = Path(__file__).resolve().parent
COURSE = ROOT / "cnnlab/course"
SCRIPTS = {
    "explorer": COURSE / "explorers/explorer.js",
    "quiz": COURSE / "quiz.js",
    "guess": COURSE / "quiz_guess.js",
}
STYLES = (HERE / "site.css", COURSE / "explorers/explorer.css", COURSE / "quiz.css")
PYODIDE = ("pyodide.mjs", "pyodide.asm.mjs", "pyodide.asm.wasm", "python_stdlib.zip")
PYODIDE += ("pyodide-lock.json", "package.json")
# What Python in a browser reads of the package; weights and the learner's commands stay at home.
NOT_LIVE = re.compile(r"/(_commands|weights|records|measurements)/|\.(js|css)$")
Typeset = Callable[[Sequence[tuple[str, bool]]], list[str]]


@dataclass
class Site:
    """What a build made: its folder, and the pages in order."""

    folder: Path
    chapters: list[Page]
    others: list[Page]


def build(
    folder: Path,
    where: ways.Where,
    typeset: Typeset | None = None,
    models: Sequence[str] = tuple(MODELS),
    numbers: Sequence[str] = tuple(chapter.number for chapter in CHAPTERS),
) -> Site:
    """Write the site into `folder`, which is emptied. `typeset` draws formulas; without it the site
    shows them as they were typed. Pyodide comes on top. Raises Refused."""
    shutil.rmtree(folder, ignore_errors=True)
    (folder / "pictures").mkdir(parents=True)
    (folder / "assets").mkdir()
    math: list[tuple[str, bool]] = []
    paths = {c.number: ROOT / "notebooks" / c.notebook for c in CHAPTERS if c.number in numbers}
    judged = judged_here(paths)
    chapters, makers = [], []
    for number, path in paths.items():
        quiz = import_module(f"cnnlab.course.exercises.ch{number}_quiz").quiz
        makers.append(Chapter(path, number, quiz, judged[number]))
        chapters.append(makers[-1].page(math, folder / "pictures"))
        chapters[-1].body += makers[-1].about()
    others = [
        pages.landing(chapters, makers, where.repo),
        pages.teachers(chapters, makers),
        pages.glossary(),
        *pages.models(models, makers),
    ]
    drawn = typeset(math) if typeset else [f"<code>{html.escape(text)}</code>" for text, _ in math]
    for page in (*chapters, *others):
        page.body = re.sub("\x02(\\d+)\x03", lambda mark: drawn[int(mark.group(1))], page.body)
    for page in (*chapters, *others):
        tools = where.links(f"{page.name}.ipynb") if page in chapters else ""
        write(folder / f"{page.name}.html", framed(page, chapters, tools))
    assets(folder / "assets", [*chapters, *others])
    downloads(folder, where)
    return Site(folder, chapters, others)


def judged_here(paths: dict[str, Path]) -> dict[str, list[str]]:
    """{chapter: ids of the cells whose exercises a browser can judge}, asked in a process of its
    own: there, torch is absent."""
    cells = {
        number: {
            cell.id: cell.source
            for cell in nbformat.read(path, as_version=4).cells
            if cell.cell_type == "code" and asked(cell.source)
        }
        for number, path in paths.items()
    }
    command = [sys.executable, "-m", "tests.site.live"]
    done = subprocess.run(
        command, cwd=ROOT, input=json.dumps(cells), capture_output=True, text=True, timeout=600
    )
    if done.returncode:
        raise Refused(f"the exercises cannot be tried without torch:\n{done.stderr.strip()}")
    print(done.stderr, end="", file=sys.stderr)
    return json.loads(done.stdout)


def assets(folder: Path, pages: Sequence[Page]) -> None:
    """Script, style, words to search, and what Python in the browser needs of the package."""
    parts = []
    for name, file in SCRIPTS.items():
        text = script(file)
        if EXPORT not in text:
            raise Refused(
                f"{file.name} does not end with {EXPORT!r}: {name} cannot be put on a page"
            )
        parts.append(
            f"cnnlab.{name} = (() => {{\n{text.replace(EXPORT, 'return { render };')}}})();"
        )
    own = (HERE / "site.js").read_text(encoding="utf-8")
    write(folder / "site.js", "\n".join(["(() => {", "const cnnlab = {};", *parts, own, "})();"]))
    write(folder / "site.css", "\n".join(file.read_text(encoding="utf-8") for file in STYLES))
    words = [section for page in pages for section in page.sections]
    write(folder / "search.js", f"window.cnnlabSearch = {json.dumps(words, ensure_ascii=False)};")
    shutil.copy(HERE / "worker.js", folder)
    with zipfile.ZipFile(folder / "cnnlab.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        for path in sorted((ROOT / "cnnlab").rglob("*")):
            name = path.relative_to(ROOT).as_posix()
            if path.is_file() and "__pycache__" not in name and not NOT_LIVE.search(name):
                archive.write(path, name)
        archive.write(HERE / "live.py", "tests/site/live.py")


EXPORT = "export default { render };"


def downloads(folder: Path, where: ways.Where) -> None:
    """The notebooks as they are, and, where the site has an address, as Colab wants them."""
    shutil.copytree(
        ROOT / "notebooks",
        folder / "notebooks",
        ignore=shutil.ignore_patterns("my-progress", ".ipynb_checkpoints"),
    )
    if where.url:
        wheel = ways.wheel(ROOT, folder)
        (folder / "colab").mkdir()
        for path in sorted((ROOT / "notebooks").glob("*.ipynb")):
            write(folder / "colab" / path.name, ways.for_colab(path, f"{where.url}/{wheel}"))


def pyodide(folder: Path, kept: Path) -> None:
    """Put Pyodide into the site; `kept` holds what was fetched."""
    source, target = unpacked("pyodide", kept), folder / "assets/pyodide"
    target.mkdir()
    for name in PYODIDE:
        shutil.copy(source / name, target)


def typesetter(mathjax: Path) -> Typeset:
    """Draws formulas with node and MathJax."""

    def typeset(formulas: Sequence[tuple[str, bool]]) -> list[str]:
        command = ["node", HERE / "math.mjs", mathjax.resolve()]
        given = json.dumps(formulas)
        done = subprocess.run(command, input=given, capture_output=True, text=True, timeout=300)
        if done.returncode:
            raise Refused(f"a formula cannot be drawn: {done.stderr.strip()}")
        return json.loads(done.stdout)

    return typeset


def write(path: Path, text: str) -> None:
    """Write a file of the site."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")
