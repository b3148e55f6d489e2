import json
import os
import subprocess
import sys
import threading
import types
from pathlib import Path

import numpy as np
import pytest
import torch

from cnnlab import _tools
from cnnlab.course import lesson as lesson_module
from cnnlab.course.chapters import CHAPTERS, Chapter
from cnnlab.course.errors import CourseError
from cnnlab.course.exercises.exercise import Exercise, Exercises
from cnnlab.course.lesson import start
from cnnlab.course.logbook import Progress, learner, progress_file, progress_folder
from cnnlab.course.quiz import Option, Question, Quiz
from tests.threads import overlap


def ch77():
    module = types.ModuleType("cnnlab.course.exercises.ch77")
    module.exercises = Exercises(
        Exercise("weights", "Weights", "compute", 2, 27, hints=("h",), note="n"),
        Exercise("macs", "MACs", "compute", 2, 9, hints=("h",), note="n"),
    )
    return module


def ch77_quiz():
    module = types.ModuleType("cnnlab.course.exercises.ch77_quiz")
    module.quiz = Quiz(Question("q", (Option("a", "f", right=True), Option("b", "f"))))
    return module


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "cnnlab.course.exercises.ch77", ch77())
    monkeypatch.setitem(sys.modules, "cnnlab.course.exercises.ch77_quiz", ch77_quiz())
    monkeypatch.setattr(lesson_module, "CHAPTERS", (Chapter("77", "Tests", "77-tests.ipynb"),))
    monkeypatch.setenv("CNNLAB_PROGRESS", str(tmp_path / "kept"))
    monkeypatch.delenv("CNNLAB_SCALE", raising=False)
    return tmp_path / "kept"


def logbook(folder):
    """The learner's own file: the folder is one that CNNLAB_PROGRESS names."""
    return folder / f"progress-{learner()}.json"


def kept(folder):
    return json.loads(logbook(folder).read_text())["chapters"]["77"]


def test_start_shows_one_card_and_gives_the_chapter(folder, capsys):
    lesson = start("77")
    shown = capsys.readouterr().out
    assert shown.startswith("Chapter 77: ready\nScale ")
    assert lesson.exercises.weights.check(27).passed
    assert len(lesson.quiz) == 1


def test_start_seeds(folder):
    start("77")
    first = torch.rand(2)
    start("77")
    assert torch.equal(torch.rand(2), first)


@pytest.mark.parametrize("chapter", ["99", "1", 77, None])
def test_an_unknown_chapter_names_those_that_exist(folder, chapter):
    with pytest.raises(CourseError, match="does not exist; chapters: 77"):
        start(chapter)


def test_chapters_are_found_by_their_files():
    numbers = lesson_module.chapters()
    assert numbers == sorted(set(numbers)) and all(len(n) == 2 and n.isdigit() for n in numbers)
    root = Path(__file__).resolve().parents[2]
    stored = sorted(path.name for path in (root / "notebooks").glob("*.ipynb"))
    assert [chapter.notebook for chapter in CHAPTERS] == stored
    for chapter in CHAPTERS:
        assert chapter.notebook.startswith(chapter.number)
        assert (root / f"cnnlab/course/exercises/ch{chapter.number}.py").exists()


def test_scale_follows_the_device_unless_set(folder, monkeypatch):
    import torch

    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert start("77").scale == "quick" and start("77").device == "cpu"
    monkeypatch.setenv("CNNLAB_SCALE", "full")
    full = start("77")
    assert full.scale == "full" and full.pick(quick=1, full=2) == 2
    monkeypatch.setenv("CNNLAB_SCALE", "quick")
    assert start("77").pick(quick=1, full=2) == 1


