"""A short form of the fuzz of the judge, and two holes that it must find."""

import pytest
import torch
from torch import nn

from cnnlab.course.exercises import ch02
from cnnlab.course.exercises.exercise import Exercise
from tests.tools.fuzz_judge import _same_module, can_be_fuzzed, exercises, fuzz
from tests.tools.fuzz_styles import faults

CASES = [case for case in exercises() if can_be_fuzzed(*case[::-1])]


@pytest.mark.parametrize("chapter, exercise", CASES, ids=lambda x: getattr(x, "name", x))
def test_no_wrong_pass_and_no_right_answer_refused(chapter, exercise):
    report = fuzz(exercise, 2, chapter)
    assert (report.wrong_passes, report.refused, report.unjudged) == ([], [], [])


@pytest.mark.parametrize(
    "name", ["00.c3_weights", "02.stem", "10.guessing", "05.largest_batch", "02.dilations"]
)
def test_right_in_another_style_passes_and_what_hangs_or_leaves_does_not(name):
    (exercise,) = (e for chapter, e in exercises() if f"{chapter}.{e.name}" == name)
    slow = ("never ends", "gives ", "asks for exactness")
    tried, wrong = faults(exercise, lambda style: not style.startswith(slow))
    assert tried > 25 and wrong == []


def test_a_module_must_work_in_train_and_in_evaluation_and_keep_its_input():
    styles = ("wrapped", "prints in forward", "works in train only", "works in eval only")
    styles += ("spoils its input", "gives float64", "cuts the graph", "leaves Python in forward")
    tried, wrong = faults(ch02.exercises.block, lambda style: style in styles)
    assert (tried, wrong) == (len(styles), [])


def size(pixels, kernel, stride):
    return (pixels - kernel) // stride + 1


class Branch(nn.Module):
    def __init__(self, channels):
        super().__init__()
        self.conv = nn.Conv2d(channels, channels, 3, padding=1)

    def forward(self, x):
        return torch.relu(self.conv(x))


def test_a_planted_hole_in_the_cases_is_found():
    """All strides are 1: whoever forgets the stride passes."""
    options = {"cases": ((9, 3, 1),), "hints": ("h",), "note": "n"}
    holed = Exercise("holed", "t", "implement", 1, size, **options)

    def truth(one, other):
        try:
            return all(one(9, 3, s) == other(9, 3, s) for s in (1, 2, 3))
        except Exception:
            return False

    assert fuzz(holed, 150, truth=truth).wrong_passes


def test_a_planted_hole_in_what_is_observed_is_found():
    """Only shapes and parameters: whoever drops the ReLU passes."""

    def observe(answer):
        model = answer(4)
        out = model(torch.zeros(1, 4, 6, 6))
        return {"shape": tuple(out.shape), "parameters": sum(p.numel() for p in model.parameters())}

    holed = Exercise("holed", "t", "implement", 1, Branch, observe=observe, hints=("h",), note="n")
    found = fuzz(holed, 60, truth=lambda a, b: _same_module(a, b, (4,), (1, 4, 6, 6)))
    assert any("_same(self.conv(x))" in text for text in found.wrong_passes)
