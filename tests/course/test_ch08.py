"""Chapter 08: its exercises are sound, its explorer counts right, its claims have their cells."""

from __future__ import annotations

import copy
import inspect
import re
from itertools import product
from math import comb

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from cnnlab.course.exercises import ch08, ch08_answers
from cnnlab.course.explorers.ch08_residual_paths import (
    MOST_BLOCKS,
    draw,
    gradient,
    paths,
    residual_paths,
    toggle,
)
from cnnlab.models import resnet
from cnnlab.trace.run import trace
from cnnlab.training.records import records
from tests.course.chapter import stored_cells, texts

START = {"blocks": 9, "gain": 0.6, "deleted": (5,)}
# Every claim of the chapter: the cell that shows it, and what that cell's output must say.
CLAIMS = {
    "one block less breaks a plain network": (
        "08-puzzle",
        "plain-20, one deleted each below 0.5 \u2713",
    ),
    "and hardly a residual one": ("08-puzzle", "ResNet-20, one deleted each above 0.6 \u2713"),
    "a skip costs no parameter, no MAC, nothing kept": (
        "08-blocks",
        "two 3x3 on 64, plain 73,984 231,211,008 4,015,104 1,605,632",
    ),
    "but x stays alive": (
        "08-blocks",
        "two 3x3 on 64, residual 73,984 231,211,008 4,015,104 2,408,448",
    ),
    "a bottleneck on 256 costs less than two 3x3 on 64": (
        "08-blocks",
        "bottleneck on 256 70,400 218,365,952",
    ),
    "ResNet-20: 0.27M": ("08-networks", "resnet20 269,722 40,551,040 0.27M 81"),
    "ResNet-56: 0.85M": ("08-networks", "resnet56 853,018"),
    "ResNet-110: 1.7M": ("08-networks", "resnet110 1,727,962"),
    "ResNet-18": ("08-networks", "resnet18 11,689,512 1,814,073,344 1.8G 435"),
    "ResNet-34": ("08-networks", "resnet34 21,797,672"),
    "ResNet-50 sees less than ResNet-18": (
        "08-networks",
        "resnet50 25,557,032 4,089,184,256 3.8G 427",
    ),
    "ResNet-101": ("08-networks", "resnet101 44,549,160"),
    "ResNet-152 has fewer MACs than VGG-16": (
        "08-networks",
        "resnet152 60,192,808 11,513,626,624 11.3G 1,451 vgg16 138,357,544 15,470,264,320",
    ),
    "degradation: plain-56 does not learn, within the budget": (
        "08-train",
        "plain-56 each above 1.4 \u2713",
    ),
    "20 and 56, residual: both learn": ("08-train", "ResNet-56 each below 0.3 \u2713"),
    "a vanished gradient stays vanished without skips": (
        "08-roads-show",
        "no skips each below 1e-20 \u2713",
    ),
    "and with a sigmoid on the main road": (
        "08-roads-show",
        "skips, a sigmoid on the main road each below 1e-10 \u2713",
    ),
    "a free main road brings it back": (
        "08-roads-show",
        "skips, sigmoids in the branches each above 0.001 \u2713",
    ),
    "short paths carry the gradient": (
        "08-by-length",
        "mean length of its paths each above 1 and below 9 \u2713",
    ),
    "the longer half brings next to nothing": (
        "08-by-length",
        "share brought by paths of 14 blocks and more each below 0.02 \u2713",
    ),
    "delete one block of a ResNet: little happens": (
        "08-delete",
        "ResNet-56 without its median block each above 0.75 \u2713",
    ),
    "delete one of plain-20": (
        "08-delete",
        "plain-20 without its median block each below 0.5 \u2713",
    ),
    "no ensemble of independent networks": (
        "08-delete",
        "ResNet-56 without every second block each below 0.6 \u2713",
    ),
    "zero-init and pre-activation at 110 layers": (
        "08-deep-show",
        "zero-init / first paper, 110 below 0.9 \u2713",
    ),
    "at 56 layers zero-init only costs time": (
        "08-deep-show",
        "zero-init / first paper, 56 above 1.2 \u2713",
    ),
}