def test_a_chapter_at_full_scale_goes_on_quickly_where_its_data_is_missing(
    folder, monkeypatch, tmp_path, capsys
):
    def refuse(*args, **kwargs):
        raise OSError("no route to host")

    monkeypatch.setattr("urllib.request.urlopen", refuse)
    monkeypatch.setenv("CNNLAB_DATA", str(tmp_path / "sets"))
    monkeypatch.setenv("CNNLAB_SCALE", "full")
    lesson = start("77")
    capsys.readouterr()
    assert lesson.pick(quick="digits", full="cifar-10") == "digits" and lesson.scale == "quick"
    out = capsys.readouterr().out
    assert "no route to host" in out and "put cifar-10-python.tar.gz" in out
    assert out.endswith("This chapter goes on at quick scale.\n")
    assert lesson.pick(quick=1, full=2) == 1
    monkeypatch.setenv("CNNLAB_SCALE", "quick")
    assert start("77").pick(quick="digits", full="cifar-10") == "digits"  # nothing was tried
    assert "no route" not in capsys.readouterr().out


def test_a_gpu_runs_at_full_scale(folder, monkeypatch):
    import torch

    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda index: "Some GPU")
    monkeypatch.setattr(torch, "manual_seed", lambda seed: None)
    lesson = start("77")
    assert (lesson.scale, lesson.device) == ("full", "cuda") and "Some GPU" in str(lesson.card())


def test_a_bad_scale_is_refused(folder, monkeypatch):
    monkeypatch.setenv("CNNLAB_SCALE", "huge")
    with pytest.raises(CourseError, match="CNNLAB_SCALE is 'huge', expected quick or full"):
        start("77")


# -- predictions


@pytest.mark.parametrize(
    "guess, measured, words",
    [
        (61, 61, "Exact."),
        (60, 61, "Within 10%: 1.6% too low."),
        (50, 61.1, "18% too low."),
        (90, 61, "48% too high."),
        (24, 240, "Too low by a factor of 10."),
        (1000, 3, "Too high by a factor of 330."),
        (0, 3, "Off by 3."),
        (-2, -1.9, "Within 10%: 5.3% too high."),
        ("Deeper", "deeper", "As predicted."),
        ("deeper", "shallower", "It came out differently."),
    ],
)
def test_a_prediction_is_compared_in_words(folder, guess, measured, words):
    card = start("77").predict("p", guess, "How many?", unit="MB").reveal(measured)
    assert str(card).endswith(words)
    assert str(card).startswith("How many?\nYou predicted ")


def test_percentages_differ_by_percentage_points(folder):
    prediction = start("77").predict("p", 96, "How many?", unit="percent")
    assert str(prediction.reveal(50)).endswith("\n46 percentage points too high.")


def test_a_word_where_the_default_is_a_number_is_refused(folder):
    with pytest.raises(
        CourseError, match="got '50%', expected a number without quotes and unit, such as 20"
    ):
        start("77").predict("p", "50%", "How many?", default=20)


def test_a_default_left_in_place_is_called_so(folder):
    prediction = start("77").predict("p", 50, "How many?", unit="MB", default=50)
    assert str(prediction) == "How many?\nThe default stands: 50 MB"
    assert "The default was 50 MB; measured: 61.1 MB." in str(prediction.reveal(61.1))
    assert start("77").predict("p", ..., "How many?", default=50).kept


@pytest.mark.parametrize("value", [None, float("nan"), [3], "", True, ...])
def test_a_prediction_that_is_none_is_refused(folder, value):
    with pytest.raises(CourseError, match="expected a number or a word"):
        start("77").predict("p", value, "How many?")


@pytest.mark.parametrize("measured", ["many", float("nan"), float("inf")])
def test_a_measurement_must_be_comparable(folder, measured):
    with pytest.raises(CourseError, match="both must be numbers or both words"):
        start("77").predict("p", 5, "How many?").reveal(measured)


def test_reveal_takes_a_tensor_of_one_number(folder):
    import torch

    card = start("77").predict("p", 5, "How many?").reveal(torch.tensor(5.0))
    assert "Exact." in str(card) and kept(folder)["predictions"]["p"]["measured"] == 5.0


# -- progress


def test_everything_is_kept_across_sessions(folder):
    lesson = start("77")
    lesson.exercises.weights.check(3)
    lesson.exercises.weights.check(27)
    lesson.exercises.macs.check(...)
    lesson.quiz.record(1, 1)
    lesson.predict("p", 5, "How many?").reveal(7)
    assert kept(folder) == {
        "exercises": {"weights": {"tries": 2, "passed": True}},
        "quiz": {"right": 1, "total": 1},
        "predictions": {
            "p": {"question": "How many?", "guess": 5, "unit": "", "measured": 7, "default": False}
        },
    }
    again = start("77")
    assert "passed" in str(again.exercises)
    row = str(again.progress()).splitlines()[-1].split("  ")
    assert [cell.strip() for cell in row if cell.strip()] == ["77", "1 of 2", "1 of 1", "1"]


