"""One operation under way: what its rule reads, and what the rule fills in."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from torch import Tensor

from cnnlab.trace.sight import Sight


class TraceError(RuntimeError):
    """A model that cannot be traced: the module, what it got, and the next step."""


class Seen:
    """What is known of a tensor: attached to it while the trace runs."""

    __slots__ = ("sights", "at", "row", "storage", "base", "context", "lost")

    def __init__(self, sights, at, row, storage, context=False, lost=""):
        self.sights: tuple[Sight, ...] | None = sights  # one per image axis; None if unknown
        self.at: tuple[int | None, ...] = at  # the dimension that holds each image axis
        self.row: int = row  # where it was made; -1 for the input
        self.storage: int = storage  # a number shared by tensors that share memory
        self.base: Seen | None = None  # the tensor that it is a view of
        self.context: bool = context  # it also depends on the rest of the image
        self.lost: str = lost  # where and why its sights are unknown


_CONSTANT = Seen((), (), -1, -1)  # a parameter, or made of parameters: sees nothing of the image


def seen_of(tensor: Tensor) -> Seen:
    """What is known of `tensor`."""
    return getattr(tensor, "_seen", _CONSTANT)


class Call:
    """One operation under way: what a rule reads, and what it fills in.

    Read:  `name`, `args` (named as in PyTorch's schema), `data` (the tensors among them that
           come from the input), `out` (the output, or the first of several)
    Fill:  `macs` (None if unknown), `other_ops`, `context` (it also depends on the rest of the
           image), `note`, and through `follow`, `each` or `lose` what the output sees
    """

    def __init__(self, name: str, args: dict[str, Any], data: list[Tensor], out: Tensor):
        self.name, self.args, self.data, self.out = name, args, data, out
        self.seen = [seen_of(x) for x in data]
        self.sights, self.at = self.seen[0].sights, self.seen[0].at
        self.macs: int | None = 0
        self.other_ops = 0
        self.context = any(s.context for s in self.seen)
        self.lost = next((s.lost for s in self.seen if s.sights is None), "")
        self.note = ""

    def follow(self, sights: Sequence[Sight], at: Sequence[int | None]) -> None:
        """The output sees `sights`, and holds the image's axes at dimensions `at`."""
        self.sights, self.at = tuple(sights), tuple(at)

    def each(self, step: Callable[[Sight, int], tuple[Sight, int | None]]) -> None:
        """Replace (sight, dimension) of every image axis that the first input still holds."""
        if self.sights:
            pairs = zip(self.sights, self.at)
            self.follow(*zip(*[(s, None) if dim is None else step(s, dim) for s, dim in pairs]))

    def lose(self, why: str) -> None:
        """The receptive field is not followed any further; said once, where it is lost."""
        self.sights, self.at = None, ()
        if not self.lost:
            self.lost = self.note = why


Rule = Callable[[Call], None]


def meet(
    call: Call,
    join_dim: int | None = None,
    new_dim: int | None = None,
    out: Sequence[int] | None = None,
) -> None:
    """Branches meet. A branch of size 1 along an axis brings context from all of it.

    join_dim: they are laid side by side along it; new_dim: stacked along it, which is new;
    out: the shape that they have together, if not the output's
    """
    seen, out = call.seen, call.out.shape if out is None else out
    if any(s.sights is None for s in seen):
        return call.lose("one of its inputs has an unknown receptive field")
    at, joined = [], []  # per axis: where the output holds it, and what is seen along it
    for axis in range(max(len(s.sights) for s in seen)):
        full, small, dims = [], [], set()
        for s, x in zip(seen, call.data):
            if axis >= len(s.sights):
                continue
            dim, shift = s.at[axis], len(out) - x.dim()
            if new_dim is not None:
                shift = int(dim is not None and dim >= new_dim)
            if dim is None or (x.shape[dim] == 1 and out[dim + shift] > 1):
                small.append(s.sights[axis])
            else:
                full.append(s.sights[axis])
                dims.add(dim + shift)
        if len(dims) > 1 or dims == {join_dim}:
            return call.lose("its inputs are laid side by side along the image")
        call.context |= bool(full and small)
        joined.append(Sight.join(full or small))
        at.append(dims.pop() if dims else None)
    call.follow(joined, at)


def mix(call: Call) -> None:
    """Products of positions with positions: what each output sees depends on how they are laid."""
    held = any(dim is not None for x in call.data for dim in seen_of(x).at)
    if held or call.lost:
        call.lose(f"{call.name} mixes positions: the receptive field is not followed through it")
    else:
        meet(call)


def nth(value: int | Sequence[int], i: int) -> int:
    """PyTorch passes (3, 3), [3] or 3 for the same thing."""
    return value if isinstance(value, int) else value[i if len(value) > 1 else 0]
