"""Build .venv for the course, once: run by every `make` command, standard library only.

A stamp, written last, says what .venv was built from. Stamp right: nothing to do. Stamp absent
because an earlier run was interrupted: build again from nothing, out of pip's cache. A .venv that
you made yourself is kept; the course is installed into it.
"""

import contextlib
import hashlib
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
VENV = ROOT / ".venv"
STAMP = VENV / "cnnlab-complete"
BUILDING = VENV / "cnnlab-building"
LOG = VENV / "install.log"
NEEDS = "cnnlab[lab,test]"
LEAST_GB = 2  # torch for CPU and everything else
INPUTS = ("pyproject.toml", "constraints.txt", ".ci/environment.py")

# What a working environment answers. Present, not imported: this runs before every command.
PROBE = """
import importlib.util, sys
names = ("cnnlab torch torchvision ipywidgets sklearn matplotlib "
         " jupyterlab nbval playwright").split()
missing = [name for name in names if importlib.util.find_spec(name) is None]
print("%d.%d.%d" % sys.version_info[:3], *missing)
"""


def python():
    """The Python inside .venv."""
    return VENV / ("Scripts/python.exe" if os.name == "nt" else "bin/python")


def probe():
    """(version, names of missing packages) of .venv, or None if its Python does not run."""
    try:
        answer = subprocess.run(
            [python(), "-c", PROBE], capture_output=True, text=True, timeout=120
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    return answer.stdout.split(maxsplit=1) if answer.returncode == 0 else None


def wanted(version):
    """The stamp of an environment with this Python, built from these files, in this place."""
    digest = hashlib.sha256(b"".join((ROOT / name).read_bytes() for name in INPUTS)).hexdigest()
    return f"{ROOT}\nPython {version}\n{digest}\n"


def complete():
    """Whether .venv can be used as it is."""
    if BUILDING.exists() or not STAMP.exists():
        return False
    found = probe()
    if found is None or len(found) > 1:
        return False
    if os.environ.get("PYTHON") and not found[0].startswith("%d.%d." % sys.version_info[:2]):
        return False  # another Python was asked for
    return STAMP.read_text() == wanted(found[0])


@contextlib.contextmanager
def one_at_a_time():
    """Wait for another `make` that is building. The kernel lets go of the lock if we are killed."""
    path = ROOT / ".venv.lock"
    with open(path, "w") as lock:
        try:
            import fcntl
        except ImportError:  # no such thing on Windows
            yield ()
            return
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            say("Another make is building the environment; waiting for it.")
            fcntl.flock(lock, fcntl.LOCK_EX)
        # Handed to pip as well: an orphaned pip must not meet its successor.
        yield (lock.fileno(),)


def build(kept_open):
    """Create .venv where there is none worth keeping, install into it, leave the stamp."""
    found = probe()
    ours = BUILDING.exists() or STAMP.exists()
    moved = STAMP.exists() and STAMP.read_text().split("\n")[0] != str(ROOT)
    supported = found is not None and (3, 10) <= tuple(map(int, found[0].split(".")))[:2] <= (3, 13)
    other = (
        found is not None
        and bool(os.environ.get("PYTHON"))
        and not found[0].startswith("%d.%d." % sys.version_info[:2])
    )
    damaged = ours and (BUILDING.exists() or moved or found is None or len(found) > 1)
    if VENV.exists() and (damaged or not supported or other):
        say("The environment in .venv is unfinished or unusable: building it again.")
        shutil.rmtree(VENV)
    check_disk()
    if not VENV.exists():
        say(
            "Building the environment in .venv with Python %d.%d: once, a few minutes."
            % sys.version_info[:2]
        )
        VENV.mkdir()
        BUILDING.touch()
        run([sys.executable, "-m", "venv", VENV], kept_open)
    elif ours:
        BUILDING.touch()
    STAMP.unlink(missing_ok=True)
    run(
        [
            python(),
            "-m",
            "pip",
            "install",
            "--disable-pip-version-check",
            "--no-input",
            "--retries",
            "3",
            "--log",
            LOG,
            "--constraint",
            "constraints.txt",
            "--editable",
            f".[{NEEDS.partition('[')[2]}",
        ],
        kept_open,
    )
    found = probe()
    if found is None or len(found) > 1:
        raise SystemExit(
            "Installed, yet the environment lacks %s. Remove .venv and run make again."
            % (found[1].strip() if found else "a working Python")
        )
    BUILDING.unlink(missing_ok=True)
    unfinished = STAMP.with_suffix(".new")
    unfinished.write_text(wanted(found[0]))
    unfinished.replace(STAMP)
    say("The environment is ready.")


def check_disk():
    """Stop early where the disk cannot hold the environment."""
    free = shutil.disk_usage(ROOT).free / 1e9
    if not VENV.exists() and free < LEAST_GB:
        raise SystemExit(
            f"Not enough room on the disk: {free:.1f} GB free in {ROOT}, expected at "
            f"least {LEAST_GB} GB (about 8 GB where torch comes with CUDA). Free some "
            "space and run make again."
        )


def run(command, kept_open):
    """Run one step; explain a failure in the learner's words."""
    try:
        status = subprocess.run(
            [str(part) for part in command], cwd=ROOT, pass_fds=kept_open
        ).returncode
    except OSError as error:
        status = error
    if status == 0:
        return
    log = LOG.read_text(errors="replace")[-200_000:] if LOG.exists() else ""
    if re.search(r"No space left on device|Disk quota exceeded", log):
        reason = "The disk is full. Free some space (see also TMPDIR and pip's cache)."
    elif re.search(
        r"NewConnectionError|Name or service not known|Temporary failure in name|"
        r"ConnectTimeout|Read timed out|Network is unreachable|ProxyError",
        log,
    ):
        reason = "The network, or the package index, cannot be reached. Check the connection."
    elif "venv" in map(str, command):
        reason = (
            "Python could not create a virtual environment. On Debian or Ubuntu: "
            "apt install python3-venv"
        )
    else:
        reason = f"The step failed ({status}); pip's own words are above, all of them in {LOG}."
    raise SystemExit(f"\n{reason}\nThen run the same command again.")


def say(text):
    print(text, flush=True)


def main():
    if complete():
        return
    with one_at_a_time() as kept_open:
        if not complete():  # the other make may have done it
            build(kept_open)


if __name__ == "__main__":
    try:
        main()
    except KeyboardInterrupt:
        raise SystemExit(
            "\nInterrupted. Run the same command again: it starts this step afresh."
        ) from None
    except OSError as error:
        raise SystemExit(
            f"\nCannot build the environment: {error}. Run the same command again."
        ) from None
