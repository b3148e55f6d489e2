"""Chapter 05: its explorer counts as the trace does, its exercises are sound, its claims shown."""

from __future__ import annotations

import inspect
from itertools import product

import pytest
import torch
from torch import nn

from cnnlab.course.exercises import ch05, ch05_answers
from cnnlab.course.explorers.ch05_vgg_budget import Line, bill, draw, lines, memory_of, vgg_budget
from cnnlab.models.vgg import TABLE, VGG
from cnnlab.trace.run import trace
from cnnlab.training.records import records
from tests.course.chapter import stored_cells, texts

START = {
    "variant": "D",
    "batch_norm": False,
    "size": 224,
    "batch": 1,
    "itemsize": 4,
    "training": True,
}
# Every claim of the chapter: the cell that shows it, and what that cell's output must say.
CLAIMS = {
    "the head has 89% of the parameters, next to no memory": (
        "05-shares",
        "head 89.36% 0.41% 0.80%",
    ),
    "stage 1 has no parameters and 45% of the memory": ("05-shares", "stage 1 0.03% 44.60%"),
    "from 23 images on": ("05-reveal", "1,660,290,528 for each image 73,355,264"),
    "23": ("05-reveal", "measured: 23 images"),
    "the image has 150K values": ("05-hand", "image 150,528 -"),
    "conv1_1 has 3.2M values": ("05-hand", "conv1_1 3,211,264 1,792"),
    "conv2_1 has 1.6M values": ("05-hand", "conv2_1 1,605,632 73,856"),
    "fc6 has 102.8M parameters": ("05-hand", "fc6 4,096 102,764,544"),
    "halve the map, double the channels: MACs stay": (
        "05-hand",
        "(64, 224, 224) 1,849,688,064 (128, 112, 112) 1,849,688,064",
    ),
    "24M is not 15.2M": ("05-sums", "and the image 15,237,608 61.0"),
    "24M is not 28.8M": ("05-sums", "and each ReLU's output 28,793,320 115.2"),
    "PyTorch keeps 73.4 MB": ("05-sums", "together 73,355,264"),
    "61.1 MB of them are floats": ("05-sums", "float32 61,112,320"),
    "12.2 MB are indices": ("05-sums", "int64 12,242,944"),
    "one table": ("05-table", "C 3 3 3 3 3 3 1 3 3 1 3 3 1"),
    "VGG-11: 132,863,336": ("05-counts", "A 133 132,863,336"),
    "VGG-13: 133,047,848": ("05-counts", "B 133 133,047,848 11,308,466,176 0 156"),
    "VGG-16: 138,357,544": ("05-counts", "D 138 138,357,544 15,470,264,320 0 212"),
    "VGG-19: 143,667,240": ("05-counts", "E 144 143,667,240"),
    "1x1 only in C, which sees as far as B": (
        "05-counts",
        "C 134 133,638,952 11,770,888,192 3 156",
    ),
    "what else differs from AlexNet": ("05-alexnet", "convolutions 5 13"),
    "and the first step": ("05-alexnet", "first kernel 11, stride 4 3, stride 1"),
    "twice the side: four times the memory, the same parameters": (
        "05-bills",
        "VGG-16 at 448 1,660 292.8",
    ),
    "batch norm keeps a second map": ("05-bills", "with batch norm 1,660 127.6"),
    "a small head saves parameters, not memory": ("05-bills", "one linear layer 478 73.3"),
    "VGG-19 on 32 x 32: the head sees one pixel": (
        "05-one-pixel",
        "512 values that the head reads",
    ),
    "its copies are equal": ("05-one-pixel", "largest difference below 1e-05 \u2713"),
    "98% of fc6 wasted": ("05-one-pixel", "102,760,448 weights that would do 2,097,152"),
    "deeper is not better here": ("05-record", "read on average below 0 \u2713"),
    "averaging is worst in a short training": (
        "05-record",
        "1 x 1 - averaged on average above 5 \u2713",
    ),
    "vgg_small, four and twenty epochs, one look at the test images": (
        "05-fashion",
        "4 0 93.2 92.88 20 0 94.55 94.22 20 1 94.98 93.93 20 2 94.98 94.08",
    ),
    "leave out the late poolings": ("05-which", "(3, 4, 5) 20,106,314 9.71 5.1 72"),
    "every plan sees the whole image": ("05-which", "(1, 2, 3) 20,106,314 1.7 0.51 180"),
    "more than half of a small map's work multiplies padding": ("05-padding", "2 x 2 56%"),
    "vgg_small has two bills, too": ("05-small", "436,202 the head 34%"),
}