def test_a_passed_exercise_stays_passed(folder):
    lesson = start("77")
    lesson.exercises.weights.check(27)
    lesson.exercises.weights.check(3)
    assert kept(folder)["exercises"]["weights"] == {"tries": 2, "passed": True}


def visible(folder):
    return [name for name in os.listdir(folder) if not name.startswith(".")]


def test_two_kernels_that_run_all_at_once_lose_nothing(folder):
    code = (
        "import sys\n"
        "from pathlib import Path\n"
        "from cnnlab.course.logbook import Progress\n"
        "store = Progress(Path(sys.argv[1]))\n"
        "for n in range(40):\n"
        "    entry = {'tries': 1, 'passed': True}\n"
        "    store.update(sys.argv[2], lambda done: done['exercises'].update({f'e{n}': entry}))\n"
        "assert not store.warnings, store.warnings\n"
    )
    kernels = [
        subprocess.Popen([sys.executable, "-c", code, str(folder), chapter])
        for chapter in ("01", "02")
    ]
    assert [kernel.wait(120) for kernel in kernels] == [0, 0]
    chapters = json.loads(logbook(folder).read_text())["chapters"]
    assert {number: len(kept["exercises"]) for number, kept in chapters.items()} == {
        "01": 40,
        "02": 40,
    }


def test_what_another_notebook_did_is_in_the_progress(folder):
    one, other = start("77"), start("77")
    other.exercises.weights.check(27)
    assert "1 of 2" in str(one.progress())


def test_an_exercise_that_is_no_more_does_not_count(folder):
    folder.mkdir()
    done = {name: {"tries": 1, "passed": True} for name in ("weights", "macs", "of_old")}
    logbook(folder).write_text(json.dumps({"chapters": {"77": {"exercises": done}}}))
    assert "2 of 2" in str(start("77").progress())


def test_a_prediction_that_ran_again_keeps_its_measurement(folder):
    start("77").predict("q", 20, "How many?", default=5).reveal(4.0)
    again = start("77").predict("q", 20, "How many?", default=5)
    assert kept(folder)["predictions"]["q"]["measured"] == 4.0
    again.change(30)
    assert kept(folder)["predictions"]["q"]["measured"] is None


@pytest.mark.parametrize("value", [np.float64(3.5), np.float32(3.5), torch.tensor(3.5)])
def test_a_number_of_another_library_is_a_guess(folder, value):
    start("77").predict("q", value, "How many?", default=5)
    assert kept(folder)["predictions"]["q"]["guess"] == 3.5


def test_a_number_beyond_all_floats_is_no_guess(folder):
    with pytest.raises(CourseError, match="expected a number or a word"):
        start("77").predict("q", 10**400, "How many?", default=5)


@pytest.mark.parametrize(
    "wrong",
    [
        {"predictions": {"q": {"default": False}}},
        {"predictions": {"q": {"guess": [1]}}},
        {"predictions": {"q": {"guess": True}}},
        {"predictions": {"q": {"guess": 10**400}}},
        {"predictions": {"q": {"guess": 1, "measured": {}}}},
        {"design": "x"},
        {"design": {"name": "x"}},
    ],
)
def test_a_file_that_was_edited_is_set_aside(folder, wrong):
    folder.mkdir()
    logbook(folder).write_text(json.dumps({"format": 2, "chapters": {"77": wrong}}))
    lesson = start("77")
    assert "was damaged: set aside" in lesson._store.warnings[0]
    lesson.predict("q", 1, "How many?", default=5)


def test_two_notebooks_do_not_lose_each_others_results(folder):
    one, other = start("77"), start("77")
    one.exercises.weights.check(27)
    other.exercises.macs.check(9)
    assert set(kept(folder)["exercises"]) == {"weights", "macs"}


