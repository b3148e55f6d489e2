"""What training refuses, and the sentences in which it does: got, expected, next step."""

from __future__ import annotations

import math
from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager
from itertools import chain

import torch
from torch import Tensor, nn
from torch.func import functional_call
from torch.nn.parameter import is_lazy

from cnnlab._tools import did_you_mean
from cnnlab.training.checkpoint import Options, Run
from cnnlab.training.distributed import World, peer_lost, world
from cnnlab.training.history import BatchSource, TrainingError
from cnnlab.training.schedules import SCHEDULES

# What an option may be, and how to say so.
RANGES = {
    "epochs": (lambda x: isinstance(x, int) and x >= 1, "a whole number, at least 1"),
    "lr": (lambda x: 0 < x < math.inf, "a number above 0, often 0.001 to 0.1"),
    "weight_decay": (lambda x: 0 <= x < math.inf, "0 or a little more, often 0.0005"),
    "warmup": (lambda x: 0 <= x < 1, "a share of the run, 0 to below 1"),
    "label_smoothing": (lambda x: 0 <= x < 1, "a share of the target, 0 to below 1, often 0.1"),
    "clip": (lambda x: x > 0, "a length above 0, often 1"),
}


def check(
    options: Options,
    model: nn.Module,
    train: BatchSource,
    val: BatchSource,
    device: torch.device,
    *,
    optimizers: Collection[str],
    precisions: Collection[str],
) -> None:
    """Before the first step: options out of range, a model or batches that cannot be trained on."""
    given = options._asdict()
    choices = {"optimizer": optimizers, "schedule": SCHEDULES, "precision": precisions}
    for what, known in choices.items():
        if given[what] not in known:
            hint = did_you_mean(given[what], known)
            if given[what] in ("bfloat16", torch.bfloat16):
                hint = " Did you mean 'bf16'?"
            raise TrainingError(f"no {what} {given[what]!r}; known: {', '.join(known)}.{hint}")
    for what, (allowed, words) in RANGES.items():
        value = given[what]
        if value is None and what == "clip":
            continue
        if not (isinstance(value, (int, float)) and allowed(value)):
            raise TrainingError(f"{what} is {value!r}; expected {words}.")
    if options.precision == "fp16" and device.type != "cuda":
        raise TrainingError(
            f"precision 'fp16' needs a CUDA GPU, and this run is on {device.type}. Take 'float32', "
            "or 'bf16' (faster on CPUs whose flags name avx512_bf16 or amx_bf16, else slower)."
        )
    named = chain(model.named_parameters(), model.named_buffers())
    if lazy := [name for name, tensor in named if is_lazy(tensor)]:
        raise TrainingError(
            f"the model's {lazy[0]} has no shape yet: a lazy layer takes it from the first images. "
            "Call the model on a batch of images once, then train it."
        )
    if next(model.parameters(), None) is None:
        raise TrainingError(
            "the model has no parameters. Layers in a plain list or dict are not seen: put them "
            "into an nn.ModuleList, an nn.ModuleDict or an nn.Sequential."
        )
    if not any(p.requires_grad for p in model.parameters()):
        raise TrainingError("the model has no parameter to train: requires_grad is false for all.")
    for name, batches in (("train", train), ("val", val)):
        try:
            length = len(batches)
        except TypeError as error:
            raise TrainingError(
                f"{name} is a {type(batches).__name__} without len(); expected batches that can be "
                "counted and iterated again, such as cnnlab.data.Batches or a DataLoader."
            ) from error
        if not length:
            raise TrainingError(f"{name} has no batches. Is the set empty, or drop_last on?")
    if world().size > 1 and not hasattr(train, "at"):
        raise TrainingError(
            f"{world().size} processes share every batch, so train needs a method at(epoch) that "
            "gives all of them the same order, as cnnlab.data.Batches does; "
            f"a {type(train).__name__} has none."
        )


