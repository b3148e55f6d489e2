"""What the README tells a newcomer to type exists, and what it links to is there."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest
from packaging.specifiers import SpecifierSet

from cnnlab.models import MODELS
from tests.tools.pages import measure

ROOT = Path(__file__).resolve().parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")
COMMANDS = [
    line.partition("#")[0].strip()
    for block in re.findall(r"```sh\n(.*?)```", README, re.DOTALL)
    for line in block.splitlines()
]
NOTEBOOKS = sorted((ROOT / "notebooks").glob("*.ipynb"))


def described(command: str) -> bool:
    """Whether the project knows this command."""
    words = command.split()
    if words[0] == "make":
        makefile = (ROOT / "Makefile").read_text()
        rules = re.findall(r"^([a-z]+):", makefile, re.MULTILINE)
        given = [word.partition("=")[0] for word in words[2:]]
        return words[1:2] != [] and words[1] in rules and all(f"$({v})" in makefile for v in given)
    if words[0] in (".venv/bin/python", "python"):
        return words[1:] == [".ci/lab.py"] or (
            words[1:3] == ["-m", "cnnlab"] and understood(words[3:])
        )
    if words[0] == "git":
        return words == ["git", "pull"]
    # conda's words are those at the head of environment.yml
    head = " ".join((ROOT / "environment.yml").read_text().partition("name:")[0].split("\n"))
    return " ".join(words) in head


def understood(words: list[str]) -> bool:
    """Whether `python -m cnnlab` takes these words: its own help of the subcommand says so."""
    answer = subprocess.run(
        [sys.executable, "-m", "cnnlab", words[0], "--help"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=120,
    )
    options = {word for word in words if word.startswith("--")}
    models = {word for word in words[1:2] if words[0] in ("table", "train")}
    return (
        answer.returncode == 0
        and models <= set(MODELS)
        and all(option in answer.stdout for option in options)
    )


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_exists(command):
    assert described(command)


@pytest.mark.parametrize(
    "command",
    [
        "make coffee",
        "make lab COFFEE=1",
        "git push",
        "make",
        ".venv/bin/python -m cnnlab dance",
        "pip install cnnlab",
        ".venv/bin/python -m cnnlab train lenet5 --sice 32",
        ".venv/bin/python -m cnnlab table vgg61",
    ],
)
def test_an_unknown_command_is_noticed(command):
    assert not described(command)


def test_the_two_commands_come_first():
    assert COMMANDS[:2] == ["make lab", "make test"]


def test_every_link_leads_to_a_file():
    links = [link for link in re.findall(r"\]\(([^)]+)\)", README) if not link.startswith("#")]
    assert len(links) >= 7
    assert [link for link in links if not (ROOT / link).is_file()] == []


def rows():
    """(number, file, minutes) of the table of chapters."""
    return re.findall(
        r"^\| \[(\d\d) [^]]+\]\(notebooks/([^)]+)\) \| (\d+) min \| [^|]+ \|$", README, re.MULTILINE
    )


def test_every_chapter_is_there_with_its_time_and_its_line():
    assert [name for _, name, _ in rows()] == [path.name for path in NOTEBOOKS]
    assert [number for number, _, _ in rows()] == [path.name[:2] for path in NOTEBOOKS]


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_the_times_are_those_of_the_chapters(path):
    said = {name: int(minutes) for _, name, minutes in rows()}[path.name]
    measured = measure(path).minutes
    assert said == 5 * round(measured / 5), f"python -m tests.tools.pages says {measured} minutes"


def test_the_room_on_the_disk_is_the_one_that_the_builder_looks_for():
    linux, other = re.findall(r"about (\d+) GB", README)
    builder = (ROOT / ".ci/environment.py").read_text()
    assert f'GB = {linux} if sys.platform == "linux" else {other}' in builder


def test_windows_is_told_files_that_exist_and_that_it_is_untested():
    block = re.search(r"```powershell\n(.*?)```", README, re.DOTALL).group(1)
    files = re.findall(r"\.ci\\\w+\.py", block)
    assert [(ROOT / name.replace("\\", "/")).is_file() for name in files] == [True, True]
    assert "untested here" in README


def test_nothing_is_promised_to_be_measured_later():
    assert "not measured" not in README


def test_a_small_picture_with_words_for_who_cannot_see_it():
    ((alt, path),) = re.findall(r"!\[([^]]*)\]\(([^)]+)\)", README)
    assert len(alt) > 60
    assert (ROOT / path).stat().st_size < 200_000
    above = README.partition("![")[0]
    assert len(above.split()) < 40, "the picture belongs on the first screen"


def test_the_pythons_are_those_of_the_project():
    project = (ROOT / "pyproject.toml").read_text()
    wanted = re.search(r'requires-python = "([^"]+)"', project).group(1)
    first, last = re.search(r"Python (3\.\d+) to (3\.\d+)", README).groups()
    minor = int(last.split(".")[1])
    inside = SpecifierSet(wanted)
    assert first in inside and last in inside
    assert f"3.{int(first.split('.')[1]) - 1}" not in inside and f"3.{minor + 1}" not in inside
