"""The frame of every explorer: controls, one picture, a sentence when something cannot be.

An explorer is a pure function of its state. `draw(**state)` gives SVG text; the frame turns
controls into state and sends the finished string to the browser in one update.
"""

from __future__ import annotations

import difflib
import math
import re
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from html import unescape

import anywidget
import ipywidgets
import traitlets

from cnnlab import drawings
from cnnlab.look import WIDTH, inline


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
        return kind(min=self.minimum, max=self.maximum, step=self.step, value=self.value,
                    continuous_update=True)

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

    _esm = r"""
function render({ model, el }) {
  const picture = document.createElement("div");
  const error = document.createElement("div");
  const spoken = document.createElement("div");
  picture.className = "cnnlab-picture";
  error.className = "cnnlab-error";
  spoken.className = "cnnlab-spoken";
  for (const line of [error, spoken]) line.setAttribute("aria-live", "polite");
  el.append(picture, error, spoken);
  let timer = 0;
  let ahead = { pick: "", at: "", when: 0 };   // where the arrow keys are, maybe before the kernel

  // JupyterLab reads arrows, Enter and letters as its own commands (b: a new cell) unless the very
  // element in focus says otherwise.
  const ownKeys = node => node.setAttribute("data-lm-suppress-shortcuts", "true");

  // ipywidgets shows a slider's label but does not tie it to the handle.
  const tendControls = () => {
    const explorer = el.closest(".cnnlab-explorer");
    if (!explorer) {   // not on the page yet: a slow machine
      timer = setTimeout(tendControls, 300);
      return;
    }
    explorer.querySelectorAll("input, select, button, [role=slider]").forEach(ownKeys);
    for (const handle of explorer.querySelectorAll("[role=slider]:not([aria-label])")) {
      const label = handle.closest(".jupyter-widgets")?.querySelector(".widget-label");
      if (label) handle.setAttribute("aria-label", label.textContent);
    }
  };

  // A sentence that already stands in the picture is not said twice.
  const complain = () => {
    const text = model.get("error");
    const shown = text && picture.firstElementChild?.getAttribute("aria-label") === text;
    error.textContent = shown ? "Change a control, or press Reset." : text;
  };

  const draw = () => {
    const active = picture.getRootNode().activeElement;
    const held = picture.contains(active) ? active.dataset.pick : undefined;
    picture.innerHTML = model.get("svg");
    complain();
    picture.querySelectorAll("[data-pick]").forEach(ownKeys);
    const svg = picture.firstElementChild;
    if (!svg) return;
    if (held !== undefined) {
      const again = [...picture.querySelectorAll("[data-pick]")].find(p => p.dataset.pick === held);
      const recent = ahead.pick === held && Date.now() - ahead.when < 1000;
      if (again && recent) again.dataset.at = ahead.at;
      if (again) again.focus({ preventScroll: true });
    }
    // Read the new picture aloud once the keys rest, not at every step.
    clearTimeout(timer);
    timer = setTimeout(() => {
      spoken.textContent = svg.getAttribute("aria-label") || "";
      tendControls();
    }, 600);
  };

  const send = key => {
    model.set("picked", { key, n: (model.get("picked").n || 0) + 1 });
    model.save_changes();
  };

  picture.addEventListener("click", event => {
    const target = event.target.closest("[data-pick]");
    if (!target) return;
    target.focus({ preventScroll: true });
    if (target.dataset.rows === undefined) return send(target.dataset.pick);
    const box = target.getBoundingClientRect();
    const rows = +target.dataset.rows, cols = +target.dataset.cols;
    const row = Math.floor((event.clientY - box.top) / box.height * rows);
    const col = Math.floor((event.clientX - box.left) / box.width * cols);
    const inside = (value, count) => Math.min(Math.max(value, 0), count - 1);
    send([target.dataset.pick, inside(row, rows), inside(col, cols)].join(","));
  });

  picture.addEventListener("keydown", event => {
    const target = event.target.closest("[data-pick]");
    if (!target || event.ctrlKey || event.metaKey || event.altKey) return;
    const moves = { ArrowUp: [-1, 0], ArrowDown: [1, 0], ArrowLeft: [0, -1], ArrowRight: [0, 1] };
    const cells = target.dataset.rows !== undefined;
    const press = event.key === "Enter" || event.key === " ";
    if (!press && !(cells && moves[event.key])) return;
    event.preventDefault();
    event.stopPropagation();
    if (!cells) return send(target.dataset.pick);
    const [row, col] = target.dataset.at.split(",").map(Number);
    const [down, right] = moves[event.key] || [0, 0];
    const next = [row + down, col + right];
    if (next[0] < 0 || next[0] >= +target.dataset.rows) return;
    if (next[1] < 0 || next[1] >= +target.dataset.cols) return;
    target.dataset.at = next.join(",");   // a held key moves on before the kernel has answered
    ahead = { pick: target.dataset.pick, at: target.dataset.at, when: Date.now() };
    send([target.dataset.pick, ...next].join(","));
  });

  model.on("change:svg", draw);
  model.on("change:error", complain);
  draw();
  return () => clearTimeout(timer);
}
export default { render };
"""

    _css = """
.cnnlab-explorer { padding: 4px 0; color: var(--jp-content-font-color1, inherit);
  font-family: var(--jp-content-font-family, sans-serif); overflow: hidden; }
.cnnlab-explorer .cnnlab-controls { display: grid; gap: 2px 24px; width: 100%; margin: 4px 0;
  grid-template-columns: repeat(auto-fill, minmax(min(320px, 100%), 1fr)); overflow: hidden; }
.cnnlab-explorer .cnnlab-controls > * { width: auto; margin: 0; min-width: 0; }
.cnnlab-explorer .cnnlab-controls .widget-label { color: inherit; }
.cnnlab-explorer .widget-checkbox label { display: flex; align-items: center; gap: 4px; }
.cnnlab-explorer .widget-checkbox input { margin: 0; }
.cnnlab-explorer .cnnlab-head { align-items: center; justify-content: space-between; width: 100%; }
.cnnlab-explorer .cnnlab-title { font-size: 1.15em; font-weight: 600; line-height: 1.4; }
.cnnlab-explorer .cnnlab-find { line-height: 1.5; max-width: 80ch; }
.cnnlab-explorer .cnnlab-find ol { margin: 2px 0 0; padding-left: 1.6em; }
.cnnlab-picture svg { display: block; }
.cnnlab-picture [data-pick]:focus { outline: 3px solid #0072b2; outline-offset: 1px; }
.cnnlab-picture [data-pick]:focus:not(:focus-visible) { outline: none; }
.cnnlab-error { min-height: 1.5em; line-height: 1.5; font-size: 0.95em;
  color: var(--jp-content-font-color1, inherit); }
.cnnlab-error:not(:empty)::before { content: "\\26a0  "; color: #d55e00; }
.cnnlab-spoken { position: absolute; width: 1px; height: 1px; overflow: hidden;
  clip-path: inset(50%); white-space: nowrap; }
"""