def test_a_quiz_in_its_own_thread_loses_no_exercise(folder):
    """JupyterLab sends what the quiz says to another thread than what the cells say."""
    lesson, reading, go_on = start("77"), threading.Event(), threading.Event()
    store, read = lesson._store, lesson._store._read

    def slow_read():
        kept = read()
        if not reading.is_set():  # the quiz: it is first
            reading.set()
            go_on.wait(10)
        return kept

    store._read = slow_read
    overlap(
        lambda: lesson.quiz.record(1, 1), lambda: lesson.exercises.weights.check(27), reading, go_on
    )
    done = kept(folder)
    assert done["quiz"] == {"right": 1, "total": 1} and done["exercises"]["weights"]["passed"]


@pytest.mark.parametrize(
    "text",
    [
        "{",
        "",
        "[]",
        "null",
        '{"chapters": 3}',
        '{"chapters": {"77": 5}}',
        '{"chapters": {"77": {"exercises": {"a": {}}}}}',
        '{"chapters": {"77": {"exercises": 4}}}',
        '{"chapters": {"77": {"quiz": {"right": 1}}}}',
        '{"chapters": {"77": {"predictions": []}}}',
    ],
)
def test_a_damaged_file_is_set_aside_and_said_so(folder, text, capsys):
    folder.mkdir()
    logbook(folder).write_text(text)
    lesson = start("77")
    assert "was damaged: set aside as progress-" in capsys.readouterr().out
    assert logbook(folder).with_suffix(".json.damaged").read_text() == text
    lesson.exercises.weights.check(27)
    assert kept(folder)["exercises"]["weights"]["passed"]
    assert "1 of 2" in str(lesson.progress())


def test_a_binary_file_is_damaged_too(folder):
    folder.mkdir()
    logbook(folder).write_bytes(b"\xff\xfe\x00")
    start("77")
    assert logbook(folder).with_suffix(".json.damaged").exists()
    logbook(folder).write_text("{")
    start("77")
    assert logbook(folder).with_suffix(".json.damaged").read_bytes() == b"\xff\xfe\x00"
    assert logbook(folder).with_suffix(".json.damaged-2").read_text() == "{"


def test_a_place_that_cannot_be_written_is_said_once(tmp_path, folder, monkeypatch, capsys):
    blocked = tmp_path / "a file"
    blocked.write_text("")
    monkeypatch.setenv("CNNLAB_PROGRESS", str(blocked / "inside"))
    lesson = start("77")
    lesson.exercises.weights.check(27)
    lesson.exercises.macs.check(9)
    assert capsys.readouterr().out.count("Progress is not saved") == 1
    assert "2 of 2" in str(lesson.progress()) and "memory only" in str(lesson.progress())


def test_a_read_only_folder_is_said_once(folder, monkeypatch, capsys):
    def refuse(*arguments, **options):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(_tools, "open", refuse, raising=False)
    lesson = start("77")
    lesson.exercises.weights.check(27)
    lesson.exercises.macs.check(9)
    shown = capsys.readouterr().out
    assert shown.count("Progress is not saved") == 1 and "Permission denied" in shown


def test_a_write_that_fails_leaves_the_old_file_whole(folder, monkeypatch):
    lesson = start("77")
    lesson.exercises.weights.check(27)
    before = logbook(folder).read_text()

    def fail(*paths):
        raise OSError("disk full")

    monkeypatch.setattr(os, "replace", fail)
    lesson.exercises.macs.check(9)
    assert logbook(folder).read_text() == before
    assert visible(folder) == [logbook(folder).name]


def test_a_file_of_a_later_version_is_left_alone_and_said(folder, capsys):
    folder.mkdir()
    text = json.dumps({"format": 3, "chapters": {"77": {"exercises": "in another form"}}})
    logbook(folder).write_text(text)
    start("77").exercises.weights.check(27)
    shown = capsys.readouterr().out
    assert "was written by a later version of cnnlab" in shown and "it lasts until" in shown
    assert "Update the course, or set CNNLAB_PROGRESS" in shown
    assert logbook(folder).read_text() == text and visible(folder) == [logbook(folder).name]


