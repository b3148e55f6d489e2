"""Measured data as matplotlib figures, in the course's look. Nothing here runs a model.

Every plot has a title, labeled axes with units and an alt text; the picture is a PNG with no date
or version in it. Data may be sequences, arrays or tensors on the CPU.

    plots.curves({"plain": [[2.3, 1.1], [2.2, 1.0]], "residual": [[2.3, 0.8], [2.2, 0.7]]},
                 title="Training loss, 2 seeds", x_label="epoch", y_label="loss",
                 alt="Two falling curves; the residual one lies below the plain one.")
"""

from __future__ import annotations

import io
import math
from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib import style
from matplotlib.axes import Axes
from matplotlib.colors import LinearSegmentedColormap, to_hex
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from cnnlab.course.errors import CourseError
from cnnlab.course.look import (
    DASHES,
    GRID,
    HIGHLIGHT,
    INK,
    INPUT,
    MARKERS,
    MUTED,
    PAPER,
    SERIES,
    text_on,
)

WIDTH = 7.2  # inches; 100 px each on the page
_PNG_BYTES = 120_000

_INKS = ("text.color", "axes.labelcolor", "xtick.labelcolor", "ytick.labelcolor")
_STYLE = {
    **dict.fromkeys(("figure.facecolor", "axes.facecolor", "savefig.facecolor"), PAPER),
    **dict.fromkeys(_INKS, INK),
    **dict.fromkeys(("xtick.color", "ytick.color", "axes.edgecolor"), MUTED),
    **dict.fromkeys(("xtick.labelsize", "ytick.labelsize", "legend.fontsize"), 9.5),
    **dict.fromkeys(("legend.frameon", "axes.spines.top", "axes.spines.right"), False),
    **{"axes.titlesize": 12, "axes.titleweight": "bold", "axes.titlelocation": "left"},
    **{"axes.labelsize": 10.5, "lines.linewidth": 2, "lines.markersize": 5},
    **{"axes.grid": True, "axes.axisbelow": True, "grid.color": GRID, "grid.linewidth": 0.6},
    "font.family": "DejaVu Sans",
}
# Decorates what draws: over matplotlib's defaults, whatever the reader's own matplotlibrc says.
_look = style.context(["default", _STYLE])


class Plot(Figure):
    """A figure that shows itself as a PNG with an alt text."""

    alt = ""

    @_look
    def png(self) -> bytes:
        """At twice the page's resolution, or less where that is over 120 kB."""
        for dpi in (200, 150, 100, 75):
            buffer = io.BytesIO()
            self.savefig(buffer, format="png", dpi=dpi, metadata={"Software": None})
            if buffer.tell() <= _PNG_BYTES:
                break
        return buffer.getvalue()

    def __repr__(self) -> str:
        return f"Plot: {self.alt}"

    def _repr_mimebundle_(self, include=None, exclude=None):
        width, height = (round(inches * 100) for inches in self.get_size_inches())
        size = {"image/png": {"width": width, "height": height}}
        return {"image/png": self.png(), "text/plain": repr(self)}, size


@_look
def curves(
    series: Mapping[str, object],
    *,
    title: str,
    x_label: str,
    y_label: str,
    alt: str,
    x: Sequence[float] | None = None,
    log: str = "",
    marks: Mapping[str, float] | None = None,
    y_range: tuple[float, float] | None = None,
    height: float = 3.6,
) -> Plot:
    """One curve per name: a run (T values), or several runs (R x T) as mean and min-max band.

    `x`: T positions (default 1, 2, ...: epochs). `log`: "", "x", "y" or "xy". `marks`: horizontal
    reference lines by name (chance level). All runs of one name have the same length.
    """
    plot, axes = _begin(title, x_label, y_label, alt, height, log)
    for index, (name, runs) in enumerate(_some(series).items()):
        runs = np.atleast_2d(_numbers(runs, name))
        if runs.ndim != 2 or runs.size == 0:
            wanted = "(T,) or (runs, T) with at least one value"
            raise CourseError(f"{name!r} has shape {runs.shape}, expected {wanted}")
        at = np.arange(1, runs.shape[1] + 1) if x is None else _numbers(x, "x")
        if len(at) != runs.shape[1]:
            raise CourseError(
                f"{name!r} has {runs.shape[1]} values and x has {len(at)}: give one x per value"
            )
        color, dash, marker = _mark(index)
        marker = marker if len(at) <= 20 else None
        axes.plot(at, runs.mean(0), color=color, linestyle=dash, label=name, marker=marker)
        if len(runs) > 1:
            axes.fill_between(at, runs.min(0), runs.max(0), color=color, alpha=0.18, lw=0)
    for name, value in (marks or {}).items():
        axes.axhline(value, color=MUTED, linestyle=":", linewidth=1.4, label=name)
    if y_range:
        axes.set_ylim(*y_range)
    if x is None and "x" not in log:
        axes.xaxis.get_major_locator().set_params(integer=True)
    return _finish(plot, axes)


