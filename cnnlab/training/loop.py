"""One training loop, short enough to read in one sitting.

`fit` takes any model that maps images to logits and any iterable of (images, labels) batches. It
knows no data set. The learning rate is a function of the step, losses stay on the device until
they are looked at, and what was learned before an error or a Ctrl-C is kept. The same loop runs on
a CPU, on a GPU, and as one of several processes (`distributed`).
"""

from __future__ import annotations

import math
import os
import signal
import threading
import time
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from difflib import get_close_matches

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from cnnlab.training.curves import Bar, progress
from cnnlab.training.distributed import SyncBatchNorm, parallel, peer_lost, world
from cnnlab.training.history import (
    INTERRUPTED,
    BatchSource,
    Epoch,
    History,
    Metrics,
    Options,
    Run,
    TrainingError,
    line,
    share,
)

__all__ = [
    "SCHEDULES",
    "Epoch",
    "History",
    "Metrics",
    "TrainingError",
    "evaluate",
    "fit",
    "learning_rate",
    "line",
    "progress",
]

CHECK_EVERY = 20  # steps between two looks at the losses; each look waits for the device
PRECISIONS = {"float32": None, "bf16": torch.bfloat16, "fp16": torch.float16}


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


def step_decay(progress: float, warmup: float) -> float:
    """Straight up, 1; a tenth from half of the run, a hundredth from three quarters (He 2016)."""
    rise = progress / warmup if progress < warmup else 1.0
    return rise * (1.0 if progress < 0.5 else 0.1 if progress < 0.75 else 0.01)


SCHEDULES = {"one-cycle": one_cycle, "cosine": cosine, "constant": constant, "steps": step_decay}
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
    label_smoothing: float = 0.0,
    clip: float | None = None,
    ema: float | None = None,
    patience: int | None = None,
    accumulate: int = 1,
    precision: str = "float32",
    compile: bool | str = False,
    sync_batchnorm: bool = False,
    seed: int = 0,
    device: torch.device | str | None = None,
    checkpoint: str | os.PathLike | None = None,
    save_every: int | None = None,
    progress: bool = True,
) -> History:
    """Train `model` in place by cross-entropy on `train`; look at `val` after every epoch.

    train, val       batches of images (B, C, H, W) and labels (B,) in 0..classes-1; see
                     `BatchSource`
    optimizer        "sgd" (with Nesterov's `momentum`) or "adam" (weight decay decoupled: AdamW)
    lr               peak of the schedule; None: 0.1 for sgd, 0.001 for adam
    schedule         "one-cycle", "cosine", "steps" or "constant", each after a `warmup` of that
                     share of the run
    label_smoothing  share of the target that is spread over all classes, in training only
    clip             the longest gradient allowed; a longer one keeps its direction only
    ema              such as 0.99: validate, and end, with a moving average of the weights
    patience         stop after so many epochs in a row without a lower validation loss
    accumulate       run each batch in so many parts: the memory of a part, the update of the whole
                     (batch norm sees the parts)
    precision        "float32": as the weights are; "bf16", "fp16" (on a GPU): operations that
                     stand it in 16 bits, weights as they are
    compile          True, or a mode of torch.compile: a long wait first, then faster steps
    sync_batchnorm   in several processes: batch norm over the whole batch, not over each share
    seed             for dropout and for loaders that draw from torch's generator, which is put back
                     afterwards. Weights are drawn before, when the model is made
    device           where to train; None: where the model is
    checkpoint       a file. If it exists, the run in it goes on; it is written at the end of every
                     epoch and every `save_every` steps
    progress         a bar, if it takes over two seconds; in a log, a line per epoch on stderr

    Afterwards the model is in eval mode on that device, its weights in channels-last layout (on a
    CPU in the usual one, where PyTorch's backward pass of that layout is broken). The same seed
    gives the same numbers, and a run that was killed goes on as if it had not been: on a CPU at
    the same number of threads to the bit.

    Ctrl-C (or the notebook's stop button) ends it after the current step: the model keeps its
    weights, and the history of the completed epochs is returned, with `stopped` saying so. A
    second one interrupts at once. Raises `TrainingError` for input that does not fit the model,
    when the loss is no longer finite or has exploded, when a GPU's memory or the disk is full; the
    error carries the history so far.
    """
    options = Options(
        epochs,
        optimizer,
        PEAKS.get(optimizer, 0.0) if lr is None else lr,
        momentum,
        weight_decay,
        schedule,
        warmup,
        label_smoothing,
        clip,
        ema,
        patience,
        accumulate,
        precision,
        compile,
        sync_batchnorm,
        seed,
    )
    device = torch.device(device) if device is not None else next(model.parameters()).device
    _check(options, model, train, val, device, save_every)
    if sync_batchnorm:
        SyncBatchNorm.convert(model, device)
    layout = _layout(model, device)
    model.to(device, memory_format=layout)
    net = parallel(model, device)
    if compile:
        torch._dynamo.reset()  # a session's ninth network would run uncompiled, without a word
        net = torch.compile(net, mode=compile if isinstance(compile, str) else None)
    update = _optimizer(model, optimizer, momentum, weight_decay)
    run = Run(options, device, layout, model, net, update, train, checkpoint, save_every)

    with _own_random_numbers(device, seed), _interruptible() as stop, _told(run):
        run.resume()
        shown, done = progress and run.world.rank == 0, len(run.history.losses)
        with Bar(run.steps, shown, picture=run.picture, done=done) as bar:
            _train(run, val, stop, bar)
    if run.average:
        run.average.swap()
    model.eval()
    return run.history


