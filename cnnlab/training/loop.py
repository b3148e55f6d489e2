"""One training loop, short enough to read in one sitting.

`fit` takes any model that maps images to logits and any iterable of (images, labels) batches. It
knows no data set. The learning rate is a function of the step, losses stay on the device until
they are looked at, and what was learned before an error or a Ctrl-C is kept. The same loop runs on
a CPU, on a GPU, and as one of several processes (`distributed`).
"""

from __future__ import annotations

import inspect
import os
import signal
import threading
import time
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from cnnlab.training import refusals
from cnnlab.training.checkpoint import Options, Run
from cnnlab.training.curves import Bar, curve
from cnnlab.training.distributed import World, parallel, world
from cnnlab.training.history import (
    INTERRUPTED,
    BatchSource,
    History,
    Metrics,
    TrainingError,
    line,
)
from cnnlab.training.schedules import learning_rate

CHECK_EVERY = 20  # steps between two looks at the losses; each look waits for the device
PRECISIONS = {"float32": None, "bf16": torch.bfloat16, "fp16": torch.float16}
PEAKS = {"sgd": 0.1, "adam": 1e-3}  # default learning rate of each optimizer
MOMENTUM = 0.9  # Nesterov's, of "sgd"


def fit(
    model: nn.Module,
    train: BatchSource,
    val: BatchSource,
    *,
    epochs: int,
    optimizer: str = "sgd",
    lr: float | None = None,
    weight_decay: float = 0.0,
    schedule: str = "one-cycle",
    warmup: float = 0.2,
    label_smoothing: float = 0.0,
    clip: float | None = None,
    precision: str = "float32",
    compile: bool | str = False,
    seed: int = 0,
    device: torch.device | str | None = None,
    checkpoint: str | os.PathLike | None = None,
    progress: bool = True,
) -> History:
    """Train `model` in place by cross-entropy on `train`; look at `val` after every epoch.

    train, val       batches of images (B, C, H, W) and labels (B,) in 0..classes-1; see
                     `BatchSource`
    optimizer        "sgd" (with Nesterov's momentum of 0.9) or "adam" (weight decay decoupled:
                     AdamW)
    lr               peak of the schedule; None: 0.1 for sgd, 0.001 for adam
    schedule         "one-cycle", "cosine", "steps" or "constant", each after a `warmup` of that
                     share of the run
    label_smoothing  share of the target that is spread over all classes, in training only
    clip             the longest gradient allowed; a longer one keeps its direction only
    precision        "float32": as the weights are; "bf16", "fp16" (on a GPU): operations that
                     stand it in 16 bits, weights as they are
    compile          True, or a mode of torch.compile: a long wait first, then faster steps
    seed             for dropout and for loaders that draw from torch's generator, which is put back
                     afterwards. Weights are drawn before, when the model is made
    device           where to train; None: where the model is
    checkpoint       a file, written at the end of every epoch. If it exists, the run in it goes on
    progress         a bar, if it takes over two seconds; in a log, a line per epoch on stderr

    Afterwards the model is in eval mode on that device, its weights in channels-last layout (on a
    CPU in the usual one, where PyTorch's backward pass of that layout is broken). The same seed
    gives the same numbers, and a run that was killed goes on from its last whole epoch as if it had
    not been: on a CPU at the same number of threads to the bit.

    Ctrl-C (or the notebook's stop button) ends it after the current step: the model keeps its
    weights, and the history of the completed epochs is returned, with `stopped` saying so. A
    second one interrupts at once. Raises `TrainingError` for input that does not fit the model,
    when the loss is no longer finite or has exploded, when a GPU's memory or the disk is full; the
    error carries the history so far.
    """
    device = torch.device(device) if device is not None else next(model.parameters()).device
    peak = PEAKS.get(optimizer, 0.0) if lr is None else lr
    options = Options(
        epochs,
        optimizer,
        peak,
        weight_decay,
        schedule,
        warmup,
        label_smoothing,
        clip,
        precision,
        compile,
        seed,
    )
    refusals.check(options, model, train, val, device, optimizers=PEAKS, precisions=PRECISIONS)
    layout = _layout(model, device)
    model.to(device, memory_format=layout)
    net = parallel(model, device)
    if compile:
        torch._dynamo.reset()  # a session's ninth network would run uncompiled, without a word
        net = torch.compile(net, mode=compile if isinstance(compile, str) else None)
    update = _optimizer(model, options)
    run = Run(options, device, layout, model, net, update, train, checkpoint)

    with _own_random_numbers(device, seed), _interruptible() as stop, refusals.told(run):
        run.resume()
        shown, done = progress and run.world.rank == 0, len(run.history.losses)
        with Bar(run.steps, shown, picture=lambda: _picture(run), done=done) as bar:
            for epoch in range(len(run.history.epochs) + 1, epochs + 1):
                began = time.perf_counter()
                _learn_epoch(run, stop, bar)
                if run.world.any(stop.is_set()):
                    steps = f"{len(run.history.losses)} of {run.steps} steps"
                    run.history.stopped = f"{INTERRUPTED} in epoch {epoch}, after {steps}"
                    break
                refusals.check_count(run, epoch)
                run.world.same_buffers(model)
                on_val = evaluate(model, val, device=device, precision=precision)
                run.close_epoch(on_val, time.perf_counter() - began)
                run.save()
                bar.row(line(run.history.epochs[-1]))
    model.eval()
    return run.history


