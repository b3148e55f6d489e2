"""A folder with a folder of image files for each class, as a data set."""

from __future__ import annotations

import warnings
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from cnnlab._tools import did_you_mean
from cnnlab.data.images import DataError, Images, Splits, stratified

if TYPE_CHECKING:
    from PIL.Image import Image

GROUND = "white"  # under what is transparent


@dataclass(frozen=True, eq=False, repr=False)
class Files:
    """Image files with one label each, decoded when they are asked for.

    labels:  (N,), int64, an index into `classes`
    """

    paths: tuple[Path, ...]
    labels: Tensor
    classes: tuple[str, ...]
    name: str = "files"
    ground: str = GROUND

    def __len__(self) -> int:
        return len(self.paths)

    def __getitem__(self, index: Tensor) -> Files:
        """The chosen files, by a tensor of positions."""
        paths = tuple(self.paths[i] for i in index.tolist())
        return replace(self, paths=paths, labels=self.labels[index])

    def __repr__(self) -> str:
        return f"Files({self.name!r}: {len(self)} files, {len(self.classes)} classes)"

    def decoded(self, size: int, workers: int = 0) -> Images:
        """All of them in memory, uint8 (N, 3, size, size): the shorter side of an image becomes
        `size`, and the middle is cut out. `workers` processes decode; 0: this one does.

        Raises DataError for a file that is not an image.
        """
        from torch.utils.data import DataLoader

        source, images = _Decoded(self.paths, size, self.ground), []
        for image in DataLoader(source, batch_size=None, num_workers=workers):
            if isinstance(image, str):  # an error of a worker would arrive with its traceback
                raise DataError(image)
            images.append(image)
        return Images(torch.stack(images), self.labels, self.classes, self.name)


@dataclass(frozen=True)
class _Decoded:
    """What worker processes read from: file number -> image, or what is wrong with it."""

    paths: tuple[Path, ...]
    size: int
    ground: str

    def __len__(self) -> int:
        return len(self.paths)

    def __getitem__(self, index: int) -> Tensor | str:
        try:
            return decode(self.paths[index], self.size, self.ground)
        except DataError as error:
            return str(error)


def decode(path: str | Path, size: int, ground: str = GROUND) -> Tensor:
    """One image file as people see it: uint8 (3, size, size), the middle of it.

    Turned upright as the camera noted, what is transparent laid on `ground`, 16 bits brought to 8.
    Raises DataError for what is no image, for what has no one right reading, and for a `ground`
    that is no color.
    """
    import numpy
    from PIL import Image, ImageColor, ImageOps

    try:
        Image.new("RGBA", (1, 1), ground)  # every image is refused, not only the transparent one
    except (ValueError, TypeError) as error:
        raise DataError(
            f"ground {ground!r} is no color.{did_you_mean(ground, ImageColor.colormap)} Expected a "
            "name such as white, or #rrggbb."
        ) from error
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error", Image.DecompressionBombWarning)
            with Image.open(path) as image:
                if getattr(image, "is_animated", False) and image.format != "MPO":
                    raise DataError(
                        f"{path} is animated or has pages: {image.n_frames} images in one file. "
                        "Save the one you mean as PNG."
                    )
                image = _as_seen(ImageOps.exif_transpose(image), path, ground)
        square = ImageOps.fit(image, (size, size), Image.Resampling.BILINEAR)
    except (Image.DecompressionBombWarning, Image.DecompressionBombError) as error:
        raise DataError(
            f"{path} is too large: more than {Image.MAX_IMAGE_PIXELS / 1e6:.0f} million pixels are "
            "not read. Scale it down, or remove it."
        ) from error
    except (OSError, SyntaxError, ValueError, EOFError) as error:
        if isinstance(error, DataError):
            raise
        if not Path(path).is_file():
            found = "is a folder" if Path(path).is_dir() else "is not there"
            raise DataError(f"{path} {found}; expected the path of an image file.") from error
        raise DataError(
            f"{path} cannot be read as an image ({error}). Remove it, or put a whole one in its "
            "place."
        ) from error
    return torch.from_numpy(numpy.array(square)).permute(2, 0, 1)


def _as_seen(image: Image, path: str | Path, ground: str) -> Image:
    """In 8 bits of red, green and blue. Pillow's own conversion cuts off what is beyond 255."""
    import numpy
    from PIL import Image

    if image.mode == "F" or image.mode.startswith("I"):
        values = numpy.asarray(image).astype("float64")
        top = {"F": 1.0}.get(image.mode, 65535.0)
        if not (values.min() >= 0 and values.max() <= top):
            raise DataError(
                f"{path} holds numbers from {values.min():g} to {values.max():g} ({image.mode}); "
                f"expected 0 to {top:g}. Save it as PNG with 8 bits."
            )
        image = Image.fromarray((values * (255 / top)).round().astype("uint8"))
    elif "A" in image.mode or "a" in image.mode or "transparency" in image.info:
        image = image.convert("RGBA")
        image = Image.alpha_composite(Image.new("RGBA", image.size, ground), image)
    return image.convert("RGB")


