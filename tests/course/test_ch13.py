"""Chapter 13: its claims have their cells, its arithmetic is the trace's, its designs tell."""

from __future__ import annotations

import itertools
import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cnnlab.course import capstone, report
from cnnlab.course.budget import BUDGET, Costs, costs
from cnnlab.course.errors import CourseError
from cnnlab.course.exercises import ch13
from cnnlab.course.explorers.ch13_budget import DEPTHS, WIDTHS, budget, draw
from cnnlab.course.lesson import start
from cnnlab.course.logbook import Progress
from cnnlab.course.look import GOOD, PAPER, mix
from cnnlab.course.pictures.svg import label_of
from cnnlab.course.stored import stored
from cnnlab.models import count
from cnnlab.models.design import Design, network
from cnnlab.training import History
from cnnlab.training.history import Epoch
from tests.course.chapter import stored_cells, texts

# Every claim of the chapter: the cell that shows it, and what that cell's output must say.
CLAIMS = {
    "parameters fall in two steps of four": ("13-steps", "measured: 2 steps"),
    "depth rises": ("13-steps", "2017 densenet121 121 7,978,856"),
    "the first try is over budget": ("13-first", "Over budget: 4 of 4 limits broken"),
    "designs on one budget": ("13-references", "24 convolutions 39,191"),
    "24 convolutions lie far behind": (
        "13-depth",
        "9 convolutions ahead of 24 each above 15 \u2713",
    ),
    "skips give back": ("13-depth", "what skips give back to the 24 each above 8 \u2713"),
    "strides pay": ("13-depth", "early strides ahead of late ones, 9 each above 10 \u2713"),
    "separable saves all but memory": ("13-separable", "Over budget: 1 of 4 limits broken"),
}
STAGE = st.tuples(st.integers(1, 4), st.integers(1, 9), st.integers(1, 2))


@settings(max_examples=15, deadline=None)
@given(st.lists(STAGE, min_size=1, max_size=4), st.booleans())
def test_the_arithmetic_is_what_the_network_costs(stages, skips):
    convs, widths, strides = zip(*stages)
    assert costs(convs, widths, strides) == capstone.audit(
        network(Design(convs, widths, strides, skips))
    )


def test_the_costs_of_a_design_counted_by_hand():
    # 3x3 over 1 channel, 2 wide, 8 x 8 outputs: 18 weights, 4 of the norm; linear 2 x 10 + 10.
    # Kept: the image, the convolution's and the ReLU's output, mean and deviation, the average.
    kept = 4 * (256 + 2 * 2 * 64 + 4 + 2)
    assert costs((1,), (2,), (2,)) == Costs(18 + 4 + 30, 18 * 64 + 20, kept, 3)


def test_limits_are_limits():
    assert BUDGET.broken(BUDGET) == ()
    assert Costs(40_001, 500_000, 40_001, 30).broken(BUDGET) == ("params", "kept", "field")
    assert Costs(1, 1, 1, 99).broken(BUDGET) == ()


def test_skips_cost_nothing_and_other_plans_are_refused():
    plain = Design((4, 3), (4, 6), (1, 2))
    assert count(network(plain)) == count(network(Design((4, 3), (4, 6), (1, 2), True)))
    assert len([m for m in network(Design((4, 3), (4, 6), (1, 2), True)) if hasattr(m, "bn2")]) == 2
    for odd in (Design((1, 2), (4,), (1, 2)), Design((3), (4), (1)), Design((), (), ())):
        with pytest.raises(ValueError, match="one number for each stage"):
            network(odd)
    with pytest.raises(ValueError, match="an int of at least 1"):
        network(Design((1, 0), (4, 4), (1, 2)))


@pytest.mark.parametrize(
    "design, words",
    [
        (Design((101,), (1,), (16,)), "101 convolutions: the check looks at 100 at most"),
        (Design((12,), (10**9,), (2,)), "1,000,000,000 channels: the check looks at 10,000"),
        (Design((12,), (8,), (10**20,)), "as a stride: the check looks at 1,000 at most"),
        (Design((12,), (True,), (2,)), "every number must be an int of at least 1"),
        (Design((12,), (8.0,), (2,)), "every number must be an int of at least 1"),
        (Design("444", (8, 15, 30), (2, 2, 2)), "each take a tuple"),
    ],
)
def test_a_strange_design_is_told_what_it_is(design, words):
    assert words in ch13.exercises.deep.check(design).message


def test_a_design_may_be_written_with_a_range():
    assert ch13.exercises.deep.check(Design((4, 4, 4), range(8, 38, 10), (2, 2, 2))).passed


def test_the_five_designs_break_what_the_exercise_says():
    names = [costs(d.convs, d.widths, d.strides).broken(BUDGET) for d in ch13.FIVE]
    assert [name[0] if name else "none" for name in names] == list(ch13.exercises.broken.answer)
    assert all(len(name) < 2 for name in names)
    page = stored_cells("13")["13-ex-broken-text"].source
    for design in ch13.FIVE:
        row = (str(numbers)[1:-1] for numbers in (design.convs, design.widths, design.strides))
        assert " | ".join(row) in page


def test_no_design_of_width_16_that_sees_everything_is_cheaper():
    """Of all with up to eight convolutions in each of three stages, or three in each of four."""
    least = []
    for stages in (1, 2, 3, 4):
        for convs in itertools.product(range(1, 9 if stages < 4 else 4), repeat=stages):
            for strides in itertools.product((1, 2), repeat=stages):
                found = costs(convs, (16,) * stages, strides)
                if found.field >= BUDGET.field:
                    least.append((found.macs, convs, strides))
    assert min(least) == (57_760, ch13.CHEAPEST.convs, ch13.CHEAPEST.strides)


