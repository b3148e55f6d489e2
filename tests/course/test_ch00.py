"""Chapter 00: its exercises are sound, its explorer shows what the network does, its claims have
their cells."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F

from cnnlab.course.exercises import ch00, ch00_quiz
from cnnlab.course.explorers import ch00_lenet as explorer
from cnnlab.course.explorers.seeing import everywhere, look
from cnnlab.course.look import BAD, GOOD
from cnnlab.data.images import Images
from cnnlab.data.sets import load
from cnnlab.models import build
from cnnlab.trace.run import trace
from tests.course.chapter import stored_cells, texts
from tests.tools import stored as tool

NOTEBOOK = Path(__file__).parents[2] / "notebooks" / "00-start-here.ipynb"
# Every claim of the chapter: the cell that shows it, and what that cell's output must say.
CLAIMS = {
    "the digits are put on 32x32 fields": ("00-anywhere", "1257 of 1x32x32"),
    "the data: 1,797 digits in three parts": ("00-digits", "1257 of 1x8x8"),
    "LeNet-5 reads shuffled digits": ("00-puzzle", "noise read right: True"),
    "4% of the parameters are in the convolutions": ("00-where", "hold 4.2% of the parameters"),
    "and 86% of the work": ("00-where", "do 85.9% of the multiply-accumulates"),
    "an 8x8 image fails at C3": ("00-naive", "nothing is left for C3"),
    "the network built here is the package's": ("00-build", "same answers: True"),
    "it has 61,706 parameters with bias": ("00-build", "61,706, with bias"),
    "it learns to read in seconds": ("00-wrong", "test digits read right: True"),
    "training makes the filters stronger": ("00-filters", "stronger after training: True"),
    "pixels in place, convolutions win": ("00-measure", "ahead at every start: True"),
    "pixels shuffled, they lose": ("00-measure", "behind at every start: True"),
    "shuffling costs LeNet-5 over 10 points": ("00-measure", "10 points at every start: True"),
    "and the dense network nothing to speak of": ("00-measure", "5 points on average: True"),
    "C1 follows a digit that moves": ("00-follow", "C1 follows a move of one by one: True"),
    "S2 does not follow moves of one": ("00-follow", "S2 follows a move of one by one: False"),
    "S2 follows moves of two": ("00-follow", "S2 follows a move of two by one: True"),
    "the paper's 60,000 is exact": ("00-paper", "network: 60,000 trainable"),
    "and differs from ours in three places": ("00-paper", "+900 in C3, -44 in the poolings, +850"),
    "a frozen first layer still reads": ("00-frozen", "over 80% at every start: True"),
    "it costs a few points": ("00-frozen", "under 6 points: True"),
}


@pytest.fixture(scope="module")
def cells():
    return stored_cells("00")


@pytest.fixture(scope="module")
def ten():
    test = load("digits").test
    return test[[test.labels.tolist().index(digit) for digit in range(10)]]


@pytest.fixture(scope="module")
def network():
    torch.manual_seed(0)
    return build("lenet5", image_size=32)


@pytest.fixture(scope="module")
def at_work(network, ten):
    torch.manual_seed(1)
    other = build("lenet5", image_size=32)
    return explorer.lenet({"first": network, "second": other}, ten, (0.17,), (0.32,))


# The page


def test_it_is_short(cells):
    words = " ".join(c.source for c in cells.values() if c.cell_type == "markdown").split()
    lines = [c.source.split("\n") for c in cells.values() if c.cell_type == "code"]
    assert len(cells) <= 55 and 1_200 <= len(words) <= 2_000
    assert max(map(len, lines)) <= 25 and max(len(line) for cell in lines for line in cell) <= 100


def test_every_exercise_is_asked_and_the_next_chapter_exists(cells):
    code = "\n".join(c.source for c in cells.values() if c.cell_type == "code")
    for exercise in ch00.exercises:
        for call in ("check(", "hint()", "solution()"):
            assert f"ex.{exercise.name}.{call}" in code
    named = re.findall(r"`(\d\d-[a-z-]+\.ipynb)`", cells["00-summary"].source)
    assert named and all((NOTEBOOK.parent / name).exists() for name in named)


def test_hint_and_solution_of_the_bug_name_the_numbers_of_its_error(cells):
    source = cells["00-batch"].source.partition("ex.batch")[0]
    space = {"nn": torch.nn, "torch": torch}
    exec(source, space)
    assert space["Small"]()(torch.ones(1, 1, 32, 32)).numel() == 10
    with pytest.raises(RuntimeError, match="1x3528 and 1176x10"):
        space["Small"]()(torch.ones(3, 1, 32, 32))
    assert ch00.exercises.batch.check(space["Small"]).message.startswith("One image goes")


# Exercises and quiz


def test_answers_agree_with_the_table(network):
    table = trace(network, (1, 32, 32))
    answers = {exercise.name: exercise.answer for exercise in ch00.exercises}
    assert answers["with_parameters"] == sum(row.params > 0 for row in table)
    assert answers["c3_weights"] == network.c3.weight.numel()
    assert table["c5"].params == 48_120 and round(100 * 48_120 / table.params) == 78


def test_another_fault_in_the_network_is_named():
    class Mixed(ch00.Small):
        def forward(self, x):
            return self.answer(self.pool(torch.tanh(self.conv(x))).flatten(2))

    class First(ch00.Small):
        def forward(self, x):
            return super().forward(x)[0]

    check = ch00.exercises.batch.check
    assert check(Mixed).message.startswith("one image in, an error out: mat1 and mat2")
    assert "shape of the scores" in check(First).message


def test_another_correct_answer_passes():
    def counted(scores, labels):
        rows = zip(scores.tolist(), labels.tolist())
        return sum(row.index(max(row)) == label for row, label in rows) / len(labels)

    assert ch00.exercises.accuracy.check(counted).passed


def test_quiz_has_five_questions_with_the_right_option_in_changing_places():
    places = [[option.right for option in q.options].index(True) for q in ch00_quiz.quiz.questions]
    assert len(places) == 5 and len(set(places)) == 3
    assert ch00_quiz.quiz.score(places) == 5


# Explorer


def test_draw_shows_what_the_network_answers(at_work, network, ten):
    for digit, right, down in ((0, 0, 0), (3, 8, 2), (8, 5, 7)):
        at_work.set(digit=digit, right=right, down=down, network="first", layer="c1")
        large = F.interpolate(ten.images[digit : digit + 1], scale_factor=3)
        image = F.pad(large, (right, 8 - right, down, 8 - down)).float() / 255
        with torch.no_grad():
            scores = network((image - 0.17) / 0.32).softmax(1)[0]
        shown = texts(at_work.svg)
        assert f"read as {int(scores.argmax())}" in shown
        assert [f"{score:.0%}" for score in scores] == [t for t in shown if t.endswith("%")]
        assert ("right" if int(scores.argmax()) == digit else f"wrong, it is {digit}") in shown
    at_work.reset()


def test_places_are_counted(at_work, network, ten):
    images = everywhere(ten.images[:1])[0].float() / 255
    with torch.no_grad():
        hits = int((network((images - 0.17) / 0.32).argmax(1) == 0).sum())
    at_work.set(digit=0)
    shown = texts(at_work.svg)
    assert f"Right in {hits} of 81 places" in shown
    # each place that is not right shows one digit: what it was taken for
    small = [t for t in shown if re.fullmatch(r"\d", t)]
    assert len(small) == 10 + 81 - hits
    at_work.reset()


@pytest.mark.parametrize(
    "layer, words",
    [
        ("c1", "C1: 6 maps of 28 x 28"),
        ("s2", "6 maps of 14"),
        ("c3", "16 maps of 10 x 10"),
        ("s4", "16 maps of 5 x 5"),
    ],
)
def test_maps_are_those_of_the_layer(at_work, network, layer, words):
    at_work.set(layer=layer)
    assert any(words in text for text in texts(at_work.svg))
    at_work.set(layer="c1")


def direct(network, images, mean, deviation):
    """What each layer gives for digits at all places, in hundredths of its largest value."""
    fields = (everywhere(images).flatten(0, 1).float() / 255 - mean) / deviation
    with torch.no_grad():
        c1 = network.c1(fields).tanh()
        s2 = network.s2(c1)
        c3 = network.c3(s2).tanh()
        maps = {"c1": c1, "s2": s2, "c3": c3, "s4": network.s4(c3)}
        scores = network(fields).softmax(1).unflatten(0, (len(images), 81))
    maps = {p: (100 * v / v.abs().max()).unflatten(0, (len(images), 9, 9)) for p, v in maps.items()}
    return maps, scores


def compare(seen, network, images, mean, deviation):
    maps, scores = direct(network, images, mean, deviation)
    for path, values in maps.items():
        for digit in range(len(images)):
            for down, right in ((0, 0), (1, 6), (4, 4), (7, 2), (8, 8), (3, 5)):
                got = torch.tensor(seen.maps(path, digit, down, right))
                assert (got - values[digit, down, right]).abs().max() <= 1, (path, down, right)
    for digit in range(len(images)):
        torch.testing.assert_close(
            torch.tensor(seen.scores(digit, 10)), scores[digit], atol=2e-3, rtol=0
        )


def test_maps_hold_what_the_next_layer_gets(network, ten):
    images = ten.images[:2]
    compare(look(network, images, 0.17, 0.32), network, images, 0.17, 0.32)


def test_the_stored_numbers_are_those_of_two_networks():
    pixels, seen = explorer.stored()
    images = tool.ten_digits()
    assert pixels == images[:, 0].tolist()
    for name, network in tool.networks().items():
        compare(seen[name], network, images, tool.mean(), tool.deviation())
    hits = [
        sum(max(row) == row[digit] for row in seen["trained"].scores(digit, 10))
        for digit in range(10)
    ]
    assert min(hits) > 20 and sum(hits) > 0.8 * 810


def test_without_networks_it_shows_those_that_came_with_the_course():
    ours = explorer.lenet()
    assert ours.state["network"] == "trained" and "6 maps of C1" in ours.svg
    ours.set(network="untrained", layer="s4", digit=9, down=8)
    assert ours.error == "" and "16 maps of S4" in ours.svg


def test_the_right_bar_is_green_and_a_wrong_answer_orange(at_work):
    at_work.set(digit=0)
    wrong = next(
        place
        for place in range(9)
        if at_work.set(right=place) or any(t.startswith("wrong") for t in texts(at_work.svg))
    )
    at_work.set(right=wrong)
    answer = int(next(t for t in texts(at_work.svg) if t.startswith("read as"))[-1])
    bars = re.findall(r'<rect [^>]*height="18.2" rx="2" fill="([^"]*)"', at_work.svg)
    assert len(bars) == 10 and (bars[0], bars[answer]) == (GOOD, BAD)
    assert {GOOD, BAD} & set(bars[1:answer] + bars[answer + 1 :]) == set()
    at_work.reset()


def test_every_place_is_where_it_says(ten):
    fields = everywhere(ten.images)
    assert fields.shape == (10, 81, 1, 32, 32)
    large = F.interpolate(ten.images, scale_factor=3)
    assert torch.equal(fields[:, 2 * 9 + 7, :, 2:26, 7:31], large)
    assert (fields.float().sum((2, 3, 4)) == large.float().sum((1, 2, 3))[:, None]).all()
    for digit, down, right in ((0, 0, 0), (3, 2, 7), (9, 8, 8)):
        drawn = explorer.field(ten.images[digit, 0].tolist(), down, right)
        assert drawn == fields[digit, 9 * down + right, 0].tolist()


def test_draw_is_pure_and_every_picture_has_one_size(at_work):
    first = at_work.svg
    boxes = set()
    for state in ({"layer": "c3"}, {"network": "second"}, {"digit": 9, "right": 0}, {"down": 8}):
        at_work.set(**state)
        boxes.add(re.search(r'viewBox="[^"]*"', at_work.svg).group())
        assert at_work.error == ""
    assert len(boxes) == 1
    at_work.reset()
    assert at_work.svg == first


def test_a_click_on_a_place_moves_the_digit_there(at_work):
    at_work.answer({"n": 1, "steps": [["pick", "place,6,1"]]})
    assert (at_work.state["down"], at_work.state["right"]) == (6, 1)
    at_work.reset()


def test_the_networks_are_left_as_they_were(network, ten):
    network.train()
    explorer.lenet(network, ten[:2], (0.0,), (1.0,))
    assert network.training and all(p.grad is None for p in network.parameters())


@pytest.mark.parametrize("size, count", [(28, 3), (8, 0)])
def test_other_images_are_refused_with_a_sentence(network, size, count):
    images = Images(
        torch.zeros(count, 1, size, size, dtype=torch.uint8),
        torch.zeros(count, dtype=torch.int64),
        ("0",),
    )
    with pytest.raises(ValueError, match=r"expected at least one of \(1, 8, 8\)"):
        explorer.lenet(network, images, (0.0,), (1.0,))


class Mixed(ch00.Small):
    def forward(self, x):
        x = self.pool(torch.tanh(self.conv(x)))
        return self.answer(x.transpose(0, 1).reshape(-1, 6 * 14 * 14))


class NoReturn(ch00.Small):
    def forward(self, x):
        self.answer(self.pool(torch.tanh(self.conv(x))).flatten(1))


@pytest.mark.parametrize(
    "answer, words",
    [
        (Mixed, "not fulfilled: an image's scores do not depend on the others"),
        (NoReturn, "forward gives None, expected a tensor: is the `return` missing?"),
    ],
)
def test_batch_says_what_is_wrong(answer, words):
    assert words in ch00.exercises.batch.check(answer).message
