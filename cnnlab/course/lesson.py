"""What a notebook's first cell needs: device, scale, seeds, exercises, predictions, progress.

from cnnlab.course.lesson import start
lesson = start("01")
"""

from __future__ import annotations

import importlib
import os
import platform
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import cnnlab
from cnnlab.course.chapters import CHAPTERS
from cnnlab.course.errors import CourseError
from cnnlab.course.logbook import Progress, progress_folder
from cnnlab.course.look import Card, show_card
from cnnlab.course.prediction import Prediction, accepted

if TYPE_CHECKING:
    from cnnlab.course.pictures.svg import Drawing

SCALES = ("quick", "full")


def start(chapter: str) -> Lesson:
    """Begin a chapter ("00" to "13"): show one card and return its `Lesson`.

    Device: the first CUDA GPU, else the CPU. Scale: `CNNLAB_SCALE` if set, else "full" on a GPU
    and "quick" on a CPU. Seeds torch with 0. Raises CourseError for an unknown chapter or scale.
    """
    # Waiting threads shall sleep: spinning, two of them made small trainings five times slower on a
    # machine with other work, and no faster on an idle one. Read when torch is first imported.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    import torch

    device = "cuda" if torch.cuda.is_available() else "cpu"
    lesson = Lesson(chapter, device, scale_for(device), Progress(progress_folder()))
    torch.manual_seed(0)
    show_card(lesson.card())
    return lesson


class Lesson:
    """A chapter under way: `scale`, `device`, `exercises`, `quiz`, and what the learner did."""

    def __init__(self, chapter: str, device: str, scale: str, store: Progress):
        module = _chapter_module(chapter)
        self.chapter, self.device, self.scale = chapter, device, scale
        self._store = store
        solved = store.solved(chapter)
        self.exercises = module.exercises.bound(self._record_exercise, solved)
        self.quiz = _quiz_of(chapter).bound(self._record_quiz)

    def pick(self, *, quick: object, full: object) -> object:
        """`quick` or `full`, by the scale: `epochs = lesson.pick(quick=3, full=30)`.

        Where `full` names a data set that is not here and cannot be fetched, the chapter says so
        and goes on at quick scale.
        """
        if self.scale == "full" and isinstance(full, str):
            from cnnlab.data.published import SETS, fetch

            try:
                if full in SETS:
                    fetch(full)
            except ValueError as error:
                print(f"{error} This chapter goes on at quick scale.")
                self.scale = "quick"
        return quick if self.scale == "quick" else full

    def seeds(self, count: int) -> range:
        """`count` random starts: 0, 1, ...; with `CNNLAB_SEEDS=100` they are 100, 101, ...

        Raises CourseError where that is not a whole number from 0.
        """
        first = os.environ.get("CNNLAB_SEEDS", "0")
        if not first.isdecimal():
            raise CourseError(
                f"CNNLAB_SEEDS is {first!r}, expected a whole number from 0, the first seed; set "
                "one, or unset it"
            )
        return range(int(first), int(first) + count)

    def predict(
        self,
        name: str,
        value: float | str,
        question: str,
        unit: str = "",
        default: float | str | None = None,
    ) -> Prediction:
        """Record a guess before the measurement; `default` is the value the notebook came with.

        Raises CourseError when `value` is neither a finite number nor a word, or a word where the
        default is a number.
        """
        earlier = self._store.chapter(self.chapter)["predictions"].get(name, {})
        if value is ... and default is not None:
            value = default
        if value == default and earlier.get("default") is False:
            value = earlier["guess"]  # typed on the page: running the cell again keeps it
        guess = accepted(name, value, default)
        prediction = Prediction(name, guess, question, unit, default, self._record_prediction)
        prediction.record(prediction, None)
        return prediction

    def progress(self) -> Card:
        """What was done so far, in every chapter."""
        rows = [("chapter", "exercises", "quiz", "predictions")]
        self._store.everything()  # what other notebooks did meanwhile, too
        for chapter in chapters():
            done = self._store.chapter(chapter)
            names = {exercise.name for exercise in _chapter_module(chapter).exercises}
            quiz = done["quiz"]
            rows.append(
                (
                    chapter,
                    f"{len(names.intersection(self._store.solved(chapter)))} of {len(names)}",
                    f"{quiz['right']} of {quiz['total']}" if quiz else "-",
                    str(len(done["predictions"])),
                )
            )
        where = f"Kept in {self._store.place()}"
        return Card("note", "Progress", (where, *self._store.warnings), tuple(rows))

    def report(self) -> Card:
        """Write the page to keep or hand in, about every chapter, and say where it lies."""
        from cnnlab.course import report

        page, record = report.write_report(self._store, progress_folder())
        rows = report.summary(self._store.everything())
        missing = [f"{row['chapter']} ({len(row['open'])})" for row in rows if row["open"]]
        return Card(
            "note",
            "Your report",
            (
                f"Open {page.as_posix()} in a browser; {record.name} beside it holds the same.",
                f"Exercises still open in: {', '.join(missing) or 'no chapter'}.",
                report.tendency(rows),
            ),
        )

    def calibration(self) -> Drawing | None:
        """All guesses so far against their measurements, in one picture."""
        from cnnlab.course import report
        from cnnlab.course.pictures.svg import Drawing

        rows = report.summary(self._store.everything())
        picture = report.picture(rows)
        lines = tuple(filter(None, (report.tendency(rows), report.leanings(rows))))
        show_card(Card("note", "Your guesses, all chapters", lines))
        return Drawing(picture) if picture else None

    def hand_in(self, name: str, model, runs: Mapping[str, Sequence], image=None) -> Card:
        """Put a design into the report: see `capstone.record`."""
        from cnnlab.course import capstone

        kept = capstone.record(name, model, runs, image or capstone.IMAGE)
        self._store.update(self.chapter, lambda done: done.update(design=kept))
        line = "`lesson.report()` writes the page; hand in another, and it takes this one's place."
        return Card("note", "Your design is in the report", (line,))

    def card(self) -> Card:
        import torch

        device = (
            torch.cuda.get_device_name(0)
            if self.device == "cuda"
            else f"CPU, threads: {torch.get_num_threads()}"
        )
        return Card(
            "note",
            f"Chapter {self.chapter}: ready",
            (
                f"Scale {self.scale} on {device}.",
                f"cnnlab {cnnlab.__version__}, torch {torch.__version__}, "
                f"Python {platform.python_version()}.",
                "On a stored page this stands here too: run this cell before any other.",
                *_new_edition(self.chapter),
                *self._store.warnings,
            ),
        )

    def __repr__(self) -> str:
        return f"Lesson {self.chapter} at {self.scale} scale on {self.device}"

    def _record_exercise(self, verdict) -> None:
        if verdict.status in ("not attempted", "not judged"):
            return

        def write(done):
            entry = done["exercises"].setdefault(verdict.exercise, {"tries": 0, "passed": False})
            entry["tries"] += 1
            entry["passed"] = entry["passed"] or verdict.passed

        self._store.update(self.chapter, write)

    def _record_quiz(self, right: int, total: int) -> None:
        self._store.update(
            self.chapter, lambda done: done.update(quiz={"right": right, "total": total})
        )

    def _record_prediction(self, prediction: Prediction, measured: float | str | None) -> None:
        entry = {
            "question": prediction.question,
            "guess": prediction.value,
            "unit": prediction.unit,
            "measured": measured,
            "default": prediction.kept,
        }

        def write(done):
            earlier = done["predictions"].get(prediction.name, {})
            if measured is None and earlier.get("guess") == prediction.value:
                # The cell ran again: the guess has met its measurement all the same.
                entry["measured"] = earlier.get("measured")
            done["predictions"][prediction.name] = entry

        self._store.update(self.chapter, write)


