// Formulas as drawings: JSON [[TeX, display]] comes in, JSON [HTML] goes out.
//   node math.mjs FOLDER-OF-MATHJAX
import { createRequire } from "node:module";
import { text } from "node:stream/consumers";

const folder = process.argv[2];
const MathJax = await createRequire(import.meta.url)(`${folder}/es5/node-main.js`).init({
  loader: { load: ["input/tex", "output/svg", "a11y/assistive-mml"],
    paths: { mathjax: `${folder}/es5` } },
  svg: { fontCache: "none" },
  startup: { typeset: false },
});
const drawn = [];
for (const [formula, display] of JSON.parse(await text(process.stdin))) {
  const html = MathJax.startup.adaptor.outerHTML(await MathJax.tex2svgPromise(formula, { display }));
  if (html.includes("data-mjx-error")) throw Error(`this formula is not TeX: ${formula}`);
  drawn.push(html);
}
process.stdout.write(JSON.stringify(drawn));
