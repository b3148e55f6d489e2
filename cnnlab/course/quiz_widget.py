"""Quiz and prediction in a notebook: one anywidget each, beside a Markdown twin.

The page sends `asked`, with a number `n`; the kernel answers with `shown`, which carries the `n`
back. So the page never holds an answer before it was chosen, and knows when the kernel is silent.
"""

from __future__ import annotations

from pathlib import Path

import anywidget
import traitlets

from cnnlab.course.errors import CourseError
from cnnlab.course.explorers.widget import widget_bundle
from cnnlab.course.look import BAD, GOOD, inline
from cnnlab.course.page import script


class QuizView(anywidget.AnyWidget):
    """The page's side of a quiz. `asked` {n, chosen} holds an option's index or None per question;
    `shown` {n, chosen, feedback (HTML), score} answers."""

    questions = traitlets.List().tag(sync=True)
    asked = traitlets.Dict({"n": 0, "chosen": []}).tag(sync=True)
    shown = traitlets.Dict().tag(sync=True)

    _esm = script(Path(__file__).with_name("quiz.js"))
    _css = Path(__file__).with_name("quiz.css")


class GuessView(anywidget.AnyWidget):
    """The page's side of a prediction. `asked` {n, value} is the guess; `shown` {n, value, line,
    refused} what is recorded, or why the guess was not."""

    page = traitlets.Dict().tag(sync=True)
    asked = traitlets.Dict({"n": 0}).tag(sync=True)
    shown = traitlets.Dict().tag(sync=True)

    _esm = script(Path(__file__).with_name("quiz_guess.js"))
    _css = Path(__file__).with_name("quiz.css")


def with_twin(
    view: anywidget.AnyWidget, text: str, markdown: str
) -> tuple[dict[str, object], dict[str, object]]:
    """Data and metadata of an output: the widget, and what it says where there is no kernel."""
    data, about = widget_bundle(view)
    return {**data, "text/plain": text, "text/markdown": markdown}, about


def quiz_view(quiz) -> QuizView:
    """The quiz's questions as a widget; `quiz` is a `cnnlab.course.quiz.Quiz`."""

    def shown(chosen: list[int | None], n: int = 0) -> dict[str, object]:
        answers = zip(quiz.questions, chosen)
        feedback = [_feedback(question, index) for question, index in answers]
        return {"n": n, "chosen": chosen, "feedback": feedback, "score": _score(quiz, chosen)}

    view = QuizView(
        questions=[
            {
                "text": f"{number}. {inline(question.text)}",
                "options": [inline(option.text) for option in question.options],
            }
            for number, question in enumerate(quiz.questions, 1)
        ],
        shown=shown([None] * len(quiz.questions)),
    )

    def answered(change: dict) -> None:
        chosen = change["new"]["chosen"]
        view.shown = shown(chosen, change["new"]["n"])
        if None not in chosen and quiz.record is not None:
            quiz.record(quiz.score(chosen), len(chosen))

    view.observe(answered, "asked")
    return view


def guess_view(prediction) -> GuessView:
    """A field for the guess; `prediction` is a `cnnlab.course.prediction.Prediction`."""

    def shown(n: int = 0, refused: str = "") -> dict[str, object]:
        return {"n": n, "value": prediction.value, "line": prediction.line(), "refused": refused}

    view = GuessView(
        page={
            "question": inline(prediction.question),
            "label": f"Your guess: {prediction.question}",
            "unit": prediction.unit,
            "number": isinstance(prediction.value, (int, float)),
        },
        shown=shown(),
    )

    def guessed(change: dict) -> None:
        value, refused = change["new"].get("value"), ""
        if isinstance(value, float) and value.is_integer():
            value = int(value)  # a browser knows no whole numbers
        try:
            prediction.change(value)
        except CourseError:
            kind = "number" if view.page["number"] else "word"
            refused = f"Write a {kind}; it need not be right."
        view.shown = shown(change["new"]["n"], refused)

    view.observe(guessed, "asked")
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
