"""The report of a learner, the table of a class, and their commands."""

from __future__ import annotations

import json
import xml.etree.ElementTree as ElementTree

import pytest

from cnnlab.__main__ import main
from cnnlab.course import report
from cnnlab.course.errors import CourseError
from cnnlab.course.logbook import Progress, learner

NAMES = {"00": ["a", "b"], "01": ["c"]}


@pytest.fixture
def store(tmp_path, monkeypatch):
    monkeypatch.setattr(report, "exercise_names", lambda chapter: NAMES.get(chapter, []))
    monkeypatch.setenv("CNNLAB_PROGRESS", str(tmp_path / "kept"))
    store = Progress(tmp_path / "kept")

    def write(done):
        done["exercises"] = {"a": {"tries": 2, "passed": True}, "b": {"tries": 9, "passed": False}}
        done["quiz"] = {"right": 4, "total": 5}
        done["predictions"] = {
            "high": guess(300, 100),
            "low": guess(5, 10),
            "near": guess(101, 100),
            "word": guess("deep", "flat"),
            "default": {**guess(50, 4), "default": True},
            "open": guess(3, None),
            "zero": guess(0, 4),
        }

    store.update("00", write)
    return store


def guess(value, measured):
    return {"question": "How <many>?", "guess": value, "measured": measured, "unit": ""}


def test_passed_and_open_exercises_are_told_apart(store):
    first, second, *others = report.summary(store.everything())
    assert (first["passed"], first["open"]) == (["a"], ["b"])
    assert (second["passed"], second["open"], second["quiz"]) == ([], ["c"], None)
    assert others and not any(row["passed"] for row in others)


def test_guesses_are_multiples_of_measurements_and_defaults_are_none(store):
    ratios = {g["guess"]: g["off"] for g in report.summary(store.everything())[0]["predictions"]}
    assert ratios == {300: 3, 5: 0.5, 101: 1.01, "deep": None, 50: None, 3: None, 0: None}


def test_the_tendency_in_words(store):
    words = report.tendency(report.summary(store.everything()))
    # factors 3, 2 and 1.01: the one in the middle
    assert words == (
        "Of 3 guesses in numbers 1 came within 10%, 1 were too high, 1 too low; typically off by "
        "a factor of 2."
    )
    assert "No guess" in report.tendency([])


def test_page_and_record_are_written(store, tmp_path):
    page, record = report.write_report(store, tmp_path / "out")
    text = page.read_text(encoding="utf-8")
    assert "1 of 3 exercises" in text and "How &lt;many&gt;?" in text and "50 (default)" in text
    assert ">b<" in text.replace("</td>", "<")  # what is still open
    svg = ElementTree.fromstring(text[text.index("<svg") : text.index("</svg>") + 6])
    assert len(svg.findall("{http://www.w3.org/2000/svg}circle")) == 3
    data = json.loads(record.read_text())
    assert data["learner"] == learner() and data["chapters"]["00"]["quiz"]["right"] == 4


