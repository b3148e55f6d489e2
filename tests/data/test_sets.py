from __future__ import annotations

import hashlib
import pickle
import shutil
import struct
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from PIL import Image
from torch import nn

from cnnlab.data.augment import Augment
from cnnlab.data.batches import Batches
from cnnlab.data.folder import image_folder
from cnnlab.data.images import DataError, Images, stratified
from cnnlab.data.sets import data_folder, load, two_marks


def images(count=6, classes=3):
    pixels = torch.arange(count * 4, dtype=torch.uint8).view(count, 1, 2, 2)
    return Images(pixels, torch.arange(count) % classes, tuple("abc")[:classes], "tiny")


def as_rows(part):
    return {row.numpy().tobytes() for row in part.images}


def test_digits_are_all_there_once_and_split_by_class():
    splits = load("digits")
    assert (len(splits.train), len(splits.val), len(splits.test)) == (1257, 180, 360)
    assert splits.train.shape == (1, 8, 8)
    rows = [as_rows(part) for part in (splits.train, splits.val, splits.test)]
    assert len(rows[0] | rows[1] | rows[2]) == sum(map(len, rows)) == 1797  # all digits differ
    share = splits.test.labels.bincount() / splits.train.labels.bincount()
    assert (share - 360 / 1257).abs().max() < 0.02


def test_digits_need_no_import_of_scikit_learn(monkeypatch):
    code = "import sys, cnnlab.data.sets as d; d.load('digits'); sys.exit('sklearn' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0
    monkeypatch.setattr("cnnlab.data.sets.find_spec", lambda name: None)  # a file in another place
    imported = load("digits")
    monkeypatch.undo()
    own = load("digits")
    for part in ("train", "val", "test"):
        mine, theirs = getattr(own, part), getattr(imported, part)
        assert torch.equal(mine.images, theirs.images) and torch.equal(mine.labels, theirs.labels)


def test_digits_keep_their_values_as_255ths():
    from sklearn.datasets import load_digits

    splits = load("digits")
    assert splits.train.images.min() == 0 and splits.train.images.max() == 255
    original = {tuple(image.flatten().astype(int)) for image in load_digits().images}
    back = (splits.val.images.double() * 16 / 255).round().long().flatten(1)
    assert {tuple(row) for row in back.tolist()} <= original


def test_split_follows_the_seed():
    assert torch.equal(load("digits").val.images, load("digits").val.images)
    assert not torch.equal(load("digits").val.images, load("digits", seed=1).val.images)


def test_mean_and_std_are_of_the_training_part():
    splits = load("digits")
    pixels = splits.train.images.double() / 255
    assert splits.mean[0] == pytest.approx(float(pixels.mean()))
    assert splits.std[0] == pytest.approx(float(pixels.std(correction=0)))
    assert splits.mean != splits.val.mean_std()[0]


def test_stratified_gives_every_part_its_share_of_every_class():
    labels = torch.tensor([0] * 100 + [1] * 50 + [2] * 10)
    whole = Images(torch.zeros(160, 1, 1, 1), labels, tuple("abc"))
    small, large = stratified(whole, (1, 4), seed=3)
    assert small.labels.bincount().tolist() == [20, 10, 2]
    assert large.labels.bincount().tolist() == [80, 40, 8]


def test_resized_scales_pixels_and_keeps_the_rest():
    splits = load("digits")
    large = splits.resized(32)
    assert large.train.images.shape == (1257, 1, 32, 32)
    assert large.train.images.dtype == torch.uint8
    assert torch.equal(large.train.labels, splits.train.labels)
    assert large.mean[0] == pytest.approx(splits.mean[0], abs=0.01)
    assert large.std[0] < splits.std[0] - 0.005  # interpolation smooths
    assert torch.equal(splits.train.resized(8).images, splits.train.images)


def test_index_slice_mask_and_int_give_images():
    tiny = images()
    assert tiny[1:3].labels.tolist() == [1, 2]
    assert tiny[torch.tensor([5, 0])].labels.tolist() == [2, 0]
    assert len(tiny[tiny.labels == 1]) == 2
    assert tiny[-1].images.shape == (1, 1, 2, 2)
    assert repr(tiny) == "Images('tiny': 6 of 1x2x2 uint8, 3 classes)"
    with pytest.raises(IndexError):
        tiny[6]