@pytest.fixture(scope="module")
def cells():
    return stored_cells("05")


def test_it_is_said_whose_number_is_to_beat_and_what_is_not_measured(cells):
    text = cells["05-fashion-text"].source
    assert (
        "study post on VGG reports 92.68%" in text
        and "*test* set in each of the 100 epochs" in text
    )
    assert "on CIFAR-10 we have not measured it" in cells["05-myths"].source


def test_of_the_starts_on_fashion_mnist_the_worst_on_validation_is_the_best_on_test(cells):
    (record,) = (r for r in records() if r["name"] == "vgg_small-fashion-20")
    assert len(record["runs"]) == 3 and "Of its three starts, the worst on" in (
        cells["05-myths"].source
    )
    worst = min(record["runs"], key=lambda run: run["val_accuracy"])
    assert worst is max(record["runs"], key=lambda run: run["test_accuracy"])


# Explorer: closed formulas against the trace


@pytest.mark.parametrize(
    "variant, batch_norm, size",
    [*product("ABCDE", (False, True), (224,)), *product("AD", (False, True), (32, 100, 448))],
)
def test_lines_are_what_the_trace_sees(variant, batch_norm, size):
    with torch.device("meta"):
        model = VGG(TABLE[variant], batch_norm=batch_norm)
    table, rows = trace(model, (3, size, size)), lines(variant, batch_norm, size)
    total = bill(rows)
    assert (total.params, total.macs) == (table.params, table.macs)
    assert total.per_image == table.kept_bytes
    assert total.fixed + total.per_image == table.training_memory(1).total
    kept = {
        "float32": 4 * sum(row.floats for row in rows),
        "int64": 8 * sum(row.indices for row in rows),
    }
    assert kept == table.kept_by_dtype
    assert bill(rows, training=False).per_image == table.peak_live_bytes
    by_kind = {kind: [row.macs for row in table if row.op == kind] for kind in ("conv2d", "linear")}
    assert [row.macs for row in rows if row.macs] == by_kind["conv2d"] + by_kind["linear"]
    names = [row.name for row in rows]
    assert len(set(names)) == len(names)
    assert sum(name.startswith("conv") for name in names) == len(by_kind["conv2d"])


def test_two_bytes_halve_floats_but_not_the_indices():
    rows = lines("D", False, 224)
    four, two = bill(rows), bill(rows, itemsize=2)
    assert two.fixed * 2 == four.fixed
    assert two.per_image == 61_112_320 // 2 + 12_242_944
    assert memory_of(Line("x", 1, floats=3, indices=5), 2, True) == 46


def test_explorer_shows_the_start():
    svg = draw(**START)
    shown = texts(svg)
    for text in (
        "138,357,544",
        "73.4 MB for one image",
        "15.5 G for one image",
        "fc6: 74%",
        "conv1_1, conv1_2: 18% each",
        "6 layers: 12% each",
        "102,764,544",
        "12.8 MB",
        "Once: weights, gradients, momentum, 1.7 GB",
        "For one image: 73.4 MB, together 1.7 GB",
        "Weights, gradients and momentum: 22.6 times the memory of one image.",
    ):
        assert text in shown, text
    assert shown.count("1.85 G") == 6 and draw(**START) == svg


def test_what_there_is_to_find():
    twice = texts(draw(**{**START, "size": 448}))
    assert {"138,357,544", "102,764,544", "103 M"} <= set(twice)  # neither moves
    assert "51.4 MB" in twice and "7.4 G" in twice  # four times
    for itemsize, batch in ((4, 23), (2, 20)):
        state = {**START, "itemsize": itemsize}
        assert texts(draw(**{**state, "batch": batch - 1}))[-1].startswith("Weights")
        assert texts(draw(**{**state, "batch": batch}))[-1].startswith(f"The {batch} images")
    inference = texts(draw(**{**START, "training": False}))
    assert "25.7 MB for one image" in inference and "conv1_2: the peak" in inference
    assert "Once: weights, 553 MB" in inference


def test_every_state_is_a_picture_or_a_sentence():
    for variant, batch_norm, size, training in product(
        "ABCDE", (False, True), (32, 224, 448), (True, False)
    ):
        svg = draw(variant, batch_norm, size, 128, 4, training)
        rows = lines(variant, batch_norm, size)
        assert {row.name for row in rows} <= set(texts(svg))
    with pytest.raises(ValueError, match="choose a resolution of at least 32"):
        draw(**{**START, "size": 31})


