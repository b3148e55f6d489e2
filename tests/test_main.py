from __future__ import annotations

import csv
import errno
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

import cnnlab
from cnnlab.__main__ import main
from cnnlab._commands import doctor
from cnnlab.models import image_shape

ROOT = Path(__file__).resolve().parents[1]


@pytest.fixture(autouse=True)
def folder(monkeypatch, tmp_path):
    """Runs are written below the current folder."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


def run(capsys, *argv):
    status = main(argv)
    out, err = capsys.readouterr()
    return status, out, err


def test_table_prints_the_trace(capsys):
    status, out, err = run(capsys, "table", "lenet5", "--input", "1,28,28")
    assert (status, err) == (0, "")
    assert "conv2d" in out and "61,706" in out


@pytest.mark.parametrize("name", ["lenet5", "resnet20", "unet"])
def test_table_takes_the_images_that_the_model_was_made_for(capsys, name):
    status, out, err = run(capsys, "table", name)
    assert (status, err) == (0, "") and "kept for backward" in out
    assert run(capsys, "table", name, "--input", ",".join(map(str, image_shape(name))))[1] == out


NET = """
from torch import nn
class Net(nn.Sequential):
    def __init__(self): super().__init__(nn.Conv2d(1, 4, 3), nn.ReLU())
