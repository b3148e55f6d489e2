"""The learning rate as a share of its peak; `progress` goes from 0 to 1 over the run."""

from __future__ import annotations

import math


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


def learning_rate(
    step: int, steps: int, peak: float, schedule: str = "one-cycle", warmup: float = 0.2
) -> float:
    """The rate of one step (from 0) out of `steps`. No state: the same step, the same rate.

    Taken at the middle of the step, so that the first and last steps learn something too.
    """
    return peak * SCHEDULES[schedule]((step + 0.5) / steps, warmup)
