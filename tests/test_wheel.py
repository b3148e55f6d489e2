"""The wheel, unpacked in another folder, holds all that the package reads and runs from there."""

import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

ROOT = Path(__file__).parents[1]
LOOK = """
from pathlib import Path
import cnnlab
from cnnlab.course.explorers.widget import ExplorerView
home = Path(cnnlab.__file__).parent
print(home)
for path in sorted(home.rglob("*")):
    if path.suffix in (".js", ".css", ".json", ".bin"):
        print(path.relative_to(home).as_posix())
page = ExplorerView._esm, ExplorerView._css
assert "export default" in str(page[0]) and ".cnnlab-picture" in str(page[1])
"""


def test_the_wheel_holds_what_the_package_reads(tmp_path):
    source, home = tmp_path / "source", tmp_path / "home"
    source.mkdir()
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        if (ROOT / name).exists():
            shutil.copy(ROOT / name, source)
    shutil.copytree(
        ROOT / "cnnlab", source / "cnnlab", ignore=shutil.ignore_patterns("__pycache__")
    )
    pip = [sys.executable, "-m", "pip", "--disable-pip-version-check", "wheel", "--quiet"]
    here = ["--no-deps", "--no-index", "--no-build-isolation", "--wheel-dir", tmp_path, source]
    built = subprocess.run(pip + here, capture_output=True, text=True)
    assert built.returncode == 0, built.stderr
    (wheel,) = tmp_path.glob("cnnlab-*.whl")
    zipfile.ZipFile(wheel).extractall(home)

    start = f"import sys; sys.path.insert(0, {str(home)!r})\n"
    run = [sys.executable, "-c", start + LOOK]
    found = subprocess.run(run, capture_output=True, text=True, cwd=tmp_path)
    assert found.returncode == 0, found.stderr
    where, *files = found.stdout.splitlines()
    assert Path(where) == home / "cnnlab"
    kinds = (".js", ".css", ".json", ".bin")
    ours = [path for path in (ROOT / "cnnlab").rglob("*") if path.suffix in kinds]
    assert files == sorted(path.relative_to(ROOT / "cnnlab").as_posix() for path in ours)
    assert {"course/explorers/explorer.js", "course/quiz.css"} <= set(files)
