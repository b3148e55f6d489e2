"""Open the course in JupyterLab: `make lab`, or this file with the Python of the environment.

A learner works on copies, in my-course/: what they did is never touched by an update. A copy is
renewed while nobody has worked in it; later its new edition is put beside it. What is replaced goes
to my-course/earlier/, unless it is, byte for byte, what was copied. Standard library only.
"""

import argparse
import hashlib
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from itertools import count
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
NOTEBOOKS = ROOT / "notebooks"
RECORD = ".editions.json"  # {file: what it was when it was copied}
FIRST = "00-start-here.ipynb"
# What JupyterLab imports to check addresses in its own events parses a grammar: two thirds of the
# time of its start. Without it, the check is left out.
START = (
    "import sys; sys.modules['rfc3987_syntax'] = None; from jupyterlab.labapp import main; main()"
)


def edition(path):
    """What tells a notebook from every other: its bytes, and the text of its cells alone."""
    data = path.read_bytes()
    try:
        cells = [(cell["cell_type"], "".join(cell["source"])) for cell in json.loads(data)["cells"]]
    except (ValueError, KeyError, TypeError):
        cells = None  # not a notebook any more: a learner's trouble, not ours to replace
    return {
        "bytes": hashlib.sha256(data).hexdigest(),
        "text": cells and hashlib.sha256(json.dumps(cells).encode()).hexdigest(),
    }


def update(course, source=NOTEBOOKS):
    """Bring the copies in `course` up to date, and give what a learner should hear about it."""
    course.mkdir(parents=True, exist_ok=True)
    said, renewed = [], []
    if (source / "my-progress").is_dir() and not (course / "my-progress").exists():
        os.rename(source / "my-progress", course / "my-progress")
        said.append(f"Your progress is now in {course / 'my-progress'}.")
    record = read_record(course)
    theirs = changed(source)
    for original in sorted(source.glob("*.ipynb")):
        if original.name in theirs:  # worked in before there was my-course
            if not (course / original.name).exists():
                put(original, course / original.name)
                said.append(f"{original.name} in my-course is yours, as it was in notebooks.")
            continue
        new = edition(original)
        for name in names(original):
            mine, known = course / name, record.get(name, {})
            main = name == original.name
            if known == new and (mine.exists() or not main):
                break  # of this edition, worked in or not; or deleted from beside the learner's
            if mine.exists():
                now = edition(mine)
                if now["bytes"] != new["bytes"]:
                    if now["text"] is None or now["text"] != known.get("text"):
                        continue  # the learner worked in it
                    if now != known:  # ran it: the outputs may be dear
                        keep(mine)
                    renewed.append(name)
            elif not main:
                said.append(f"New edition of a chapter that you worked in: {name}, beside yours.")
            put(original, mine)
            record[name] = new
            break
    for beside in (*source.glob("pictures/*"), source / "glossary.md"):
        target = course / beside.relative_to(source)
        if beside.exists() and not (target.exists() and target.read_bytes() == beside.read_bytes()):
            target.parent.mkdir(exist_ok=True)
            put(beside, target)
    write(course / RECORD, json.dumps(record, indent=1, sort_keys=True).encode())
    if renewed:
        said.append(f"Brought up to date: {', '.join(renewed)}.")
    return said


def names(original):
    """The names that copies of a chapter may have: the learner's first, new editions after it."""
    yield original.name
    yield f"{original.stem}.new-edition.ipynb"
    for number in count(2):
        yield f"{original.stem}.new-edition-{number}.ipynb"


def changed(source):
    """Names in `source` that git does not know in this form: there somebody worked."""
    command = ["git", "-C", str(source), "status", "--porcelain", "-z", "--no-renames", "--", "."]
    try:
        answer = subprocess.run(command, capture_output=True, timeout=60).stdout
    except (OSError, subprocess.TimeoutExpired):  # no git, so no updates by git either
        return set()
    return {os.fsdecode(line[3:]).rpartition("/")[2] for line in answer.split(b"\0")}


def read_record(course):
    try:
        return dict(json.loads((course / RECORD).read_text(encoding="utf-8")))
    except (OSError, ValueError, TypeError):
        return {}  # then what differs from the course's edition counts as the learner's


def write(path, data):
    """All or nothing."""
    aside = path.with_name(path.name + ".part")
    aside.write_bytes(data)
    os.replace(aside, path)


def put(original, target):
    write(target, original.read_bytes())


def keep(mine):
    """Move a notebook to earlier/, under its name and the present time."""
    folder = mine.parent / "earlier"
    folder.mkdir(exist_ok=True)
    stem = f"{mine.stem}.{time.strftime('%Y-%m-%d-%H%M%S')}"
    targets = (folder / f"{stem}{'-%d' % n if n else ''}.ipynb" for n in count())
    target = next(path for path in targets if not path.exists())
    os.rename(mine, target)
    return target


