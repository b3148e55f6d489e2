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
