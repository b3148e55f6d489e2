// Explorers in Pyodide, under Node.js: JSON [[key, call, asked]] comes in, the pictures' SHA-256 go
// out, in the same order.
//   node states.mjs FOLDER-OF-ASSETS
import { createHash } from "node:crypto";
import { readFileSync } from "node:fs";
import { text } from "node:stream/consumers";

const assets = process.argv[2];
const { loadPyodide } = await import(`${assets}/pyodide/pyodide.mjs`);
const python = await loadPyodide({ indexURL: `${assets}/pyodide/` });
python.unpackArchive(new Uint8Array(readFileSync(`${assets}/cnnlab.zip`)), "zip");
const live = python.pyimport("tests.site.live");
const made = [];
for (const given of JSON.parse(await text(process.stdin))) {
  const { svg } = JSON.parse(live.moved(...given));
  made.push(createHash("sha256").update(svg, "utf8").digest("hex"));
}
process.stdout.write(JSON.stringify(made));
