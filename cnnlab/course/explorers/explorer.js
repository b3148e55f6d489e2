// The page of an explorer: labeled native inputs, the picture, the things to find.
//
// Of its model it uses get, set, save_changes, on and off, so anything that has them can be the
// kernel. Fixed is "page"; "asked" {n, steps} goes out, "shown" {svg, error, values, n} comes back,
// with the n of the last request that was answered. Only one request is under way at a time: what
// is moved meanwhile goes out together with the answer's arrival, so that nothing piles up.

const RESTED = 600;     // milliseconds without a key until the new picture is read aloud
const LOST = `No answer: ${STOPPED}`;

// Each control: its row in `parent`, and a function that shows a value from the kernel.
const CONTROLS = {
  slider({ label, min, max, step }, parent, ask) {
    const tied = make("label", "", parent);
    make("span", "cnnlab-name", tied).textContent = label;
    const limits = { min, max, step };
    const range = make("input", "", tied, { type: "range", ...limits });
    const typed = make("input", "", parent, { type: "number", "aria-label": `${label}, typed`,
      ...limits });
    const near = value => {
      const steps = Math.round((Math.min(Math.max(value, min), max) - min) / step);
      return +(min + steps * step).toFixed(6);
    };
    range.addEventListener("input", () => {
      typed.value = range.value;
      ask(+range.value);
    });
    typed.addEventListener("input", () => {   // 12 on the way to 128 is shown, 300 of 256 is not
      if (typed.value === "" || near(+typed.value) !== +typed.value) return;
      range.value = typed.value;
      ask(+typed.value);
    });
    typed.addEventListener("change", () => {
      const value = typed.value === "" ? +range.value : near(+typed.value);
      typed.value = value;
      if (value === +range.value) return;
      range.value = value;
      ask(value);
    });
    return value => {
      range.value = value;
      if (typed.getRootNode().activeElement !== typed) typed.value = value;
    };
  },
  choice({ label, options }, parent, ask) {
    const tied = make("label", "", parent);
    make("span", "cnnlab-name", tied).textContent = label;
    const select = make("select", "", tied);
    for (const text of options) make("option", "", select).textContent = text;
    select.addEventListener("change", () => ask(select.selectedIndex));
    return value => { select.selectedIndex = value; };
  },
  toggle({ label }, parent, ask) {
    const tied = make("label", "cnnlab-toggle", parent);
    const box = make("input", "", tied, { type: "checkbox" });
    make("span", "", tied).textContent = label;
    box.addEventListener("change", () => ask(box.checked));
    return value => { box.checked = value; };
  },
};

