"""The frame of every explorer: controls, one picture, a sentence when something cannot be.

An explorer is a pure function of its state. `draw(**state)` gives SVG text; the frame turns
controls into state and sends the finished string to the browser in one update.
"""

from __future__ import annotations

import math
import re
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from html import unescape
from pathlib import Path

import anywidget
import ipywidgets
import traitlets

from cnnlab._tools import did_you_mean
from cnnlab.course.look import WIDTH, inline
from cnnlab.course.pictures import svg as drawings


@dataclass(frozen=True)
class Slider:
    """A number from `minimum` to `maximum`; an int slider when all four numbers are ints."""

    name: str
    label: str
    minimum: float
    maximum: float
    value: float
    step: float = 1

    def widget(self) -> ipywidgets.Widget:
        whole = all(isinstance(n, int) for n in (self.minimum, self.maximum, self.value, self.step))
        kind = ipywidgets.IntSlider if whole else ipywidgets.FloatSlider
        return kind(
            min=self.minimum,
            max=self.maximum,
            step=self.step,
            value=self.value,
            continuous_update=True,
        )

    def accept(self, value: object) -> str | None:
        number = isinstance(value, (int, float)) and not isinstance(value, bool)
        if not number or not self.minimum <= value <= self.maximum:
            return f"a number from {self.minimum} to {self.maximum}"
        whole = all(isinstance(n, int) for n in (self.minimum, self.maximum, self.value, self.step))
        return "a whole number" if whole and value != int(value) else None


@dataclass(frozen=True)
class Choice:
    """One of `options`: strings, or (text, value) pairs; `value` is the chosen value."""

    name: str
    label: str
    options: Sequence
    value: object

    def widget(self) -> ipywidgets.Widget:
        return ipywidgets.Dropdown(options=self._pairs(), value=self.value)

    def _pairs(self) -> list[tuple[str, object]]:
        return [o if isinstance(o, tuple) else (str(o), o) for o in self.options]

    def accept(self, value: object) -> str | None:
        known = [value for _, value in self._pairs()]
        return None if value in known else "one of " + ", ".join(map(repr, known))


@dataclass(frozen=True)
class Toggle:
    """True or False."""

    name: str
    label: str
    value: bool = False

    def widget(self) -> ipywidgets.Widget:
        return ipywidgets.Checkbox(value=self.value, indent=False)

    def accept(self, value: object) -> str | None:
        return None if isinstance(value, bool) else "True or False"