class Explorer:
    """Controls above one picture.

    `draw(**state)` is pure and gives SVG text. A ValueError with a sentence shows that sentence in
    place of the picture; anything else it raises is named as a fault of the course; the explorer
    goes on either way. `hidden` holds state without a control (a chosen unit). `pick(state, key)`
    gives the state values that a click on the element with that `data-pick` changes. `find` is
    what a reader should find out. Changing from Python: `explorer.set(kernel=5)`, `reset()`.
    """

    def __init__(self, title: str, controls: Sequence[Slider | Choice | Toggle],
                 draw: Callable[..., str], find: Sequence[str], name: str, *,
                 hidden: dict[str, object] | None = None,
                 pick: Callable[[dict, str], dict] | None = None):
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
            close = difflib.get_close_matches(name, known, n=1)
            raise ValueError(f"{self.name} has no {name!r}: "
                             + (f"did you mean {close[0]!r}? " if close else "")
                             + f"It has {', '.join(known)}")
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
        with self.picture.hold_sync():             # one message to the browser
            self.picture.svg = svg
            self.picture.error = error

    def _assemble(self) -> ipywidgets.VBox:
        title = ipywidgets.HTML('<div class="cnnlab-title" role="heading" aria-level="3">'
                                f"{inline(self.title)}</div>")
        found = "".join(f"<li>{inline(item)}</li>" for item in self.find)
        find = ipywidgets.HTML('<div class="cnnlab-find"><b>Things to find</b>'
                               f"<ol>{found}</ol></div>")
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
        data = {**view, "text/plain": repr(self), "image/svg+xml": self.svg,
                "image/png": drawings.to_png(self.svg)}
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
    return (f"{type(error).__name__}: {error}. This is a fault of the course, not yours: please "
            "report it with the values of the controls. The explorer goes on working.")


def _view_box(svg: str) -> tuple[float, float]:
    found = re.search(r'viewBox="0 0 ([\d.]+) ([\d.]+)"', svg[:400])
    if found is None:
        raise TypeError('draw must return SVG text with viewBox="0 0 width height"; '
                        "return str(svg) of a drawings.Svg")
    return float(found.group(1)), float(found.group(2))
