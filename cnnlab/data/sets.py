"""Labelled images, always split into train, validation and test.

`load("digits")` needs no network. `two_marks` makes images whose class can only be told by a
network that sees both marks at once. A folder with a subfolder of images for each class is a data
set too.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from difflib import get_close_matches
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor


class DataError(ValueError):
    """Data that cannot be used: what was got, what was expected, what to do next."""


@dataclass(frozen=True, eq=False, repr=False)
class Images:
    """Images with one label each.

    images:  (N, C, H, W), uint8 in 0..255 or floating point (used as it is)
    labels:  (N,), int64, an index into `classes`
    """

    images: Tensor
    labels: Tensor
    classes: tuple[str, ...]
    name: str = "images"

    def __post_init__(self) -> None:
        images, labels = self.images, self.labels
        if images.ndim != 4 or not (images.dtype == torch.uint8 or images.is_floating_point()):
            raise DataError(
                f"{self.name}: images are {images.dtype} of shape {tuple(images.shape)}; expected "
                "uint8 or floating point of shape (N, C, H, W). Add a missing axis with unsqueeze."
            )
        if labels.dtype != torch.int64 or labels.shape != images.shape[:1]:
            raise DataError(
                f"{self.name}: labels are {labels.dtype} of shape {tuple(labels.shape)}; expected "
                f"int64 of shape ({len(images)},), one per image."
            )
        if len(labels) and not (0 <= int(labels.min()) and int(labels.max()) < len(self.classes)):
            raise DataError(
                f"{self.name}: labels run from {int(labels.min())} to {int(labels.max())}; "
                f"expected 0 to {len(self.classes) - 1} for {len(self.classes)} classes. "
                "Renumber the labels, or name the missing classes."
            )

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, index: int | slice | list[int] | Tensor) -> Images:
        """The chosen images, always as `Images`: one index gives a set of one."""
        if isinstance(index, int):
            index = [index]
        return replace(self, images=self.images[index], labels=self.labels[index])

    def __repr__(self) -> str:
        channels, height, width = self.images.shape[1:]
        dtype = str(self.images.dtype).removeprefix("torch.")
        return (
            f"Images({self.name!r}: {len(self)} of {channels}x{height}x{width} {dtype}, "
            f"{len(self.classes)} classes)"
        )

    @property
    def shape(self) -> tuple[int, int, int]:
        """(C, H, W) of one image."""
        channels, height, width = self.images.shape[1:]
        return channels, height, width

    def resized(self, size: int) -> Images:
        """Scaled to `size` x `size`, bilinear: an 8x8 digit for a network that wants 32x32."""
        images = F.interpolate(self.images.float(), (size, size), mode="bilinear", antialias=True)
        if self.images.dtype == torch.uint8:
            images = images.round_()
        return replace(self, images=images.to(self.images.dtype))

    def mean_std(self) -> tuple[tuple[float, ...], tuple[float, ...]]:
        """Mean and standard deviation per channel; of uint8 images in units of 255 (so 0..1)."""
        if not len(self):
            raise DataError(f"{self.name}: no images, so no mean. Check how the set was chosen.")
        values = self.images.double() / (255 if self.images.dtype == torch.uint8 else 1)
        std, mean = torch.std_mean(values, dim=(0, 2, 3), correction=0)
        return tuple(mean.tolist()), tuple(std.tolist())


@dataclass(frozen=True, eq=False, repr=False)
class Files:
    """Image files with one label each, decoded when they are asked for.

    labels:  (N,), int64, an index into `classes`
    """

    paths: tuple[Path, ...]
    labels: Tensor
    classes: tuple[str, ...]
    name: str = "files"

    def __len__(self) -> int:
        return len(self.paths)

    def __getitem__(self, index: Tensor) -> Files:
        """The chosen files, by a tensor of positions."""
        paths = tuple(self.paths[i] for i in index.tolist())
        return replace(self, paths=paths, labels=self.labels[index])

    def __repr__(self) -> str:
        return f"Files({self.name!r}: {len(self)} files, {len(self.classes)} classes)"

    def batches(self, positions: list[list[int]], size: int, workers: int) -> Iterator[Tensor]:
        """Decoded uint8 images (B, 3, size, size) for each list of positions, in that order.

        `workers` processes decode ahead; 0: this one does. The shorter side of an image becomes
        `size`, and the middle is cut out. Raises DataError for a file that is not an image.
        """
        from torch.utils.data import DataLoader

        return iter(
            DataLoader(
                _Decoded(self.paths, size),
                batch_sampler=positions,
                num_workers=workers,
                collate_fn=torch.stack,
            )
        )

    def decoded(self, size: int, workers: int = 0) -> Images:
        """All of them in memory: 3 x size x size bytes each."""
        positions = list(torch.arange(len(self)).split(256))
        parts = self.batches([part.tolist() for part in positions], size, workers)
        images = torch.cat(list(parts)) if len(self) else torch.zeros(0, 3, size, size).byte()
        return Images(images, self.labels, self.classes, self.name)


@dataclass(frozen=True)
class _Decoded:
    """What worker processes read from: file number -> uint8 image (3, size, size)."""

    paths: tuple[Path, ...]
    size: int

    def __getitem__(self, index: int) -> Tensor:
        import numpy
        from PIL import Image, ImageOps

        try:
            with Image.open(self.paths[index]) as image:
                square = ImageOps.fit(
                    image.convert("RGB"), (self.size, self.size), Image.Resampling.BILINEAR
                )
        except (OSError, SyntaxError, ValueError) as error:
            raise DataError(
                f"{self.paths[index]} cannot be read as an image ({error}). Remove it, or put a "
                "whole one in its place."
            ) from error
        return torch.from_numpy(numpy.array(square)).permute(2, 0, 1)


@dataclass(frozen=True, eq=False)
class Splits:
    """One data set in three parts that share no image; `mean` and `std` are of `train` alone.

    Choose between models by `val`; look at `test` once, at the end.
    """

    train: Images
    val: Images
    test: Images
    mean: tuple[float, ...]
    std: tuple[float, ...]

    def resized(self, size: int) -> Splits:
        """All three parts scaled to `size` x `size`; mean and std are taken anew."""
        return _splits(*(part.resized(size) for part in (self.train, self.val, self.test)))


def load(
    name: str,
    *,
    seed: int = 0,
    folder: str | Path | None = None,
    download: bool = True,
    size: int | None = None,
    workers: int = 0,
) -> Splits:
    """A data set by name, split into train, validation and test, the same split for the same seed.

    "digits"         1,797 images 1x8x8, ten classes, part of scikit-learn: 1,257 / 180 / 360
    "fashion-mnist"  70,000 images 1x28x28 (Xiao, Rasul, Vollgraf 2017): 54,000 / 6,000 / 10,000
    "cifar-10"       60,000 images 3x32x32 (Krizhevsky 2009): 45,000 / 5,000 / 10,000

    The last two are read from `folder` (default: `data_folder()`), downloaded there first if they
    are missing and `download` is true. Their test part is the publisher's and does not move with
    the seed. A `name` with a slash is the path of an image folder as in `image_folder`, decoded
    by `workers` processes. `size` scales all images to `size` x `size`; an image folder needs it.
    Raises `DataError` for an unknown name, and for files that can neither be found nor downloaded.
    """
    if "/" in str(name) or os.sep in str(name):
        if size is None:
            raise DataError(f"{name}: images of a folder differ in size. Give one: size=64.")
        return _splits(*(part.decoded(size, workers) for part in image_folder(name, seed=seed)))
    readers: dict[str, Callable[[], Splits]] = {
        "digits": lambda: _digits(seed),
        "fashion-mnist": lambda: _published("FashionMNIST", name, seed, folder, download),
        "cifar-10": lambda: _published("CIFAR10", name, seed, folder, download),
    }
    if name not in readers:
        close = get_close_matches(str(name), readers, n=1)
        hint = f"Did you mean {close[0]!r}? " if close else ""
        raise DataError(
            f"no data set {name!r}. {hint}Known: {', '.join(readers)}, or the path of "
            "an image folder, with a slash in it."
        )
    splits = readers[name]()
    return splits.resized(size) if size else splits


def image_folder(path: str | Path, *, seed: int = 0) -> tuple[Files, Files, Files]:
    """Train, validation and test files of a folder that holds a folder of images for each class.

    `path` holds the classes; or train/, test/ and perhaps val/, which then hold them. What is not
    given is split off, the same for the same seed: a tenth for val, and another for test.
    Raises `DataError` where there is no class, a class without images, or other classes in
    another part.
    """
    path = Path(path).expanduser()
    given = {
        part: _files(path / part, f"{path.name} {part}")
        for part in ("train", "val", "test")
        if (path / part).is_dir()
    }
    if not given:
        test, val, train = stratified(_files(path, path.name), (1, 1, 8), seed)
    elif "train" not in given or "test" not in given:
        raise DataError(
            f"{path} has {' and '.join(given)}; expected train and test, and perhaps "
            "val. Or let it hold the classes themselves, and it will be split."
        )
    else:
        train, test = given["train"], given["test"]
        val, train = (given["val"], train) if "val" in given else stratified(train, (1, 9), seed)
    parts = {"train": train, "val": val, "test": test}
    for name, part in parts.items():
        if part.classes != train.classes:
            raise DataError(
                f"{path}: {name} has the classes {', '.join(part.classes)}; train has "
                f"{', '.join(train.classes)}. Every part needs the same ones."
            )
    return tuple(replace(part, name=f"{path.name} {name}") for name, part in parts.items())


_ENDINGS = {".png", ".jpg", ".jpeg", ".bmp", ".gif", ".webp", ".ppm", ".pgm", ".tif", ".tiff"}


def _files(path: Path, name: str) -> Files:
    classes = sorted(p for p in path.iterdir() if p.is_dir()) if path.is_dir() else []
    if not classes:
        found = "has no folders in it" if path.is_dir() else "is not a folder"
        raise DataError(
            f"{path} {found}; expected one folder of images per class, such as "
            f"{path}/cat and {path}/dog."
        )
    paths, labels = [], []
    for label, folder in enumerate(classes):
        images = sorted(p for p in folder.rglob("*") if p.suffix.lower() in _ENDINGS)
        if not images:
            raise DataError(
                f"class {folder.name!r} is empty: no image in {folder} (looked for "
                f"{', '.join(sorted(_ENDINGS))}). Fill it, or remove the folder."
            )
        paths += images
        labels += [label] * len(images)
    return Files(tuple(paths), torch.tensor(labels), tuple(p.name for p in classes), name)


def data_folder() -> Path:
    """Where downloaded data sets are kept: $CNNLAB_DATA, or a folder in the user's cache."""
    return Path(os.environ.get("CNNLAB_DATA") or "~/.cache/cnnlab/data").expanduser()


