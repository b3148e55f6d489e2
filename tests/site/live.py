"""What a page of the site asks of Python: explorers move, answers are judged.

It runs in the reader's browser (Pyodide), where there is no torch, and at the build, to find out
what works there. JSON comes in, JSON goes out. Standard library and the package only.
"""

from __future__ import annotations

import ast
import json
import sys
from collections.abc import Callable
from contextlib import contextmanager
from importlib import import_module
from importlib.machinery import ModuleSpec
from types import ModuleType

ABSENT = ("torch", "torchvision", "numpy", "sklearn", "matplotlib", "PIL", "IPython", "tqdm")
WIDGETS = ("anywidget", "traitlets", "ipywidgets")


class NeedsTorch(Exception):
    """What is asked for needs a library that the browser does not have."""


class _Absent(type):
    """A class in place of anything that an absent library holds: it may be inherited from, stand
    in an annotation or decorate while modules are imported, and does nothing afterwards."""

    importing = False

    def __getattr__(cls, name):
        if name.startswith("__") or not _Absent.importing:
            raise AttributeError(name) if name.startswith("__") else NeedsTorch(name)
        return _Absent(name, (), {})

    def __call__(cls, *given, **named):
        if not _Absent.importing:
            raise NeedsTorch(f"{cls.__name__} needs torch, which a browser does not have")
        return given[0] if len(given) == 1 and callable(given[0]) else _Absent("made", (), {})

    def __or__(cls, other):
        return cls

    __ror__ = __add__ = __radd__ = __sub__ = __rsub__ = __mul__ = __rmul__ = __or__
    __truediv__ = __rtruediv__ = __floordiv__ = __pow__ = __matmul__ = __or__

    def __getitem__(cls, index):
        return cls


class _Module(ModuleType):
    __path__, __file__ = (), "absent"

    def __getattr__(self, name):
        if name.startswith("__"):
            raise AttributeError(name)
        return getattr(_Absent("absent", (), {}), name)


class _Finder:
    """Finds absent libraries, whether they are there or not: the build sees what a browser sees."""

    def find_spec(self, name, path=None, target=None):
        return ModuleSpec(name, self) if _is_absent(name) else None

    def create_module(self, spec):
        return _Module(spec.name)

    def exec_module(self, module):
        pass


class Nowhere:
    """In `sys.meta_path` of a process that has the libraries: they are not found, as in a browser,
    when a judge imports one."""

    def find_spec(self, name, path=None, target=None):
        if _is_absent(name):
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)


def _is_absent(name: str) -> bool:
    return name.partition(".")[0] in (*ABSENT, *WIDGETS)


@contextmanager
def without_libraries():
    """Import the package's modules as if the absent libraries were there, and empty."""
    finder, _Absent.importing = _Finder(), True
    sys.meta_path.insert(0, finder)
    try:
        yield
    finally:
        sys.meta_path.remove(finder)
        for name in [n for n, module in sys.modules.items() if isinstance(module, _Module)]:
            del sys.modules[name]
        _Absent.importing = False


# Explorers


def called(source: str) -> dict[str, object] | None:
    """Which explorer a notebook's cell shows: {"module", "function", "options", "kept"}, or None.

    Arguments that are literals are kept. Where one is not, none is ("kept" is false): then the
    explorer shows what comes with the course, in place of what the cells above made.
    """
    tree = ast.parse(source)
    names = {
        alias.asname or alias.name: (node.module, alias.name)
        for node in ast.walk(tree)
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith(EXPLORERS)
        for alias in node.names
    }
    last = tree.body[-1].value if tree.body and isinstance(tree.body[-1], ast.Expr) else None
    if not (isinstance(last, ast.Call) and getattr(last.func, "id", None) in names):
        return None
    module, function = names[last.func.id]
    try:
        options = {given.arg: ast.literal_eval(given.value) for given in last.keywords}
        plain = not last.args and None not in options
    except ValueError:
        plain = False
    options = options if plain else {}
    return {"module": module, "function": function, "options": options, "kept": plain}


