"""A quiz as radio buttons, with feedback for the chosen option at once and the score below."""

from __future__ import annotations

from pathlib import Path

import anywidget
import traitlets

from cnnlab.course.look import BAD, GOOD, inline


class QuizView(anywidget.AnyWidget):
    """The page's side of a quiz. `chosen` holds an option's index or None per question; the
    kernel answers with `feedback` (HTML) and `score`, so the page never holds the answers."""

    questions = traitlets.List().tag(sync=True)
    chosen = traitlets.List().tag(sync=True)
    feedback = traitlets.List().tag(sync=True)
    score = traitlets.Unicode().tag(sync=True)

    _esm = Path(__file__).with_name("quiz.js")
    _css = Path(__file__).with_name("quiz.css")


def quiz_view(quiz) -> QuizView:
    """The quiz's questions as a widget; `quiz` is a `cnnlab.course.quiz.Quiz`."""
    empty = len(quiz.questions)
    view = QuizView(
        questions=[
            {
                "text": f"{number}. {inline(question.text)}",
                "options": [inline(option.text) for option in question.options],
            }
            for number, question in enumerate(quiz.questions, 1)
        ],
        chosen=[None] * empty,
        feedback=[""] * empty,
        score=_score(quiz, [None] * empty),
    )

    def answered(change: dict) -> None:
        chosen = change["new"]
        with view.hold_sync():
            view.feedback = [
                _feedback(question, index) for question, index in zip(quiz.questions, chosen)
            ]
            view.score = _score(quiz, chosen)
        if None not in chosen and quiz.record is not None:
            quiz.record(quiz.score(chosen), len(chosen))

    view.observe(answered, "chosen")
    return view


def _feedback(question, index: int | None) -> str:
    if index is None:
        return ""
    option = question.options[index]
    color, word = (GOOD, "Right.") if option.right else (BAD, "Not quite.")
    return (
        f'<div class="cnnlab-feedback" style="border-color:{color}"><b>{word}</b> '
        f"<span>{inline(option.feedback)}</span></div>"
    )


def _score(quiz, chosen: list[int | None]) -> str:
    done = sum(index is not None for index in chosen)
    return f"{done} of {len(chosen)} answered, {quiz.score(chosen)} right"
