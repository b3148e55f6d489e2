"""The handful of helpers that every room shares. Standard library only."""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from difflib import get_close_matches
from importlib import import_module
from itertools import count
from pathlib import Path
from typing import IO, Any


def lazily(
    package: str, names: Mapping[str, str]
) -> tuple[Callable[[str], Any], Callable[[], list[str]], list[str]]:
    """`__getattr__`, `__dir__` and `__all__` of a package whose public names are looked up when
    they are first asked for (PEP 562): importing one room must not import torch for another.

    names  which module of the package holds what: {"run": "trace TraceError"}
    """
    places = {name: module for module, held in names.items() for name in held.split()}

    def look_up(name: str) -> Any:
        if name not in places:
            raise AttributeError(f"module {package!r} has no attribute {name!r}")
        return getattr(import_module(f"{package}.{places[name]}"), name)

    return look_up, lambda: sorted(places), sorted(places)


def did_you_mean(word: object, known: Iterable[str]) -> str:
    """ " Did you mean 'vgg16'?", with its space before it, or nothing where no name is near."""
    near = get_close_matches(str(word).lower(), list(known), n=1)
    return f" Did you mean {near[0]!r}?" if near else ""


def counted(number: int, noun: str, form: str = "") -> str:
    """ "1 case", "2 cases"; with the form "," also "2,000 cases"."""
    return f"{number:{form}} {noun}{'' if number == 1 else 's'}"


def unused(path: Path) -> Path:
    """`path`, or where that exists the first of path-2, path-3, ... that does not."""
    if not path.exists():
        return path
    numbered = (path.with_name(f"{path.name}-{number}") for number in count(2))
    return next(other for other in numbered if not other.exists())


def finite(value: object) -> bool:
    """Whether it is one of Python's numbers, and one that a float can hold."""
    try:
        return type(value) in (int, float) and math.isfinite(value)
    except OverflowError:  # a whole number too large
        return False


def lock(file: IO) -> None:
    """Lock an open file at once, or raise OSError. The lock ends with the process."""
    if os.name == "posix":
        import fcntl

        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    else:
        import msvcrt

        msvcrt.locking(file.fileno(), msvcrt.LK_NBLCK, 1)


def write_whole(path: str | os.PathLike, data: bytes | memoryview) -> None:
    """Give the file `path` the content `data`. Whoever reads it, and who comes after a kill at any
    moment, finds the old content or the new, never a mixture; an OSError leaves the old one.

    `os.replace` is all or nothing; `fsync` sees to it that the bytes are on the disk before the
    name points to them, also if the power fails.
    """
    path = Path(path)
    aside = path.with_name(f"{path.name}.part")
    try:
        with open(aside, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        os.replace(aside, path)
        if os.name == "posix":  # the new name too
            folder = os.open(path.parent, os.O_RDONLY)
            try:
                os.fsync(folder)
            finally:
                os.close(folder)
    except BaseException:
        with suppress(OSError):  # the first error is the one to tell
            aside.unlink(missing_ok=True)
        raise
