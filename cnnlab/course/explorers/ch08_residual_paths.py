"""Chapter 08: a residual network as its paths; a click deletes a block, beside a plain chain."""

from __future__ import annotations

from collections.abc import Collection
from math import comb

from cnnlab._tools import counted
from cnnlab.course.explorers.explorer import Explorer, Slider
from cnnlab.course.look import (
    HIGHLIGHT,
    INK,
    INPUT,
    KERNEL,
    LARGE,
    MUTED,
    OUTPUT,
    SMALL,
    TEXT,
    WIDTH,
    mix,
    text_on,
)
from cnnlab.course.pictures.svg import Svg, number

HEIGHT = 548
MOST_BLOCKS = 27  # ResNet-56
_LEFT, _RIGHT = 84, WIDTH - 84  # of the two chains
_RESIDUAL, _PLAIN = 116, 208  # height of their wires
_TOP, _BOTTOM = 306, 450  # of the two panels
_PANELS = (44, 346), (394, 696)


def paths(blocks: int, deleted: int = 0) -> list[int]:
    """How many intact paths pass 0, 1, ... `blocks` of the blocks: each one is passed or skipped.

    A path through one of the `deleted` blocks is gone, so those are skipped.
    """
    return [comb(blocks - deleted, length) for length in range(blocks + 1)]


def gradient(blocks: int, deleted: int, gain: float) -> list[float]:
    """Share of the squared gradient that comes over the intact paths of each length.

    As a share of what all paths bring together. Each block's branch multiplies the gradient's norm
    by `gain` and turns it in a random direction of its own, so that paths add up like uncorrelated
    noise: their squares add. A path of length k then brings gain^2k, and all of them together
    (1 + gain^2)^blocks: a binomial distribution of lengths.
    """
    passed = gain**2 / (1 + gain**2)
    return [
        count * passed**length * (1 - passed) ** (blocks - length)
        for length, count in enumerate(paths(blocks, deleted))
    ]


def draw(blocks: int, gain: float, deleted: Collection[int]) -> str:
    """Both chains, the paths by length, and the gradient by length: SVG text.

    `deleted`: numbers of blocks from 1; those beyond `blocks` do not count.
    """
    if not 1 <= blocks <= MOST_BLOCKS or not gain > 0 or any(block < 1 for block in deleted):
        raise ValueError(
            f"{blocks} blocks, gain {gain:g}, deleted {sorted(deleted)}; expected 1 "
            f"to {MOST_BLOCKS} blocks, numbered from 1, and a gain above 0."
        )
    cut = {block for block in deleted if block <= blocks}
    left, total = 2 ** (blocks - len(cut)), 2**blocks
    kept = gradient(blocks, len(cut), gain)
    verdict = (
        f"{left:,} of {counted(total, 'path', ',')} left: {left / total:.3g} of the paths, "
        f"{sum(kept):.3g} of the gradient"
    )
    svg = Svg(WIDTH, HEIGHT, f"{counted(blocks, 'residual block')}, {len(cut)} deleted. {verdict}")
    svg.text(28, 30, "Residual network", LARGE, bold=True)
    svg.text(
        WIDTH - 28,
        30,
        f"{left:,} of {counted(total, 'path', ',')} left",
        LARGE,
        OUTPUT,
        "end",
        bold=True,
    )
    svg.text(28, 50, "click a block, or press Enter on it: deleted, or back again", SMALL, MUTED)
    _chain(svg, _RESIDUAL, blocks, cut, skips=True)
    svg.text(28, _PLAIN - 36, "Plain chain", LARGE, bold=True)
    svg.text(
        WIDTH - 28,
        _PLAIN - 36,
        "its 1 path is broken" if cut else "1 of 1 path left",
        LARGE,
        HIGHLIGHT if cut else OUTPUT,
        "end",
        bold=True,
    )
    _chain(svg, _PLAIN, blocks, cut, skips=False)
    if cut:
        svg.text(
            WIDTH - 28,
            _PLAIN + 45,
            "what a deleted block got is passed on: its successor reads what it never met",
            SMALL,
            HIGHLIGHT,
            "end",
        )

    _panel(
        svg,
        *_PANELS[0],
        "Paths by their length",
        "number of paths",
        paths(blocks),
        paths(blocks, len(cut)),
        INPUT,
    )
    _panel(
        svg,
        *_PANELS[1],
        "Gradient by the length of its path",
        "share of squared gradient",
        gradient(blocks, 0, gain),
        kept,
        KERNEL,
    )
    mean = blocks * gain**2 / (1 + gain**2)
    svg.text(28, 510, verdict + ".", TEXT, bold=True)
    svg.text(
        28,
        532,
        f"Pale: before anything is deleted. A path has {blocks / 2:.3g} blocks on "
        f"average, weighted by the gradient it brings {mean:.3g}.",
        SMALL,
        MUTED,
    )
    return str(svg)


