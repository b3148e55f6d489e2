"""The site without its packages: every page made, every link leads somewhere, what is live carries
what it needs. Pyodide and Chromium over all pages: tests/long/test_site.py."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
from html.parser import HTMLParser
from importlib import import_module
from urllib.parse import unquote

import nbformat
import pytest

from cnnlab.course.chapters import CHAPTERS
from cnnlab.course.explorers import widget
from tests.site import build, live, packages, pages, slides, states, ways
from tests.site.chapter import Page, measured, quiz_data
from tests.site.packages import Refused

PAGE_BYTES = 1_000_000
MODELS = ("lenet5", "resnet18", "resnext50_32x4d")


class Links(HTMLParser):
    """Everything that a page points to, and every place in it that can be pointed to."""

    def __init__(self, text):
        super().__init__()
        self.targets, self.loaded, self.ids = [], [], []
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        given = dict(attrs)
        if "id" in given:
            self.ids.append(given["id"])
        if tag == "a" and given.get("href"):
            self.targets.append(given["href"])
        if tag in ("script", "img", "link") and (given.get("src") or given.get("href")):
            self.loaded.append(given.get("src") or given["href"])


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    return build.build(tmp_path_factory.mktemp("web") / "site", ways.Where(), models=MODELS)


@pytest.fixture(scope="module")
def texts(site):
    return {path.name: path.read_text(encoding="utf-8") for path in site.folder.glob("*.html")}


@pytest.fixture(scope="module")
def cells():
    """(chapter, page, cell) of every cell of the course."""
    return [
        (chapter.number, chapter.notebook.replace(".ipynb", ".html"), cell)
        for chapter in CHAPTERS
        for cell in nbformat.read(build.ROOT / "notebooks" / chapter.notebook, 4).cells
    ]


def own(kind, text):
    """What the page's script finds in the elements of one kind."""
    pattern = rf'<script type="application/json" class="{kind}">(.*?)</script>'
    return [json.loads(found) for found in re.findall(pattern, text, re.DOTALL)]


def test_every_link_leads_to_a_file_and_a_place(site, texts):
    links = {name: Links(text) for name, text in texts.items()}
    wrong = []
    for name, page in links.items():
        for target in page.targets:
            if target.startswith("http"):
                continue
            file, _, place = target.partition("#")
            there = file or name
            if not (site.folder / there).is_file():
                wrong.append(f"{name}: {target}")
            elif place and unquote(place) not in links[there].ids:
                wrong.append(f"{name}: {target}, no such place")
    assert not wrong, "\n".join(wrong)


def test_pages_load_only_what_comes_with_the_site(site, texts):
    for name, text in texts.items():
        for target in Links(text).loaded:
            assert target == "data:," or (site.folder / target).is_file(), f"{name}: {target}"


def test_no_place_has_two_meanings(texts):
    for name, text in texts.items():
        ids = Links(text).ids
        assert sorted(ids) == sorted(set(ids)), name


def test_a_page_holds_every_cell_of_its_chapter_and_is_small(texts, cells):
    for _, page, cell in cells:
        assert f'id="{cell.id}"' in texts[page], f"{page}: {cell.id}"
    assert max(len(text.encode()) for text in texts.values()) < PAGE_BYTES


def test_a_table_has_no_empty_head(texts):
    assert not [name for name, text in texts.items() if re.search(r"<th[^>]*>\s*</th>", text)]
    assert any("<th" in text for text in texts.values())


def test_formulas_stand_where_they_were_written(texts):
    assert not [name for name, text in texts.items() if re.search("[\x02\x03]", text)]
    assert any("<code>" in text for text in texts.values())


def test_code_of_cells_that_only_draw_is_folded(texts, cells):
    page, cell = next(
        (page, cell) for _, page, cell in cells if "hide-input" in cell.metadata.get("tags", [])
    )
    assert f'id="{cell.id}"><details class="folded"><summary>' in texts[page]


