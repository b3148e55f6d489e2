"""A run at one moment, kept in one file that is always whole."""

from __future__ import annotations

import io
import os
import pickle
import struct
import zipfile
import zlib
from dataclasses import asdict
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor, nn

from cnnlab._tools import write_whole
from cnnlab.training.distributed import world
from cnnlab.training.history import BatchSource, Epoch, History, Metrics, TrainingError

FORMAT = "cnnlab checkpoint 3"


class Options(NamedTuple):
    """How to train: what `fit` was asked for. A run goes on only with the same, or more epochs."""

    epochs: int
    optimizer: str
    lr: float
    weight_decay: float
    schedule: str
    warmup: float
    label_smoothing: float
    clip: float | None
    precision: str
    compile: bool | str
    seed: int


class Run:
    """A run under way. `save` writes all of it to the checkpoint, `resume` takes it up again.

    Saved between epochs: batches are a function of the epoch, the learning rate of the step, so
    weights, the optimizer's memory, torch's random numbers and the history are all there is.
    """

    def __init__(
        self,
        options: Options,
        device: torch.device,
        layout: torch.memory_format,
        model: nn.Module,
        net: nn.Module,
        optimizer: torch.optim.Optimizer,
        train: BatchSource,
        val: BatchSource,
        path: str | os.PathLike | None,
        told: str,
    ) -> None:
        self.options, self.device, self.world = options, device, world()
        self.layout = layout  # of the images
        self.model, self.net = model, net  # net: as it is called, compiled and parallel
        self.architecture = told  # of the model before it ran, which may change its settings
        self.optimizer, self.train, self.val = optimizer, train, val
        self.steps = options.epochs * len(train)
        self.scaler = torch.amp.GradScaler(device.type, enabled=options.precision == "fp16")
        self.path = Path(path) if path is not None else None
        self.history = History()
        self.shown: list[float] = []  # of all steps, for the live curve
        self.plain: list[float] = []  # losses without label smoothing, of the epoch under way
        self.sizes: list[int] = []  # images of each batch in it
        self.right = 0  # answers in it
        self.shape: tuple[int, ...] = ()  # of the last batch
        self.classes = 1

    def close_epoch(self, on_val: Metrics, seconds: float) -> None:
        """Make a row of the epoch under way."""
        count = sum(self.sizes)
        mean = sum(loss * size for loss, size in zip(self.plain, self.sizes)) / count
        number, rate = len(self.history.epochs) + 1, self.optimizer.param_groups[0]["lr"]
        self.history.epochs.append(Epoch(number, mean, self.right / count, *on_val, seconds, rate))
        self.plain, self.sizes, self.right = [], [], 0

    def save(self) -> None:
        """Write the checkpoint, if there is to be one; only the process of rank 0 does."""
        if self.path is None:
            return
        random = self.world.gather(self._random_numbers())
        if self.world.rank > 0:
            return
        state = {
            "identity": self._identity(),
            "model": self.model.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "scaler": self.scaler.state_dict(),
            "epochs": [asdict(row) for row in self.history.epochs],
            "losses": torch.tensor(self.history.losses, dtype=torch.float64),
            "random": random,
        }
        write(self.path, state)

    def resume(self) -> None:
        """Go on where the checkpoint ends; without one, write the first, so that a folder that
        cannot be written to is found before the work and not after it."""
        if self.path is None:
            return
        found = self.world.rank == 0 and self.path.exists()
        saved = self.world.from_first(read(self.path) if found else None)
        if saved is None:
            self.save()
            return
        self._compare(saved)
        self.model.load_state_dict(saved["model"])
        self.optimizer.load_state_dict(saved["optimizer"])
        self.scaler.load_state_dict(saved["scaler"])
        self.history.epochs += [Epoch(**row) for row in saved["epochs"]]
        self.history.losses += saved["losses"].tolist()
        self.shown += self.history.losses
        random = saved["random"][self.world.rank]
        torch.set_rng_state(random[0])
        if self.device.type == "cuda" and len(random) > 1:
            torch.cuda.set_rng_state(random[1], self.device)

    def _identity(self) -> dict[str, object]:
        """What must be the same for a run to go on; what a source of batches cannot tell is out."""
        told = {
            "the training data": getattr(self.train, "identity", None),
            "the validation data": getattr(self.val, "identity", None),
        }
        return {
            **self.options._asdict(),
            "batches": len(self.train),
            "batch_size": getattr(self.train, "batch_size", None),
            "seed of the batches": getattr(self.train, "seed", None),
            "processes": self.world.size,
            "the architecture": self.architecture,
            **{what: tell() for what, tell in told.items() if tell},
        }

    def _compare(self, saved: dict) -> None:
        """Refuse a checkpoint of another run."""
        there, here = saved["identity"], self._identity()
        if there["epochs"] < here["epochs"]:  # more of the same: the schedule is the longer one's
            here["epochs"] = there["epochs"]
        other = [
            f"{name} is {there[name]} there and {here[name]} here"
            for name in here
            if name in there and there[name] != here[name]
        ]
        there, here = saved["model"], self.model.state_dict()
        for name in [*here, *there]:
            shapes = [tuple(s[name].shape) if name in s else "missing" for s in (there, here)]
            if shapes[0] != shapes[1]:
                other.append(f"the model's {name} is {shapes[0]} there and {shapes[1]} here")
                break
        if other:
            raise TrainingError(
                f"the checkpoint {self.path} belongs to another run: {'; '.join(other)}. Go on "
                "with the same options, or give this run another file."
            )

    def _random_numbers(self) -> list[Tensor]:
        cuda = self.device.type == "cuda"
        states = [torch.cuda.get_rng_state(self.device)] if cuda else []
        return [torch.get_rng_state(), *states]