EXPLORERS = "cnnlab.course.explorers."
_shown: dict[str, object] = {}


def explorer(key: str, shown: dict):
    """The explorer of a page's cell, made when it is first asked for."""
    if key not in _shown:
        make = getattr(import_module(shown["module"]), shown["function"])
        _shown[key] = make(**shown["options"])
    return _shown[key]


def moved(key: str, shown: str, asked: str) -> str:
    """The picture after the steps that a page asks for."""
    found = explorer(key, json.loads(shown))
    found.answer(json.loads(asked))
    return json.dumps(found.shown())


# Exercises


class _Asked:
    """An exercise whose cards are collected for the page."""

    def __init__(self, exercise, cards: list, verdicts: list):
        self._exercise, self._cards, self._verdicts = exercise, cards, verdicts

    def check(self, answer: object = ...) -> None:
        verdict = self._exercise.judge(answer)
        self._verdicts.append({"exercise": verdict.exercise, "status": verdict.status})
        self._cards.append(verdict.card())

    def hint(self, number: int = 1) -> None:
        self._cards.append(self._exercise.hint_card(number))

    def solution(self) -> None:
        self._cards.append(self._exercise.solution_card())


class _All:
    """A chapter's exercises by name, as `ex` in a notebook."""

    def __init__(self, wrap: Callable):
        self._wrap = wrap

    def __getattr__(self, name: str) -> _Asked:
        return self._wrap(name)


def exercises(chapter: str):
    """The exercises of a chapter, whose module imports torch, where there is none."""
    with without_libraries():
        return import_module(f"cnnlab.course.exercises.ch{chapter}").exercises


def run(chapter: str, source: str) -> str:
    """Run a cell with exercises: {"html": cards, "verdicts": [{"exercise", "status"}]}."""
    import linecache

    cards, verdicts = [], []
    found = exercises(chapter)
    name = f"<your cell, chapter {chapter}>"
    linecache.cache[name] = (len(source), None, source.splitlines(keepends=True), name)
    try:
        given = {"ex": _All(lambda one: _Asked(getattr(found, one), cards, verdicts))}
        exec(compile(source, name, "exec"), given | {"__name__": "__main__"})
    except (ImportError, NameError, NeedsTorch) as error:
        return _failed(cards, error, "Here is no torch; in JupyterLab this cell runs.")
    except Exception as error:
        return _failed(cards, error, "The cell stopped there.")
    return json.dumps({"html": "".join(card.to_html() for card in cards), "verdicts": verdicts})


def _failed(cards: list, error: Exception, words: str) -> str:
    from cnnlab.course.look import Card

    told = Card("bad", type(error).__name__, (str(error), words))
    return json.dumps({"html": "".join(c.to_html() for c in (*cards, told)), "verdicts": []})


def judged_here(chapter: str, cells: dict[str, str]) -> list[str]:
    """Ids of the cells that work without torch: they run, the solutions of their exercises pass,
    and each known mistake is told to be one. None where the chapter's module does more with torch
    than a stand-in can."""
    try:
        found = exercises(chapter)
    except Exception as error:
        print(f"Chapter {chapter}: no exercise in the browser, {error!r}", file=sys.stderr)
        return []
    able = set()
    for exercise in found:
        verdicts = [exercise.judge(mistake.answer) for mistake in exercise.mistakes]
        right = exercise.judge(exercise.answer).passed
        if right and all(verdict.status == "wrong" for verdict in verdicts):
            able.add(exercise.name)
    asked = {cell: json.loads(run(chapter, source))["verdicts"] for cell, source in cells.items()}
    return [c for c, found in asked.items() if found and {v["exercise"] for v in found} <= able]


if __name__ == "__main__":  # the build asks in a process of its own: {chapter: {cell: source}}
    sys.meta_path.insert(0, Nowhere())
    print(json.dumps({c: judged_here(c, cells) for c, cells in json.load(sys.stdin).items()}))
