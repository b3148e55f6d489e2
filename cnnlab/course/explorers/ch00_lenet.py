"""Chapter 00: a small network at work on a digit that you move about.

Everything is computed once, when the explorer is made, or comes with the package; drawing only
looks it up.
"""

from __future__ import annotations

from array import array
from collections.abc import Mapping
from functools import partial
from typing import TYPE_CHECKING, NamedTuple

from cnnlab.course.explorers.explorer import Choice, Explorer, Slider
from cnnlab.course.explorers.stored import read
from cnnlab.course.look import BAD, GOOD, GRID, INK, INPUT, MUTED, PAPER, SMALL, SPACE, TEXT, mix
from cnnlab.course.pictures.cells import grid, image
from cnnlab.course.pictures.svg import Svg, text_width

if TYPE_CHECKING:
    from torch import nn

    from cnnlab.data.images import Images

FIELD, ZOOM, DIGIT = 32, 3, 8  # the network's input; an 8x8 digit is drawn three times as large
SIDE = FIELD - ZOOM * DIGIT + 1  # places to the right, and down
STEPS = 100  # maps are kept in whole hundredths of the layer's largest value


class Layer(NamedTuple):
    """Maps of a layer: their number, their side, and how far a digit moves to move them by one."""

    name: str
    maps: int
    side: int
    jump: int

    @property
    def large(self) -> int:
        """Side of the map of which those at the places of one phase are windows."""
        return self.side + (SIDE - 1) // self.jump


LAYERS = {
    "c1": Layer("C1", 6, 28, 1),
    "s2": Layer("S2", 6, 14, 2),
    "c3": Layer("C3", 16, 10, 2),
    "s4": Layer("S4", 16, 5, 4),
}
FIND = (
    "Show C1 and move the digit one pixel to the right. Which of the six maps change, apart from "
    "moving along? Try the same with S2.",
    "Choose the untrained network. Its C1 maps look much like the trained ones. What gives it "
    "away?",
    "Which digit is read right in the fewest places? Find two neighboring places with different "
    "answers, and look for the reason in the maps.",
)


