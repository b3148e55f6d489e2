"""Ways to a notebook from its page: a download, and, where the site and its repository have an
address, Colab, Kaggle, Binder and Codespaces."""

from __future__ import annotations

import html
import re
import shutil
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

import nbformat

from tests.site.packages import Refused

BRANCH = "site"  # of the repository, where .github/workflows/pages.yml puts what was built
STORED = (
    "Below the code stands what it gave when it was run. On this page explorers, quizzes, "
    "predictions and the exercises that need no PyTorch work; the code itself runs in JupyterLab."
)
INSTALL = """\
# Only for Colab and Kaggle: installs the course's package; torch and the rest are there.
%pip install --quiet --no-deps {wheel}
%pip install --quiet "anywidget>=0.9.10" "resvg-py>=0.2"
import os
if os.path.isdir("/content/drive/MyDrive"):  # Colab, with your Drive mounted: progress survives
    os.environ["CNNLAB_PROGRESS"] = "/content/drive/MyDrive/cnnlab"
try:
    from google.colab import output
    output.enable_custom_widget_manager()
except ImportError:
    pass"""


@dataclass(frozen=True)
class Where:
    """Addresses: `url` of the site, `repo` as owner/name on GitHub; "" where there is none."""

    url: str = ""
    repo: str = ""

    def links(self, name: str) -> str:
        """The links under a chapter's title; `name` is its notebook's file."""
        links = []
        if self.repo and self.url:
            there = f"github.com/{self.repo}/blob/{BRANCH}/colab/{name}"
            links += [
                ("Colab", f"https://colab.research.google.com/github/{there.partition('/')[2]}"),
                ("Kaggle", f"https://www.kaggle.com/kernels/welcome?src=https://{there}"),
            ]
        if self.repo:
            at = f"https://mybinder.org/v2/gh/{self.repo}/HEAD?labpath=notebooks/{name}"
            links += [("Binder", at), ("Codespaces", f"https://codespaces.new/{self.repo}")]
        anchors = f'<a href="notebooks/{html.escape(name)}" download>Download this notebook</a>'
        anchors += "".join(
            f'<a href="{html.escape(target)}">Open in {text}</a>' for text, target in links
        )
        return f'<p class="tools">{anchors}</p><p class="note">{STORED}</p>'


def where(url: str, repo: str) -> Where:
    """The addresses, as they were given. Raises Refused where one cannot be one."""
    parts = urlsplit(url)
    wrong = parts.scheme != "https" or "." not in parts.netloc or parts.query or parts.fragment
    if url and (wrong or re.search(r"[\s<>\"']", url)):
        raise Refused(
            f"URL is {url!r}, expected the address of the site, such as "
            "https://someone.github.io/cnnlab; give that, or leave it out"
        )
    if repo and not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9-]*/[A-Za-z0-9._-]+", repo):
        raise Refused(
            f"REPO is {repo!r}, expected owner/name of a repository on GitHub, such as "
            "someone/cnnlab; give that, or leave it out"
        )
    return Where(url.rstrip("/"), repo)


def for_colab(notebook: Path, wheel: str) -> str:
    """The notebook with a first code cell that installs the package from the site."""
    content = nbformat.read(notebook, as_version=4)
    place = next(n for n, cell in enumerate(content.cells) if cell.cell_type == "code")
    number = notebook.name[:2]
    cell = nbformat.v4.new_code_cell(INSTALL.format(wheel=wheel), id=f"{number}-install")
    content.cells.insert(place, cell)
    return nbformat.writes(content) + "\n"


def wheel(root: Path, folder: Path) -> str:
    """Build the package's wheel into the site, from a copy: what an earlier build left in `root`
    must not be in it. Gives its file name."""
    command = [sys.executable, "-m", "pip", "wheel", "--quiet", "--disable-pip-version-check"]
    command += ["--no-deps", "--no-index", "--no-build-isolation", "--wheel-dir", folder, "."]
    with tempfile.TemporaryDirectory(prefix="cnnlab-wheel-") as source:
        for name in ("pyproject.toml", "README.md", "LICENSE"):
            shutil.copy(root / name, source)
        ignored = shutil.ignore_patterns("__pycache__")
        shutil.copytree(root / "cnnlab", Path(source) / "cnnlab", ignore=ignored)
        done = subprocess.run(command, cwd=source, capture_output=True, text=True, timeout=600)
    if done.returncode:
        raise Refused(f"the wheel cannot be built: {done.stderr.strip()}")
    return next(folder.glob("cnnlab-*.whl")).name