@_look
def lines(
    series: Mapping[str, tuple[object, object]],
    *,
    title: str,
    x_label: str,
    y_label: str,
    alt: str,
    log: str = "",
    height: float = 3.6,
) -> Plot:
    """One line per name through its (x, y) points. `log`: "", "x", "y" or "xy"."""
    return _points(series, True, title, x_label, y_label, alt, log, height, None)


@_look
def scatter(
    series: Mapping[str, tuple[object, object]],
    *,
    title: str,
    x_label: str,
    y_label: str,
    alt: str,
    log: str = "",
    height: float = 4.2,
    names: Mapping[str, Sequence[str]] | None = None,
) -> Plot:
    """Points per name. `names`: one text per point, written beside it."""
    return _points(series, False, title, x_label, y_label, alt, log, height, names)


@_look
def bars(
    groups: Sequence[str],
    series: Mapping[str, object],
    *,
    title: str,
    x_label: str,
    y_label: str,
    alt: str,
    texts: bool = True,
    height: float = 3.6,
) -> Plot:
    """Bars of each name beside each other, in groups: G values, or R x G runs (mean, min-max).

    `texts` writes the (mean) value above each bar.
    """
    plot, axes = _begin(title, x_label, y_label, alt, height, "")
    wide = 0.8 / len(_some(series))
    for index, (name, values) in enumerate(series.items()):
        runs = np.atleast_2d(_numbers(values, name))
        if runs.shape[1:] != (len(groups),):
            wanted = f"one value for each of the {len(groups)} groups"
            raise CourseError(f"{name!r} has shape {runs.shape[1:]}, expected {wanted}")
        mean = runs.mean(0)
        at = np.arange(len(groups)) + (index - (len(series) - 1) / 2) * wide
        # At least 0: the mean of equal values can miss them by the last bit.
        spread = np.stack([mean - runs.min(0), runs.max(0) - mean]).clip(0)
        look = {"color": _mark(index)[0], "ecolor": INK, "capsize": 3}
        drawn = axes.bar(
            at, mean, wide * 0.92, label=name, yerr=spread if len(runs) > 1 else None, **look
        )
        if texts:
            axes.bar_label(drawn, [_short(v) for v in mean], padding=2, fontsize=9)
    axes.set_xticks(range(len(groups)), groups)
    axes.grid(axis="x", visible=False)
    axes.margins(y=0.12 if len(series) == 1 else 0.25)  # room for the names, above the bars
    return _finish(plot, axes, legend=len(series) > 1, in_a_row=True)


@_look
def image_grid(
    images: object,
    *,
    title: str,
    alt: str,
    titles: Sequence[str] = (),
    cols: int | None = None,
    signed: bool = False,
    cell: float = 0.9,
) -> Plot:
    """Small pictures in rows: (N, H, W), (N, 1 or 3, H, W) or (N, H, W, 3), uint8 or float.

    One gray scale for all, the range of all images (uint8 counts as 0 to 1). `signed`: blue below
    zero, white at zero, vermillion above (filters). `cell` is one picture's inches.
    """
    stack = _images(images)
    cols = cols or min(len(stack), max(int(WIDTH / (cell * 1.12)), 1))
    rows = math.ceil(len(stack) / cols)
    if titles and len(titles) != len(stack):
        raise CourseError(f"{len(titles)} titles for {len(stack)} images: give one each, or none")
    low, high = _limits(stack, None, None, signed)
    tall = cell * stack.shape[1] / stack.shape[2]
    gap, head = 0.3 if titles else 0.08, 0.45  # inches; exact, so that each draw is the same
    size = (max(cols * (cell + 0.08) + 0.2, len(title) * 0.1 + 0.3), rows * (tall + gap) + head)
    plot = _figure(title, alt, size)
    plot.set_layout_engine("none")
    plot.text(0.1 / size[0], 1 - 0.28 / size[1], title, fontsize=12, fontweight="bold")
    place = {"left": 0.1 / size[0], "right": (cols * (cell + 0.08) + 0.02) / size[0]}
    place["top"] = 1 - (head + (gap - 0.08 if titles else 0)) / size[1]
    place |= {"bottom": 0.08 / size[1], "wspace": 0.08 / cell, "hspace": gap / tall}
    grid = plot.subplots(rows, cols, squeeze=False, gridspec_kw=place)
    look = {"cmap": _ramp(signed, reverse=True), "vmin": low, "vmax": high}
    for axes in grid.flat:
        axes.axis("off")
    for index, (axes, image) in enumerate(zip(grid.flat, stack)):
        if image.ndim == 3:
            image = np.clip((image - low) / ((high - low) or 1.0), 0, 1)
        axes.imshow(image, interpolation="nearest", **look)
        if titles:
            axes.set_title(titles[index], fontsize=9, fontweight="normal", loc="center", pad=2)
    return plot