def check_forward(
    model: nn.Module, train: BatchSource, val: BatchSource, layout: torch.memory_format
) -> None:
    """Before anything is written: the model takes images like those of `train` and of `val`.

    Nothing of the model changes, and no batch is drawn: sources that know their shapes, and lists.
    """
    where, modes = next(model.parameters()).device, [(m, m.training) for m in model.modules()]
    outputs = []
    try:
        with torch.random.fork_rng(devices=[]), torch.no_grad():
            for what, source in (("train", train), ("val", val)):
                shape, labels = (getattr(source, name, None) for name in ("shape", "labels"))
                if type(source) is list and all(isinstance(t, Tensor) for t in pair(source[0])):
                    shape = source[0][0].shape[1:]
                    labels = torch.cat([pair(batch)[1].flatten() for batch in source])
                if not shape or labels is None or not len(labels):
                    continue
                dtype = next(model.parameters()).dtype
                images = torch.zeros(2, *shape, dtype=dtype, device=where)
                if images.ndim == 4:
                    images = images.to(memory_format=layout)
                model.eval()
                with explained(model, images):
                    logits = model(images)
                if isinstance(logits, Tensor) and logits.ndim == 2:
                    outputs.append((what, logits.shape[1], int(labels.max())))
                if what == "train" and getattr(source, "last_batch", 2) == 1:
                    _check_one(model, images[:1], source)
    finally:
        for module, mode in modes:
            module.training = mode
    for what, classes, highest in outputs:
        if highest >= classes:
            raise TrainingError(
                f"{what}: labels run to {highest}, the model has {classes} outputs. Build the "
                f"model with {highest + 1} classes or renumber the labels."
            )


def _check_one(model: nn.Module, image: Tensor, source: BatchSource) -> None:
    """A batch norm cannot take the spread of one value a channel."""
    model.train()
    try:
        functional_call(model, {n: b.clone() for n, b in model.named_buffers()}, (image,))
    except ValueError as error:
        raise TrainingError(
            f"the last batch of an epoch has one image, and batch norm needs more ({error}). Take "
            f"another batch size than {source.batch_size}, or drop_last=True."
        ) from error


def pair(batch: object) -> tuple[Tensor, Tensor]:
    """Images and labels of a batch that is a pair of tensors."""
    if not isinstance(batch, (tuple, list)) or len(batch) != 2:
        got = f"{len(batch)} things" if isinstance(batch, (tuple, list)) else type(batch).__name__
        raise TrainingError(
            f"a batch is {got}; expected a pair (images, labels). Take the pair out of it in your "
            "data set, or in the loader's collate_fn."
        )
    return batch[0], batch[1]


def check_count(run: Run, epoch: int) -> None:
    """After an epoch: a source that gave another number of batches than it announced."""
    if len(run.sizes) != len(run.train):
        raise TrainingError(
            f"epoch {epoch} had {len(run.sizes)} batches where len(train) is {len(run.train)}. "
            "fit needs batches that can be iterated again, such as cnnlab.data.Batches, "
            "a DataLoader or a list; a generator is empty the second time."
        )


def check_share(labels: Tensor, step: int, here: World) -> None:
    """A batch too small for all processes."""
    if not len(labels):
        raise TrainingError(
            f"step {step + 1} has no image for process {here.rank} of {here.size}. Every batch, "
            "the epoch's last too, needs one for each: take another batch size, or drop_last."
        )


def check_types(images: Tensor, labels: Tensor) -> None:
    """Images that are no floating point numbers, labels that are no int64."""
    if not images.is_floating_point() or labels.dtype != torch.int64:
        raise TrainingError(
            f"a batch holds {images.dtype} images and {labels.dtype} labels; expected floating "
            "point images and int64 labels. cnnlab.data.Batches makes both; by hand: "
            "images.float() / 255 and labels.long()."
        )
    if labels.ndim != 1 or len(labels) != len(images):
        raise TrainingError(
            f"a batch holds {len(images)} images and labels of shape {tuple(labels.shape)}; "
            f"expected ({len(images)},), the number of a class for each image. labels.flatten() "
            "or one_hot.argmax(1) makes them."
        )


@contextmanager
def explained(model: nn.Module, images: Tensor) -> Iterator[None]:
    """A model that cannot take these images."""
    try:
        yield
    except torch.OutOfMemoryError:
        raise
    except (RuntimeError, ValueError, TypeError) as error:
        if peer_lost(error):
            raise
        shape = tuple(images.shape)
        raise TrainingError(f"{_misfit(model, shape)} The model said: {error}") from error


def _misfit(model: nn.Module, shape: tuple[int, ...]) -> str:
    convolutions = (m for m in model.modules() if isinstance(m, nn.Conv2d))
    expected = getattr(next(convolutions, None), "in_channels", None)
    if len(shape) == 4 and expected is not None and shape[1] != expected:
        return (
            f"images have {shape[1]} channels, the model's first convolution expects {expected}. "
            f"Build the model for {shape[1]} channels, or give it other images."
        )
    return f"the model failed on images of shape {shape[1:]} (channels, height, width)."


