"""Letters drawn from the outlines of the fonts that matplotlib ships: 26 classes, both cases.
One of them, cmti10, it ships from 3.11 on, which is too new for Python 3.10: it stands in fonts/.

Everything is made of whole numbers and of sums and products that round in the same way on every
machine, so the images are the same bytes everywhere.
"""

from __future__ import annotations

import logging
from importlib.util import find_spec
from pathlib import Path
from string import ascii_lowercase, ascii_uppercase

import numpy as np
import torch
from torch import Tensor

from cnnlab.data.images import Images

SIZE, SIDE, FINE = 28, 72, 3  # of an image, of a glyph's mask, samples along a mask's pixel
# Faces of validation and test are not among those of training.
FACES = {
    "train": "DejaVuSans DejaVuSans-Bold DejaVuSans-Oblique DejaVuSansMono DejaVuSansMono-Bold "
    "DejaVuSansMono-BoldOblique DejaVuSerif DejaVuSerif-Bold DejaVuSerif-Italic STIXGeneral "
    "STIXGeneralBol STIXGeneralBolIta cmr10 cmss10 cmti10".split(),
    "val": "DejaVuSansMono-Oblique DejaVuSerif-BoldItalic cmb10".split(),
    "test": "DejaVuSans-BoldOblique STIXGeneralItalic cmtt10".split(),
}
OURS = Path(__file__).with_name("fonts")
COUNTS = {"train": 26_000, "val": 2_600, "test": 5_200}


def letters() -> dict[str, Images]:
    """The parts "train", "val" and "test": 26,000, 2,600 and 5,200 images 1x28x28."""
    return {part: _part(part, seed) for seed, part in enumerate(FACES)}


def _part(name: str, seed: int) -> Images:
    faces, count = FACES[name], COUNTS[name]
    masks = torch.stack([mask for face in faces for mask in glyphs(face)]).flatten()
    numbers = torch.Generator().manual_seed(seed)

    def pick(low: int, high: int, *shape: int) -> Tensor:
        shape = shape or (count, 1, 1)
        return torch.randint(low, high + 1, shape, generator=numbers, dtype=torch.int32)

    labels = torch.arange(count) % 26
    which = pick(0, len(faces) - 1) * 52 + pick(0, 1) * 26 + labels.int().view(-1, 1, 1)
    # From a place in the image to one in the mask, in 1/1024: turned, slanted, stretched, moved.
    turn = pick(-180, 180).double() / 1024  # tangent of half the angle: up to 20 degrees
    scale = pick(2400, 3400).double()  # a mask's pixels for one of the image
    wide, slant = pick(870, 1170).double() / 1024, pick(-200, 200).double() / 1024
    norm = 1 + turn * turn
    cos, sin = (1 - turn * turn) / norm * scale, 2 * turn / norm * scale
    across = [value.int() for value in ((cos + slant * sin) * wide, sin * wide)]
    along = [value.int() for value in (slant * cos - sin, cos)]
    moved = [pick(-5000, 5000) + SIDE * 512 for _ in range(2)]
    # Light from dark to bright, on a ground that is not quite black, and grain on both.
    ink, ground = pick(120, 255), pick(0, 40)
    images = torch.empty(count, SIZE, SIZE, dtype=torch.uint8)
    place = torch.arange(SIZE, dtype=torch.int32) * 2 - (SIZE - 1)  # of a pixel, in halves
    for some in torch.arange(count).split(1000):
        x, y = (
            (((a[some] * place + b[some] * place.view(-1, 1)) >> 1) + m[some] >> 10).clamp_(
                0, SIDE - 1
            )
            for a, b, m in zip(across, along, moved)
        )
        seen = masks[(which[some] * SIDE + y) * SIDE + x].int()
        value = ground[some] + (ink[some] - ground[some]) * seen // (9 * FINE * FINE)
        value += pick(-20, 20, len(some), SIZE, SIZE)
        images[some] = value.clamp_(0, 255).to(torch.uint8)
    return Images(images.unsqueeze(1), labels, tuple(ascii_uppercase), f"letters {name}")


def glyphs(face: str) -> list[Tensor]:
    """Masks (72, 72) of 52 letters, capitals first: how many samples of a pixel and of its eight
    neighbors are ink, 0 to 81. A pixel of an image is about as large as these nine."""
    from fontTools.pens.recordingPen import DecomposingRecordingPen
    from fontTools.ttLib import TTFont

    # Two of the fonts carry a date before 1970, of which nobody here wants to know.
    logging.getLogger("fontTools.ttLib.tables._h_e_a_d").setLevel(logging.ERROR)
    theirs = Path(find_spec("matplotlib").submodule_search_locations[0], "mpl-data/fonts/ttf")
    own = OURS / f"{face}.ttf"
    font = TTFont(own if own.is_file() else theirs / own.name, lazy=True)
    outlines, names = font.getGlyphSet(), font.getBestCmap()
    found = []
    for letter in ascii_uppercase + ascii_lowercase:
        pen = DecomposingRecordingPen(outlines)
        outlines[names[ord(letter)]].draw(pen)
        found.append(_filled(_segments(pen.value)))
    return found


def _segments(outline: list) -> np.ndarray:
    """(S, 2, 2) straight pieces of a TrueType outline: from, to; x and y in units of the font."""
    pieces, start, here = [], None, None
    for verb, points in outline:
        if verb == "moveTo":
            start = here = points[0]
        elif verb in ("lineTo", "closePath", "endPath"):
            pieces.append((here, points[0] if points else start))
            here = pieces[-1][1]
        else:  # qCurveTo: control points, with corners implied halfway between them
            *controls, end = points
            for number, (cx, cy) in enumerate(controls):
                last = number == len(controls) - 1
                after = None if last else controls[number + 1]
                ex, ey = end if last else ((cx + after[0]) / 2, (cy + after[1]) / 2)
                x0, y0 = here
                for step in range(1, 5):
                    t = step / 4
                    a, b, c = (1 - t) * (1 - t), 2 * t * (1 - t), t * t
                    to = (a * x0 + b * cx + c * ex, a * y0 + b * cy + c * ey)
                    pieces.append((here, to))
                    here = to
    return np.array(pieces, dtype=np.float64)


def _filled(pieces: np.ndarray) -> Tensor:
    """The mask of an outline, its box centered: where the outline winds around a sample, is ink."""
    low, high = pieces.min((0, 1)), pieces.max((0, 1))
    lines = SIDE * FINE
    pieces = (pieces - (low + high) / 2) * (lines * 0.75 / (high - low).max()) + lines / 2
    (x0, y0), (x1, y1) = pieces[:, 0].T, pieces[:, 1].T
    sample = np.arange(lines)[:, None] + 0.5
    up, down = (y0 <= sample) & (sample < y1), (y1 <= sample) & (sample < y0)
    row, piece = np.nonzero(up | down)
    share = (row + 0.5 - y0[piece]) / (y1[piece] - y0[piece])
    column = np.ceil(x0[piece] + share * (x1[piece] - x0[piece]) - 0.5).astype(np.int64)
    winding = np.zeros((lines, lines + 1), np.int64)
    np.add.at(winding, (lines - 1 - row, column.clip(0, lines)), np.where(up[row, piece], 1, -1))
    ink = winding.cumsum(1)[:, :lines] != 0
    count = np.pad(ink.reshape(SIDE, FINE, SIDE, FINE).sum((1, 3), dtype=np.uint8), 1)
    count = count[:-2] + count[1:-1] + count[2:]
    return torch.from_numpy(count[:, :-2] + count[:, 1:-1] + count[:, 2:])
