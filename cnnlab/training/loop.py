"""The training loop: `bare_fit` is all of it in a screen, `fit` the same with everything around
that a long run needs, and equal to it to the bit.

Both take any model that maps images to logits and batches of (images, labels). They know no data
set. The learning rate is a function of the step. In `fit` losses stay on the device until they are
looked at, and what was learned before an error or a Ctrl-C is kept. The same loop runs on a CPU, on
a GPU, and as one of several processes (`distributed`).
"""

from __future__ import annotations

import inspect
import os
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, nullcontext
from itertools import chain

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from cnnlab.training import refusals
from cnnlab.training.checkpoint import Options, Run, architecture
from cnnlab.training.curves import Bar, curve
from cnnlab.training.distributed import World, parallel, world
from cnnlab.training.guards import interruptible, locked, own_random_numbers
from cnnlab.training.history import (
    INTERRUPTED,
    BatchSource,
    Epoch,
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
BATCH_NORMS = (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d, nn.SyncBatchNorm)


def bare_fit(
    model: nn.Module,
    train: BatchSource,
    val: BatchSource,
    *,
    epochs: int,
    lr: float = 0.1,
) -> History:
    """Train `model` in place, as `fit` does; batches have `at(epoch)`."""
    history, steps = History(), epochs * len(train)
    model.to(memory_format=torch.channels_last)  # faster convolutions
    weights = model.parameters()
    optimizer = torch.optim.SGD(weights, momentum=MOMENTUM, nesterov=True)
    torch.manual_seed(0)  # for dropout

    for epoch in range(epochs):
        began = time.perf_counter()
        total = right = count = 0
        model.train()
        for images, labels in train.at(epoch):
            rate = learning_rate(len(history.losses), steps, lr)
            optimizer.param_groups[0]["lr"] = rate

            images = images.to(memory_format=torch.channels_last)
            logits = model(images)  # (B, classes)
            loss = F.cross_entropy(logits, labels)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()

            history.losses.append(loss.item())
            total += loss.item() * len(labels)
            right += (logits.argmax(1) == labels).sum().item()
            count += len(labels)
        on_val = evaluate(model, val)
        seconds = time.perf_counter() - began
        shown = total / count, right / count, *on_val, seconds, rate
        history.epochs.append(Epoch(epoch + 1, *shown))
    model.eval()
    return history


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
    each_epoch: Callable[[nn.Module, History], None] | None = None,
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
    checkpoint       a file, written at the end of every epoch. If it exists, the run in it goes on,
                     if the network, the data and the options are the same; more epochs may be asked
    each_epoch       called with the model and the history after every epoch, before the checkpoint
    progress         a bar, if it takes over two seconds; in a log on stderr a line per epoch, and
                     in long ones every half minute

    A batch norm whose parameters are all frozen (`requires_grad` false) keeps its statistics.
    Afterwards the model is in eval mode on that device, its weights in channels-last layout (on a
    CPU in the usual one, where PyTorch's backward pass of that layout is broken). The same seed
    gives the same numbers, and a run that was killed goes on from its last whole epoch as if it had
    not been: on a CPU at the same number of threads to the bit.

    Ctrl-C (or the notebook's stop button, SIGTERM, SIGHUP) ends it after the current step: the
    model keeps its weights, and the history of the completed epochs is returned, with `stopped`
    saying so. A second one interrupts at once. Raises `TrainingError` for input that does not fit
    the model, when the loss is no longer finite or has exploded, when a GPU's memory or the disk is
    full; the error carries the history so far.
    """
    device = _place(model, device)
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
    told = architecture(model)
    refusals.check_forward(model, train, val, layout)
    net = parallel(model, device)
    if compile:
        torch.compiler.reset()  # a session's ninth network would run uncompiled, without a word
        net = torch.compile(net, mode=compile if isinstance(compile, str) else None)
    update = _optimizer(model, options)
    run = Run(options, device, layout, model, net, update, train, val, checkpoint, told)

    with (
        own_random_numbers(device, seed),
        interruptible() as stop,
        refusals.told(run),
        locked(run.path),
    ):
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
                refusals.check_val(run)
                if each_epoch is not None and run.world.rank == 0:
                    each_epoch(model, run.history)
                run.save()
                bar.row(line(run.history.epochs[-1]))
                bar.row(run.history.note)
    model.eval()
    return run.history


def _learn_epoch(run: Run, stop: threading.Event, bar: Bar) -> None:
    """Step after step, until the epoch's end or `stop`. Nobody waits for the device in between."""
    options, history, pending = run.options, run.history, []
    step = len(history.losses)
    run.model.train()
    for module in run.model.modules():
        own = list(module.parameters())
        if isinstance(module, BATCH_NORMS) and own and not any(p.requires_grad for p in own):
            module.eval()
    for batch in share(run.train, run.world, len(history.epochs)):
        if (run.world.size == 1 or step % CHECK_EVERY == 0) and run.world.any(stop.is_set()):
            break
        rate = learning_rate(step, run.steps, options.lr, options.schedule, options.warmup)
        for group in run.optimizer.param_groups:
            group["lr"] = rate
        pending.append(_learn(run, *refusals.pair(batch), step))
        step += 1
        bar.advance()
        if step == 1 or step % CHECK_EVERY == 0:
            _look(run, pending)
            epoch = f"epoch {len(history.epochs) + 1}/{options.epochs}"
            bar.say(f"{epoch}, loss {run.plain[-1]:.3f}")
    _look(run, pending)


def _learn(run: Run, images: Tensor, labels: Tensor, step: int) -> tuple[Tensor, ...]:
    """One update from one batch: this process's part of its mean loss, the same without label
    smoothing and of the right answers, and the number of images in all processes, all of it still
    on the device."""
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
    plain = F.cross_entropy(logits.detach(), labels) if options.label_smoothing else loss.detach()
    if world.size > 1:
        loss, plain = loss * len(labels) / size, plain * len(labels) / size
    # DistributedDataParallel takes the mean over processes, where the sum is needed.
    run.scaler.scale(loss * world.size if world.size > 1 else loss).backward()
    if options.clip:
        run.scaler.unscale_(run.optimizer)
        nn.utils.clip_grad_norm_(run.model.parameters(), options.clip)
    run.scaler.step(run.optimizer)
    run.scaler.update()
    return loss.detach(), plain, (logits.detach().argmax(1) == labels).sum(), size


def _look(run: Run, pending: list[tuple[Tensor, ...]]) -> None:
    """Move losses from the device into the history; stop where they say that training failed."""
    if not pending:
        return
    *columns, sizes = zip(*pending)
    pending.clear()
    table = torch.stack([torch.stack(column).double() for column in columns])
    losses, plain, right = run.world.sum(table).tolist()
    run.history.losses += losses
    run.plain += plain
    run.shown += plain
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
    device = _place(model, device)
    here = world()
    modes = [(module, module.training) for module in model.modules()]
    model.to(device).eval()
    losses, right, count = [], [], 0
    try:
        with torch.inference_mode():
            for batch in share(batches, here):
                images, labels = _to_device(*refusals.pair(batch), device)
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


def _place(model: nn.Module, device: torch.device | str | None) -> torch.device:
    """The device asked for, or that of the model; one without weights is on the CPU."""
    if device is not None:
        return torch.device(device)
    first = next(chain(model.parameters(), model.buffers()), torch.empty(0, device="cpu"))
    return first.device


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


def _picture(run: Run) -> str:
    """The live curve of a notebook."""
    rows, losses = run.history.epochs, run.shown
    marks = [(row.epoch * len(run.train), row.val_loss) for row in rows]
    words = f"rate {run.optimizer.param_groups[0]['lr']:.2g}"
    if rows:
        words = f"{rows[-1].val_accuracy:.1%} of the validation images right, {words}"
    return curve(losses, marks, run.steps, words)
