"""`make site`: the course as a web site, from the stored notebooks, into build/site.

    python -m tests.site [--url https://someone.github.io/cnnlab] [--repo someone/cnnlab]

Look at it with `python -m http.server --directory build/site`: Python in the browser needs http.
"""

from __future__ import annotations

import argparse
import shutil
import sys
import time
from pathlib import Path

from tests.site import build, ways
from tests.site.packages import Refused

ROOT = Path(__file__).resolve().parents[2]


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.site", description=__doc__)
    parser.add_argument("--url", default="", help="the site's address, for links and Colab")
    parser.add_argument("--repo", default="", help="owner/name on GitHub, for links")
    parser.add_argument("--out", type=Path, default=ROOT / "build/site")
    options = parser.parse_args()
    began = time.monotonic()
    aside = options.out.with_name(f"{options.out.name}.part")
    try:
        where = ways.where(options.url, options.repo)
        kept = ROOT / "build/npm"
        typeset = build.typesetter(build.unpacked("mathjax", kept))
        site = build.build(aside, where, typeset)
        build.pyodide(aside, kept)
    except Refused as error:
        print(f"The site was not built: {error}.", file=sys.stderr)
        return 1
    shutil.rmtree(options.out, ignore_errors=True)
    aside.rename(options.out)
    size = sum(path.stat().st_size for path in options.out.rglob("*") if path.is_file())
    count = len(site.chapters) + len(site.others)
    print(
        f"{count} pages, {size / 1e6:.1f} MB in {options.out}, {time.monotonic() - began:.0f} s. "
        f"Look at it: python -m http.server --directory {options.out}"
    )
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