class Seen:
    """What one network made of some digits at every place.

    maps    layer -> digits x jump x jump x maps x large x large signed bytes, in hundredths of
            that layer's largest value
    scores  digits x 81 places x classes, adding up to 1
    """

    def __init__(self, maps: Mapping[str, bytes], scores: array):
        self._maps = {path: memoryview(data).cast("b") for path, data in maps.items()}
        self._scores = scores

    def maps(self, path: str, digit: int, down: int, right: int) -> list[list[list[int]]]:
        """The maps of a layer, of a digit at a place: maps x side x side."""
        layer, data = LAYERS[path], self._maps[path]
        large, room = layer.large, (SIDE - 1) // layer.jump
        phase = (digit * layer.jump + down % layer.jump) * layer.jump + right % layer.jump
        start = phase * layer.maps * large**2 + (room - down // layer.jump) * large
        start += room - right // layer.jump
        return [
            [
                data[row : row + layer.side].tolist()
                for row in range(first, first + layer.side * large, large)
            ]
            for first in range(start, start + layer.maps * large**2, large**2)
        ]

    def scores(self, digit: int, classes: int) -> list[list[float]]:
        """Every place's answer, row by row: places x classes."""
        places = SIDE * SIDE
        rows = range(digit * places * classes, (digit + 1) * places * classes, classes)
        return [self._scores[row : row + classes].tolist() for row in rows]


def lenet(
    networks: nn.Module | Mapping[str, nn.Module] | None = None,
    digits: Images | None = None,
    mean: tuple[float, ...] = (0.0,),
    std: tuple[float, ...] = (1.0,),
) -> Explorer:
    """Show what a LeNet-5 for 32x32 images sees at each layer, and what it answers.

    networks  one model or several by name, trained or not; each is a `cnnlab.models.lenet.LeNet5`.
              None: two that came with the course, with ten digits of the test set
    digits    8x8 images; keep them few, each is looked at in 81 places
    mean, std of the images that the networks were trained on

    Raises ValueError for images of another size.
    """
    if networks is None:
        pixels, seen = stored()
        return _explorer(pixels, list(range(10)), tuple("0123456789"), seen)
    if digits is None or digits.shape != (1, DIGIT, DIGIT) or not len(digits):
        got = "none" if digits is None else f"{len(digits)} images of shape {digits.shape}"
        raise ValueError(
            f"got {got}, expected at least one of (1, 8, 8) "
            "like cnnlab.data.sets.load('digits').test[:10]"
        )
    from cnnlab.course.explorers.seeing import look

    if not isinstance(networks, Mapping):
        networks = {"this one": networks}
    seen = {name: look(net, digits.images, mean[0], std[0]) for name, net in networks.items()}
    pixels = digits.images[:, 0].tolist()
    return _explorer(pixels, digits.labels.tolist(), digits.classes, seen)


def stored() -> tuple[list[list[list[int]]], dict[str, Seen]]:
    """Ten digits (10 x 8 x 8), and what a trained and an untrained network made of them."""
    data, place = read("lenet"), 10 * DIGIT**2
    pixels = [list(data[row : row + DIGIT]) for row in range(0, place, DIGIT)]
    seen = {}
    for name in ("trained", "untrained"):
        maps = {}
        for path, layer in LAYERS.items():
            size = 10 * layer.jump**2 * layer.maps * layer.large**2
            maps[path], place = data[place : place + size], place + size
        size = 4 * 10 * SIDE**2 * 10
        seen[name], place = Seen(maps, array("f", data[place : place + size])), place + size
    return [pixels[row : row + DIGIT] for row in range(0, len(pixels), DIGIT)], seen


def _explorer(
    pixels: list, labels: list[int], classes: tuple[str, ...], seen: dict[str, Seen]
) -> Explorer:
    return Explorer(
        "LeNet-5 at work",
        [
            Slider("digit", "digit", 0, len(pixels) - 1, min(3, len(pixels) - 1)),
            Choice("layer", "layer", [(layer.name, path) for path, layer in LAYERS.items()], "c1"),
            Slider("right", "moved right", 0, SIDE - 1, SIDE // 2),
            Slider("down", "moved down", 0, SIDE - 1, SIDE // 2),
            Choice("network", "network", list(seen), next(iter(seen))),
        ],
        partial(draw, pixels, seen, labels, classes),
        FIND,
        "lenet",
        pick=move,
    )


def field(digit: list[list[int]], down: int, right: int) -> list[list[int]]:
    """A digit (8 x 8) enlarged, at its place in the network's input (32 x 32)."""
    after = FIELD - ZOOM * DIGIT - right
    empty = [0] * FIELD
    lines = [
        [0] * right + [value for value in line for _ in range(ZOOM)] + [0] * after
        for line in digit
        for _ in range(ZOOM)
    ]
    return [empty] * down + lines + [empty] * (FIELD - ZOOM * DIGIT - down)


def move(state: dict, key: str) -> dict:
    """A click on the map of places moves the digit there."""
    _, down, right = key.split(",")
    return {"down": int(down), "right": int(right)}


def draw(
    pixels: list[list[list[int]]],
    seen: Mapping[str, Seen],
    labels: list[int],
    classes: tuple[str, ...],
    *,
    digit: int,
    layer: str,
    right: int,
    network: str,
    down: int,
) -> str:
    """The picture of one state, as SVG; `pixels` are the digits (8 x 8), 0 to 255."""
    side, kind = SIDE, LAYERS[layer]
    place = down * side + right
    maps = seen[network].maps(layer, digit, down, right)
    scores = seen[network].scores(digit, len(classes))
    answers = [shares.index(max(shares)) for shares in scores]
    truth, answer = labels[digit], answers[place]
    hits = answers.count(truth)
    verdict = f"read as {classes[answer]}: " + (
        "right" if answer == truth else f"wrong, it is {classes[truth]}"
    )
    count, height = kind.maps, kind.side
    svg = Svg(
        720,
        404,
        f"Digit {classes[truth]}, {right} right and {down} down, {verdict}; right "
        f"in {hits} of {side * side} places; {count} maps of {kind.name}",
    )
    svg.text(24, 30, f"Input, {FIELD} x {FIELD}", bold=True)
    image(svg, 24, 42, 160, 160, field(pixels[digit], down, right), low=0, high=255)
    svg.rect(24, 42, 160, 160, stroke=GRID)
    _places(svg, answers, truth, classes, side, (down, right), hits)
    svg.text(234, 30, f"{kind.name}: {count} maps of {height} x {height}", bold=True)
    _maps(svg, maps)
    svg.text(520, 30, "Answer", bold=True)
    colors = [mix(INPUT, PAPER, 0.5)] * len(classes)
    colors[answer], colors[truth] = BAD, GOOD
    shares = scores[place]
    _bars(svg, 514, 42, 190, list(zip(classes, shares, colors)))
    svg.text(520, 330, f"read as {classes[answer]}", bold=True)
    svg.text(
        520,
        350,
        "right" if answer == truth else f"wrong, it is {classes[truth]}",
        fill=INK if answer == truth else BAD,
    )
    return str(svg)


def _bars(svg: Svg, x: float, y: float, width: float, rows: list[tuple[str, float, str]]) -> None:
    """A bar for each (name, share, color); a share of 1 fills what names and shares leave."""
    names, shares, _ = zip(*rows)
    left = x + max(text_width(name, TEXT) for name in names) + SPACE
    room = x + width - left - max(text_width(f"{share:.0%}", TEXT) for share in shares) - SPACE
    for name, share, color in rows:
        length, base = room * share, y + 13 + TEXT * 0.36
        svg.text(left - SPACE, base, name, anchor="end")
        svg.rect(left, y + 26 * 0.15, length, 26 * 0.7, fill=color, radius=2)
        svg.text(left + length + SPACE / 2, base, f"{share:.0%}")
        y += 26
    svg.line(left, y, left, y - 26 * len(rows), stroke=MUTED)


def _places(
    svg: Svg,
    answers: list[int],
    truth: int,
    classes: tuple[str, ...],
    side: int,
    at: tuple[int, int],
    hits: int,
) -> None:
    """One cell per place: pale where the digit is read right, else with what it was taken for."""
    right, wrong = mix(GOOD, PAPER, 0.72), mix(BAD, PAPER, 0.5)
    colors = [right if answer == truth else wrong for answer in answers]
    texts = ["" if answer == truth else classes[answer] for answer in answers]
    rows = range(0, side * side, side)
    svg.text(24, 230, f"Right in {hits} of {side * side} places", bold=True)
    grid(
        svg,
        24,
        242,
        side,
        side,
        16,
        values=[colors[i : i + side] for i in rows],
        texts=[texts[i : i + side] for i in rows],
        lines=PAPER,
        pick="place",
        at=at,
        label="place of the digit",
    )


def _maps(svg: Svg, maps: list[list[list[int]]]) -> None:
    """Small multiples on one scale: blue below zero, white at zero, vermillion above."""
    columns, size, gap = (2, 100, 12) if len(maps) <= 6 else (4, 58, 10)
    for index, values in enumerate(maps):
        row, column = divmod(index, columns)
        x, y = 234 + column * (size + gap), 42 + row * (size + gap)
        image(svg, x, y, size, size, values, low=-STEPS, high=STEPS)
        svg.rect(x, y, size, size, stroke=GRID)
    svg.text(234, 388, "blue: below 0, white: 0, orange: above", SMALL, MUTED)
