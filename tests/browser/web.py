"""A folder served on this machine, and pages that reach nothing else."""

from __future__ import annotations

import functools
import http.server
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


class Quiet(http.server.SimpleHTTPRequestHandler):
    """Serves a folder and writes no log."""

    def log_message(self, *_):
        pass


@contextmanager
def served(folder: Path) -> Iterator[str]:
    """The address under which the folder's files are."""
    handler = functools.partial(Quiet, directory=folder)
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}/"
        server.shutdown()


@contextmanager
def strict(browser, address: str) -> Iterator:
    """A page in the dark theme whose errors and requests to elsewhere are failures."""
    context = browser.new_context(color_scheme="dark")
    wrong = []
    context.route(
        lambda url: not url.startswith((address, "blob:")),
        lambda route: (wrong.append(route.request.url), route.abort()),
    )
    page = context.new_page()
    page.on("pageerror", lambda error: wrong.append(str(error)))
    yield page
    context.close()
    assert wrong == []
