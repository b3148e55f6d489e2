"""What every unit of a feature map sees of the image, along one axis, through any graph.

`arithmetic.Window` describes a chain with one formula. A `Sight` also follows what no formula
can: images that end (a unit at the border sees less than its window), transposed convolutions
and resizing (the window changes from unit to unit), uneven adaptive pooling.

Two answers, on purpose kept apart:

- the *window* is the theoretical receptive field, as if the image went on for ever;
- `seen()` is the hull of the pixels a unit is really connected to, inside the image. Cutting
  the window at the image's edge is not the same: after strides, padding hides more.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from fractions import Fraction
from functools import cached_property
from math import inf

import numpy as np

from cnnlab.arithmetic import Window

# Positions of units -> what each reads of the map below: an array with one more axis, the taps.
# Positions may lie outside the map (padding); NOTHING marks a tap that does not exist.
Taps = Callable[[np.ndarray], np.ndarray]
NOTHING = np.iinfo(np.int64).min


@dataclass(frozen=True)
class Slide:
    """A kernel that slides: convolution, pooling, cropping and padding."""

    kernel: int = 1
    stride: int = 1
    padding: int = 0
    dilation: int = 1

    def __call__(self, units: np.ndarray) -> np.ndarray:
        taps = np.arange(self.kernel) * self.dilation
        return units[..., None] * self.stride - self.padding + taps


_SAME = Slide()  # a 1x1 convolution: each unit reads the one at its place


@dataclass(frozen=True)
class Spread:
    """A transposed convolution: input j is stamped on outputs j*stride - padding + tap*dilation."""

    kernel: int
    stride: int
    padding: int
    dilation: int

    def __call__(self, units: np.ndarray) -> np.ndarray:
        stamped = units[..., None] + self.padding - np.arange(self.kernel) * self.dilation
        return np.where(stamped % self.stride == 0, stamped // self.stride, NOTHING)


@dataclass(frozen=True)
class Resize:
    """Resizing from `size` to `out` units: adaptive pooling and upsampling.

    mode: "adaptive", "nearest", "exact" (nearest-exact), "linear" or "cubic"
    """

    size: int
    out: int
    mode: str
    align_corners: bool = False
    factor: float | None = None  # given by the caller; PyTorch then ignores out / size
    antialias: bool = False

    @property
    def step(self) -> Fraction:
        """Input pixels per unit."""
        if self.factor:
            return 1 / Fraction(self.factor).limit_denominator(1_000_000)
        return Fraction(self.size, self.out)

    def __call__(self, units: np.ndarray) -> np.ndarray:
        units = units[..., None]
        if self.mode in (
            "nearest",
            "exact",
        ):  # in float32, as PyTorch: 22 * (39 / 66) is 12, not 13
            scale = np.float32(self.size) / np.float32(self.out)
            if self.factor:
                scale = np.float32(1 / self.factor)
            shift = np.float32(0.5 if self.mode == "exact" else 0)
            return np.floor((units.astype(np.float32) + shift) * scale).astype(np.int64)
        if self.mode == "adaptive":
            first, last = units * self.size // self.out, -(-(units + 1) * self.size // self.out) - 1
            return _from_to(first, last, -(-self.size // self.out) + 1)
        # A position between two pixels, as a whole-number fraction `above / below`.
        reach = 2 if self.mode == "cubic" else 1
        step = self.step
        if self.align_corners:
            above, below = units * (self.size - 1), max(self.out - 1, 1)
        else:
            above, below = (2 * units + 1) * step.numerator - step.denominator, 2 * step.denominator
        if self.antialias:  # the filter is as wide as a unit, where units are wider than pixels
            reach = reach * max(step, Fraction(1))
            above, below = above * reach.denominator, below * reach.denominator
            reach = int(reach * below)
            first, last = (above - reach) // below + 1, -((-above - reach) // below) - 1
            return _from_to(first, last, 2 * reach // below + 1)
        first, last = above // below, -(-above // below)
        exact = first == last  # on a pixel: its neighbors weigh nothing
        first = np.where(exact, first, first + 1 - reach)
        last = np.where(exact, last, last + reach - 1)
        return _from_to(first, last, 2 * reach)


def _from_to(first: np.ndarray, last: np.ndarray, most: int) -> np.ndarray:
    """Positions first to last, at most `most` of them."""
    taps = first + np.arange(most)
    return np.where(taps <= last, taps, NOTHING)


@dataclass(frozen=True)
class Remap:
    """Padding with the image's own pixels: "circular", "reflect" or "replic"(ated)."""

    padding: int
    size: int
    kind: str

    def __call__(self, units: np.ndarray) -> np.ndarray:
        position = units[..., None] - self.padding
        if self.kind == "circular":
            return position % self.size
        if self.kind == "replic":
            return np.clip(position, 0, self.size - 1)
        last = self.size - 1
        return last - np.abs(last - np.abs(position))