def test_a_file_of_the_first_version_is_read(folder):
    folder.mkdir()
    done = {"weights": {"tries": 1, "passed": True}}
    logbook(folder).write_text(json.dumps({"chapters": {"77": {"exercises": done}}}))
    assert "1 of 2" in str(start("77").progress())


def test_a_chapter_is_reset_and_nothing_is_lost(folder):
    lesson = start("77")
    lesson.exercises.weights.check(27)
    before = logbook(folder).read_text()
    aside = Progress(folder).reset("77")
    assert aside.read_text() == before and not Progress(folder).solved("77")
    assert Progress(folder).reset("77") is None
    start("77").exercises.weights.check(27)
    assert Progress(folder).reset("77") != aside and aside.read_text() == before


def test_a_shared_folder_gets_a_file_per_user(tmp_path, monkeypatch):
    monkeypatch.setenv("CNNLAB_PROGRESS", str(tmp_path))
    monkeypatch.setattr("getpass.getuser", lambda: "Ada L/1")
    assert progress_file(tmp_path) == tmp_path / "progress-Ada_L_1.json"
    alone = tmp_path / "progress.json"
    alone.write_text("{}")
    if hasattr(os, "getuid"):
        assert progress_file(tmp_path) == alone  # the learner's own, of before
        monkeypatch.setattr(os, "getuid", lambda: alone.stat().st_uid + 1)
        assert progress_file(tmp_path) == tmp_path / "progress-Ada_L_1.json"
    monkeypatch.delenv("CNNLAB_PROGRESS")
    assert progress_file(progress_folder()).as_posix() == "my-progress/progress.json"


def test_a_home_is_expanded(monkeypatch):
    monkeypatch.setenv("CNNLAB_PROGRESS", "~/kept")
    monkeypatch.setenv("HOME", os.sep + "somewhere")
    monkeypatch.setenv("USERPROFILE", os.sep + "somewhere")
    assert progress_folder() == Path(os.sep + "somewhere") / "kept"


@pytest.mark.parametrize("first, seeds", [(None, [0, 1, 2]), ("100", [100, 101, 102])])
def test_seeds_can_be_shifted(folder, monkeypatch, first, seeds):
    monkeypatch.delenv("CNNLAB_SEEDS", raising=False)
    if first:
        monkeypatch.setenv("CNNLAB_SEEDS", first)
    assert list(start("77").seeds(3)) == seeds


def test_wrong_seeds_are_refused(folder, monkeypatch):
    monkeypatch.setenv("CNNLAB_SEEDS", "-1")
    with pytest.raises(CourseError, match="CNNLAB_SEEDS is '-1', expected a whole number"):
        start("77").seeds(3)


def test_a_new_store_is_empty(tmp_path):
    assert Progress(tmp_path).solved("77") == []


def test_waiting_threads_sleep_unless_told_otherwise(folder, monkeypatch):
    """Set before torch is imported: afterwards OpenMP does not look any more."""
    code = (
        "import sys; from cnnlab.course.lesson import start; assert 'torch' not in sys.modules; "
        "start('00'); import os; print(os.environ['OMP_WAIT_POLICY'])"
    )
    for given, expected in ((None, "PASSIVE"), ("ACTIVE", "ACTIVE")):
        monkeypatch.delenv("OMP_WAIT_POLICY", raising=False)
        if given:
            monkeypatch.setenv("OMP_WAIT_POLICY", given)
        done = subprocess.run(
            [sys.executable, "-c", code], check=True, capture_output=True, text=True, timeout=120
        )
        assert done.stdout.split()[-1] == expected


def test_a_new_edition_beside_the_notebook_is_told(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("JPY_SESSION_NAME", "/here/05-vgg.ipynb")
    assert "new edition" not in str(start("05").card())
    (tmp_path / "05-vgg.new-edition.ipynb").touch()
    assert "beside this notebook: 05-vgg.new-edition.ipynb" in str(start("05").card())
    assert "new edition" not in str(start("06").card())
    monkeypatch.setenv("JPY_SESSION_NAME", "/here/05-vgg.new-edition.ipynb")
    assert "new edition" not in str(start("05").card())
