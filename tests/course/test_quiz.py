"""Quizzes and predictions: one widget each, a Markdown twin, and options that give nothing away."""

import re
from importlib import import_module

import pytest

from cnnlab.course.lesson import chapters
from cnnlab.course.prediction import Prediction
from cnnlab.course.quiz import Option, Question, Quiz
from cnnlab.course.quiz_widget import guess_view, quiz_view

QUIZ = Quiz(
    Question("Which `k`?", (Option("three", "Yes, 3 < 4.", right=True), Option("four", "No."))),
    Question("And now?", (Option("a", "No, b."), Option("b", "Yes.", right=True))),
)


def choose(view, *chosen, n=1):
    view.set_state({"asked": {"n": n, "chosen": list(chosen)}})
    return view.shown


def test_quiz_answers_at_once_and_counts():
    kept = []
    view = quiz_view(QUIZ.bound(lambda right, total: kept.append((right, total))))
    assert view.shown["score"] == "0 of 2 answered, 0 right" and view.shown["feedback"] == ["", ""]
    shown = choose(view, 1, None, n=1)
    assert "Not quite." in shown["feedback"][0] and "No." in shown["feedback"][0]
    shown = choose(view, 0, None, n=2)
    assert "Right." in shown["feedback"][0] and "Yes, 3 &lt; 4." in shown["feedback"][0]
    assert shown["score"] == "1 of 2 answered, 1 right" and kept == [] and shown["n"] == 2
    assert choose(view, 0, 0, n=3)["score"] == "2 of 2 answered, 1 right" and kept == [(1, 2)]
    choose(view, 0, 1, n=4)
    assert kept[-1] == (2, 2)


def test_quiz_sends_no_answers_to_the_page():
    state = str(quiz_view(QUIZ).get_state())
    assert "Which <code>k</code>?" in state and "three" in state
    assert "Yes" not in state and "right': " not in state


def test_quiz_gives_nothing_away_without_a_kernel():
    data, _ = QUIZ._repr_mimebundle_()
    assert data["text/plain"] == "Quiz with 2 questions"
    assert "three" in data["text/markdown"] and "Yes" not in data["text/markdown"]
    assert "application/vnd.jupyter.widget-view+json" in data
    assert "text/html" not in data


# Predictions


@pytest.fixture
def kept():
    return []


@pytest.fixture
def guess(kept):
    def record(prediction, measured):
        kept.append((prediction.value, prediction.kept, measured))

    return Prediction("p", 50, "How <many>?", "%", 50, record)


def test_a_typed_guess_is_recorded_and_what_is_no_number_is_said(guess, kept):
    view = guess_view(guess)
    assert view.shown == {"n": 0, "value": 50, "line": "The default stands: 50 %", "refused": ""}
    view.set_state({"asked": {"n": 1, "value": 4.0}})
    assert view.shown["line"] == "Your prediction: 4 %" and kept == [(4, False, None)]
    assert type(guess.value) is int
    view.set_state({"asked": {"n": 2, "value": ""}})
    assert view.shown["refused"] == "Write a number; it need not be right." and guess.value == 4
    assert view.shown["n"] == 2 and len(kept) == 1
    view.set_state({"asked": {"n": 3, "value": 50}})
    assert view.shown["line"] == "The default stands: 50 %" and view.shown["refused"] == ""
    assert str(guess.reveal(51)).startswith("How <many>?\nThe default was 50 %; measured: 51 %.")


def test_a_prediction_has_a_twin(guess):
    data, _ = guess._repr_mimebundle_()
    assert data["text/plain"] == "How <many>?\nThe default stands: 50 %"
    assert "**How <many>?**" in data["text/markdown"] and "type your guess" in data["text/markdown"]
    assert "application/vnd.jupyter.widget-view+json" in data and "text/html" not in data
    assert "How &lt;many&gt;?" in guess_view(guess).page["question"]


# Every chapter's quiz


def questions():
    for chapter in chapters():
        quiz = import_module(f"cnnlab.course.exercises.ch{chapter}_quiz").quiz
        for number, question in enumerate(quiz.questions, 1):
            yield f"{chapter}, question {number}", question


def test_no_answer_says_twice_that_it_is_right():
    again = re.compile("(right|yes|correct|true)[^a-z]", re.IGNORECASE)
    found = [
        where
        for where, question in questions()
        for option in question.options
        if option.right and again.match(option.feedback)
    ]
    assert not found


def test_neither_length_nor_place_of_an_option_says_whether_it_is_right():
    longest, shortest, places, count, by_chapter = 0, 0, [0] * 4, 0, {}
    for where, question in questions():
        lengths = [len(option.text) for option in question.options]
        place = [option.right for option in question.options].index(True)
        right = lengths.pop(place)
        count += 1
        places[place] += 1
        longest += right > max(lengths)
        shortest += right < min(lengths)
        chapter = where[:2]
        by_chapter[chapter] = by_chapter.get(chapter, 0) + (right > max(lengths))
        assert right < 1.5 * max(lengths), f"{where}: the right option stands out"
    assert 0.1 * count <= longest <= 0.35 * count, f"longest in {longest} of {count}"
    assert 0.1 * count <= shortest <= 0.35 * count, f"shortest in {shortest} of {count}"
    assert max(places) <= 0.4 * count, places
    assert max(by_chapter.values()) <= 2, by_chapter
