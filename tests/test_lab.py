"""What `make lab` does before JupyterLab comes: a learner's copies, and what updates do to them."""

from __future__ import annotations

import importlib.util
import json
import os
import re
import socket
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]


@pytest.fixture
def lab():
    spec = importlib.util.spec_from_file_location("course_lab", ROOT / ".ci" / "lab.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def write(path, *sources, output=None):
    cells = [
        {"cell_type": "code", "source": text, "outputs": [output] if output else []}
        for text in sources
    ]
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps({"cells": cells, "metadata": {}, "nbformat": 4}), encoding="utf-8")


def sources(path):
    return [cell["source"] for cell in json.loads(path.read_text(encoding="utf-8"))["cells"]]


@pytest.fixture
def places(tmp_path):
    """(the learner's folder, the course's notebooks) of a course with two chapters."""
    notebooks = tmp_path / "notebooks"
    write(notebooks / "00-start-here.ipynb", "start")
    write(notebooks / "05-vgg.ipynb", "guess = ...", "first edition")
    (notebooks / "pictures").mkdir()
    (notebooks / "pictures" / "net.png").write_bytes(b"one")
    (notebooks / "glossary.md").write_text("# Glossary")
    return tmp_path / "my-course", notebooks


def listed(course):
    return sorted(path.relative_to(course).as_posix() for path in course.rglob("*.ipynb"))


def test_copies_are_made_once_and_nothing_is_said(lab, places):
    course, notebooks = places
    assert lab.update(course, notebooks) == []
    assert listed(course) == ["00-start-here.ipynb", "05-vgg.ipynb"]
    assert (course / "pictures" / "net.png").read_bytes() == b"one"
    assert (course / "glossary.md").read_text() == "# Glossary"
    before = (course / "05-vgg.ipynb").stat().st_mtime_ns
    assert lab.update(course, notebooks) == []
    assert (course / "05-vgg.ipynb").stat().st_mtime_ns == before


def test_a_copy_that_nobody_worked_in_is_renewed(lab, places):
    course, notebooks = places
    lab.update(course, notebooks)
    write(notebooks / "05-vgg.ipynb", "guess = ...", "second edition")
    (notebooks / "pictures" / "net.png").write_bytes(b"two")
    assert lab.update(course, notebooks) == ["Brought up to date: 05-vgg.ipynb."]
    assert sources(course / "05-vgg.ipynb")[1] == "second edition"
    assert (course / "pictures" / "net.png").read_bytes() == b"two"
    assert listed(course) == ["00-start-here.ipynb", "05-vgg.ipynb"]


def test_a_copy_that_was_only_run_is_renewed_and_its_outputs_are_kept(lab, places):
    course, notebooks = places
    lab.update(course, notebooks)
    write(course / "05-vgg.ipynb", "guess = ...", "first edition", output={"text": "3 hours"})
    write(notebooks / "05-vgg.ipynb", "guess = ...", "second edition")
    lab.update(course, notebooks)
    assert sources(course / "05-vgg.ipynb")[1] == "second edition"
    (kept,) = (course / "earlier").iterdir()
    assert kept.name.startswith("05-vgg.20") and "3 hours" in kept.read_text(encoding="utf-8")


def test_work_stays_and_the_new_edition_stands_beside_it(lab, places):
    course, notebooks = places
    lab.update(course, notebooks)
    write(course / "05-vgg.ipynb", "guess = 7", "first edition")
    write(notebooks / "05-vgg.ipynb", "guess = ...", "second edition")
    (sentence,) = lab.update(course, notebooks)
    assert "05-vgg.new-edition.ipynb, beside yours" in sentence
    assert sources(course / "05-vgg.ipynb") == ["guess = 7", "first edition"]
    assert sources(course / "05-vgg.new-edition.ipynb") == ["guess = ...", "second edition"]
    assert lab.update(course, notebooks) == []

    write(notebooks / "05-vgg.ipynb", "third edition")  # the second was not worked in
    lab.update(course, notebooks)
    assert sources(course / "05-vgg.new-edition.ipynb") == ["third edition"]
    write(course / "05-vgg.new-edition.ipynb", "my third edition")
    write(notebooks / "05-vgg.ipynb", "fourth edition")
    lab.update(course, notebooks)
    assert sources(course / "05-vgg.ipynb")[0] == "guess = 7"
    assert sources(course / "05-vgg.new-edition.ipynb") == ["my third edition"]
    assert sources(course / "05-vgg.new-edition-2.ipynb") == ["fourth edition"]
    assert not (course / "earlier").exists()


