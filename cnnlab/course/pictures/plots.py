"""Measured data as matplotlib figures, in the course's look. Nothing here runs a model.

Every plot has a title, labeled axes with units and an alt text; the picture is a PNG with no date
or version in it. Data may be sequences, arrays or tensors on the CPU. In its text form a plot
tells some of its numbers, marked as measured; `exact`: they are the same on every machine (counts,
not measurements), so they are compared.

    plots.curves({"plain": [[2.3, 1.1], [2.2, 1.0]], "residual": [[2.3, 0.8], [2.2, 0.7]]},
                 title="Training loss, 2 seeds", x_label="epoch", y_label="loss",
                 alt="Two falling curves; the residual one lies below the plain one.")
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from itertools import product

import numpy as np
from matplotlib.colors import to_hex
from matplotlib.ticker import MaxNLocator
from matplotlib.transforms import Bbox

from cnnlab.course.errors import CourseError
from cnnlab.course.look import INK, MUTED, measured, short, text_on, unmarked
from cnnlab.course.pictures.plot import (
    WIDTH,
    Plot,
    begin,
    figure,
    finish,
    mark,
    numbers,
    off_graph,
    ramp,
    settled,
    some,
    styled,
    tell,
)


@styled
def curves(
    series: Mapping[str, object],
    *,
    title: str,
    x_label: str,
    y_label: str,
    alt: str,
    exact: bool = False,
    x: Sequence[float] | None = None,
    log: str = "",
    marks: Mapping[str, float] | None = None,
    height: float = 3.6,
) -> Plot:
    """One curve per name: a run (T values), or several runs (R x T) as mean and min-max band.

    `x`: T positions (default 1, 2, ...: epochs). `log`: "", "x", "y" or "xy". `marks`: horizontal
    reference lines by name (chance level). All runs of one name have the same length.
    """
    plot, axes = begin(title, x_label, y_label, alt, height, log)
    ends = {}
    for index, (name, runs) in enumerate(some(series).items()):
        runs = np.atleast_2d(numbers(runs, name))
        if runs.ndim != 2 or runs.size == 0:
            wanted = "(T,) or (runs, T) with at least one value"
            raise CourseError(f"{name!r} has shape {runs.shape}, expected {wanted}")
        at = np.arange(1, runs.shape[1] + 1) if x is None else numbers(x, "x")
        if len(at) != runs.shape[1]:
            raise CourseError(
                f"{name!r} has {runs.shape[1]} values and x has {len(at)}: give one x per value"
            )
        ends[name] = runs.mean(0)[[0, -1]]
        color, dash, marker = mark(index)
        marker = marker if len(at) <= 20 else None
        axes.plot(at, runs.mean(0), color=color, linestyle=dash, label=name, marker=marker)
        if len(runs) > 1:
            axes.fill_between(at, runs.min(0), runs.max(0), color=color, alpha=0.18, lw=0)
    for name, value in (marks or {}).items():
        axes.axhline(value, color=MUTED, linestyle=":", linewidth=1.4, label=name)
    if x is None and "x" not in log:
        axes.xaxis.get_major_locator().set_params(integer=True)
    tell(plot, ends, exact)
    return finish(plot, axes)


@styled
def lines(
    series: Mapping[str, tuple[object, object]],
    *,
    title: str,
    x_label: str,
    y_label: str,
    alt: str,
    exact: bool = False,
    log: str = "",
    height: float = 3.6,
) -> Plot:
    """One line per name through its (x, y) points. `log`: "", "x", "y" or "xy"."""
    return _points(series, True, title, x_label, y_label, alt, exact, log, height, None)


@styled
def scatter(
    series: Mapping[str, tuple[object, object]],
    *,
    title: str,
    x_label: str,
    y_label: str,
    alt: str,
    exact: bool = False,
    log: str = "",
    height: float = 4.2,
    names: Mapping[str, Sequence[str]] | None = None,
) -> Plot:
    """Points per name. `names`: one text per point, written beside it."""
    return _points(series, False, title, x_label, y_label, alt, exact, log, height, names)


@styled
def bars(
    groups: Sequence[str],
    series: Mapping[str, object],
    *,
    title: str,
    x_label: str,
    y_label: str,
    alt: str,
    exact: bool = False,
    texts: bool = True,
    height: float = 3.6,
) -> Plot:
    """Bars of each name beside each other, in groups: G values, or R x G runs (mean, min-max).

    `texts` writes the (mean) value above each bar.
    """
    plot, axes = begin(title, x_label, y_label, alt, height, "")
    wide, means = 0.8 / len(some(series)), {}
    for index, (name, values) in enumerate(series.items()):
        runs = np.atleast_2d(numbers(values, name))
        if runs.shape[1:] != (len(groups),):
            wanted = f"one value for each of the {len(groups)} groups"
            raise CourseError(f"{name!r} has shape {runs.shape[1:]}, expected {wanted}")
        means[name] = mean = runs.mean(0)
        at = np.arange(len(groups)) + (index - (len(series) - 1) / 2) * wide
        # At least 0: the mean of equal values can miss them by the last bit.
        spread = np.stack([mean - runs.min(0), runs.max(0) - mean]).clip(0)
        shown = {"color": mark(index)[0], "ecolor": INK, "capsize": 3}
        drawn = axes.bar(
            at, mean, wide * 0.92, label=name, yerr=spread if len(runs) > 1 else None, **shown
        )
        if texts:
            axes.bar_label(drawn, [short(v, 3) for v in mean], padding=2, fontsize=9)
    tell(plot, means, exact)
    axes.set_xticks(range(len(groups)), groups)
    axes.grid(axis="x", visible=False)
    axes.margins(y=0.12 if len(series) == 1 else 0.25)  # room for the names, above the bars
    if y_label.endswith("%") and max(value.max() for value in means.values()) <= 100:
        axes.set_yticks([tick for tick in axes.get_yticks() if tick <= 100], minor=False)
    return finish(plot, axes, legend=len(series) > 1, in_a_row=True)


@styled
def image_grid(
    images: object,
    *,
    title: str,
    alt: str,
    exact: bool = False,
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
    size = (
        max(cols * (cell + 0.08) + 0.2, len(unmarked(title)) * 0.1 + 0.3),
        rows * (tall + gap) + head,
    )
    plot = figure(title, alt, size)
    said = ", ".join(map(str, titles))
    plot.numbers = said if exact else measured(said) if said else ""
    plot.set_layout_engine("none")
    plot.text(0.1 / size[0], 1 - 0.28 / size[1], unmarked(title), fontsize=12, fontweight="bold")
    place = {"left": 0.1 / size[0], "right": (cols * (cell + 0.08) + 0.02) / size[0]}
    place["top"] = 1 - (head + (gap - 0.08 if titles else 0)) / size[1]
    place |= {"bottom": 0.08 / size[1], "wspace": 0.08 / cell, "hspace": gap / tall}
    grid = plot.subplots(rows, cols, squeeze=False, gridspec_kw=place)
    shown = {"cmap": ramp(signed, reverse=True), "vmin": low, "vmax": high}
    for axes in grid.flat:
        axes.axis("off")
    for index, (axes, image) in enumerate(zip(grid.flat, stack)):
        if image.ndim == 3:
            image = np.clip((image - low) / ((high - low) or 1.0), 0, 1)
        axes.imshow(image, interpolation="nearest", **shown)
        if titles:
            axes.set_title(
                unmarked(titles[index]), fontsize=9, fontweight="normal", loc="center", pad=2
            )
    return plot


@styled
def heatmap(
    values: object,
    *,
    title: str,
    x_label: str,
    y_label: str,
    bar_label: str,
    alt: str,
    exact: bool = False,
    x_ticks: Sequence[str] | None = None,
    y_ticks: Sequence[str] | None = None,
    low: float | None = None,
    high: float | None = None,
    signed: bool = False,
    texts: bool = False,
    height: float = 4.2,
) -> Plot:
    """A matrix (rows x cols) in color, with its color bar; `texts` writes each value in."""
    matrix = numbers(values, "values")
    if matrix.ndim != 2 or not matrix.size:
        raise CourseError(f"values have shape {matrix.shape}, expected (rows, cols)")
    ends = {"": (np.nanmin(matrix), np.nanmax(matrix))}
    low, high = _limits(matrix, low, high, signed)
    ratio = matrix.shape[1] / matrix.shape[0]
    square, width = 0.25 < ratio < 4, WIDTH
    if square:  # a figure that fits square cells: labels and color bar need the rest, in inches
        wide = min((height - 1.1) * ratio, WIDTH - 2.2)
        width, height = max(wide + 2.2, 4.4), wide / ratio + 1.1
    plot, axes = begin(title, x_label, y_label, alt, height, "", width)
    shown = {"cmap": ramp(signed), "vmin": low, "vmax": high, "interpolation": "nearest"}
    image = axes.imshow(matrix, aspect="equal" if square else "auto", **shown)
    plot.colorbar(image, ax=axes, label=bar_label).outline.set_visible(False)
    middle = {"ha": "center", "va": "center", "fontsize": 8.5}
    for (row, col), value in np.ndenumerate(matrix):
        if texts and value == value:  # NaN: no such cell
            ink = text_on(to_hex(image.cmap((value - low) / ((high - low) or 1.0))))
            axes.text(col, row, short(value, 3), color=ink, **middle)
    axes.grid(False)
    for axis, ticks in ((axes.xaxis, x_ticks), (axes.yaxis, y_ticks)):
        if ticks is None:
            axis.set_major_locator(MaxNLocator(integer=True))
        else:
            axis.set_ticks(range(len(ticks)), ticks)
    tell(plot, ends, exact)
    return settled(plot)


# -- shared


def _points(series, joined, title, x_label, y_label, alt, exact, log, height, names) -> Plot:
    plot, axes = begin(title, x_label, y_label, alt, height, log)
    ends, spots, words = {}, [], []
    for index, (name, (x, y)) in enumerate(some(series).items()):
        x, y = numbers(x, name), numbers(y, name)
        if x.shape != y.shape or x.ndim != 1:
            shapes = f"x of shape {x.shape} and y of shape {y.shape}"
            raise CourseError(f"{name!r} has {shapes}, expected two lists of one length")
        ends[name] = y[[0, -1]] if len(y) else y
        color, dash, marker = mark(index)
        style = {"marker": marker, "linestyle": "none", "markersize": 7}
        if joined:
            style = {"marker": marker if len(x) <= 30 else None, "linestyle": dash}
        axes.plot(x, y, color=color, label=name, **style)
        spots += zip(x, y)
        words += [(spot, text) for spot, text in zip(zip(x, y), (names or {}).get(name, ()))]
    if words:
        axes.margins(0.1)  # room for them
    tell(plot, ends, exact)
    finish(plot, axes)
    _write(axes, [word for word in words if word[1]], spots)
    return plot


def _write(axes, words, spots) -> None:
    """Each text beside its point, on the side where it covers least and is nearest to this one."""
    marks = [Bbox(axes.transData.transform(spot) + [[-6, -6], [6, 6]]) for spot in spots]
    points = axes.transData.transform(spots)
    frame = axes.get_window_extent()
    for spot, text in words:
        note = axes.annotate(text, spot, xytext=(0, 0), textcoords="offset points", fontsize=9)
        best = None
        for right, up in product((1, -1, 0), (1, -1, 0)):
            place = {"position": ((6 if up else 9) * right, (4 if right else 8) * up)}
            place["ha"] = ("center", "left", "right")[right]
            place["va"] = ("center", "bottom", "top")[up]
            note.set(**place)
            box = note.get_window_extent()
            outside = box.x0 < frame.x0 or box.x1 > frame.x1 or box.y1 > frame.y1
            far = _distances(box, points)
            own = _distances(box, axes.transData.transform([spot]))[0]
            taken = (far < 1.5 * own).sum() > 1  # it might seem to be another point's
            cost = box.count_overlaps(marks) + 2 * outside + taken + 9 * (not right and not up)
            if best is None or cost < best[0]:
                best = cost, place, box
        note.set(**best[1])
        marks.append(best[2])


def _distances(box: Bbox, points: np.ndarray) -> np.ndarray:
    """From a box to each of the points (N, 2), in pixels."""
    return np.linalg.norm(points - points.clip(box.min, box.max), axis=1)


def _limits(values: np.ndarray, low, high, signed: bool) -> tuple[float, float]:
    """The ends of the color scale: as given, else the values' own; about zero when signed."""
    low = float(np.nanmin(values)) if low is None else low
    high = float(np.nanmax(values)) if high is None else high
    reach = max(abs(low), abs(high)) or 1.0
    return (-reach, reach) if signed else (low, high)


def _images(images: object) -> np.ndarray:
    """(N, H, W) or (N, H, W, 3) float; uint8 becomes 0 to 1."""
    stack = np.asarray(off_graph(images))
    if stack.ndim == 4 and stack.shape[1] in (1, 3) and stack.shape[-1] != 3:
        stack = np.moveaxis(stack, 1, -1)  # (N, C, H, W)
    if stack.ndim == 4 and stack.shape[-1] == 1:
        stack = stack[..., 0]
    if not stack.size or not (stack.ndim == 3 or (stack.ndim == 4 and stack.shape[-1] == 3)):
        wanted = "(N, H, W), (N, 1 or 3, H, W) or (N, H, W, 3)"
        raise CourseError(f"images have shape {stack.shape}, expected {wanted}")
    return stack / 255.0 if stack.dtype == np.uint8 else stack.astype(float)