def _train(run: Run, val: BatchSource, stop: threading.Event, bar: Bar) -> None:
    """Epoch after epoch: learn, validate, write a row, save."""
    history, epochs = run.history, run.options.epochs
    for epoch in range(len(history.epochs) + 1, epochs + 1):
        if _no_better(history, run.options.patience):
            return
        _learn_epoch(run, stop, bar)
        if run.world.any(stop.is_set()):
            done = f"{len(history.losses)} of {run.steps} steps"
            history.stopped = f"{INTERRUPTED} in epoch {epoch}, after {done}"
            run.save()
            return
        if len(run.sizes) != len(run.train):
            raise TrainingError(
                f"epoch {epoch} had {len(run.sizes)} batches where len(train) is {len(run.train)}. "
                "fit needs batches that can be iterated again, such as cnnlab.data.Batches, "
                "a DataLoader or a list; a generator is empty the second time."
            )
        began = time.perf_counter()
        with run.average.used() if run.average else nullcontext():
            run.world.same_buffers(run.model)
            on_val = evaluate(run.model, val, device=run.device, precision=run.options.precision)
        run.seconds += time.perf_counter() - began
        run.close_epoch(on_val)
        run.save()
        bar.row(line(history.epochs[-1]))


def _learn_epoch(run: Run, stop: threading.Event, bar: Bar) -> None:
    """Step after step, until the epoch's end or `stop`. Nobody waits for the device in between."""
    options, history, pending = run.options, run.history, []
    steps, step = run.steps, len(history.losses)
    began = time.perf_counter() - run.seconds
    run.model.train()
    for images, labels in run.rest_of_epoch():
        if (run.world.size == 1 or step % CHECK_EVERY == 0) and run.world.any(stop.is_set()):
            break
        for group in run.optimizer.param_groups:
            group["lr"] = learning_rate(step, steps, options.lr, options.schedule, options.warmup)
        pending.append(_learn(run, images, labels, step))
        step += 1
        bar.advance()
        saving = run.save_every and step % run.save_every == 0
        if step == 1 or step % CHECK_EVERY == 0 or saving:
            _look(run, pending)
            bar.say(
                f"epoch {len(history.epochs) + 1}/{options.epochs}, loss {history.losses[-1]:.3f}"
            )
        if saving:
            run.seconds = time.perf_counter() - began
            run.save()
    _look(run, pending)
    run.seconds = time.perf_counter() - began


