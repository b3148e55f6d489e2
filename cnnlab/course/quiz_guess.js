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
  const requests = asking(model, () => { line.textContent = LOST; });
  const show = () => {
    const { n, value, line: recorded, refused } = model.get("shown");
    requests.answered(n);
    if (field.getRootNode().activeElement !== field && !refused) field.value = value;
    line.textContent = refused || recorded;
  };
  field.addEventListener("change", () => {
    const typed = field.value.trim();
    requests.ask({ value: number && typed !== "" ? +typed : typed });
  });
  model.on("change:shown", show);
  show();
  return () => {
    freeKeys();
    model.off("change:shown", show);
    requests.end();
  };
}
export default { render };
