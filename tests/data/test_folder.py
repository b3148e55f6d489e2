from __future__ import annotations

import shutil

import numpy as np
import pytest
import torch
from PIL import Image

from cnnlab.data.folder import decode, image_folder, sheet
from cnnlab.data.images import DataError
from cnnlab.data.sets import load


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


def test_files_decode_the_same_with_workers(pets):
    train, _, _ = image_folder(pets)
    assert torch.equal(train.decoded(16, workers=2).images, train.decoded(16).images)


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


# Files as people have them


def test_hidden_and_system_files_are_no_images_and_no_classes(pets):
    for name in (".ipynb_checkpoints", "__MACOSX"):
        (pets / name).mkdir()
        (pets / "cat" / name).mkdir()
        shutil.copy(pets / "cat" / "01.png", pets / "cat" / name / "01.png")
    (pets / "cat" / "._01.png").write_bytes(b"Mac OS X")
    (pets / "cat" / "folder.png").mkdir()
    parts = image_folder(pets)
    assert sum(map(len, parts)) == 40 and parts[0].classes == ("cat", "dog")


def test_validation_is_another_word_for_val(pets, tmp_path):
    for part in ("train", "validation", "test"):
        shutil.copytree(pets, tmp_path / "split" / part)
    assert [len(part) for part in image_folder(tmp_path / "split")] == [40, 40, 40]


def test_a_class_may_be_called_train(tmp_path):
    for color, name in enumerate(("bus", "car", "train")):
        write_images(tmp_path / "traffic" / name, 10, color)
    assert image_folder(tmp_path / "traffic")[0].classes == ("bus", "car", "train")
    for name in ("train", "test"):  # parts whose classes are missing
        write_images(tmp_path / "flat" / name, 10, 1)
    with pytest.raises(DataError, match="train has no folders in it"):
        image_folder(tmp_path / "flat")


def test_two_folders_for_one_part_are_refused(pets, tmp_path):
    for part in ("train", "val", "validation", "test"):
        shutil.copytree(pets, tmp_path / "split" / part)
    with pytest.raises(DataError, match="split has val and validation, which mean the same part"):
        image_folder(tmp_path / "split")


def test_what_is_wrong_beside_the_image_is_not_blamed_on_it(pets):
    with pytest.raises(DataError, match="none.png is not there; expected the path of an image"):
        decode(pets / "none.png", 6)
    with pytest.raises(DataError, match="pets is a folder; expected the path of an image"):
        decode(pets, 6)
    with pytest.raises(DataError, match="ground 'whit' is no color. Did you mean 'white'"):
        decode(pets / "cat" / "01.png", 6, "whit")
    assert len(load(str(pets), size=16, ground="#fff").test) == 4


def test_the_camera_s_turn_is_followed(tmp_path):
    pixels = np.zeros((20, 20, 3), np.uint8)
    pixels[:10] = 255
    image = Image.fromarray(pixels)
    exif = image.getexif()
    exif[0x0112] = 3  # half a turn: people see the white half at the bottom
    image.save(tmp_path / "x.jpg", exif=exif, quality=95)
    seen = decode(tmp_path / "x.jpg", 20).float()
    assert seen[:, :8].mean() < 5 and seen[:, 12:].mean() > 250


@pytest.mark.parametrize("mode", ["RGBA", "LA", "P"])
def test_what_is_transparent_shows_the_ground(tmp_path, mode):
    pixels = np.zeros((6, 6, 4), np.uint8)
    pixels[2:4, 2:4, 3] = 255  # a black square, all else transparent and black
    image = Image.fromarray(pixels)
    if mode == "P":
        image = image.quantize(4)
    image.convert(mode).save(tmp_path / "x.png")
    for ground, value in (("white", 255), ("black", 0), ("#808080", 128)):
        seen = decode(tmp_path / "x.png", 6, ground)
        assert (seen[:, 2:4, 2:4] == 0).all() and (seen[:, 0] == value).all()


def test_sixteen_bits_floats_and_inks_keep_their_brightness(tmp_path):
    ramp = np.linspace(0, 1, 36).reshape(6, 6)
    expected = torch.from_numpy((255 * ramp).round()).expand(3, 6, 6)
    Image.fromarray((65535 * ramp).round().astype(np.uint16)).save(tmp_path / "deep.png")
    Image.fromarray(ramp.astype(np.float32)).save(tmp_path / "float.tif")
    for name in ("deep.png", "float.tif"):
        assert (decode(tmp_path / name, 6) - expected).abs().max() <= 1
    Image.new("RGB", (6, 6), (200, 30, 30)).convert("CMYK").save(tmp_path / "ink.jpg")
    assert decode(tmp_path / "ink.jpg", 6)[:, 3, 3].tolist() == [200, 30, 30]


def test_what_has_no_one_right_reading_is_refused_by_name(pets, tmp_path):
    frames = [Image.new("L", (6, 6), level) for level in (0, 255)]
    frames[0].save(tmp_path / "x.gif", save_all=True, append_images=frames[1:])
    with pytest.raises(DataError, match="x.gif is animated or has pages: 2 images .* as PNG"):
        decode(tmp_path / "x.gif", 6)
    Image.fromarray(np.full((6, 6), 7e4, np.float32)).save(tmp_path / "x.tif")
    with pytest.raises(
        DataError, match="x.tif holds numbers from 70000 to 70000 .*expected 0 to 1"
    ):
        decode(tmp_path / "x.tif", 6)
    (pets / "cat" / "a.HEIC").write_bytes(b"x")
    with pytest.raises(DataError, match="a.HEIC is of a kind that is not read here .1 such"):
        image_folder(pets)


def test_a_huge_image_is_a_sentence(tmp_path, monkeypatch):
    Image.new("L", (100, 100)).save(tmp_path / "x.png")
    for limit in (9_000, 4_000):  # Pillow warns from one limit on, and refuses from its double
        monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", limit)
        with pytest.raises(DataError, match="x.png is too large: more than 0 million pixels"):
            decode(tmp_path / "x.png", 6)


def test_the_error_of_a_worker_is_one_sentence(pets):
    (pets / "cat" / "07.png").write_text("hello")
    with pytest.raises(DataError) as caught:
        load(str(pets), size=16, workers=2)
    assert "07.png cannot be read as an image" in str(caught.value)
    assert "\n" not in str(caught.value) and "Traceback" not in str(caught.value)


def test_too_few_images_or_classes_are_counted(tmp_path):
    write_images(tmp_path / "few" / "cat", 1, 1)
    with pytest.raises(DataError, match="few has one class, cat; a choice needs two folders"):
        image_folder(tmp_path / "few")
    write_images(tmp_path / "few" / "dog", 1, 1)
    with pytest.raises(DataError, match="too few images: 0 for train, 1 for val, 1 for test. Ten"):
        image_folder(tmp_path / "few")


def test_the_sheet_shows_every_class(pets):
    splits = load(str(pets), size=64)
    page = np.asarray(sheet(splits, columns=3))
    assert page.shape == (2 * 78, 3 * 64, 3)
    for row, red in ((0, 100), (78, 200)):
        assert (
            page[row + 40, 10]
            == splits.train.images[splits.train.labels == (row > 0)][0, :, 26, 10].numpy()
        ).all()
        assert page[row + 40, 10, 0] == red
    assert sheet(load("digits")).size == (12 * 64, 10 * 78)
