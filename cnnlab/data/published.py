"""Fashion-MNIST and CIFAR-10, read from any form in which they are published.

What counts is the content: each file, as it is after unpacking, has the publisher's checksum. So a
pickle of CIFAR-10 is opened only if it is the known one.
"""

from __future__ import annotations

import gzip
import hashlib
import os
import pickle
import socket
import tarfile
import tempfile
import zlib
from dataclasses import dataclass
from http.client import HTTPException
from pathlib import Path

import numpy as np
import torch

from cnnlab.data.images import DataError, Images

TIMEOUT = 30  # seconds without a byte


@dataclass(frozen=True)
class Published:
    """A data set as its publisher gives it away.

    files    checksum (MD5) of each file's unpacked content
    places   folders in which they may lie, below the data folder; an absolute one is looked into
             only where no folder was named
    archive  one file that holds them all, or "" if each may be compressed by itself
    """

    dataset: str  # its class in torchvision.datasets, which knows where to download it
    files: dict[str, str]
    places: tuple[str, ...]
    classes: tuple[str, ...]
    archive: str = ""
    hint: str = ""


SETS = {
    "fashion-mnist": Published(
        "FashionMNIST",
        {
            "train-images-idx3-ubyte": "f4a8712d7a061bf5bd6d2ca38dc4d50a",
            "train-labels-idx1-ubyte": "9018921c3c673c538a1fc5bad174d6f9",
            "t10k-images-idx3-ubyte": "8181f5470baa50b63fa0f6fddb340f0a",
            "t10k-labels-idx1-ubyte": "15d484375f8d13e6eb1aabb0c3f46965",
        },
        ("FashionMNIST/raw", ".", "fashion-mnist", "/usr/share/datasets/fashion-mnist"),
        tuple(
            "T-shirt/top,Trouser,Pullover,Dress,Coat,Sandal,Shirt,Sneaker,Bag,Ankle boot".split(",")
        ),
        hint="Debian and Ubuntu have them as a package: apt install dataset-fashion-mnist. ",
    ),
    "cifar-10": Published(
        "CIFAR10",
        {
            "data_batch_1": "c99cafc152244af753f735de768cd75f",
            "data_batch_2": "d4bba439e000b95fd0a9bffe97cbabec",
            "data_batch_3": "54ebc095f3ab1f0389bbae665268c751",
            "data_batch_4": "634d18415352ddfa80567beed471001a",
            "data_batch_5": "482c414d41f54cd18b22e5b47cb7c3cb",
            "test_batch": "40351d587109b95175f43aff81a1287e",
        },
        ("cifar-10-batches-py", "."),
        tuple("airplane automobile bird cat deer dog frog horse ship truck".split()),
        archive="cifar-10-python.tar.gz",
    ),
}


def data_folder() -> Path:
    """Where downloaded data sets are kept: $CNNLAB_DATA, or a folder in the user's cache."""
    return Path(os.environ.get("CNNLAB_DATA") or "~/.cache/cnnlab/data").expanduser()


def find(name: str, folder: str | Path | None = None) -> Path | None:
    """The folder or archive that holds all files of a published set, or None. Nothing is read."""
    published, root = SETS[name], Path(folder).expanduser() if folder else data_folder()
    for place in published.places:
        if folder and os.path.isabs(place):
            continue
        here = root / place
        if all(_file(here, file) for file in published.files):
            return here
        if published.archive and (here / published.archive).is_file():
            return here / published.archive
    return None


def read(name: str, folder: str | Path | None, download: bool) -> tuple[Images, Images]:
    """Training and test images of a published set, as `load` describes it."""
    published = SETS[name]
    content = _content(fetch(name, folder, download), published)
    parts = (_cifar if published.archive else _idx)(content)
    return tuple(Images(*part, published.classes, name) for part in parts)


def fetch(name: str, folder: str | Path | None = None, download: bool = True) -> Path:
    """What `find` finds, downloaded first if it is missing and may be. Raises DataError."""
    root = Path(folder).expanduser() if folder else data_folder()
    return find(name, folder) or _download(name, root, download)


