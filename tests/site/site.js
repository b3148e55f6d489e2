// What the pages of the site do: explorers move, quizzes and predictions answer, exercises are
// checked, progress is kept in this browser; search, light and dark. Without it all can be read.
//
// explorer.js, quiz.js and quiz_guess.js are the very files of the notebooks, in `cnnlab`. Their
// model is `model` below; behind it stands, for explorers and exercises, Python in a worker.

const FORMAT = 2;   // of the logbook (cnnlab/course/logbook.py)
const KEY = "cnnlab-progress", CHOSEN = "cnnlab-chosen-", DRAFT = "cnnlab-draft-";
const LOADING = "Loading Python into this page, once: 12 MB from this site. What you move is kept.";
const STAYS = " The pictures stay as they are; in JupyterLab everything moves.";
const REASONS = {
  file: "This page was opened as a file, and a browser loads no Python into those; read it from a "
    + "web server (python -m http.server in its folder)." + STAYS,
  old: "This browser has no WebAssembly, so there is no Python in it." + STAYS,
  blocked: "Python could not be loaded into this page: the browser, or what guards it, does not "
    + "let it." + STAYS,
  silent: "Python gave no answer and was stopped: does a loop ever end? The next change starts it "
    + "anew.",
};
const SECONDS = { load: 120, moved: 20, run: 20 };

const all = (selector, root = document) => [...root.querySelectorAll(selector)];
const own = (node, kind) => {
  const found = node.querySelector(`script.${kind}`);
  return found && JSON.parse(found.textContent);
};
const element = (tag, parent, text = "", attributes = {}) => {
  const node = document.createElement(tag);
  node.textContent = text;
  for (const [key, value] of Object.entries(attributes)) node.setAttribute(key, value);
  parent.append(node);
  return node;
};
const stored = {   // a browser may forbid it
  get(key) { try { return localStorage.getItem(key); } catch { return null; } },
  set(key, value) { try { localStorage.setItem(key, value); } catch { /* until it is closed */ } },
  forget(...begins) {
    try {
      for (const key of Object.keys(localStorage))
        if (begins.some(begin => key.startsWith(begin))) localStorage.removeItem(key);
    } catch { /* nothing is kept */ }
  },
};

// Progress, in the form of the logbook

const progress = {
  read() {
    try {
      const kept = JSON.parse(stored.get(KEY));
      if (kept.format === FORMAT && typeof kept.chapters === "object") return kept;
    } catch { /* none, or damaged */ }
    return { format: FORMAT, chapters: {} };
  },
  of(number) {
    return { exercises: {}, quiz: {}, predictions: {}, ...this.read().chapters[number] };
  },
  change(number, write) {
    const kept = this.read(), done = this.of(number);
    write(done);
    kept.chapters[number] = done;
    stored.set(KEY, JSON.stringify(kept));
    for (const node of all(".progress")) showProgress(node);
  },
};

const showProgress = node => {
  node.textContent = "";
  const table = element("table", node);
  const row = (tag, ...cells) => {
    const line = element("tr", table);
    for (const cell of cells) element(tag, line, cell);
  };
  row("th", "chapter", "exercises passed here", "quiz", "predictions");
  for (const link of all("nav.chapters a[data-chapter]")) {
    const { exercises, quiz, predictions } = progress.of(link.dataset.chapter);
    const passed = Object.values(exercises).filter(entry => entry.passed).length;
    row("td", link.textContent, `${passed}`, quiz.total ? `${quiz.right} of ${quiz.total}` : "-",
      `${Object.keys(predictions).length}`);
  }
  const save = element("button", node, "Save as a file", { type: "button" });
  save.addEventListener("click", () => {
    const text = JSON.stringify(progress.read(), null, 1);
    const link = element("a", node, "", { download: "web-progress.json",
      href: URL.createObjectURL(new Blob([text], { type: "application/json" })) });
    link.click();
    link.remove();
  });
  const forget = element("button", node, "Forget it", { type: "button" });
  forget.addEventListener("click", () => {
    if (!confirm("Forget your progress and the answers that this browser keeps?")) return;
    stored.forget(KEY, CHOSEN, DRAFT);
    showProgress(node);
  });
  element("p", node, "Kept in this browser only. python -m cnnlab report --add web-progress.json "
    + "adds the file to your progress on your machine.");
};