@pytest.fixture(scope="module")
def cells():
    return stored_cells("08")


# Exercises


def test_projections_cost_what_the_model_says():
    a, b = (
        sum(p.numel() for p in resnet.resnet56(shortcut=shortcut).parameters())
        for shortcut in ("padding", "projection")
    )
    assert ch08.exercises.projections.answer == b - a
    assert ch08.exercises.paths.answer == sum(paths(9, 3))
    note = ch08.exercises.projections.note
    assert f"{b - a:,}" in note and f"{a:,}" in note and 0.003 < (b - a) / a < 0.0035


def test_the_written_block_is_the_models():
    for shape in ((8, 8, 1), (8, 16, 2)):
        mine, theirs = ch08_answers.ResidualBlock(*shape), resnet.BasicBlock(*shape)
        mine.load_state_dict(theirs.state_dict())
        x = torch.randn(2, 8, 6, 6)
        assert torch.equal(mine(x), theirs(x))


def test_the_stub_on_the_page_is_no_attempt_yet(cells):
    space = {"nn": nn, "F": F}
    exec(cells["08-ex-residual-block"].source.split("ex.")[0], space)
    assert ch08.exercises.residual_block.judge(space["ResidualBlock"]).status == "not attempted"


def test_the_recorded_twenties_are_those_of_the_page(cells):
    named = {record["name"]: record["runs"][0]["test_accuracy"] for record in records()}
    plain, residual = named["plain20-fashion-20"], named["resnet20-fashion-20"]
    assert f"plain-20 read {plain:.2%} of the test images right, ResNet-20 {residual:.2%}" in (
        cells["08-train-after"].source
    )


def test_the_receptive_field_of_the_papers_form():
    """The page says 483 pixels, with the stride on the 1x1."""
    with torch.device("meta"):
        paper = trace(resnet.resnet50(stride_on="1x1"), (3, 224, 224))
    assert paper["layer4"].receptive_field[0] == 483


def test_the_split_of_the_gradient_is_exact(cells):
    """by_length of the page: its parts add up to what backward finds."""
    source = cells["08-by-length"].source.split("shares =")[0]
    source = source.replace("return (squares / squares.sum()).tolist()", "return sum(parts)")
    images, labels = torch.rand(6, 1, 8, 8), torch.arange(6)
    space = {"torch": torch, "F": F, "deepcopy": copy.deepcopy, "images": images, "labels": labels}
    exec(source, space)
    torch.manual_seed(0)
    net = resnet.resnet20(in_channels=1, stage_widths=(4, 8, 16)).eval()
    x = net.relu(net.bn1(net.conv1(images))).detach().requires_grad_()
    y = net.layer3(net.layer2(net.layer1(x)))
    loss = F.cross_entropy(net.fc(net.avgpool(y).flatten(1)), labels)
    whole = torch.autograd.grad(loss, x)[0]
    torch.testing.assert_close(space["by_length"](net), whole, rtol=1e-3, atol=1e-5)


@pytest.mark.parametrize(
    "cell, name, exercise, words",
    [
        ("08-ex-only-grows", "Block", "only_grows", "Still the ReLU at the end of the branch"),
        ("08-ex-in-place", "PreBlock", "in_place", "the in-place ReLU writes into x"),
    ],
)
def test_the_buggy_block_in_the_notebook_is_the_diagnosed_one(cells, cell, name, exercise, words):
    space = {"nn": nn, "F": F}
    exec(cells[cell].source.split("Repaired")[0], space)
    verdict = getattr(ch08.exercises, exercise).check(space[name])
    assert verdict.status == "wrong" and words in verdict.message


def test_the_repaired_block_is_the_models():
    mine, theirs = ch08_answers.Block(8), resnet.BasicBlock(8, 8)
    mine.load_state_dict(theirs.state_dict())
    x = torch.randn(2, 8, 6, 6)
    assert torch.equal(mine(x), theirs(x))


class NotAModule:
    pass


class NoNorm(nn.Module):
    def __init__(self, channels):
        super().__init__()

    def forward(self, x):
        return x


class OnlyShrinks(ch08_answers.Block):
    def forward(self, x):
        y = F.relu(self.bn1(self.conv1(x)))
        return F.relu(x - F.relu(self.bn2(self.conv2(y))))