class Sight:
    """One axis of one feature map: `units` of them, each reading from the maps in `parents`.

    Raises nothing; a `jump` that differs between parents leaves the window unknown (None).
    """

    def __init__(
        self, units: int, parents: Sequence[tuple[Sight, Taps]], rate: int | Fraction | None
    ):
        self.units = units
        self.parents = tuple(parents)
        self.rate = rate  # jump; None where branches disagree
        self.regular: Window | None = None  # of all units, unless something irregular came before
        self._edges: dict[int, tuple[float, float]] = {}

    @classmethod
    def of_image(cls, size: int) -> Sight:
        """The image itself: pixel i sees pixel i."""
        sight = cls(size, (), 1)
        sight.regular = Window()
        return sight

    def slide(self, taps: Slide, units: int, reads: Taps | None = None) -> Sight:
        """After a kernel has slid over this map.

        `reads`, if given, are the pixels really read where they differ from the kernel's (padding
        that is not zeros).
        """
        if taps == _SAME and reads is None and units == self.units:
            return self
        sight = Sight(units, [(self, reads or taps)], self.rate and self.rate * taps.stride)
        here = self.regular
        if here is not None:
            sight.regular = Window(
                here.size + (taps.kernel - 1) * taps.dilation * here.jump,
                here.jump * taps.stride,
                here.start - taps.padding * here.jump,
            )
        return sight

    def spread(self, taps: Spread, units: int) -> Sight:
        """After a transposed convolution."""
        return Sight(units, [(self, taps)], self.rate and self.rate * Fraction(1, taps.stride))

    def resize(self, taps: Resize) -> Sight:
        """After adaptive pooling or upsampling; a plain pooling where the sizes divide."""
        if taps.mode == "adaptive" and taps.size % taps.out == 0:
            step = taps.size // taps.out
            return self.slide(Slide(step, step), taps.out)
        rate = self.rate and self.rate * taps.step
        return Sight(taps.out, [(self, taps)], rate)

    def whole(self) -> Sight:
        """One unit that reads this whole map: global pooling, flatten."""
        return self if self.units == 1 else self.slide(Slide(self.units, self.units), 1)

    @staticmethod
    def join(sights: Sequence[Sight]) -> Sight:
        """Where branches of equal size meet: what any of them sees."""
        different = list(dict.fromkeys(sights))
        if len(different) == 1:
            return different[0]
        rates = {sight.rate for sight in different}
        rate = rates.pop() if len(rates) == 1 else None
        sight = Sight(different[0].units, [(s, _SAME) for s in different], rate)
        windows = [s.regular for s in different]
        if rate is not None and None not in windows:
            start = min(window.start for window in windows)
            end = max(window.end for window in windows)
            sight.regular = Window(end - start + 1, windows[0].jump, start)
        return sight

    @cached_property
    def window(self) -> Window | None:
        """The theoretical receptive field; its size is the largest among the map's units.

        After a transposed convolution, units of different phase see windows of different size.
        """
        if self.rate is None or self.regular is not None:
            return self.regular
        middle = self.units // 2
        units = range(max(0, middle - 32), min(self.units, middle + 32))  # covers a 64-fold phase
        size = max(last - first + 1 for first, last in map(self._edge, units))
        if size == -inf:
            return None
        jump = int(self.rate) if self.rate.denominator == 1 else self.rate
        return Window(size, jump, self._edge(0)[0])

    def _edge(self, unit: int) -> tuple[float, float]:
        """Unclipped first and last pixel of `unit`, following every parent."""
        if self.regular is not None:
            return self.regular.box(unit)
        if unit not in self._edges:
            edges = []
            for parent, taps in self.parents:
                read = taps(np.array(unit))
                read = read[read != NOTHING].tolist()
                if parent.regular is not None:  # else one between may see more
                    read = {*read[:1], *read[-1:]}
                edges += map(parent._edge, read)
            self._edges[unit] = (
                min((first for first, _ in edges), default=inf),  # inf: it reads nothing at all
                max((last for _, last in edges), default=-inf),
            )
        return self._edges[unit]

    def seen(self) -> tuple[np.ndarray, np.ndarray]:
        """First and last pixel each unit is connected to, inside the image: two (units,) arrays.

        A unit that reads nothing but padding has first > last.
        """
        pending = [self]
        while pending:  # not recursive: networks are deeper than Python's stack
            sight = pending[-1]
            missing = [p for p, _ in sight.parents if "_seen" not in p.__dict__]
            pending.extend(missing)
            if not missing:
                pending.pop()
                if "_seen" not in sight.__dict__:
                    sight._seen = sight._look()
        return self._seen

    def _look(self) -> tuple[np.ndarray, np.ndarray]:
        units = np.arange(self.units)
        if not self.parents:
            return units, units
        firsts, lasts = [], []
        for parent, taps in self.parents:
            read = taps(units)  # (units, taps)
            inside = (read >= 0) & (read < parent.units)
            read = np.where(inside, read, 0)
            low, high = parent._seen
            firsts.append(np.where(inside, low[read], _FAR).min(1))
            lasts.append(np.where(inside, high[read], -1).max(1))
        return np.minimum.reduce(firsts), np.maximum.reduce(lasts)


_FAR = np.iinfo(np.int64).max  # first pixel of a unit that sees none
