"""Progress of a long computation: a bar, in a notebook with a live curve; in a log, plain lines."""

from __future__ import annotations

import html
import sys
import time
from collections.abc import Callable, Iterator, Sequence

LOG_EVERY = 30  # seconds between two lines of a log within an epoch
PAPER, GRID, INK, MUTED = "#fdfcf9", "#d9d7d0", "#1f2933", "#5f6b76"
SERIES = ("#0072b2", "#e69f00")  # Okabe and Ito's blue and orange


def progress(items: Sequence, unit: str = "run") -> Iterator:
    """The items one by one, with a bar after two seconds: for several trainings in one cell."""
    with Bar(len(items), True, unit) as bar:
        for item in items:
            yield item
            bar.advance()


class Bar:
    """Progress over the steps: a bar after two seconds, gone at the end; in a log, lines.

    In a notebook it is tqdm's text bar in a display of its own, over the picture that `picture`
    draws when the bar is redrawn. tqdm's widget would leave its last text, with times in it, in
    the stored notebook.
    """

    def __init__(
        self,
        steps: int,
        shown: bool,
        unit: str = "step",
        picture: Callable[[], str] | None = None,
        done: int = 0,
    ) -> None:
        self._bar, self._lines, self._text, self._last = None, False, "", time.monotonic()
        self._steps, self._unit, self._done = steps, unit, done
        file = (_notebook_display(picture) or sys.stderr) if shown else None
        if file is None:
            return
        if not file.isatty():
            self._lines = True
            return
        from tqdm import tqdm

        self._bar = tqdm(
            total=steps, initial=done, delay=2, leave=False, file=file, unit=unit, ncols=90
        )

    def __enter__(self) -> Bar:
        return self

    def __exit__(self, *error: object) -> None:
        if self._bar is not None:
            self._bar.close()

    def advance(self) -> None:
        """One step more."""
        self._done += 1
        if self._bar is not None:
            self._bar.update()
        elif self._lines and self._text and time.monotonic() - self._last > LOG_EVERY:
            self.row(f"{self._text}; {self._unit} {self._done} of {self._steps} in all")

    def say(self, text: str) -> None:
        """What stands before the bar when it is redrawn, and in a log now and then."""
        self._text = text
        if self._bar is not None:
            self._bar.set_description_str(text, refresh=False)

    def row(self, text: str | None) -> None:
        """A line for the log; a bar has no use for it."""
        if self._lines and text:
            print(text, file=sys.stderr, flush=True)
            self._last = time.monotonic()


def curve(
    losses: Sequence[float], marks: Sequence[tuple[int, float]], steps: int, words: str = ""
) -> str:
    """A small SVG of the losses so far, one per step out of `steps`, and marks (step, value), with
    `words` below."""
    if not losses:
        return ""
    width, height, edge = 480, 120, 24
    stride = -(-len(losses) // 120)  # at most 120 points, each a mean of at most 20 losses
    parts = [losses[i : i + min(stride, 20)] for i in range(0, len(losses), stride)]
    means = [sum(part) / len(part) for part in parts]
    top = max(means + [value for _, value in marks]) or 1.0

    def at(step: float, value: float) -> tuple[float, float]:
        share = value / top
        return edge + (width - 2 * edge) * step / steps, height - edge - (height - 2 * edge) * share

    line = " ".join("{:.1f},{:.1f}".format(*at(i * stride, m)) for i, m in enumerate(means))
    dots = "".join(
        '<circle cx="{:.1f}" cy="{:.1f}" r="4" fill="{}"/>'.format(*at(step, value), SERIES[1])
        for step, value in marks
    )
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" width="{width}" '
        f'role="img" aria-label="loss {means[-1]:.3g} after {len(losses)} of {steps} steps">'
        f'<rect width="{width}" height="{height}" fill="{PAPER}"/>'
        f'<path d="M{edge} {edge}V{height - edge}H{width - edge}" stroke="{GRID}" fill="none"/>'
        f'<polyline points="{line}" stroke="{SERIES[0]}" stroke-width="2" fill="none"/>{dots}'
        f'<text x="{edge}" y="16" font-size="12" fill="{INK}">{top:.3g}</text>'
        f'<text x="{width - edge}" y="16" font-size="12" fill="{MUTED}" text-anchor="end">'
        "line: training loss, dots: validation loss</text>"
        f'<text x="{edge}" y="{height - 6}" font-size="12" fill="{INK}">{html.escape(words)}</text>'
        "</svg>"
    )


class _Display:
    """A text file whose last line is shown in a notebook, as far as tqdm needs one.

    Its output is there from the start, empty, and empty at the end: a stored notebook is the same
    whether the bar had the time to appear or not.
    """

    encoding = "utf-8"

    def __init__(self, picture: Callable[[], str] | None = None) -> None:
        from IPython.display import DisplayHandle

        self._picture = picture
        self._handle = DisplayHandle()
        self._handle.display({"text/plain": ""}, raw=True)

    def isatty(self) -> bool:
        return True

    def flush(self) -> None:
        pass

    def write(self, text: str) -> None:
        data = {"text/plain": text.strip()}
        if text.strip() and self._picture is not None:
            data["text/html"] = f"<pre>{html.escape(text.strip())}</pre>{self._picture()}"
        self._handle.update(data, raw=True)


def _notebook_display(picture: Callable[[], str] | None = None) -> _Display | None:
    ipython = sys.modules.get("IPython")
    shell = ipython.get_ipython() if ipython else None
    return _Display(picture) if hasattr(shell, "kernel") else None
