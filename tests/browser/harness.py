"""A real JupyterLab and a real Chromium, for tests and for looking at the chapters.

    with Lab() as lab:
        page = lab.open("01-convolution-arithmetic.ipynb", theme="dark", width=800)
        page.run_all()
        explorer = page.explorer("convolution")
        before = explorer.svg()
        explorer.press("ArrowRight", "stride")
        explorer.wait_change(before)

Every `open` works on its own copy of the notebooks with its own kernel, so tests cannot disturb
each other or the checkout. JupyterLab itself takes longest to load, so a page whose notebook was
closed without a fault opens the next one. The server keeps its token, listens on 127.0.0.1 only,
and has private configuration, runtime, workspace and settings folders.
"""

from __future__ import annotations

import json
import os
import re
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from html import unescape
from pathlib import Path

from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import TimeoutError as PlaywrightTimeout
from playwright.sync_api import sync_playwright

from tests.browser.chromium import NAMES, find_chromium

ROOT = Path(__file__).resolve().parents[2]
NOTEBOOKS = ROOT / "notebooks"
SERVER_SECONDS = 90  # start of the server on a busy machine
PAGE_SECONDS = 60  # one step in the page: three times what a quiet machine needs
RUN_SECONDS = 300  # a whole notebook

BROWSER_ARGUMENTS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-dev-shm-usage",
    "--force-color-profile=srgb",
    # Nothing but this machine can be reached, whatever a page asks for.
    "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1",
]
SETTINGS = {  # on top of the course's own
    # Cells scrolled away must stay in the page.
    "@jupyterlab/notebook-extension:tracker": {"windowingMode": "none", "scrollPastEnd": False},
    "@jupyterlab/docmanager-extension:plugin": {"autosave": False},
}
THEMES = {"light": "JupyterLab Light", "dark": "JupyterLab Dark"}


class HarnessError(AssertionError):
    """The page or the server did something that the test did not expect."""


