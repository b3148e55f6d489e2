"""Chapter 12's explorer: from one image toward another, and the scores stay where they are."""

from __future__ import annotations

import json
from collections.abc import Sequence
from functools import partial
from math import exp
from typing import TYPE_CHECKING, NamedTuple

from cnnlab.course.explorers.explorer import Choice, Explorer, Slider
from cnnlab.course.explorers.stored import read
from cnnlab.course.look import GRID, INPUT, KERNEL, MUTED, SMALL, WIDTH
from cnnlab.course.pictures.cells import image
from cnnlab.course.pictures.svg import Svg

if TYPE_CHECKING:
    from torch import Tensor

    from cnnlab.training import Trained

HEIGHT, SIDE, TOP = 440, 200, 44
_BARS, _FLOOR = 310, 396  # the band in which the scores are drawn
FIND = (
    "Go to the end of the way. What would you call the image in the middle? What does the network "
    "call it, and how sure is it?",
    "Watch one score while you move. How far does it go from its mark?",
    "Compare the walks. What kind of pixels did the network not let go?",
)


class Walked(NamedTuple):
    """The pictures of a walk, and what the network said to each.

    pixels  frames x H x W gray values of 0 to 255; the first is the start
    scores  frames x classes
    toward  H x W, the image walked toward
    """

    name: str
    classes: Sequence[str]
    pixels: list[list[list[int]]]
    scores: list[list[float]]
    toward: list[list[int]]

    def way(self, frame: int) -> float:
        """Share of the first distance to `toward` that is behind, 0 to 1."""
        return 1 - self._far(frame) / self._far(0)

    def change(self, frame: int) -> float:
        """Largest change of a score since the start, as a share of the start's range."""
        first, now = self.scores[0], self.scores[frame]
        return max(abs(a - b) for a, b in zip(now, first)) / (max(first) - min(first))

    def answer(self, frame: int) -> tuple[str, float]:
        """The class with the largest score, and its probability."""
        scores = self.scores[frame]
        best = max(range(len(scores)), key=scores.__getitem__)
        return self.classes[best], 1 / sum(exp(score - scores[best]) for score in scores)

    def _far(self, frame: int) -> float:
        pairs = zip(self.pixels[frame], self.toward)
        return sum((a - b) ** 2 for x, y in pairs for a, b in zip(x, y)) ** 0.5


def stored() -> list[Walked]:
    """The walks that come with the course."""
    found = []
    for row in json.loads(read("walks")):
        size, frames = row["size"], bytes.fromhex(row["pixels"])
        rows = [list(frames[at : at + size]) for at in range(0, len(frames), size)]
        images = [rows[at : at + size] for at in range(0, len(rows), size)]
        found.append(Walked(row["name"], row["classes"], images[:-1], row["scores"], images[-1]))
    return found


def walk(
    trained: Trained | None = None,
    start: Tensor | None = None,
    toward: Tensor | None = None,
    name: str = "your walk",
) -> Explorer:
    """Move along walks on which no score changes by more than a hundredth of their range.

    trained, start, toward  a network as `load_trained` gives it, and two of its gray images
                            (1, H, W), uint8: the walk is made now, in the kernel. None: walks that
                            come with the course

    Raises ProbeError where there is nothing to walk.
    """
    if trained is None:
        return _explorer(stored())
    from cnnlab.course.explorers.walking import walked

    return _explorer([walked(trained, start, toward, name)])


def _explorer(walks: Sequence[Walked]) -> Explorer:
    """The explorer of these walks."""
    controls = [
        Choice("which", "walk", [(w.name, place) for place, w in enumerate(walks)], 0),
        Slider("along", "step", 0, max(len(w.pixels) for w in walks) - 1, 0),
    ]
    return Explorer("One answer, many images", controls, partial(draw, walks), FIND, "walk")


def draw(walks: Sequence[Walked], *, which: int, along: int) -> str:
    """Start, where we are and the goal above; all scores, then and now, below. A shorter walk
    stays at its end."""
    w = walks[which]
    frame = min(along, len(w.pixels) - 1)
    way, change = w.way(frame), w.change(frame)
    name, sure = w.answer(frame)
    verdict = (
        f"{way:.0%} of the way; the largest change of a score is {change:.2%} of their range; "
        f"read as {name}, {sure:.0%} sure"
    )
    svg = Svg(WIDTH, HEIGHT, f"{w.name}: {verdict}")
    heads = ("start", f"{way:.0%} of the way", "walked toward")
    for place, (head, pixels) in enumerate(zip(heads, (w.pixels[0], w.pixels[frame], w.toward))):
        x = 24 + place * (SIDE + 36)
        svg.text(x, TOP - 12, head, bold=True)
        image(svg, x, TOP, SIDE, SIDE, pixels, low=255, high=0)
        svg.rect(x, TOP, SIDE, SIDE, stroke=GRID)
    svg.text(24, TOP + SIDE + 30, f"Read as {name}, {sure:.1%} sure", bold=True)
    svg.text(
        WIDTH - 24,
        TOP + SIDE + 30,
        f"largest change of a score: {change:.2%} of their range",
        anchor="end",
    )
    _scores(svg, w.classes, w.scores[0], w.scores[frame])
    svg.text(24, HEIGHT - 10, "bars: scores now; marks: scores of the start", SMALL, MUTED)
    return str(svg)


def _scores(svg: Svg, classes: Sequence[str], first: Sequence[float], now: Sequence[float]) -> None:
    """A bar per class, and a mark where it was at the start."""
    low, high = min(*first, *now, 0), max(*first, *now)
    wide = (WIDTH - 48) / len(classes)

    def level(value: float) -> float:
        return _FLOOR - (value - low) / (high - low) * (_FLOOR - _BARS)

    zero = level(0)
    for place, (text, was, value) in enumerate(zip(classes, first, now)):
        x, y = 24 + place * wide, level(value)
        svg.rect(x + wide * 0.2, min(y, zero), wide * 0.6, abs(zero - y), fill=INPUT)
        svg.line(x + 1, level(was), x + wide - 1, level(was), KERNEL, 2.5)
        short = text[: int(wide / 6)]
        svg.text(x + wide / 2, _FLOOR + 16, short, SMALL, anchor="middle")
    svg.line(24, zero, WIDTH - 24, zero, GRID)