@pytest.mark.parametrize(
    "pixels, labels, message",
    [
        (torch.zeros(2, 2, 2), torch.zeros(2).long(), r"\(2, 2, 2\); expected .*unsqueeze"),
        (torch.zeros(2, 1, 2, 2).long(), torch.zeros(2).long(), "int64.*expected uint8"),
        (torch.zeros(2, 1, 2, 2), torch.zeros(3).long(), r"shape \(3,\); expected .*\(2,\)"),
        (torch.zeros(2, 1, 2, 2), torch.zeros(2), "labels are torch.float32"),
        (torch.zeros(2, 1, 2, 2), torch.tensor([0, 3]), "from 0 to 3; expected 0 to 2"),
        (torch.zeros(2, 1, 2, 2), torch.tensor([-1, 0]), "from -1 to 0"),
    ],
)
def test_wrong_tensors_are_named(pixels, labels, message):
    with pytest.raises(DataError, match=message):
        Images(pixels, labels, tuple("abc"), "mine")


def test_unknown_name_is_guessed():
    with pytest.raises(DataError, match="no data set 'digit'. Did you mean 'digits'"):
        load("digit")


# Two marks


def has_second_mark_at(image, distance):
    (row, first) = (image == 255).nonzero()[0].tolist()
    return image[row, (first + distance) % image.shape[1]] == 128


@pytest.mark.parametrize("distance", [1, 3, 7])
def test_two_marks_are_where_the_class_says(distance):
    marks = two_marks(distance, 200, seed=0, size=16)
    for image, label in zip(marks.images[:, 0], marks.labels):
        assert (image > 0).sum() == 2
        assert has_second_mark_at(image, distance if marks.classes[label] == "right" else -distance)
    assert marks.labels.bincount().tolist() == [100, 100]


def test_two_marks_come_in_pairs_wrap_around_and_follow_the_seed():
    marks = two_marks(7, 200, seed=0, size=16)
    first = marks.images == 255
    assert torch.equal(first[0::2], first[1::2])
    columns = first.nonzero()[:, 3]
    assert columns.min() == 0 and columns.max() == 15  # so some second mark has wrapped around
    assert torch.equal(marks.images, two_marks(7, 200, seed=0, size=16).images)
    assert not torch.equal(marks.images, two_marks(7, 200, seed=1, size=16).images)
    assert len(two_marks(3, 5, seed=0)) == 5


@pytest.mark.parametrize("distance, size", [(0, 32), (16, 32), (8, 16), (-1, 16)])
def test_two_marks_refuse_a_distance_without_sides(distance, size):
    with pytest.raises(DataError, match=f"distance {distance} in images {size} wide; expected 1"):
        two_marks(distance, 4, seed=0, size=size)
    assert len(two_marks((size - 1) // 2, 4, seed=0, size=size)) == 4


def torus_net(blocks, seed):
    """`blocks` of circular 3x3 convolution, norm, ReLU: receptive field 2 * blocks + 1."""
    torch.manual_seed(seed)
    layers, channels = [], 1
    for _ in range(blocks):
        layers += [
            nn.Conv2d(channels, 8, 3, padding=1, padding_mode="circular", bias=False),
            nn.BatchNorm2d(8),
            nn.ReLU(),
        ]
        channels = 8
    return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8, 2))


def exact(net):
    """Small integers as weights, in float64: sums are then exact in any order."""
    net = net.double().eval()
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for parameter in net.parameters():
            parameter.copy_(torch.randint(-2, 3, parameter.shape, generator=generator))
        for module in net.modules():
            if isinstance(module, nn.BatchNorm2d):
                module.weight.fill_(1)
                module.eps, module.running_var = 0.0, torch.full((8,), 4.0).double()
    return net


@pytest.mark.parametrize("blocks", [1, 2, 3, 4])
@pytest.mark.parametrize("distance", [2, 3, 4, 5, 7])
def test_logits_tell_the_sides_apart_only_beyond_the_distance(distance, blocks):
    pixels = two_marks(distance, 64, seed=0, size=16).images
    receptive_field = 2 * blocks + 1
    with torch.no_grad():
        logits = exact(torus_net(blocks, 0))(pixels.double() / 128)
        trained_mode = torus_net(blocks, 0).double()(pixels.double() / 255)
    assert logits.abs().sum() > 0
    difference = (logits[0::2] - logits[1::2]).abs()
    in_training = (trained_mode[0::2] - trained_mode[1::2]).abs()
    if receptive_field <= distance:
        assert difference.max() == 0  # equal, not close
        assert in_training.max() < 1e-14  # ordinary weights: up to the order of summation
    else:
        assert difference.max(1).values.min() > 0  # for every pair
        assert in_training.max(1).values.min() > 1e-6


# Published sets, read by torchvision from small files made here


def write_idx(path, array):
    header = struct.pack(f">HBB{array.ndim}I", 0, 8, array.ndim, *array.shape)
    path.write_bytes(header + array.numpy().tobytes())


