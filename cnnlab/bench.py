"""Benchmarks: this project beside its peers, interleaved in one run, medians and ratios.

Seconds depend on the machine and its other work; the ratio of two things that were timed in turn
depends on them much less. Each function returns its report as lines of text. To add a benchmark,
write such a function and name it in `BENCHES`.
"""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from statistics import median


def interleaved(jobs: dict[str, Callable[[], float]], rounds: int) -> dict[str, list[float]]:
    """Run every job once per round, so that all see the same moments of a busy machine."""
    results: dict[str, list[float]] = {name: [] for name in jobs}
    for _ in range(rounds):
        for name, job in jobs.items():
            results[name].append(job())
    return results


def start(rounds: int = 7) -> Iterator[str]:
    """What `import cnnlab` adds to starting Python, beside `import torch`."""

    def job(statement: str) -> Callable[[], float]:
        def run() -> float:
            began = time.perf_counter()
            subprocess.run([sys.executable, "-c", statement], check=True)
            return time.perf_counter() - began

        return run

    jobs = {
        "python": job("pass"),
        "import cnnlab": job("import cnnlab"),
        "import torch": job("import torch"),
    }
    times = {name: median(seconds) for name, seconds in interleaved(jobs, rounds).items()}
    base = times["python"]
    yield f"start: medians of {rounds} rounds, each in a process of its own"
    for name, seconds in times.items():
        yield f"  {name:<14} {1000 * seconds:8.1f} ms  adds {1000 * (seconds - base):8.1f} ms"
    share = (times["import cnnlab"] - base) / (times["import torch"] - base)
    yield f"  import cnnlab adds {share:.1%} of what import torch adds"


def fit(rounds: int = 5, steps: int = 16, batch: int = 64) -> Iterator[str]:
    """Images per second of `training.fit` beside two loops, on a small VGG at 32x32.

    floor       the same model and optimizer on one batch, in the same memory layout, nothing else
    DataLoader  the loop most tutorials show: DataLoader, normalization per image, loss.item()
    """
    import torch
    import torch.nn.functional as F
    from torch import nn

    from cnnlab import training
    from cnnlab.batches import Batches
    from cnnlab.data import Images

    device = "cuda" if torch.cuda.is_available() else "cpu"
    generator = torch.Generator().manual_seed(0)
    pixels = torch.randint(256, (steps * batch, 3, 32, 32), generator=generator, dtype=torch.uint8)
    labels = torch.randint(10, (steps * batch,), generator=generator)
    images = Images(pixels, labels, tuple("0123456789"), "noise")
    val = Batches(images[:1], 1, device=device)  # fit always validates; keep it out of the time

    def model(layout: torch.memory_format) -> nn.Module:
        def block(a: int, b: int) -> list[nn.Module]:
            return [nn.Conv2d(a, b, 3, padding=1, bias=False), nn.BatchNorm2d(b), nn.ReLU()]

        layers = [*block(3, 32), *block(32, 32), nn.MaxPool2d(2), *block(32, 64), *block(64, 64)]
        net = nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(64, 10))
        return net.to(device, memory_format=layout)

    def clock(run: Callable[[], object]) -> float:
        run()  # reading a loss at its end waits for the device
        began = time.perf_counter()
        run()
        return steps * batch / (time.perf_counter() - began)

    def ours() -> float:
        train = Batches(images, batch, shuffle=True, device=device)
        net = model(torch.channels_last)
        # low: random labels, long runs
        return clock(
            lambda: training.fit(net, train, val, epochs=1, lr=0.001, device=device, progress=False)
        )

    def loop(net: nn.Module, batches: Callable[[], Iterator], item: bool) -> Callable[[], float]:
        optimizer = torch.optim.SGD(net.parameters(), lr=0.001, momentum=0.9, nesterov=True)

        def run() -> float:
            net.train()
            for x, y in batches():
                loss = F.cross_entropy(net(x.to(device)), y.to(device))
                optimizer.zero_grad()
                loss.backward()
                optimizer.step()
                if item:
                    loss.item()
            return loss.item()

        return run

    def floor() -> float:
        x, y = next(Batches(images, batch, device=device).at(0))
        x = x.contiguous(memory_format=torch.channels_last)
        return clock(loop(model(torch.channels_last), lambda: iter([(x, y)] * steps), False))

    def tutorial() -> float:
        class Normalized(torch.utils.data.Dataset):
            def __len__(self) -> int:
                return len(labels)

            def __getitem__(self, index: int):
                return (pixels[index].float() / 255 - 0.5) / 0.25, labels[index]

        loader = torch.utils.data.DataLoader(Normalized(), batch, shuffle=True)
        return clock(loop(model(torch.contiguous_format), lambda: iter(loader), True))

    speeds = interleaved({"floor": floor, "fit": ours, "DataLoader": tutorial}, rounds)
    threads = torch.get_num_threads()
    yield f"fit: images/s on {device} ({threads} threads), medians of {rounds} rounds"
    for name, values in speeds.items():
        ratios = [value / base for value, base in zip(values, speeds["floor"])]
        yield f"  {name:<12} {median(values):10,.0f}  {median(ratios):5.2f} of the floor"


BENCHES: dict[str, Callable[[], Iterator[str]]] = {"start": start, "fit": fit}
