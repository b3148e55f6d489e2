// The page of a prediction: the question and a field. Of its model it uses get, set, save_changes,
// on and off: "asked" {n, value} goes out, "shown" {n, value, line, refused} comes back.
const SILENCE = 4000;   // milliseconds without an answer until it is said
const LOST = "Not recorded: the kernel is busy, or it has stopped. "
  + "Then run the first cell and this one again.";

const make = (tag, name, parent, attributes = {}) => {
  const node = document.createElement(tag);
  if (name) node.className = name;
  for (const [key, value] of Object.entries(attributes)) node.setAttribute(key, value);
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
  const { question, label, unit, number } = model.get("page");
  const root = make("div", "cnnlab-quiz cnnlab-guess", el);
  const freeKeys = keepKeys(root);
  make("div", "cnnlab-question", root).innerHTML = question;
  const row = make("div", "cnnlab-row", root);
  const field = make("input", "", row, { type: number ? "number" : "text", step: "any",
    "aria-label": label });
  if (unit) make("span", "", row).textContent = unit;
  const line = make("div", "cnnlab-line", root, { "aria-live": "polite" });
  let asked = 0, silence = 0;
  const say = () => { line.textContent = LOST; };
  const show = () => {
    const { n, value, line: recorded, refused } = model.get("shown");
    if (n >= asked) clearTimeout(silence);
    if (field.getRootNode().activeElement !== field && !refused) field.value = value;
    line.textContent = refused || recorded;
  };
  field.addEventListener("change", () => {
    asked = (model.get("asked").n || 0) + 1;
    clearTimeout(silence);
    silence = setTimeout(say, SILENCE);
    const typed = field.value.trim();
    try {
      model.set("asked", { n: asked, value: number && typed !== "" ? +typed : typed });
      model.save_changes();
    } catch {   // a kernel known to be dead
      say();
    }
  });
  model.on("change:shown", show);
  show();
  return () => {
    freeKeys();
    model.off("change:shown", show);
    clearTimeout(silence);
  };
}
export default { render };