function render({ model, el }) {
  const { name, title, width, controls, find } = model.get("page");
  const root = make("div", `cnnlab-explorer cnnlab-${name}`, el);
  root.style.maxWidth = `${width}px`;
  const freeKeys = keepKeys(root);
  const head = make("div", "cnnlab-head", root);
  make("div", "cnnlab-title", head, { role: "heading", "aria-level": 3 }).innerHTML = title;
  const reset = make("button", "", head, { type: "button", title: "Back to the start" });
  reset.textContent = "Reset";
  const panel = make("div", "cnnlab-controls", root);
  const picture = make("div", "cnnlab-picture", root, { tabindex: -1 });
  const status = make("div", "cnnlab-error", root, { "aria-live": "polite" });
  const spoken = make("div", "cnnlab-spoken", root, { "aria-live": "polite" });
  if (find.length) {
    const found = make("div", "cnnlab-find", root);
    make("b", "", found).textContent = "Things to find";
    make("ol", "", found).innerHTML = find.map(item => `<li>${item}</li>`).join("");
  }

  // Asking and hearing

  let steps = [], waiting = 0, lost = false, silence = 0, rest = 0;
  const send = () => {
    picture.setAttribute("aria-busy", Boolean(waiting || steps.length));
    if (waiting || !steps.length) return;
    waiting = (model.get("asked").n || 0) + 1;
    silence = setTimeout(isLost, SILENCE);
    try {
      model.set("asked", { n: waiting, steps });
      model.save_changes();
    } catch {   // a kernel known to be dead
      isLost();
    }
    steps = [];
  };
  const ask = (...step) => {
    const last = steps[steps.length - 1];
    const again = last && step[0] === "set" && last[0] === "set" && last[1] === step[1];
    if (again) steps.pop();   // a slider on its way
    steps.push(step);
    send();
  };
  const isLost = () => { lost = true; say(); };

  // A sentence that already stands in the picture is not said twice.
  const say = () => {
    const { error } = model.get("shown");
    const drawn = error && picture.firstElementChild?.getAttribute("aria-label") === error;
    const text = lost ? LOST : drawn ? "Change a control, or press Reset." : error;
    if (status.textContent !== text) status.textContent = text;
    picture.classList.toggle("cnnlab-old", lost);
  };

  const longest = Math.max(0, ...controls.map(c => c.kind === "toggle" ? 0 : c.label.length));
  panel.style.setProperty("--cnnlab-name", `${Math.min(Math.ceil(longest * 0.85) + 1, 20)}ch`);
  const write = controls.map(control => {
    const row = make("div", "cnnlab-control", panel);
    return [control.name, CONTROLS[control.kind](control, row, v => ask("set", control.name, v))];
  });
  reset.addEventListener("click", () => ask("reset"));

  let ahead = { pick: "", at: "", when: 0 };   // where the arrow keys are, maybe before the kernel
  let drawn = "";
  const show = () => {
    const { svg, values, n } = model.get("shown");
    if (waiting && n >= waiting) {
      waiting = 0;
      lost = false;
      clearTimeout(silence);
    }
    const moving = new Set(steps.map(step => step[1]));
    if (!steps.some(step => step[0] === "reset"))
      for (const [name, put] of write) if (!moving.has(name)) put(values[name]);
    if (svg !== drawn) draw(svg);
    say();
    send();
  };

  const draw = svg => {
    const active = picture.getRootNode().activeElement;
    const held = picture.contains(active) ? active.dataset.pick : undefined;
    const first = !drawn;
    drawn = svg;
    picture.innerHTML = svg;
    if (held !== undefined) {
      const again = [...picture.querySelectorAll("[data-pick]")].find(p => p.dataset.pick === held);
      const recent = ahead.pick === held && Date.now() - ahead.when < 1000;
      if (again && recent) again.dataset.at = ahead.at;
      (again || picture).focus({ preventScroll: true });   // it may be gone: the place is kept
    }
    if (first) return;
    clearTimeout(rest);
    rest = setTimeout(() => {
      spoken.textContent = picture.firstElementChild?.getAttribute("aria-label") || "";
    }, RESTED);
  };

  // Parts of the picture to pick: [data-pick] is a button, with data-rows a grid of cells

  picture.addEventListener("click", event => {
    const target = event.target.closest("[data-pick]");
    if (!target) return;
    target.focus({ preventScroll: true });
    if (target.dataset.rows === undefined) return ask("pick", target.dataset.pick);
    const box = target.getBoundingClientRect();
    const rows = +target.dataset.rows, cols = +target.dataset.cols;
    const row = Math.floor((event.clientY - box.top) / box.height * rows);
    const col = Math.floor((event.clientX - box.left) / box.width * cols);
    const inside = (value, count) => Math.min(Math.max(value, 0), count - 1);
    ask("pick", [target.dataset.pick, inside(row, rows), inside(col, cols)].join(","));
  });

  picture.addEventListener("keydown", event => {
    const target = event.target.closest("[data-pick]");
    if (!target || event.ctrlKey || event.metaKey || event.altKey) return;
    const moves = { ArrowUp: [-1, 0], ArrowDown: [1, 0], ArrowLeft: [0, -1], ArrowRight: [0, 1] };
    const cells = target.dataset.rows !== undefined;
    const press = event.key === "Enter" || event.key === " ";
    if (!press && !(cells && moves[event.key])) return;
    event.preventDefault();
    if (!cells) return ask("pick", target.dataset.pick);
    const [row, col] = target.dataset.at.split(",").map(Number);
    const [down, right] = moves[event.key] || [0, 0];
    const next = [row + down, col + right];
    if (next[0] < 0 || next[0] >= +target.dataset.rows) return;
    if (next[1] < 0 || next[1] >= +target.dataset.cols) return;
    target.dataset.at = next.join(",");   // a held key moves on before the kernel has answered
    ahead = { pick: target.dataset.pick, at: target.dataset.at, when: Date.now() };
    ask("pick", [target.dataset.pick, ...next].join(","));
  });

  model.on("change:shown", show);
  show();
  return () => {
    freeKeys();
    model.off("change:shown", show);
    clearTimeout(silence);
    clearTimeout(rest);
  };
}
export default { render };