def test_a_new_edition_that_the_learner_deleted_stays_away(lab, places):
    course, notebooks = places
    lab.update(course, notebooks)
    write(course / "05-vgg.ipynb", "guess = 7")
    write(notebooks / "05-vgg.ipynb", "second edition")
    lab.update(course, notebooks)
    (course / "05-vgg.new-edition.ipynb").unlink()
    assert lab.update(course, notebooks) == []
    assert listed(course) == ["00-start-here.ipynb", "05-vgg.ipynb"]
    (course / "00-start-here.ipynb").unlink()  # the course's page comes back
    lab.update(course, notebooks)
    assert "00-start-here.ipynb" in listed(course)


@pytest.mark.parametrize("damage", ["nothing", "the record", "its entries", "the notebook"])
def test_what_cannot_be_judged_counts_as_work(lab, places, damage):
    course, notebooks = places
    lab.update(course, notebooks)
    text = "guess = 7" if damage != "the notebook" else None
    if text:
        write(course / "05-vgg.ipynb", text)
    else:
        (course / "05-vgg.ipynb").write_text("<<<<<<< HEAD", encoding="utf-8")
    if damage == "the record":
        (course / lab.RECORD).write_text("[1", encoding="utf-8")
    if damage == "its entries":
        (course / lab.RECORD).write_text('{"05-vgg.ipynb": {}}', encoding="utf-8")
    kept = (course / "05-vgg.ipynb").read_bytes()
    write(notebooks / "05-vgg.ipynb", "second edition")
    lab.update(course, notebooks)
    assert (course / "05-vgg.ipynb").read_bytes() == kept
    assert sources(course / "05-vgg.new-edition.ipynb") == ["second edition"]
    # A lost record alone makes no second copy of what is the same.
    assert listed(course) == [
        "00-start-here.ipynb",
        "05-vgg.ipynb",
        "05-vgg.new-edition.ipynb",
    ]


def test_one_chapter_begins_again_and_nothing_is_lost(lab, places, monkeypatch, capsys):
    course, notebooks = places
    lab.update(course, notebooks)
    write(course / "05-vgg.ipynb", "guess = 7")
    write(notebooks / "05-vgg.ipynb", "second edition")
    lab.update(course, notebooks)
    ran = []
    monkeypatch.setattr(lab.subprocess, "run", lambda *a, **k: ran.append((a[0][1:], k["cwd"])))
    lab.fresh("05", course, notebooks)
    monkeypatch.undo()
    assert ran == [(["-m", "cnnlab", "reset", "05"], course)]
    assert "05-vgg.ipynb is kept as earlier/05-vgg.20" in capsys.readouterr().out
    lab.update(course, notebooks)
    assert sources(course / "05-vgg.ipynb") == ["second edition"]
    kept = {tuple(sources(path)) for path in (course / "earlier").iterdir()}
    assert kept == {("guess = 7",), ("second edition",)}
    assert listed(course)[:2] == ["00-start-here.ipynb", "05-vgg.ipynb"]


def test_a_chapter_begins_again_where_there_are_no_copies_yet(lab, places, monkeypatch):
    course, notebooks = places
    monkeypatch.setattr(lab.subprocess, "run", lambda *a, **k: None)
    lab.fresh("05", course, notebooks)
    assert course.is_dir()


@pytest.mark.parametrize("chapter", ["99", "5", "*", "vgg", ""])
def test_a_chapter_that_does_not_exist_is_refused(lab, places, chapter):
    course, notebooks = places
    lab.update(course, notebooks)
    with pytest.raises(SystemExit, match="No chapter .* Name one of 00, 05: FRESH=05"):
        lab.fresh(chapter, course, notebooks)
    assert len(listed(course)) == 2


def test_two_backups_within_a_second_have_two_names(lab, places, monkeypatch):
    course, notebooks = places
    monkeypatch.setattr(lab.time, "strftime", lambda form: "2026-01-01-000000")
    for text in ("one", "two"):
        write(course / "05-vgg.ipynb", text)
        lab.keep(course / "05-vgg.ipynb")
    assert sorted(path.name for path in (course / "earlier").iterdir()) == [
        "05-vgg.2026-01-01-000000-1.ipynb",
        "05-vgg.2026-01-01-000000.ipynb",
    ]