def _learn(run: Run, images: Tensor, labels: Tensor, step: int) -> tuple[Tensor, Tensor, int]:
    """One update from one batch: this process's part of its mean loss and of the right answers,
    and the number of images in all processes, all of it still on the device."""
    options, world = run.options, run.world
    images, labels = _to_device(images, labels, run.device, run.layout)
    run.shape = tuple(images.shape)
    size = world.sum(len(labels), run.device)
    count = min(options.accumulate, len(labels))
    if not count:
        raise TrainingError(
            f"step {step + 1} has no image for process {world.rank} of {world.size}. Every batch, "
            "the epoch's last too, needs one for each: take another batch size, or drop_last."
        )
    losses, right = [], []
    run.optimizer.zero_grad()
    for x, y in _parts(images, labels, count):
        # Gradients of all parts add up; only with the last do the processes exchange them.
        alone = world.size > 1 and len(losses) < count - 1
        with run.net.no_sync() if alone else nullcontext():
            with _autocast(run.device, options.precision):
                logits = _logits(run.net, x, y, first=step == 0)
            run.classes = logits.shape[1]
            loss = F.cross_entropy(logits, y, label_smoothing=options.label_smoothing)
            if count * world.size > 1:
                loss = loss * len(y) / size
            # DistributedDataParallel takes the mean over processes, where the sum is needed.
            run.scaler.scale(loss * world.size if world.size > 1 else loss).backward()
        losses.append(loss.detach())
        right.append((logits.detach().argmax(1) == y).sum())
    if options.clip:
        run.scaler.unscale_(run.optimizer)
        nn.utils.clip_grad_norm_(run.model.parameters(), options.clip)
    run.scaler.step(run.optimizer)
    run.scaler.update()
    if run.average:
        run.average.update(step)
    return sum(losses[1:], losses[0]), sum(right[1:], right[0]), size


def _parts(images: Tensor, labels: Tensor, count: int) -> list[tuple[Tensor, Tensor]]:
    if count == 1:
        return [(images, labels)]
    return [(images[i::count], labels[i::count]) for i in range(count)]


def _look(run: Run, pending: list[tuple[Tensor, Tensor, int]]) -> None:
    """Move losses from the device into the history; stop where they say that training failed."""
    if not pending:
        return
    history = run.history
    losses, right, sizes = zip(*pending)
    pending.clear()
    table = torch.stack([torch.stack(losses).double(), torch.stack(right).double()])
    losses, right = run.world.sum(table).tolist()
    before = len(history.losses)
    history.losses += losses
    run.right += int(sum(right))
    run.sizes += [int(size) for size in sizes]
    # A blind model need not lose more than log(classes); ten times that and the start, which may
    # have been lucky, is beyond bad luck.
    limit = 10 * (history.losses[0] + math.log(run.classes))
    for step, loss in enumerate(losses, before + 1):
        if loss <= limit and math.isfinite(loss):
            continue
        lr = run.options.lr
        if step == 1:
            cause = (
                "before any update, so the learning rate is not the cause. Look for nan or huge "
                "values in the images and in the model's first weights."
            )
        else:
            cause = (
                f"at a peak learning rate of {lr:g}, from {history.losses[0]:.3g} at the first "
                f"step. The likely cause is the learning rate: try lr={min(lr / 10, 0.1):g}."
            )
        if run.options.precision == "fp16":
            cause += " fp16 ends at 65,504: try precision='bf16' too."
        history.stopped = f"the loss was {loss:.3g} at step {step}"
        epoch = len(history.epochs) + 1
        raise TrainingError(f"the loss was {loss:.3g} at step {step} (epoch {epoch}) {cause}")


def evaluate(
    model: nn.Module,
    batches: BatchSource,
    *,
    device: torch.device | str | None = None,
    precision: str = "float32",
) -> Metrics:
    """Mean loss and accuracy in eval mode, without gradients. Modes are put back afterwards.

    In several processes each takes its share of every batch, and all get the same answer.
    """
    device = torch.device(device) if device is not None else next(model.parameters()).device
    here = world()
    modes = [(module, module.training) for module in model.modules()]
    model.to(device).eval()
    losses, right, count = [], [], 0
    try:
        with torch.inference_mode():
            for images, labels in share(batches, here):
                images, labels = _to_device(images, labels, device)
                if not len(labels):
                    continue  # fewer images than processes
                with _autocast(device, precision):
                    logits = _logits(model, images, labels, first=not losses)
                losses.append(F.cross_entropy(logits, labels, reduction="sum").double())
                right.append((logits.argmax(1) == labels).sum())
                count += len(labels)
    finally:
        for module, mode in modes:
            module.training = mode
    if here.size > 1:
        table = torch.tensor([float(sum(losses)), int(sum(right)), count], dtype=torch.float64)
        losses, right, count = ([value] for value in here.sum(table.to(device)).tolist())
        count = count[0]
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


