"""The house stands: imports point down, files stay short, imports light, names documented."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from importlib import import_module
from pathlib import Path

import pytest

from tests.tools.sizes import PACKAGE, lines

ROOT = PACKAGE.parent
FILE_LINES = 400

# Who may import whom; the rooms at the bottom are open to all others. A new room needs a row.
BOTTOM = {"arithmetic", "_tools", "_torchvision"}
ROOMS = {
    "__init__": set(),
    "arithmetic": set(),
    "_tools": set(),
    "_torchvision": set(),
    "models": BOTTOM,
    "probes": BOTTOM,
    "data": BOTTOM,
    "trace": BOTTOM | {"probes"},
    "training": BOTTOM | {"models", "data"},
    "course": BOTTOM | {"models", "probes", "data", "trace", "training"},
    "_commands": BOTTOM | {"models", "probes", "data", "trace", "training", "course"},
    "__main__": {"_commands"},
}
STANDARD_ONLY = {"__init__", "arithmetic", "_tools"}
WIDGETS = {"ipywidgets", "anywidget"}
HEAVY = "torch torchvision numpy matplotlib ipywidgets anywidget sklearn IPython".split()
LAZY = ("models", "data", "trace", "training", "course")


def modules():
    """Every Python file of the package as (path below it, text)."""
    for path in sorted(PACKAGE.rglob("*.py")):
        yield path.relative_to(PACKAGE).as_posix(), path.read_text(encoding="utf-8")


def room(file):
    """The room of a file below the package: "models/vgg.py" is in models."""
    return file.split("/")[0].removesuffix(".py")


def imports(file, text):
    """(line, dotted name) of everything imported, in functions too; relative names resolved."""
    here = ["cnnlab", *file.split("/")[:-1]]
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.Import):
            yield from ((node.lineno, alias.name) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = here[: len(here) - node.level + 1] if node.level else []
            dotted = ".".join([*base, *filter(None, [node.module])])
            # `from cnnlab import look` names its room last.
            names = [f"{dotted}.{alias.name}" for alias in node.names]
            yield from ((node.lineno, name) for name in names)


def wrong_imports(file, text):
    """A sentence for each import of a room, a widget or a library that this file may not have."""
    here = room(file)
    if here not in ROOMS:
        yield f"cnnlab/{file} is in no room: give {here} a row in ROOMS in tests/test_house.py"
        return
    for line, dotted in imports(file, text):
        top, *rest = dotted.split(".")
        place = f"cnnlab/{file}:{line} imports {dotted}"
        if top == "cnnlab" and rest and rest[0] in ROOMS and rest[0] != here:
            if rest[0] not in ROOMS[here]:
                allowed = ", ".join(sorted(ROOMS[here])) or "nothing of the package"
                yield f"{place}; {here} may import {allowed}"
        if top in WIDGETS and here != "course":
            yield f"{place}; widgets live in course only"
        if here in STANDARD_ONLY and top not in {"cnnlab", *sys.stdlib_module_names}:
            yield f"{place}; {here} uses the standard library only"
        if top == "tests":
            yield f"{place}; a learner's copy of the package has no tests"


def test_imports_point_down():
    found = [problem for file, text in modules() for problem in wrong_imports(file, text)]
    assert not found, "\n".join(found)


@pytest.mark.parametrize(
    "file, text, problem",
    [
        ("data/sets.py", "def f():\n    from cnnlab.trace.run import trace", "sets.py:2 imports"),
        ("training/loop.py", "from cnnlab.trace import trace", "training may import _tools"),
        ("training/loop.py", "from cnnlab import course", "imports cnnlab.course; training may"),
        ("models/vgg.py", "from ..course.look import Look", "imports cnnlab.course.look"),
        ("models/vgg.py", "from .. import course", "imports cnnlab.course;"),
        ("arithmetic.py", "import cnnlab.models.vgg", "may import nothing of the package"),
        ("course/lesson.py", "from cnnlab.__main__ import main", "course may import"),
        ("trace/show.py", "import ipywidgets as w", "widgets live in course only"),
        ("arithmetic.py", "import numpy", "arithmetic uses the standard library only"),
        ("__main__.py", "from tests.bench import bench", "has no tests"),
        ("helpers.py", "", "give helpers a row in ROOMS"),
    ],
)
def test_a_wrong_import_is_found(file, text, problem):
    assert problem in "\n".join(wrong_imports(file, text))


def test_right_imports_pass():
    for file, text in (
        ("course/explorers/explorer.py", "import anywidget\nfrom cnnlab.models import build"),
        ("models/__init__.py", "from .vgg import vgg16\nfrom cnnlab._tools import lazily"),
        ("training/loop.py", "import torch\nfrom cnnlab.data.sets import load"),
        ("trace/table.py", "from cnnlab import __version__, arithmetic"),
    ):
        assert list(wrong_imports(file, text)) == []


def test_files_are_short():
    sizes = {path: lines(path) for path in PACKAGE.rglob("*.py")}
    long = [f"{p.relative_to(ROOT)}: {n}" for p, n in sizes.items() if n > FILE_LINES]
    assert not long, f"more than {FILE_LINES} lines:\n" + "\n".join(sorted(long))


# Weight


def loaded(statement):
    """Names of the modules that a fresh Python holds after a statement."""
    code = f"{statement}\nimport sys; print(*sys.modules)"
    command = [sys.executable, "-c", code]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    return done.stdout.split()


def test_importing_the_package_is_light():
    found = loaded("import cnnlab")
    assert "cnnlab" in found and [name for name in HEAVY if name in found] == []


def test_importing_a_room_is_light():
    names = [f"cnnlab.{name}" for name in LAZY]
    found = loaded(f"import {', '.join(names)}")
    assert set(names) <= set(found) and [name for name in HEAVY if name in found] == []


@pytest.mark.parametrize("name", LAZY)
def test_every_public_name_of_a_room_is_there(name):
    package = import_module(f"cnnlab.{name}")
    assert package.__all__
    assert [public for public in package.__all__ if not hasattr(package, public)] == []


# Words


def undocumented(text):
    """Public classes and functions of a module without a docstring, and the module itself."""
    tree = ast.parse(text)
    if ast.get_docstring(tree) is None:
        yield "the module itself"
    for node in tree.body:
        kinds = (ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)
        if isinstance(node, kinds) and node.name[0] != "_" and not ast.get_docstring(node):
            yield f"{node.name} (line {node.lineno})"


def test_everything_public_has_a_docstring():
    # A chapter's solutions and wrong answers are shown as a learner would write them.
    shown = re.compile(r"course/exercises/ch\d\d")
    found = [
        f"cnnlab/{file}: {name}"
        for file, text in modules()
        if not shown.match(file)
        for name in undocumented(text)
    ]
    assert not found, "\n".join(found)


def test_undocumented_finds_functions_classes_and_modules():
    text = 'class A: ...\ndef _b(): ...\ndef c(): ...\ndef d():\n    """Doc."""\n'
    assert list(undocumented(text)) == ["the module itself", "A (line 1)", "c (line 3)"]


# Every file of the repository

NO_SOURCES = ".venv .git .ruff_cache .pytest_cache .hypothesis __pycache__ .ipynb_checkpoints"
HIDDEN = {*NO_SOURCES.split(), "my-progress", "my-course"}


def files():
    """(name, text) of every text file of the repository: what git tracks or would track."""
    command = ["git", "ls-files", "-co", "--exclude-standard"]
    listed = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    names = listed.stdout.splitlines()
    if listed.returncode or not names:  # a copy without git
        paths = [path.relative_to(ROOT) for path in ROOT.rglob("*") if path.is_file()]
        names = [path.as_posix() for path in paths if not HIDDEN & set(path.parts)]
    for name in names:
        try:
            yield name, Path(ROOT, name).read_text(encoding="utf-8")
        except (UnicodeDecodeError, FileNotFoundError):
            continue


# Written in pieces, so that this file passes its own test.
INDEX = (
    r"pypi\." + "org",
    "files.python" + "hosted",
    "download.py" + "torch",
    r"conda\.ana" + "conda",
    r"--(extra-)?index" + "-url",
    "--find" + "-links",
    "artifact" + "ory",
)
FOLDER = (r"ho" + r"me/\w", r"ro" + "ot/", r"Us" + r"ers/\w", r"wo" + "rk/")
FOLDER += (r"op" + r"t/\w", r"mn" + r"t/\w", r"t" + r"mp/\w")
ELSEWHERE = re.compile("|".join(INDEX) + rf"|(?<![\w.:/}}])/(?:{'|'.join(FOLDER)})")


def belongs_elsewhere(text):
    """Registry addresses and paths of one machine found in a text, with their line numbers."""
    return [
        f"line {number}: {match.group()}"
        for number, line in enumerate(text.split("\n"), 1)
        for match in ELSEWHERE.finditer(line)
    ]


def test_no_file_names_a_registry_or_a_path_of_one_machine():
    allowed = {"tests/test_notebooks.py"}  # quotes such paths to see them found
    found = [
        f"{name}: {what}"
        for name, text in files()
        if name not in allowed
        for what in belongs_elsewhere(text)
    ]
    assert not found, "\n".join(found)


def test_registries_and_paths_are_found():
    text = "see https://pypi." + "org/simple\nok\n'/ho" + "me/me/x'"
    assert belongs_elsewhere(text) == ["line 1: pypi." + "org", "line 3: /ho" + "me/m"]
    assert belongs_elsewhere("/usr/bin/env sh; http://x.org/work/; notebooks/home/") == []