def test_the_audit_takes_any_module_and_refuses_what_it_cannot_know():
    from torch import nn

    with pytest.raises(CourseError, match="no convolution; a design needs at least one"):
        capstone.audit(nn.Sequential(nn.Flatten(), nn.Linear(256, 10)))
    card = capstone.show_audit(network(Design((1,), (2,), (1,))))
    assert card.title == "Over budget: 1 of 4 limits broken" and "at least 31 px" in str(card)


def test_stored_scores_are_of_the_references_on_the_page():
    space: dict = {}
    source = stored_cells("13")["13-references"].source
    exec(source[source.index("early =") : source.index("head =")], {"Design": Design}, space)
    found = stored("13", "scores")
    assert list(found.values) == list(space["references"])
    assert all(len(row) == len(found.seeds) >= 5 for row in found.values.values())
    for design in space["references"].values():
        assert not capstone.audit(network(design, 26)).broken(BUDGET)


# -- the explorer


def test_every_cell_of_the_landscape_says_what_breaks():
    words = texts(draw(2, 16, (1, 2, 2), True))
    assert words[0] == (
        "6 convolutions, 16, 32, 64 wide: breaks parameters, MACs, kept memory, field"
    )
    green = draw(3, 8, (2, 2, 2), True)
    assert "keeps all four limits" in texts(green)[0]
    fits = [
        (n, w)
        for n in DEPTHS
        for w in WIDTHS
        if not costs((n,) * 3, (w, 2 * w, 4 * w), (2, 2, 2)).broken(BUDGET)
    ]
    assert green.count(f'fill="{mix(PAPER, GOOD, 0.45)}"') == len(fits) > 15


def test_a_bar_that_ends_before_its_number_says_how_much_it_leaves_out():
    """16, 32, 64 wide, two each, computed by hand: 2,396,800 MACs are 4.8 times 500,000."""
    assert "2,396,800, at most 500,000: 4.8 times" in budget().svg
    within = draw(1, 2, (2, 2, 2), False)
    assert "at most 500,000<" in within and " times<" not in within


def test_a_click_takes_that_design():
    explorer = budget()
    explorer.answer({"n": 1, "steps": [["pick", "design,4,1"]]})
    assert (explorer.state["depth"], explorer.state["width"]) == (5, 4)
    explorer.set(width=7)  # between two columns
    assert "7, 14, 28 wide" in repr(explorer)
    assert 'data-rows="8" data-cols="12" data-at="4,2"' in explorer.svg


# -- the page to hand in


def history(losses):
    rows = [Epoch(i, 1.0, 0.5, loss, 1 - loss / 2, 0.1, 0.05) for i, loss in enumerate(losses, 1)]
    return History(epochs=rows)


def test_a_design_that_was_handed_in_stands_in_the_report(tmp_path):
    design = Design((1, 2), (4, 6), (2, 2))
    runs = {"as <designed>": [history([0.9, 0.5]), history([0.8, 0.3])], "wider": [history([1, 1])]}
    kept = capstone.record(str(design), network(design), runs)
    store = Progress(tmp_path)
    store.update("13", lambda done: done.update(design=kept))
    page, record = report.write_report(Progress(tmp_path), tmp_path)
    text = page.read_text(encoding="utf-8")
    for words in (
        "convs=(1, 2)",
        "as &lt;designed&gt;",
        "0.4 (0.3 to 0.5)",  # loss of the last epoch
        "80 (75 to 85) %",
        "BROKEN",  # it sees 13 pixels
        "at least 31 px",
        "data:image/svg+xml;base64,",
        "data:image/png;base64,",
    ):
        assert words in text, words
    again = json.loads(record.read_text())["chapters"]["13"]["design"]
    assert again["runs"]["wider"] == [{"loss": [1, 1], "right": [50.0, 50.0]}]


def test_starts_of_unequal_length_are_drawn_as_far_as_all_came(tmp_path):
    design = Design((1, 2), (4, 6), (2, 2))
    runs = {"mine": [history([0.9, 0.5, 0.4]), history([0.8, 0.3])]}
    kept = capstone.record(str(design), network(design), runs)
    assert "data:image/png;base64," in capstone.section(kept, report._table)
    assert capstone._as_far_as_all(kept["runs"]["mine"]) == [[0.9, 0.5], [0.8, 0.3]]


@pytest.mark.parametrize(
    "runs", [{}, {"mine": []}, {"mine": [History()]}, {1: [History()]}, {"mine": [], "other": []}]
)
def test_a_design_without_a_training_is_not_handed_in(runs):
    design = Design((1, 2), (4, 6), (2, 2))
    with pytest.raises(CourseError, match="at least one epoch; train first, then hand in"):
        capstone.record(str(design), network(design), runs)


def test_a_lesson_shows_all_guesses_and_hands_a_design_in(tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("CNNLAB_PROGRESS", str(tmp_path))
    monkeypatch.setenv("CNNLAB_SCALE", "quick")
    lesson = start("13")
    assert lesson.calibration() is None and "No guess of your own" in capsys.readouterr().out
    lesson.predict("falls", 3, "How many steps?", "steps", default=4).reveal(2)
    assert "typically off by a factor of 1.5" in label_of(lesson.calibration().svg)
    assert "You rate counts 1.5 times too high (1)." in capsys.readouterr().out
    design = Design((2, 1), (3, 4), (2, 2))
    lesson.hand_in(str(design), network(design), {"as designed": [history([0.5])]})
    lesson.report()
    assert "widths=(3, 4)" in (tmp_path / "report.html").read_text(encoding="utf-8")