def architecture(model: nn.Module) -> str:
    """Eight digits that tell networks apart whose weights have the same shapes, such as a residual
    network and its plain one: of every module its class and its settings."""
    settings = (bool, int, float, str, tuple, type(None))
    modules = [
        (name, type(module).__name__)
        + tuple(
            f"{key}={value}"
            for key, value in sorted(vars(module).items())
            if isinstance(value, settings) and key != "training" and key[0] != "_"
        )
        for name, module in model.named_modules()
    ]
    return f"{zlib.crc32(repr(modules).encode()):08x}"


def write(path: str | os.PathLike, state: dict) -> None:
    """Replace the file `path` by `state`: tensors and plain values."""
    replace(path, saved({"format": FORMAT, **state}))


def saved(state: dict) -> memoryview:
    """The bytes of `torch.save`."""
    data = io.BytesIO()
    torch.save(state, data)
    return data.getbuffer()


def replace(path: str | os.PathLike, data: bytes | memoryview) -> None:
    """`write_whole`, with a sentence where it fails."""
    path = Path(path)
    try:
        write_whole(path, data)
    except OSError as error:
        kept = "What it held before is still there" if path.exists() else "There was none before"
        raise TrainingError(
            f"{path} ({len(data):,} bytes) cannot be written: {error.strerror or error}. {kept}. "
            "Free some space, or name a folder that exists and can be written to."
        ) from error


def read(path: str | os.PathLike) -> dict:
    """What `write` wrote, on the CPU."""
    state = load_whole(path)
    if not isinstance(state, dict) or state.pop("format", None) != FORMAT:
        raise TrainingError(
            f"{path} is a PyTorch file, but not a {FORMAT}; it may hold weights alone, or come "
            "from another version. Give another name for this run's checkpoint."
        )
    return state


def load_whole(path: str | os.PathLike) -> object:
    """What a file of PyTorch holds, on the CPU. Only tensors and plain values are read, never code,
    and damage is found."""
    path = Path(path)
    try:
        with zipfile.ZipFile(path) as archive:  # torch.load does not look at the checksums
            damaged = archive.testzip()
        if damaged:
            raise zipfile.BadZipFile(f"the checksum of {damaged} is wrong")
        return torch.load(path, map_location="cpu", weights_only=True)
    except OSError as error:
        raise TrainingError(f"{path} cannot be read: {error.strerror or error}.") from error
    except pickle.UnpicklingError as error:
        raise TrainingError(
            f"{path} is not read: it holds more than tensors and plain values, and that could be "
            "code. Delete it to begin anew, or put a copy of the right one in its place."
        ) from error
    except (  # what the readers of a zip file and of a pickle meet in damaged ones
        zipfile.BadZipFile,
        zlib.error,
        struct.error,
        RuntimeError,
        EOFError,
        ValueError,
        LookupError,
        ArithmeticError,
        AttributeError,
        TypeError,
    ) as error:
        size = path.stat().st_size
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        raise TrainingError(
            f"{path} ({size:,} bytes) is damaged or no checkpoint: {reason}. "
            "Delete it to begin anew, or put a copy in its place."
        ) from error
