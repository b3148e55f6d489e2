"""Build .venv for the course: run before every `make` command, standard library only.

A stamp says what .venv was built from. Stamp right: nothing to do. Else the next environment is
made beside it, in .venv.next: from hard links to the present one where that works, so an update
costs what changed. It takes the place of .venv only when it works; until then, and whatever goes
wrong, the present one stays.
"""

import contextlib
import errno
import hashlib
import itertools
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import supported

ROOT = Path(__file__).resolve().parents[1]
VENV, NEXT, OLD = (ROOT / name for name in (".venv", ".venv.next", ".venv.old"))
LOG = ROOT / ".venv.log"
STAMP = "cnnlab-complete"
# What kernels and exports of this environment read, of .lab, and where they look for it.
SETTINGS = {
    "ipython_kernel_config.py": "etc/ipython",
    "jupyter_nbconvert_config.json": "etc/jupyter",
}
GB = 6 if sys.platform == "linux" else 2  # on Linux torch brings CUDA
# What an environment answers that works. Found, not imported: this runs before every command.
PROBE = """
import importlib.util, sys
names = "pip torch torchvision ipywidgets sklearn matplotlib jupyterlab nbval playwright".split()
missing = [name for name in names if importlib.util.find_spec(name) is None]
print("%d.%d" % sys.version_info[:2], *missing)
"""


class Failed(Exception):
    """A step of building failed; the sentence says why."""


def python(folder):
    """The Python inside an environment."""
    return folder / ("Scripts/python.exe" if os.name == "nt" else "bin/python")


def working(folder):
    """The version ("3.12") of an environment that has all it needs, else None."""
    command = [str(python(folder)), "-c", PROBE]
    try:
        answer = subprocess.run(command, capture_output=True, text=True, timeout=120)
    except (OSError, subprocess.TimeoutExpired):
        return None
    version, *missing = answer.stdout.split() or [""]
    known = re.fullmatch(r"3\.(\d+)", version)
    suits = known and supported.FIRST <= (3, int(known.group(1))) <= supported.LAST
    return version if suits and not missing and answer.returncode == 0 else None


def asked_for_another(version):
    """Whether PYTHON names another version than the environment has."""
    return bool(os.environ.get("PYTHON")) and version != "%d.%d" % sys.version_info[:2]


def wanted():
    """The stamp of an environment built from these files, in this place."""
    files = ("pyproject.toml", "constraints.txt", *(f".lab/{name}" for name in SETTINGS))
    inputs = [(ROOT / name).read_bytes() for name in files]
    return f"{ROOT}\n{hashlib.sha256(b''.join(inputs)).hexdigest()}\n"


def stamp(folder):
    """The stamp of an environment; "" where there is none to be read."""
    with contextlib.suppress(OSError):
        return (folder / STAMP).read_text(encoding="utf-8")
    return ""


def current():
    """Whether .venv can be used as it is."""
    if stamp(VENV) != wanted():
        return False
    version = working(VENV)
    return version is not None and not asked_for_another(version)


@contextlib.contextmanager
def one_at_a_time():
    """Wait for another `make` that is building. The kernel lets go of the lock if we are killed."""
    with open(ROOT / ".venv.lock", "w") as lock:
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
        yield (lock.fileno(),)  # for pip as well: an orphaned pip must not meet its successor


def build(kept_open):
    """Make the next environment, and put it in the place of .venv once it works."""
    if not os.path.lexists(VENV) and stamp(NEXT):  # killed between the two renames below
        NEXT.rename(VENV)
        if current():
            return
    version = working(VENV)
    base = version is not None and not asked_for_another(version)
    ours = bool(stamp(VENV)) or os.path.exists(VENV / "cnnlab-building")
    remove(NEXT)
    LOG.unlink(missing_ok=True)
    try:
        if base:
            say("Bringing the environment in .venv up to date.")
            shutil.copytree(VENV, NEXT, symlinks=True, copy_function=link)
            (NEXT / STAMP).unlink(missing_ok=True)
        else:
            say(
                "Building the environment in .venv with Python %d.%d: once, a few minutes."
                % sys.version_info[:2]
            )
            check_disk()
            run([sys.executable, "-m", "venv", "--prompt", "cnnlab", NEXT], kept_open)
        install(kept_open, base)
        readdress()
        settle()
        if working(NEXT) is None:
            raise Failed("Installed, yet not all that the course needs is there: report this.")
        (NEXT / STAMP).write_text(wanted(), encoding="utf-8")
    except (Failed, OSError):
        remove(NEXT)
        raise
    if os.path.lexists(VENV):  # what others made, and does not work, is theirs to delete
        kept = (ROOT / f".venv.kept-{n}" for n in itertools.count(1))
        aside = OLD if ours or base else next(p for p in kept if not os.path.lexists(p))
        remove(OLD)
        VENV.rename(aside)
        if aside != OLD:
            say(f"What was in .venv does not work and is not the course's: it is in {aside.name}.")
    NEXT.rename(VENV)
    remove(OLD)
    say("The environment is ready.")


