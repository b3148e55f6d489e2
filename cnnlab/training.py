"""One training loop, short enough to read in one sitting.

`fit` takes any model that maps images to logits and any iterable of (images, labels) batches. It
knows no data set. The learning rate is a function of the step, losses stay on the device until
they are looked at, and what was learned before an error or a Ctrl-C is kept.
"""

from __future__ import annotations

import math
import signal
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, fields
from difflib import get_close_matches
from typing import NamedTuple, Protocol

import torch
import torch.nn.functional as F
from torch import Tensor, nn

CHECK_EVERY = 20  # steps between two looks at the losses; each look waits for the device


class TrainingError(RuntimeError):
    """Training cannot start or go on. `history` holds the epochs completed until then."""

    def __init__(self, message: str, history: History | None = None) -> None:
        super().__init__(message)
        self.history = history if history is not None else History()


class BatchSource(Protocol):
    """What `fit` and `evaluate` read: a DataLoader, `batches.Batches`, a list of pairs of tensors.

    Where there is a method `at(epoch)` (as `Batches` has), `fit` asks it for each epoch's batches.
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


# Learning rate as a share of its peak; `progress` goes from 0 to 1 over the run.


def one_cycle(progress: float, warmup: float) -> float:
    """Straight up to 1 over the share `warmup`, then straight down (Smith 2018, section 4)."""
    rise = progress / warmup if progress < warmup else 1.0
    return min(rise, (1 - progress) / (1 - warmup))


def cosine(progress: float, warmup: float) -> float:
    """Straight up over `warmup`, then half a cosine (Loshchilov, Hutter 2017, equation 5)."""
    if progress < warmup:
        return progress / warmup
    return 0.5 * (1 + math.cos(math.pi * (progress - warmup) / (1 - warmup)))


def constant(progress: float, warmup: float) -> float:
    """Straight up over `warmup`, then 1."""
    return progress / warmup if progress < warmup else 1.0


SCHEDULES = {"one-cycle": one_cycle, "cosine": cosine, "constant": constant}
PEAKS = {"sgd": 0.1, "adam": 1e-3}  # default learning rate of each optimizer


def learning_rate(
    step: int, steps: int, peak: float, schedule: str = "one-cycle", warmup: float = 0.2
) -> float:
    """The rate of one step (from 0) out of `steps`. No state: the same step, the same rate.

    Taken at the middle of the step, so that the first and last steps learn something too.
    """
    return peak * SCHEDULES[schedule]((step + 0.5) / steps, warmup)


def fit(
    model: nn.Module,
    train: BatchSource,
    val: BatchSource,
    *,
    epochs: int,
    optimizer: str = "sgd",
    lr: float | None = None,
    momentum: float = 0.9,
    weight_decay: float = 0.0,
    schedule: str = "one-cycle",
    warmup: float = 0.2,
    seed: int = 0,
    device: torch.device | str | None = None,
    progress: bool = True,
) -> History:
    """Train `model` in place by cross-entropy on `train`; look at `val` after every epoch.

    train, val   batches of images (B, C, H, W) and labels (B,) in 0..classes-1; see `BatchSource`
    optimizer    "sgd" (with Nesterov's `momentum`) or "adam" (weight decay decoupled, as in AdamW)
    lr           peak of the schedule; None: 0.1 for sgd, 0.001 for adam
    schedule     "one-cycle", "cosine" or "constant", each after a `warmup` of that share of the run
    seed         for dropout and for loaders that draw from torch's generator, which is put back
                 afterwards. Weights are drawn before, when the model is made
    device       where to train; None: where the model is
    progress     a bar, if it takes over two seconds; in a log, a line per epoch on stderr

    Afterwards the model is in eval mode on that device, its weights in channels-last layout.
    The same seed gives the same numbers, on a CPU at the same number of threads to the bit.

    Ctrl-C (or the notebook's stop button) ends it after the current step: the model keeps its
    weights, and the history of the completed epochs is returned, with `stopped` saying so. A
    second one interrupts at once. Raises `TrainingError` for input that does not fit the model, and
    when the loss is no longer finite or has exploded; the error carries the history so far.
    """
    peak = PEAKS.get(optimizer, 0.0) if lr is None else lr
    _check_options(model, train, val, epochs, optimizer, peak, schedule, warmup)
    device = torch.device(device) if device is not None else next(model.parameters()).device
    model.to(device, memory_format=torch.channels_last)
    update = _optimizer(model, optimizer, momentum, weight_decay)
    steps, step, history = epochs * len(train), 0, History()

    with _own_random_numbers(device, seed), _interruptible() as stop, _Bar(steps, progress) as bar:
        for epoch in range(epochs):
            model.train()
            started, pending, right, sizes = time.perf_counter(), [], [], []
            for images, labels in train.at(epoch) if hasattr(train, "at") else train:
                if stop.is_set():
                    break
                for group in update.param_groups:
                    group["lr"] = learning_rate(step, steps, peak, schedule, warmup)
                images, labels = _to_device(images, labels, device)
                logits = _logits(model, images, labels, first=step == 0)
                loss = F.cross_entropy(logits, labels)
                update.zero_grad()
                loss.backward()
                update.step()
                pending.append(loss.detach())
                right.append((logits.detach().argmax(1) == labels).sum())
                sizes.append(len(labels))
                step += 1
                bar.advance()
                if step == 1 or step % CHECK_EVERY == 0:
                    _collect(pending, history, epoch, peak, logits.shape[1])
                    bar.say(f"epoch {epoch + 1}/{epochs}, loss {history.losses[-1]:.3f}")
            if pending:
                _collect(pending, history, epoch, peak, logits.shape[1])
            if stop.is_set():
                history.stopped = f"interrupted in epoch {epoch + 1}, after {step} of {steps} steps"
                break
            if len(sizes) != len(train):
                raise TrainingError(
                    f"epoch {epoch + 1} had {len(sizes)} batches where len(train) is {len(train)}. "
                    "fit needs batches that can be iterated again, such as cnnlab.batches.Batches, "
                    "a DataLoader or a list; a generator is empty the second time.",
                    history,
                )
            count = sum(sizes)
            mean = sum(a * n for a, n in zip(history.losses[-len(sizes) :], sizes)) / count
            accuracy = int(torch.stack(right).sum()) / count
            on_val = evaluate(model, val, device=device)
            seconds = time.perf_counter() - started
            history.epochs.append(Epoch(epoch + 1, mean, accuracy, *on_val, seconds))
            bar.row(line(history.epochs[-1]))
    model.eval()
    return history


def evaluate(
    model: nn.Module, batches: BatchSource, *, device: torch.device | str | None = None
) -> Metrics:
    """Mean loss and accuracy in eval mode, without gradients. Modes are put back afterwards."""
    device = torch.device(device) if device is not None else next(model.parameters()).device
    modes = [(module, module.training) for module in model.modules()]
    model.to(device).eval()
    losses, right, count = [], [], 0
    try:
        with torch.inference_mode():
            for images, labels in batches:
                images, labels = _to_device(images, labels, device)
                logits = _logits(model, images, labels, first=not losses)
                losses.append(F.cross_entropy(logits, labels, reduction="sum").double())
                right.append((logits.argmax(1) == labels).sum())
                count += len(labels)
    finally:
        for module, mode in modes:
            module.training = mode
    if not count:
        raise TrainingError("there is nothing to evaluate: the batches hold no image.")
    return Metrics(float(sum(losses)) / count, int(sum(right)) / count)


def _optimizer(
    model: nn.Module, name: str, momentum: float, weight_decay: float
) -> torch.optim.Optimizer:
    parameters = [p for p in model.parameters() if p.requires_grad]
    if name == "adam":
        return torch.optim.AdamW(parameters, lr=0.0, weight_decay=weight_decay)
    return torch.optim.SGD(
        parameters, lr=0.0, momentum=momentum, nesterov=momentum > 0, weight_decay=weight_decay
    )


def _to_device(images: Tensor, labels: Tensor, device: torch.device) -> tuple[Tensor, Tensor]:
    layout = torch.channels_last if images.ndim == 4 else torch.preserve_format
    images = images.to(device, non_blocking=True, memory_format=layout)
    return images, labels.to(device, non_blocking=True)


def _logits(model: nn.Module, images: Tensor, labels: Tensor, *, first: bool) -> Tensor:
    """The model's answer, or an error that names what does not fit."""
    shape = tuple(images.shape)
    if not images.is_floating_point() or labels.dtype != torch.int64:
        raise TrainingError(
            f"a batch holds {images.dtype} images and {labels.dtype} labels; expected floating "
            "point images and int64 labels. cnnlab.batches.Batches makes both; by hand: "
            "images.float() / 255 and labels.long()."
        )
    try:
        logits = model(images)
    except (RuntimeError, ValueError, TypeError) as error:
        raise TrainingError(f"{_misfit(model, shape)} The model said: {error}") from error
    if not isinstance(logits, Tensor) or logits.ndim != 2 or len(logits) != len(labels):
        got = tuple(logits.shape) if isinstance(logits, Tensor) else type(logits).__name__
        raise TrainingError(
            f"for images {shape} and {len(labels)} labels the model returned {got}; expected "
            f"logits of shape ({len(labels)}, classes). Flatten the features before the last "
            "linear layer, and return its output alone."
        )
    # Looking at labels on a GPU waits for it, so there only the first batch is looked at.
    if first or labels.device.type == "cpu":
        low, high = int(labels.min()), int(labels.max())
        if low < 0 or high >= logits.shape[1]:
            raise TrainingError(
                f"labels run from {low} to {high}, the model has {logits.shape[1]} outputs; "
                f"expected labels 0 to {logits.shape[1] - 1}. Build the model with "
                f"{high + 1} classes or renumber the labels."
            )
    return logits


def _misfit(model: nn.Module, shape: tuple[int, ...]) -> str:
    convolutions = (m for m in model.modules() if isinstance(m, nn.Conv2d))
    expected = getattr(next(convolutions, None), "in_channels", None)
    if len(shape) == 4 and expected is not None and shape[1] != expected:
        return (
            f"images have {shape[1]} channels, the model's first convolution expects {expected}. "
            f"Build the model for {shape[1]} channels, or give it other images."
        )
    return f"the model failed on images of shape {shape} (batch, channels, height, width)."


def _collect(
    pending: list[Tensor], history: History, epoch: int, peak: float, classes: int
) -> None:
    """Move losses from the device into the history; stop where they say that training failed."""
    before = len(history.losses)
    history.losses += torch.stack(pending).tolist()
    pending.clear()
    # A blind model need not lose more than log(classes); ten times that and the start, which may
    # have been lucky, is beyond bad luck.
    limit = 10 * (history.losses[0] + math.log(classes))
    for step, loss in enumerate(history.losses[before:], before + 1):
        if loss <= limit and math.isfinite(loss):
            continue
        if step == 1:
            cause = (
                "before any update, so the learning rate is not the cause. Look for nan or huge "
                "values in the images and in the model's first weights."
            )
        else:
            cause = (
                f"at a peak learning rate of {peak:g}, from {history.losses[0]:.3g} at the first "
                f"step. The likely cause is the learning rate: try lr={min(peak / 10, 0.1):g}."
            )
        history.stopped = f"the loss was {loss:.3g} at step {step}"
        raise TrainingError(f"the loss was {loss:.3g} at step {step} (epoch {epoch + 1}) {cause}",
                            history)  # fmt: skip


def _check_options(
    model: nn.Module,
    train: BatchSource,
    val: BatchSource,
    epochs: int,
    optimizer: str,
    peak: float,
    schedule: str,
    warmup: float,
) -> None:
    for what, name, known in (("optimizer", optimizer, PEAKS), ("schedule", schedule, SCHEDULES)):
        if name not in known:
            close = get_close_matches(str(name), known, n=1)
            hint = f" Did you mean {close[0]!r}?" if close else ""
            raise TrainingError(f"no {what} {name!r}; known: {', '.join(known)}.{hint}")
    if epochs < 1:
        raise TrainingError(f"epochs is {epochs}; expected at least 1.")
    if not (peak > 0 and math.isfinite(peak)):
        raise TrainingError(f"lr is {peak}; expected a number above 0, often 0.001 to 0.1.")
    if not 0 <= warmup < 1:
        raise TrainingError(f"warmup is {warmup}; expected a share of the run, 0 to below 1.")
    if not any(p.requires_grad for p in model.parameters()):
        raise TrainingError("the model has no parameter to train: requires_grad is false for all.")
    for name, batches in (("train", train), ("val", val)):
        try:
            length = len(batches)
        except TypeError as error:
            raise TrainingError(
                f"{name} is a {type(batches).__name__} without len(); expected batches that can be "
                "counted and iterated again, such as cnnlab.batches.Batches or a DataLoader."
            ) from error
        if not length:
            raise TrainingError(f"{name} has no batches. Is the set empty, or drop_last on?")


@contextmanager
def _own_random_numbers(device: torch.device, seed: int) -> Iterator[None]:
    """Seed torch's generators, and put them back afterwards."""
    cuda = [device] if device.type == "cuda" else []
    with torch.random.fork_rng(devices=cuda):
        torch.default_generator.manual_seed(seed)  # torch.manual_seed would seed every GPU too
        if cuda:
            with torch.cuda.device(device):
                torch.cuda.manual_seed(seed)
        yield


@contextmanager
def _interruptible() -> Iterator[threading.Event]:
    """An event that the first Ctrl-C sets; the second one interrupts as usual.

    A `KeyboardInterrupt` in the middle of an update would leave half of the weights updated.
    """
    stop = threading.Event()
    if threading.current_thread() is not threading.main_thread():
        yield stop  # Python lets only the main thread handle signals
        return
    previous = signal.getsignal(signal.SIGINT) or signal.default_int_handler

    def handle(number: int, frame: object) -> None:
        stop.set()
        signal.signal(signal.SIGINT, previous)

    signal.signal(signal.SIGINT, handle)
    try:
        yield stop
    finally:
        signal.signal(signal.SIGINT, previous)


def progress(items: Sequence, unit: str = "run") -> Iterator:
    """The items one by one, with a bar after two seconds: for several trainings in one cell."""
    with _Bar(len(items), True, unit) as bar:
        for item in items:
            yield item
            bar.advance()


class _Bar:
    """Progress over the steps: a bar after two seconds, gone at the end; in a log, lines.

    In a notebook it is tqdm's text bar in a display of its own. tqdm's widget would leave its last
    text, with times in it, in the stored notebook.
    """

    def __init__(self, steps: int, shown: bool, unit: str = "step") -> None:
        self._bar, self._lines = None, False
        file = (_notebook_display() or sys.stderr) if shown else None
        if file is None:
            return
        if not file.isatty():
            self._lines = True
            return
        from tqdm import tqdm

        self._bar = tqdm(total=steps, delay=2, leave=False, file=file, unit=unit, ncols=90)

    def __enter__(self) -> _Bar:
        return self

    def __exit__(self, *error: object) -> None:
        if self._bar is not None:
            self._bar.close()

    def advance(self) -> None:
        if self._bar is not None:
            self._bar.update()

    def say(self, text: str) -> None:
        if self._bar is not None:
            self._bar.set_description_str(text, refresh=False)

    def row(self, text: str) -> None:
        if self._lines:
            print(text, file=sys.stderr, flush=True)


class _Display:
    """A text file whose last line is shown in a notebook, as far as tqdm needs one.

    Its output is there from the start, empty, and empty at the end: a stored notebook is the same
    whether the bar had the time to appear or not.
    """

    encoding = "utf-8"

    def __init__(self) -> None:
        from IPython.display import DisplayHandle

        self._handle = DisplayHandle()
        self._handle.display({"text/plain": ""}, raw=True)

    def isatty(self) -> bool:
        return True

    def flush(self) -> None:
        pass

    def write(self, text: str) -> None:
        self._handle.update({"text/plain": text.strip()}, raw=True)


def _notebook_display() -> _Display | None:
    ipython = sys.modules.get("IPython")
    shell = ipython.get_ipython() if ipython else None
    return _Display() if hasattr(shell, "kernel") else None