// A model as anywidget gives one to a page; `answer(asked, show)` is its other end

const model = (values, answer) => {
  const heard = new Set();
  const show = shown => {
    values.shown = shown;
    for (const told of heard) told();
  };
  return {
    get: key => values[key],
    set: (key, value) => { values[key] = value; },
    save_changes: () => { const { asked } = values; setTimeout(() => answer(asked, show)); },
    on: (_, told) => heard.add(told),
    off: (_, told) => heard.delete(told),
  };
};

// Python, in a worker, from the first touch on

const assets = new URL("assets/", document.baseURI);
let python = null;

const begin = () => {
  const waiting = new Map();
  let number = 0, loaded = false, worker = null, resolve, reject;
  const ready = new Promise((...ends) => { [resolve, reject] = ends; });
  ready.catch(() => {});
  const end = reason => {
    if (python === handle) python = null;
    const error = Error(REASONS[reason]);
    reject(error);
    for (const { refused } of waiting.values()) refused(error);
    worker?.terminate();
  };
  const handle = {
    isLoaded: () => loaded,
    ask: (call, ...given) => ready.then(() => new Promise((answered, refused) => {
      const id = number += 1;
      const late = setTimeout(() => end("silent"), SECONDS[call] * 1000);
      waiting.set(id, { answered, refused, late });
      worker.postMessage({ id, call, given });
    })),
  };
  python = handle;
  const hear = ({ data: { ready: isReady, failed, id, answer, error } }) => {
    if (failed) return end("blocked");
    if (isReady) {
      loaded = true;
      return resolve();
    }
    const { answered, refused, late } = waiting.get(id);
    waiting.delete(id);
    clearTimeout(late);
    return error ? refused(Error(error)) : answered(answer);
  };
  if (location.protocol === "file:") end("file");
  else if (typeof WebAssembly !== "object") end("old");
  else {
    try {
      worker = new Worker(new URL("worker.js", assets), { type: "module" });
      worker.addEventListener("error", () => end("blocked"));
      worker.addEventListener("message", hear);
      setTimeout(() => { if (!loaded) end("blocked"); }, SECONDS.load * 1000);
    } catch {
      end("blocked");
    }
  }
  return handle;
};
const ask = (call, ...given) => (python || begin()).ask(call, ...given);
const isLoaded = () => Boolean(python?.isLoaded());

// Explorers: the stored picture first, Python at the first touch

const explorer = node => {
  const { key, call, page, shown } = own(node, "of-explorer");
  const still = node.querySelector(".still");
  const start = { ...shown.values };
  let last = { ...shown, svg: still.querySelector(".picture").innerHTML };
  let steps = [], busy = false, newest = 0;
  const answer = async ({ n, steps: more }, show) => {
    newest = n;
    steps.push(...more);
    const say = error => {
      const values = { ...last.values };   // the controls stay where they were moved
      for (const [what, name, value] of steps) {
        if (what === "set") values[name] = value;
        if (what === "reset") Object.assign(values, start);
      }
      show({ ...last, values, error, n: newest });
    };
    if (busy || !isLoaded()) say(LOADING);
    if (busy) return;
    busy = true;
    node.classList.toggle("loading", !isLoaded());
    try {
      while (steps.length) {
        if (!isLoaded()) await ask("moved", key, JSON.stringify(call), '{"n": 0, "steps": []}');
        const sent = steps;
        steps = [];
        const asked = JSON.stringify({ n: newest, steps: sent });
        last = JSON.parse(await ask("moved", key, JSON.stringify(call), asked));
      }
      show(last = { ...last, n: newest });
    } catch (error) {
      say(error.message);
      steps = [];
    }
    node.classList.remove("loading");
    busy = false;
  };
  const el = document.createElement("div");
  still.before(el);
  cnnlab.explorer.render({ model: model({ page, asked: { n: 0 }, shown: last }, answer), el });
  still.remove();
};

// Quizzes and predictions: their answers came with the page

