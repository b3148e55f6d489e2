"""The three lists agree: ranges in pyproject.toml, exact versions in constraints.txt, and
environment.yml for conda."""

from __future__ import annotations

import re
import subprocess
import sys
from importlib import metadata
from pathlib import Path

import pytest
import yaml
from packaging.markers import default_environment
from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet
from packaging.utils import canonicalize_name

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

ROOT = Path(__file__).resolve().parents[1]
CONDA_NAMES = {"torch": "pytorch", "matplotlib": "matplotlib-base"}
ONLY_IN_CONDA = {"python", "pip", "setuptools"}
CUDA = re.compile(r"nvidia-|cuda-|triton")  # torch pins these itself


def project():
    return tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]


SUPPORTED = SpecifierSet(project()["requires-python"])
PYTHONS = {f"3.{n}": f"3.{n}.1" for n in range(6, 40) if f"3.{n}.1" in SUPPORTED}
LAST = max(int(version.split(".")[1]) for version in PYTHONS)


def ranges():
    """{name: specifiers} of everything that `make` installs: dependencies and all extras."""
    lists = [project()["dependencies"], *project()["optional-dependencies"].values()]
    requirements = [Requirement(text) for texts in lists for text in texts]
    return {canonicalize_name(r.name): r.specifier for r in requirements if r.name != "cnnlab"}


def pins(text):
    """[(name, version, marker or None)] of a constraints file; raises on any other kind of line."""
    found = []
    for line in text.splitlines():
        if not line or line.startswith("#"):
            continue
        if not re.fullmatch(r"[A-Za-z0-9._-]+==[A-Za-z0-9._!+-]+( ; [^#@]+)?", line):
            raise ValueError(f"{line!r}: expected name==version, and at most a marker")
        requirement = Requirement(line)
        (exact,) = requirement.specifier
        found.append((canonicalize_name(requirement.name), exact.version, requirement.marker))
    return found


def constraints():
    return pins((ROOT / "constraints.txt").read_text())


def environment(version):
    """What markers see on Linux with this Python."""
    return {
        **default_environment(),
        "python_version": version,
        "sys_platform": "linux",
        "python_full_version": PYTHONS[version],
        "platform_machine": "x86_64",
        "os_name": "posix",
        "platform_system": "Linux",
        "implementation_name": "cpython",
    }


def pinned(pins, version):
    """{name: [versions]} that hold on this Python."""
    here = environment(version)
    found = {}
    for name, exact, marker in pins:
        if marker is None or marker.evaluate(here):
            found.setdefault(name, []).append(exact)
    return found


def disagreements(ranges, pins, version):
    """One sentence for each requirement that is not pinned once, within its range."""
    found = pinned(pins, version)
    for name, versions in found.items():
        if len(versions) > 1:
            yield f"{name} is pinned {len(versions)} times on Python {version}: {versions}"
    for name, specifier in ranges.items():
        if name not in found:
            yield f"{name} is not pinned on Python {version}"
        elif found[name][0] not in specifier:
            yield f"{name}=={found[name][0]} is outside {specifier}"


@pytest.mark.parametrize("version", PYTHONS)
def test_every_requirement_is_pinned_once_and_within_its_range(version):
    assert list(disagreements(ranges(), constraints(), version)) == []


@pytest.mark.parametrize(
    "text, problem",
    [
        ("torch==2.5.0\ntqdm==4.70", "torch==2.5.0 is outside >=2.6"),
        ("torch==2.6.0", "tqdm is not pinned on Python 3.10"),
        ("torch==2.6.0\ntqdm==4.70 ; python_version > '3.10'", "tqdm is not pinned on Python 3.10"),
        ("torch==2.6.0\ntorch==2.7.0\ntqdm==4.70", "torch is pinned 2 times"),
    ],
)
def test_a_disagreement_is_found(text, problem):
    wanted = {"torch": SpecifierSet(">=2.6"), "tqdm": SpecifierSet(">=4")}
    assert problem in "\n".join(disagreements(wanted, pins(text), "3.10"))


@pytest.mark.parametrize(
    "line",
    [
        "torch>=2",
        "torch @ https://example.org/x.whl",
        "torch==2.6 --hash=sha256:0",
        "-e .",
        "https://example.org/x.whl",
    ],
)
def test_constraints_hold_nothing_but_exact_versions(line):
    with pytest.raises(ValueError, match="expected name==version"):
        pins(line)


def closure(roots):
    """Names of everything that the roots need here, as the installed packages tell it."""
    found, waiting = set(), [(name, "") for name in roots]
    seen = set(waiting)
    while waiting:
        name, extra = waiting.pop()
        found.add(name)
        for text in metadata.requires(name) or []:
            requirement = Requirement(text)
            if requirement.marker and not requirement.marker.evaluate({"extra": extra}):
                continue
            needed = canonicalize_name(requirement.name)
            if CUDA.match(needed):
                continue
            for wanted in ("", *requirement.extras):
                if (needed, wanted) not in seen:
                    seen.add((needed, wanted))
                    waiting.append((needed, wanted))
    return found


@pytest.mark.skipif(sys.platform != "linux", reason="the pins' markers are evaluated for Linux")
def test_constraints_are_the_whole_closure_and_no_more():
    here = pinned(constraints(), "%d.%d" % sys.version_info[:2])
    if metadata.version("torch").partition("+")[0] not in here["torch"]:
        pytest.skip("the installed torch is not the pinned one: it may need other packages")
    needed = closure(ranges())
    assert needed - set(here) == set(), "needed, not pinned: see the head of constraints.txt"
    assert set(here) - needed == set(), "pinned, not needed: see the head of constraints.txt"


