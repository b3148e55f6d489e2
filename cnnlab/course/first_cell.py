"""What a kernel of the course adds to a NameError: a cell run too early says what it needs.

An IPython extension. `.lab/ipython_kernel_config.py`, which `make` copies into the environment,
loads it in every kernel there; nothing else changes.
"""

from __future__ import annotations

import sys

NOT_STARTED = (
    "If this is a chapter of the course: its first code cell has not been run in this kernel. Run "
    "that cell, then those down to here (menu Run, Run All Above Selected Cell)."
)
CELL_ABOVE = (
    "If a cell above makes {name!r}, run it first (menu Run, Run All Above Selected Cell). If you "
    "wrote the name here, look at its spelling."
)


def advice(name: str, started: bool) -> str:
    """The sentence for a name that does not exist, in a kernel where a chapter has been started or
    not."""
    return CELL_ABOVE.format(name=name) if started else NOT_STARTED


def load_ipython_extension(shell) -> None:
    """Called by IPython. A NameError keeps its traceback and gets one more line."""

    def explain(shell, kind, error, traceback, tb_offset=None):
        shell.showtraceback((kind, error, traceback), tb_offset=tb_offset)
        started = "lesson" in shell.user_ns
        print(advice(getattr(error, "name", None) or "it", started), file=sys.stderr, flush=True)

    shell.set_custom_exc((NameError,), explain)