def check_logits(logits: object, images: Tensor, labels: Tensor, *, look_at_labels: bool) -> None:
    """An answer that is no (B, classes), labels beyond the classes."""
    if not isinstance(logits, Tensor) or logits.ndim != 2 or len(logits) != len(labels):
        got = tuple(logits.shape) if isinstance(logits, Tensor) else type(logits).__name__
        raise TrainingError(
            f"for images {tuple(images.shape)} and {len(labels)} labels the model returned {got}; "
            f"expected logits of shape ({len(labels)}, classes). Flatten the features before the "
            "last linear layer, and return its output alone."
        )
    if look_at_labels:
        low, high = int(labels.min()), int(labels.max())
        if low < 0 or high >= logits.shape[1]:
            raise TrainingError(
                f"labels run from {low} to {high}, the model has {logits.shape[1]} outputs; "
                f"expected labels 0 to {logits.shape[1] - 1}. "
                + (f"Build the model with {high + 1} classes or r" if low >= 0 else "R")
                + "enumber the labels."
            )


def check_losses(run: Run, losses: Sequence[float]) -> None:
    """The newest losses of the history: not finite, or exploded."""
    history, lr = run.history, run.options.lr
    # A blind model need not lose more than log(classes); ten times that and the start, which may
    # have been lucky, is beyond bad luck.
    limit = 10 * (history.losses[0] + math.log(run.classes))
    for step, loss in enumerate(losses, len(history.losses) - len(losses) + 1):
        if loss <= limit and math.isfinite(loss):
            continue
        if place := _spoiled(run.train, len(history.epochs)):
            cause = (
                f"because of the images: {place} holds nan or infinite values, so the learning "
                "rate is not the cause. Look at how they are made."
            )
        elif step == 1:
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


def _spoiled(source: BatchSource, epoch: int = 0) -> str:
    """The first batch of a source with an image that holds no finite number, if there is one."""
    for number, batch in enumerate(source.at(epoch) if hasattr(source, "at") else source, 1):
        if not torch.isfinite(batch[0]).all():
            return f"batch {number} of {len(source)}"
    return ""


def check_val(run: Run) -> None:
    """After an epoch: a validation loss that is no number, and learning that has not begun."""
    row = run.history.epochs[-1]
    if not math.isfinite(row.val_loss):
        place = _spoiled(run.val)
        cause = (
            f"{place} of val holds nan or infinite values. Look at how its images are made."
            if place
            else f"the weights have grown too large. Try lr={run.options.lr / 10:g}."
        )
        raise TrainingError(
            f"the validation loss was {row.val_loss} after epoch {row.epoch}: {cause}"
        )
    chance = math.log(run.classes)
    blind = row.train_loss > 0.97 * chance and row.val_accuracy < 1.5 / run.classes
    run.history.note = (
        f"no better than guessing after epoch {row.epoch}: the training loss is "
        f"{row.train_loss:.3f}, and log({run.classes}) = {chance:.3f} is what a blind guess loses. "
        "Try more epochs, the other optimizer, a tenth of the learning rate, or larger images; and "
        "look whether the labels fit the images."
        if blind and run.classes > 1
        else None
    )


@contextmanager
def told(run: Run) -> Iterator[None]:
    """Errors on the way carry the history; a full GPU and a lost process get a sentence."""
    history = run.history
    try:
        yield
    except torch.OutOfMemoryError as error:
        batch = (run.shape or (0,))[0]
        raise TrainingError(
            f"the memory of {run.device} is full at a batch of {batch} images. Take smaller "
            f"batches, or precision='bf16'. PyTorch said: {error}",
            history,
        ) from None
    except TrainingError as error:
        history.stopped = history.stopped or str(error).split(". ")[0]
        error.history = history
        raise
    except RuntimeError as error:
        if not peer_lost(error):
            raise
        step = len(history.losses) + 1
        history.stopped = f"another process was lost at step {step}"
        raise TrainingError(
            f"another process of this run ended or does not answer, at step {step} or soon after. "
            "Its own message says why; with a checkpoint, start all of them again to go on. "
            f"PyTorch said: {error}",
            history,
        ) from error
