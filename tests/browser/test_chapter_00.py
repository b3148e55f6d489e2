"""Chapter 00 in a real JupyterLab: the explorer answers to keys and clicks, the
quiz and the progress card know what the learner did."""

from __future__ import annotations

import re

import pytest

from tests.browser.harness import texts

EXPLORER = "lenet"
STEPS = "start digits tensor module puzzle predict train table where explorer quiz progress"
CELLS = [f"00-{step}" for step in STEPS.split()]


@pytest.fixture
def explorer(page):
    found = page.explorer("lenet")
    found.button("Reset").click()
    shown(found, "Digit 3, 4 right and 4 down", "6 maps of C1")
    return found


def shown(explorer, *words):
    """Wait for the picture whose label has these words; return it."""
    labels = "".join(f"[aria-label*='{text}']" for text in words)
    explorer.root.locator(f"svg{labels}").wait_for()
    return explorer.svg()


def test_the_sliders_choose_and_move_the_digit(page, explorer):
    explorer.press("ArrowRight", "digit", times=5)
    explorer.press("ArrowLeft", "moved right", times=3)
    explorer.press("End", "moved down")
    picture = shown(explorer, "Digit 8, 1 right and 8 down")
    # The answer below the bars is the class with the longest one.
    percent = [int(text[:-1]) for text in texts(picture) if text.endswith("%")]
    answer = int(re.search(r"read as (\d)<", picture).group(1))
    assert len(percent) == 10 and percent[answer] == max(percent)
    page.check()


def test_places_can_be_picked_by_key_and_by_click(page, explorer):
    explorer.pick("place").focus()
    page.page.keyboard.press("ArrowUp")
    shown(explorer, "4 right and 3 down")
    box = explorer.pick("place").bounding_box()
    cell = box["width"] / 9
    explorer.pick("place").click(position={"x": 7.5 * cell, "y": 0.5 * cell}, force=True)
    shown(explorer, "7 right and 0 down")
    page.check()


def test_an_untrained_network_answers_about_equally(page, explorer):
    explorer.control("layer").select_option("C3")
    trained = shown(explorer, "16 maps of C3")
    assert "C3: 16 maps of 10 x 10" in texts(trained)
    explorer.control("network").select_option("untrained")
    untrained = explorer.wait_change(trained)
    percent = [int(text[:-1]) for text in texts(untrained) if text.endswith("%")]
    assert len(percent) == 10 and max(percent) < 25 and min(percent) > 2
    page.check()


def test_the_quiz_answers_and_progress_is_kept(page):
    quiz = page.page.locator(".cnnlab-quiz")
    quiz.get_by_label("LeNet-5, because its filters expect neighbors").check()
    for label in (
        "In C5, its first linear layer",
        "Because evaluating on them takes too long",
        "It makes the weight smaller",
        "Count layer by layer, and see where the two differ",
    ):
        quiz.get_by_label(label).check()
    quiz.get_by_text("5 of 5 answered, 4 right").wait_for()
    page.run_cells(["00-progress"])
    card = page.cell("00-progress").inner_text()
    assert re.search(r"00\s+0 of 4\s+4 of 5\s+1", card), card
    page.check()