def image_folder(
    path: str | Path, *, seed: int = 0, ground: str = GROUND
) -> tuple[Files, Files, Files]:
    """Train, validation and test files of a folder that holds a folder of images for each class.

    `path` holds the classes; or train/, test/ and perhaps val/ (or validation/), which then hold
    them; where they hold images beside other folders of images, they are classes too. What is not
    given is split off, the same for the same seed: a tenth for val, and another for test. Hidden
    and system files are no images. Raises `DataError` where there is no class, a class without
    images, too few of them, other classes in another part, or two folders for one part.
    """
    path = Path(path).expanduser()
    folders = {p.name: p for p in _folders(path)}
    words = {"train": "train", "val": "val", "validation": "val", "valid": "val", "test": "test"}
    found = {word: folders[word] for word in words if word in folders}
    # Without folders of their own, beside others, they are classes: bus/, car/, train/.
    if len(found) < len(folders) and not any(map(_folders, found.values())):
        found = {}
    if len(vals := [word for word in found if words[word] == "val"]) > 1:
        raise DataError(
            f"{path} has {' and '.join(vals)}, which mean the same part. Put their images "
            "together, or remove one of them."
        )
    given = {
        words[word]: _files(place, f"{path.name} {words[word]}", ground)
        for word, place in found.items()
    }
    if not given:
        test, val, train = stratified(_files(path, path.name, ground), (1, 1, 8), seed)
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
    if len(train.classes) < 2:
        raise DataError(f"{path} has one class, {train.classes[0]}; a choice needs two folders.")
    if not all(map(len, parts.values())):
        counts = ", ".join(f"{len(part)} for {name}" for name, part in parts.items())
        raise DataError(f"{path} has too few images: {counts}. Ten of each class make a beginning.")
    return tuple(replace(part, name=f"{path.name} {name}") for name, part in parts.items())


_ENDINGS = {".png", ".jpg", ".jpeg", ".bmp", ".gif", ".webp", ".ppm", ".pgm", ".tif", ".tiff"}
_OTHERS = {".heic", ".heif", ".svg", ".avif", ".jxl", ".jp2", ".raw", ".dng", ".pdf", ".psd"}


def _seen(path: Path) -> bool:
    """Neither hidden nor what a system leaves behind: .ipynb_checkpoints, ._x.png, __MACOSX."""
    return not path.name.startswith(".") and path.name != "__MACOSX"


def _folders(path: Path) -> list[Path]:
    return sorted(p for p in path.iterdir() if p.is_dir() and _seen(p)) if path.is_dir() else []


def _files(path: Path, name: str, ground: str) -> Files:
    classes = _folders(path)
    if not classes:
        found = "has no folders in it" if path.is_dir() else "is not a folder"
        raise DataError(
            f"{path} {found}; expected one folder of images per class, such as "
            f"{path}/cat and {path}/dog."
        )
    paths, labels = [], []
    for label, folder in enumerate(classes):
        inside = [
            p
            for p in sorted(folder.rglob("*"))
            if not p.is_dir() and all(map(_seen, (p, *p.relative_to(folder).parents[:-1])))
        ]
        if others := [p for p in inside if p.suffix.lower() in _OTHERS]:
            raise DataError(
                f"{others[0]} is of a kind that is not read here ({len(others)} such files in "
                f"class {folder.name!r}). Save it as PNG or JPEG, or remove it."
            )
        images = [p for p in inside if p.suffix.lower() in _ENDINGS]
        if not images:
            raise DataError(
                f"class {folder.name!r} is empty: no image in {folder} (looked for "
                f"{', '.join(sorted(_ENDINGS))}). Fill it, or remove the folder."
            )
        paths += images
        labels += [label] * len(images)
    return Files(tuple(paths), torch.tensor(labels), tuple(p.name for p in classes), name, ground)


def sheet(splits: Splits, columns: int = 12) -> Image:
    """What was read, to look at before training: a row of training images for each class."""
    from PIL import Image, ImageDraw

    images, side = splits.train.images, max(64, splits.train.shape[-1])
    page = Image.new("RGB", (columns * side, len(splits.train.classes) * (side + 14)), "white")
    for label, name in enumerate(splits.train.classes):
        top = label * (side + 14)
        chosen = (splits.train.labels == label).nonzero().flatten()
        text = f"{name}: {len(chosen)} to train on"
        ImageDraw.Draw(page).text((2, top), text.encode("ascii", "replace").decode(), "black")
        for column, index in enumerate(chosen[:columns].tolist()):
            pixels = images[index].permute(1, 2, 0).squeeze(2).numpy()
            picture = Image.fromarray(pixels).resize((side, side), Image.Resampling.NEAREST)
            page.paste(picture, (column * side, top + 14))
    return page