def residual_paths(blocks: int = 9, gain: float = 0.6, deleted: Collection[int] = (5,)) -> Explorer:
    """The explorer of the unrolled view, beginning with the given network."""
    controls = (
        Slider("blocks", "residual blocks", 1, MOST_BLOCKS, blocks),
        Slider("gain", "branch / shortcut", 0.1, 2.0, gain, 0.1),
    )
    find = (
        "Restore block 5, then delete one block after the other. Which share of the paths does "
        "each one take along, and which share of the gradient?",
        "27 blocks, as in ResNet-56, nothing deleted: at which setting of branch / shortcut does "
        "the gradient come over paths of 4 blocks, as in a trained ResNet-56 (below)?",
        "Now weaker branches, 0.2: which paths carry the gradient, and what does a deletion cost? "
        "Then 2.0: what has this network in common with the plain chain?",
    )
    return Explorer(
        "One network, many paths",
        controls,
        draw,
        find,
        "residual_paths",
        hidden={"deleted": tuple(deleted)},
        pick=toggle,
    )


def toggle(state: dict, key: str) -> dict:
    """A click on a block deletes it or brings it back."""
    block = int(key.partition(" ")[2])
    return {"deleted": tuple(sorted({*state["deleted"]} ^ {block}))}


def _chain(svg: Svg, y: float, blocks: int, cut: set[int], skips: bool) -> None:
    """Input, blocks and output on one wire. A deleted block's input is passed on: by the shortcut,
    or in a plain chain around the block, and what follows is no longer what was trained."""
    slot = (_RIGHT - _LEFT) / blocks
    side, high = min(slot * 0.58, 46), 34
    alive = True
    svg.text(_LEFT - 10, y + 4, "input", SMALL, MUTED, "end")
    for block in range(1, blocks + 1):
        start, end = _LEFT + (block - 1) * slot, _LEFT + block * slot
        middle, gone = (start + end) / 2, block in cut
        if skips:
            lift = y - high / 2 - 16
            curve = min(10, slot / 4)
            svg.path(
                f"M{number(start)} {number(y)}V{number(lift + curve)}"
                f"Q{number(start)} {number(lift)} {number(start + curve)} {number(lift)}"
                f"H{number(end - curve)}Q{number(end)} {number(lift)} {number(end)} "
                f"{number(lift + curve)}V{number(y)}",
                stroke=OUTPUT,
                line=2,
            )
        if not gone:
            svg.line(
                start,
                y,
                end,
                y,
                INK if alive else HIGHLIGHT,
                2 if alive else 1.5,
            )
        elif skips:
            svg.line(start, y, middle - side / 2, y, INK, 1.5)
        else:
            low = number(y + high / 2 + 9)
            svg.path(f"M{number(start)} {y}V{low}H{number(end)}V{y}", stroke=HIGHLIGHT, line=1.5)
            alive = False
        fill = "#ffffff" if gone else mix(INPUT, "#ffffff", 0 if alive else 0.75)
        words = f"block {block}, " + ("deleted" if gone else "in place")
        box = middle - side / 2, y - high / 2, side, high
        svg.rect(*box, fill, HIGHLIGHT if gone else INPUT, 1.5, 3, "4 3" if gone else "")
        if side >= 17 or block in (1, blocks) or block % 5 == 0:
            svg.text(
                middle,
                y + 4,
                block,
                SMALL if side >= 17 else 9,
                HIGHLIGHT if gone else text_on(fill),
                "middle",
            )
        svg.rect(
            *box, "transparent", pick=f"{'residual' if skips else 'plain'} {block}", label=words
        )  # above the number, which takes no clicks
    svg.text(_RIGHT + 10, y + 4, "output", SMALL, MUTED)


def _panel(
    svg: Svg,
    left: float,
    right: float,
    title: str,
    unit: str,
    before: list[float],
    after: list[float],
    color: str,
) -> None:
    """A bar per length: pale what was there before, full what is left."""
    svg.text(left - 16, _TOP - 30, title, TEXT, bold=True)
    top = max(before)
    text = f"{top:,}" if isinstance(top, int) else f"{top:.2f}"
    svg.text(left - 16, _TOP - 13, f"{unit}, highest bar {text}", SMALL, MUTED)
    slot = (right - left) / len(before)
    for length, (whole, part) in enumerate(zip(before, after)):
        for value, fill in ((whole, mix(color, "#ffffff", 0.72)), (part, color)):
            tall = (_BOTTOM - _TOP) * value / top
            svg.rect(left + length * slot + slot * 0.1, _BOTTOM - tall, slot * 0.8, tall, fill)
        if len(before) <= 14 or length % 3 == 0:
            svg.text(left + (length + 0.5) * slot, _BOTTOM + 15, length, 11, MUTED, "middle")
    svg.line(left, _BOTTOM, right, _BOTTOM, MUTED)
    svg.text((left + right) / 2, _BOTTOM + 31, "blocks on the path", SMALL, MUTED, "middle")
