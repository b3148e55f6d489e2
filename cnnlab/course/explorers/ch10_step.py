"""Chapter 10's explorer: the steps of a training as a timeline, and who waits for whom."""

from __future__ import annotations

from dataclasses import dataclass

from cnnlab.course.explorers.explorer import Explorer, Slider, Toggle
from cnnlab.course.look import (
    GRID,
    INK,
    INPUT,
    KERNEL,
    MUTED,
    OUTPUT,
    SMALL,
    TEXT,
    WIDTH,
    text_on,
)
from cnnlab.course.pictures.svg import Svg

HEIGHT = 400
STEPS = 6  # drawn
LONG = 60  # simulated: the last ones tell the lasting rate
_LEFT, _RIGHT, _TOP, _LANE = 120, WIDTH - 24, 62, 62
_COLORS = {"load": INPUT, "copy": KERNEL, "compute": OUTPUT}


@dataclass(frozen=True)
class Span:
    """One piece of work: its kind ("load", "copy", "compute"), its step, begin and end in ms."""

    kind: str
    step: int
    begin: float
    end: float


def timeline(
    load: float, copy: float, compute: float, workers: int, resident: bool, overlap: bool
) -> list[Span]:
    """When each of LONG steps is loaded, copied and computed.

    workers   processes that load batches ahead, each one at a time; 0: the main process loads,
              and computes nothing meanwhile.
    resident  all images lie on the device, prepared there: nothing is loaded or copied.
    overlap   a batch is copied while the one before is computed; else the device waits for it.

    A model of one machine: each worker holds at most one finished batch ahead.
    """
    spans: list[Span] = []
    device = main = wire = 0.0  # when each is free again
    free = [0.0] * max(workers, 1)
    for step in range(LONG):
        ready = 0.0
        if not resident:
            who = step % len(free)
            begin = free[who] if workers else max(main, device)
            spans.append(Span("load", step, begin, begin + load))
            ready = begin + load
            main = ready
            copied = max(ready, wire if overlap else max(wire, device))
            spans.append(Span("copy", step, copied, copied + copy))
            # A worker begins its next batch when this one has been taken.
            free[who] = wire = copied + copy
            ready = wire
        begin = max(ready, device)
        spans.append(Span("compute", step, begin, begin + compute))
        device = begin + compute
    return spans


def lasting(spans: list[Span], workers: int = 1) -> tuple[float, float]:
    """(ms per step, share of the time in which the device computes) once the start is over.

    workers: as in `timeline`; they take turns, so whole rounds of them are averaged.
    """
    ends = [span.end for span in spans if span.kind == "compute"]
    turn = max(workers, 1)
    steps = len(ends) // 2 // turn * turn
    period = (ends[-1] - ends[-1 - steps]) / steps
    compute = next(span.end - span.begin for span in spans if span.kind == "compute")
    return period, compute / period


def draw(load: int, copy: int, compute: int, workers: int, resident: bool, overlap: bool) -> str:
    """The first steps as lanes of one clock, and the verdict below: SVG text."""
    spans = timeline(load, copy, compute, workers, resident, overlap)
    period, busy = lasting(spans, workers)
    waits = _waits(load, copy, compute, workers, resident, overlap)
    verdict = f"{period:.3g} ms a step; the device computes {busy:.0%} of the time"
    svg = Svg(WIDTH, HEIGHT, f"{verdict}. {waits}")
    shown = [span for span in spans if span.step < STEPS]
    whole = max(span.end for span in shown)
    scale = (_RIGHT - _LEFT) / whole
    lanes = {"load": "load", "copy": "copy", "compute": "compute"}
    for row, (kind, name) in enumerate(lanes.items()):
        y = _TOP + row * _LANE
        svg.text(_LEFT - 14, y + 24, name, TEXT, INK, "end")
        svg.line(_LEFT, y + 40, _RIGHT, y + 40, GRID)
        spread = max(workers, 1) if kind == "load" else 1
        for span in shown:
            if span.kind == kind:
                tall = 34 / spread
                top = y + 2 + (span.step % spread) * tall
                wide = max((span.end - span.begin) * scale - 1, 1)
                svg.rect(_LEFT + span.begin * scale, top, wide, tall - 1, fill=_COLORS[kind])
                if wide > 14 and tall > 13:
                    middle = _LEFT + span.begin * scale + wide / 2
                    color = text_on(_COLORS[kind])
                    svg.text(middle, top + tall / 2 + 4, span.step + 1, SMALL, color, "middle")
    bottom = _TOP + 3 * _LANE
    for share in (0, 0.25, 0.5, 0.75, 1):
        x = _LEFT + share * (_RIGHT - _LEFT)
        anchor = "end" if share == 1 else "start" if share == 0 else "middle"
        svg.text(x, bottom + 8, f"{share * whole:.3g} ms", SMALL, MUTED, anchor)
    svg.text(_LEFT, 34, f"The first {STEPS} steps, numbered", SMALL, MUTED)
    svg.rect(_LEFT, bottom + 34, _RIGHT - _LEFT, 16, stroke=MUTED)
    svg.rect(_LEFT, bottom + 34, (_RIGHT - _LEFT) * busy, 16, fill=OUTPUT)
    svg.text(_LEFT - 14, bottom + 47, "device", TEXT, INK, "end")
    svg.text(_LEFT, bottom + 82, verdict, TEXT, bold=True)
    svg.paragraph(_LEFT, bottom + 106, waits, _RIGHT - _LEFT, TEXT)
    return str(svg)


def _waits(load: int, copy: int, compute: int, workers: int, resident: bool, overlap: bool) -> str:
    """Who waits for whom, in a sentence."""
    if resident:
        return "Everything lies on the device: nothing to wait for."
    if not workers:
        return "One process loads, and only then the device may compute: they take turns."
    # A process loads its next batch only when the device has taken the one before.
    supply, rest = (load + copy) / workers, max(copy, compute) if overlap else copy + compute
    if supply > rest:
        return "The device waits for the loading: more processes, or less to load."
    if supply == rest and not overlap:
        return "The device waits for both: more processes, and overlap the copy."
    if not overlap:
        return "The device waits for the copy: overlap it, or keep the data on the device."
    if copy > compute:
        return "The device waits for the copy: keep the data on the device."
    return "Loading and copying hide behind the computing: faster loading would win nothing."


def step() -> Explorer:
    """The explorer of chapter 10. It starts with one process that does everything in turns."""
    controls = (
        Slider("load", "load a batch, ms", 1, 60, 20),
        Slider("copy", "copy it, ms", 1, 30, 4),
        Slider("compute", "compute, ms", 1, 60, 10),
        Slider("workers", "loading processes", 0, 8, 0),
        Toggle("overlap", "copy while computing", False),
        Toggle("resident", "all data on the device", False),
    )
    find = (
        "Add loading processes, one by one. At what number does one more win nothing, and "
        "what does the device wait for then?",
        "With as many, switch on the copy while computing. How many are needed until the device "
        "is busy all the time?",
        "Make the network ten times as fast (compute 1 ms). Who is the slowest now, and what "
        "helps?",
    )
    return Explorer("The steps of a training, and who waits", controls, draw, find, "step")
