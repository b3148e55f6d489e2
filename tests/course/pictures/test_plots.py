import io
import math
import struct
import subprocess
import sys
from itertools import combinations

import numpy as np
import pytest
import torch
from PIL import Image

from cnnlab.course.errors import CourseError
from cnnlab.course.look import measured
from cnnlab.course.pictures import plots

LABELS = {"title": "A title", "x_label": "epoch", "y_label": "loss", "alt": "One line falls."}


def curve(**options):
    return plots.curves({"a": [3, 2, 1]}, **LABELS | options)


def test_a_plot_shows_itself_as_png_with_its_alt_text():
    data, metadata = curve()._repr_mimebundle_()
    assert data["text/plain"] == "Plot: A title. One line falls. [\u2039a 3, 1\u203a]"
    assert struct.unpack(">II", data["image/png"][16:24]) == (1440, 720)
    assert metadata["image/png"] == {
        "width": 720,
        "height": 360,
        "alt": "A title. One line falls.",
    }
    assert Image.open(io.BytesIO(data["image/png"])).info["Description"] in data["text/plain"]


@pytest.mark.parametrize(
    "plot, numbers",
    [
        (
            lambda **o: plots.bars(["p", "q"], {"a": [[1, 2], [3, 4]], "b": [5, 6e6]}, **o),
            "a 2, 3; b 5, 6,000,000",
        ),
        (lambda **o: plots.curves({"a": [[1, 2], [3, 6]]}, **o), "a 2, 4"),
        (lambda **o: plots.lines({"a": ([1, 2], [0.125, 7])}, **o), "a 0.125, 7"),
        (lambda **o: plots.heatmap([[1, 2], [3, float("nan")]], bar_label="b", **o), "1, 3"),
    ],
)
def test_a_plot_tells_its_numbers_marked_as_measured_unless_exact(plot, numbers):
    assert repr(plot(**LABELS)).endswith(f"[\u2039{numbers}\u203a]")
    assert repr(plot(exact=True, **LABELS)).endswith(f"[{numbers}]")


def test_a_measured_number_in_a_title_is_marked_in_the_words_and_drawn_without_marks():
    plot = curve(title=f"{measured(9)} of 360 missed", alt=f"It misses {measured(9)}.")
    (axes,) = plot.axes
    assert axes.get_title(loc="left") == "9 of 360 missed"
    assert "\u20399\u203a of 360 missed. It misses \u20399\u203a." in repr(plot)
    assert plot._repr_mimebundle_()[1]["image/png"]["alt"] == "9 of 360 missed. It misses 9."


def test_the_titles_of_a_grid_are_told():
    images = np.zeros((2, 4, 4))
    plot = plots.image_grid(images, title="t", alt="a", titles=["left", "right"])
    swapped = plots.image_grid(images, title="t", alt="a", titles=["right", "left"], exact=True)
    assert repr(plot) == "Plot: t. a [\u2039left, right\u203a]"
    assert repr(swapped) == "Plot: t. a [right, left]"


def test_the_axes_carry_title_and_labels():
    (axes,) = curve().axes
    assert axes.get_title(loc="left") == "A title"
    assert (axes.get_xlabel(), axes.get_ylabel()) == ("epoch", "loss")


def test_runs_become_their_mean_and_their_range():
    runs = torch.tensor([[1.0, 4.0], [3.0, 8.0]], requires_grad=True)
    (axes,) = plots.curves({"a": runs}, **LABELS).axes
    (line,) = axes.lines
    assert list(line.get_xdata()) == [1, 2] and list(line.get_ydata()) == [2, 6]
    band = axes.collections[0].get_paths()[0].vertices
    assert sorted(set(band[band[:, 0] == 2][:, 1])) == [4, 8]


def test_one_run_has_no_band_and_one_name_no_legend():
    (axes,) = curve().axes
    assert not axes.collections and axes.get_legend() is None


def test_names_and_marks_stand_in_the_legend():
    (axes,) = plots.curves({"a": [1, 2], "b": [2, 1]}, marks={"chance": 1.5}, **LABELS).axes
    assert [t.get_text() for t in axes.get_legend().get_texts()] == ["a", "b", "chance"]
    assert list(axes.lines[2].get_ydata()) == [1.5, 1.5]