@_look
def heatmap(
    values: object,
    *,
    title: str,
    x_label: str,
    y_label: str,
    bar_label: str,
    alt: str,
    x_ticks: Sequence[str] | None = None,
    y_ticks: Sequence[str] | None = None,
    low: float | None = None,
    high: float | None = None,
    signed: bool = False,
    texts: bool = False,
    height: float = 4.2,
) -> Plot:
    """A matrix (rows x cols) in color, with its color bar; `texts` writes each value in."""
    matrix = _numbers(values, "values")
    if matrix.ndim != 2 or not matrix.size:
        raise CourseError(f"values have shape {matrix.shape}, expected (rows, cols)")
    low, high = _limits(matrix, low, high, signed)
    ratio = matrix.shape[1] / matrix.shape[0]
    square, width = 0.25 < ratio < 4, WIDTH
    if square:  # a figure that fits square cells: labels and color bar need the rest, in inches
        wide = min((height - 1.1) * ratio, WIDTH - 2.2)
        width, height = max(wide + 2.2, 4.4), wide / ratio + 1.1
    plot, axes = _begin(title, x_label, y_label, alt, height, "", width)
    look = {"cmap": _ramp(signed), "vmin": low, "vmax": high, "interpolation": "nearest"}
    image = axes.imshow(matrix, aspect="equal" if square else "auto", **look)
    plot.colorbar(image, ax=axes, label=bar_label).outline.set_visible(False)
    middle = {"ha": "center", "va": "center", "fontsize": 8.5}
    for (row, col), value in np.ndenumerate(matrix):
        if texts and value == value:  # NaN: no such cell
            ink = text_on(to_hex(image.cmap((value - low) / ((high - low) or 1.0))))
            axes.text(col, row, _short(value), color=ink, **middle)
    axes.grid(False)
    for axis, ticks in ((axes.xaxis, x_ticks), (axes.yaxis, y_ticks)):
        if ticks is None:
            axis.set_major_locator(MaxNLocator(integer=True))
        else:
            axis.set_ticks(range(len(ticks)), ticks)
    return _settled(plot)


# -- shared


def _figure(title: str, alt: str, size: tuple[float, float]) -> Plot:
    if not (title.strip() and alt.strip()):
        what = "alt" if title.strip() else "title"
        raise CourseError(f"the plot has an empty {what}: say in a sentence what it shows")
    plot = Plot(figsize=size, layout="constrained")
    plot.get_layout_engine().set(w_pad=0.12, h_pad=0.12)
    plot.alt = " ".join(alt.split())
    return plot


def _begin(title, x_label, y_label, alt, height, log, width=WIDTH) -> tuple[Plot, Axes]:
    if not (x_label.strip() and y_label.strip()):
        names = f"{x_label!r} and {y_label!r}"
        raise CourseError(f"the axes are labeled {names}; name both, with units")
    if log not in ("", "x", "y", "xy"):
        raise CourseError(f"log is {log!r}, expected '', 'x', 'y' or 'xy'")
    plot = _figure(title, alt, (width, height))
    scales = {f"{axis}scale": "log" for axis in log}
    return plot, plot.add_subplot(title=title, xlabel=x_label, ylabel=y_label, **scales)