class NoReluBetween(ch08_answers.Block):
    def forward(self, x):
        return F.relu(x + self.bn2(self.conv2(self.bn1(self.conv1(x)))))


class OnlyShortcut(ch08_answers.Block):
    def forward(self, x):
        return x


class PreOnlyShortcut(ch08_answers.PreBlock):
    def forward(self, x):
        return x


class PreNoNorm(ch08_answers.PreBlock):
    def forward(self, x):
        return x + self.conv2(self.relu(self.conv1(self.relu(x))))


class PreNoSecondRelu(ch08_answers.PreBlock):
    def forward(self, x):
        return x + self.conv2(self.bn(self.conv1(self.relu(x))))


class NoReturn(ch08_answers.PreBlock):
    def forward(self, x):
        x + 1


class NoParameter(nn.Module):
    pass


@pytest.mark.parametrize(
    "exercise, answer, words",
    [
        ("only_grows", OnlyShrinks, "not fulfilled: some outputs lie above their inputs"),
        ("only_grows", NoReluBetween, "the ReLU between the two convolutions is gone"),
        ("only_grows", OnlyShortcut, "not fulfilled: some outputs lie"),
        ("in_place", PreOnlyShortcut, "not fulfilled: the branch adds something"),
        ("in_place", PreNoNorm, "not fulfilled: the batch norm is used"),
        ("in_place", PreNoSecondRelu, "not fulfilled: conv2 reads nothing below zero"),
        ("in_place", NoReturn, "forward gives None, expected a tensor: is the `return` missing?"),
        ("only_grows", NoParameter, "NoParameter cannot be built or run as the exercise does"),
        ("only_grows", resnet.BasicBlock(8, 8), "give the class itself"),
        ("only_grows", NotAModule, "give the class itself"),
        ("only_grows", NoNorm, "no Conv2d left"),
        ("in_place", NoNorm, "no Conv2d left"),
        ("budget", [(9, 16)], "give three stages"),
        ("budget", [(9, 16), (9, 32), (9, 6.4)], "two whole numbers from 1, got (9, 6.4)"),
        ("budget", [(9, 32), (9, 16), (9, 64)], "widths (32, 16, 64) shrink"),
        ("budget", [(200, 8), (9, 16), (9, 64)], "far beyond the budget"),
        (
            "budget",
            [(8, 8), (8, 32), (2, 64)],
            "not fulfilled: at least 50 layers: 2 per block, the stem, the linear layer, got 38",
        ),
        ("budget", [(14, 8), (9, 16), (2, 32)], "not fulfilled: the last stage"),
    ],
)
def test_blocks_and_budgets_say_what_is_missing(exercise, answer, words):
    verdict = getattr(ch08.exercises, exercise).check(answer)
    assert verdict.status == "wrong" and words in verdict.message


def test_numbers_in_the_budgets_messages():
    assert sum(p.numel() for p in resnet.BasicBlock(64, 64).parameters() if p.ndim > 1) == 73_728
    assert round(trace(resnet.BasicBlock(8, 8), (8, 32, 32)).macs / 1e6, 1) == 1.2
    assert ch08.exercises.budget.check([(12, 12), (10, 24), (2, 64)]).passed


# Explorer


def test_explorer_shows_the_start():
    svg = draw(**START)
    shown = texts(svg)
    for text in (
        "256 of 512 paths left",
        "its 1 path is broken",
        "number of paths, highest bar 126",
        "256 of 512 paths left: 0.5 of the paths, 0.735 of the gradient.",
    ):
        assert text in shown
    assert svg.count('data-pick="residual ') == svg.count('data-pick="plain ') == 9
    assert draw(**START) == svg
    # What takes the click lies above the number of its block.
    assert re.search(r'>5</text><rect [^>]*data-pick="plain 5"', svg)


@pytest.mark.parametrize("blocks", [1, 4, 6])
def test_paths_are_those_that_can_be_listed(blocks):
    for deleted in range(blocks + 1):
        gone = set(range(deleted))
        found = [0] * (blocks + 1)
        for choice in product((0, 1), repeat=blocks):  # 1: through the branch
            if not any(choice[block] for block in gone):
                found[sum(choice)] += 1
        assert paths(blocks, deleted) == found
        assert sum(found) == 2 ** (blocks - deleted)