class Picture(anywidget.AnyWidget):
    """An SVG string on the page. A click, Enter or Space on an element with `data-pick` sets
    `picked` to {"key": ..., "n": ...}; `n` counts, so that the same pick twice is two events."""

    svg = traitlets.Unicode("").tag(sync=True)
    error = traitlets.Unicode("").tag(sync=True)
    picked = traitlets.Dict({"key": "", "n": 0}).tag(sync=True)

    _esm = Path(__file__).with_name("explorer.js")
    _css = Path(__file__).with_name("explorer.css")


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
        controls: Sequence[Slider | Choice | Toggle],
        draw: Callable[..., str],
        find: Sequence[str],
        name: str,
        *,
        hidden: dict[str, object] | None = None,
        pick: Callable[[dict, str], dict] | None = None,
    ):
        self.title, self.name, self.find = title, name, tuple(find)
        self._controls = {control.name: control for control in controls}
        self._draw, self._pick = draw, pick
        self._hidden_start = dict(hidden or {})
        self._hidden = dict(self._hidden_start)
        self._size = (WIDTH, 240.0)
        self._held = False
        # Controls speak in a thread of their own while a cell runs: the picture drawn last must be
        # that of the last state.
        self._lock = threading.RLock()
        self._widgets = {control.name: _labeled(control, controls) for control in controls}
        self.picture = Picture()
        for widget in self._widgets.values():
            widget.observe(self._changed, "value")
        self.picture.observe(self._picked, "picked")
        self._redraw()
        self.view = self._assemble()

    @property
    def state(self) -> dict[str, object]:
        """What `draw` is called with."""
        return {**{name: w.value for name, w in self._widgets.items()}, **self._hidden}

    @property
    def svg(self) -> str:
        """The picture now shown."""
        return self.picture.svg

    def set(self, **values: object) -> None:
        """Change some of the state and draw once. Raises ValueError, and changes nothing, for a
        name or a value that does not exist."""
        for name, value in values.items():
            self._check(name, value)
        with self._lock:
            self._held = True
            try:
                for name, value in values.items():
                    if name in self._hidden:
                        self._hidden[name] = value
                    else:
                        self._widgets[name].value = value
            finally:
                self._held = False
            self._redraw()

    def reset(self) -> None:
        """Back to the state it began with."""
        self.set(**{name: c.value for name, c in self._controls.items()}, **self._hidden_start)

    def _check(self, name: str, value: object) -> None:
        if name in self._hidden:
            return
        if name not in self._controls:
            known = [*self._controls, *self._hidden]
            hint = f"{did_you_mean(name, known)} It has {', '.join(known)}"
            raise ValueError(f"{self.name} has no {name!r}.{hint}")
        wanted = self._controls[name].accept(value)
        if wanted:
            raise ValueError(f"{name} is {value!r}, expected {wanted}")

    def _changed(self, change: dict) -> None:
        with self._lock:
            if not self._held:
                self._redraw()

    def _picked(self, change: dict) -> None:
        if self._pick is None or not change["new"].get("key"):
            return
        try:
            with self._lock:
                self.set(**self._pick(self.state, change["new"]["key"]))
        except ValueError as error:
            self.picture.error = str(error)
        except Exception as error:
            self.picture.error = _fault(error)

    def _redraw(self) -> None:
        try:
            svg, error = str(self._draw(**self.state)), ""
            self._size = _view_box(svg)
        except ValueError as refusal:
            error = str(refusal)
            svg = drawings.sentence(error, *self._size)
        except Exception as failure:
            error = _fault(failure)
            svg = drawings.sentence(error, *self._size)
        with self.picture.hold_sync():  # one message to the browser
            self.picture.svg = svg
            self.picture.error = error

    def _assemble(self) -> ipywidgets.VBox:
        title = ipywidgets.HTML(
            f'<div class="cnnlab-title" role="heading" aria-level="3">{inline(self.title)}</div>'
        )
        found = "".join(f"<li>{inline(item)}</li>" for item in self.find)
        find = ipywidgets.HTML(
            f'<div class="cnnlab-find"><b>Things to find</b><ol>{found}</ol></div>'
        )
        reset = ipywidgets.Button(description="Reset", tooltip="Back to the start")
        reset.layout = {"width": "auto", "flex": "none"}
        reset.on_click(lambda _: self.reset())
        head = ipywidgets.HBox([title, reset])
        head.add_class("cnnlab-head")
        controls = ipywidgets.Box(list(self._widgets.values()))
        controls.add_class("cnnlab-controls")
        view = ipywidgets.VBox([head, controls, self.picture, *([find] if self.find else [])])
        view.layout.max_width = f"{round(self._size[0])}px"
        view.add_class("cnnlab-explorer")
        view.add_class(f"cnnlab-{self.name.replace('_', '-')}")
        return view

    def __repr__(self) -> str:
        label = re.search(r'aria-label="([^"]*)"', self.svg)
        return f"Explorer {self.title}: {unescape(label.group(1)) if label else 'no picture'}"

    def _repr_mimebundle_(self, include=None, exclude=None):
        """The widget, and the same picture as SVG and PNG for pages without a kernel."""
        view = self.view._repr_mimebundle_() or {}
        width, height = self._size
        data = {
            **view,
            "text/plain": repr(self),
            "image/svg+xml": self.svg,
            "image/png": drawings.to_png(self.svg),
        }
        return data, {"image/png": {"width": round(width), "height": round(height)}}


def _labeled(control: Slider | Choice | Toggle, controls: Sequence) -> ipywidgets.Widget:
    widget = control.widget()
    widget.description = control.label
    widget.tooltip = control.label
    if not isinstance(control, Toggle):
        longest = max(len(c.label) for c in controls if not isinstance(c, Toggle))
        widget.style.description_width = f"{math.ceil(longest * 0.82) + 1}ch"
    return widget


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
