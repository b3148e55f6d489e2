"""Quizzes: questions with options, one of them right, and feedback for every choice."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from cnnlab.course.errors import CourseError


@dataclass(frozen=True)
class Option:
    """One option of a question; `feedback` is shown when it is chosen."""

    text: str
    feedback: str
    right: bool = False


@dataclass(frozen=True)
class Question:
    """A question of the quiz: its text and two or more options, exactly one of them right."""

    text: str
    options: tuple[Option, ...]

    def __post_init__(self) -> None:
        right = sum(option.right for option in self.options)
        if len(self.options) < 2 or right != 1:
            raise CourseError(
                f"question {self.text!r} has {len(self.options)} options, {right} "
                "of them right; give at least two, exactly one of them right=True"
            )
        if not all(option.feedback for option in self.options):
            raise CourseError(f"question {self.text!r}: every option needs its feedback")


class Quiz:
    """Questions answered with radio buttons, feedback at once, and a score."""

    def __init__(self, *questions: Question, record: Callable[[int, int], None] | None = None):
        self.questions = questions
        self.record = record

    def bound(self, record: Callable[[int, int], None]) -> Quiz:
        """The same quiz; `record(right, total)` is called when the last question is answered."""
        return Quiz(*self.questions, record=record)

    def __len__(self) -> int:
        return len(self.questions)

    def score(self, answers: Sequence[int | None]) -> int:
        """Number of right answers; `answers` holds an option's index, or None, per question."""
        if len(answers) != len(self.questions):
            raise CourseError(
                f"got {len(answers)} answers for {len(self.questions)} questions; "
                "give one per question, None for an open one"
            )
        return sum(
            question.options[chosen].right
            for question, chosen in zip(self.questions, answers)
            if chosen is not None
        )

    def to_markdown(self) -> str:
        """Questions and options for readers without a kernel, without the answers."""
        blocks = []
        for number, question in enumerate(self.questions, 1):
            letters = "abcdefgh"
            options = "\n".join(
                f"   - {letters[i]}) {option.text}" for i, option in enumerate(question.options)
            )
            blocks.append(f"{number}. **{question.text}**\n{options}")
        return "\n".join(blocks) + "\n\n*Run the cell to answer and to get feedback.*"

    def __repr__(self) -> str:
        return f"Quiz with {len(self.questions)} question{'s' * (len(self.questions) != 1)}"

    def _display_(self):
        """marimo shows a single widget."""
        from cnnlab.course.quiz_widget import quiz_view

        return quiz_view(self)

    def _repr_mimebundle_(self, include=None, exclude=None):
        from cnnlab.course.quiz_widget import quiz_view, with_twin  # widgets only when shown

        return with_twin(quiz_view(self), repr(self), self.to_markdown())