def fresh(chapter, course, source=NOTEBOOKS):
    """One chapter anew, with its answers forgotten; what was there is kept, and said where."""
    originals = list(source.glob(f"{chapter}-*.ipynb")) if chapter.isdecimal() else []
    if len(originals) != 1:
        known = ", ".join(path.name[:2] for path in sorted(source.glob("[0-9][0-9]-*.ipynb")))
        raise SystemExit(f"No chapter {chapter!r} to renew. Name one of {known}: FRESH=05")
    course.mkdir(parents=True, exist_ok=True)
    record = read_record(course)
    for mine in sorted(course.glob(f"{originals[0].stem}*.ipynb")):
        record.pop(mine.name, None)
        print(f"{mine.name} is kept as {keep(mine).relative_to(course).as_posix()}.")
    write(course / RECORD, json.dumps(record).encode())
    subprocess.run([sys.executable, "-m", "cnnlab", "reset", chapter], cwd=course, check=False)


def surroundings(private):
    """The environment variables of JupyterLab; says so where there is no home to write to."""
    variables = dict(os.environ, JUPYTER_RUNTIME_DIR=str(private), JUPYTER_PREFER_ENV_PATH="1")
    paths = [str(ROOT), os.environ.get("PYTHONPATH")]
    variables["PYTHONPATH"] = os.pathsep.join(path for path in paths if path)
    home = os.path.expanduser("~")
    if not (os.path.isdir(home) and os.access(home, os.W_OK)):
        variables["HOME"] = variables["USERPROFILE"] = str(private)
        print(f"Your home folder, {home}, cannot be written to: JupyterLab forgets its settings.")
    return variables


def jupyterlab(folder, port, more):
    """Run JupyterLab until it ends; one sentence with its address once it answers."""
    # Sockets of kernels are files in there, and their paths must be short.
    short = "/tmp" if os.access("/tmp", os.W_OK) else None
    private = Path(tempfile.mkdtemp(prefix="cnnlab-", dir=short))
    log = private / "jupyterlab.log"
    command = [sys.executable, "-c", START, "--ServerApp.ip=127.0.0.1"]
    command += [f"--ServerApp.port={port}", f"--ServerApp.root_dir={folder}"]
    command += [f"--LabApp.default_url=/lab/tree/{FIRST}", "--ServerApp.answer_yes=True"]
    command += [f"--LabApp.app_settings_dir={ROOT / '.lab'}"]
    if os.name == "posix":
        command += ["--KernelManager.transport=ipc"]  # no port that others on this machine see
        command += ["--allow-root"] if os.getuid() == 0 else []
    try:
        with open(log, "wb") as output:
            server = subprocess.Popen(
                command + more,
                cwd=folder,
                env=surroundings(private),
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
            )
        signal.signal(signal.SIGTERM, lambda *_: server.terminate())
        address = None
        while server.poll() is None:
            try:
                address = address or announced(private)
                server.wait(None if address else 0.1)
            except subprocess.TimeoutExpired:
                continue
            except KeyboardInterrupt:
                address = address or "stopped"  # Ctrl-C reached JupyterLab too: it stops
        if address is None:
            print(log.read_text(encoding="utf-8", errors="replace")[-3000:], file=sys.stderr)
            raise SystemExit("JupyterLab did not start; its own words are above.")
    finally:
        shutil.rmtree(private, ignore_errors=True)


def announced(private):
    """The address of the running server, told to the learner; None as long as it has none."""
    for info in private.glob("jpserver-*.json"):
        try:
            server = json.loads(info.read_text(encoding="utf-8"))
            socket.create_connection(("127.0.0.1", server["port"]), timeout=5).close()
        except (ValueError, OSError):  # half written, or not yet listening
            continue
        token = f"?token={server['token']}" if server["token"] else ""
        address = f"{server['url']}lab/tree/{FIRST}{token}"
        print(
            f"The course is open in your browser, at {address} (Ctrl-C here ends it).", flush=True
        )
        return address
    return None


def main():
    parser = argparse.ArgumentParser(description=__doc__.partition(":")[0], allow_abbrev=False)
    parser.add_argument("--port", default="8888", help="the first one to try")
    parser.add_argument("--at", default=ROOT / "my-course", help="the folder to work in")
    parser.add_argument("--fresh", help="a chapter to begin again, such as 05")
    options, more = parser.parse_known_args()  # the rest is for JupyterLab
    folder = Path(options.at).expanduser().resolve()
    if folder != NOTEBOOKS:  # who works on the course itself says AT=notebooks
        try:
            if options.fresh:
                fresh(options.fresh, folder)
            for sentence in update(folder):
                print(sentence, flush=True)
        except OSError as error:
            print(
                f"Your copies in {folder} cannot be written: {error}.\nNothing you do will be "
                "kept. Name another folder to keep it: make lab AT=~/my-course"
            )
            folder = folder if (folder / FIRST).exists() else NOTEBOOKS
    jupyterlab(folder, options.port, more)


if __name__ == "__main__":
    main()