def _learn_epoch(run: Run, stop: threading.Event, bar: Bar) -> None:
    """Step after step, until the epoch's end or `stop`. Nobody waits for the device in between."""
    options, history, pending = run.options, run.history, []
    step = len(history.losses)
    run.model.train()
    for images, labels in share(run.train, run.world, len(history.epochs)):
        if (run.world.size == 1 or step % CHECK_EVERY == 0) and run.world.any(stop.is_set()):
            break
        rate = learning_rate(step, run.steps, options.lr, options.schedule, options.warmup)
        for group in run.optimizer.param_groups:
            group["lr"] = rate
        pending.append(_learn(run, images, labels, step))
        step += 1
        bar.advance()
        if step == 1 or step % CHECK_EVERY == 0:
            _look(run, pending)
            epoch = f"epoch {len(history.epochs) + 1}/{options.epochs}"
            bar.say(f"{epoch}, loss {history.losses[-1]:.3f}")
    _look(run, pending)


def _learn(run: Run, images: Tensor, labels: Tensor, step: int) -> tuple[Tensor, Tensor, int]:
    """One update from one batch: this process's part of its mean loss and of the right answers,
    and the number of images in all processes, all of it still on the device."""
    options, world = run.options, run.world
    images, labels = _to_device(images, labels, run.device, run.layout)
    run.shape = tuple(images.shape)
    size = world.sum(len(labels), run.device)
    refusals.check_share(labels, step, world)
    run.optimizer.zero_grad()
    with _autocast(run.device, options.precision):
        logits = _logits(run.net, images, labels, first=step == 0)
    run.classes = logits.shape[1]
    loss = F.cross_entropy(logits, labels, label_smoothing=options.label_smoothing)
    if world.size > 1:
        loss = loss * len(labels) / size
    # DistributedDataParallel takes the mean over processes, where the sum is needed.
    run.scaler.scale(loss * world.size if world.size > 1 else loss).backward()
    if options.clip:
        run.scaler.unscale_(run.optimizer)
        nn.utils.clip_grad_norm_(run.model.parameters(), options.clip)
    run.scaler.step(run.optimizer)
    run.scaler.update()
    return loss.detach(), (logits.detach().argmax(1) == labels).sum(), size


def _look(run: Run, pending: list[tuple[Tensor, Tensor, int]]) -> None:
    """Move losses from the device into the history; stop where they say that training failed."""
    if not pending:
        return
    losses, right, sizes = zip(*pending)
    pending.clear()
    table = torch.stack([torch.stack(losses).double(), torch.stack(right).double()])
    losses, right = run.world.sum(table).tolist()
    run.history.losses += losses
    run.right += int(sum(right))
    run.sizes += [int(size) for size in sizes]
    refusals.check_losses(run, losses)


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


def share(source: BatchSource, here: World, epoch: int = 0) -> Iterator[tuple[Tensor, Tensor]]:
    """One epoch's batches: of each the share of this process."""
    at = getattr(source, "at", None)
    if at and "rank" in inspect.signature(at).parameters:
        return at(epoch, rank=here.rank, world=here.size)
    batches = iter(at(epoch) if at else source)
    if here.size == 1:
        return batches
    return ((x[here.rank :: here.size], y[here.rank :: here.size]) for x, y in batches)


def _optimizer(model: nn.Module, options: Options) -> torch.optim.Optimizer:
    parameters = [p for p in model.parameters() if p.requires_grad]
    decay = options.weight_decay
    if options.optimizer == "adam":
        return torch.optim.AdamW(parameters, lr=0.0, weight_decay=decay)
    return torch.optim.SGD(parameters, lr=0.0, momentum=MOMENTUM, nesterov=True, weight_decay=decay)


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
    """The model's answer in float32, or an error that names what does not fit."""
    refusals.check_types(images, labels)
    with refusals.explained(model, images):
        logits = model(images)
    # Looking at labels on a GPU waits for it, so there only the first batch is looked at.
    look = first or labels.device.type == "cpu"
    refusals.check_logits(logits, images, labels, look_at_labels=look)
    return logits.float() if logits.dtype in PRECISIONS.values() else logits


def _autocast(device: torch.device, precision: str) -> AbstractContextManager:
    dtype = PRECISIONS[precision]
    return torch.autocast(device.type, dtype) if dtype else nullcontext()


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


def _picture(run: Run) -> str:
    """The live curve of a notebook."""
    marks = [(row.epoch * len(run.train), row.val_loss) for row in run.history.epochs]
    return curve(run.history.losses, marks, run.steps)