def test_series_differ_in_more_than_color():
    (axes,) = plots.curves({"a": [1, 2], "b": [2, 1]}, **LABELS).axes
    one, two = axes.lines
    assert one.get_marker() != two.get_marker() and one.get_linestyle() != two.get_linestyle()


def test_log_axes():
    (axes,) = plots.lines({"a": ([1, 10], [1, 100])}, **LABELS, log="xy").axes
    assert (axes.get_xscale(), axes.get_yscale()) == ("log", "log")


def test_scatter_names_its_points():
    (axes,) = plots.scatter({"nets": ([1, 2], [3, 4])}, names={"nets": ["A", "B"]}, **LABELS).axes
    assert [t.get_text() for t in axes.texts] == ["A", "B"]
    assert axes.lines[0].get_linestyle() == "None"


def test_names_of_close_points_do_not_cover_each_other():
    near = {"nets": ([1, 1.02, 1.04, 9], [1, 1.02, 1, 9])}
    named = {"nets": ["the first", "the second", "the third", "far to the right"]}
    (axes,) = plots.scatter(near, names=named, **LABELS).axes
    boxes = [text.get_window_extent() for text in axes.texts]
    assert not any(a.overlaps(b) for a, b in combinations(boxes, 2))
    assert all(box.x1 <= axes.get_window_extent().x1 for box in boxes)


def test_a_name_stands_nearest_to_its_own_point():
    near = {"nets": ([0, 5, 5.4, 10], [0, 5, 6, 10])}
    (axes,) = plots.scatter(near, names={"nets": ["", "mine", "", ""]}, **LABELS).axes
    box, points = axes.texts[0].get_window_extent(), axes.transData.transform([*zip(*near["nets"])])
    gaps = [math.dist(point, point.clip(box.min, box.max)) for point in points]
    assert gaps.index(min(gaps)) == 1


def test_bars_of_equal_runs_have_no_range_below_zero():
    # The mean of three times 0.1 is a little above 0.1.
    plots.bars(["a"], {"x": [[0.1], [0.1], [0.1]]}, **LABELS)


@pytest.mark.parametrize("label, top", [("right, %", 100), ("change, ms", 120)])
def test_no_share_above_100_percent_is_marked(label, top):
    series = {"x": [99, 98], "y": [97, 96]}
    (axes,) = plots.bars(["a", "b"], series, **LABELS | {"y_label": label}).axes
    assert axes.get_yticks()[-1] >= 100 and max(t for t in axes.get_yticks() if t < 123) == top


def test_bars_stand_beside_each_other_with_their_values():
    (axes,) = plots.bars(["x", "y"], {"a": [1, 20_000], "b": [[1, 2], [2, 4]]}, **LABELS).axes
    bars = [
        patch
        for container in axes.containers
        if hasattr(container, "patches")
        for patch in container.patches
    ]
    assert [bar.get_height() for bar in bars] == [1, 20_000, 1.5, 3]
    left = sorted((bar.get_x(), bar.get_x() + bar.get_width()) for bar in bars)
    assert all(a[1] <= b[0] for a, b in zip(left, left[1:]))
    assert [t.get_text() for t in axes.texts] == ["1", "20,000", "1.5", "3"]


@pytest.mark.parametrize(
    "shape, inside",
    [
        ((5, 8, 6), (8, 6)),
        ((5, 1, 8, 6), (8, 6)),
        ((5, 3, 8, 6), (8, 6, 3)),
        ((5, 8, 6, 3), (8, 6, 3)),
        ((5, 3, 3), (3, 3)),
        ((5, 8, 6, 1), (8, 6)),
    ],
)
def test_images_of_every_layout(shape, inside):
    images = torch.rand(shape)
    plot = plots.image_grid(images, title="t", alt="five images", cols=3)
    shown = [axes.images[0].get_array() for axes in plot.axes if axes.images]
    assert len(shown) == 5 and shown[0].shape == inside