def two_marks(distance: int, count: int, seed: int, size: int = 32) -> Images:
    """A task that needs a receptive field larger than `distance`.

    Each 1 x `size` x `size` image is black but for two marks on one row: a first of value 255 and,
    `distance` pixels to its left (class 0) or right (class 1), a second of value 128. Left and
    right continue at the opposite border, so the image has no border to orient by.

    Images come in pairs: 2k is "left" and 2k+1 "right" with the first mark in the same place.

    Why a network with circular padding, stride 1, global average pooling and a receptive field of
    at most `distance` cannot tell: no window that it sees holds both marks, so each window holds
    the first, the second or nothing. Both classes have the same windows the same number of times,
    only in other places, and the average forgets places. Its two images' logits are then equal for
    any weights (up to the order of summation). From a receptive field of `distance + 1` on, some
    windows hold both.
    """
    if not 1 <= distance < size / 2:
        raise DataError(
            f"distance {distance} in images {size} wide; expected 1 to {(size - 1) // 2}. "
            "Halfway around, left and right are the same place."
        )
    if count < 2:
        raise DataError(f"count {count}; expected at least 2, one image of each class.")
    generator = torch.Generator().manual_seed(seed)
    row, first = torch.randint(size, (2, (count + 1) // 2), generator=generator)
    row, first = row.repeat_interleave(2)[:count], first.repeat_interleave(2)[:count]
    index = torch.arange(count)
    labels = index % 2
    images = torch.zeros(count, 1, size, size, dtype=torch.uint8)
    images[index, 0, row, first] = 255
    images[index, 0, row, (first + distance * (2 * labels - 1)) % size] = 128
    return Images(images, labels, ("left", "right"), f"two marks {distance} apart")


def stratified(images, parts: tuple[int, ...], seed: int) -> list:
    """Split `Images` or `Files` into len(parts) sets, sizes in the ratio of `parts`.

    Every part gets its share of every class to within sum(parts) images.
    """
    order = torch.randperm(len(images), generator=torch.Generator().manual_seed(seed))
    order = order[images.labels[order].argsort(stable=True)]  # by class, random within a class
    owner = torch.arange(len(parts)).repeat_interleave(torch.tensor(parts))
    owner = owner[torch.arange(len(images)) % len(owner)]  # dealt out like cards
    return [images[order[owner == part].sort().values] for part in range(len(parts))]


def _splits(train: Images, val: Images, test: Images) -> Splits:
    return Splits(train, val, test, *train.mean_std())


def _named(train: Images, val: Images, test: Images) -> Splits:
    parts = {"train": train, "val": val, "test": test}
    return _splits(*(replace(part, name=f"{part.name} {key}") for key, part in parts.items()))


def _digits(seed: int) -> Splits:
    rows = torch.from_numpy(digits_table())  # 64 counts of ink, then the label
    # Counts of ink 0..16 become 0..255, so that every set of the course has the same range.
    images = rows[:, :-1].mul(255 / 16).round().to(torch.uint8).view(-1, 1, 8, 8)
    labels = rows[:, -1].long()
    whole = Images(images, labels, tuple("0123456789"), "digits")
    test, val, train = stratified(whole, (2, 1, 7), seed)
    return _named(train, val, test)


def digits_table() -> np.ndarray:
    """scikit-learn's digits, without importing scikit-learn, which takes seconds."""
    package = find_spec("sklearn")
    for folder in package.submodule_search_locations if package else ():
        if (file := Path(folder, "datasets", "data", "digits.csv.gz")).is_file():
            return np.loadtxt(file, delimiter=",")
    from sklearn.datasets import load_digits  # another place in another version

    digits = load_digits()
    return np.column_stack([digits.data, digits.target])


def _published(
    dataset: str, name: str, seed: int, folder: str | Path | None, download: bool
) -> Splits:
    """A data set of `torchvision.datasets` that has `data`, `targets` and `classes`."""
    from cnnlab._torchvision import import_torchvision

    root = Path(folder).expanduser() if folder else data_folder()
    cls = getattr(import_torchvision().datasets, dataset)

    def read(train: bool) -> Images:
        try:
            try:
                part = cls(root, train=train)  # files in place: no network, no hash of the archive
            except RuntimeError:
                if not download:
                    raise
                _download(cls, Path(root))
                part = cls(root, train=train)
        except (OSError, RuntimeError, ValueError, EOFError) as error:
            wanted = getattr(cls, "resources", None) or [(cls.filename, cls.tgz_md5)]
            place = Path(root, dataset, "raw") if hasattr(cls, "resources") else root
            raise DataError(
                f"{name} cannot be read from {root} "
                f"{'or downloaded' if download else '(download=False)'}: {error}. To put it there "
                f"by hand, place {', '.join(file for file, _ in wanted)} in {place} (remove what "
                "is damaged there), or name another folder in CNNLAB_DATA. load('digits') needs no "
                "download."
            ) from error
        images = torch.as_tensor(part.data)
        images = images.unsqueeze(1) if images.ndim == 3 else images.permute(0, 3, 1, 2)
        return Images(
            images.contiguous(), torch.as_tensor(part.targets).long(), tuple(part.classes), name
        )

    val, train = stratified(read(train=True), (1, 9), seed)
    return _named(train, val, read(train=False))


def _download(cls: type, root: Path) -> None:
    """Fetch, check and unpack beside the place where the files belong, then move them there.

    So an interrupted download leaves nothing that looks like a data set.
    """
    root.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=".part-", dir=root) as part:
        cls(part, train=True, download=True)
        for item in Path(part).iterdir():
            if not (root / item.name).exists():
                os.replace(item, root / item.name)