def install(kept_open, base):
    """The course and its packages into the next environment: without network where that does."""
    pip = [python(NEXT), "-m", "pip", "install", "--disable-pip-version-check", "--no-input"]
    pip += ["--log", LOG, "--constraint", "constraints.txt", "--editable", ".[lab,test]"]
    if base:
        with contextlib.suppress(Failed):
            run([*pip, "--no-index", "--no-build-isolation"], kept_open, subprocess.DEVNULL)
            return
    LOG.unlink(missing_ok=True)
    run([*pip, "--retries", "2"], kept_open)


def settle():
    """The course's settings into the next environment."""
    for name, place in SETTINGS.items():
        target = NEXT / place / name
        target.parent.mkdir(parents=True, exist_ok=True)
        target.unlink(missing_ok=True)  # a link to the present environment's
        shutil.copyfile(ROOT / ".lab" / name, target)


def readdress():
    """Scripts name the environment that they were installed in: let it be .venv, in this place."""
    new = os.fsencode(VENV)
    for path in python(NEXT).parent.iterdir():
        text = b"" if path.is_symlink() or path.suffix == ".exe" else path.read_bytes()
        here = re.sub(rb"/[^\"'\n]*?/\.venv(\.next)?(?=[/\"'\n])", lambda _: new, text)
        first, newline, rest = here.partition(b"\n")
        if first.startswith(b"#!" + new) and (b" " in new or len(first) > 127):  # as pip does it
            first = b"#!/bin/sh\n'''exec' \"%s\" \"$0\" \"$@\"\n' '''" % first[2:]
        if text != first + newline + rest:
            other = path.with_name(path.name + ".new")  # .venv has the same file, by a hard link
            other.write_bytes(first + newline + rest)
            shutil.copymode(path, other)
            other.replace(path)


def link(source, target):
    """A hard link, or a copy where there can be none."""
    try:
        os.link(source, target)
    except OSError:
        shutil.copy2(source, target)


def remove(folder):
    """Delete an environment that is not in use; of a link, the link."""
    if folder.is_symlink():
        folder.unlink()
    shutil.rmtree(folder, ignore_errors=True)


def check_disk():
    """Say early where the disk cannot hold the environment."""
    free = shutil.disk_usage(ROOT).free / 1e9
    if free < 2:
        raise Failed(f"Not enough room: {free:.1f} GB free in {ROOT}, needed about {GB} GB.")
    if free < GB:
        say(f"Room may get short: {free:.1f} GB free in {ROOT}, needed about {GB} GB.")


def run(command, kept_open, output=None):
    """Run one step; Failed, in the learner's words, where it fails."""
    command = [str(part) for part in command]
    status = subprocess.run(
        command, cwd=ROOT, pass_fds=kept_open, stdout=output, stderr=output
    ).returncode
    if status == 0:
        return
    log = LOG.read_text(encoding="utf-8", errors="replace")[-200_000:] if LOG.exists() else ""
    if shutil.disk_usage(ROOT).free < 5e7 or re.search(r"No space left|quota exceeded", log):
        raise Failed("The disk is full. Free some space (see also TMPDIR and pip's cache).")
    if re.search(
        r"NewConnectionError|NameResolution|Name or service|Temporary failure|IncompleteRead|"
        r"ConnectTimeout|timed out|unreachable|ProxyError|Connection (refused|broken)|"
        r"DO NOT MATCH THE HASHES",  # what pip says about a download that was cut short
        log,
    ):
        raise Failed("The network, or the package index, cannot be reached. Check the connection.")
    if "venv" in command:
        raise Failed("Python could not create a virtual environment; its words are above.")
    raise Failed(f"A step failed ({status}); pip's words are above, all of them in {LOG}.")


def say(text):
    print(text, flush=True)


def main():
    if current():
        return
    if supported.problem():
        raise SystemExit(f"{sys.executable} {supported.problem()}.\n{supported.advice()}")
    try:
        with one_at_a_time() as kept_open:
            if not current():  # the other make may have done it
                build(kept_open)
    except (Failed, OSError) as error:
        version = working(VENV)
        if version is None or asked_for_another(version) or os.environ.get("CI"):
            again = "Then run the same command again."
            if getattr(error, "errno", 0) in (errno.EACCES, errno.EPERM, errno.EROFS):
                again = "Copy the course to a folder of your own, and run the same command there."
            raise SystemExit(f"\n{error}\n{again}") from None
        say(
            f"\n{error}\nSo .venv is not up to date. It works, and is used as it is; the next make "
            "tries again."
        )


if __name__ == "__main__":
    try:
        main()
    except KeyboardInterrupt:
        raise SystemExit(
            "\nInterrupted; what was there is unharmed. Run the same command again."
        ) from None
