"""What happened in a training run: a row per epoch, a loss per step."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field, fields
from typing import NamedTuple, Protocol

from torch import Tensor

INTERRUPTED = "interrupted"


class TrainingError(RuntimeError):
    """Training cannot start or go on. `history` holds the epochs completed until then."""

    def __init__(self, message: str, history: History | None = None) -> None:
        super().__init__(message)
        self.history = history if history is not None else History()


class Busy(TrainingError):
    """Another training is writing this run."""


class BatchSource(Protocol):
    """What `fit` and `evaluate` read: a DataLoader, `batches.Batches`, a list of pairs of tensors.

    Where there is a method `at(epoch, rank=..., world=...)` (as `Batches` has), `fit` asks it for
    each epoch's batches, and each of several processes makes its share of a batch only.
    """

    def __len__(self) -> int: ...

    def __iter__(self) -> Iterator[tuple[Tensor, Tensor]]: ...


class Metrics(NamedTuple):
    """Mean cross-entropy (natural logarithm) and share of right answers, 0..1."""

    loss: float
    accuracy: float


@dataclass(frozen=True)
class Epoch:
    """One row of a `History`. The training numbers are means over the epoch while it ran, the loss
    without label smoothing, like that of validation."""

    epoch: int  # from 1
    train_loss: float
    train_accuracy: float
    val_loss: float
    val_accuracy: float
    seconds: float  # training and validation
    rate: float = 0.0  # learning rate of the last step


@dataclass
class History:
    """What happened: a row per completed epoch, a loss per step, why it stopped early, and what
    else somebody should know (`note`)."""

    epochs: list[Epoch] = field(default_factory=list)
    losses: list[float] = field(default_factory=list)
    stopped: str | None = None  # None: ran to the end
    note: str | None = None

    def last(self) -> Epoch:
        if not self.epochs:
            raise TrainingError("no epoch was completed, so there is no last one.", self)
        return self.epochs[-1]

    def best(self) -> Epoch | None:
        """The epoch with most validation images right; of equals the one with the lowest loss."""
        return max(self.epochs, key=lambda row: (row.val_accuracy, -row.val_loss), default=None)

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
