"""A folder with a folder of image files for each class, as a data set."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from torch import Tensor

from cnnlab.data.images import DataError, Images, stratified


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
