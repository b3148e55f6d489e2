"""`python -m tests.bench train`: `training.fit` beside other ways to train, and beside the floor.

floor              one fixed batch, in the same memory layout and precision: no data, no logging
cnnlab             fit with resident, augmented batches
plain loop         DataLoader and torchvision's transforms, loss.item() every step
plain, 2 workers   the same with two processes that load (on a GPU)
Lightning, Accelerate   with such a loader, and with our resident batches ("+ ours")

All in one run, turn by turn. Each is timed over one epoch after a first one that warms up; peers
keep their workers between epochs and log nothing. On a GPU by the clock; on a CPU by the time of
the processor, which other programs do not change, with loaders in the same process, so that theirs
is in it.
"""

from __future__ import annotations

import json
import os
import platform
import re
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import asdict, dataclass
from datetime import date
from functools import partial
from importlib import metadata
from importlib.util import find_spec
from pathlib import Path
from statistics import median

import torch
import torch.nn.functional as F
from torch import nn

from cnnlab.data.augment import Augment
from cnnlab.data.batches import Batches
from cnnlab.data.images import Images
from cnnlab.models import build
from cnnlab.trace.run import trace
from cnnlab.training import loop as training

PEERS = ("accelerate", "lightning")
LR = 0.001  # low: labels are random and runs long


@dataclass(frozen=True)
class Case:
    """A model, the images it is trained on, and how."""

    name: str
    model: Callable[[], nn.Module]
    shape: tuple[int, int, int]
    batch: int
    steps: int
    precision: str = "float32"
    compile: bool | str = False


def small_vgg() -> nn.Module:
    """Two stages of two 3x3 convolutions: 32 and 64 channels, with batch norm."""

    def block(a: int, b: int) -> list[nn.Module]:
        return [nn.Conv2d(a, b, 3, padding=1, bias=False), nn.BatchNorm2d(b), nn.ReLU()]

    layers = [*block(3, 32), *block(32, 32), nn.MaxPool2d(2), *block(32, 64), *block(64, 64)]
    return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(64, 10))


def resnet18_cifar() -> nn.Module:
    """ResNet-18 with the stem of the CIFAR nets: one 3x3, no pooling."""
    return build("resnet18", stem="3x3", num_classes=10)


CPU = (
    Case("vgg_small at 28x28", partial(build, "vgg_small"), (1, 28, 28), 64, 8),
    Case("small VGG at 32x32", small_vgg, (3, 32, 32), 64, 16),
)
NOISE = 1.02  # a share of the floor above this is not speed
GPU = (
    Case("ResNet-18 at 32x32", resnet18_cifar, (3, 32, 32), 512, 90, "bf16", True),
    Case(
        "vgg_small at 28x28",
        partial(build, "vgg_small"),
        (1, 28, 28),
        512,
        100,
        "bf16",
        "reduce-overhead",
    ),
    Case(
        "ResNet-50 at 224x224",
        partial(build, "resnet50", num_classes=10),
        (3, 224, 224),
        128,
        16,
        "bf16",
        True,
    ),
    Case(
        "VGG-16 at 224x224",
        partial(build, "vgg16", num_classes=10),
        (3, 224, 224),
        64,
        16,
        "bf16",
        True,
    ),
)


def run(
    cases: tuple[Case, ...] | None = None,
    rounds: int = 5,
    only: str = "",
    store: str | os.PathLike | None = None,
) -> Iterator[str]:
    """Lines of the report: images per second, the share of the floor, what a step costs beside it.

    Of the cases for this device, or `cases`, those with `only` in their name. `store`: a folder;
    each case leaves a JSON file there as soon as it is measured. ValueError if no case is left.
    """
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    cases = cases or (GPU if device.type == "cuda" else CPU)
    chosen = [case for case in cases if only.lower() in case.name.lower()]
    if not chosen:
        known = ", ".join(case.name for case in cases)
        raise ValueError(f"no case has {only!r} in its name; on this device there are {known}")
    if store is not None:
        Path(store).mkdir(parents=True, exist_ok=True)  # before minutes of measuring
    for case in chosen:
        yield (
            f"train: {case.name}, batch {case.batch}, {case.precision} on {_name(device)}; "
            f"medians of {rounds} rounds, one epoch of {case.steps} steps each"
        )
        if missing := [name for name in PEERS if find_spec(name) is None]:
            yield f"  not installed, so not measured: {', '.join(missing)}"
        seconds: dict[str, list[float]] = {}
        for number in range(rounds):
            for name, time_taken in measure(case, device).items():
                seconds.setdefault(name, []).append(time_taken)
            words = ", ".join(f"{name} {times[-1]:.2f}" for name, times in seconds.items())
            yield f"  round {number + 1} of {rounds}, {_unit(device)}: {words}"
        floor, facts = median(seconds["floor"]), {}
        yield f"  {'':<20}{'images/s':>10}{'of floor':>10}{'over floor, ms a step':>24}"
        for name, times in seconds.items():
            share = median(base / own for base, own in zip(seconds["floor"], times))
            over = median((own - base) / case.steps for base, own in zip(seconds["floor"], times))
            speed = case.steps * case.batch / median(times)
            noise = "  noise: above the floor" if share > NOISE else ""
            yield f"  {name:<20}{speed:10,.0f}{share:10.3f}{1000 * over:24.2f}{noise}"
        if device.type == "cuda":
            # forward, and twice as much backward; 1 MAC = 2 FLOPs
            flops = 6 * trace(case.model(), case.shape).macs * case.batch * case.steps
            peak = matmul_peak(device)
            facts = {"flops_of_an_epoch": flops, "bf16_matmul_flops_per_second": peak}
            reached = flops / median(seconds["cnnlab"])
            yield (
                f"  {reached / 1e12:.0f} TFLOP/s in cnnlab, {flops / floor / 1e12:.0f} at the "
                f"floor; a bf16 matrix product {peak / 1e12:.0f}: {reached / peak:.0%}"
            )
        if store is not None:
            yield f"  kept in {_keep(Path(store), case, device, seconds, facts)}"


