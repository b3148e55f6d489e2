"""What a training run is at one moment, and how it is kept: history, weights, random numbers."""

from __future__ import annotations

import inspect
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field, fields
from itertools import islice
from pathlib import Path
from typing import NamedTuple, Protocol

import torch
from torch import Tensor, nn

from cnnlab.training.checkpoint import CheckpointError, read, write
from cnnlab.training.curves import curve
from cnnlab.training.distributed import World, world

INTERRUPTED = "interrupted"


class TrainingError(RuntimeError):
    """Training cannot start or go on. `history` holds the epochs completed until then."""

    def __init__(self, message: str, history: History | None = None) -> None:
        super().__init__(message)
        self.history = history if history is not None else History()


class BatchSource(Protocol):
    """What `fit` and `evaluate` read: a DataLoader, `batches.Batches`, a list of pairs of tensors.

    Where there is a method `at(epoch)` (as `Batches` has), `fit` asks it for each epoch's batches;
    if it takes `start`, `rank` and `world` too, a resumed run goes straight to its place and each
    of several processes makes its share of a batch only.
    """

    def __len__(self) -> int: ...

    def __iter__(self) -> Iterator[tuple[Tensor, Tensor]]: ...


class Metrics(NamedTuple):
    """Mean cross-entropy (natural logarithm) and share of right answers, 0..1."""

    loss: float
    accuracy: float


@dataclass(frozen=True)
class Epoch:
    """One row of a `History`. The training numbers are means over the epoch while it ran."""

    epoch: int  # from 1
    train_loss: float
    train_accuracy: float
    val_loss: float
    val_accuracy: float
    seconds: float  # training and validation


@dataclass
class History:
    """What happened: a row per completed epoch, a loss per step, and why it stopped early."""

    epochs: list[Epoch] = field(default_factory=list)
    losses: list[float] = field(default_factory=list)
    stopped: str | None = None  # None: ran to the end

    def last(self) -> Epoch:
        if not self.epochs:
            raise TrainingError("no epoch was completed, so there is no last one.", self)
        return self.epochs[-1]

    @property
    def interrupted(self) -> bool:
        """Whether somebody stopped it, who may want to go on."""
        return (self.stopped or "").startswith(INTERRUPTED)

    def to_dict(self) -> dict[str, list[float]]:
        """One list per column, for plots, JSON or a pandas frame."""
        return {f.name: [getattr(row, f.name) for row in self.epochs] for f in fields(Epoch)}

    def __str__(self) -> str:
        lines = ["epoch  train loss  train acc  val loss  val acc  seconds"]
        lines += [line(row) for row in self.epochs]
        return "\n".join(lines + ([f"stopped: {self.stopped}"] if self.stopped else []))


def line(row: Epoch) -> str:
    """A row of the table that `str(history)` shows, also used for logs."""
    return (
        f"{row.epoch:5d}  {row.train_loss:10.4f}  {row.train_accuracy:9.4f}  {row.val_loss:8.4f}"
        f"  {row.val_accuracy:7.4f}  {row.seconds:7.2f}"
    )


class Options(NamedTuple):
    """How to train: what `training.fit` was asked for. A run goes on only with the same."""

    epochs: int
    optimizer: str
    lr: float
    momentum: float
    weight_decay: float
    schedule: str
    warmup: float
    label_smoothing: float
    clip: float | None
    ema: float | None
    patience: int | None
    accumulate: int
    precision: str
    compile: bool | str
    sync_batchnorm: bool
    seed: int


class Average:
    """A moving average of a model's weights and running statistics (`ema`).

    After step t it moves by 1 - decay towards the weights, in the first steps by 9 / (10 + t): the
    random weights of the start are soon forgotten.
    """

    def __init__(self, model: nn.Module, decay: float) -> None:
        self.decay = decay
        self.live = [t for t in model.state_dict().values() if t.is_floating_point()]
        self.mean = [tensor.clone() for tensor in self.live]

    def update(self, step: int) -> None:
        """Take in the weights after `step` (from 0)."""
        torch._foreach_lerp_(self.mean, self.live, 1 - min(self.decay, (1 + step) / (10 + step)))

    def swap(self) -> None:
        """Exchange the weights of the model and their average."""
        for mean, live in zip(self.mean, self.live):
            kept = live.clone()
            live.copy_(mean)
            mean.copy_(kept)

    @contextmanager
    def used(self) -> Iterator[None]:
        """The model has the average's weights meanwhile."""
        self.swap()
        try:
            yield
        finally:
            self.swap()


