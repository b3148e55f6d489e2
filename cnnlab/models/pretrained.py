"""Published weight files: found or downloaded, checked, and read without running their code."""

from __future__ import annotations

import errno
import hashlib
import os
import pickle
import re
import socket
from http.client import HTTPException
from pathlib import Path

import torch
from torch import nn

from cnnlab._torchvision import import_torchvision
from cnnlab.models.catalog import MODELS, build, options

TIMEOUT = 30  # seconds without a byte


class WeightsError(RuntimeError):
    """Weights that are missing, damaged or of another architecture."""


def weights_folder() -> Path:
    """Where torch.hub and torchvision keep their files, so that nothing is downloaded twice."""
    return Path(torch.hub.get_dir()) / "checkpoints"


def fetch(url: str, folder: str | os.PathLike | None = None) -> Path:
    """The file of `url` in `folder` (default `weights_folder()`), downloaded if it is not there.

    A name such as `vgg16-397923af.pth` carries the first hexadecimal digits of the content's
    SHA-256; they are checked, for a file found as for one downloaded. A download takes its name
    only when it is complete and right. Raises WeightsError.
    """
    folder = weights_folder() if folder is None else Path(folder)
    path = folder / url.rsplit("/", 1)[-1]
    by_hand = f"put the file of {url} there by hand, as {path}"
    match = re.search(r"-([0-9a-f]{8,})\.", path.name)
    digits = match.group(1) if match else ""
    if path.exists():
        if not (got := _sha256(path)).startswith(digits):
            problem = f"its SHA-256 begins with {got[: len(digits)]}, expected {digits}"
            raise WeightsError(
                f"{path} is damaged ({problem}): delete it and try again, or {by_hand}"
            )
        return path
    before = socket.getdefaulttimeout()
    socket.setdefaulttimeout(TIMEOUT)  # torch.hub gives none of its own
    try:
        folder.mkdir(parents=True, exist_ok=True)
        torch.hub.download_url_to_file(url, str(path), hash_prefix=digits or None)
    except (OSError, HTTPException) as error:  # no network, no such file, no room, no permission
        raise WeightsError(
            f"{path.name} is not in {folder} and cannot be downloaded ({error}): connect to the "
            f"network and try again, or {by_hand}"
        ) from error
    except RuntimeError as error:  # another content than the name promises
        raise WeightsError(
            f"the download of {url} is damaged ({error}): try again, or {by_hand}"
        ) from error
    finally:
        socket.setdefaulttimeout(before)
    return path


def _sha256(path: Path) -> str:
    digest = hashlib.sha256()
    with open(path, "rb") as file:
        while chunk := file.read(1 << 20):
            digest.update(chunk)
    return digest.hexdigest()


def read(path: str | os.PathLike) -> dict[str, torch.Tensor]:
    """The tensors of a file of weights. Code inside the file is refused, never run."""
    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
    except (pickle.UnpicklingError, RuntimeError, EOFError, KeyError, ValueError, OSError) as error:
        if isinstance(error, OSError) and error.errno != errno.EINVAL:  # that one is a cut file
            raise WeightsError(
                f"{path} cannot be read ({error.strerror}): is it the path of a file?"
            ) from error
        if isinstance(error, pickle.UnpicklingError):  # torch's words advise to run it all the same
            reason = "it is damaged, or holds more than tensors, which could be code"
        elif isinstance(error, OSError):
            reason = "its end is missing"
        else:
            reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise WeightsError(
            f"{path} is not a file of weights alone ({reason}): delete it and load it again"
        ) from error
    named = isinstance(state, dict) and all(isinstance(name, str) for name in state)
    if not named or not all(torch.is_tensor(v) for v in state.values()):
        raise WeightsError(f"{path} holds no table of named tensors: save model.state_dict() in it")
    return state


def load_into(model: torch.nn.Module, state: dict[str, torch.Tensor], source: str) -> None:
    """Copy `state` into `model`: the same names and shapes, none missing, none left over."""
    expected = model.state_dict()
    # Files from before 2018 lack the norms' counters of batches, which nothing here reads.
    counters = [key for key in expected if key.endswith("num_batches_tracked")]
    state = {**{key: torch.zeros_like(expected[key]) for key in counters}, **state}
    differences = {
        "missing": [k for k in expected if k not in state],
        "unexpected": [k for k in state if k not in expected],
        "of another shape": [
            f"{k} {tuple(state[k].shape)} for {tuple(v.shape)}"
            for k, v in expected.items()
            if k in state and state[k].shape != v.shape
        ],
    }
    lines = [
        f"{len(keys)} {kind}: {', '.join(keys[:5])}{', ...' if len(keys) > 5 else ''}"
        for kind, keys in differences.items()
        if keys
    ]
    if lines:
        raise WeightsError(
            f"{source} does not fit {type(model).__name__}: {'; '.join(lines)}. Build the model "
            "that the weights were trained in, with the same options"
        )
    model.load_state_dict(state)


# Where the default is the paper's network, torchvision's weights need torchvision's form.
TORCHVISION_OPTIONS = {
    "alexnet": {"form": "torchvision"},
    "googlenet": {"form": "torchvision", "aux": True, "transform_input": True},
}


def load_pretrained(
    name: str, weights: str = "DEFAULT", folder: str | os.PathLike | None = None
) -> nn.Module:
    """The model `name` with the weights that torchvision publishes, in evaluation mode.

    weights  which of torchvision's sets, e.g. "IMAGENET1K_V1"; its default is its best
    folder   where the file is or will be; the default is the folder that torchvision uses

    Raises ValueError for a model or a set that torchvision has not, and WeightsError, which says
    what to do, where the file is missing and cannot be downloaded, is damaged, or does not fit.
    """
    options(name)  # an unknown name has its own message
    import_torchvision()
    from torchvision import models as published

    try:
        choices = published.get_model_weights(name)
    except ValueError:
        have = [n for n in MODELS if n in published.list_models(module=published)]
        raise ValueError(
            f"torchvision publishes no weights for {name!r}; it has {', '.join(have)}"
        ) from None
    if weights not in choices.__members__:
        raise ValueError(
            f"{name} has no weights {weights!r}; it has {', '.join(choices.__members__)}"
        )
    path = fetch(choices[weights].url, folder)
    with torch.device("meta"):  # fresh weights would be overwritten at once
        model = build(name, **TORCHVISION_OPTIONS.get(name, {}))
    # DenseNet's files were saved when a layer was still called "norm.1", now "norm1".
    old_name = re.compile(r"(denselayer\d+\.(?:norm|conv))\.([12])\.")
    state = {old_name.sub(r"\1\2.", key): value for key, value in read(path).items()}
    load_into(model.to_empty(device="cpu"), state, str(path))
    return model.eval()