def test_a_place_that_cannot_be_written_is_refused(store, tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(CourseError, match="cannot be written to .*; name another place"):
        report.write_report(store, tmp_path / "file" / "inside")


def test_a_class_is_one_table_of_logbooks_and_reports(store, tmp_path, capsys):
    room = tmp_path / "class"
    room.mkdir()
    (room / "bo.json").write_text(json.dumps({"chapters": {}}))
    (room / "notes.json").write_text("[]")
    report.write_report(store, room / "ada")
    assert main(["report", "--class", str(room)]) == 0
    lines = [line.split() for line in capsys.readouterr().out.splitlines()]
    assert lines[0] == ["2", "learners"] and lines[1][:3] == ["learner", "00", "01"]
    assert lines[2][:3] == [learner(), "1/2", "0/1"] and lines[2][-2:] == ["4/5", "7"]
    assert lines[3][:3] == ["bo", "0/2", "0/1"]
    # A learner's whole folder has them once, though it holds their logbook in several editions.
    logbook = {"chapters": {"00": {"exercises": {}}}}
    (room / "ada" / "progress.json").write_text(json.dumps(logbook))
    (room / "ada" / "progress.before-reset-1.json").write_text(json.dumps(logbook))
    assert main(["report", "--class", str(room)]) == 0
    assert capsys.readouterr().out.startswith("2 learners")
    table = tmp_path / "class.csv"
    assert main(["report", "--class", str(room), "--out", str(table)]) == 0
    assert table.read_text().splitlines()[2].startswith("bo,0/2,0/1")


def test_a_folder_without_logbooks_is_refused(tmp_path, capsys):
    (tmp_path / "notes.json").write_text("[]")
    assert main(["report", "--class", str(tmp_path)]) == 2
    assert "no logbooks: notes.json; collect the files" in capsys.readouterr().err


def test_the_command_writes_the_report_and_resets_a_chapter(store, tmp_path, capsys):
    assert main(["report", "--out", str(tmp_path / "mine")]) == 0
    assert (tmp_path / "mine" / "report.html").exists()
    assert main(["reset", "00"]) == 0 and "is forgotten. As it was: " in capsys.readouterr().out
    assert main(["reset", "00"]) == 0 and "Nothing is recorded" in capsys.readouterr().out
    assert main(["reset", "5"]) == 2 and "chapter '5' is none of 00, 01" in capsys.readouterr().err


def test_nothing_recorded_is_said(tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("CNNLAB_PROGRESS", str(tmp_path / "none"))
    assert main(["report"]) == 2
    assert "nothing recorded in " in capsys.readouterr().err and not (tmp_path / "none").exists()


def test_the_exercises_of_every_chapter_have_names():
    from cnnlab.course.chapters import CHAPTERS

    assert all(len(report.exercise_names(chapter.number)) >= 3 for chapter in CHAPTERS)


WEB = {
    "exercises": {"a": {"tries": 1, "passed": False}, "b": {"tries": 1, "passed": True}},
    "quiz": {"right": 5, "total": 5},
    "predictions": {"high": guess(1, 2), "default": guess(7, 4), "new": guess(8, 4)},
}


def test_what_a_page_of_the_web_edition_saved_is_added_once(store, tmp_path, capsys):
    saved = tmp_path / "web-progress.json"
    saved.write_text(json.dumps({"format": 2, "chapters": {"00": WEB}}))
    for _ in range(2):
        assert main(["report", "--add", str(saved)]) == 0
        done = Progress(tmp_path / "kept").chapter("00")
        assert done["exercises"]["a"] == {"tries": 2, "passed": True}
        assert done["exercises"]["b"] == {"tries": 9, "passed": True}
        assert done["quiz"] == {"right": 5, "total": 5}
        guesses = {name: entry["guess"] for name, entry in done["predictions"].items()}
        assert (guesses["high"], guesses["default"], guesses["new"]) == (300, 7, 8)
    assert "report.html" in capsys.readouterr().out


@pytest.mark.parametrize("text", ["{", "[]", '{"chapters": {"77": {}}}', '{"chapters": {"00": 3}}'])
def test_a_file_that_is_none_is_refused_and_nothing_changes(store, tmp_path, text):
    saved = tmp_path / "saved.json"
    saved.write_text(text)
    before = store.file.read_bytes()
    with pytest.raises(CourseError, match=r"saved.json holds no progress .*'Save as a file'"):
        report.add(store, saved)
    assert store.file.read_bytes() == before


def test_guesses_lean_by_kind(store):
    rows = [
        {
            "predictions": [
                {"off": 2.0, "unit": "times"},
                {"off": 8.0, "unit": "times"},
                {"off": 1e9, "unit": "times"},
                {"off": 0.2, "unit": "percent"},
                {"off": 1.02, "unit": "pages"},
                {"off": None, "unit": "%"},
            ]
        }
    ]
    # factors: the one in the middle of 2, 8 and a wild one
    assert report.leanings(rows) == (
        "You rate counts about right (1), factors 8 times too high (3), shares 5 times too low (1)."
    )
    assert report.leanings([]) == ""
