from __future__ import annotations

import subprocess
import sys

import pytest

from cnnlab import bench
from cnnlab.__main__ import main


def run(capsys, *argv):
    status = main(argv)
    out, err = capsys.readouterr()
    return status, out, err


def test_table_prints_the_trace(capsys):
    status, out, err = run(capsys, "table", "lenet5", "--input", "1,28,28")
    assert (status, err) == (0, "")
    assert "conv2d" in out and "61,706" in out


@pytest.mark.parametrize(
    "argv, message",
    [
        (["table", "vgg61"], "did you mean 'vgg1"),
        (["table", "lenet5", "--input", "28,28"], "expected channels,height,width"),
        (["table", "lenet5", "--input", "1,x,28"], "expected channels,height,width"),
        (["table", "lenet5", "--input", "1,5,5"], "5x5"),
        (["train", "vgg_smal"], "did you mean 'vgg_small'"),
        (["train", "vgg_small", "--data", "digit"], "Did you mean 'digits'"),
        (["train", "lenet5"], "the whole network needs 28x28"),
        (["train", "vgg_small", "--epochs", "0"], "epochs is 0"),
        (["train", "vgg_small", "--batch-size", "0"], "batch_size 0"),
        (["train", "vgg_small", "--optimizer", "sdg"], "Did you mean 'sgd'"),
        (["train", "vgg_small", "--device", "gpu"], "--device gpu"),
        (["train", "vgg_small", "--size", "-1"], "--size -1"),
        (["bench", "stat"], "no benchmark 'stat'; there are start, train"),
    ],
)
def test_bad_input_is_one_sentence_and_status_2(capsys, argv, message):
    status, out, err = run(capsys, *argv)
    assert status == 2 and out == ""
    assert err.startswith("cnnlab: ") and err.count("\n") == 1 and message in err


def test_diverging_training_is_one_sentence_after_what_was_reached(capsys):
    status, out, err = run(capsys, "train", "vgg_small", "--lr", "1e6", "--epochs", "1")
    assert status == 2 and "stopped: the loss was" in out
    assert "learning rate" in err and "Traceback" not in err


def test_train_reports_epochs_and_test(capsys):
    status, out, _ = run(capsys, "train", "lenet5", "--size", "28", "--epochs", "2",
                         "--optimizer", "adam", "--lr", "0.005")  # fmt: skip
    lines = out.splitlines()
    assert status == 0 and len(lines) == 4
    assert lines[-1].startswith("test: loss") and lines[-1].endswith("on 360 images")
    assert float(lines[-1].split("accuracy ")[1].split()[0]) > 0.5


def test_doctor_names_what_it_found(capsys, monkeypatch, tmp_path):
    import torch

    monkeypatch.setenv("CNNLAB_DATA", str(tmp_path / "sets"))
    monkeypatch.setenv("CNNLAB_PROGRESS", str(tmp_path / "mine"))
    monkeypatch.setenv("CNNLAB_SCALE", "quick")
    status, out, _ = run(capsys, "doctor")
    rows = dict(line.split(maxsplit=1) for line in out.splitlines())
    assert rows["torch"] == torch.__version__
    assert rows["scale"].startswith("quick") and "jupyterlab" in rows
    assert str(tmp_path / "sets") in rows["data"] and str(tmp_path / "mine") in rows["progress"]
    assert status == int(any(text.startswith("missing") for text in rows.values()))
    assert not list(tmp_path.iterdir())  # the doctor creates nothing


def test_doctor_reports_a_wrong_scale(capsys, monkeypatch):
    monkeypatch.setenv("CNNLAB_SCALE", "huge")
    status, out, _ = run(capsys, "doctor")
    assert status == 1 and "huge" in out and "expected quick or full" in out


def test_help_needs_no_torch_and_a_broken_pipe_no_traceback():
    code = (
        "import sys; sys.modules['torch'] = None\n"
        "from cnnlab.__main__ import main\n"
        "main(['train', '--help'])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0 and "--epochs" in done.stdout, done.stderr


def test_no_command_shows_usage(capsys):
    with pytest.raises(SystemExit) as caught:
        main([])
    assert caught.value.code == 2
    assert "usage: python -m cnnlab" in capsys.readouterr().err


def test_interleaved_takes_turns():
    order = []
    jobs = {name: lambda name=name: order.append(name) or len(order) for name in "ab"}
    assert bench.interleaved(jobs, 2) == {"a": [1, 3], "b": [2, 4]}
    assert order == ["a", "b", "a", "b"]