def conda():
    """(file, {name: specifiers} from conda, [lines for pip]) of environment.yml."""
    content = yaml.safe_load((ROOT / "environment.yml").read_text())
    named, for_pip = {}, []
    for entry in content["dependencies"]:
        if isinstance(entry, dict):
            for_pip += entry["pip"]
        else:
            name, _, specifier = entry.partition(" ")
            named[name] = SpecifierSet(specifier)
    return content, named, for_pip


def test_conda_environment_names_the_same_packages_with_the_same_ranges():
    content, named, for_pip = conda()
    assert content["channels"][0] == "conda-forge"
    assert "-e .[lab,test]" in for_pip
    by_pip = [Requirement(line) for line in for_pip if not line.startswith("-e ")]
    listed = {name: specifier for name, specifier in named.items() if name not in ONLY_IN_CONDA}
    listed.update({requirement.name: requirement.specifier for requirement in by_pip})
    expected = {CONDA_NAMES.get(name, name): specifier for name, specifier in ranges().items()}
    assert listed == expected


def test_the_same_pythons_everywhere():
    assert list(PYTHONS) == [f"3.{minor}" for minor in range(10, LAST + 1)] and LAST >= 13
    assert conda()[1]["python"] == SUPPORTED
    for name in (".ci/supported.py", "cnnlab/_commands/doctor.py"):
        text = (ROOT / name).read_text()
        assert {int(minor) for minor in re.findall(r"\(3, (\d+)\)", text)} == {10, LAST}
    for name in (".ci/python", "Makefile", "cnnlab/_commands/doctor.py", "constraints.txt"):
        assert f"3.10 to 3.{LAST}" in (ROOT / name).read_text()
    listed = [line for line in project()["classifiers"] if "Python :: 3." in line]
    assert listed == [f"Programming Language :: Python :: {version}" for version in PYTHONS]


def test_the_course_needs_the_oldest_torch_it_says():
    assert ranges()["torch"] == SpecifierSet(">=2.6")


def test_colab_has_what_the_course_needs():
    """Else pip writes an error in red below the first cell."""
    colab = {"ipython": "7.34.0", "ipywidgets": "7.7.1", "torch": "2.6.0", "numpy": "2.0.2"}
    assert [name for name, version in colab.items() if version not in ranges()[name]] == []


def test_every_system_the_ends_of_the_pythons_and_the_oldest_torch_are_tried():
    jobs = yaml.safe_load((ROOT / ".github/workflows/tests.yml").read_text())["jobs"]
    pinned = jobs["as-pinned"]["strategy"]["matrix"]
    assert pinned["python"] == ["3.10", f"3.{LAST}"] and jobs["windows"]
    assert [name.partition("-")[0] for name in pinned["os"]] == ["ubuntu", "macos"]
    oldest, newest = jobs["torch"]["strategy"]["matrix"]["include"]
    assert SpecifierSet(f">={oldest['torch'][:-2]}") == ranges()["torch"]
    assert SpecifierSet(newest["torch"]) == ranges()["torch"]


def test_make_without_a_goal_explains_itself():
    answer = subprocess.run(["make", "-C", str(ROOT)], capture_output=True, text=True, timeout=60)
    assert answer.returncode == 0
    for goal in ("lab", "test", "check", "refresh", "bench", "shots", "latency", "clean"):
        assert f"make {goal}" in answer.stdout


def ask_for_python(choice):
    return subprocess.run(
        [str(ROOT / ".ci" / "python")],
        capture_output=True,
        text=True,
        timeout=60,
        env={"PATH": "/usr/bin:/bin", "PYTHON": choice},
    )


def test_the_python_named_is_the_python_used():
    assert ask_for_python(sys.executable).stdout.strip() == sys.executable


def fake_python(tmp_path, body):
    fake = tmp_path / "fakepython"
    fake.write_text(f"#!/bin/sh\n{body}\n")
    fake.chmod(0o755)
    return str(fake)


def test_a_blank_in_the_path_of_the_python_is_no_trouble(tmp_path):
    (tmp_path / "a b").mkdir()
    fake = fake_python(tmp_path / "a b", "exit 0")
    assert ask_for_python(fake).stdout.strip() == fake


@pytest.mark.parametrize(
    "body, message",
    [
        ("echo 'is Python 3.9; the course needs 3.10 to 3.14' >&2; exit 1", "is Python 3.9"),
        ("echo 'shim: version not installed' >&2; exit 127", "shim: version not installed"),
        ("exit 1", "does not run"),
    ],
)
def test_a_python_that_cannot_be_used_is_explained(tmp_path, body, message):
    answer = ask_for_python(fake_python(tmp_path, body))
    assert answer.returncode == 1 and answer.stdout == ""
    assert message in answer.stderr and f"needs Python 3.10 to 3.{LAST}" in answer.stderr


def test_a_python_that_is_too_old_is_told_how_to_get_a_newer_one(tmp_path):
    body = 'if [ "$2" = advice ]; then echo "Get one: this command"; else exit 1; fi'
    assert "Get one: this command" in ask_for_python(fake_python(tmp_path, body)).stderr


def test_no_python_at_all_is_explained(tmp_path):
    answer = ask_for_python(str(tmp_path / "absent"))
    assert answer.returncode == 1 and "No Python found" in answer.stderr
