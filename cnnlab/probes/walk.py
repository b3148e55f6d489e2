"""Ways through images that a model cannot tell apart: all its scores stay where they are.

The idea is the level set traversal of Balasubramanian, Sriramanan, Sadasivan, Feizi, "Exploring
geometry of blind spots in vision models", 2023, which holds the confidence; here it is each score.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from cnnlab.probes.gradients import ProbeError, copy_of, like


@dataclass(frozen=True, eq=False)
class Walk:
    """A way through images to which a model gives the same scores.

    images   (steps + 1, C, H, W), the first is the start; float64
    scores   (steps + 1, classes), what the model gives for them
    left     (steps + 1,), distance to the image walked toward, as a share of the first one
    change   (steps + 1,), largest change of a score since the start, as a share of `scale`
    scale    the range of the start's scores, largest minus smallest
    stopped  why it ended, a sentence
    """

    images: Tensor
    scores: Tensor
    left: Tensor
    change: Tensor
    scale: float
    stopped: str


def level_set_walk(
    model: nn.Module,
    start: Tensor,
    toward: Tensor,
    *,
    bounds: tuple[float, float] | None = None,
    tolerance: float = 0.002,
    steps: int = 400,
    stride: float = 0.03,
) -> Walk:
    """Walk from one image toward another while all scores of `model` stay where they are.

    Each step is the part of the direction that lies in the null space of the Jacobian of all
    scores, corrected by Gauss-Newton steps until no score is further from the start's than
    `tolerance` times their range. A step that cannot be corrected or comes no nearer is halved.

    start, toward  (C, H, W), floating point, of what the model takes
    bounds         (lowest, highest) value of a pixel: pixels stay there, such as (0, 1)
    stride         longest step, as a share of the first distance

    In eval mode and float64. Raises ProbeError for images that do not fit, and for a model without
    a gradient, or of which no score depends on the image.
    """
    _walkable(start, toward, bounds)
    model, device = copy_of(model).double(), like(model).device
    here, goal = start.detach().double().to(device), toward.detach().double().to(device)
    low, high = bounds or (-float("inf"), float("inf"))
    first, jacobian = _scores(model, here)
    if not jacobian.any():
        raise ProbeError(
            "no score depends on the image: all gradients are zero there. Is the model constant, "
            "or does it round or take an argmax inside?"
        )
    scale = float(first.max() - first.min()) or float(first.abs().max()) or 1.0
    total = float((goal - here).norm())
    rows = [(here, first, 1.0, 0.0)]
    reach, stopped = stride, f"{steps} steps were made"
    while len(rows) <= steps:
        way = _level(jacobian, goal - here, here, low, high)
        if not float(way.norm()) > 1e-3 * total:
            stopped = "no direction is left that comes nearer and changes no score"
            break
        moved = (here + way * min(1.0, reach * total / float(way.norm()))).clamp(low, high)
        scores, turned = _scores(model, moved)
        for _ in range(3):
            if (scores - first).abs().max() <= tolerance * scale:
                break
            # Directions that hardly move a score would ask for huge corrections.
            fix = torch.linalg.pinv(turned, rtol=1e-3) @ (first - scores)
            moved = (moved + fix.view_as(moved)).clamp(low, high)
            scores, turned = _scores(model, moved)
        change = float((scores - first).abs().max()) / scale
        left = float((goal - moved).norm()) / total
        if change <= tolerance and left < rows[-1][2]:
            here, jacobian, reach = moved, turned, min(1.5 * reach, stride)
            rows.append((here, scores, left, change))
        elif reach > 1e-3 * stride:
            reach /= 2
        else:
            stopped = "every step that keeps the scores leads no nearer"
            break
    images, scores, left, change = zip(*rows)
    shares = (torch.tensor(values, dtype=torch.float64) for values in (left, change))
    return Walk(torch.stack(images).cpu(), torch.stack(scores).cpu(), *shares, scale, stopped)


def _walkable(start: Tensor, toward: Tensor, bounds: tuple[float, float] | None) -> None:
    if start.ndim != 3 or start.shape != toward.shape or not start.is_floating_point():
        raise ProbeError(
            f"start is {start.dtype} of shape {tuple(start.shape)}, toward of {tuple(toward.shape)}"
            "; expected two images (C, H, W) of one shape, floating point: images[i], not "
            "images[i:i+1], divided by 255."
        )
    low, high = bounds or (-float("inf"), float("inf"))
    if not all(bool(((low <= x) & (x <= high) & x.isfinite()).all()) for x in (start, toward)):
        raise ProbeError(
            f"an image has values outside {bounds or 'the finite numbers'}; expected both within. "
            "Give the bounds in the images' own units."
        )
    if torch.equal(start, toward):
        raise ProbeError("start and toward are the same image: there is nowhere to walk.")


def _scores(model: nn.Module, image: Tensor) -> tuple[Tensor, Tensor]:
    """Scores (classes,) of an image (C, H, W), and their Jacobian (classes, C * H * W)."""
    with torch.no_grad():
        scores = model(image[None])
    if not isinstance(scores, Tensor) or scores.ndim != 2 or len(scores) != 1:
        got = tuple(scores.shape) if isinstance(scores, Tensor) else type(scores).__name__
        raise ProbeError(f"the model returns {got} for one image; expected scores (1, classes).")
    rows = []
    for part in torch.arange(scores.shape[1]).split(64):
        copies = image.expand(len(part), *image.shape).clone().requires_grad_()
        with torch.enable_grad():
            chosen = model(copies)[range(len(part)), part].sum()
        if not chosen.requires_grad:
            raise ProbeError(
                "the scores carry no gradient to the image. Does the model detach, round, or "
                "compute under no_grad?"
            )
        rows.append(torch.autograd.grad(chosen, copies)[0].flatten(1))
    return scores[0], torch.cat(rows)


def _level(jacobian: Tensor, wanted: Tensor, here: Tensor, low: float, high: float) -> Tensor:
    """`wanted` without what changes a score to first order, and without leaving the bounds."""
    free = torch.ones_like(here, dtype=torch.bool)
    for _ in range(10):
        rows = jacobian * free.flatten()
        # The row space, by a rank that is found: scores may depend on each other.
        base, sizes, _ = torch.linalg.svd(rows.T, full_matrices=False)
        base = base[:, sizes > 1e-10 * sizes[0]]
        way = (wanted * free).flatten()
        way = (way - base @ (base.T @ way)).view_as(here) * free
        out = ((here <= low) & (way < 0)) | ((here >= high) & (way > 0))
        if not out.any():
            break
        free &= ~out
    return way
