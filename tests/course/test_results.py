"""Results: numbers with their spread and the claim they are held to."""

from __future__ import annotations

import re
from configparser import ConfigParser
from pathlib import Path

import numpy as np
import pytest
import torch

from cnnlab.course.errors import CourseError
from cnnlab.course.look import Card, measured, short
from cnnlab.course.results import result, show_results, show_table


def shown(capsys, *rows, title="Loss, three starts"):
    show_results(title, *rows)
    return capsys.readouterr().out


def test_a_row_shows_mean_range_claim_and_tick(capsys):
    out = shown(capsys, result("plain-56", [1.9, 2.2, 2.0], "nats", above=1.5))
    assert out.startswith("Loss, three starts\n")
    assert re.search(
        r"plain-56 +each above 1\.5\u00a0\u2713 +\u20392\.03 \(1\.9 to 2\.2\) nats\u203a", out
    )


def test_a_claim_that_fails_is_crossed_and_said(capsys):
    out = shown(capsys, result("a", [1.0, 2.0], above=1.5), result("b", 0.1, below=1))
    assert "each above 1.5\u00a0\u2717" in out and "below 1\u00a0\u2713" in out
    assert "Not as in the text: a." in out


@pytest.mark.parametrize(
    "values, claim, holds",
    [
        ([1.0, 2.0], {"above": 1.4, "on_average": True}, True),
        ([1.0, 2.0], {"above": 1.6, "on_average": True}, False),
        ([1.0, 2.0], {"above": 0.5, "below": 2.5}, True),
        ([1.0, 2.0], {"above": 0.5, "below": 2.0}, False),
        ([float("nan"), 2.0], {"above": 0.5}, False),
        ([float("nan")], {"below": 5}, False),
        ([1.0], {"above": 1.0}, False),
    ],
)
def test_the_claim_is_about_every_value_or_about_the_mean(values, claim, holds):
    assert result("x", values, **claim).holds is holds


@pytest.mark.parametrize(
    "values", [3.5, torch.tensor(3.5), np.float32(3.5), torch.full((2, 2), 3.5, requires_grad=True)]
)
def test_any_kind_of_number_is_taken(values):
    assert set(result("x", values).values) == {3.5}


@pytest.mark.parametrize("values", [[], "3", None, True, [1, "x"], [[]]])
def test_what_is_no_number_is_refused(values):
    with pytest.raises(CourseError, match="result 'x': got .*expected a number or several"):
        result("x", values)


def test_digits_show_on_which_side_of_the_bound_a_value_lies():
    assert "1.5004" in result("x", [1.5004, 3.0], above=1.5).said()
    assert "1.5004" not in result("x", [1.5004, 3.0], above=1.0).said()


def test_without_claims_there_is_no_column_for_them(capsys):
    out = shown(capsys, result("a", [1, 2]), result("b", 3))
    assert "claim" not in out and "\u20391.5 (1 to 2)\u203a" in out


@pytest.mark.parametrize("true", [np.bool_(True), torch.tensor(True)])
def test_a_truth_of_another_library_is_ticked(capsys, true):
    show_table("t", ("a",), (true,))
    assert capsys.readouterr().out.splitlines()[-1] == "\u2713"


def test_tables_align_numbers_and_tick_booleans(capsys):
    show_table(
        "AlexNet", ("layer", "weights", "right"), ("conv1", 34_848, True), ("x", None, False)
    )
    title, head, first, second = capsys.readouterr().out.splitlines()
    assert head == "layer  weights  right"
    assert first == "conv1   34,848  \u2713" and second == "x            -  \u2717"


def test_a_row_of_another_length_is_refused():
    with pytest.raises(CourseError, match="has 1 cells, the head 2; give one cell per column"):
        show_table("t", ("a", "b"), ("x",))
    with pytest.raises(CourseError, match="no row"):
        show_results("t")


def sanitized(text):
    """What nbval compares of a text: its own reading of the file."""
    rules = ConfigParser()
    rules.read(Path(__file__).parents[1] / "nbval_sanitize.cfg")
    for section in rules.sections():
        text = re.sub(rules.get(section, "regex"), rules.get(section, "replace"), text)
    return text


def test_measured_numbers_are_masked_and_claims_are_not(capsys):
    outs, pages = [], []
    for values, bound in (([1.9, 2.2], 1.5), ([1.6, 3.0], 1.5), ([1.6, 3.0], 1.4)):
        row = result("plain-56", values, above=bound)
        outs.append(sanitized(shown(capsys, row)))
        pages.append(sanitized(Card("note", "t", (), (("", "", ""), row.row())).to_html()))
    for texts in (outs, pages):
        assert texts[0] == texts[1] != texts[2] and "each above 1.5" in texts[0]
        assert "measured" in texts[0] and "1.9" not in texts[0]


def test_longer_numbers_move_nothing_that_is_compared(capsys):
    texts, pages = [], []
    for value in (3, 12345.678, float("nan")):
        show_table("t", ("a", "ms", "b"), ("x", measured(value), 1), ("long", measured(7), 22))
        texts.append(sanitized(capsys.readouterr().out))
        row = result("a", value, "ms")
        pages.append(sanitized(Card("note", "t", (), (("", "", ""), row.row())).to_html()))
    assert pages[0] == pages[1] == pages[2]
    assert texts[0] == texts[1] == texts[2] and "measured" in texts[0]


@pytest.mark.parametrize(
    "value, text",
    [
        (61706, "61,706"),
        (0.041, "0.041"),
        (1234567.8, "1,234,568"),
        (1.5e-7, "1.5e-07"),
        (2.0, "2"),
        (9999.7, "10,000"),
    ],
)
def test_short_numbers(value, text):
    assert short(value) == text and measured(text) == f"\u2039{text}\u203a"