def measure(case: Case, device: torch.device) -> dict[str, float]:
    """Seconds of one epoch for each way to train, in one round."""
    pixels = torch.randint(
        256,
        (case.steps * case.batch, *case.shape),
        dtype=torch.uint8,
        generator=torch.Generator().manual_seed(0),
    )
    labels = torch.arange(len(pixels)) % 10
    images = Images(pixels, labels, tuple("0123456789"), "noise")
    jobs = {
        "floor": _floor,
        "cnnlab": _fit,
        "plain loop": _plain,
    }
    if device.type == "cuda":
        jobs["plain, 2 workers"] = partial(_plain, workers=2)
    with suppress(ImportError):
        _import("accelerate")
        jobs |= {"Accelerate": _accelerate, "Accelerate + ours": partial(_accelerate, ours=True)}
    with suppress(ImportError):
        _import("lightning")
        jobs |= {"Lightning": _lightning, "Lightning + ours": partial(_lightning, ours=True)}
    return {name: job(case, images, device) for name, job in jobs.items()}


def matmul_peak(device: torch.device, size: int = 8192) -> float:
    """FLOP/s of a bf16 matrix product of that size: what the card really reaches."""
    a, b = torch.randn(2, size, size, device=device, dtype=torch.bfloat16)
    times = []
    for _ in range(12):
        began = _now(device)
        a @ b
        times.append(_now(device) - began)
    return 2 * size**3 / median(times[2:])


# -- ways to train: each gives the seconds of one epoch, after a first one


def _fit(case: Case, images: Images, device: torch.device) -> float:
    val = Batches(images[:1], 1, device=device)  # fit always validates; here as little as possible
    ends: list[float] = []
    training.fit(
        case.model().to(device),
        _resident(case, images, device),
        val,
        epochs=2,
        lr=LR,
        schedule="constant",
        warmup=0.01,
        precision=case.precision,
        compile=case.compile,
        device=device,
        each_epoch=lambda model, history: ends.append(_now(device)),
        progress=False,
    )
    return ends[1] - ends[0]


def _floor(case: Case, images: Images, device: torch.device) -> float:
    model = _compiled(case.model().to(device, memory_format=torch.channels_last), case)
    x, y = next(_resident(case, images, device).at(0))
    x = x.contiguous(memory_format=torch.channels_last)
    return _loop(case, model, lambda: ((x, y) for _ in range(case.steps)), device)


def _plain(case: Case, images: Images, device: torch.device, workers: int = 0) -> float:
    loader = _loader(case, images, workers)
    model = _compiled(case.model().to(device), case)

    def batches():
        for x, y in loader:
            yield x.to(device, non_blocking=True), y.to(device, non_blocking=True)

    return _loop(case, model, batches, device, look=True)


def _loop(case, model, batches, device, look=False) -> float:
    update = _sgd(model)
    model.train()
    for _ in range(2):
        began = _now(device)
        for x, y in batches():
            with _autocast(case, device):
                loss = F.cross_entropy(model(x), y)
            update.zero_grad()
            loss.backward()
            update.step()
            if look:
                loss.item()
    return _now(device) - began


def _accelerate(case: Case, images: Images, device: torch.device, ours: bool = False) -> float:
    from accelerate import Accelerator

    mixed = {"float32": "no"}.get(case.precision, case.precision)
    accelerator = Accelerator(mixed_precision=mixed, cpu=device.type == "cpu")
    model = _compiled(case.model().to(device), case)
    model, update = accelerator.prepare(model, _sgd(model))
    own = _resident(case, images, device)
    loader = own if ours else accelerator.prepare(_loader(case, images, _workers(device)))
    model.train()
    for _ in range(2):
        began = _now(device)
        for x, y in loader:
            with accelerator.autocast():
                loss = F.cross_entropy(model(x), y)
            update.zero_grad()
            accelerator.backward(loss)
            update.step()
    return _now(device) - began