def test_every_explorer_of_the_notebooks_moves_and_begins_with_the_stored_picture(texts, cells):
    shown = [
        (page, cell, output)
        for _, page, cell in cells
        for output in cell.get("outputs", ())
        if "image/svg+xml" in output.get("data", {}) and "explorers." in cell.source
    ]
    assert len(shown) >= len(CHAPTERS)
    for page, cell, output in shown:
        (found,) = (e for e in own("of-explorer", texts[page]) if e["key"].endswith(f"/{cell.id}"))
        svg = live.explorer(found["key"], found["call"]).svg
        assert svg in texts[page]
        if found["call"]["kept"]:
            assert widget.still(svg) == output.data["image/svg+xml"], cell.id


def test_an_explorer_answers_a_page_as_it_answers_a_notebook():
    call = live.called(
        "from cnnlab.course.explorers.ch01_convolution import convolution as slide\nslide()"
    )
    before = live.explorer("01/x", call).svg
    moved = {"n": 3, "steps": [["set", "kernel", 1]]}  # the second of the choices
    shown = json.loads(live.moved("01/x", json.dumps(call), json.dumps(moved)))
    assert shown["n"] == 3 and shown["svg"] != before and shown["error"] == ""


BARE = """
import sys
from pathlib import Path
from tests.site import live, states
sys.modules.update(dict.fromkeys((*live.ABSENT, *live.WIDGETS)))
print(*states.in_cpython(states.asked(Path(sys.argv[1]), most=3)))
"""


