"""What a learner did, as a page to keep or hand in: passes, quizzes, predictions, what is missing.

Everything comes out of the logbook; nothing leaves the machine by itself.
"""

from __future__ import annotations

import csv
import html
import importlib
import io
import json
import math
from collections.abc import Mapping, Sequence
from datetime import date
from pathlib import Path
from statistics import median

from cnnlab._tools import write_whole
from cnnlab.course import capstone
from cnnlab.course.chapters import CHAPTERS
from cnnlab.course.errors import CourseError
from cnnlab.course.logbook import Progress, learner, sound
from cnnlab.course.look import GRID, HIGHLIGHT, INK, INPUT, MUTED, SMALL, WIDTH, short

FORMAT = "cnnlab report 1"
# What a prediction is about, by its unit; all others are counts.
KINDS = {
    "percent": "shares",
    "%": "shares",
    "times": "factors",
    "points": "differences of accuracy",
}


def exercise_names(chapter: str) -> list[str]:
    """The names of a chapter's exercises, in order."""
    module = importlib.import_module(f"cnnlab.course.exercises.ch{chapter}")
    return [exercise.name for exercise in module.exercises]


def summary(chapters: Mapping[str, Mapping]) -> list[dict]:
    """Of every chapter: number, title, passed and open exercises (names), quiz, predictions."""
    rows = []
    for chapter in CHAPTERS:
        done = chapters.get(chapter.number, {})
        entries, names = done.get("exercises", {}), exercise_names(chapter.number)
        passed = [name for name in names if entries.get(name, {}).get("passed")]
        rows.append(
            {
                "chapter": chapter.number,
                "title": chapter.title,
                "passed": passed,
                "open": [name for name in names if name not in passed],
                "quiz": done.get("quiz") or None,
                "predictions": [
                    {**entry, "off": off(entry)} for entry in done.get("predictions", {}).values()
                ],
            }
        )
    return rows


def off(prediction: Mapping) -> float | None:
    """Guess over measurement, above 1 where the guess was too high; None where that says nothing:
    a word, a default left in place, not revealed yet, a zero, two signs."""
    guess, found = prediction.get("guess"), prediction.get("measured")
    numbers = all(isinstance(v, (int, float)) and not isinstance(v, bool) for v in (guess, found))
    if not numbers or prediction.get("default") or guess * found <= 0:
        return None
    return guess / found


def add(store: Progress, file: Path) -> None:
    """Add what a page of the web edition saved to a learner's record: an exercise passed in one of
    them is passed, the better quiz counts, and a prediction of one's own stays. Adding the file
    again changes nothing. Raises CourseError where it is no such file."""
    try:
        chapters = json.loads(file.read_text(encoding="utf-8"))["chapters"]
        known = {chapter.number for chapter in CHAPTERS}
        if not set(chapters) <= known or not all(sound(kept) for kept in chapters.values()):
            raise ValueError("not as written by a page of the course")
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise CourseError(
            f"{file} holds no progress ({error}); give the file that 'Save as a file' on a page "
            "of the web edition wrote"
        ) from error
    for number, saved in chapters.items():
        store.update(number, lambda done, saved=saved: _merge(done, saved))


def _merge(done: dict, saved: Mapping) -> None:
    for name, entry in saved.get("exercises", {}).items():
        mine = done["exercises"].setdefault(name, {"tries": 0, "passed": False})
        mine["tries"] = max(mine["tries"], entry["tries"])
        mine["passed"] = mine["passed"] or entry["passed"]
    quiz = saved.get("quiz") or {"right": -1}
    if quiz["right"] > done["quiz"].get("right", -1):
        done["quiz"] = dict(quiz)
    for name, prediction in saved.get("predictions", {}).items():
        if done["predictions"].get(name, {"default": True}).get("default"):
            done["predictions"][name] = dict(prediction)


def write_report(store: Progress, folder: Path) -> tuple[Path, Path]:
    """Write report.html and report.json into the folder; gives both paths.

    Raises CourseError where the folder cannot be written to.
    """
    data = {
        "format": FORMAT,
        "learner": learner(),
        "made": date.today().isoformat(),
        "chapters": store.everything(),
        "summary": summary(store.everything()),
    }
    page, record = folder / "report.html", folder / "report.json"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        write_whole(page, to_html(data).encode())
        write_whole(record, (json.dumps(data, indent=1, sort_keys=True) + "\n").encode())
    except OSError as error:
        raise CourseError(
            f"the report cannot be written to {folder} ({error.strerror or error}); "
            "name another place: python -m cnnlab report --out FOLDER"
        ) from error
    return page, record