class Run:
    """A run under way. `save` writes all of it to the checkpoint, `resume` takes it up again.

    The epoch under way is `sizes` of its batches so far, `right` answers among them, `seconds`, and
    `random`, torch's random numbers when it began. The position needs no more: batches are a
    function of the epoch, the learning rate of the step.
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
        path: str | os.PathLike | None,
        save_every: int | None,
    ) -> None:
        self.options, self.device, self.world = options, device, world()
        self.layout = layout  # of the images
        self.model, self.net = model, net  # net: as it is called, compiled and parallel
        self.optimizer, self.train = optimizer, train
        self.steps = options.epochs * len(train)
        self.scaler = torch.amp.GradScaler(device.type, enabled=options.precision == "fp16")
        self.average = Average(model, options.ema) if options.ema else None
        self.path = Path(path) if path is not None else None
        self.save_every = save_every if path is not None else None
        self.history = History()
        self.sizes: list[int] = []
        self.right, self.seconds = 0, 0.0
        self.random: list[Tensor] = []
        self.shape: tuple[int, ...] = ()  # of the last batch
        self.classes = 1

    def rest_of_epoch(self) -> Iterator[tuple[Tensor, Tensor]]:
        """The batches that are still to come, this process's share of each."""
        now = self._random_numbers()
        if self.sizes:  # a loader may draw its order from torch: let it draw the same once more
            self._set_random_numbers(self.random)
        else:
            self.random = now
        batches = share(self.train, self.world, len(self.history.epochs), len(self.sizes))
        if self.sizes:
            self._set_random_numbers(now)
        return batches

    def close_epoch(self, on_val: Metrics) -> None:
        """Make a row of the epoch under way."""
        history, count = self.history, sum(self.sizes)
        losses = history.losses[-len(self.sizes) :]
        mean = sum(loss * size for loss, size in zip(losses, self.sizes)) / count
        row = Epoch(len(history.epochs) + 1, mean, self.right / count, *on_val, self.seconds)
        history.epochs.append(row)
        self.sizes, self.right, self.seconds = [], 0, 0.0

    def save(self) -> None:
        """Write the checkpoint, if there is to be one; only the process of rank 0 does."""
        if self.path is None:
            return
        random = self.world.gather(self._random_numbers())
        if self.world.rank > 0:
            return
        losses = torch.tensor(self.history.losses, dtype=torch.float64)
        try:
            write(
                self.path,
                {
                    "identity": self._identity(),
                    "model": self.model.state_dict(),
                    "optimizer": self.optimizer.state_dict(),
                    "scaler": self.scaler.state_dict(),
                    "average": self.average.mean if self.average else None,
                    "epochs": [asdict(row) for row in self.history.epochs],
                    "losses": losses,
                    "sizes": self.sizes,
                    "right": self.right,
                    "seconds": self.seconds,
                    "random at the epoch's start": self.random,
                    "random": random,
                },
            )
        except CheckpointError as error:
            raise TrainingError(str(error)) from error

    def resume(self) -> None:
        """Go on where the checkpoint ends; without one, write the first, so that a folder that
        cannot be written to is found before the work and not after it."""
        if self.path is None:
            return
        found = self.world.rank == 0 and self.path.exists()
        try:
            saved = self.world.from_first(read(self.path) if found else None)
        except CheckpointError as error:
            raise TrainingError(str(error)) from error
        if saved is None:
            self.save()
            return
        self._compare(saved)
        self.model.load_state_dict(saved["model"])
        self.optimizer.load_state_dict(saved["optimizer"])
        self.scaler.load_state_dict(saved["scaler"])
        for mean, kept in zip(self.average.mean if self.average else (), saved["average"] or ()):
            mean.copy_(kept)
        self.history.epochs += [Epoch(**row) for row in saved["epochs"]]
        self.history.losses += saved["losses"].tolist()
        self.sizes, self.right = list(saved["sizes"]), saved["right"]
        self.seconds, self.random = saved["seconds"], saved["random at the epoch's start"]
        self._set_random_numbers(saved["random"][self.world.rank])

    def _identity(self) -> dict[str, object]:
        return {
            **self.options._asdict(),
            "batches": len(self.train),
            "batch_size": getattr(self.train, "batch_size", None),
            "seed of the batches": getattr(self.train, "seed", None),
            "processes": self.world.size,
        }

    def _compare(self, saved: dict) -> None:
        """Refuse a checkpoint of another run."""
        there, here = saved["identity"], self._identity()
        other = [
            f"{name} is {there.get(name)} there and {here.get(name)} here"
            for name in here
            if there.get(name) != here.get(name)
        ]
        there, here = saved["model"], self.model.state_dict()
        for name in [*here, *there]:
            shapes = [
                tuple(state[name].shape) if name in state else "missing" for state in (there, here)
            ]
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

    def _set_random_numbers(self, states: list[Tensor]) -> None:
        torch.set_rng_state(states[0])
        if self.device.type == "cuda" and len(states) > 1:
            torch.cuda.set_rng_state(states[1], self.device)

    def picture(self) -> str:
        """The live curve of a notebook."""
        marks = [(row.epoch * len(self.train), row.val_loss) for row in self.history.epochs]
        return curve(self.history.losses, marks, self.steps)


def share(
    source: BatchSource, here: World, epoch: int = 0, start: int = 0
) -> Iterator[tuple[Tensor, Tensor]]:
    """One epoch's batches from number `start` on: of each the share of this process."""
    at = getattr(source, "at", None)
    if at and "start" in inspect.signature(at).parameters:
        return at(epoch, start=start, rank=here.rank, world=here.size)
    batches = iter(at(epoch) if at else source)
    for _ in islice(batches, start):
        pass
    if here.size == 1:
        return batches
    return ((x[here.rank :: here.size], y[here.rank :: here.size]) for x, y in batches)