def _new_edition(chapter: str) -> list[str]:
    """A word about the edition that an update put beside the learner's notebook (.ci/lab.py)."""
    found = sorted(path.name for path in Path().glob(f"{chapter}-*.new-edition*.ipynb"))
    if not found or found[-1] in os.environ.get("JPY_SESSION_NAME", ""):  # it is the one open
        return []
    return [f"An update brought a new edition, beside this notebook: {found[-1]}."]


def scale_for(device: str) -> str:
    """`CNNLAB_SCALE`, else "full" on a GPU and "quick" on a CPU. Raises CourseError if wrong."""
    scale = os.environ.get("CNNLAB_SCALE") or ("full" if device == "cuda" else "quick")
    if scale not in SCALES:
        raise CourseError(
            f"CNNLAB_SCALE is {scale!r}, expected quick or full; set one of them, "
            "or unset it to let the device decide"
        )
    return scale


def chapters() -> list[str]:
    """The chapters that exist, in order: ["00", "01", ...]."""
    return [chapter.number for chapter in CHAPTERS]


def _chapter_module(chapter: str):
    if chapter not in chapters():
        raise CourseError(
            f"chapter {chapter!r} does not exist; chapters: "
            f'{", ".join(chapters())}; write two digits in quotes, start("01")'
        )
    return importlib.import_module(f"cnnlab.course.exercises.ch{chapter}")


def _quiz_of(chapter: str):
    return importlib.import_module(f"cnnlab.course.exercises.ch{chapter}_quiz").quiz
