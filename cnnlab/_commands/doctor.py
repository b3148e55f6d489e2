"""`python -m cnnlab doctor`: what the course found on this machine."""

from __future__ import annotations

import argparse
import importlib.util
import platform
import sys

from cnnlab._commands.refused import sentence


def add(commands: argparse._SubParsersAction) -> None:
    """Describe the command."""
    doctor = commands.add_parser("doctor", help="what the course found on this machine")
    doctor.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    """Print one line per finding; 1 where something is missing or broken."""
    rows, status = [("python", f"{platform.python_version()} at {sys.executable}")], 0
    if not (3, 10) <= sys.version_info[:2] <= (3, 13):
        rows.append(("", "the course is tested with Python 3.10 to 3.13"))
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

    from cnnlab.course import lesson
    from cnnlab.course.logbook import progress_folder
    from cnnlab.data import data_folder

    try:
        rows.append(("scale", f"{lesson.scale_for(device)} (set CNNLAB_SCALE to change it)"))
    except ValueError as error:
        rows.append(("scale", str(error)))
        status = 1
    for package in ("jupyterlab", "ipywidgets", "anywidget", "matplotlib", "sklearn", "tqdm"):
        found = importlib.util.find_spec(package) is not None
        rows.append((package, "found" if found else "missing: run `make lab`"))
        status = status if found else 1
    from cnnlab._torchvision import import_torchvision

    try:
        rows.append(("torchvision", import_torchvision().__version__))
    except Exception as error:  # whatever a broken install raises: the doctor reports it
        rows.append(("torchvision", f"cannot be imported: {sentence(error)}"))
        status = 1
    rows.append(("data", f"{data_folder()} (set CNNLAB_DATA to change it)"))
    progress = progress_folder().resolve()
    rows.append(("progress", f"{progress} (set CNNLAB_PROGRESS to change it)"))
    return _report(rows, status)


def _report(rows: list[tuple[str, str]], status: int) -> int:
    for name, text in rows:
        print(f"{name:<12} {text}")
    return status
