"""`python -m cnnlab report` and `reset`: what a learner did, what a class did, one chapter anew."""

from __future__ import annotations

import argparse
from pathlib import Path

from cnnlab._commands.refused import Refused, sentence


def add(commands: argparse._SubParsersAction) -> None:
    """Describe the commands."""
    report = commands.add_parser("report", help="a page of what you did; or a table of a class")
    report.add_argument("--out", help="where to write; default: the folder of your progress")
    report.add_argument(
        "--add",
        metavar="FILE",
        help="first add what a page of the web edition saved to your progress",
    )
    report.add_argument(
        "--class",
        dest="folder",
        metavar="FOLDER",
        help="a row per learner, from logbooks or report.json files in FOLDER; --out FILE.csv for "
        "a spreadsheet",
    )
    report.set_defaults(run=run)
    reset = commands.add_parser("reset", help="forget what was recorded for a chapter")
    reset.add_argument("chapter", help="two digits, such as 05")
    reset.set_defaults(run=run_reset)


def run(options: argparse.Namespace) -> int:
    """Write the report, or print the table of a class."""
    from cnnlab.course import report
    from cnnlab.course.errors import CourseError
    from cnnlab.course.logbook import Progress
    from cnnlab.course.look import Card

    folder = folder_of_progress()
    try:
        if options.add:
            report.add(Progress(folder), Path(options.add))
        if options.folder is None:
            if not Progress(folder).everything():
                raise Refused(
                    f"nothing recorded in {folder.resolve()}; run it where your notebooks are, or "
                    "set CNNLAB_PROGRESS to your progress folder"
                )
            paths = report.write_report(Progress(folder), Path(options.out or folder))
            print(*(path.as_posix() for path in paths), sep="\n")
            return 0
        rows = report.class_table(Path(options.folder))
        if options.out:
            Path(options.out).write_text(report.to_csv(rows), encoding="utf-8")
            print(options.out)
        else:
            print(Card("note", f"{len(rows) - 1} learners", (), tuple(rows)))
    except (CourseError, OSError) as error:
        raise Refused(sentence(error)) from error
    return 0


def run_reset(options: argparse.Namespace) -> int:
    """Forget a chapter; the logbook as it was stays beside."""
    from cnnlab.course.lesson import chapters
    from cnnlab.course.logbook import Progress

    if options.chapter not in chapters():
        raise Refused(f"chapter {options.chapter!r} is none of {', '.join(chapters())}")
    folder = folder_of_progress()
    try:
        kept = Progress(folder).reset(options.chapter)
    except OSError as error:
        raise Refused(sentence(error)) from error
    if kept is None:
        print(f"Nothing is recorded for chapter {options.chapter} in {folder.resolve()}.")
    else:
        print(f"Chapter {options.chapter} is forgotten. As it was: {kept}")
    return 0


def folder_of_progress() -> Path:
    """The folder of progress, seen from where the notebooks are or from above."""
    from cnnlab.course.logbook import progress_folder

    folder = progress_folder()
    places = [folder, *(Path(name) / folder for name in ("my-course", "notebooks"))]
    begun = next((place for place in places if place.is_dir()), None)
    # From above, before there is any: where `make lab` will keep it.
    return begun or (places[1] if Path("notebooks").is_dir() else folder)