def to_html(data: Mapping) -> str:
    """The page: one file, without scripts, that prints well."""
    rows, made = data["summary"], f"{data['learner']}, {data['made']}"
    passed = sum(len(row["passed"]) for row in rows)
    total = passed + sum(len(row["open"]) for row in rows)
    body = [
        f"<h1>cnnlab: what I did</h1><p>{html.escape(made)}. {passed} of {total} exercises.</p>"
    ]
    body.append(
        _table(
            ("chapter", "exercises", "still open", "quiz"),
            [
                (
                    f"{row['chapter']} {row['title']}",
                    f"{len(row['passed'])} of {len(row['passed']) + len(row['open'])}",
                    ", ".join(row["open"]) or "-",
                    f"{row['quiz']['right']} of {row['quiz']['total']}" if row["quiz"] else "open",
                )
                for row in rows
            ],
        )
    )
    design = data["chapters"].get("13", {}).get("design")
    if design:
        body.insert(1, capstone.section(design, _table) + "<h2>Exercises</h2>")
    guesses = [(row, guess) for row in rows for guess in row["predictions"]]
    body.append("<h2>Predictions beside measurements</h2>")
    if guesses:
        words = f"{tendency(rows)} {leanings(rows)}"
        body.append(f"<p>{html.escape(words)}</p>{picture(rows)}")
        body.append(
            _table(
                ("chapter", "question", "predicted", "measured"),
                [
                    (
                        row["chapter"],
                        guess.get("question", ""),
                        _said(guess, "guess") + " (default)" * bool(guess.get("default")),
                        _said(guess, "measured"),
                    )
                    for row, guess in guesses
                ],
            )
        )
    else:
        body.append("<p>None yet. Each chapter asks for one.</p>")
    style = (
        f"body{{font:16px/1.5 sans-serif;max-width:{WIDTH}px;margin:2em auto;padding:0 1em}}"
        f"table{{border-collapse:collapse}}td,th{{text-align:left;vertical-align:top;"
        f"padding:3px 14px 3px 0;border-bottom:1px solid {GRID}}}"
        "svg,img{max-width:100%;height:auto}"
    )
    return (
        '<!doctype html><html lang="en"><meta charset="utf-8"><title>cnnlab: what I did</title>'
        f'<meta name="viewport" content="width=device-width"><style>{style}</style>'
        f"<main>{''.join(body)}</main></html>\n"
    )


def tendency(rows: Sequence[Mapping]) -> str:
    """How far the guesses were off, and to which side, in a sentence."""
    ratios = [guess["off"] for row in rows for guess in row["predictions"] if guess["off"]]
    if not ratios:
        return "No guess of your own has met its measurement yet."
    sides = [sum(r > 1.1 for r in ratios), sum(r < 1 / 1.1 for r in ratios)]
    near = len(ratios) - sum(sides)
    factor = math.exp(median(abs(math.log(r)) for r in ratios))
    return (
        f"Of {len(ratios)} guesses in numbers {near} came within 10%, {sides[0]} were too high, "
        f"{sides[1]} too low; typically off by a factor of {short(factor, 2)}."
    )


def leanings(rows: Sequence[Mapping]) -> str:
    """To which side the guesses of each kind lean, and how far: "You rate factors 3 times too
    high (2 guesses)."; "" where none of your own has met its measurement."""
    by_kind: dict[str, list[float]] = {}
    for guess in (guess for row in rows for guess in row["predictions"] if guess["off"]):
        by_kind.setdefault(KINDS.get(guess.get("unit"), "counts"), []).append(guess["off"])
    said = []
    for kind, ratios in sorted(by_kind.items()):
        middle = math.exp(median(map(math.log, ratios)))  # one wild guess shall not decide
        side = "high" if middle > 1 else "low"
        lean = f"{short(max(middle, 1 / middle), 2)} times too {side}"
        about = "about right" if 1 / 1.1 <= middle <= 1.1 else lean
        said.append(f"{kind} {about} ({len(ratios)})")
    return f"You rate {', '.join(said)}." if said else ""


