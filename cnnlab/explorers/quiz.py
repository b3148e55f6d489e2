"""A quiz as radio buttons, with feedback for the chosen option at once and the score below."""

from __future__ import annotations

import anywidget
import traitlets

from cnnlab.look import BAD, GOOD, inline


class QuizView(anywidget.AnyWidget):
    """The page's side of a quiz. `chosen` holds an option's index or None per question; the
    kernel answers with `feedback` (HTML) and `score`, so the page never holds the answers."""

    questions = traitlets.List().tag(sync=True)
    chosen = traitlets.List().tag(sync=True)
    feedback = traitlets.List().tag(sync=True)
    score = traitlets.Unicode().tag(sync=True)

    _esm = r"""
let quizzes = 0;
function make(tag, name, parent, html) {
  const node = document.createElement(tag);
  node.className = name;
  if (html !== undefined) node.innerHTML = html;
  parent.append(node);
  return node;
}
function render({ model, el }) {
  const root = make("div", "cnnlab-quiz", el);
  const group = `cnnlab-quiz-${quizzes += 1}`;
  const answers = model.get("questions").map(({ text, options }, question) => {
    const fields = make("fieldset", "", root);
    make("legend", "", fields, text);
    options.forEach((option, index) => {
      const label = make("label", "", fields);
      const radio = make("input", "", label);
      make("span", "", label, option);
      radio.type = "radio";
      // The arrows choose an option; JupyterLab would read them as a move to another cell.
      radio.setAttribute("data-lm-suppress-shortcuts", "true");
      radio.name = `${group}-${question}`;
      radio.checked = model.get("chosen")[question] === index;
      radio.addEventListener("change", () => {
        const chosen = [...model.get("chosen")];
        chosen[question] = index;
        model.set("chosen", chosen);
        model.save_changes();
      });
    });
    const answer = make("div", "", fields);
    answer.setAttribute("aria-live", "polite");
    return answer;
  });
  const score = make("div", "cnnlab-score", root);
  const show = () => {
    model.get("feedback").forEach((html, question) => {
      if (answers[question].innerHTML !== html) answers[question].innerHTML = html;
    });
    score.textContent = model.get("score");
  };
  model.on("change:feedback", show);
  model.on("change:score", show);
  show();
}
export default { render };
"""

    _css = """
.cnnlab-quiz { max-width: 720px; color: var(--jp-content-font-color1, inherit); line-height: 1.45;
  font-family: var(--jp-content-font-family, sans-serif); }
.cnnlab-quiz fieldset { border: 0; margin: 0 0 14px; padding: 0; min-width: 0; }
.cnnlab-quiz legend, .cnnlab-quiz .cnnlab-score { font-weight: 600; padding: 0; }
.cnnlab-quiz label { display: flex; gap: 8px; padding: 3px 0; cursor: pointer; }
.cnnlab-quiz input { flex: none; height: 1.45em; margin: 0 0 0 2px; accent-color: #0072b2; }
.cnnlab-quiz .cnnlab-feedback { border-left: 4px solid; padding: 2px 10px; margin-top: 2px; }
.cnnlab-quiz .cnnlab-feedback span { color: var(--jp-content-font-color1, inherit); }
"""


def quiz_view(quiz) -> QuizView:
    """The quiz's questions as a widget; `quiz` is a `cnnlab.exercises.frame.Quiz`."""
    empty = len(quiz.questions)
    view = QuizView(
        questions=[{"text": f"{number}. {inline(question.text)}",
                    "options": [inline(option.text) for option in question.options]}
                   for number, question in enumerate(quiz.questions, 1)],
        chosen=[None] * empty, feedback=[""] * empty, score=_score(quiz, [None] * empty))

    def answered(change: dict) -> None:
        chosen = change["new"]
        with view.hold_sync():
            view.feedback = [_feedback(question, index)
                             for question, index in zip(quiz.questions, chosen)]
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
    return (f'<div class="cnnlab-feedback" style="border-color:{color}"><b>{word}</b> '
            f"<span>{inline(option.feedback)}</span></div>")


def _score(quiz, chosen: list[int | None]) -> str:
    done = sum(index is not None for index in chosen)
    return f"{done} of {len(chosen)} answered, {quiz.score(chosen)} right"
