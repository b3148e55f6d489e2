"""The builder of .venv, with a Python that only pretends: what it keeps, what it says."""

from __future__ import annotations

import importlib.util
import os
import shutil
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

ROOT = Path(__file__).resolve().parents[1]
pytestmark = pytest.mark.skipif(os.name == "nt", reason="the pretended Python is a shell script")

# Answers like a Python 3.12 with everything in it. `-m venv FOLDER` makes a folder with itself in
# it; `-m pip` installs what constraints.txt says, as the file `installed`, if there is a network.
PYTHON = """#!/bin/sh
case "$1 $2" in
"-c "*) [ -e "$FAKE/broken" ] && exit 1; echo 3.12;;
"-m venv") [ -e "$FAKE/no-venv" ] && exit 1
    for folder; do :; done; mkdir -p "$folder/bin"; cp "$0" "$folder/bin/python";;
"-m pip")
    echo pip >> "$FAKE/calls"
    home=$(dirname "$(dirname "$0")")
    if ! cmp -s constraints.txt "$home/installed"; then
        case "$*" in *--no-index*) exit 1;; esac
        if [ -e "$FAKE/log" ]; then cp "$FAKE/log" .venv.log; exit 1; fi
        rm -f "$home/installed"; cp constraints.txt "$home/installed"
    fi
    printf '#!%s/bin/python\\nrun\\n' "$PWD/.venv.next" > "$home/bin/jupyter.part"
    mv "$home/bin/jupyter.part" "$home/bin/jupyter";;
esac
"""


class Course:
    """A folder with the builder in it, and what surrounds it."""

    def __init__(self, folder, fake, monkeypatch):
        self.root, self.fake, self.monkeypatch = folder, fake, monkeypatch
        shutil.copytree(ROOT / ".ci", folder / ".ci", ignore=shutil.ignore_patterns("__pycache__"))
        shutil.copytree(ROOT / ".lab", folder / ".lab")
        (folder / "pyproject.toml").write_text("[project]\n")
        (folder / "constraints.txt").write_text("torch==1\n")

    def make(self, root=None):
        """What `make environment` does; the words of its refusal, if any."""
        root = root or self.root
        self.monkeypatch.syspath_prepend(str(root / ".ci"))
        spec = importlib.util.spec_from_file_location("builder", root / ".ci" / "environment.py")
        self.module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(self.module)
        python = self.fake / "python"
        pretended = SimpleNamespace(
            executable=str(python), version_info=(3, 12, 0), platform=sys.platform
        )
        self.monkeypatch.setattr(self.module, "sys", pretended)
        self.monkeypatch.setattr(self.module.supported, "problem", lambda: "")
        try:
            self.module.main()
        except SystemExit as error:
            return str(error)
        return ""

    def installed(self, root=None):
        return ((root or self.root) / ".venv" / "installed").read_text()

    def calls(self):
        calls = self.fake / "calls"
        return len(calls.read_text().splitlines()) if calls.exists() else 0

    def left(self):
        return sorted(path.name for path in self.root.glob(".venv*"))


@pytest.fixture
def course(tmp_path, monkeypatch):
    for name in ("PYTHON", "CI"):
        monkeypatch.delenv(name, raising=False)
    fake = tmp_path / "fake"
    fake.mkdir()
    (fake / "python").write_text(PYTHON)
    (fake / "python").chmod(0o755)
    monkeypatch.setenv("FAKE", str(fake))
    folder = tmp_path / "Über Faltung"
    folder.mkdir()
    return Course(folder, fake, monkeypatch)


NO_NETWORK = "NewConnectionError: Failed to establish a new connection"


def test_it_is_built_once(course, capsys):
    assert course.make() == ""
    assert course.installed() == "torch==1\n" and course.calls() == 1
    assert "once, a few minutes" in capsys.readouterr().out
    assert course.make() == ""
    assert course.calls() == 1 and capsys.readouterr().out == ""
    assert course.left() == [".venv", ".venv.lock"]