def picture(rows: Sequence[Mapping]) -> str:
    """Every guess as a multiple of its measurement, a line each, grouped by chapter; "" if none."""
    from cnnlab.course.pictures.svg import Svg

    found = [(row, g) for row in rows for g in row["predictions"] if g["off"]]
    if not found:
        return ""
    reach = max(10.0, *(max(g["off"], 1 / g["off"]) for _, g in found))
    left, right, top, line = 250, WIDTH - 20, 46, 26
    middle, half = (left + right) / 2, (right - left) / 2
    svg = Svg(WIDTH, top + line * len(found) + 14, f"Guess over measurement. {tendency(rows)}")
    scale = (
        (1 / reach, "too low", "start"),
        (1, "as measured", "middle"),
        (reach, "too high", "end"),
    )
    for factor, name, anchor in scale:
        x = middle + half * 0.9 * math.log(factor) / math.log(reach)
        svg.line(x, top - 14, x, top + line * len(found), MUTED if factor == 1 else GRID)
        times = "" if factor == 1 else f", {short(reach, 2)} times"
        svg.text(x, 20, name + times, SMALL, MUTED, anchor)
    for index, (row, guess) in enumerate(found):
        y = top + line * (index + 0.4)
        x = middle + half * 0.9 * math.log(guess["off"]) / math.log(reach)
        svg.text(left - 14, y + 4, f"{row['chapter']} {row['title']}", SMALL, INK, "end")
        svg.line(middle, y, x, y, INPUT, 2)
        svg.circle(x, y, 5, HIGHLIGHT if max(guess["off"], 1 / guess["off"]) > 2 else INPUT)
    return str(svg)


def class_table(folder: Path) -> list[tuple[str, ...]]:
    """A row per learner: name, exercises per chapter, quiz points, guesses. `folder` holds their
    logbooks or report.json files, at any depth; the head comes first.

    Raises CourseError where there is none, naming what was found and could not be read.
    """
    numbers = [chapter.number for chapter in CHAPTERS]
    rows, strange = [("learner", *numbers, "quiz", "predictions")], []
    for path in sorted(folder.rglob("*.json")):
        reported = path.name == "progress.json" and path.with_name("report.json").exists()
        if reported or ".before-reset-" in path.name:
            continue  # the same learner once more
        try:
            data = json.loads(path.read_text(encoding="utf-8"))
            if not all(sound(kept) for kept in data["chapters"].values()):
                raise ValueError
            done = summary(data["chapters"])
        except (OSError, ValueError, KeyError, TypeError, AttributeError):
            strange.append(path.name)
            continue
        name = data.get("learner") or path.relative_to(folder).with_suffix("").as_posix()
        quiz = [row["quiz"] for row in done if row["quiz"]]
        rows.append(
            (
                str(name),
                *(f"{len(r['passed'])}/{len(r['passed']) + len(r['open'])}" for r in done),
                f"{sum(q['right'] for q in quiz)}/{sum(q['total'] for q in quiz)}",
                str(sum(len(row["predictions"]) for row in done)),
            )
        )
    if len(rows) == 1:
        found = f"; no logbooks: {', '.join(strange)}" if strange else ""
        raise CourseError(
            f"{folder} holds no logbook and no report.json{found}; collect the files that "
            "`python -m cnnlab report` writes into one folder"
        )
    return rows


def to_csv(rows: Sequence[Sequence[str]]) -> str:
    """The rows for a spreadsheet."""
    text = io.StringIO()
    csv.writer(text).writerows(rows)
    return text.getvalue()


def _said(guess: Mapping, key: str) -> str:
    value = guess.get(key)
    return "-" if value is None else f"{short(value)} {guess.get('unit', '')}".strip()


def _table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = ["".join(f"<th>{html.escape(cell)}</th>" for cell in head)]
    for row in rows:
        whole = [' style="white-space:nowrap"' if len(cell) < 16 else "" for cell in row]
        lines.append(
            "".join(f"<td{style}>{html.escape(cell)}</td>" for cell, style in zip(row, whole))
        )
    return "<table>" + "".join(f"<tr>{line}</tr>" for line in lines) + "</table>"
