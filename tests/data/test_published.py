"""Published sets, read from small files made here, with checksums of their own."""

from __future__ import annotations

import gzip
import hashlib
import pickle
import shutil
import socket
import struct
import tarfile
import time
from dataclasses import replace
from http.client import IncompleteRead
from pathlib import Path

import pytest
import torch

from cnnlab.data import published
from cnnlab.data.images import DataError
from cnnlab.data.published import SETS, data_folder, find
from cnnlab.data.sets import load

DEBIAN = Path("/usr/share/datasets/fashion-mnist")


def md5(path):
    return hashlib.md5(path.read_bytes()).hexdigest()


def known(monkeypatch, name, folder):
    """From now on the set consists of these files and is not looked for elsewhere."""
    own = replace(
        SETS[name],
        files={file: md5(folder / file) for file in SETS[name].files},
        places=tuple(place for place in SETS[name].places if not place.startswith("/")),
    )
    monkeypatch.setitem(SETS, name, own)


def write_idx(path, array):
    header = struct.pack(f">HBB{array.ndim}I", 0, 8, array.ndim, *array.shape)
    path.write_bytes(header + array.numpy().tobytes())


@pytest.fixture
def fashion(tmp_path, monkeypatch):
    raw = tmp_path / "FashionMNIST" / "raw"
    raw.mkdir(parents=True)
    generator = torch.Generator().manual_seed(0)
    for prefix, count in (("train", 100), ("t10k", 20)):
        pixels = torch.randint(256, (count, 28, 28), generator=generator, dtype=torch.uint8)
        write_idx(raw / f"{prefix}-images-idx3-ubyte", pixels)
        write_idx(raw / f"{prefix}-labels-idx1-ubyte", (torch.arange(count) % 10).byte())
    known(monkeypatch, "fashion-mnist", raw)
    return tmp_path


def test_fashion_mnist_is_read_from_its_folder(fashion):
    splits = load("fashion-mnist", folder=fashion, download=False)
    assert (len(splits.train), len(splits.val), len(splits.test)) == (90, 10, 20)
    assert splits.val.labels.bincount().tolist() == [1] * 10
    assert splits.train.shape == (1, 28, 28) and splits.test.classes[9] == "Ankle boot"


@pytest.mark.parametrize("place", ["FashionMNIST/raw", "", "fashion-mnist"])
@pytest.mark.parametrize("packed", [False, True])
def test_files_are_found_packed_or_not_in_any_usual_place(fashion, tmp_path_factory, place, packed):
    expected = load("fashion-mnist", folder=fashion, download=False)
    root = tmp_path_factory.mktemp("data")
    (root / place).mkdir(parents=True, exist_ok=True)
    for file in (fashion / "FashionMNIST" / "raw").iterdir():
        data = file.read_bytes()
        if packed:  # another archive of the same content: level and date are not looked at
            (root / place / f"{file.name}.gz").write_bytes(gzip.compress(data, 1))
        else:
            (root / place / file.name).write_bytes(data)
    assert find("fashion-mnist", root) == root / place
    splits = load("fashion-mnist", folder=root, download=False)
    assert torch.equal(splits.train.images, expected.train.images)
    assert torch.equal(splits.test.labels, expected.test.labels)


def test_missing_files_say_what_to_put_where(tmp_path, monkeypatch):
    own = replace(SETS["fashion-mnist"], places=("FashionMNIST/raw", "."))
    monkeypatch.setitem(SETS, "fashion-mnist", own)
    with pytest.raises(DataError) as caught:
        load("fashion-mnist", folder=tmp_path, download=False)
    message = str(caught.value)
    assert f"fashion-mnist is not in {tmp_path}, and download=False" in message
    assert "put train-images-idx3-ubyte.gz, train-labels-idx1-ubyte.gz, t10k-images" in message
    for word in ("apt install dataset-fashion-mnist", "CNNLAB_DATA", "CNNLAB_SCALE=quick"):
        assert word in message
    with pytest.raises(DataError, match=r"put cifar-10-python\.tar\.gz \(packed or"):
        load("cifar-10", folder=tmp_path, download=False)


def test_without_network_the_attempt_is_reported(tmp_path, monkeypatch):
    def refuse(*args, **kwargs):
        raise OSError("no route to host")

    monkeypatch.setattr("urllib.request.urlopen", refuse)
    with pytest.raises(DataError, match="cannot be downloaded: .*no route to host.*by hand"):
        load("cifar-10", folder=tmp_path)


@pytest.mark.parametrize("change", [lambda data: data[:1000], lambda data: data[:-1] + b"x"])
@pytest.mark.parametrize("packed", [False, True])
def test_damage_is_found_by_the_content(fashion, change, packed):
    path = fashion / "FashionMNIST" / "raw" / "train-images-idx3-ubyte"
    data = path.read_bytes()
    if packed:
        path.unlink()
        path, data = path.with_name(f"{path.name}.gz"), gzip.compress(data)
    path.write_bytes(change(data))
    with pytest.raises(DataError, match=f"{path.name} .*Remove it, and put a whole one"):
        load("fashion-mnist", folder=fashion, download=False)


def test_data_folder_follows_the_environment(monkeypatch, tmp_path):
    monkeypatch.setenv("CNNLAB_DATA", str(tmp_path))
    assert data_folder() == tmp_path


def test_debian_s_folder_is_found_unless_another_is_named(monkeypatch, tmp_path):
    monkeypatch.setenv("CNNLAB_DATA", str(tmp_path))
    monkeypatch.setattr(published, "_file", lambda place, file: place == DEBIAN)
    assert find("fashion-mnist") == DEBIAN and find("fashion-mnist", tmp_path) is None