net = Net()
def wide(width): return Net()
"""


@pytest.mark.parametrize("model", ["net.py:Net", "mine/net.py:Net", "net.py:net"])
def test_table_takes_models_of_files(capsys, model):
    os.makedirs("mine")
    Path("net.py").write_text(NET)
    Path("mine/net.py").write_text(NET)
    status, out, err = run(capsys, "table", model, "--input", "1,8,8", "--format", "csv")
    rows = list(csv.DictReader(out.splitlines()))
    assert (status, err) == (0, "") and [row["macs"] for row in rows] == ["1296", "0"]


def test_table_takes_models_of_torchvision(capsys):
    argv = ["table", "torchvision.models.squeezenet1_1", "--depth", "1", "--format", "json"]
    status, out, err = run(capsys, *argv)
    assert (status, err) == (0, "") and json.loads(out)["totals"]["params"] == 1_235_496


@pytest.mark.parametrize(
    "argv, message",
    [
        (["table", "net.py:Nut", "--input", "1,8,8"], "net.py has no 'Nut'; it has Net, net, wide"),
        (["table", "net.py:wide", "--input", "1,8,8"], "give a function without arguments"),
        (["table", "nothing_here:Net", "--input", "1,8,8"], "nothing_here cannot be imported"),
        (["table", "net.py:Net"], "say which input it takes, such as --input 3,224,224"),
        (["table", "torchvision.models.resnet19"], "Did you mean 'resnet18'?"),
    ],
)
def test_a_model_that_is_not_there_is_one_sentence(capsys, argv, message):
    Path("net.py").write_text(NET)
    status, out, err = run(capsys, *argv)
    assert status == 2 and out == "" and err.count("\n") == 1 and message in err, err


@pytest.mark.parametrize(
    "argv, message",
    [
        (["table", "vgg61"], "did you mean 'vgg1"),
        (["table", "resnet18", "--depth", "0"], "--depth 0: expected at least 1"),
        (["table", "lenet5", "--input", "28,28"], "expected channels,height,width"),
        (["table", "lenet5", "--input", "1,x,28"], "expected channels,height,width"),
        (["table", "lenet5", "--input", "1,5,5"], "5x5"),
        (["train", "vgg_smal"], "did you mean 'vgg_small'"),
        (["train", "vgg_small", "--data", "digit"], "Did you mean 'digits'"),
        (["train", "lenet5", "--size", "8"], "the whole network needs 28x28"),
        (
            ["train", "vgg_small", "--crop", "9"],
            "crop 9, cutout 0 for images of 8x8; expected less",
        ),
        (["train", "vgg_small", "--build", "width=3"], "vgg_small has no option 'width'"),
        (
            ["train", "vgg_small", "--build", "dropout=high"],
            "expected values like the default ones",
        ),
        (["train", "resnet20", "--build", "skip=yes"], "skip=yes: expected True or False"),
        (["train", "vgg_small", "--epochs", "0"], "epochs is 0"),
        (["train", "vgg_small", "--batch-size", "0"], "batch_size 0"),
        (["train", "vgg_small", "--optimizer", "sdg"], "Did you mean 'sgd'"),
        (["train", "vgg_small", "--device", "gpu"], "--device gpu"),
        (["train", "vgg_small", "--device", "mps"], "training is tested on cpu and cuda only"),
        (["train", "vgg_small", "--size", "-1"], "--size -1"),
        (["train", "vgg_small", "--lr", "nan"], "lr is nan; expected a number above 0"),
        (["train", "vgg_small", "--schedule", "cosin"], "Did you mean 'cosine'"),
        (["train", "vgg_small", "--precision", "fp16", "--device", "cpu"], "needs a CUDA GPU"),
        (["train", "vgg_small", "--jitter", "2"], "jitter 2.0; expected"),
        (["train", "vgg_small", "--resume"], "--resume: say which run should go on, with --out"),
        (["train", "vgg_small", "--resume", "--out", "none"], "config.json cannot be read"),
        (["predict", "runs/none", "x.png"], "none is not there. Name the folder of a run"),
        (["predict", "README", "x.png"], "README is not there. Name"),
        (["data", "digit"], "Did you mean 'digits'"),
        (["data", "./nowhere"], "nowhere is not a folder; expected one folder of images"),
        (["records", "--data", "fashon-mnist", "--into", "README"], "Did you mean 'fashion-mnist'"),
        (["records", "--into", "README"], "README: no place for the table; expected a line"),
        (["train", "vgg_small", "--out", "README/x"], "Not a directory"),
        (["train", "vgg_small", "--data", "faces/"], "faces is not a folder; expected one folder"),
    ],
)
def test_bad_input_is_one_sentence_and_status_2(capsys, argv, message):
    Path("README").write_text("a file")
    if "faces/" in argv:
        argv = [*argv, "--size", "8"]
    status, out, err = run(capsys, *argv)
    assert status == 2 and out == ""
    assert err.startswith("cnnlab: ") and err.count("\n") == 1 and message in err, err
    assert os.listdir() in (["README"], ["runs", "README"], ["README", "runs"])
    assert not list(Path("runs").glob("*"))  # nothing is left of a run that did not begin


def test_diverging_training_is_one_sentence_and_keeps_what_was_reached(capsys):
    argv = ["train", "vgg_small", "--optimizer", "sgd", "--lr", "1e6", "--epochs", "1"]
    status, out, err = run(capsys, *argv)
    assert status == 2 and "stopped: the loss was" in out
    assert "learning rate" in err and "Traceback" not in err
    record = json.loads(Path("runs/vgg_small-digits/history.json").read_text())
    assert record["losses"] and record["stopped"] in out


def test_options_of_the_model_are_read_as_they_are_meant(capsys):
    from cnnlab.__main__ import _parser

    argv = ["train", "resnet20", "--build"]
    read = _parser().parse_args([*argv, "skip=false", "a=TRUE", "b=(1,2)", "c=pad"]).build
    assert read == [["skip", False], ["a", True], ["b", (1, 2)], ["c", "pad"]]
    for option, words in (
        ("modern", "'modern' has no value; say modern=True"),
        ("num_classes=3", "num_classes comes from the data; leave it out"),
        ("in_channels=3", "in_channels comes from the data; leave it out"),
    ):
        with pytest.raises(SystemExit):
            main([*argv, option])
        assert words in capsys.readouterr().err


LENET = ["train", "lenet5", "--lr", "0.005"]


def test_train_reports_and_leaves_a_run_folder(capsys):
    for name in ("lenet5-digits", "lenet5-digits-2"):
        status, out, _ = run(capsys, *LENET, "--epochs", "2", "--crop", "1")
        lines = out.splitlines()
        assert status == 0 and len(lines) == 5
        assert lines[-2].startswith("test: loss") and "on 360 images (epoch " in lines[-2]
        assert float(lines[-2].split("accuracy ")[1].split()[0]) > 0.5
        assert lines[-1] == f"run folder: {Path('runs', name)}"
        folder = Path("runs", name)
        assert sorted(os.listdir(folder)) == [
            "checkpoint.pt",
            "config.json",
            "curves.png",
            "history.json",
            "weights.pt",
        ]
    record = json.loads((folder / "history.json").read_text())
    assert f"{record['epochs'][1]['val_loss']:.4f}" in lines[2] and record["stopped"] is None
    assert len(record["losses"]) == 40 and record["epochs"][0]["rate"] > 0
    config = json.loads((folder / "config.json").read_text())
    assert (config["model"], config["crop"], config["lr"]) == ("lenet5", 1, 0.005)
    assert config["size"] == 28  # found by itself: the digits are 8x8
    assert f"{config['test']['accuracy']:.4f}" in lines[-2]
    assert (folder / "curves.png").read_bytes().startswith(b"\x89PNG")


@pytest.mark.parametrize("model, floor", [("lenet5", 0.92), ("vgg_small", 0.96)])
def test_the_digits_reach_their_accuracy_floor_by_default(capsys, record_property, model, floor):
    began = time.process_time()
    status, out, err = run(capsys, "train", model)
    seconds = time.process_time() - began
    assert status == 0, err
    accuracy = float(out.split("accuracy ")[1].split()[0])
    record_property(
        "note",
        f"{model} on digits: test accuracy {accuracy:.2%}, floor "
        f"{floor:.1%}, {seconds:.0f} CPU seconds",
    )
    assert accuracy >= floor


def interrupt(monkeypatch, epoch, step):
    """Ctrl-C while that batch of training images is fetched; both are counted from 0."""
    from cnnlab.data import batches

    at = batches.Batches.at

    def interrupting(self, now, *, rank=0, world=1):
        for number, pair in enumerate(at(self, now, rank=rank, world=world)):
            if (self.shuffle, now, number) == (True, epoch, step):
                os.kill(os.getpid(), signal.SIGINT)
            yield pair

    monkeypatch.setattr(batches.Batches, "at", interrupting)


def test_an_interrupted_run_goes_on_to_the_numbers_of_a_whole_one(capsys, monkeypatch):
    argv = [*LENET, "--epochs", "2"]
    assert run(capsys, *argv, "--out", "whole")[0] == 0
    with monkeypatch.context() as patched:
        interrupt(patched, epoch=1, step=7)
        status, out, err = run(capsys, *argv, "--out", "parts")
    assert status == 130 and "stopped: interrupted in epoch 2, after 27 of 40 steps" in out
    assert "to go on, give the same command with --out parts --resume" in out
    assert len(json.loads(Path("parts/history.json").read_text())["losses"]) == 27
    status, out, err = run(capsys, *argv, "--out", "parts")
    assert status == 2 and "--out parts is there already. Go on with that run by --resume" in err
    status, out, err = run(capsys, *argv, "--out", "parts", "--resume", "--seed", "1")
    assert status == 2 and "begun with other options: --seed was 0 and is 1. Give the same" in err
    status, out, err = run(capsys, *argv, "--out", "parts", "--resume", "--device", "cpu")
    assert status == 0, err
    records = [json.loads(Path(name, "history.json").read_text()) for name in ("whole", "parts")]
    for record in records:
        for row in record["epochs"]:
            del row["seconds"]
    assert records[0] == records[1]
    assert "test: loss" in out


@pytest.mark.parametrize("name", ["SIGTERM", "SIGHUP"])
def test_a_run_that_is_told_to_end_keeps_what_it_learned(name):
    argv = [*LENET, "--epochs", "5000", "--out", "mine"]
    command = [sys.executable, "-m", "cnnlab", *argv]
    settings = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)}
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    heeds = signal.signal(getattr(signal, name), signal.SIG_DFL)  # under nohup it is ignored
    process = subprocess.Popen(command, env=settings, **pipes)
    signal.signal(getattr(signal, name), heeds)
    until = time.monotonic() + 900  # only for a command that hangs
    while not Path("mine/checkpoint.pt").exists() or not Path("mine/weights.pt").exists():
        assert process.poll() is None and time.monotonic() < until, process.communicate()
        time.sleep(0.1)
    process.send_signal(getattr(signal, name))
    out, _ = process.communicate(timeout=900)
    assert process.returncode == 130 and "stopped: interrupted in epoch" in out
    record = json.loads(Path("mine/history.json").read_text())
    assert record["stopped"].startswith("interrupted") and record["epochs"]
    assert not [name for name in os.listdir("mine") if "part" in name or "lock" in name]


def test_a_run_may_be_given_more_epochs_but_not_fewer(capsys):
    argv = [*LENET, "--out", "mine"]
    assert run(capsys, *argv, "--epochs", "2")[0] == 0
    status, out, err = run(capsys, *argv, "--epochs", "1", "--resume")
    assert status == 2 and "--epochs was 2 and is 1, not more" in err
    status, out, err = run(capsys, *argv, "--epochs", "3", "--resume")
    assert status == 0 and [line.split()[0] for line in out.splitlines()[1:4]] == ["1", "2", "3"]


def test_a_run_that_goes_on_has_no_test_of_other_weights(capsys, monkeypatch):
    argv = [*LENET, "--out", "mine"]
    assert run(capsys, *argv, "--epochs", "1")[0] == 0
    assert json.loads(Path("mine/config.json").read_text())["test"]["accuracy"] > 0

    interrupt(monkeypatch, epoch=2, step=1)
    assert run(capsys, *argv, "--epochs", "3", "--resume")[0] == 130
    assert json.loads(Path("mine/config.json").read_text())["test"] is None


def test_a_refused_resume_leaves_the_finished_run_whole(capsys):
    from PIL import Image

    for name in ("dog", "zcat"):
        Path("pets", name).mkdir(parents=True)
        for number in range(12):
            Image.new("RGB", (28, 28), (20 * number, 90 + number, 5 * number)).save(
                f"pets/{name}/{number}.png"
            )
    argv = ["train", "resnet20", "--data", "./pets", "--size", "8", "--out", "mine"]
    assert run(capsys, *argv, "--epochs", "1")[0] == 0
    before = Path("mine/config.json").read_text()
    os.rename("pets/dog", "pets/zzdog")
    status, _, err = run(capsys, *argv, "--epochs", "2", "--resume")
    assert status == 2 and "other data: classes dog, zcat there and zcat, zzdog here. Bring" in err
    os.rename("pets/zzdog", "pets/dog")
    os.rename("pets/dog/3.png", "3.png")
    status, _, err = run(capsys, *argv, "--epochs", "2", "--resume")
    assert status == 2 and "belongs to another run" in err
    assert Path("mine/config.json").read_text() == before
    os.rename("3.png", "pets/dog/3.png")
    assert run(capsys, *argv, "--epochs", "1", "--resume")[0] == 0
    assert run(capsys, *argv, "--epochs", "2", "--resume")[0] == 0
    assert json.loads(Path("mine/config.json").read_text())["epochs"] == 2


def test_a_run_that_somebody_else_writes_is_not_removed(capsys, monkeypatch):
    from cnnlab.training import loop
    from cnnlab.training.history import Busy

    def busy(path):
        raise Busy("another training writes to it.")

    monkeypatch.setattr(loop, "locked", busy)
    status, _, err = run(capsys, *LENET, "--out", "mine")
    assert status == 2 and "another training" in err and Path("mine/config.json").exists()


def test_a_run_goes_on_with_the_command_that_began_it(capsys):
    argv = ["train", "resnet20", "--build", "stage_widths=(4,8,16)", "--out", "mine", "--epochs"]
    assert run(capsys, *argv, "1")[0] == 0
    status, _, err = run(capsys, *argv, "2", "--resume")
    assert status == 0, err


def test_a_damaged_checkpoint_is_one_sentence(capsys):
    argv = [*LENET, "--epochs", "1", "--out", "mine"]
    assert run(capsys, *argv)[0] == 0
    data = Path("mine/checkpoint.pt").read_bytes()
    Path("mine/checkpoint.pt").write_bytes(data[: len(data) // 2])
    status, _, err = run(capsys, *argv, "--resume")
    assert status == 2 and "damaged or no checkpoint" in err and err.count("\n") == 1
    assert len(Path("mine/checkpoint.pt").read_bytes()) == len(data) // 2


def test_a_full_disk_still_prints_the_history(capsys, monkeypatch):
    from cnnlab import _tools

    def sync(handle):
        calls.append(handle)
        if len(calls) > 24:
            raise OSError(errno.ENOSPC, "No space left on device")

    calls = []
    monkeypatch.setattr(_tools.os, "fsync", sync)
    status, out, err = run(capsys, *LENET, "--epochs", "9", "--out", "mine")
    assert (
        status == 2
        and "mine/" in err
        and "cannot be written" in err
        and "No space left on device" in err
    )
    assert len(out.splitlines()) >= 2 and "Traceback" not in err


def test_an_image_folder_is_trained_on_and_an_empty_class_is_named(capsys):
    from PIL import Image

    for name, level in (("dark", 40), ("light", 200)):
        Path("sets/shades", name).mkdir(parents=True)
        for number in range(20):
            color = (level + number, level, 30 + 5 * number)
            Image.new("RGB", (12, 10), color).save(f"sets/shades/{name}/{number}.png")
    argv = ["train", "resnet20", "--data", "sets/shades", "--size", "8", "--epochs", "6"]
    status, out, err = run(capsys, *argv, "--batch-size", "8", "--lr", "0.005")
    assert status == 0 and "on 4 images" in out and "look at what was read" in err, err
    assert Image.open("runs/resnet20-shades/images.png").height == 2 * 78
    images = ["sets/shades/dark/3.png", "sets/shades/light/4.png"]
    status, out, err = run(capsys, "predict", "runs/resnet20-shades", *images)
    assert status == 0 and err == ""
    for path, line in zip(images, out.splitlines()):
        name, first, second = line.split("  ", 2)[0], *line.split()[1::2][:2]
        assert name == path and float(first.rstrip("%")) + float(second.rstrip("%")) > 99.8
        assert line.split()[2] == path.split("/")[2]
    status, out, err = run(capsys, "predict", "runs/resnet20-shades", "README.txt")
    assert status == 2 and "README.txt is not there; expected the path of an image" in err
    status, out, _ = run(capsys, "data", "sets/shades", "--size", "8")
    assert status == 0 and "shades.png" in out and Path("shades.png").exists()
    Path("sets/shades/empty").mkdir()
    status, _, err = run(capsys, *argv)
    assert status == 2 and "class 'empty' is empty: no image in" in err and err.count("\n") == 1


def test_a_path_of_another_system_is_a_folder_everywhere(capsys, monkeypatch):
    from PIL import Image

    monkeypatch.setattr(os, "sep", "\\")
    for name in ("dark", "light"):
        Path(".\\pets", name).mkdir(parents=True)
        for number in range(12):
            color = (20 * number, 90 + number, 5 * number)
            Image.new("RGB", (8, 8), color).save(Path(".\\pets", name, f"{number}.png"))
    assert run(capsys, "data", ".\\pets", "--size", "8")[0] == 0
    argv = ["train", "resnet20", "--data", ".\\pets", "--epochs", "1", "--out", "mine"]
    status, _, err = run(capsys, *argv)
    assert status == 0 and "look at what was read" in err, err


def test_a_network_of_the_course_reads_a_letter_that_is_black_on_white(capsys):
    import matplotlib
    from PIL import Image, ImageDraw, ImageFont

    file = f"{matplotlib.get_data_path()}/fonts/ttf/DejaVuSans-Bold.ttf"
    for letter in "RA":
        image = Image.new("RGB", (100, 100), "white")
        font = ImageFont.truetype(file, 80)
        ImageDraw.Draw(image).text((50, 50), letter, "black", font, anchor="mm")
        image.save(f"{letter}.png")
    status, out, err = run(capsys, "predict", "lenet5-letters-10", "--invert", "R.png", "A.png")
    assert (status, err) == (0, "")
    for letter, line in zip("RA", out.splitlines()):
        name, *found = line.split()
        assert name == f"{letter}.png" and len(found) == 10 and found[1] == letter, line
        shares = [float(share.rstrip("%")) for share in found[::2]]
        assert shares == sorted(shares, reverse=True) and 20 < shares[0] <= sum(shares) < 100.3


def test_data_lists_what_is_here_and_records_are_a_table(capsys, monkeypatch, tmp_path):
    monkeypatch.setenv("CNNLAB_DATA", str(tmp_path / "sets"))
    status, out, _ = run(capsys, "data")
    rows = dict(line.split(maxsplit=1) for line in out.splitlines())
    assert status == 0 and list(rows) == ["digits", "letters", "fashion-mnist", "cifar-10"]
    assert rows["cifar-10"] == f"not in {tmp_path / 'sets'}; data cifar-10 fetches it"
    status, out, _ = run(capsys, "data", "digits")
    assert status == 0 and "1257 of 1x8x8 uint8, 10 classes" in out
    status, out, _ = run(capsys, "records", "--data", "letters")
    assert status == 0 and "| `lenet5` | letters | 10 |" in out and "digits" not in out


def test_every_option_of_fit_can_be_given(capsys):
    from inspect import signature

    from cnnlab.__main__ import _parser
    from cnnlab._commands.train import FIT
    from cnnlab.training.loop import fit

    known = signature(fit).parameters
    rest = {"model", "train", "val", "device", "checkpoint", "each_epoch", "progress"}
    assert {*known} == {*FIT} | rest
    options = vars(_parser().parse_args(["train", "lenet5"]))
    assert set(FIT) <= set(options)
    for name in set(FIT) - {"epochs", "optimizer"}:
        assert options[name] == known[name].default, name


def test_two_processes_of_torchrun_share_a_run_and_one_of_them_writes():
    def torchrun(*argv):
        return subprocess.run(
            [
                sys.executable,
                "-m",
                "torch.distributed.run",
                "--standalone",
                "--nproc-per-node=2",
                "-m",
                "cnnlab",
                *LENET,
                "--epochs",
                "1",
                "--device",
                "cpu",
                *argv,
            ],
            env={**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)},
            capture_output=True,
            text=True,
            timeout=900,
        )

    done = torchrun("--out", "both")
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("test: loss") == 1 and done.stdout.count("epoch  train loss") == 1
    assert done.stderr.count("\n    1 ") <= 1
    assert main([*LENET, "--epochs", "1", "--device", "cpu", "--out", "one"]) == 0
    records = [json.loads(Path(name, "history.json").read_text()) for name in ("both", "one")]
    assert records[0]["losses"] == pytest.approx(records[1]["losses"], rel=1e-3)
    done = torchrun("--out", "both")
    assert done.returncode != 0 and "cnnlab: --out both is there already" in done.stderr


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


@pytest.mark.parametrize(
    "device, card, built_for, words",
    [
        ("cpu", "Tesla T4", None, "card present (Tesla T4), torch without CUDA: install"),
        ("cpu", "Tesla T4", "13.0", "torch with CUDA 13.0 cannot use it: its driver is"),
        ("cpu", None, None, ""),
        ("cuda", "Tesla T4", "13.0", ""),
    ],
)
def test_doctor_says_what_to_do_about_a_card_that_torch_cannot_use(
    monkeypatch, device, card, built_for, words
):
    monkeypatch.setattr(doctor, "nvidia_card", lambda: card)
    said = " ".join(doctor.unused(device, built_for))
    assert words in said and bool(said) == bool(words)


def test_doctor_asks_the_system_for_the_card(monkeypatch, tmp_path):
    fake = tmp_path / "nvidia-smi"
    fake.write_text("#!/bin/sh\necho Tesla T4\necho Tesla T4\n")
    fake.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=os.pathsep)
    assert doctor.nvidia_card() == "Tesla T4"


@pytest.mark.parametrize(
    "made, expected",
    [
        (["notebooks"], "my-course/my-progress"),
        (["notebooks", "my-course/my-progress"], "my-course/my-progress"),
        (["notebooks/my-progress"], "notebooks/my-progress"),
        (["my-progress"], "my-progress"),
        ([], "my-progress"),
    ],
)
def test_doctor_names_the_progress_that_is_really_used(monkeypatch, tmp_path, made, expected):
    monkeypatch.delenv("CNNLAB_PROGRESS", raising=False)
    monkeypatch.chdir(tmp_path)
    for name in made:
        (tmp_path / name).mkdir(parents=True)
    assert doctor.folder_of_progress().as_posix() == expected


def test_the_version_is_told(capsys):
    with pytest.raises(SystemExit) as caught:
        main(["--version"])
    assert caught.value.code == 0
    assert capsys.readouterr().out == f"cnnlab {cnnlab.__version__}\n"


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
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=900)
    assert done.returncode == 0 and "--epochs" in done.stdout, done.stderr


def test_no_command_shows_usage(capsys):
    with pytest.raises(SystemExit) as caught:
        main([])
    assert caught.value.code == 2
    assert "usage: python -m cnnlab" in capsys.readouterr().err