def _file(place: Path, file: str) -> Path | None:
    return next((p for p in (place / file, place / f"{file}.gz") if p.is_file()), None)


def _content(place: Path, published: Published) -> dict[str, bytes]:
    """What is in each file, unpacked and checked."""
    found, path = {}, place
    try:
        if place.is_file():
            with tarfile.open(place) as archive:
                for member in archive:
                    if (file := Path(member.name).name) in published.files and member.isfile():
                        found[file] = archive.extractfile(member).read()
        else:
            for file in published.files:
                path = _file(place, file)
                found[file] = path.read_bytes()
                if path.suffix == ".gz":
                    found[file] = gzip.decompress(found[file])
    except (OSError, EOFError, zlib.error, tarfile.TarError) as error:
        raise DataError(
            f"{path} cannot be read: {error}. Remove it, and put a whole one in its place."
        ) from error
    for file, checksum in published.files.items():
        if (
            file not in found
            or hashlib.md5(found[file], usedforsecurity=False).hexdigest() != checksum
        ):
            where = f"{file} in {place}" if place.is_file() else _file(place, file)
            raise DataError(
                f"{where} is not the published file: damaged, or another one of that name (its "
                "content has another checksum). Remove it, and put a whole one in its place."
            )
    return found


def _idx(content: dict[str, bytes]) -> list[tuple[torch.Tensor, torch.Tensor]]:
    """Big-endian: a magic number whose last byte counts the axes, their lengths, the values."""

    def array(data: bytes) -> torch.Tensor:
        shape = np.frombuffer(data, ">i4", data[3], offset=4).tolist()
        values = np.frombuffer(data, np.uint8, offset=4 + 4 * len(shape))
        return torch.from_numpy(values.reshape(shape).copy())

    pixels, labels, test_pixels, test_labels = map(array, content.values())
    return [(x.unsqueeze(1), y.long()) for x, y in ((pixels, labels), (test_pixels, test_labels))]


def _cifar(content: dict[str, bytes]) -> list[tuple[torch.Tensor, torch.Tensor]]:
    """Pickles of {"data": (N, 3072) red, then green, then blue; "labels": N}."""
    *train, test = [pickle.loads(content[file], encoding="latin1") for file in sorted(content)]
    parts = []
    for batches in (train, [test]):
        pixels = torch.from_numpy(np.concatenate([batch["data"] for batch in batches]))
        labels = torch.tensor([label for batch in batches for label in batch["labels"]])
        parts.append((pixels.view(-1, 3, 32, 32), labels))
    return parts


def _download(name: str, root: Path, allowed: bool) -> Path:
    """Fetch, check and unpack beside the place where the files belong, then move them there, so
    that an interrupted download leaves nothing that looks like a data set."""
    published = SETS[name]
    why = "download=False"
    if allowed:
        before = socket.getdefaulttimeout()
        socket.setdefaulttimeout(TIMEOUT)  # torchvision gives none of its own
        try:
            from cnnlab._torchvision import import_torchvision

            cls = getattr(import_torchvision().datasets, published.dataset)
            root.mkdir(parents=True, exist_ok=True)
            with tempfile.TemporaryDirectory(prefix=".part-", dir=root) as part:
                cls(part, train=True, download=True)  # with a bar, and a checksum of the archive
                for item in [path for path in Path(part).rglob("*") if path.is_file()]:
                    place = root / item.relative_to(part)
                    place.parent.mkdir(parents=True, exist_ok=True)
                    if not place.exists():
                        os.replace(item, place)
        except (OSError, RuntimeError, ValueError, EOFError, HTTPException) as error:
            why = f"it cannot be downloaded: {' '.join(str(error).split())}"
        finally:
            socket.setdefaulttimeout(before)
        if place := find(name, root):
            return place
    files = published.archive or ", ".join(f"{file}.gz" for file in published.files)
    raise DataError(
        f"{name} is not in {root}, and {why}. To bring it by hand, put {files} (packed or "
        f"unpacked) into {root}, or name the folder that has them in CNNLAB_DATA. {published.hint}"
        "Chapters run without it: CNNLAB_SCALE=quick; load('letters') and load('digits') are here."
    )