def test_a_changed_pin_is_brought_in(course):
    course.make()
    before = (course.root / ".venv" / "bin" / "python").stat().st_ino
    (course.root / "constraints.txt").write_text("torch==2\n")
    assert course.make() == "" and course.installed() == "torch==2\n"
    # By hard links: what did not change is not written again.
    assert (course.root / ".venv" / "bin" / "python").stat().st_ino == before
    assert course.left() == [".venv", ".venv.lock"]


@pytest.mark.parametrize(
    "log, words",
    [
        (NO_NETWORK, "The network, or the package index, cannot be reached"),
        ("IncompleteRead(3 bytes read, 9 more expected)", "cannot be reached"),
        (
            "ERROR: THESE PACKAGES DO NOT MATCH THE HASHES FROM THE REQUIREMENTS",
            "cannot be reached",
        ),
        ("OSError: [Errno 28] No space left on device", "The disk is full"),
        ("ERROR: ResolutionImpossible", "A step failed (1); pip's words are above"),
    ],
)
def test_a_failed_update_says_why_and_opens_the_course(course, capsys, log, words):
    course.make()
    (course.root / "constraints.txt").write_text("torch==2\n")
    (course.fake / "log").write_text(log)
    assert course.make() == ""
    said = capsys.readouterr().out
    assert words in said and "It works, and is used as it is" in said
    assert course.installed() == "torch==1\n" and ".venv.next" not in course.left()
    (course.fake / "log").unlink()  # the network is back
    assert course.make() == "" and course.installed() == "torch==2\n"


def test_in_ci_a_failed_update_is_a_failure(course):
    course.make()
    (course.root / "constraints.txt").write_text("torch==2\n")
    (course.fake / "log").write_text(NO_NETWORK)
    course.monkeypatch.setenv("CI", "true")
    assert "cannot be reached" in course.make()


def test_kernels_and_exports_of_the_environment_get_the_courses_settings(course):
    course.make()
    for name, place in (
        ("ipython_kernel_config.py", "etc/ipython"),
        ("jupyter_nbconvert_config.json", "etc/jupyter"),
    ):
        source = course.root / ".lab" / name
        copied = course.root / ".venv" / place / name
        assert copied.read_text() == source.read_text() == (ROOT / ".lab" / name).read_text()
        source.write_text("{}")
        assert course.make() == "" and copied.read_text() == "{}"  # a changed one is brought in


def test_a_failed_first_build_leaves_nothing_and_says_what_to_do(course):
    (course.fake / "log").write_text(NO_NETWORK)
    refusal = course.make()
    assert "cannot be reached" in refusal and "run the same command again" in refusal
    assert course.left() == [".venv.lock", ".venv.log"]
    (course.fake / "no-venv").touch()
    assert "could not create a virtual environment" in course.make()


def test_a_moved_folder_is_repaired_without_network(course):
    course.make()
    (course.fake / "log").write_text(NO_NETWORK)
    moved = course.root.rename(course.root.with_name("moved"))
    assert course.make(moved) == ""
    jupyter = (moved / ".venv" / "bin" / "jupyter").read_text()
    assert jupyter == f"#!{moved}/.venv/bin/python\nrun\n"
    assert course.installed(moved) == "torch==1\n"
    calls = course.calls()
    assert course.make(moved) == "" and course.calls() == calls


def test_scripts_start_where_the_path_has_a_blank(course):
    course.make()
    lines = (course.root / ".venv" / "bin" / "jupyter").read_text().splitlines()
    assert lines[:2] == ["#!/bin/sh", f'\'\'\'exec\' "{course.root}/.venv/bin/python" "$0" "$@"']


def test_a_kill_between_the_two_names_loses_nothing(course):
    course.make()
    (course.root / ".venv").rename(course.root / ".venv.next")
    assert course.make() == "" and course.calls() == 1
    assert course.installed() == "torch==1\n"


def test_a_half_built_next_is_begun_again(course):
    (course.root / ".venv.next" / "bin").mkdir(parents=True)
    assert course.make() == "" and course.installed() == "torch==1\n"


