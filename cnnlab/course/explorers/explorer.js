function render({ model, el }) {
  const picture = document.createElement("div");
  const error = document.createElement("div");
  const spoken = document.createElement("div");
  picture.className = "cnnlab-picture";
  error.className = "cnnlab-error";
  spoken.className = "cnnlab-spoken";
  for (const line of [error, spoken]) line.setAttribute("aria-live", "polite");
  el.append(picture, error, spoken);
  let timer = 0;
  let ahead = { pick: "", at: "", when: 0 };   // where the arrow keys are, maybe before the kernel

  // JupyterLab reads arrows, Enter and letters as its own commands (b: a new cell) unless the very
  // element in focus says otherwise.
  const ownKeys = node => node.setAttribute("data-lm-suppress-shortcuts", "true");

  // ipywidgets shows a slider's label but does not tie it to the handle.
  const tendControls = () => {
    const explorer = el.closest(".cnnlab-explorer");
    if (!explorer) {   // not on the page yet: a slow machine
      timer = setTimeout(tendControls, 300);
      return;
    }
    explorer.querySelectorAll("input, select, button, [role=slider]").forEach(ownKeys);
    for (const handle of explorer.querySelectorAll("[role=slider]:not([aria-label])")) {
      const label = handle.closest(".jupyter-widgets")?.querySelector(".widget-label");
      if (label) handle.setAttribute("aria-label", label.textContent);
    }
  };

  // A sentence that already stands in the picture is not said twice.
  const complain = () => {
    const text = model.get("error");
    const shown = text && picture.firstElementChild?.getAttribute("aria-label") === text;
    error.textContent = shown ? "Change a control, or press Reset." : text;
  };

  const draw = () => {
    const active = picture.getRootNode().activeElement;
    const held = picture.contains(active) ? active.dataset.pick : undefined;
    picture.innerHTML = model.get("svg");
    complain();
    picture.querySelectorAll("[data-pick]").forEach(ownKeys);
    const svg = picture.firstElementChild;
    if (!svg) return;
    if (held !== undefined) {
      const again = [...picture.querySelectorAll("[data-pick]")].find(p => p.dataset.pick === held);
      const recent = ahead.pick === held && Date.now() - ahead.when < 1000;
      if (again && recent) again.dataset.at = ahead.at;
      if (again) again.focus({ preventScroll: true });
    }
    // Read the new picture aloud once the keys rest, not at every step.
    clearTimeout(timer);
    timer = setTimeout(() => {
      spoken.textContent = svg.getAttribute("aria-label") || "";
      tendControls();
    }, 600);
  };

  const send = key => {
    model.set("picked", { key, n: (model.get("picked").n || 0) + 1 });
    model.save_changes();
  };

  picture.addEventListener("click", event => {
    const target = event.target.closest("[data-pick]");
    if (!target) return;
    target.focus({ preventScroll: true });
    if (target.dataset.rows === undefined) return send(target.dataset.pick);
    const box = target.getBoundingClientRect();
    const rows = +target.dataset.rows, cols = +target.dataset.cols;
    const row = Math.floor((event.clientY - box.top) / box.height * rows);
    const col = Math.floor((event.clientX - box.left) / box.width * cols);
    const inside = (value, count) => Math.min(Math.max(value, 0), count - 1);
    send([target.dataset.pick, inside(row, rows), inside(col, cols)].join(","));
  });

  picture.addEventListener("keydown", event => {
    const target = event.target.closest("[data-pick]");
    if (!target || event.ctrlKey || event.metaKey || event.altKey) return;
    const moves = { ArrowUp: [-1, 0], ArrowDown: [1, 0], ArrowLeft: [0, -1], ArrowRight: [0, 1] };
    const cells = target.dataset.rows !== undefined;
    const press = event.key === "Enter" || event.key === " ";
    if (!press && !(cells && moves[event.key])) return;
    event.preventDefault();
    event.stopPropagation();
    if (!cells) return send(target.dataset.pick);
    const [row, col] = target.dataset.at.split(",").map(Number);
    const [down, right] = moves[event.key] || [0, 0];
    const next = [row + down, col + right];
    if (next[0] < 0 || next[0] >= +target.dataset.rows) return;
    if (next[1] < 0 || next[1] >= +target.dataset.cols) return;
    target.dataset.at = next.join(",");   // a held key moves on before the kernel has answered
    ahead = { pick: target.dataset.pick, at: target.dataset.at, when: Date.now() };
    send([target.dataset.pick, ...next].join(","));
  });

  model.on("change:svg", draw);
  model.on("change:error", complain);
  draw();
  return () => clearTimeout(timer);
}
export default { render };
