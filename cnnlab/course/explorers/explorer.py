"""The frame of every explorer: controls, one picture, a sentence when something cannot be.

An explorer is a pure function of its state: `draw(**state)` gives SVG text. This file turns moved
controls into state and state into a picture, with the standard library only, so that the same
Python draws in a notebook's kernel and in a browser. `widget` and `explorer.js` are the page.
"""

from __future__ import annotations

import re
import threading
from collections.abc import Callable, Sequence
from html import unescape

from cnnlab._tools import did_you_mean
from cnnlab.course.explorers.controls import Choice, Control, Slider, Toggle
from cnnlab.course.look import WIDTH, inline
from cnnlab.course.pictures import svg as drawings

__all__ = ["Choice", "Explorer", "Slider", "Toggle"]


class Explorer:
    """Controls above one picture.

    `draw(**state)` is pure and gives SVG text. A ValueError with a sentence shows that sentence in
    place of the picture; anything else it raises is named as a fault of the course; the explorer
    goes on either way. `hidden` holds state without a control (a chosen unit). `pick(state, key)`
    gives the state values that a click on the element with that `data-pick` changes. `find` is
    what a reader should find out. Changing from Python: `explorer.set(kernel=5)`, `reset()`.
    """

    def __init__(
        self,
        title: str,
        controls: Sequence[Control],
        draw: Callable[..., str],
        find: Sequence[str],
        name: str,
        *,
        hidden: dict[str, object] | None = None,
        pick: Callable[[dict, str], dict] | None = None,
    ):
        self.title, self.name, self.find = title, name, tuple(find)
        self.svg = self.error = ""  # the picture now shown, and what cannot be
        self._controls = {control.name: control for control in controls}
        self._draw, self._pick = draw, pick
        self._start = {c.name: c.value for c in controls} | (hidden or {})
        self._state = dict(self._start)
        self._size = (float(WIDTH), 240.0)
        self._heard = 0
        self._tell: list[Callable[[], None]] = []
        self._view = None
        # A page speaks in a thread of its own while a cell runs: the picture drawn last must be
        # that of the last state.
        self._lock = threading.RLock()
        self._redraw()

    @property
    def state(self) -> dict[str, object]:
        """What `draw` is called with."""
        return dict(self._state)

    def set(self, **values: object) -> None:
        """Change some of the state and draw once. Raises ValueError, and changes nothing, for a
        name or a value that does not exist."""
        for name, value in values.items():
            self._check(name, value)
        with self._lock:
            self._state.update(values)
            self._redraw()

    def reset(self) -> None:
        """Back to the state it began with."""
        self.set(**self._start)

    # -- the page's side: plain dicts, whatever carries them

    def page(self) -> dict[str, object]:
        """What a page needs to know once: name, title, controls, things to find; texts as HTML."""
        return {
            "name": self.name.replace("_", "-"),
            "title": inline(self.title),
            "width": round(self._size[0]),
            "controls": [control.page() for control in self._controls.values()],
            "find": [inline(item) for item in self.find],
        }

    def shown(self) -> dict[str, object]:
        """What changes: picture, error, the controls' values, the last request answered."""
        values = {n: c.to_page(self._state[n]) for n, c in self._controls.items()}
        return {"svg": self.svg, "error": self.error, "values": values, "n": self._heard}

    def answer(self, asked: dict) -> None:
        """Do what a page asks and draw once; it is told by whoever called `listen`.

        asked: {"n": a number that comes back, "steps": [...]}, each step one of ["set", name,
        value], ["pick", key] and ["reset"], in the order in which they were made.
        """
        with self._lock:
            self._heard = asked.get("n", 0)
            refused = ""
            try:
                for what, *rest in asked.get("steps", ()):
                    self._state.update(self._step(what, *rest))
            except ValueError as error:
                refused = str(error)
            except Exception as error:
                refused = _fault(error)
            self._redraw(refused)

    def listen(self, told: Callable[[], None]) -> None:
        """`told()` is called after each new picture."""
        self._tell.append(told)

    def _step(self, what: str, *rest: object) -> dict[str, object]:
        if what == "reset":
            return self._start
        if what == "pick":
            values = self._pick(self.state, *rest) if self._pick else {}
        else:
            name, value = rest
            control = self._controls.get(name)
            values = {name: control.from_page(value) if control else value}
        for name, value in values.items():
            self._check(name, value)
        return values

    def _check(self, name: str, value: object) -> None:
        if name not in self._start:
            known = list(self._start)
            hint = f"{did_you_mean(name, known)} It has {', '.join(known)}"
            raise ValueError(f"{self.name} has no {name!r}.{hint}")
        wanted = name in self._controls and self._controls[name].accept(value)
        if wanted:
            raise ValueError(f"{name} is {value!r}, expected {wanted}")

    def _redraw(self, refused: str = "") -> None:
        try:
            svg, error = str(self._draw(**self._state)), refused
            self._size = _view_box(svg)
        except ValueError as refusal:
            error = str(refusal)
            svg = drawings.sentence(error, *self._size)
        except Exception as failure:
            error = _fault(failure)
            svg = drawings.sentence(error, *self._size)
        self.svg, self.error = svg, error
        for told in self._tell:
            told()

    # -- in a notebook

    @property
    def view(self):
        """The widget that shows it, made when it is first asked for."""
        if self._view is None:
            from cnnlab.course.explorers.widget import ExplorerView

            self._view = ExplorerView(self)
        return self._view

    def __repr__(self) -> str:
        label = re.search(r'aria-label="([^"]*)"', self.svg)
        return f"Explorer {self.title}: {unescape(label.group(1)) if label else 'no picture'}"

    def _display_(self):
        """marimo shows a single widget."""
        return self.view

    def _repr_mimebundle_(self, include=None, exclude=None):
        """The widget, and the same picture as SVG and PNG for pages without a kernel."""
        from cnnlab.course.explorers.widget import bundle

        return bundle(self)


def _fault(error: Exception) -> str:
    return (
        f"{type(error).__name__}: {error}. This is a fault of the course, not yours: please "
        "report it with the values of the controls. The explorer goes on working."
    )


def _view_box(svg: str) -> tuple[float, float]:
    found = re.search(r'viewBox="0 0 ([\d.]+) ([\d.]+)"', svg[:400])
    if found is None:
        raise TypeError(
            'draw must return SVG text with viewBox="0 0 width height"; '
            "return str(svg) of a drawings.Svg"
        )
    return float(found.group(1)), float(found.group(2))