@pytest.fixture
def fashion(tmp_path):
    raw = tmp_path / "FashionMNIST" / "raw"
    raw.mkdir(parents=True)
    generator = torch.Generator().manual_seed(0)
    for prefix, count in (("train", 100), ("t10k", 20)):
        pixels = torch.randint(256, (count, 28, 28), generator=generator, dtype=torch.uint8)
        write_idx(raw / f"{prefix}-images-idx3-ubyte", pixels)
        write_idx(raw / f"{prefix}-labels-idx1-ubyte", (torch.arange(count) % 10).byte())
    return tmp_path


def test_fashion_mnist_is_read_from_its_folder(fashion):
    splits = load("fashion-mnist", folder=fashion, download=False)
    assert (len(splits.train), len(splits.val), len(splits.test)) == (90, 10, 20)
    assert splits.val.labels.bincount().tolist() == [1] * 10
    assert splits.train.shape == (1, 28, 28) and splits.test.classes[9] == "Ankle boot"


def test_missing_files_say_what_was_tried_and_where_to_put_them(tmp_path):
    with pytest.raises(DataError) as caught:
        load("fashion-mnist", folder=tmp_path, download=False)
    assert f"cannot be read from {tmp_path} (download=False)" in str(caught.value)
    assert "train-images-idx3-ubyte.gz" in str(caught.value)
    assert str(tmp_path / "FashionMNIST" / "raw") in str(caught.value)
    with pytest.raises(DataError, match=r"place cifar-10-python\.tar\.gz in"):
        load("cifar-10", folder=tmp_path, download=False)


def test_without_network_the_attempt_is_reported(tmp_path, monkeypatch):
    def refuse(*args, **kwargs):
        raise OSError("no route to host")

    monkeypatch.setattr("urllib.request.urlopen", refuse)
    with pytest.raises(DataError, match="or downloaded: .*no route to host.*by hand"):
        load("cifar-10", folder=tmp_path)


def test_truncated_file_is_an_error_not_a_traceback(fashion):
    path = fashion / "FashionMNIST" / "raw" / "train-images-idx3-ubyte"
    path.write_bytes(path.read_bytes()[:1000])
    with pytest.raises(DataError, match="fashion-mnist cannot be read"):
        load("fashion-mnist", folder=fashion, download=False)


def test_data_folder_follows_the_environment(monkeypatch, tmp_path):
    monkeypatch.setenv("CNNLAB_DATA", str(tmp_path))
    assert data_folder() == tmp_path


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


def test_a_finished_download_is_moved_into_place(fashion, tmp_path_factory, monkeypatch):
    from cnnlab._torchvision import import_torchvision

    def arrives(self):
        shutil.copytree(fashion / "FashionMNIST", Path(self.root) / "FashionMNIST")

    cls = import_torchvision().datasets.FashionMNIST
    monkeypatch.setattr(cls, "download", arrives)
    place = tmp_path_factory.mktemp("data")
    assert len(load("fashion-mnist", folder=place).train) == 90
    assert [item.name for item in place.iterdir()] == ["FashionMNIST"]


def test_cifar_10_is_read_from_the_files_that_torchvision_reads(tmp_path, monkeypatch):
    """Files in the format of the publisher's page, with checksums of their own."""
    from cnnlab._torchvision import import_torchvision

    cls = import_torchvision().datasets.CIFAR10
    base = tmp_path / cls.base_folder
    base.mkdir()
    generator = torch.Generator().manual_seed(0)
    lists = {"train_list": [], "test_list": []}
    for which in lists:
        for name, _ in getattr(cls, which):
            pixels = torch.randint(256, (20, 3072), generator=generator, dtype=torch.uint8).numpy()
            labels = [i % 10 for i in range(20)]
            (base / name).write_bytes(pickle.dumps({"data": pixels, "labels": labels}))
            lists[which].append([name, hashlib.md5((base / name).read_bytes()).hexdigest()])
    names = list("abcdefghij")
    (base / "batches.meta").write_bytes(pickle.dumps({"label_names": names}))
    meta = hashlib.md5((base / "batches.meta").read_bytes()).hexdigest()
    monkeypatch.setattr(cls, "meta", {**cls.meta, "md5": meta})
    for which, files in lists.items():
        monkeypatch.setattr(cls, which, files)
    splits = load("cifar-10", folder=tmp_path, download=False)
    assert (len(splits.train), len(splits.val), len(splits.test)) == (90, 10, 20)
    assert splits.train.shape == (3, 32, 32) and splits.test.classes == tuple(names)
    # channels first: the publisher stores all red values, then all green, then all blue
    first = pickle.loads((base / lists["test_list"][0][0]).read_bytes())["data"][0]
    assert torch.equal(splits.test.images[0], torch.tensor(first).view(3, 32, 32))
    damaged = base / lists["train_list"][0][0]
    damaged.write_bytes(damaged.read_bytes()[:-1])
    with pytest.raises(DataError, match="cifar-10 cannot be read .*remove what is damaged there"):
        load("cifar-10", folder=tmp_path, download=False)


