"""What a learner did, on disk: exercises, quiz and predictions of every chapter, in one file."""

from __future__ import annotations

import getpass
import json
import os
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO

from cnnlab._tools import finite, lock, unused, write_whole
from cnnlab.course.look import Card, show_card

FOLDER = "my-progress"
FORMAT = 2  # of the file; 1 had no number


class Progress:
    """The learner's progress: one JSON file, written whole or not at all.

    Damaged: set aside as `.damaged` and said so. Not writable, or written by a later cnnlab: said
    so once, left as it is, and kept in memory.
    """

    def __init__(self, folder: Path):
        self.file = progress_file(folder)
        self.warnings: list[str] = []
        self._writable = True
        self._lock = threading.Lock()  # a quiz speaks in another thread than the cells
        self._chapters = self._read()

    def chapter(self, chapter: str) -> dict:
        """What was recorded for a chapter: {"exercises": ..., "quiz": ..., "predictions": ...}."""
        kept = self._chapters.setdefault(chapter, {})
        for key, empty in (("exercises", {}), ("quiz", {}), ("predictions", {})):
            kept.setdefault(key, empty)
        return kept

    def solved(self, chapter: str) -> list[str]:
        entries = self.chapter(chapter)["exercises"]
        return [name for name, entry in entries.items() if entry["passed"]]

    def everything(self) -> dict:
        """The record of every chapter that has one, by number, with what other notebooks did."""
        with self._lock, alone(self.file):
            if self._writable:
                self._chapters = self._read()
        return {number: self.chapter(number) for number in sorted(self._chapters)}

    def reset(self, chapter: str) -> Path | None:
        """Forget a chapter; the file as it was is kept beside, and its path is returned. None
        where nothing was recorded."""
        if not any(self.chapter(chapter).values()):
            return None
        aside = next(
            path
            for n in range(1, 10_000)
            if not (path := self.file.with_suffix(f".before-reset-{n}.json")).exists()
        )
        write_whole(aside, self.file.read_bytes())
        self.update(chapter, lambda done: done.clear())
        return aside

    def update(self, chapter: str, change: Callable[[dict], object]) -> None:
        """Apply `change` to a chapter's record and save; other notebooks' records are re-read."""
        with suppress(OSError):  # `_write` says what is wrong with the folder
            self.file.parent.mkdir(parents=True, exist_ok=True)
        with self._lock, alone(self.file):
            if self._writable:
                self._chapters = self._read()
            change(self.chapter(chapter))
            if self._writable:
                self._write()

    def place(self) -> str:
        return self.file.as_posix() if self._writable else "memory only"

    def _read(self) -> dict:
        try:
            kept = json.loads(self.file.read_text(encoding="utf-8"))
            chapters = kept["chapters"]
            if kept.get("format", 1) > FORMAT:
                return self._in_memory(f"{self.file.name} was written by a later version of cnnlab")
            if not all(sound(kept) for kept in chapters.values()):
                raise ValueError("not as written by this course")
            return chapters
        except FileNotFoundError:
            return {}
        except OSError as error:
            return self._in_memory(error)
        except (ValueError, KeyError, TypeError, AttributeError):
            aside = unused(self.file.with_suffix(".json.damaged"))
            try:
                os.replace(self.file, aside)
            except OSError as error:
                return self._in_memory(error)
            self.warnings.append(
                f"{self.file} was damaged: set aside as {aside.name}, and a new one begun."
            )
            return {}

    def _write(self) -> None:
        text = json.dumps({"format": FORMAT, "chapters": self._chapters}, indent=1, sort_keys=True)
        try:
            self.file.parent.mkdir(parents=True, exist_ok=True)
            write_whole(self.file, text.encode())
        except OSError as error:
            self._in_memory(error)

    def _in_memory(self, error: OSError | str) -> dict:
        self._writable = False
        step = "Update the course, or set" if isinstance(error, str) else "Set"
        self.warnings.append(
            f"Progress cannot be kept in {self.file.parent} "
            f"({getattr(error, 'strerror', None) or error}): it lasts until the kernel stops. "
            f"{step} CNNLAB_PROGRESS to another folder that you can write to."
        )
        show_card(Card("muted", "Progress is not saved", (self.warnings[-1],)))
        return {}


def sound(kept: dict) -> bool:
    """Whether a chapter's record has the form in which it is written."""
    exercises, quiz, predictions = (kept.get(k, {}) for k in ("exercises", "quiz", "predictions"))
    return (
        all(
            isinstance(e["passed"], bool) and isinstance(e["tries"], int)
            for e in exercises.values()
        )
        and (quiz == {} or all(isinstance(quiz[k], int) for k in ("right", "total")))
        and all(map(_sound_prediction, predictions.values()))
        and ("design" not in kept or _sound_design(kept["design"]))
    )


def _sound_prediction(kept: dict) -> bool:
    words = [kept.get(name, "") for name in ("question", "unit")]
    return (
        _number_or_word(kept["guess"])
        and (kept.get("measured") is None or _number_or_word(kept["measured"]))
        and all(isinstance(word, str) for word in words)
    )


def _number_or_word(value: object) -> bool:
    return isinstance(value, str) or finite(value)


def _sound_design(kept: dict) -> bool:
    kinds = {"name": str, "costs": list, "diagram": str, "layers": list, "runs": dict}
    return all(isinstance(kept[name], kind) for name, kind in kinds.items())


@contextmanager
def alone(file: Path, seconds: float = 5.0) -> Iterator[None]:
    """No other process is in here for this file meanwhile: two notebooks write at once when both
    run all their cells. The lock ends with the process. Where none can be had, or not in time, it
    goes on without one: better than no progress at all."""
    try:
        beside = open(file.with_name(f".{file.name}.lock"), "a")
    except OSError:  # whoever writes the file will say what is wrong with the folder
        yield
        return
    with beside:
        end = time.monotonic() + seconds
        while not _taken(beside) and time.monotonic() < end:
            time.sleep(0.01)
        yield


def _taken(file: IO) -> bool:
    """Whether the lock is ours now, or the system has none."""
    try:
        lock(file)
    except (BlockingIOError, PermissionError):
        return False
    except (OSError, ImportError):
        return True
    return True


def progress_folder() -> Path:
    """Where progress is kept: `CNNLAB_PROGRESS` (~ is your home), else my-progress/ beside the
    notebook."""
    return Path(os.environ.get("CNNLAB_PROGRESS") or FOLDER).expanduser()


def progress_file(folder: Path) -> Path:
    """The learner's file there. A folder that `CNNLAB_PROGRESS` names may be shared by a class:
    there each user has a file of their own."""
    alone = folder / "progress.json"
    if not os.environ.get("CNNLAB_PROGRESS"):
        return alone
    try:
        if alone.stat().st_uid == os.getuid():
            return alone
    except (OSError, AttributeError):  # none there, or a system without users' numbers
        pass
    return folder / f"progress-{learner()}.json"


def learner() -> str:
    """The name of the user, as letters, digits, dots, dashes and underscores."""
    try:
        name = getpass.getuser()
    except Exception:  # no such user, no such variable: what is raised differs by version
        name = ""
    return "".join(c if c.isalnum() or c in "._-" else "_" for c in name) or "learner"
