// The page of a prediction: the question and a field. Of its model it uses get, set, save_changes,
// on and off: "asked" {n, value} goes out, "shown" {n, value, line, refused} comes back.
const LOST = `Not recorded: ${STOPPED}`;

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
