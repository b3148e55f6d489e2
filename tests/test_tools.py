"""The helpers that every room shares: lazy names, the near word, a file that is whole or old."""

from __future__ import annotations

import os
import stat
import subprocess
import sys

import pytest

from cnnlab import _tools
from cnnlab._tools import did_you_mean, lazily, write_whole

KNOWN = ("vgg16", "resnet18", "lenet5")


@pytest.mark.parametrize("word, near", [("vgg61", "vgg16"), ("RESNET-18", "resnet18")])
def test_the_nearest_word_is_offered(word, near):
    assert did_you_mean(word, KNOWN) == f" Did you mean '{near}'?"


@pytest.mark.parametrize("word", ["transformer", "", 3, None])
def test_nothing_is_said_where_no_word_is_near(word):
    assert did_you_mean(word, KNOWN) == ""


def test_names_are_looked_up_when_asked_for():
    look_up, listed, public = lazily("json", {"decoder": "JSONDecoder", "no_such_file": "absent"})
    assert listed() == public == ["JSONDecoder", "absent"]
    assert look_up("JSONDecoder").__module__ == "json.decoder"
    with pytest.raises(AttributeError, match="module 'json' has no attribute 'loads_'"):
        look_up("loads_")
    with pytest.raises(ModuleNotFoundError, match="json.no_such_file"):  # not hidden
        look_up("absent")


@pytest.mark.parametrize("room", ["models", "data", "training", "trace", "course"])
def test_a_room_opens_without_torch_and_every_public_name_is_there(room):
    code = (
        f"import sys, cnnlab.{room} as room\n"
        "heavy = {'torch', 'numpy', 'ipywidgets'} & set(sys.modules)\n"
        "assert not heavy, heavy\n"
        "assert room.__all__ and dir(room) == sorted(room.__all__)\n"
        "for name in room.__all__: getattr(room, name)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_a_file_is_new_and_readable_like_any_other(tmp_path):
    path, usual = tmp_path / "run.json", tmp_path / "usual"
    usual.write_bytes(b"")
    for content in (b"first", memoryview(b"second, longer"), b""):
        write_whole(path, content)
        assert path.read_bytes() == bytes(content)
    assert stat.S_IMODE(path.stat().st_mode) == stat.S_IMODE(usual.stat().st_mode)
    assert sorted(os.listdir(tmp_path)) == ["run.json", "usual"]


@pytest.mark.parametrize("step", ["fsync", "replace"])
@pytest.mark.parametrize("error", [OSError("disk full"), KeyboardInterrupt()])
def test_a_failure_passes_through_and_leaves_the_old_content_alone(
    monkeypatch, tmp_path, step, error
):
    path = tmp_path / "run.json"
    path.write_bytes(b"old")

    def fail(*_):
        raise error

    monkeypatch.setattr(_tools.os, step, fail)
    with pytest.raises(type(error)) as caught:
        write_whole(path, b"new")
    monkeypatch.undo()
    assert caught.value is error
    assert path.read_bytes() == b"old" and os.listdir(tmp_path) == ["run.json"]


def test_the_bytes_are_on_the_disk_before_the_name_points_to_them(monkeypatch, tmp_path):
    order = []
    for step in ("fsync", "replace"):
        real = getattr(os, step)

        def noted(*given, step=step, real=real):
            order.append(step)
            return real(*given)

        monkeypatch.setattr(_tools.os, step, noted)
    write_whole(tmp_path / "run.json", b"new")
    assert order[:2] == ["fsync", "replace"]


def test_a_folder_that_is_not_there_is_the_systems_own_error(tmp_path):
    with pytest.raises(FileNotFoundError):
        write_whole(tmp_path / "none" / "run.json", b"new")