def _lightning(case: Case, images: Images, device: torch.device, ours: bool = False) -> float:
    import lightning

    class Module(lightning.LightningModule):
        def __init__(self):
            super().__init__()
            self.net, self.times = _compiled(case.model(), case), []

        def training_step(self, batch, index):
            return F.cross_entropy(self.net(batch[0]), batch[1])

        def configure_optimizers(self):
            return _sgd(self)

        def on_train_epoch_start(self):
            self.began = _now(device)

        def on_train_epoch_end(self):
            self.times.append(_now(device) - self.began)

    module = Module()
    precision = {"float32": "32-true", "bf16": "bf16-mixed", "fp16": "16-mixed"}[case.precision]
    trainer = lightning.Trainer(
        max_epochs=2,
        precision=precision,
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        devices=1,
        accelerator="gpu" if device.type == "cuda" else "cpu",
    )
    own = _resident(case, images, device)
    trainer.fit(module, own if ours else _loader(case, images, _workers(device)))
    return module.times[-1]


# -- shared


def _resident(case: Case, images: Images, device: torch.device) -> Batches:
    channels = case.shape[0]
    return Batches(
        images,
        case.batch,
        shuffle=True,
        device=device,
        mean=[0.5] * channels,
        std=[0.25] * channels,
        augment=Augment(crop=4, flip=True),
    )


def _workers(device: torch.device) -> int:
    return 2 if device.type == "cuda" else 0


def _loader(case: Case, images: Images, workers: int):
    """What most tutorials show, on images as torchvision's data sets give them."""
    from cnnlab._torchvision import import_torchvision

    transforms = import_torchvision().transforms
    channels, side, _ = case.shape
    change = transforms.Compose(
        [
            transforms.ToPILImage(),
            transforms.RandomCrop(side, padding=4),
            transforms.RandomHorizontalFlip(),
            transforms.ToTensor(),
            transforms.Normalize([0.5] * channels, [0.25] * channels),
        ]
    )
    return torch.utils.data.DataLoader(
        _Changed(images, change),
        case.batch,
        shuffle=True,
        num_workers=workers,
        persistent_workers=workers > 0,
        pin_memory=torch.cuda.is_available(),
    )


@dataclass(frozen=True)
class _Changed(torch.utils.data.Dataset):
    images: Images
    change: Callable

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, index: int):
        return self.change(self.images.images[index]), int(self.images.labels[index])


def _keep(folder: Path, case: Case, device: torch.device, seconds: dict, facts: dict) -> Path:
    """Write what was measured, and with what, when and of which commit; returns the file."""
    versions = {"python": platform.python_version(), "cuda": torch.version.cuda}
    for package in ("torch", "torchvision", "accelerate", "lightning"):
        with suppress(metadata.PackageNotFoundError):
            versions[package] = metadata.version(package)
    commit = subprocess.run(
        ["git", "describe", "--always", "--dirty", "--abbrev=40"],
        cwd=Path(__file__).parent,
        capture_output=True,
        text=True,
    )
    how = {key: value for key, value in asdict(case).items() if key != "model"}
    text = json.dumps(
        {
            "benchmark": "train",
            **how,
            "device": _name(device),
            "versions": versions,
            "date": date.today().isoformat(),
            "commit": commit.stdout.strip() or "unknown",
            "measured": _unit(device),
            "seconds_of_an_epoch": seconds,
            **facts,
        },
        indent=1,
    )
    name = re.sub(r"[^a-z0-9]+", "-", f"train-{case.name}-{_name(device)}".lower())
    (folder / f"{name}.json").write_text(text + "\n", encoding="utf-8")
    return folder / f"{name}.json"


def _compiled(model: nn.Module, case: Case) -> nn.Module:
    if not case.compile:
        return model
    torch.compiler.reset()
    return torch.compile(model, mode=case.compile if isinstance(case.compile, str) else None)


def _sgd(model: nn.Module) -> torch.optim.Optimizer:
    return torch.optim.SGD(model.parameters(), lr=LR, momentum=0.9, nesterov=True)


def _autocast(case: Case, device: torch.device):
    dtype = training.PRECISIONS[case.precision]
    return torch.autocast(device.type, dtype, enabled=dtype is not None)


def _now(device: torch.device) -> float:
    if device.type == "cuda":
        torch.cuda.synchronize(device)
        return time.perf_counter()
    return time.process_time()


def _unit(device: torch.device) -> str:
    return "seconds" if device.type == "cuda" else "CPU seconds"


def _name(device: torch.device) -> str:
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    return f"CPU, {torch.get_num_threads()} threads"


def _import(package: str) -> None:
    """Import a peer that needs torchvision, whatever build of it is installed."""
    import importlib
    import logging
    import warnings

    from cnnlab._torchvision import import_torchvision

    import_torchvision()
    importlib.import_module(package)
    warnings.filterwarnings("ignore", module=package)
    for name in ("lightning", "lightning.pytorch", "accelerate"):
        logging.getLogger(name).setLevel(logging.ERROR)
