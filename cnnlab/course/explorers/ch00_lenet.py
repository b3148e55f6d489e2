"""Chapter 00: a small network at work on a digit that you move about.

Everything is computed once, when the explorer is made; drawing only looks it up.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from cnnlab.course.explorers.explorer import Choice, Explorer, Slider
from cnnlab.course.look import BAD, GOOD, GRID, INK, INPUT, MUTED, PAPER, SMALL, SPACE, TEXT, mix
from cnnlab.course.pictures.cells import grid, image
from cnnlab.course.pictures.svg import Svg, text_width
from cnnlab.data.images import Images
from cnnlab.probes import activations

FIELD, ZOOM = 32, 3  # the network's input; an 8x8 digit is drawn three times as large
LAYERS = {"c1": "C1", "s2": "S2", "c3": "C3", "s4": "S4"}
STEPS = 100  # maps are kept in whole hundredths of the layer's largest value
FIND = (
    "Show C1 and move the digit one pixel to the right. Which of the six maps change, apart from "
    "moving along? Try the same with S2.",
    "Choose the untrained network. Its C1 maps look much like the trained ones. What gives it "
    "away?",
    "Which digit is read right in the fewest places? Find two neighboring places with different "
    "answers, and look for the reason in the maps.",
)


class Seen(NamedTuple):
    """What one network made of every digit at every place, P = places squared of them.

    maps    layer -> (digits, P, maps, H, W) int8, in hundredths of that layer's largest value
    scores  (digits, P, classes), adding up to 1
    """

    maps: dict[str, Tensor]
    scores: Tensor


def lenet(
    networks: nn.Module | Mapping[str, nn.Module],
    digits: Images,
    mean: tuple[float, ...],
    std: tuple[float, ...],
) -> Explorer:
    """Show what a LeNet-5 for 32x32 images sees at each layer, and what it answers.

    networks  one model or several by name, trained or not; each is a `cnnlab.models.lenet.LeNet5`
    digits    8x8 images; keep them few, each is looked at in 81 places
    mean, std of the images that the networks were trained on

    Raises ValueError for images of another size.
    """
    if digits.shape != (1, 8, 8) or not len(digits):
        raise ValueError(
            f"got {len(digits)} images of shape {digits.shape}, expected at least one of (1, 8, 8) "
            "like cnnlab.data.sets.load('digits').test[:10]"
        )
    if isinstance(networks, nn.Module):
        networks = {"this one": networks}
    fields = everywhere(digits.images)
    inputs = (fields.flatten(0, 1) / 255 - mean[0]) / std[0]
    seen = {name: look(network, inputs, len(digits)) for name, network in networks.items()}
    places = FIELD - ZOOM * digits.shape[-1]
    return Explorer(
        "LeNet-5 at work",
        [
            Slider("digit", "digit", 0, len(digits) - 1, min(3, len(digits) - 1)),
            Choice("layer", "layer", [(text, path) for path, text in LAYERS.items()], "c1"),
            Slider("right", "moved right", 0, places, places // 2),
            Slider("down", "moved down", 0, places, places // 2),
            Choice("network", "network", list(networks), next(iter(networks))),
        ],
        partial(draw, fields, seen, digits.labels.tolist(), digits.classes),
        FIND,
        "lenet",
        pick=move,
    )


def everywhere(images: Tensor) -> Tensor:
    """(N, 1, 8, 8) -> (N, 81, 1, 32, 32): enlarged, at each place of the field, row by row."""
    large = F.interpolate(images, scale_factor=ZOOM)
    room = FIELD - large.shape[-1]
    places = [
        (left, room - left, top, room - top) for top in range(room + 1) for left in range(room + 1)
    ]
    return torch.stack([F.pad(large, place) for place in places], dim=1)


def look(network: nn.Module, inputs: Tensor, digits: int) -> Seen:
    """Run a LeNet-5 on (digits * P, 1, 32, 32) images and keep what it sees."""
    found = activations(network, inputs, [*LAYERS, "output"])
    maps = {}
    for path in LAYERS:
        # The convolutions are shown after their activation, as the next layer gets them.
        values = network.activation(found[path]) if path[0] == "c" else found[path]
        values = (values / values.abs().max().clamp(min=1e-9) * STEPS).round().to(torch.int8)
        maps[path] = values.cpu().unflatten(0, (digits, -1))
    scores = found["output"].softmax(1).cpu().unflatten(0, (digits, -1))
    return Seen(maps, scores)


def move(state: dict, key: str) -> dict:
    """A click on the map of places moves the digit there."""
    _, down, right = key.split(",")
    return {"down": int(down), "right": int(right)}


def draw(
    fields: Tensor,
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
    """The picture of one state, as SVG; `fields` is what `everywhere` gives."""
    side = FIELD - ZOOM * 8 + 1
    place = down * side + right
    maps, scores = seen[network].maps[layer][digit, place], seen[network].scores[digit]
    answers = scores.argmax(1).tolist()
    truth, answer = labels[digit], answers[place]
    hits = answers.count(truth)
    verdict = f"read as {classes[answer]}: " + (
        "right" if answer == truth else f"wrong, it is {classes[truth]}"
    )
    count, height, width = maps.shape
    svg = Svg(
        720,
        404,
        f"Digit {classes[truth]}, {right} right and {down} down, {verdict}; right "
        f"in {hits} of {side * side} places; {count} maps of {LAYERS[layer]}",
    )
    svg.text(24, 30, f"Input, {FIELD} x {FIELD}", bold=True)
    image(svg, 24, 42, 160, 160, fields[digit, place, 0], low=0, high=255)
    svg.rect(24, 42, 160, 160, stroke=GRID)
    _places(svg, answers, truth, classes, side, (down, right), hits)
    svg.text(234, 30, f"{LAYERS[layer]}: {count} maps of {height} x {width}", bold=True)
    _maps(svg, maps)
    svg.text(520, 30, "Answer", bold=True)
    colors = [mix(INPUT, PAPER, 0.5)] * len(classes)
    colors[answer], colors[truth] = BAD, GOOD
    shares = scores[place].tolist()
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


def _maps(svg: Svg, maps: Tensor) -> None:
    """Small multiples on one scale: blue below zero, white at zero, vermillion above."""
    count, height, width = maps.shape
    columns, size, gap = (2, 100, 12) if count <= 6 else (4, 58, 10)
    for index, values in enumerate(maps.tolist()):
        row, column = divmod(index, columns)
        x, y = 234 + column * (size + gap), 42 + row * (size + gap)
        image(svg, x, y, size, size * height / width, values, low=-STEPS, high=STEPS)
        svg.rect(x, y, size, size * height / width, stroke=GRID)
    svg.text(234, 388, "blue: below 0, white: 0, orange: above", SMALL, MUTED)