def _finish(plot: Plot, axes: Axes, legend: bool = True, in_a_row: bool = False) -> Plot:
    names = axes.get_legend_handles_labels()[1]
    if legend and len(names) > 5:  # beside the plot, where it hides nothing
        axes.legend(loc="upper left", bbox_to_anchor=(1.01, 1))
    elif legend and len(names) > 1:
        axes.legend(ncols=len(names) if in_a_row else 1)
    return _settled(plot)


def _settled(plot: Plot) -> Plot:
    """With its layout fixed: each further draw would move the axes by a hair, and the bytes."""
    plot.draw_without_rendering()
    plot.set_layout_engine("none")
    return plot


def _points(series, joined, title, x_label, y_label, alt, log, height, names) -> Plot:
    plot, axes = _begin(title, x_label, y_label, alt, height, log)
    for index, (name, (x, y)) in enumerate(_some(series).items()):
        x, y = _numbers(x, name), _numbers(y, name)
        if x.shape != y.shape or x.ndim != 1:
            shapes = f"x of shape {x.shape} and y of shape {y.shape}"
            raise CourseError(f"{name!r} has {shapes}, expected two lists of one length")
        color, dash, marker = _mark(index)
        look = {"marker": marker, "linestyle": "none", "markersize": 7}
        if joined:
            look = {"marker": marker if len(x) <= 30 else None, "linestyle": dash}
        axes.plot(x, y, color=color, label=name, **look)
        for px, py, text in zip(x, y, (names or {}).get(name, ())):
            axes.margins(0.1)  # room for the words
            axes.annotate(text, (px, py), xytext=(6, 4), textcoords="offset points", fontsize=9)
    return _finish(plot, axes)


def _mark(index: int) -> tuple:
    """Color, dash and marker of a series: no two of seven share any of them."""
    return tuple(marks[index % len(marks)] for marks in (SERIES, DASHES, MARKERS))


def _some(series: Mapping) -> Mapping:
    if not series:
        raise CourseError("series is empty: give at least one name with its values")
    return series


def _limits(values: np.ndarray, low, high, signed: bool) -> tuple[float, float]:
    """The ends of the color scale: as given, else the values' own; about zero when signed."""
    low = float(np.nanmin(values)) if low is None else low
    high = float(np.nanmax(values)) if high is None else high
    reach = max(abs(low), abs(high)) or 1.0
    return (-reach, reach) if signed else (low, high)


def _numbers(values: object, name: str) -> np.ndarray:
    try:
        if isinstance(values, (list, tuple)) and values:  # of tensors, too
            return np.stack([np.asarray(_off_graph(v), dtype=float) for v in values])
        return np.asarray(_off_graph(values), dtype=float)
    except (TypeError, ValueError) as error:
        advice = "give equally long lists of numbers, an array or a CPU tensor"
        raise CourseError(f"{name!r} cannot be read as numbers ({error}); {advice}") from None


def _off_graph(values: object) -> object:
    """A tensor without its graph, on the CPU; anything else as it is."""
    return values.detach().cpu() if hasattr(values, "detach") else values


def _images(images: object) -> np.ndarray:
    """(N, H, W) or (N, H, W, 3) float; uint8 becomes 0 to 1."""
    stack = np.asarray(_off_graph(images))
    if stack.ndim == 4 and stack.shape[1] in (1, 3) and stack.shape[-1] != 3:
        stack = np.moveaxis(stack, 1, -1)  # (N, C, H, W)
    if stack.ndim == 4 and stack.shape[-1] == 1:
        stack = stack[..., 0]
    if not stack.size or not (stack.ndim == 3 or (stack.ndim == 4 and stack.shape[-1] == 3)):
        wanted = "(N, H, W), (N, 1 or 3, H, W) or (N, H, W, 3)"
        raise CourseError(f"images have shape {stack.shape}, expected {wanted}")
    return stack / 255.0 if stack.dtype == np.uint8 else stack.astype(float)


def _ramp(signed: bool, reverse: bool = False) -> LinearSegmentedColormap:
    if signed:
        return LinearSegmentedColormap.from_list("signed", [INPUT, "#ffffff", HIGHLIGHT])
    ends = [INK, "#ffffff"] if reverse else ["#ffffff", INPUT, INK]
    return LinearSegmentedColormap.from_list("ramp", ends)


def _short(value: float) -> str:
    if float(value).is_integer():
        return f"{int(value):,}"
    return f"{value:.3g}" if abs(value) < 1000 else f"{value:,.0f}"
