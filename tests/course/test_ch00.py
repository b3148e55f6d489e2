"""Chapter 00: its exercises are sound, its explorer shows what the network does, its claims have
their cells."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from torch import nn

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
    "the digits are put on 32x32 fields": ("00-digits", "1257 of 1x32x32"),
    "a stack of images has four axes": ("00-tensor", "images (8, 1, 32, 32)"),
    "a module of 10,250 parameters gives ten scores": ("00-module", "(8, 10) and 10,250 param"),
    "cross-entropy begins near the logarithm of 10": ("00-loss", "above 1 and below 4 \u2713"),
    "steps bring the loss down": ("00-step", "after 49 steps below 0.5 \u2713"),
    "LeNet-5 reads shuffled digits": ("00-puzzle", "read right above 45 \u2713"),
    "4% of the parameters are in the convolutions": ("00-where", "measured: 4.2 percent"),
    "C3 does most of the work": ("00-where", "c3 2,416 3.9% 240,000 57.6%"),
    "C5 holds most of the parameters": ("00-where", "c5 48,120 78.0% 48,000 11.5%"),
    "an 8x8 image fails at C3": ("00-own", "nothing is left for C3"),
    "a linear layer of a wrong width is named": ("00-own", "4704 features"),
    "it learns to read in seconds": ("00-train", "right after six epochs above 80 \u2713"),
    "pixels in place, convolutions win": (
        "00-measure-verdict",
        "pixels in place each above 2 \u2713",
    ),
    "pixels shuffled, they lose": ("00-measure-verdict", "pixels shuffled each below -2 \u2713"),
    "shuffling costs LeNet-5 over 10 points": (
        "00-measure-verdict",
        "LeNet-5 loses by shuffling each above 10 \u2713",
    ),
    "and the dense network little": ("00-measure-verdict", "shuffling, mean below 6 \u2713"),
    "the paper's 60,000 is exact": ("00-paper", "all 60,000 61,706"),
    "and differs from ours in C3, the poolings, the output": ("00-paper", "C3 1,516 2,416"),
    "a frozen first layer still reads": ("00-frozen", "read right each above 75 \u2713"),
    "it costs a few points": ("00-frozen", "on average below 8 \u2713"),
    "the test images, once": ("00-wrong", "read right above 80 \u2713"),
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
    assert answers["c3_weights"] == nn.Conv2d(8, 20, 5).weight.numel()
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


@pytest.mark.parametrize(
    "change, words",
    [
        ({"c1": nn.Conv2d(1, 6, 5, padding=2)}, "mat1 and mat2"),
        ({"c3": nn.Conv2d(6, 16, 5, bias=False)}, "parameters"),
        ({"pool": nn.MaxPool2d(2)}, "mean of four"),
        ({"pool": nn.AvgPool2d(2, ceil_mode=True)}, None),
    ],
)
def test_lenet_is_held_against_the_papers(change, words):
    class Changed(ch00.MyLeNet):
        def __init__(self):
            super().__init__()
            for name, layer in change.items():
                setattr(self, name, layer)

    verdict = ch00.exercises.lenet.check(Changed)
    assert verdict.passed if words is None else words in verdict.message


class C5AsConvolution(ch00.MyLeNet):
    def __init__(self, activation=torch.tanh):
        super().__init__()
        self.c5, self.activation = nn.Conv2d(16, 120, 5), activation

    def forward(self, x):
        x = self.pool(torch.tanh(self.c3(self.pool(torch.tanh(self.c1(x))))))
        return self.output(torch.tanh(self.f6(self.activation(self.c5(x)).flatten(1))))


def test_c5_may_be_a_convolution_as_in_the_paper():
    assert ch00.exercises.lenet.check(C5AsConvolution).passed
    assert not ch00.exercises.lenet.check(lambda: C5AsConvolution(torch.relu)).passed


def test_lenet_of_the_page_is_the_packages():
    mine, theirs = ch00.MyLeNet(), build("lenet5", image_size=32)
    theirs.load_state_dict(mine.state_dict())
    images = torch.rand(4, 1, 32, 32)
    torch.testing.assert_close(mine(images), theirs(images))


def test_a_step_of_learning_as_on_the_page_is_sgd(cells):
    """The page's five lines by hand against torch.optim.SGD."""
    torch.manual_seed(0)
    by_hand, by_torch = nn.Linear(4, 3), nn.Linear(4, 3)
    by_torch.load_state_dict(by_hand.state_dict())
    x, y = torch.rand(5, 4), torch.tensor([0, 1, 2, 0, 1])
    source = cells["00-step"].source.split("losses = []\n")[1].split("show_results")[0]
    space = {"torch": torch, "F": F, "net": by_hand, "images": x, "labels": y, "losses": []}
    exec(source, space)
    optimizer = torch.optim.SGD(by_torch.parameters(), lr=0.1)
    for _ in range(50):
        optimizer.zero_grad()
        F.cross_entropy(by_torch(x), y).backward()
        optimizer.step()
    torch.testing.assert_close(by_hand.weight, by_torch.weight)


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