const quiz = (node, number) => {
  const { questions, feedback, right } = own(node, "of-quiz");
  const again = () => {   // by their words: a question may have changed since
    let words = null;
    try { words = JSON.parse(stored.get(CHOSEN + number)); } catch { /* damaged */ }
    const found = questions.map(({ text, options }) => options.indexOf(words?.[text]));
    return found.map(index => index < 0 ? null : index);
  };
  const state = (chosen, n) => {
    const done = chosen.filter(index => index !== null).length;
    const score = chosen.filter((index, question) => index === right[question]).length;
    return { n, chosen, score: `${done} of ${chosen.length} answered, ${score} right`,
      feedback: chosen.map((index, question) => index === null ? "" : feedback[question][index]) };
  };
  const answer = ({ n, chosen }, show) => {
    show(state(chosen, n));
    const words = questions.map(({ text, options }, place) => [text, options[chosen[place]]]);
    stored.set(CHOSEN + number, JSON.stringify(Object.fromEntries(words)));
    if (chosen.includes(null)) return;
    const score = chosen.filter((index, question) => index === right[question]).length;
    progress.change(number, done => { done.quiz = { right: score, total: right.length }; });
  };
  node.textContent = "";
  const shown = state(again(), 0);
  cnnlab.quiz.render({ model: model({ questions, asked: { n: 0 }, shown }, answer), el: node });
};

const said = (value, unit) => {
  const text = Number.isInteger(value) ? value.toLocaleString("en") : String(value);
  return `${text} ${unit}`.trim();
};

const reveal = ({ name, unit, measured, default: given }, number) => {
  const kept = progress.of(number).predictions[name];
  for (const node of all(`.reveal[data-name="${name}"]`)) {
    node.querySelector(".yours")?.remove();
    if (!kept || kept.guess === given) continue;
    const line = document.createElement("p");
    line.className = "yours";
    line.textContent = `You predicted ${said(kept.guess, unit)}`
      + (measured === null ? "." : `; measured: ${said(measured, unit)}.`);
    node.prepend(line);
  }
};

const guess = (node, number, about) => {
  const { name, page, question, unit, measured, default: given } = about;
  const state = (value, n, refused = "") => ({ n, value, refused,
    line: `${value === given ? "The default stands" : "Your prediction"}: ${said(value, unit)}` });
  let value = progress.of(number).predictions[name]?.guess ?? about.value;
  const answer = (asked, show) => {
    const fits = page.number ? Number.isFinite(asked.value)
      : typeof asked.value === "string" && asked.value !== "";
    if (!fits) {
      const kind = page.number ? "number" : "word";
      return show(state(value, asked.n, `Write a ${kind}; it need not be right.`));
    }
    ({ value } = asked);
    progress.change(number, done => {
      done.predictions[name] = { question, guess: value, unit, measured,
        default: value === given };
    });
    show(state(value, asked.n));
    reveal(about, number);
  };
  node.textContent = "";
  const values = { page, asked: { n: 0 }, shown: state(value, 0) };
  cnnlab.guess.render({ model: model(values, answer), el: node });
  reveal(about, number);
};

// Exercises: the cell is edited here, and judged by the course's own judge