def _layout(model: nn.Module, device: torch.device) -> torch.memory_format:
    """Channels-last, but the usual layout on a CPU if a strided 1x1 convolution reads few channels.

    There the weights' gradient is written past its buffer: wrong numbers, or the process dies
    (oneDNN issue 6035, of kernels that take 8 or 16 channels at a time).
    """
    strided = [m for m in model.modules() if isinstance(m, nn.Conv2d) and max(m.stride) > 1]
    broken = [m for m in strided if m.kernel_size == (1, 1) and m.in_channels // m.groups < 16]
    return torch.contiguous_format if device.type == "cpu" and broken else torch.channels_last


def _to_device(
    images: Tensor, labels: Tensor, device: torch.device, layout=torch.channels_last
) -> tuple[Tensor, Tensor]:
    layout = layout if images.ndim == 4 else torch.preserve_format
    images = images.to(device, non_blocking=True, memory_format=layout)
    return images, labels.to(device, non_blocking=True)


def _logits(model: nn.Module, images: Tensor, labels: Tensor, *, first: bool) -> Tensor:
    """The model's answer, or an error that names what does not fit."""
    shape = tuple(images.shape)
    if not images.is_floating_point() or labels.dtype != torch.int64:
        raise TrainingError(
            f"a batch holds {images.dtype} images and {labels.dtype} labels; expected floating "
            "point images and int64 labels. cnnlab.data.batches.Batches makes both; by hand: "
            "images.float() / 255 and labels.long()."
        )
    try:
        logits = model(images)
    except torch.OutOfMemoryError:
        raise
    except (RuntimeError, ValueError, TypeError) as error:
        if peer_lost(error):
            raise
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
    return logits.float() if logits.dtype in PRECISIONS.values() else logits


def _misfit(model: nn.Module, shape: tuple[int, ...]) -> str:
    convolutions = (m for m in model.modules() if isinstance(m, nn.Conv2d))
    expected = getattr(next(convolutions, None), "in_channels", None)
    if len(shape) == 4 and expected is not None and shape[1] != expected:
        return (
            f"images have {shape[1]} channels, the model's first convolution expects {expected}. "
            f"Build the model for {shape[1]} channels, or give it other images."
        )
    return f"the model failed on images of shape {shape} (batch, channels, height, width)."


# What an option may be, and how to say so. None is allowed where it is the default.
RANGES = {
    "epochs": (lambda x: x >= 1, "at least 1"),
    "lr": (lambda x: 0 < x < math.inf, "a number above 0, often 0.001 to 0.1"),
    "momentum": (lambda x: 0 <= x < 1, "0 to below 1, often 0.9"),
    "weight_decay": (lambda x: 0 <= x < math.inf, "0 or a little more, often 0.0005"),
    "warmup": (lambda x: 0 <= x < 1, "a share of the run, 0 to below 1"),
    "label_smoothing": (lambda x: 0 <= x < 1, "a share of the target, 0 to below 1, often 0.1"),
    "clip": (lambda x: x > 0, "a length above 0, often 1"),
    "ema": (lambda x: 0 < x < 1, "a number between 0 and 1, such as 0.99"),
    "patience": (lambda x: x >= 1, "at least 1 epoch"),
    "accumulate": (lambda x: x >= 1, "at least 1 part"),
    "save_every": (lambda x: x >= 1, "at least 1 step"),
}
CHOICES = {"optimizer": PEAKS, "schedule": SCHEDULES, "precision": PRECISIONS}


def _check(
    options: Options,
    model: nn.Module,
    train: BatchSource,
    val: BatchSource,
    device: torch.device,
    save_every: int | None,
) -> None:
    given = {**options._asdict(), "save_every": save_every}
    for what, known in CHOICES.items():
        if given[what] not in known:
            close = get_close_matches(str(given[what]), known, n=1)
            hint = f" Did you mean {close[0]!r}?" if close else ""
            raise TrainingError(f"no {what} {given[what]!r}; known: {', '.join(known)}.{hint}")
    for what, (allowed, words) in RANGES.items():
        if given[what] is not None and not allowed(given[what]):
            raise TrainingError(f"{what} is {given[what]}; expected {words}.")
    if options.precision == "fp16" and device.type != "cuda":
        raise TrainingError(
            f"precision 'fp16' needs a CUDA GPU, and this run is on {device.type}. Take 'float32', "
            "or 'bf16' to see its rounding (on most CPUs it is slower)."
        )
    if not any(p.requires_grad for p in model.parameters()):
        raise TrainingError("the model has no parameter to train: requires_grad is false for all.")
    for name, batches in (("train", train), ("val", val)):
        try:
            length = len(batches)
        except TypeError as error:
            raise TrainingError(
                f"{name} is a {type(batches).__name__} without len(); expected batches that can be "
                "counted and iterated again, such as cnnlab.data.batches.Batches or a DataLoader."
            ) from error
        if not length:
            raise TrainingError(f"{name} has no batches. Is the set empty, or drop_last on?")
    if world().size > 1 and not hasattr(train, "at"):
        raise TrainingError(
            f"{world().size} processes share every batch, so train needs a method at(epoch) that "
            "gives all of them the same order, as cnnlab.data.batches.Batches does; "
            f"a {type(train).__name__} has none."
        )


def _no_better(history: History, patience: int | None) -> bool:
    """Whether `patience` epochs went by without a lower validation loss; then it says so."""
    losses = [row.val_loss for row in history.epochs]
    if patience is None or not losses:
        return False
    best = losses.index(min(losses)) + 1
    if len(losses) - best >= patience:
        history.stopped = f"no lower validation loss for {patience} epochs after epoch {best}"
    return len(losses) - best >= patience


def _autocast(device: torch.device, precision: str) -> AbstractContextManager:
    dtype = PRECISIONS[precision]
    return torch.autocast(device.type, dtype) if dtype else nullcontext()


@contextmanager
def _told(run: Run) -> Iterator[None]:
    """Errors on the way carry the history; a full GPU gets a sentence with numbers."""
    try:
        yield
    except torch.OutOfMemoryError as error:
        raise TrainingError(f"{_out_of_memory(run)} PyTorch said: {error}", run.history) from None
    except TrainingError as error:
        error.history = run.history
        raise
    except RuntimeError as error:
        if not peer_lost(error):
            raise
        raise TrainingError(
            f"another process of this run ended or does not answer, at step "
            f"{len(run.history.losses) + 1} or soon after. Its own message says why; with a "
            f"checkpoint, start all of them again to go on. PyTorch said: {error}",
            run.history,
        ) from error


def _out_of_memory(run: Run) -> str:
    from cnnlab.arithmetic import bytes_text
    from cnnlab.trace.run import TraceError, trace

    batch, *image = run.shape or (0,)
    parts = run.options.accumulate
    try:
        kind = run.options.optimizer if run.options.optimizer == "adam" else "momentum"
        table = trace(run.model, tuple(image), training=True)
        memory = table.training_memory(-(-batch // parts), kind)
    except (TraceError, ValueError):
        estimate = "cnnlab.trace.run cannot read this model, so there is no estimate"
    else:
        estimate = (
            f"cnnlab.trace.run estimates {bytes_text(memory.total)} for such a step in float32, "
            f"{bytes_text(memory.activations)} of it kept for backward, plus PyTorch's workspace"
        )
    return (
        f"the memory of {run.device} is full at a batch of {batch} images"
        f"{f' in {parts} parts' if parts > 1 else ''}: {estimate}. Take smaller batches, or "
        f"accumulate={2 * parts}: the same batch in parts half as large."
    )


@contextmanager
def _own_random_numbers(device: torch.device, seed: int) -> Iterator[None]:
    """Seed torch's generators, and put them back afterwards. Each process has numbers of its own,
    or all would drop out the same units.
    """
    seed += 1_000_003 * world().rank
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
