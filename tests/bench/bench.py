"""Benchmarks: this project beside its peers, interleaved in one run, medians and ratios.

Seconds depend on the machine and its other work; the ratio of two things that were timed in turn
depends on them much less. Each function returns its report as lines of text. To add a benchmark,
write such a function and name it in `BENCHES`.
"""

from __future__ import annotations

import copy
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
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


def train(only: str = "", store: str | None = None) -> Iterator[str]:
    """`training.fit` beside other ways to train; see `bench_train`."""
    from tests.bench.bench_train import run

    return run(only=only, store=store)


TRACED = "vgg16 resnet50 densenet121 mobilenet_v3_large swin_t".split()


def trace(rounds: int = 5) -> Iterator[str]:
    """CPU milliseconds to read a network at 3x224x224, beside other analysers that are installed.

    Ours without and with the bytes kept for backward, which the others do not have; receptive
    fields are in both. The others in their default form (most run the network) and, where they
    can, on the meta device. Ratios are to ours without the bytes kept.
    """
    import torch

    from cnnlab._torchvision import import_torchvision
    from cnnlab.trace.run import trace as read

    published = import_torchvision().models

    def fields(model, image) -> object:
        table = read(model, tuple(image.shape[1:]))
        return table, [row.receptive_field for row in table]

    def kept(model, image) -> object:
        return fields(model, image)[0].kept_bytes

    peers = {"with bytes kept": (kept, False), **_peers()}
    kept(published.get_model("swin_t").eval(), torch.empty(1, 3, 224, 224))  # warm
    yield f"trace: CPU ms, medians of {rounds} rounds; (x ours without bytes kept)"
    yield f"  {'':<20}{'cnnlab':>9}" + "".join(f"{name:>22}" for name in peers)
    for name in TRACED:
        model = published.get_model(name).eval()
        with torch.device("meta"):
            twin = published.get_model(name).eval()
        jobs = {"cnnlab": _clock(fields, model, torch.empty(1, 3, 224, 224))}
        for peer, (analyse, on_meta) in peers.items():
            subject = twin if on_meta else model
            image = torch.empty(1, 3, 224, 224, device="meta" if on_meta else "cpu")
            jobs[peer] = _clock(analyse, subject, image.zero_())
        times = interleaved(jobs, rounds)
        base = median(times.pop("cnnlab"))
        cells = (f"{1000 * median(t):13,.0f} ({median(t) / base:5.1f})" for t in times.values())
        yield f"  {name:<20}{1000 * base:9.0f}" + "".join(f"{cell:>22}" for cell in cells)
    for name in ("vgg16", "resnet152"):
        yield f"  extra peak memory on {name}: {_extra_memory(name):.1f} MB"


def sweep(only: str = "") -> Iterator[str]:
    """The trace beside PyTorch on all of torchvision and some of timm; see `tests.bench.sweep`."""
    from tests.bench.sweep import sweep as run

    return run(only)


def _peers() -> dict[str, tuple[Callable, bool]]:
    """Analysers found on this machine: name -> (function of model and image, on meta)."""
    found: dict[str, tuple[Callable, bool]] = {}
    with suppress(ImportError):
        import torchinfo

        def summary(model, image):
            torchinfo.summary(model, input_data=image, verbose=0, device=image.device)

        def batch_of_8(model, image):
            summary(model, image.expand(8, -1, -1, -1))

        found |= {
            "torchinfo": (summary, False),
            "torchinfo batch 8": (batch_of_8, False),
            "torchinfo meta": (summary, True),
        }
    with suppress(ImportError):
        import torchscan

        def crawl(model, image):
            torchscan.crawl_module(model, tuple(image.shape[1:]))

        found["torchscan"] = crawl, False
    with suppress(ImportError):
        from fvcore.nn import FlopCountAnalysis

        def count(model, image):
            FlopCountAnalysis(model, image).unsupported_ops_warnings(False).total()

        found["fvcore"] = count, False
    with suppress(ImportError):
        import thop

        def profile(model, image):
            thop.profile(copy.deepcopy(model), inputs=(image,), verbose=False)

        found |= {"thop": (profile, False), "thop meta": (profile, True)}
    with suppress(ImportError):  # it needs transformers: 4.x was seen to work
        from calflops import calculate_flops

        def flops(model, image):
            calculate_flops(model, tuple(image.shape), print_results=False, print_detailed=False)

        found["calflops"] = flops, False
    from torch.utils.flop_counter import FlopCounterMode

    def counter(model, image):
        with FlopCounterMode(display=False):
            model(image)

    return found | {"FlopCounter": (counter, False), "FlopCounter meta": (counter, True)}


def _clock(job: Callable, *arguments: object) -> Callable[[], float]:
    """CPU seconds of one call; a peer that cannot do it counts as not a number."""

    def run() -> float:
        began = time.process_time()
        try:
            job(*arguments)
        except Exception:  # whatever a peer cannot do
            return float("nan")
        return time.process_time() - began

    return run


def _extra_memory(name: str) -> float:
    """MB by which tracing raises the peak memory of a process that holds the model."""
    code = f"""
import resource
from cnnlab.models import build
from cnnlab.trace.run import trace
trace(build("lenet5"), (1, 28, 28)).kept_bytes  # load what every trace needs
model = build({name!r})
peak = lambda: resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
before = peak()
trace(model, (3, 224, 224)).kept_bytes
print((peak() - before) / 1024)
"""
    done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    return float(done.stdout)


def chapters(folder: str = "notebooks") -> Iterator[str]:
    """Seconds that each notebook takes from top to bottom, in a fresh kernel, start included."""
    import os
    import tempfile
    from pathlib import Path

    import nbformat
    from nbclient import NotebookClient

    paths = sorted(Path(folder).glob("*.ipynb"))
    if not paths:
        raise FileNotFoundError(f"no notebooks in {folder}/: run this from the course's folder")
    scale = os.environ.get("CNNLAB_SCALE", "the device's")
    yield f"chapters: seconds at {scale} scale"
    for path in paths:
        notebook = nbformat.read(path, 4)
        with tempfile.TemporaryDirectory() as progress:
            environment = {**os.environ, "CNNLAB_PROGRESS": progress}
            began = time.perf_counter()
            NotebookClient(notebook, timeout=600).execute(cwd=folder, env=environment)
            yield f"  {path.stem:<32} {time.perf_counter() - began:6.1f}"


BENCHES: dict[str, Callable[..., Iterator[str]]] = {
    "start": start,
    "train": train,
    "trace": trace,
    "sweep": sweep,
    "chapters": chapters,
}