def test_what_the_course_did_not_make_is_never_deleted(course, capsys):
    (course.root / ".venv").mkdir()
    (course.root / ".venv" / "mine").write_text("mine")
    (course.root / ".venv.kept-1").mkdir()
    assert course.make() == "" and course.installed() == "torch==1\n"
    assert (course.root / ".venv.kept-2" / "mine").read_text() == "mine"
    assert "it is in .venv.kept-2" in capsys.readouterr().out


def test_an_environment_of_ones_own_that_works_is_extended(course):
    subprocess.run([course.fake / "python", "-m", "venv", course.root / ".venv"], check=True)
    (course.root / ".venv" / "mine").write_text("mine")
    assert course.make() == "" and course.installed() == "torch==1\n"
    assert (course.root / ".venv" / "mine").read_text() == "mine"
    assert course.left() == [".venv", ".venv.lock", ".venv.log"][:2]


def test_another_python_must_be_had_before_the_present_one_goes(course):
    course.make()
    course.monkeypatch.setenv("PYTHON", "python3.13")
    (course.fake / "log").write_text(NO_NETWORK)
    text = (course.root / ".venv" / "bin" / "python").read_text()
    (course.root / ".venv" / "bin" / "python").write_text(text.replace("echo 3.12", "echo 3.11"))
    assert "cannot be reached" in course.make()
    assert course.installed() == "torch==1\n"
    (course.fake / "log").unlink()
    assert course.make() == ""
    assert "echo 3.12" in (course.root / ".venv" / "bin" / "python").read_text()


def test_a_folder_that_cannot_be_written_to(course, capsys):
    course.make()
    (course.root / "constraints.txt").write_text("torch==2\n")
    (course.root / ".venv.lock").unlink()
    (course.root / ".venv.lock").mkdir()  # opening it fails, for root too
    assert course.make() == ""
    assert "is used as it is" in capsys.readouterr().out
    assert course.installed() == "torch==1\n"


def test_room_on_the_disk_is_looked_at_first(course, capsys):
    free = SimpleNamespace(free=1.5e9)
    course.monkeypatch.setattr(shutil, "disk_usage", lambda path: free)
    assert "Not enough room: 1.5 GB free" in course.make()
    free.free = 2.5e9 if sys.platform == "linux" else 1.99e9
    if sys.platform == "linux":
        assert course.make() == ""
        assert "Room may get short: 2.5 GB free" in capsys.readouterr().out


def test_two_at_once_build_one(course, capsys):
    import fcntl
    import threading

    with open(course.root / ".venv.lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        other = threading.Timer(1, fcntl.flock, (lock, fcntl.LOCK_UN))
        other.start()
        assert course.make() == ""
        other.join()
    assert "Another make is building the environment; waiting for it." in capsys.readouterr().out


@pytest.mark.parametrize(
    "system, machine, release, words",
    [
        ("darwin", "x86_64", "14.5", "made for Intel Macs"),
        ("darwin", "arm64", "13.6.1", "macOS 13.6.1; PyTorch needs macOS 14"),
        ("darwin", "arm64", "14.0", ""),
        ("linux", "x86_64", "", ""),
    ],
)
def test_a_machine_for_which_there_is_no_torch_is_told(
    monkeypatch, system, machine, release, words
):
    spec = importlib.util.spec_from_file_location("judge_python", ROOT / ".ci" / "supported.py")
    supported = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(supported)
    known = SimpleNamespace(platform=system, version_info=(3, 14, 0), maxsize=2**63 - 1)
    monkeypatch.setattr(supported, "sys", known)
    monkeypatch.setattr(supported.platform, "machine", lambda: machine)
    monkeypatch.setattr(supported.platform, "mac_ver", lambda: (release, ("", "", ""), machine))
    said = supported.problem()
    assert words in said and bool(words) == bool(said)
    known.version_info = (3, 15, 0)
    assert supported.problem() == "is Python 3.15; the course needs 3.10 to 3.14"
    for name, command in (
        ("Darwin", "brew install"),
        ("Windows", "winget"),
        ("Linux", "uv python"),
    ):
        monkeypatch.setattr(supported.platform, "system", lambda: name)
        assert command in supported.advice()
