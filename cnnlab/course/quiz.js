// The page of a quiz. Of its model it uses get, set, save_changes, on and off: fixed are
// "questions"; "asked" {n, chosen} goes out, "shown" {n, chosen, feedback, score} comes back.
const LOST = `No answer: ${STOPPED}`;
let quizzes = 0;

function render({ model, el }) {
  const root = make("div", "cnnlab-quiz", el);
  const freeKeys = keepKeys(root);
  const group = `cnnlab-quiz-${quizzes += 1}-${Math.random().toString(36).slice(2)}`;
  const chosen = [...model.get("shown").chosen];
  const requests = asking(model, () => { lost.textContent = LOST; });
  const answers = model.get("questions").map(({ text, options }, question) => {
    const fields = make("fieldset", "", root);
    make("legend", "", fields).innerHTML = text;
    options.forEach((option, index) => {
      const label = make("label", "", fields);
      const radio = make("input", "", label);
      make("span", "", label).innerHTML = option;
      radio.type = "radio";
      radio.name = `${group}-${question}`;
      radio.checked = chosen[question] === index;
      radio.addEventListener("change", () => {
        chosen[question] = index;
        requests.ask({ chosen: [...chosen] });
      });
    });
    return make("div", "", fields, { "aria-live": "polite" });
  });
  const score = make("div", "cnnlab-score", root);
  const lost = make("div", "cnnlab-lost", root, { "aria-live": "polite" });
  const show = () => {
    const shown = model.get("shown");
    if (requests.answered(shown.n)) lost.textContent = "";
    shown.feedback.forEach((html, question) => {
      if (answers[question].dataset.html === html) return;
      answers[question].dataset.html = html;
      answers[question].innerHTML = html;
    });
    score.textContent = shown.score;
  };
  model.on("change:shown", show);
  show();
  return () => {
    freeKeys();
    model.off("change:shown", show);
    requests.end();
  };
}
export default { render };
