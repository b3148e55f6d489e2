"""The handful of helpers that every room shares. Standard library only."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from importlib import import_module
from typing import Any


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