def test_explorers_draw_without_any_library(site):
    done = subprocess.run(
        [sys.executable, "-c", BARE, site.folder], cwd=build.ROOT, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    made = done.stdout.split()
    assert made == states.in_cpython(states.asked(site.folder, most=3))
    assert len(made) >= 3 * len(CHAPTERS) and len(set(made)) > len(made) / 2


KEPT = build.ROOT / "build/npm"
PYODIDE = KEPT / f"pyodide-{packages.PACKAGES['pyodide'][0]}"


@pytest.mark.skipif(
    not (PYODIDE.is_dir() and shutil.which("node")),
    reason="no Node.js, or make site has not fetched Pyodide: make test-long compares them too",
)
def test_pyodide_draws_what_cpython_draws(site):
    build.pyodide(site.folder, KEPT)
    asked = states.asked(site.folder, most=3)
    wanted, made = states.in_cpython(asked), states.in_pyodide(site.folder, asked)
    assert len(made) >= 3 * len(CHAPTERS) and made == wanted


@pytest.mark.parametrize(
    "last, options, kept",
    [
        ("step()", {}, True),
        ('step(depth=3, find=("a",))', {"depth": 3, "find": ("a",)}, True),
        ("step(model, depth=3)", {}, False),
        ("step(depth=rows)", {}, False),
    ],
)
def test_what_the_cells_above_made_is_not_called_for(last, options, kept):
    call = live.called(f"from cnnlab.course.explorers.ch10_step import step\n{last}")
    assert (call["options"], call["kept"]) == (options, kept)
    assert call["module"].endswith("ch10_step") and live.called("x = 1\nx") is None


def test_every_prediction_is_asked_and_its_measurement_known(texts, cells):
    asked = {
        (page, name)
        for _, page, cell in cells
        for name in re.findall(r'lesson\.predict\(\s*"(\w+)"', cell.source)
    }
    assert asked
    for page, name in asked:
        (about,) = own("of-chapter", texts[page])
        assert about["guesses"][name]["measured"] is not None, f"{page}: {name}"
        for kind in ("guess", "reveal"):
            assert f'<div class="{kind}" data-name="{name}">' in texts[page], f"{page}: {name}"


@pytest.mark.parametrize(
    "said, value",
    [
        ("The default was 80 percent; measured: 74 percent.", 74.0),
        ("The default was 1; measured: ‹1,728.5›.", 1728.5),
        ("The default was 0.001 times; measured: 1e-05 times.", 1e-05),
        ("The default was C; measured: none of them.", "none of them"),
        ("Nothing was measured", None),
    ],
)
def test_a_measurement_is_read_from_its_card(said, value):
    assert measured(f"A question\n{said}\nAs predicted.") == value


def test_every_quiz_knows_its_answers(texts, cells):
    for chapter in CHAPTERS:
        quiz = import_module(f"cnnlab.course.exercises.ch{chapter.number}_quiz").quiz
        (found,) = own("of-quiz", texts[chapter.notebook.replace(".ipynb", ".html")])
        assert found == json.loads(json.dumps(quiz_data(quiz)))
        for question, right, feedback in zip(quiz.questions, found["right"], found["feedback"]):
            assert question.options[right].right
            told = ["Right." in text for text in feedback]
            assert told == [option.right for option in question.options]


def test_exercises_are_judged_here_or_say_where_they_can_be_done(texts, cells):
    judged = 0
    for number, page, cell in cells:
        names = re.findall(r"\bex\.(\w+)\.check\(", cell.source)
        if cell.cell_type != "code" or not names:
            continue
        block = texts[page].partition(f'id="{cell.id}"')[2].partition('<div class="text"')[0]
        here = own("of-exercise", block)
        assert bool(here) != ("This one needs PyTorch" in block), cell.id
        judged += len(here)
        exercises = import_module(f"cnnlab.course.exercises.ch{number}").exercises
        if all(getattr(exercises, name).kind == "value" for name in names):
            assert here, f"{cell.id} asks for a number and is not judged in the browser"
    assert judged > len(CHAPTERS)


HERE = """
import json, sys
from tests.site import live
sys.meta_path.insert(0, live.Nowhere())
for chapter, name in json.load(sys.stdin):
    exercise = getattr(live.exercises(chapter), name)
    print(chapter, name, exercise.judge(exercise.answer).status)
assert not {"torch", "numpy"} & set(sys.modules)
"""


def test_what_a_page_judges_is_judged_without_torch(texts):
    asked = [
        (found["chapter"], name)
        for _, text in sorted(texts.items())
        for found in own("of-exercise", text)
        for name in found["names"]
    ]
    command = [sys.executable, "-c", HERE]
    done = subprocess.run(
        command, input=json.dumps(asked), cwd=build.ROOT, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.split("\n")[:-1] == [f"{chapter} {name} passed" for chapter, name in asked]


JUDGE = """
import json, sys
from tests.site import live
for text in json.load(sys.stdin):
    print(live.run("01", text))
"""


def test_a_page_judges_as_the_course_does():
    exercises = import_module("cnnlab.course.exercises.ch01").exercises
    right, wrong = exercises.params.answer, exercises.params.mistakes[0].answer
    asked = [f"ex.params.check({answer})" for answer in (right, wrong, ...)]
    asked[2] = "ex.params.check(...)"
    asked += ["import torch\nex.params.check(1)", "ex.params.check(1 / 0)", "ex.params.hint()"]
    done = subprocess.run(
        [sys.executable, "-c", JUDGE],
        input=json.dumps(asked),
        cwd=build.ROOT,
        capture_output=True,
        text=True,
        check=True,
    )
    told = [json.loads(line) for line in done.stdout.splitlines()]
    for answer, found in zip((right, wrong, ...), told):
        verdict = exercises.params.judge(answer)
        assert found["html"] == verdict.card().to_html()
        assert found["verdicts"] == [{"exercise": "params", "status": verdict.status}]
    assert "ZeroDivisionError" in told[4]["html"] and told[4]["verdicts"] == []
    assert told[5]["html"] == exercises.params.hint_card(1).to_html()


def test_the_words_of_a_chapter_are_found(site):
    text = (site.folder / "assets/search.js").read_text(encoding="utf-8")
    words = json.loads(text.removeprefix("window.cnnlabSearch = ").rstrip(";"))
    found = [entry for entry in words if "receptive field" in entry["text"].lower()]
    assert {entry["page"][:2] for entry in found} > {"02"}
    assert all((site.folder / f"{entry['page']}.html").is_file() for entry in words)


def test_models_teachers_and_glossary_come_from_the_package(texts):
    page = texts["model-resnet18.html"]
    assert "11,689,512" in page and "1,814,073,344" in page and "<svg" in page
    assert "He, Zhang, Ren, Sun" in page and 'href="08-resnet.html">08<' in page
    assert "Xie" in texts["model-resnext50_32x4d.html"]
    for chapter in CHAPTERS:
        assert f'href="{chapter.notebook.replace(".ipynb", ".html")}"' in texts["teachers.html"]
    assert (
        'id="batch-norm"' in texts["glossary.html"]
        and "@" not in texts["teachers.html"].split("<h1")[1]
    )


# Ways in


def test_without_an_address_there_are_no_links_out():
    assert ways.Where().links("05-vgg.ipynb").count("<a ") == 1
    links = ways.Where("https://a.github.io/b", "a/b").links("05-vgg.ipynb")
    assert links.count("<a ") == 5
    assert "colab.research.google.com/github/a/b/blob/site/colab/05-vgg.ipynb" in links
    assert "labpath=notebooks/05-vgg.ipynb" in links


def test_the_landing_page_says_where_the_course_is_if_it_is_somewhere():
    first = [Page("00-start", "00 Start")]
    assert (
        "git clone https://github.com/a/b\ncd b\nmake lab" in pages.landing(first, [], "a/b").body
    )
    assert "git clone" not in pages.landing(first, []).body


@pytest.mark.parametrize(
    "url, repo, said",
    [
        ("http://a.github.io/b", "", "URL is 'http://a.github.io/b', expected the address"),
        ("a.github.io", "", "expected the address of the site"),
        ("https://localhost", "", "expected the address of the site"),
        ("https://a.b/c d", "", "expected the address of the site"),
        ("https://a.b/?c", "", "expected the address of the site"),
        ("", "https://github.com/a/b", "expected owner/name of a repository"),
        ("", "a", "expected owner/name of a repository"),
    ],
)
def test_a_wrong_address_is_refused(url, repo, said):
    with pytest.raises(Refused, match=said):
        ways.where(url, repo)


def test_colab_gets_a_cell_that_installs_the_package():
    (path,) = (build.ROOT / "notebooks").glob("05-*.ipynb")
    there = nbformat.reads(ways.for_colab(path, "https://a.b/cnnlab-1-py3-none-any.whl"), 4)
    here = nbformat.read(path, 4)
    added = [cell for cell in there.cells if cell.id not in {cell.id for cell in here.cells}]
    assert (
        len(added) == 1 and "%pip install --quiet --no-deps https://a.b/cnnlab-1" in added[0].source
    )
    assert next(c for c in there.cells if c.cell_type == "code") == added[0]


def test_another_checksum_is_refused_and_not_kept(tmp_path):
    file = tmp_path / "pyodide-1.tgz"
    file.write_bytes(b"something else")
    with pytest.raises(
        Refused, match=r"has the checksum sha512-.*expected sha512-x; it was removed"
    ):
        packages.check(file, "sha512-x")
    assert not file.exists()


def test_without_npm_it_says_what_is_needed(tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(Refused, match="npm is not there: make site needs Node.js"):
        packages.unpacked("pyodide", tmp_path)


def test_the_packages_are_pinned():
    for version, integrity in packages.PACKAGES.values():
        assert re.fullmatch(r"\d+\.\d+\.\d+", version)
        assert re.fullmatch(r"sha512-[A-Za-z0-9+/]{86}==", integrity)


def test_slides_show_one_thing_each():
    for chapter in CHAPTERS:
        notebook = nbformat.read(build.ROOT / "notebooks" / chapter.notebook, 4)
        quiz = import_module(f"cnnlab.course.exercises.ch{chapter.number}_quiz").quiz
        made = list(slides.slides(notebook, quiz))
        assert chapter.number in made[0] and len(made) >= 8 + len(quiz)
        assert sum("Write it down first" in slide for slide in made) >= 1
        assert all(slide.count("<img") + slide.count("<svg") <= 1 for slide in made)
        assert all("data:image/png" in slide for slide in made if "<img" in slide)
        assert not any("JupyterLab" in slide for slide in made if "<svg" in slide)
        assert all(re.sub("<h2>.*?</h2>", "", slide) for slide in made), "a heading alone"