def test_the_gradient_is_that_of_random_branches():
    """Mean square of every part of a product of (1 + random matrix), against the closed form."""
    blocks, gain, width, draws = 4, 0.7, 64, 200
    generator = torch.Generator().manual_seed(0)
    energy = torch.zeros(blocks + 1)
    for _ in range(draws):
        parts = [torch.nn.functional.normalize(torch.randn(width, generator=generator), dim=0)]
        for _ in range(blocks):
            branch = gain * torch.randn(width, width, generator=generator) / width**0.5
            through = [branch @ part for part in parts]
            parts = [
                a + b for a, b in zip([*parts, torch.zeros(width)], [torch.zeros(width), *through])
            ]
        energy += torch.stack([part.square().sum() for part in parts]) / draws
    expected = torch.tensor(gradient(blocks, 0, gain)) * (1 + gain**2) ** blocks
    torch.testing.assert_close(energy, expected, rtol=0.1, atol=0.02)
    assert sum(gradient(blocks, 0, gain)) == pytest.approx(1)


def test_what_there_is_to_find():
    kept = [sum(gradient(9, deleted, 0.6)) for deleted in range(3)]
    assert kept[1] / kept[0] == pytest.approx(kept[2] / kept[1]) == pytest.approx(1 / 1.36)
    assert "weighted by the gradient it brings 3.72" in texts(draw(27, 0.4, ()))[-1]
    assert all("brings 3.72" not in texts(draw(27, gain, ()))[-1] for gain in (0.3, 0.5))
    assert sum(gradient(27, 1, 0.2)) > 0.95
    strong = gradient(9, 0, 2.0)
    assert sum(gradient(9, 1, 2.0)) == pytest.approx(0.2) and strong.index(max(strong)) >= 7


def test_a_click_deletes_and_restores_and_the_plain_chain_follows():
    explorer = residual_paths()
    explorer.answer({"n": 1, "steps": [["pick", "plain 2"]]})
    assert explorer.state["deleted"] == (2, 5)
    # As in the experiment: around a deleted block of a plain chain its input is passed on.
    assert "what a deleted block got is passed on" in explorer.svg
    assert len(re.findall(r'<path d="M\S+ 208V\S+H\S+V208"', explorer.svg)) == 2
    assert "128 of 512 paths left" in explorer.svg
    explorer.answer({"n": 2, "steps": [["pick", "residual 5"]]})
    explorer.answer({"n": 3, "steps": [["pick", "residual 2"]]})
    assert explorer.state["deleted"] == ()
    assert "1 of 1 path left" in texts(explorer.svg)
    explorer.reset()
    assert explorer.svg == draw(**START)
    assert toggle({"deleted": (1,)}, "plain 12") == {"deleted": (1, 12)}


def test_blocks_beyond_the_last_do_not_count():
    explorer = residual_paths()
    explorer.set(blocks=4)
    assert "16 of 16 paths left" in texts(explorer.svg)
    explorer.set(blocks=9)
    assert explorer.svg == draw(**START)


@pytest.mark.parametrize("state", [{"blocks": 0}, {"blocks": 28}, {"gain": 0.0}, {"deleted": (0,)}])
def test_an_impossible_state_is_a_sentence(state):
    with pytest.raises(ValueError, match="expected 1 to 27 blocks, numbered from 1, and a gain"):
        draw(**{**START, **state})


def test_every_number_of_blocks_is_a_picture():
    for blocks in range(1, MOST_BLOCKS + 1):
        for gain in (0.1, 2.0):
            shown = texts(draw(blocks, gain, range(1, blocks + 1, 2)))
            left = 2 ** (blocks // 2)
            assert any(text.startswith(f"{left:,} of {2**blocks:,} path") for text in shown)
    assert max(paths(MOST_BLOCKS)) == comb(27, 13)


def test_draw_takes_what_the_controls_give():
    assert set(inspect.signature(draw).parameters) == set(residual_paths().state) == set(START)
    assert residual_paths().state == START