def test_draw_takes_what_the_controls_give():
    explorer = vgg_budget()
    assert set(inspect.signature(draw).parameters) == set(explorer.state) == set(START)
    assert explorer.state == START and explorer.error == ""
    explorer.set(variant="E", batch=64)
    assert "143,667,240" in explorer.svg
    explorer.reset()
    assert explorer.svg == draw(**START)


# Exercises


def test_the_class_in_the_notebook_is_the_diagnosed_one(cells):
    space = {"nn": nn}
    exec(cells["05-ex-sixteen"].source.split("Repaired = ")[0], space)
    verdict = ch05.exercises.sixteen.check(space["VGG16"])
    assert verdict.status == "wrong" and "this is VGG-11, 132,863,336" in verdict.message
    with torch.device("meta"):
        assert sum(p.numel() for p in space["VGG16"]().parameters()) == 132_863_336


def test_sixteen_takes_any_vgg16():
    class Course(VGG):
        def __init__(self):
            super().__init__(TABLE["D"])

    assert ch05.exercises.sixteen.check(Course).passed
    assert ch05.exercises.sixteen.check(Course).note


def ended(end):
    class Ended(ch05_answers.Sixteen):
        def forward(self, x):
            return end(super().forward(x))

    return Ended


@pytest.mark.parametrize("end", [lambda x: x.softmax(1), torch.relu, torch.sigmoid])
def test_sixteen_gives_logits(end):
    verdict = ch05.exercises.sixteen.check(ended(end))
    assert not verdict.passed and "straight from the last linear layer" in verdict.message


def test_sixteen_may_drop_out_before_the_relu():
    class Swapped(ch05_answers.Sixteen):
        def __init__(self):
            super().__init__()
            first, relu, drop, second, *_, last = self.classifier
            self.classifier = nn.Sequential(first, drop, relu, second, drop, relu, last)

    assert ch05.exercises.sixteen.check(Swapped).passed


@pytest.mark.parametrize(
    "answer, words",
    [
        (nn.Linear(3, 4), "give the class itself"),
        (lambda: nn.Conv2d(1, 2, 3), "does not run on a 3 x 224 x 224 image"),
    ],
)
def test_sixteen_says_what_it_cannot_read(answer, words):
    assert words in ch05.exercises.sixteen.check(answer).message


@pytest.mark.parametrize(
    "answer, words",
    [
        (((8, 16, 32, 64, 64), (1, 2, 3)), "Well done"),
        (((16, 32, 64, 64, 64), (3, 4, 5)), "too many MACs and bytes"),
        (((8, 16, 32, 64, 64), (1, 2, 3, 4)), "too many poolings"),
        (((8, 16, 32, 64), (1, 2, 3)), "give five widths"),
        (7, "give a pair (widths, poolings)"),
        (((8, 16, 32, 64, "x"), (1, 2, 3)), "give five widths, whole numbers from 1"),
        (((8, 16, 32, 64, 64.5), (1, 2, 3)), "give five widths, whole numbers from 1"),
        (((8, 16, 32, 64, 0), (1, 2, 3)), "give five widths, whole numbers from 1"),
        (((16, 32, 64, 64, 64), (1, 2, 6)), "different whole numbers from 1 to 5"),
        (((16, 32, 64, 64, 64), (1, 1, 2)), "different whole numbers from 1 to 5"),
        (((16, 32, 64, 64, 64), 3), "different whole numbers from 1 to 5"),
    ],
)
def test_small_budget_says_what_is_missing(answer, words):
    assert words in ch05.exercises.small_budget.check(answer).message


def test_largest_batch_holds_the_budget():
    for memory in (2 * 10**9, 8 * 10**9, 24 * 10**9):
        batch = ch05.largest_batch(memory, 138_357_544, 73_355_264)
        spent = [12 * 138_357_544 + n * 73_355_264 for n in (batch, batch + 1)]
        assert spent[0] <= memory < spent[1]


def test_quiz_figures():
    rows = lines("D", False, 224)
    head = [row for row in rows if row.stage == 6]
    assert round(100 * sum(row.params for row in head) / bill(rows).params) == 89
    assert round(100 * sum(row.macs for row in head) / bill(rows).macs, 1) == 0.8
    assert round(4 * sum(row.params for row in rows if row.stage == 1) / 1000) == 155
    assert 2 * 4 * 4096 == 32_768  # two masks of dropout, "33 kB"
