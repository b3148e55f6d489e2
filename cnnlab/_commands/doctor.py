"""`python -m cnnlab doctor`: what the course found on this machine."""

from __future__ import annotations

import argparse
import importlib.util
import os
import platform
import shutil
import subprocess
import sys
import webbrowser
from contextlib import suppress
from importlib import metadata
from pathlib import Path

import cnnlab
from cnnlab._commands.refused import sentence
from cnnlab._commands.report import folder_of_progress

PACKAGES = {"sklearn": "scikit-learn"} | {
    name: name for name in ("jupyterlab", "ipywidgets", "anywidget", "matplotlib", "tqdm", "numpy")
}


def add(commands: argparse._SubParsersAction) -> None:
    """Describe the command."""
    doctor = commands.add_parser("doctor", help="what the course found on this machine")
    doctor.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    """Print one line per finding; 1 where something is missing or broken."""
    rows = [
        ("cnnlab", f"{cnnlab.__version__} in {Path(cnnlab.__file__).parent}"),
        ("python", f"{platform.python_version()} at {sys.executable}"),
        ("system", f"{platform.platform()}, {os.cpu_count()} cores"),
    ]
    status = 0
    if not (3, 10) <= sys.version_info[:2] <= (3, 14):
        rows.append(("", "the course is tested with Python 3.10 to 3.14"))
    try:
        import torch
    except ImportError as error:
        rows.append(("torch", f"missing ({error}): run `make lab`"))
        return _report(rows, 1)
    rows.append(("torch", torch.__version__))
    device = "cuda" if torch.cuda.is_available() else "cpu"
    threads = f"{torch.get_num_threads()} threads"
    name = torch.cuda.get_device_name() if device == "cuda" else threads
    rows.append(("device", f"{device}, {name}"))
    rows += [("", text) for text in unused(device, torch.version.cuda)]
    if torch.backends.mps.is_available():
        rows.append(("", "Apple's GPU (mps) is there; the course computes on the CPU"))

    from cnnlab.course import lesson
    from cnnlab.course.logbook import progress_file
    from cnnlab.data import data_folder

    try:
        rows.append(("scale", f"{lesson.scale_for(device)} (set CNNLAB_SCALE to change it)"))
    except ValueError as error:
        rows.append(("scale", str(error)))
        status = 1
    for package, distribution in PACKAGES.items():
        found = importlib.util.find_spec(package) is not None
        rows.append((package, _version(distribution) if found else "missing: run `make lab`"))
        status = status if found else 1
    from cnnlab._torchvision import import_torchvision

    try:
        rows.append(("torchvision", import_torchvision().__version__))
    except Exception as error:  # whatever a broken install raises: the doctor reports it
        rows.append(("torchvision", f"cannot be imported: {sentence(error)}"))
        status = 1
    data, progress = data_folder(), progress_file(folder_of_progress().resolve())
    rows.append(("data", f"{data}{_room(data)} (set CNNLAB_DATA to change it)"))
    rows.append(("progress", f"{progress}{_room(progress)} (set CNNLAB_PROGRESS to change it)"))
    try:
        rows.append(("browser", f"{getattr(webbrowser.get(), 'name', 'found')}"))
    except webbrowser.Error:
        rows.append(("browser", "none found: open the address that `make lab` prints"))
    return _report(rows, status)


def unused(device: str, built_for: str | None) -> list[str]:
    """What to do about an NVIDIA card that torch does not use, as sentences.

    built_for: the CUDA version of this torch, or None for a build without CUDA.
    """
    card = None if device == "cuda" else nvidia_card()
    if card is None:
        return []
    if built_for is None:
        return [
            f"card present ({card}), torch without CUDA: install in this environment the torch "
            "that pytorch.org/get-started names for your system"
        ]
    return [
        f"card present ({card}), and torch with CUDA {built_for} cannot use it: its driver is "
        "absent or too old, or CUDA_VISIBLE_DEVICES hides it"
    ]


def nvidia_card() -> str | None:
    """What the system, without torch, calls the first NVIDIA card; None where it sees none."""
    with suppress(OSError, subprocess.SubprocessError):
        command = ["nvidia-smi", "--query-gpu=name", "--format=csv,noheader"]
        answer = subprocess.run(command, capture_output=True, text=True, timeout=10)
        if answer.returncode == 0 and answer.stdout.strip():
            return answer.stdout.splitlines()[0].strip()
    for device in Path("/sys/bus/pci/devices").glob("*"):  # without a driver too
        with suppress(OSError):
            vendor = (device / "vendor").read_text().strip()
            if vendor == "0x10de" and (device / "class").read_text().startswith("0x03"):
                return "NVIDIA"
    return None


def _version(distribution: str) -> str:
    with suppress(metadata.PackageNotFoundError):
        return metadata.version(distribution)
    return "found"


def _room(path: Path) -> str:
    """Whether a file can be written there, and how much room is left."""
    there = next(place for place in (path, *path.absolute().parents) if place.exists())
    if not os.access(there, os.W_OK):
        return ", which cannot be written to"
    return f", {shutil.disk_usage(there).free / 1e9:.1f} GB free"


def _report(rows: list[tuple[str, str]], status: int) -> int:
    for name, text in rows:
        print(f"{name:<12} {text}")
    return status
