"""What `forward` is called with: shapes become tensors, everything else stays as it is."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from numbers import Integral, Number
from typing import Any

import torch
from torch import Tensor, nn

from cnnlab.trace.call import TraceError
from cnnlab.trace.watch import map_tensors, tensors_in

_KINDS = (
    "an input is a shape such as (3, 224, 224), an example tensor, a list, tuple or dict of those, "
    "a number, a flag or None"
)


class Inputs:
    """The arguments of one pass, and where the batch is in them.

    args, keywords: as given, every shape a tensor on the meta device
    batch:  images in a pass, by which counts are divided
    dim:    the dimension of a tensor that holds the batch; None where no input has a batch
    note:   how the batch is known, where that matters
    """

    def __init__(
        self,
        args: Sequence[Any],
        keywords: Mapping[str, Any],
        batch: int | str | None,
        modules: Sequence[nn.Module],
        dtype: torch.dtype,
    ):
        if batch not in ("auto", None) and not (_whole(batch) and batch > 0):
            raise TraceError(
                f"batch {batch!r}; expected the number of images in the inputs, None if the inputs "
                f'have no batch dimension, or "auto"'
            )
        if not isinstance(keywords, Mapping):
            raise TraceError(
                f"keywords={keywords!r:.80}; expected names with inputs: {{'mask': (1, 224, 224)}}"
            )
        self.given, self.dtype = tuple(args), dtype
        # PyTorch's own sequence layers say which dimension is the batch.
        firsts = [m.__dict__["batch_first"] for m in modules if "batch_first" in m.__dict__]
        self.sequences, self._second = bool(firsts), bool(firsts) and not any(firsts)
        self._loose: set[int] = set()  # images in a list, each without a batch
        self.batch, self.note = 1 if batch in ("auto", None) else batch, ""
        examples = tensors_in((args, keywords))
        sizes = [x.shape for x in examples] or [(1, *s) for s in map(shape_of, args) if s]
        self.dim = None if batch is None else int(self._second and all(len(s) == 3 for s in sizes))
        if batch == "auto" and examples:
            self._find_batch(examples, (*args, *keywords.values()))
        self.args = tuple(self._made(one, outermost=True) for one in args)
        self.keywords = {name: self._made(one) for name, one in keywords.items()}
        self.tensors = tensors_in((self.args, self.keywords))
        if not self.tensors:
            raise TraceError("trace got no shape and no tensor: give it one such as (3, 224, 224)")
        self.shapes = tuple(
            tuple(x.shape) if id(x) in self._loose else self.per_image(x.shape)
            for x in self.tensors
        )

    def _find_batch(self, examples: list[Tensor], values: Sequence[Any]) -> None:
        lists = [v for v in values if type(v) is list and v and not self.sequences]
        images = [v for v in lists if all(isinstance(x, Tensor) and x.dim() == 3 for x in v)]
        if images:
            self.batch, self._loose = len(images[0]), {id(x) for v in images for x in v}
            known = "the length of the list of images"
        else:
            self.batch = examples[0].shape[self.dim] if examples[0].dim() > self.dim else 1
            known = f"the {'second' if self.dim else 'first'} dimension of the example tensor"
            if self.dim:
                known += ", because batch_first is False"
        if self.batch > 1:
            self.note = (
                f"counts are for one of {self.batch} images: the batch is taken from {known}; "
                f"batch=... says it otherwise"
            )

    def _made(self, one: Any, outermost: bool = False) -> Any:
        """A shape becomes a tensor; so do those in lists, tuples and dicts."""
        shape = shape_of(one)
        if shape is not None:
            if min(shape) < 1:
                raise TraceError(f"an input shape has positive sizes, got {shape}")
            if self.dim is not None:
                at = int(self._second and len(shape) == 2)
                shape = (*shape[:at], self.batch, *shape[at:])
            return torch.empty(shape, dtype=self.dtype, device="meta")
        if isinstance(one, Mapping):
            return {key: self._made(value) for key, value in one.items()}
        if isinstance(one, (list, tuple)):
            if one and not hasattr(one, "_fields") and all(isinstance(n, Number) for n in one):
                raise TraceError(f"an input shape has whole numbers, got {tuple(one)}")
            parts = [self._made(part) for part in one]
            return type(one)(*parts) if hasattr(one, "_fields") else type(one)(parts)
        plain = Tensor, bool, float, complex, type(None), torch.dtype, torch.device
        if isinstance(one, plain) or (isinstance(one, (str, int)) and not outermost):
            return one
        if outermost and _whole(one):
            if all(map(_whole, self.given)):
                raise TraceError(f"a shape is one argument: trace(model, {self.given})")
            return one
        if type(one).__module__ == "numpy":
            raise TraceError(
                f"an input is a NumPy array of shape {getattr(one, 'shape', ())}: give "
                f"torch.from_numpy(array), or only its shape without the batch"
            )
        raise TraceError(f"{_KINDS}; got {one!r:.80}")

    def twins(self, device: torch.device | None) -> tuple[tuple[Any, ...], dict[str, Any]]:
        """Arguments to run with: without memory, or, with a `device`, real copies. What has no
        values is zeros. One tensor given twice stays one."""
        made: dict[int, Tensor] = {}

        def twin(x: Tensor) -> Tensor:
            if id(x) not in made:
                if device is None:
                    made[id(x)] = torch.empty_like(x, device="meta", requires_grad=False)
                elif x.is_meta:
                    made[id(x)] = torch.zeros_like(x, device=device, requires_grad=False)
                else:
                    made[id(x)] = x.detach().to(device, copy=True)
            return made[id(x)]

        return map_tensors(self.args, twin), map_tensors(self.keywords, twin)

    def image_axes(self, given: Tensor) -> range:
        """The dimensions of an input that are axes of an image: all after batch and channels."""
        batched = self.dim is not None and id(given) not in self._loose
        if self.sequences and given.dim() == 2 + batched:
            return range(0)  # a sequence of vectors has positions, but no channels before them
        return range(1 + batched, given.dim())

    def per_image(self, shape: Sequence[int]) -> tuple[int, ...]:
        """A shape without the batch; as it is where that dimension is something else."""
        dim = self.dim
        if dim is None or len(shape) <= dim or shape[dim] != self.batch:
            return tuple(shape)
        return (*shape[:dim], *shape[dim + 1 :])

    def alternatives(self) -> Iterator[tuple[str, tuple[Any, ...]]]:
        """What the caller may have meant: words, and the inputs to try."""
        shapes = [shape_of(one) for one in self.given]
        if all(shapes):
            if all(len(shape) > 1 for shape in shapes):
                cut = tuple(shape[1:] for shape in shapes)
                yield f"A shape is given without the batch: {_args(cut)}", cut
                moved = tuple((shape[-1], *shape[:-1]) for shape in shapes)
                yield f"Channels come first in PyTorch: {_args(moved)}", moved
                both = tuple((shape[-1], *shape[1:-1]) for shape in shapes)
                yield f"A shape is given without the batch, channels first: {_args(both)}", both
            gray = tuple((1, *shape) for shape in shapes)
            yield f"A gray image has one channel: {_args(gray)}", gray
            whole = tuple(torch.empty(shape, dtype=torch.int64, device="meta") for shape in gray)
            example = f"torch.zeros({gray[0]}, dtype=torch.long)"
            yield f"The model takes whole numbers: give an example tensor, {example}", whole
        elif any(isinstance(one, list) and any(map(shape_of, one)) for one in self.given):
            loose = Inputs(self.given, {}, None, (), self.dtype).args
            yield "Images in a list have no batch: give batch=None", loose
        elif all(isinstance(one, Tensor) for one in self.given):
            batched = tuple(x[None] for x in self.given)
            yield "An example tensor has its batch in front: give tensor[None]", batched
            if all(x.dim() == 4 for x in self.given):
                moved = tuple(x.movedim(-1, 1) for x in self.given)
                yield "Channels come first in PyTorch: give tensor.movedim(-1, 1)", moved
            typed = tuple(x.to(self.dtype) for x in self.given)
            yield f"The model's numbers are of another type: give tensor.to({self.dtype})", typed


def shape_of(one: Any) -> tuple[int, ...] | None:
    """The sizes, if this is a shape: a list or tuple of whole numbers."""
    if isinstance(one, (list, tuple)) and one and not hasattr(one, "_fields"):
        return tuple(map(int, one)) if all(map(_whole, one)) else None
    return None


def _whole(value: Any) -> bool:
    return isinstance(value, Integral) and not isinstance(value, bool)


def _args(values: Sequence[Any]) -> str:
    return ", ".join(str(v) if shape_of(v) else "..." for v in values)
