// The page of a quiz. Of its model it uses get, set, save_changes, on and off: fixed are
// "questions"; "asked" {n, chosen} goes out, "shown" {n, chosen, feedback, score} comes back.
const SILENCE = 4000;   // milliseconds without an answer until it is said
const LOST = "No answer: the kernel is busy, or it has stopped. "
  + "Then run the first cell and this one again.";
let quizzes = 0;

const make = (tag, name, parent, html) => {
  const node = document.createElement(tag);
  if (name) node.className = name;
  if (html !== undefined) node.innerHTML = html;
  parent.append(node);
  return node;
};

// A front end reads arrows, Enter and letters as its own commands (b: a new cell). What a reader
// types here stays here; saving, running the cell and the like go on. JupyterLab listens as keys
// bubble up; Notebook 7 before they arrive, and lets an element with the attribute alone.
const isTheirs = event => event.altKey
  || (event.ctrlKey || event.metaKey) && !"acvxyz".includes(event.key.toLowerCase());
const keepKeys = root => {
  const mark = event => {
    const path = event.composedPath();
    if (path.includes(root))
      path[0].toggleAttribute("data-lm-suppress-shortcuts", !isTheirs(event));
  };
  window.addEventListener("keydown", mark, true);
  root.addEventListener("keydown", event => { if (!isTheirs(event)) event.stopPropagation(); });
  return () => window.removeEventListener("keydown", mark, true);
};

function render({ model, el }) {
  const root = make("div", "cnnlab-quiz", el);
  const freeKeys = keepKeys(root);
  const group = `cnnlab-quiz-${quizzes += 1}-${Math.random().toString(36).slice(2)}`;
  const chosen = [...model.get("shown").chosen];
  let asked = 0, silence = 0;
  const say = () => { lost.textContent = LOST; };
  const answers = model.get("questions").map(({ text, options }, question) => {
    const fields = make("fieldset", "", root);
    make("legend", "", fields, text);
    options.forEach((option, index) => {
      const label = make("label", "", fields);
      const radio = make("input", "", label);
      make("span", "", label, option);
      radio.type = "radio";
      radio.name = `${group}-${question}`;
      radio.checked = chosen[question] === index;
      radio.addEventListener("change", () => {
        chosen[question] = index;
        asked = (model.get("asked").n || 0) + 1;
        clearTimeout(silence);
        silence = setTimeout(say, SILENCE);
        try {
          model.set("asked", { n: asked, chosen: [...chosen] });
          model.save_changes();
        } catch {   // a kernel known to be dead
          say();
        }
      });
    });
    const answer = make("div", "", fields);
    answer.setAttribute("aria-live", "polite");
    return answer;
  });
  const score = make("div", "cnnlab-score", root);
  const lost = make("div", "cnnlab-lost", root);
  lost.setAttribute("aria-live", "polite");
  const show = () => {
    const shown = model.get("shown");
    if (shown.n >= asked) {
      clearTimeout(silence);
      lost.textContent = "";
    }
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
    clearTimeout(silence);
  };
}
export default { render };