class Lab:
    """JupyterLab on a private folder, and one Chromium. Use as a context manager.

    notebooks: folder whose contents every `open` copies (default: the course). python: the
    environment of the server; kernels are always of the one that runs the tests.
    """

    app, trait, tree = "jupyterlab", "LabApp", "lab/workspaces/{workspace}/tree"
    many = True  # a page can open one notebook after the other

    def __init__(self, notebooks: Path = NOTEBOOKS, python=sys.executable):
        self.notebooks = Path(notebooks)
        self.python = python
        self._opened = []
        self._free = []  # pages without a notebook
        self._copies = 0

    def __enter__(self) -> Lab:
        executable = find_chromium()
        if executable is None:
            raise HarnessError(
                "no Chromium found: expected CNNLAB_CHROMIUM or one of "
                f"{', '.join(NAMES)}. On Debian: apt-get install chromium"
            )
        self._folder = Path(tempfile.mkdtemp(prefix="cnnlab-lab-"))
        self._process = None
        self._playwright = None
        try:
            self._start_server()
            self._playwright = sync_playwright().start()
            self.browser = self._playwright.chromium.launch(
                executable_path=executable, args=BROWSER_ARGUMENTS
            )
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_):
        for page in list(self._opened):
            page.close()
        if self._playwright:
            self._playwright.stop()
        if self._process:
            stop(self._process)
        shutil.rmtree(self._folder, ignore_errors=True)

    def _start_server(self):
        private = {
            "JUPYTER_CONFIG_DIR": "config",
            "JUPYTER_RUNTIME_DIR": "runtime",
            "JUPYTER_DATA_DIR": "data",
            "JUPYTER_PATH": "path",
            "JUPYTERLAB_SETTINGS_DIR": "settings",
            "JUPYTERLAB_WORKSPACES_DIR": "workspaces",
            "IPYTHONDIR": "ipython",
        }
        environment = dict(os.environ, CNNLAB_SCALE="quick")
        # Without it progress goes beside the notebook: into this opening's own copy.
        environment.pop("CNNLAB_PROGRESS", None)
        for variable, name in private.items():
            environment[variable] = str(self._folder / name)
            (self._folder / name).mkdir()
        kernel = self._folder / "path" / "kernels" / "python3"
        kernel.mkdir(parents=True)
        argv = [sys.executable, "-m", "ipykernel_launcher", "-f", "{connection_file}"]
        named = {"argv": argv, "display_name": "Python 3 (ipykernel)", "language": "python"}
        (kernel / "kernel.json").write_text(json.dumps(named))
        self.root = self._folder / "root"
        self.root.mkdir()
        app_settings = self._folder / "app-settings"
        app_settings.mkdir()
        course = json.loads((ROOT / ".lab" / "overrides.json").read_text())
        (app_settings / "overrides.json").write_text(json.dumps({**course, **SETTINGS}))
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            port = probe.getsockname()[1]
        self.token = secrets.token_hex(16)
        self.url = f"http://127.0.0.1:{port}"
        self._log = self._folder / "server.log"
        with open(self._log, "w") as log:
            self._process = subprocess.Popen(
                [
                    self.python,
                    "-m",
                    self.app,
                    "--no-browser",
                    "--allow-root",
                    "--ServerApp.ip=127.0.0.1",
                    f"--ServerApp.port={port}",
                    "--ServerApp.port_retries=0",
                    f"--ServerApp.root_dir={self.root}",
                    f"--IdentityProvider.token={self.token}",
                    f"--{self.trait}.expose_app_in_browser=True",
                    f"--{self.trait}.app_settings_dir={app_settings}",
                ],
                env=environment,
                cwd=self.root,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        self._wait_for_server()

    def _wait_for_server(self):
        end = time.monotonic() + SERVER_SECONDS
        while time.monotonic() < end and self._process.poll() is None:
            try:
                with urllib.request.urlopen(f"{self.url}/api/status?token={self.token}", timeout=5):
                    return
            except (urllib.error.URLError, OSError):
                time.sleep(0.2)
        raise HarnessError(
            f"JupyterLab did not start within {SERVER_SECONDS} s; its last words:\n"
            + self._log.read_text()[-3000:]
        )

    def open(
        self,
        notebook,
        theme: str = "light",
        width: int = 1280,
        height: int = 900,
        sidebar: bool = False,
    ) -> NotebookPage:
        """Open a notebook in a new browser page and wait until its kernel is idle.

        notebook: a name in the course's folder, or the path of any .ipynb.
        theme: "light" or "dark". width, height: the window, in CSS pixels.
        sidebar: leave the file browser open, as a learner finds it.
        """
        if theme not in THEMES:
            raise ValueError(f"theme {theme!r}: expected one of {', '.join(THEMES)}")
        source = Path(notebook)
        source = source if source.is_absolute() else self.notebooks / source
        if not source.is_file():
            raise FileNotFoundError(f"no notebook {source}")
        self._copies += 1
        folder = self.root / f"copy{self._copies}"
        shutil.copytree(
            source.parent,
            folder,
            ignore=shutil.ignore_patterns(".ipynb_checkpoints", "my-progress"),
        )
        page = NotebookPage(self, f"{folder.name}/{source.name}", theme, width, height, sidebar)
        return page


class NotebookPage:
    """One notebook in one browser page. Made by `Lab.open`."""

    def __init__(self, lab, path, theme, width, height, sidebar):
        self._lab = lab
        self.path = path
        self.page_errors = []  # uncaught JavaScript errors
        self.foreign_requests = []  # anything that wanted to leave the machine
        size = {"width": width, "height": height}
        again = lab._free.pop() if lab._free and not sidebar else None
        self.page = again or lab.browser.new_page(viewport=size, service_workers="block")
        lab._opened.append(self)
        self._noted = {
            "pageerror": lambda error: self.page_errors.append(str(error)),
            "request": lambda request: self._note_request(request.url),
            "websocket": lambda socket: self._note_request(socket.url),
        }
        for event, note in self._noted.items():
            self.page.on(event, note)
        if again:
            self.page.set_viewport_size(size)
            self._javascript(
                "path => void jupyterapp.commands.execute('docmanager:open', {path})", path
            )
        else:
            self.page.set_default_timeout(PAGE_SECONDS * 1000)
            workspace = path.split("/")[0]
            tree = lab.tree.format(workspace=workspace)
            self.page.goto(f"{lab.url}/{tree}/{path}?token={lab.token}")
        self._wait_ready()
        if not sidebar:
            self._javascript("() => jupyterapp.shell.collapseLeft()")
        self.dress(theme)

    def dress(self, theme: str):
        """Change to the theme "light" or "dark"."""
        self._javascript(
            "theme => jupyterapp.commands.execute('apputils:change-theme', {theme})", THEMES[theme]
        )
        self.page.wait_for_selector(f"body[data-jp-theme-name='{THEMES[theme]}']", state="attached")

    def _note_request(self, url):
        if url.split(":")[0] in ("data", "blob", "about"):
            return
        if not url.replace("ws://", "http://").startswith(self._lab.url + "/"):
            self.foreign_requests.append(url)

    def _javascript(self, source, argument=None):
        return self.page.evaluate(source, argument)

    def _wait_ready(self):
        self.page.wait_for_function("() => window.jupyterapp")
        ready = """async ([path, milliseconds]) => {
            const end = Date.now() + milliseconds;
            const pause = () => new Promise(done => setTimeout(done, 50));
            await jupyterapp.restored;
            const find = () => [...jupyterapp.shell.widgets('main')]
                .find(widget => widget.context && widget.context.path === path);
            while (!find() && Date.now() < end) await pause();
            window.panel = find();
            if (!window.panel) return 'the notebook was not opened';
            const late = new Promise(done => setTimeout(done, end - Date.now()));
            await Promise.race([
                Promise.all([panel.context.ready, panel.revealed, panel.sessionContext.ready]),
                late]);
            const status = () => panel.sessionContext.session?.kernel?.status;
            while (status() !== 'idle' && Date.now() < end) await pause();
            return status() === 'idle' ? '' : `the kernel is ${status()}, not idle`;
        }"""
        problem = self._javascript(ready, [self.path, PAGE_SECONDS * 1000])
        if problem:
            raise HarnessError(f"{self.path}: after {PAGE_SECONDS} s {problem}")

    # Running

    def run_all(self, timeout: float = RUN_SECONDS, check: bool = True) -> NotebookPage:
        """Run every cell. With `check`, raise if a cell, the page or the network misbehaves."""
        self._run("notebook:run-all-cells", timeout)
        if check:
            self.check()
        return self

    def run_cells(self, ids, timeout: float = RUN_SECONDS) -> NotebookPage:
        """Run the cells with these ids, in this order."""
        position = {cell["id"]: index for index, cell in enumerate(self.cells())}
        for cell in ids:
            if cell not in position:
                raise HarnessError(f"{self.path}: no cell {cell!r}; it has {sorted(position)}")
            self._javascript(
                """index => {
                panel.content.deselectAll(); panel.content.activeCellIndex = index; }""",
                position[cell],
            )
            self._run("notebook:run-cell", timeout)
        return self

    def run_until(self, predicate, timeout: float = RUN_SECONDS) -> NotebookPage:
        """Run from the top up to and including the first code cell with `predicate(cell)` true.

        predicate: receives a dict with id, cell_type, source, outputs, metadata.
        """
        cells = [cell for cell in self.cells() if cell["cell_type"] == "code"]
        last = next((n for n, cell in enumerate(cells) if predicate(cell)), None)
        if last is None:
            raise HarnessError(f"{self.path}: no code cell satisfies the predicate")
        return self.run_cells([cell["id"] for cell in cells[: last + 1]], timeout)

    def _run(self, command, timeout):
        # The command resolves when the last cell is done; without a race it may wait for ever.
        outcome = self._javascript(
            """async ([command, milliseconds]) => {
            await jupyterapp.shell.activateById(panel.id);
            return Promise.race([
                jupyterapp.commands.execute(command).then(() => 'done'),
                new Promise(end => setTimeout(() => end('late'), milliseconds))]);
        }""",
            [command, timeout * 1000],
        )
        if outcome == "late":
            raise HarnessError(f"{self.path}: {command} took more than {timeout} s")

    # Looking

    def cells(self) -> list[dict]:
        """The notebook's cells as JupyterLab holds them now, outputs included."""
        return self._javascript("() => panel.content.model.toJSON().cells")

    def errors(self) -> list[str]:
        """Errors of code cells, read from the model. Cells tagged `raises-exception` may raise."""
        found = []
        for cell in self.cells():
            if "raises-exception" in cell["metadata"].get("tags", []):
                continue
            for output in cell.get("outputs", []):
                if output["output_type"] == "error":
                    found.append(f"{cell['id']}: {output['ename']}: {output['evalue']}")
        return found

    def check(self):
        """Raise on a cell's error, an uncaught page error, or a request leaving the machine."""
        problems = (
            [f"cell {error}" for error in self.errors()]
            + [f"page error {error}" for error in self.page_errors]
            + [f"request to {url}" for url in self.foreign_requests]
        )
        if problems:
            raise HarnessError(f"{self.path}:\n  " + "\n  ".join(problems))

    def explorer(self, name: str) -> ExplorerHandle:
        """The live explorer with the CSS class `cnnlab-<name>` (the prefix may be given)."""
        name = name.removeprefix("cnnlab-")
        root = self.page.locator(f".cnnlab-explorer.cnnlab-{name}").first
        return ExplorerHandle(self.page, root)

    def cell(self, cell_id: str):
        """Playwright locator of one cell, by its id."""
        index = [cell["id"] for cell in self.cells()].index(cell_id)
        return self.page.locator(".jp-Notebook .jp-Cell").nth(index)

    def screenshot(self, path):
        """Save what the window shows."""
        self.page.screenshot(path=str(path))

    def screenshots(self, folder, stem: str, page_height: int = 1500) -> list[Path]:
        """Save the whole notebook, top to bottom, as pieces `<stem>-01.png`, ... of a page each."""
        folder = Path(folder)
        folder.mkdir(parents=True, exist_ok=True)
        width = self.page.viewport_size["width"]
        self.page.set_viewport_size({"width": width, "height": page_height + 100})
        self.page.wait_for_timeout(500)
        box, total = self._javascript("""() => {
            const outer = window.outer = panel.content.outerNode ?? panel.content.node;
            const box = outer.getBoundingClientRect();
            outer.scrollTop = 0;
            const last = [...outer.querySelectorAll('.jp-Cell')].pop().getBoundingClientRect();
            return [{x: box.x, y: box.y, width: box.width, height: box.height},
                    last.bottom - box.y + 20]; }""")
        pieces, top = [], 0
        while top < total:
            scrolled = self._javascript(
                "top => { outer.scrollTop = top; return outer.scrollTop; }", top
            )
            self.page.wait_for_timeout(150)
            skip = min(top - scrolled, box["height"] - 1)  # the last page cannot scroll as far
            clip = dict(box, y=box["y"] + skip, height=min(box["height"] - skip, total - top))
            pieces.append(folder / f"{stem}-{len(pieces) + 1:02d}.png")
            self.page.screenshot(path=str(pieces[-1]), clip=clip)
            top += box["height"]
        return pieces

    def close(self):
        """Shut the kernel down and close the notebook, and its page unless another can use it."""
        if self not in self._lab._opened:
            return
        self._lab._opened.remove(self)
        usable = False
        try:
            usable = self._javascript("""async () => {
                if (!window.panel) return false;
                await panel.sessionContext.shutdown();
                panel.dispose();
                return !document.querySelector('.jp-Dialog'); }""")
        finally:
            for event, note in self._noted.items():
                self.page.remove_listener(event, note)
            if usable and self._lab.many and not (self.page_errors or self.foreign_requests):
                self._lab._free.append(self.page)
            else:
                self.page.close()

    def __enter__(self) -> NotebookPage:
        return self

    def __exit__(self, *_):
        self.close()


class ExplorerHandle:
    """A live explorer in any front end: its controls by label, its picture as text.

    page: Playwright's page; root: locator of the explorer.
    """

    def __init__(self, page, root):
        self._page = page
        self.root = root
        root.wait_for()
        root.scroll_into_view_if_needed()

    def svg(self) -> str:
        """The picture as it stands in the page, without the mark of the key's last target."""
        shown = self.root.locator("svg").first.evaluate("picture => picture.outerHTML")
        return shown.replace(' data-lm-suppress-shortcuts=""', "")

    def slider(self, label: str):
        """Locator of the slider with this label."""
        return self.root.get_by_role("slider", name=label, exact=True)

    def typed(self, label: str):
        """Locator of the field beside a slider."""
        return self.root.get_by_role("spinbutton", name=f"{label}, typed", exact=True)

    def control(self, label: str):
        """Locator of the dropdown or checkbox with this label."""
        return self.root.locator("select, input[type=checkbox]").and_(self.root.get_by_label(label))

    def button(self, label: str):
        """Locator of the button with this label."""
        return self.root.get_by_role("button", name=label)

    def press(self, key: str, slider_label: str, times: int = 1):
        """Press a key on a slider, `times` times."""
        self.slider(slider_label).focus()
        for _ in range(times):
            self._page.keyboard.press(key)

    def pick(self, value: str):
        """Locator of the part of the picture with this `data-pick`."""
        return self.root.locator(f'svg [data-pick="{value}"]').first

    def click_pick(self, value: str):
        """Click the part of the picture with this `data-pick`."""
        self.pick(value).click(force=True)

    def wait_change(self, old: str, timeout: float = PAGE_SECONDS) -> str:
        """Wait until the picture differs from `old`; return the new one."""
        end = time.monotonic() + timeout
        while time.monotonic() < end:
            try:
                new = self.svg()
            except PlaywrightTimeout:
                new = old
            if new != old:
                return new
            self._page.wait_for_timeout(20)
        raise HarnessError(f"the picture did not change within {timeout} s")

    def settle(self, timeout: float = PAGE_SECONDS) -> str:
        """The picture, once the kernel has answered all that was asked so far."""
        self.root.locator(".cnnlab-picture[aria-busy=false]").wait_for(timeout=timeout * 1000)
        return self.svg()

    def text(self) -> str:
        """All text of the explorer, controls included, and the sentence that the picture is."""
        label = self.root.locator("svg").first.get_attribute("aria-label")
        return f"{self.root.inner_text()}\n{label}"


def faults(page, context: str) -> list[str]:
    """What axe finds in the parts of the page that the selector `context` names."""
    response = Axe().run(page, context=context).response
    assert response["passes"], f"axe saw nothing in {context}"
    return [
        f"{violation['id']}: {node['html'][:200]}"
        for violation in response["violations"]
        for node in violation["nodes"]
    ]


def texts(svg: str) -> list[str]:
    """All words in a picture, in the order in which they are drawn."""
    return [unescape(text) for text in re.findall(r"<text[^>]*>([^<]*)</text>", svg)]


def stop(process, seconds: float = 20):
    """Stop a server and its kernels: ask first, then insist. `process` leads its own session."""
    process.terminate()
    try:
        process.wait(seconds)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait(seconds)
