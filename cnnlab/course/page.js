// What every page of the course shares; `page.py` puts it before explorer.js, quiz.js and
// quiz_guess.js, because an anywidget's script is one file.

const SILENCE = 4000;   // milliseconds without an answer until it is said
const STOPPED = "the kernel is busy, or it has stopped. "
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

// One request at a time of a quiz or a prediction, numbered: `say()` where no answer comes.
const asking = (model, say) => {
  let asked = 0, silence = 0;
  return {
    ask(content) {
      asked = (model.get("asked").n || 0) + 1;
      clearTimeout(silence);
      silence = setTimeout(say, SILENCE);
      try {
        model.set("asked", { n: asked, ...content });
        model.save_changes();
      } catch {   // a kernel known to be dead
        say();
      }
    },
    answered(n) {   // whether that answers the last request
      if (n >= asked) clearTimeout(silence);
      return n >= asked;
    },
    end() { clearTimeout(silence); },
  };
};