def test_images_share_one_scale():
    dark, light = np.zeros((4, 4)), np.full((4, 4), 255)
    plot = plots.image_grid(np.stack([dark, light]).astype(np.uint8), title="t", alt="two")
    assert [axes.images[0].get_clim() for axes in plot.axes] == [(0, 1), (0, 1)]
    signed = plots.image_grid(torch.tensor([[[-3.0, 1.0]]]), title="t", alt="a", signed=True)
    assert signed.axes[0].images[0].get_clim() == (-3, 3)


def test_heatmap_writes_its_values():
    plot = plots.heatmap(
        [[1, 0.25], [0, 3]], **LABELS, bar_label="share", texts=True, x_ticks=["p", "q"]
    )
    axes, bar = plot.axes
    assert [t.get_text() for t in axes.texts] == ["1", "0.25", "0", "3"]
    assert bar.get_ylabel() == "share"
    assert [t.get_text() for t in axes.get_xticklabels()] == ["p", "q"]


def test_heatmap_leaves_nan_empty():
    plot = plots.heatmap(
        [[1.0, float("nan")], [0.5, 0.25]],
        texts=True,
        title="t",
        x_label="x",
        y_label="y",
        bar_label="b",
        alt="a",
    )
    assert [text.get_text() for text in plot.axes[0].texts] == ["1", "0.5", "0.25"]


@pytest.mark.parametrize(
    "make",
    [
        lambda: curve(),
        lambda: plots.bars(["x"], {"a": [1], "b": [2]}, **LABELS),
        lambda: plots.image_grid(np.eye(4)[None], title="t", alt="a"),
        lambda: plots.heatmap(np.eye(3), **LABELS, bar_label="b"),
        lambda: plots.scatter({"a": ([1], [2])}, names={"a": ["here"]}, **LABELS),
    ],
)
def test_the_same_data_give_the_same_bytes(make):
    plot = make()
    first = plot.png()
    assert plot.png() == first == make().png()
    assert b"matplotlib" not in first


def test_a_picture_too_large_is_drawn_smaller():
    noise = np.random.default_rng(0).random((6, 64, 64, 3))
    plot = plots.image_grid(noise, title="noise", alt="noise", cell=2.2)
    assert len(plot.png()) <= 120_000


def test_the_readers_own_settings_change_nothing():
    import matplotlib

    expected = curve().png()
    with matplotlib.rc_context({"lines.linewidth": 9, "figure.facecolor": "black"}):
        assert curve().png() == expected


@pytest.mark.parametrize(
    "wrong, message",
    [
        (lambda: curve(alt=" "), "empty alt"),
        (lambda: curve(title=""), "empty title"),
        (lambda: curve(x_label=""), "name both, with units"),
        (lambda: curve(log="z"), "log is 'z', expected"),
        (lambda: curve(x=[1, 2]), "'a' has 3 values and x has 2: give one x per value"),
        (lambda: plots.curves({}, **LABELS), "series is empty"),
        (lambda: plots.curves({"a": []}, **LABELS), r"'a' has shape \(1, 0\)"),
        (lambda: plots.curves({"a": [[1, 2], [1]]}, **LABELS), "'a' cannot be read as numbers"),
        (lambda: plots.curves({"a": ["x"]}, **LABELS), "'a' cannot be read as numbers"),
        (lambda: plots.lines({"a": ([1, 2], [1])}, **LABELS), "two lists of one length"),
        (lambda: plots.bars(["x"], {"a": [1, 2]}, **LABELS), "one value for each of the 1 groups"),
        (lambda: plots.image_grid(np.zeros((4, 4)), title="t", alt="a"), r"expected \(N, H, W\)"),
        (
            lambda: plots.image_grid(np.zeros((2, 4, 4)), title="t", alt="a", titles=["x"]),
            "1 titles for 2 images",
        ),
        (lambda: plots.heatmap([1, 2], **LABELS, bar_label="b"), r"expected \(rows, cols\)"),
    ],
)
def test_bad_data_are_refused_with_a_sentence(wrong, message):
    with pytest.raises(CourseError, match=message):
        wrong()


def test_plots_need_neither_pyplot_nor_torch():
    code = (
        "import sys; from cnnlab.course.pictures import plots; "
        "plots.curves({'a': [1, 2]}, title='t', x_label='x', y_label='y', alt='a').png(); "
        "assert not {'matplotlib.pyplot', 'torch'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)
