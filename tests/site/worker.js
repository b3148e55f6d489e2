// Python in the reader's browser: Pyodide and the package's own files, loaded once.
// {id, call, given} comes in; {ready}, {failed}, {id, answer} or {id, error} go out.

const begin = async () => {
  const { loadPyodide } = await import("./pyodide/pyodide.mjs");
  const fetched = fetch(new URL("cnnlab.zip", import.meta.url)).then(answer => {
    if (!answer.ok) throw Error(`cnnlab.zip: ${answer.status}`);
    return answer.arrayBuffer();
  });
  const indexURL = new URL("pyodide/", import.meta.url).href;
  const [python, zip] = await Promise.all([loadPyodide({ indexURL }), fetched]);
  python.unpackArchive(zip, "zip");
  return python.pyimport("tests.site.live");
};

const live = begin();
live.then(() => postMessage({ ready: true }), error => postMessage({ failed: String(error) }));

addEventListener("message", async ({ data: { id, call, given } }) => {
  try {
    postMessage({ id, answer: (await live)[call](...given) });
  } catch (error) {
    postMessage({ id, error: String(error).trim().split("\n").pop() });
  }
});
