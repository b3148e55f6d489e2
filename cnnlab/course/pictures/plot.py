"""The figure under every plot: the course's look, a PNG that says what it shows, its words.

A picture's compared text, its PNG and its alt text all carry the title, the sentence for readers
who cannot see it, and its numbers, so that a wrong or exchanged picture is noticed.
"""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib import style
from matplotlib.axes import Axes
from matplotlib.colors import LinearSegmentedColormap
from matplotlib.figure import Figure

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
    measured,
    short,
    unmarked,
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
    "axes.formatter.min_exponent": 4,  # 0.1, 1, 10 on logarithmic axes, no powers of ten
}
# Decorates what draws: over matplotlib's defaults, whatever the reader's own matplotlibrc says.
styled = style.context(["default", _STYLE])


class Plot(Figure):
    """A figure that shows itself as a PNG; `words` say in text what it shows."""

    title = alt = numbers = ""

    @property
    def words(self) -> str:
        """Title, what is seen, and the numbers; those measured stand between marks."""
        return f"{self.title}. {self.alt}{f' [{self.numbers}]' if self.numbers else ''}"

    @styled
    def png(self) -> bytes:
        """At twice the page's resolution, or less where that is over 120 kB. `words` are its
        text chunk "Description"."""
        for dpi in (200, 150, 100, 75):
            buffer = io.BytesIO()
            about = {"Software": None, "Description": self.words}
            self.savefig(buffer, format="png", dpi=dpi, metadata=about)
            if buffer.tell() <= _PNG_BYTES:
                break
        return buffer.getvalue()

    def __repr__(self) -> str:
        return f"Plot: {self.words}"

    def _repr_mimebundle_(self, include=None, exclude=None):
        width, height = (round(inches * 100) for inches in self.get_size_inches())
        about = {"width": width, "height": height, "alt": unmarked(f"{self.title}. {self.alt}")}
        return {"image/png": self.png(), "text/plain": repr(self)}, {"image/png": about}


def figure(title: str, alt: str, size: tuple[float, float]) -> Plot:
    """An empty figure of `size` inches. Raises CourseError without a title or an alt text."""
    if not (title.strip() and alt.strip()):
        what = "alt" if title.strip() else "title"
        raise CourseError(f"the plot has an empty {what}: say in a sentence what it shows")
    plot = Plot(figsize=size, layout="constrained")
    plot.get_layout_engine().set(w_pad=0.12, h_pad=0.12)
    plot.title, plot.alt = title, " ".join(alt.split())
    return plot


def begin(title, x_label, y_label, alt, height, log, width=WIDTH) -> tuple[Plot, Axes]:
    """A figure with one pair of axes. Raises CourseError for a missing label or a wrong `log`."""
    if not (x_label.strip() and y_label.strip()):
        names = f"{x_label!r} and {y_label!r}"
        raise CourseError(f"the axes are labeled {names}; name both, with units")
    if log not in ("", "x", "y", "xy"):
        raise CourseError(f"log is {log!r}, expected '', 'x', 'y' or 'xy'")
    plot = figure(title, alt, (width, height))
    scales = {f"{axis}scale": "log" for axis in log}
    return plot, plot.add_subplot(title=unmarked(title), xlabel=x_label, ylabel=y_label, **scales)


def finish(plot: Plot, axes: Axes, legend: bool = True, in_a_row: bool = False) -> Plot:
    """With its legend, where there is more than one name."""
    names = axes.get_legend_handles_labels()[1]
    if legend and len(names) > 5:  # beside the plot, where it hides nothing
        axes.legend(loc="upper left", bbox_to_anchor=(1.01, 1))
    elif legend and len(names) > 1:
        axes.legend(ncols=len(names) if in_a_row else 1)
    return settled(plot)


def settled(plot: Plot) -> Plot:
    """With its layout fixed: each further draw would move the axes by a hair, and the bytes."""
    plot.draw_without_rendering()
    plot.set_layout_engine("none")
    return plot


def mark(index: int) -> tuple:
    """Color, dash and marker of a series: no two of seven share any of them."""
    return tuple(marks[index % len(marks)] for marks in (SERIES, DASHES, MARKERS))


def some(series: Mapping) -> Mapping:
    """The series, of which there must be one: else CourseError."""
    if not series:
        raise CourseError("series is empty: give at least one name with its values")
    return series


def numbers(values: object, name: str) -> np.ndarray:
    """Lists, arrays or tensors as one array of floats. Raises CourseError where that fails."""
    try:
        if isinstance(values, (list, tuple)) and values:  # of tensors, too
            return np.stack([np.asarray(off_graph(v), dtype=float) for v in values])
        return np.asarray(off_graph(values), dtype=float)
    except (TypeError, ValueError) as error:
        advice = "give equally long lists of numbers, an array or a CPU tensor"
        raise CourseError(f"{name!r} cannot be read as numbers ({error}); {advice}") from None


def off_graph(values: object) -> object:
    """A tensor without its graph, on the CPU; anything else as it is."""
    return values.detach().cpu() if hasattr(values, "detach") else values


def ramp(signed: bool, reverse: bool = False) -> LinearSegmentedColormap:
    """The colors of images and heatmaps; `signed` has white at zero."""
    if signed:
        return LinearSegmentedColormap.from_list("signed", [INPUT, "#ffffff", HIGHLIGHT])
    ends = [INK, "#ffffff"] if reverse else ["#ffffff", INPUT, INK]
    return LinearSegmentedColormap.from_list("ramp", ends)


def tell(plot: Plot, series: Mapping[str, Sequence[float]], exact: bool) -> None:
    """Give the plot its numbers in words: some of each name, marked as measured unless `exact`."""
    said = "; ".join(
        f"{name} {', '.join(short(float(value), 3) for value in values)}".strip()
        for name, values in series.items()
    )
    plot.numbers = said if exact else measured(said)
