"""Every command of the README, as it is written, from top to bottom in a fresh clone."""

from __future__ import annotations

import os
import signal
import subprocess
import urllib.request

import pytest
from PIL import Image

from tests.test_readme import COMMANDS, ROOT

# `make test` is what CI runs, as written; conda is not on every machine.
ELSEWHERE = ("make test", "conda ", "python .ci/lab.py")


@pytest.fixture(scope="module")
def clone(tmp_path_factory):
    folder = tmp_path_factory.mktemp("über all") / "cnnlab"
    subprocess.run(["git", "clone", "--quiet", ROOT, folder], check=True)
    for number in range(24):
        color = ("red", "blue")[number % 2]
        path = folder / "my-pictures" / color / f"{number}.jpg"
        path.parent.mkdir(parents=True, exist_ok=True)
        noise = Image.frombytes("RGB", (40, 40), os.urandom(4800))  # a color alone has no spread
        Image.blend(noise, Image.new("RGB", (40, 40), color), 0.5).save(path)
    Image.new("RGB", (50, 40), "red").save(folder / "photo.jpg")
    (folder / "handed-in").mkdir()
    (folder / "handed-in" / "ada.json").write_text('{"chapters": {}}')
    return folder


@pytest.mark.parametrize("command", [c for c in COMMANDS if not c.startswith(ELSEWHERE)])
def test_it_does_what_it_says(clone, command):
    environment = {key: value for key, value in os.environ.items() if key != "PYTHONPATH"}
    environment["BROWSER"] = "true"  # opens nothing
    process = subprocess.Popen(
        ["sh", "-c", command],
        cwd=clone,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )
    said = []
    for line in process.stdout:
        said.append(line)
        if line.startswith("The course is open"):
            address = next(word for word in line.split() if word.startswith("http://"))
            assert b"JupyterLab" in urllib.request.urlopen(address).read()
            os.killpg(process.pid, signal.SIGINT)
    status = process.wait()
    if command.startswith("make lab"):
        assert said and any("The course is open" in line for line in said), "".join(said)
    else:
        assert status == 0, "".join(said)