const exercise = (node, index) => {
  const { chapter, source, names } = own(node, "of-exercise");
  const code = node.closest(".cell").querySelector(".code");
  const id = node.closest(".cell").id, draft = DRAFT + id;
  const lines = source.split("\n").filter(line => !/^# ex\.\w+\.(hint|solution)\(/.test(line));
  const first = lines.join("\n");
  const form = document.createElement("div");
  form.className = "answer";
  code.replaceWith(form);
  const field = element("textarea", form, "", { spellcheck: "false", autocapitalize: "off",
    autocomplete: "off", "aria-label": `Your answer to ${names.join(", ")}`, rows: lines.length });
  field.value = stored.get(draft) || first;
  const fit = () => { field.rows = Math.max(3, field.value.split("\n").length); };
  field.addEventListener("input", () => { stored.set(draft, field.value); fit(); });
  fit();
  const buttons = element("div", form, "", { class: "buttons" });
  const out = element("div", node, "", { "aria-live": "polite" });
  const old = [...node.children].filter(child => child !== out);
  let hints = 0;
  const run = async text => {
    for (const child of old) child.hidden = true;
    out.textContent = isLoaded() ? "…" : LOADING;
    try {
      const { html, verdicts } = JSON.parse(await ask("run", chapter, text));
      out.innerHTML = html;
      for (const { exercise: name, status } of verdicts) {
        if (status !== "passed" && status !== "wrong") continue;
        progress.change(chapter, done => {
          const entry = done.exercises[name] ||= { tries: 0, passed: false };
          entry.tries += 1;
          entry.passed ||= status === "passed";
        });
      }
    } catch (error) {
      out.textContent = error.message;
    }
  };
  const button = (text, pressed) =>
    element("button", buttons, text, { type: "button" }).addEventListener("click", pressed);
  button("Check", () => run(field.value));
  button("Hint", () => {
    hints += 1;
    run(names.map(name => `ex.${name}.hint(${hints})`).join("\n"));
  });
  button("Solution", () => run(names.map(name => `ex.${name}.solution()`).join("\n")));
  button("As it was", () => { field.value = first; stored.set(draft, ""); fit(); hints = 0; });
};

// Search: words of all pages, loaded when the field is first used

const search = () => {
  const field = document.querySelector("#search"), list = document.querySelector("#found");
  if (!field) return;
  let loading = null;
  const load = () => loading ||= new Promise(done => {
    const script = element("script", document.head, "", { src: new URL("search.js", assets) });
    script.addEventListener("load", done);
  });
  const show = async () => {
    const words = field.value.toLowerCase().split(/\s+/).filter(Boolean);
    await load();
    list.textContent = "";
    list.hidden = !words.length;
    if (!words.length) return;
    const ranked = window.cnnlabSearch
      .map(entry => {
        const title = entry.title.toLowerCase(), text = entry.text.toLowerCase();
        const here = words.every(word => title.includes(word) || text.includes(word));
        return [here ? 1 + words.filter(word => title.includes(word)).length : 0, entry];
      })
      .filter(([score]) => score)
      .sort((a, b) => b[0] - a[0]);
    for (const [, { page, at, title, text }] of ranked.slice(0, 12)) {
      const item = element("li", list);
      const link = element("a", item, "", { href: `${page}.html#${at}` });
      element("b", link, title);
      const from = Math.max(0, text.toLowerCase().indexOf(words[0]) - 40);
      element("span", link, ` ${from ? "…" : ""}${text.slice(from, from + 140)}`);
    }
    if (!ranked.length) element("li", list, "Nothing found.");
  };
  field.addEventListener("focus", load);
  field.addEventListener("input", show);
  field.closest("form").addEventListener("submit", event => {
    event.preventDefault();
    list.querySelector("a")?.click();
  });
  document.addEventListener("click", event => {
    if (!event.target.closest("form.search")) list.hidden = true;
  });
};

const theme = () => {
  const button = document.querySelector("#theme");
  button?.addEventListener("click", () => {
    const root = document.documentElement;
    const dark = root.dataset.theme ? root.dataset.theme === "dark"
      : matchMedia("(prefers-color-scheme: dark)").matches;
    root.dataset.theme = dark ? "light" : "dark";
    stored.set("cnnlab-theme", root.dataset.theme);
  });
};

// What is wider than its place scrolls, with the keyboard too
const scrolled = () => {
  for (const node of all(".wide, .formula, main pre, .cnnlab-trace > div")) {
    if (node.scrollWidth <= node.clientWidth) continue;
    node.tabIndex = 0;
    node.setAttribute("role", "group");
    node.setAttribute("aria-label", "Scrolls sideways");
  }
};

const chapter = own(document, "of-chapter");
all(".explorer").forEach(explorer);
all(".quiz").forEach(node => quiz(node, chapter.number));
all(".guess").forEach(node => guess(node, chapter.number, chapter.guesses[node.dataset.name]));
all(".exercise").forEach(exercise);
all(".progress").forEach(showProgress);
search();
theme();
scrolled();
addEventListener("resize", scrolled);
