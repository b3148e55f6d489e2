"""A run's state in one file that is always whole: written aside, then put in place at once."""

from __future__ import annotations

import io
import os
import pickle
import zipfile
from contextlib import suppress
from pathlib import Path

import torch

FORMAT = "cnnlab checkpoint 1"


class CheckpointError(RuntimeError):
    """A file that cannot be written or read: what was tried, and the next step."""


def write(path: str | os.PathLike, state: dict) -> None:
    """Replace the file `path` by `state`: tensors and plain values."""
    data = io.BytesIO()
    torch.save({"format": FORMAT, **state}, data)
    replace(path, data.getbuffer())


def replace(path: str | os.PathLike, data: bytes | memoryview) -> None:
    """Give the file `path` the content `data`. Whoever reads it, and who comes after a kill at any
    moment, finds the old content or the new, never a mixture.

    `os.replace` is all or nothing; `fsync` sees to it that the bytes are on the disk before the
    name points to them, also if the power fails.
    """
    path = Path(path)
    aside = path.with_name(path.name + ".part")
    try:
        with open(aside, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        os.replace(aside, path)
        _sync_folder(path.parent)
    except OSError as error:
        with suppress(OSError):  # the first error is the one to tell
            aside.unlink(missing_ok=True)
        kept = "What it held before is still there" if path.exists() else "There was none before"
        raise CheckpointError(
            f"{path} ({len(data):,} bytes) cannot be written: {error.strerror or error}. {kept}. "
            "Free some space, or name a folder that exists and can be written to."
        ) from error


def read(path: str | os.PathLike) -> dict:
    """What `write` wrote, on the CPU. Only tensors and plain values are read, never code."""
    path = Path(path)
    try:
        with zipfile.ZipFile(path) as archive:  # torch.load does not look at the checksums
            damaged = archive.testzip()
        if damaged:
            raise zipfile.BadZipFile(f"the checksum of {damaged} is wrong")
        state = torch.load(path, map_location="cpu", weights_only=True)
    except OSError as error:
        raise CheckpointError(
            f"the checkpoint {path} cannot be read: {error.strerror or error}."
        ) from error
    except (zipfile.BadZipFile, pickle.UnpicklingError, RuntimeError, EOFError) as error:
        size = path.stat().st_size
        raise CheckpointError(
            f"{path} ({size:,} bytes) is damaged or no checkpoint: {str(error).splitlines()[0]}. "
            "Delete it to begin anew, or put a copy in its place."
        ) from error
    if not isinstance(state, dict) or state.pop("format", None) != FORMAT:
        raise CheckpointError(
            f"{path} is a PyTorch file, but not a {FORMAT}; it may hold weights alone, or come "
            "from another version. Give another name for this run's checkpoint."
        )
    return state


def _sync_folder(folder: Path) -> None:
    """Bring the new name to the disk too, where the system lets a folder be opened."""
    if os.name == "posix":
        handle = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)
