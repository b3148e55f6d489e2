"""Run a notebook in JupyterLab and save what a learner sees, a page at a time.

    python -m tests.tools.shots notebooks/01-convolution-arithmetic.ipynb shots/
    python -m tests.tools.shots 01-convolution-arithmetic.ipynb shots/ --theme dark --width 800

`--stored` does not run anything: it shows the page as a reader without a kernel finds it.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from tests.browser.harness import NOTEBOOKS, RUN_SECONDS, Lab


def main():
    parser = argparse.ArgumentParser(
        prog="python -m tests.tools.shots", description="Screenshots of a notebook, top to bottom."
    )
    parser.add_argument("notebook", help="path, or name in notebooks/")
    parser.add_argument("folder", type=Path)
    parser.add_argument("--theme", choices=("light", "dark"), default="light")
    parser.add_argument("--width", type=int, default=1280)
    parser.add_argument("--page", type=int, default=1500, help="height of a piece, in pixels")
    parser.add_argument("--stored", action="store_true", help="do not run the cells")
    parser.add_argument("--timeout", type=float, default=RUN_SECONDS)
    arguments = parser.parse_args()
    source = Path(arguments.notebook)
    source = source.resolve() if source.is_file() else NOTEBOOKS / source
    with Lab(source.parent) as lab:
        page = lab.open(source, arguments.theme, arguments.width)
        if not arguments.stored:
            page.run_all(arguments.timeout, check=False)
            page.page.wait_for_timeout(1500)  # widgets draw themselves after the run
        stem = f"{source.stem}-{arguments.theme}-{arguments.width}"
        for piece in page.screenshots(arguments.folder, stem, arguments.page):
            print(piece)
        for error in page.errors():
            print("cell error:", error)
        for error in page.page_errors:
            print("page error:", error)
        for url in page.foreign_requests:
            print("request leaving the machine:", url)
        failed = page.errors() or page.page_errors or page.foreign_requests
    raise SystemExit(1 if failed else 0)


if __name__ == "__main__":
    main()