# A folder of images


def write_images(folder, count, color):
    folder.mkdir(parents=True)
    for i in range(count):
        Image.new("RGB", (30 + i, 20), (color, i, 0)).save(folder / f"{i:02}.png")


@pytest.fixture
def pets(tmp_path):
    for label, name in enumerate(("cat", "dog")):
        write_images(tmp_path / "pets" / name, 20, 100 * (label + 1))
    (tmp_path / "pets" / "dog" / "notes.txt").write_text("not an image")
    return tmp_path / "pets"


def test_a_folder_of_images_is_a_data_set(pets):
    splits = load(str(pets), size=16)
    assert [len(part) for part in (splits.train, splits.val, splits.test)] == [32, 4, 4]
    assert splits.train.shape == (3, 16, 16) and splits.train.classes == ("cat", "dog")
    assert splits.test.labels.bincount().tolist() == [2, 2]
    everything = [part.images for part in (splits.train, splits.val, splits.test)]
    marks = sorted(tuple(image[:2, 0, 0].tolist()) for part in everything for image in part)
    assert marks == [(red, i) for red in (100, 200) for i in range(20)]  # each once
    for part in (splits.train, splits.val, splits.test):
        assert ((part.images[:, 0, 8, 8] == 200) == (part.labels == 1)).all()
    assert torch.equal(load(str(pets), size=16).val.images, splits.val.images)
    assert not torch.equal(load(str(pets), size=16, seed=1).val.images, splits.val.images)


def test_given_parts_are_kept(pets, tmp_path):
    shutil.copytree(pets, tmp_path / "split" / "train")
    write_images(tmp_path / "split" / "test" / "cat", 3, 1)
    write_images(tmp_path / "split" / "test" / "dog", 3, 2)
    train, val, test = image_folder(tmp_path / "split")
    assert (len(train), len(val), len(test)) == (36, 4, 6)
    assert repr(test) == "Files('split test': 6 files, 2 classes)"


def test_files_decode_the_same_with_workers_and_are_batched_like_images(pets):
    train, _, _ = image_folder(pets)
    images = train.decoded(16)
    assert torch.equal(train.decoded(16, workers=2).images, images.images)
    change = Augment(crop=2, flip=True, jitter=0.2)
    for workers in (0, 2):
        from_files = Batches(train, 5, size=16, workers=workers, shuffle=True, augment=change)
        from_memory = Batches(images, 5, shuffle=True, augment=change)
        assert len(from_files) == len(from_memory) == 7
        share = {"rank": 1, "world": 2}
        for a, b in zip(from_files.at(1, **share), from_memory.at(1, **share)):
            assert torch.equal(a[0], b[0]) and torch.equal(a[1], b[1])


def test_folders_that_cannot_be_used_say_why(pets, tmp_path):
    with pytest.raises(DataError, match="images of a folder differ in size. Give one: size=64"):
        load(str(pets))
    with pytest.raises(DataError, match="nowhere is not a folder; expected one folder of images"):
        image_folder(tmp_path / "nowhere")
    (pets / "fish").mkdir()
    with pytest.raises(DataError, match="class 'fish' is empty: no image in .*pets.fish"):
        image_folder(pets)
    (pets / "fish").rmdir()
    (pets / "cat" / "07.png").write_bytes(b"\x89PNG broken")
    with pytest.raises(DataError, match="07.png cannot be read as an image .* Remove it"):
        load(str(pets), size=16)
    shutil.copytree(pets / "cat", tmp_path / "odd" / "train" / "cat")
    with pytest.raises(DataError, match="odd has train; expected train and test"):
        image_folder(tmp_path / "odd")
    write_images(tmp_path / "odd" / "test" / "bird", 2, 1)
    with pytest.raises(DataError, match="test has the classes bird; train has cat"):
        image_folder(tmp_path / "odd")
    train, _, _ = image_folder(pets)
    with pytest.raises(DataError, match="size None; expected one for Files"):
        Batches(train, 4)


def test_size_scales_a_set_as_it_is_loaded():
    assert torch.equal(load("digits", size=32).val.images, load("digits").resized(32).val.images)