@pytest.mark.skipif(not DEBIAN.is_dir(), reason="Debian's dataset-fashion-mnist is not installed")
def test_the_real_set_is_read_from_debian_s_files_in_seconds(monkeypatch, tmp_path):
    monkeypatch.setenv("CNNLAB_DATA", str(tmp_path))
    began = time.process_time()
    splits = load("fashion-mnist", download=False)
    assert time.process_time() - began < 6
    assert (len(splits.train), len(splits.val), len(splits.test)) == (54_000, 6_000, 10_000)
    assert splits.test.labels.bincount().tolist() == [1000] * 10
    assert splits.mean[0] == pytest.approx(0.286, abs=0.001)  # as published


def test_an_interrupted_download_leaves_nothing_that_looks_like_data(tmp_path, monkeypatch):
    from cnnlab._torchvision import import_torchvision

    def breaks_off(self):
        (Path(self.root) / "FashionMNIST" / "raw").mkdir(parents=True)
        (Path(self.root) / "FashionMNIST" / "raw" / "train-images-idx3-ubyte").write_bytes(b"half")
        raise OSError("connection lost")

    cls = import_torchvision().datasets.FashionMNIST
    monkeypatch.setattr(cls, "download", breaks_off)
    with pytest.raises(DataError, match="connection lost"):
        load("fashion-mnist", folder=tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_a_download_that_is_cut_or_silent_is_a_sentence(tmp_path, monkeypatch):
    from cnnlab._torchvision import import_torchvision

    waits = []

    def is_cut(self):
        waits.append(socket.getdefaulttimeout())
        raise IncompleteRead(b"half")

    monkeypatch.setattr(import_torchvision().datasets.FashionMNIST, "download", is_cut)
    with pytest.raises(DataError, match="it cannot be downloaded: IncompleteRead"):
        load("fashion-mnist", folder=tmp_path)
    assert waits == [published.TIMEOUT] and socket.getdefaulttimeout() is None


def test_a_finished_download_is_moved_into_place(fashion, tmp_path_factory, monkeypatch):
    from cnnlab._torchvision import import_torchvision

    def arrives(self):
        shutil.copytree(fashion / "FashionMNIST", Path(self.root) / "FashionMNIST")

    cls = import_torchvision().datasets.FashionMNIST
    monkeypatch.setattr(cls, "download", arrives)
    place = tmp_path_factory.mktemp("data")
    assert len(load("fashion-mnist", folder=place).train) == 90
    assert [item.name for item in place.iterdir()] == ["FashionMNIST"]


def test_a_set_of_which_half_is_there_is_completed(fashion, tmp_path_factory, monkeypatch):
    from cnnlab._torchvision import import_torchvision

    def arrives(self):
        shutil.copytree(fashion / "FashionMNIST", Path(self.root) / "FashionMNIST")

    monkeypatch.setattr(import_torchvision().datasets.FashionMNIST, "download", arrives)
    place = tmp_path_factory.mktemp("data")
    arrived = fashion / "FashionMNIST" / "raw" / "t10k-labels-idx1-ubyte"
    (place / "FashionMNIST" / "raw").mkdir(parents=True)
    shutil.copy(arrived, place / "FashionMNIST" / "raw")
    assert len(load("fashion-mnist", folder=place).train) == 90


# CIFAR-10


class Evil:
    ran = False

    def __reduce__(self):
        return exec, (f"import {__name__} as t; t.Evil.ran = True",)


@pytest.fixture
def cifar(tmp_path, monkeypatch):
    base = tmp_path / "cifar-10-batches-py"
    base.mkdir()
    generator = torch.Generator().manual_seed(0)
    for name in SETS["cifar-10"].files:
        pixels = torch.randint(256, (20, 3072), generator=generator, dtype=torch.uint8).numpy()
        (base / name).write_bytes(
            pickle.dumps({"data": pixels, "labels": [i % 10 for i in range(20)]})
        )
    known(monkeypatch, "cifar-10", base)
    return base


def test_cifar_10_is_read_from_its_batches_and_from_the_archive(cifar, tmp_path_factory):
    splits = load("cifar-10", folder=cifar.parent, download=False)
    assert (len(splits.train), len(splits.val), len(splits.test)) == (90, 10, 20)
    assert splits.train.shape == (3, 32, 32) and splits.test.classes[8:] == ("ship", "truck")
    # channels first: the publisher stores all red values, then all green, then all blue
    first = pickle.loads((cifar / "test_batch").read_bytes())["data"][0]
    assert torch.equal(splits.test.images[0], torch.tensor(first).view(3, 32, 32))
    root = tmp_path_factory.mktemp("data")
    with tarfile.open(root / "cifar-10-python.tar.gz", "w:gz") as archive:
        archive.add(cifar, arcname=cifar.name)
    packed = load("cifar-10", folder=root, download=False)
    assert torch.equal(packed.train.images, splits.train.images)
    assert torch.equal(packed.test.images, splits.test.images)


def test_a_damaged_or_foreign_batch_is_never_opened(cifar):
    (cifar / "data_batch_2").write_bytes(pickle.dumps(Evil()))
    with pytest.raises(DataError, match="data_batch_2 is not the published file"):
        load("cifar-10", folder=cifar.parent, download=False)
    assert not Evil.ran
    archive = cifar.parent / "cifar-10-python.tar.gz"
    (cifar / "data_batch_2").unlink()
    archive.write_bytes(b"half an archive")
    with pytest.raises(DataError, match="cifar-10-python.tar.gz cannot be read"):
        load("cifar-10", folder=cifar.parent, download=False)
