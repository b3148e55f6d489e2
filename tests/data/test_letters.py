from __future__ import annotations

import hashlib
import time
from string import ascii_lowercase, ascii_uppercase

import numpy as np
import pytest
import torch

from cnnlab.data.letters import FACES, OURS, glyphs
from cnnlab.data.sets import load


@pytest.fixture(scope="module")
def letters():
    began = time.process_time()
    splits = load("letters", seed=3)
    return splits, time.process_time() - began


def test_they_are_the_same_bytes_on_every_machine(letters):
    """The expected value is the one of the first machine: it says that others make the same."""
    splits, _ = letters
    digest = hashlib.sha256()
    for part in (splits.train, splits.val, splits.test):
        digest.update(part.images.numpy().tobytes())
    assert digest.hexdigest() == "4e225652d6d5e4c12e821de7e95e93b1314931501a926e7e803f6cbe4d541e3c"


def test_there_are_enough_of_every_class_in_seconds(letters):
    splits, seconds = letters
    assert seconds < 10  # 3.5 on a slow core of 2017
    for part, count in ((splits.train, 26_000), (splits.val, 2_600), (splits.test, 5_200)):
        assert part.shape == (1, 28, 28) and len(part) == count
        assert part.labels.bincount().tolist() == [count // 26] * 26
    assert splits.train.classes == tuple("ABCDEFGHIJKLMNOPQRSTUVWXYZ")


def test_the_test_is_of_faces_that_nobody_has_trained_on(letters):
    faces = [face for part in FACES.values() for face in part]
    assert len(faces) == len(set(faces)) == 21


def test_a_glyph_is_the_letter_that_matplotlib_draws():
    """Beside another rasterizer: matplotlib's, of the same outline."""
    import matplotlib
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure
    from matplotlib.font_manager import FontProperties
    from matplotlib.patches import PathPatch
    from matplotlib.textpath import TextPath

    for face in ("DejaVuSerif-Bold", "cmr10"):
        file = f"{matplotlib.get_data_path()}/fonts/ttf/{face}.ttf"
        masks = glyphs(face)
        for letter in "QgB":
            outline = TextPath((0, 0), letter, size=100, prop=FontProperties(fname=file))
            box = outline.get_extents()
            half = max(box.width, box.height) * 36 / 54  # the letter fills three quarters of 72
            x, y = (box.x0 + box.x1) / 2, (box.y0 + box.y1) / 2
            figure = Figure((0.72, 0.72), dpi=100)
            axes = figure.add_axes(
                (0, 0, 1, 1), xlim=(x - half, x + half), ylim=(y - half, y + half)
            )
            axes.set_axis_off()
            axes.add_patch(PathPatch(outline, color="black", linewidth=0))
            canvas = FigureCanvasAgg(figure)
            canvas.draw()
            drawn = torch.from_numpy(np.array(canvas.buffer_rgba()))[..., 0] < 128
            mask = masks[(ascii_uppercase + ascii_lowercase).index(letter)] > 40
            assert (mask == drawn).float().mean() > 0.97, (face, letter)
            assert 0.1 < drawn.float().mean() < 0.6


def test_they_can_be_told_apart_by_a_network_but_not_by_brightness(letters):
    splits, _ = letters
    means = splits.train.images.float().mean((1, 2, 3))
    by_class = torch.stack([means[splits.train.labels == label].mean() for label in range(26)])
    assert by_class.std() < means.std()


def test_every_face_is_in_the_oldest_matplotlib_or_here():
    """Those of matplotlib 3.8, as its folder lists them."""
    families = ("DejaVuSans", "DejaVuSansMono", "DejaVuSerif")
    styles = ("", "-Bold", "-Oblique", "-BoldOblique", "-Italic", "-BoldItalic")
    theirs = {family + style for family in families for style in styles}
    theirs |= {"STIXGeneral", "STIXGeneralBol", "STIXGeneralItalic", "STIXGeneralBolIta"}
    theirs |= {"cmb10", "cmr10", "cmss10", "cmtt10"}
    ours = {font.stem for font in OURS.glob("*.ttf")}
    assert {face for part in FACES.values() for face in part} <= theirs | ours
    assert "provided that the above copyright notice" in (OURS / "LICENSE.txt").read_text()
