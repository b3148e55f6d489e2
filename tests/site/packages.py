"""The two packages of npm that the site needs, each fetched once and held against its checksum.

pyodide goes into the site. mathjax draws the formulas when the site is built. To take another
version, change it here with the checksum that `npm view NAME@VERSION dist.integrity` tells.
"""

from __future__ import annotations

import base64
import hashlib
import shutil
import subprocess
import tarfile
from pathlib import Path

PACKAGES = {
    "pyodide": (
        "314.0.7",
        "sha512-0YvXxEhfEdpLfb/XkM2BFAeMROq0iMUX2bzzH9pOttyMcWkwq+HbE5uyuGD82LN7y2q+SNvi/6V5JEsOl"
        "D2R1A==",
    ),
    "mathjax": (
        "3.2.2",
        "sha512-Bt+SSVU8eBG27zChVewOicYs7Xsdt40qm4+UpHyX7k0/O9NliPc+x77k1/FEsPsjKPZGJvtRZM1vO+geW"
        "0OhGw==",
    ),
}


class Refused(Exception):
    """The site cannot be built; the sentence says what to do."""


def unpacked(name: str, folder: Path) -> Path:
    """The folder of a package's files; fetched into `folder` where it is not there yet.

    Raises Refused without npm, without a network, and where the checksum is another.
    """
    version, integrity = PACKAGES[name]
    file, place = folder / f"{name}-{version}.tgz", folder / f"{name}-{version}"
    if place.is_dir():
        return place
    folder.mkdir(parents=True, exist_ok=True)
    npm = shutil.which("npm")
    if npm is None:
        raise Refused("npm is not there: make site needs Node.js 18 or later with npm; install it")
    if not file.exists():
        command = [npm, "pack", f"{name}@{version}", "--silent"]
        done = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=600)
        if done.returncode or not file.exists():
            said = (done.stderr.strip().splitlines() or ["npm said nothing"])[-1]
            raise Refused(f"{name} {version} cannot be fetched: {said}. Check the connection")
    check(file, integrity)
    with tarfile.open(file) as archive:
        aside = folder / f"{name}.part"
        shutil.rmtree(aside, ignore_errors=True)
        members = [m for m in archive.getmembers() if m.isfile() and ".." not in m.name.split("/")]
        archive.extractall(aside, members)
    (aside / "package").rename(place)
    aside.rmdir()
    return place


def check(file: Path, integrity: str) -> None:
    """Raises Refused, and removes the file, where its checksum is not the recorded one."""
    got = "sha512-" + base64.b64encode(hashlib.sha512(file.read_bytes()).digest()).decode()
    if got != integrity:
        file.unlink()
        raise Refused(
            f"{file.name} has the checksum {got}, expected {integrity}; it was removed. Fetch it "
            "again, or find out why it changed"
        )
