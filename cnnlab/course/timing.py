"""An honest clock for a page: what is compared takes turns, and each one's fastest run counts."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from time import perf_counter

from cnnlab.course.errors import CourseError


def fastest(
    calls: Mapping[str, Callable], *inputs: object, rounds: int = 9, threads: int = 1
) -> dict[str, float]:
    """Milliseconds of the fastest of `rounds` runs of each call, without gradients, on the CPU.

    Other work on the machine can only make a run slower, so the fastest is the nearest to the
    truth; taking turns lets what slows one slow them all. One thread, because how threads share
    tiny layers is not what is compared; the number of threads is put back.

    Raises CourseError where there is nothing to time.
    """
    import torch

    if not calls or rounds < 1:
        raise CourseError(f"{len(calls)} calls and {rounds} rounds: give at least one of each")
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    times: dict[str, list[float]] = {name: [] for name in calls}
    try:
        with torch.inference_mode():
            for _ in range(rounds + 1):  # the first warms up
                for name, call in calls.items():
                    began = perf_counter()
                    call(*inputs)
                    times[name].append(1000 * (perf_counter() - began))
    finally:
        torch.set_num_threads(before)
    return {name: min(runs[1:]) for name, runs in times.items()}