def test_progress_beside_the_notebooks_comes_along(lab, places):
    course, notebooks = places
    (notebooks / "my-progress").mkdir()
    (notebooks / "my-progress" / "progress.json").write_text("{}")
    (sentence,) = lab.update(course, notebooks)
    assert sentence == f"Your progress is now in {course / 'my-progress'}."
    assert (course / "my-progress" / "progress.json").read_text() == "{}"
    # Where there are two, neither is touched.
    (notebooks / "my-progress").mkdir()
    (notebooks / "my-progress" / "progress.json").write_text("older")
    assert lab.update(course, notebooks) == []
    assert (course / "my-progress" / "progress.json").read_text() == "{}"
    assert (notebooks / "my-progress" / "progress.json").read_text() == "older"


def git(folder, *words):
    who = ["-c", "user.name=a", "-c", "user.email=a@example.org"]
    subprocess.run(["git", "-C", folder, *who, *words], check=True, capture_output=True)


def test_work_done_in_notebooks_before_there_were_copies_is_a_learners(lab, places):
    course, notebooks = places
    git(notebooks.parent, "init", "-q")
    git(notebooks.parent, "add", "notebooks")
    git(notebooks.parent, "commit", "-qm", "first")
    write(notebooks / "05-vgg.ipynb", "guess = 7", "first edition")
    write(notebooks / "my own.ipynb", "notes")
    assert len(lab.update(course, notebooks)) == 2
    assert lab.update(course, notebooks) == []
    git(notebooks.parent, "checkout", "-q", "notebooks")  # as one does for git pull
    write(notebooks / "05-vgg.ipynb", "guess = ...", "second edition")
    git(notebooks.parent, "commit", "-qam", "second")
    lab.update(course, notebooks)
    assert sources(course / "05-vgg.ipynb") == ["guess = 7", "first edition"]
    assert sources(course / "05-vgg.new-edition.ipynb")[1] == "second edition"
    assert sources(course / "my own.ipynb") == ["notes"]


def test_copies_of_a_read_only_course_can_be_written(lab, places):
    course, notebooks = places
    for path in notebooks.glob("*.ipynb"):
        path.chmod(0o444)
    lab.update(course, notebooks)
    assert all(os.stat(path).st_mode & 0o200 for path in course.glob("*.ipynb"))


def test_every_link_of_the_chapters_works_from_the_copies(lab, tmp_path):
    lab.update(tmp_path)
    links = set()
    for path in tmp_path.glob("*.ipynb"):
        for cell in json.loads(path.read_text(encoding="utf-8"))["cells"]:
            if cell["cell_type"] == "markdown":
                text = "".join(cell["source"])
                links |= set(lab_links(text))
    assert len(links) >= 2
    assert [link for link in links if not (tmp_path / link).is_file()] == []


def lab_links(text):
    """Files that Markdown or HTML links to, without addresses and places in the page."""
    for link in re.findall(r"\]\(([^)\s]+)\)|src=\"([^\"]+)\"", text):
        target = "".join(link).partition("#")[0]
        if target and "://" not in target and not target.startswith(("attachment:", "data:")):
            yield target


def test_no_home_is_said_and_another_is_used(lab, tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("HOME", str(tmp_path / "absent"))
    variables = lab.surroundings(tmp_path)
    assert variables["HOME"] == str(tmp_path)
    assert "cannot be written to" in capsys.readouterr().out
    monkeypatch.setenv("HOME", str(tmp_path))
    assert lab.surroundings(tmp_path / "x")["HOME"] == str(tmp_path)
    assert capsys.readouterr().out == ""


def test_the_address_is_one_sentence_once_somebody_listens(lab, tmp_path, capsys):
    assert lab.announced(tmp_path) is None
    (tmp_path / "jpserver-7.json").write_text('{"url": "http://127.0')  # half written
    assert lab.announced(tmp_path) is None
    with socket.socket() as server:
        server.bind(("127.0.0.1", 0))
        port = server.getsockname()[1]
        whole = {"url": f"http://127.0.0.1:{port}/", "token": "abc", "port": port}
        (tmp_path / "jpserver-7.json").write_text(json.dumps(whole))
        assert lab.announced(tmp_path) is None
        server.listen()
        address = f"http://127.0.0.1:{port}/lab/tree/00-start-here.ipynb?token=abc"
        assert lab.announced(tmp_path) == address
    assert capsys.readouterr().out == (
        f"The course is open in your browser, at {address} (Ctrl-C here ends it).\n"
    )
