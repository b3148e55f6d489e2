"""Sees every operation of a forward pass, asks its rule, writes a row."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from math import prod
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from cnnlab._tools import counted
from cnnlab.arithmetic import GeometryError
from cnnlab.trace.call import Call, Rule, Seen, TraceError, seen_of
from cnnlab.trace.inputs import Inputs
from cnnlab.trace.layer import Layer, Output
from cnnlab.trace.memory import Memory
from cnnlab.trace.rules import POINTWISE, RULES, cat, pointwise, stack, unknown
from cnnlab.trace.shapes import SHAPES
from cnnlab.trace.sight import Sight
from cnnlab.trace.watch import Calls, memory_of, near, tensors_in, without_moving

_CONVOLUTIONS = "conv1d", "conv2d", "conv3d"
_WRITTEN = (
    "written into a tensor that was not made of the input: positions are not followed through it"
)


class Recorder(TorchDispatchMode):
    """Writes `rows` while it is active. On meta tensors no operation is computed."""

    def __init__(
        self,
        params: Mapping[str, Tensor],
        rules: Mapping[str, Rule],
        on_meta: bool,
        inputs: Inputs,
        arguments: Any,
        nothing: list[str],
    ):
        super().__init__()
        self.params: dict[int, str] = {}
        self.unused: dict[str, int] = {}  # as yet
        self.add_params(params)
        self.rules, self.on_meta, self.inputs = rules, on_meta, inputs
        self.rows: list[Layer] = []
        self.outputs: dict[str, Output] = {}  # of modules, by path
        self.nothing = nothing  # modules that returned None
        self.memory = Memory(inputs.batch)
        self.row_calls: list[tuple[str, int]] = []
        self.stack: list[tuple[str, str]] = []
        self.calls = Calls(self.stack)
        self.storages = 0
        self.written: dict[int, Any] = {}  # storages of constants that the input was written to
        self.operations: dict[Any, Operation] = {}
        self.batched: set[int] = set()  # inputs with batch and channels in front
        self.image: Sequence[int] = ()
        axes: dict[int, Sight] = {}
        for tensor, given in zip(tensors_in(arguments), inputs.tensors):
            at = tuple(inputs.image_axes(given))
            sizes = tuple(tensor.shape[dim] for dim in at)
            sights = tuple(axes.setdefault(size, Sight.of_image(size)) for size in sizes)
            tensor._seen = Seen(sights, at, -1, self._new_storage())
            if at == tuple(range(2, tensor.dim())):
                self.batched.add(id(tensor))
            self.image = self.image or sizes

    def add_params(self, params: Mapping[str, Tensor]) -> None:
        """More parameters, by name."""
        self.params |= {id(tensor): name for name, tensor in params.items()}
        self.unused |= {name: tensor.numel() for name, tensor in params.items()}

    def _new_storage(self) -> int:
        self.storages += 1
        return self.storages

    def row_of_call(self) -> Callable[[tuple[str, int]], int]:
        """For the second pass: the row that a numbered call made, or the nearest before it."""
        rows = {call: row for row, call in enumerate(self.row_calls)}
        last_of_path = {path: row for row, (path, _) in enumerate(self.row_calls)}
        previous = 0

        def find(call: tuple[str, int]) -> int:
            nonlocal previous
            previous = rows.get(call, last_of_path.get(call[0], previous))
            return previous

        return find

    def leave(self, path: str, result: Any) -> None:
        """A module is done: what it returned is its output, also where a view came last."""
        self.calls.paused = True  # what is asked here is no call of the model's
        if result is None:
            self.nothing.append(path)
        held = near((), result) if isinstance(result, dict) else near([result], {})
        out = next((x for x in held if hasattr(x, "_seen")), None)
        if out is not None:
            self._returned(path, out)
        self.calls.paused = False

    def _returned(self, path: str, out: Tensor) -> None:
        seen, shape = out._seen, self.inputs.per_image(out.shape)
        self.outputs[path] = Output(shape, seen.sights, seen.at, seen.context, seen.lost)
        row = self.rows[-1] if self.rows else None
        if row and (row.index, row.path) == (seen.row, path) and row.out_shape != shape:
            if len(seen.at) == len(row.at) and prod(shape) == prod(row.out_shape):
                self.rows[-1] = replace(row, out_shape=shape, at=seen.at)

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        kwargs = kwargs or {}
        if func not in self.operations:
            self.operations[func] = Operation(func, self.rules)
        operation, tensors = self.operations[func], near(args, kwargs)
        if operation.name == "broadcast_tensors":  # each by itself, so that each sees its own
            shape, one = torch.broadcast_shapes(*(x.shape for x in tensors)), torch.ops.aten.expand
            return [self.__torch_dispatch__(one.default, (), (x, shape)) for x in tensors]
        for x in tensors if self.written else ():
            if not hasattr(x, "_seen") and memory_of(x) in self.written:
                x._seen = Seen(None, (), len(self.rows) - 1, self._new_storage(), lost=_WRITTEN)
        known = [x for x in tensors if hasattr(x, "_seen")]
        used = [self.params[id(x)] for x in tensors if id(x) in self.params]
        if operation.constant or not (known or used):
            return func(*args, **kwargs)
        out = self._run(operation, func, args, kwargs, tensors)
        first = out[0] if isinstance(out, (list, tuple)) else out
        if isinstance(first, Tensor):
            call = self._ask(operation, operation.bind(args, kwargs), tensors, known, first)
            self._write(operation, call, known, used, out)
        return out

    def _run(self, operation: Operation, func, args, kwargs, tensors: list[Tensor]):
        """Only shapes are needed: direct ones for the hot operations, PyTorch's for the rest."""
        if not self.on_meta:
            return func(*args, **kwargs)
        if operation.in_place_same:
            if any(not _fits(x.shape, args[0].shape) for x in tensors):
                raise self._clash(operation, tensors)
            return args[0]
        if operation.name in _CONVOLUTIONS and id(args[0]) in self.batched:
            if args[0].dim() == int(operation.name[4]) + 1:
                raise TraceError(
                    f"{self._here(operation)} got {tuple(args[0].shape)}, the whole input, as one "
                    f"image without a batch; give tensor[None], or a shape with its channels"
                )
        if operation.shape is not None:
            try:
                shape = operation.shape(operation.bind(args, kwargs))
            except GeometryError as error:
                raise self._refuse(operation, args[0], error) from None
            if shape is not None:
                like = args[0][0] if isinstance(args[0], (list, tuple)) else args[0]
                if isinstance(shape, list):  # several outputs
                    return tuple(like.new_empty(one, device="meta") for one in shape)
                return torch.empty(shape, dtype=like.dtype, device="meta")
        # A constant made inside forward lives on the CPU: give it a twin as well.
        args, kwargs = without_moving(operation.name, args, kwargs)
        try:
            return func(*args, **kwargs)
        except RuntimeError as error:
            if operation.rule in (pointwise, cat, stack) and len(tensors) > 1:
                raise self._clash(operation, tensors) from error
            raise

    def _here(self, operation: Operation) -> str:
        path, module = self.stack[-1] if self.stack else ("", "the model itself")
        return f"{path or module} ({module}, {operation.name})"

    def _refuse(self, operation: Operation, x: Tensor, error: GeometryError) -> TraceError:
        """A layer that cannot exist: what to do next depends on whether it reads the input."""
        sights, advice = seen_of(x).sights, ""
        if "does not fit" in str(error) and sights:
            jump = max((sight.rate or 1) for sight in sights)
            pixels = counted(jump, "pixel")
            advice = f"; one pixel here is {pixels} of the input, so give it a larger image"
        elif error.args[1:]:
            advice = f"; {error.args[1 if seen_of(x).row == -1 else 2]}"
        got = self.inputs.per_image(x.shape)
        return TraceError(f"{self._here(operation)} got {got}: {error.args[0]}{advice}")

    def _clash(self, operation: Operation, tensors: list[Tensor]) -> TraceError:
        """Branches meet whose sizes do not fit: which they are, and where each comes from."""
        named = []
        for x in tensors:
            row = seen_of(x).row if hasattr(x, "_seen") else -2
            made = "a constant" if row == -2 else "the input"
            if row >= 0:
                made = f"{self.rows[row].path or 'the model'} ({self.rows[row].op})"
            named.append(f"{self.inputs.per_image(x.shape)} from {made}")
        shapes = [tuple(x.shape) for x in tensors]
        places = {place for place, sizes in enumerate(zip(*shapes)) if len(set(sizes)) > 1}
        if len(set(map(len, shapes))) > 1:
            advice = "a smaller tensor is aligned at its last dimension: give it the missing ones"
        elif places == {1}:
            advice = "a 1x1 convolution on one branch can change its channels"
        else:
            advice = (
                "give both the same strides, padding that keeps the size (kernel // 2), and an "
                "image that the strides divide"
            )
        return TraceError(
            f"{self._here(operation)} got {' and '.join(named)}, sizes that do not fit; {advice}"
        )

    def _ask(self, operation: Operation, named: dict, tensors, known, out: Tensor) -> Call:
        """What the operation's rule says of this call."""
        data = _of_the_image(known) or known or tensors
        call = Call(operation.name, named, data, out)
        try:
            operation.rule(call)
        except Exception as error:  # a fault of the rule, not of the model: never hide it
            path = self.stack[-1][0] if self.stack else ""
            raise TraceError(
                f"the rule for {operation.name} failed in {path or 'the model'} on "
                f"{[tuple(x.shape) for x in data]}: {error!r}; pass a better one with "
                f"trace(..., rules={{{operation.name!r}: rule}})"
            ) from error
        return call

    def _write(self, operation: Operation, call: Call, known, used: Sequence[str], out) -> None:
        """A row, if the operation made anything."""
        made = call.out
        shares = None  # the input whose memory the output has
        for x in known:
            if x is made or memory_of(x) == memory_of(made):
                shares = x._seen
        params = sum(self.unused.pop(name, 0) for name in used)
        number = self._new_storage() if shares is None else shares.storage
        collapsed = _held(call.at) < _held(call.seen[0].at)  # a flatten
        note = call.note
        if operation.in_place and known and shares is None:
            # The storage is held: its address must not be used twice.
            self.written[memory_of(made)] = made.untyped_storage()
            note = _WRITTEN
        elif operation.in_place and shares is not None:
            note = self._into_bases(shares.base, call) or note
        if shares is None or operation.in_place or params or collapsed or note:
            row = len(self.rows)
            path, module = self.stack[-1] if self.stack else ("", "")
            self.row_calls.append(self.calls.now)
            shape = self.inputs.per_image if known else tuple  # of weights: no batch
            batch = self.inputs.batch
            if call.lost and call.lost == note:
                call.lost = f"{path or module}: {note}"
            layer = Layer(
                index=row,
                path=path,
                module=module,
                op=operation.name,
                inputs=tuple(dict.fromkeys(x._seen.row for x in known)),
                in_shapes=tuple(shape(x.shape) for x in call.data),
                out_shape=shape(made.shape),
                params=params,
                macs=None if call.macs is None else -(-call.macs // batch),
                other_ops=-(-call.other_ops // batch),
                activations=-(-made.numel() // batch) if shares is None else 0,
                context=call.context,
                note=note,
                storage=number,
                reads=tuple(dict.fromkeys(x._seen.storage for x in known)),
                sights=call.sights,
                at=call.at,
                lost=call.lost,
                memory=self.memory,
                covers=(row,),
            )
            self.rows.append(layer)
            sizes = [x.numel() * x.element_size() for x in call.data]
            size = made.numel() * made.element_size()
            self.memory.add(number, size, layer.reads, sizes)
        else:
            of_the_image = _of_the_image(known) or known
            row = of_the_image[0]._seen.row if of_the_image else -1
        seen = Seen(call.sights, call.at, row, number, call.context, call.lost)
        if shares is not None:
            seen.base = shares.base if operation.in_place else shares
        for tensor in out if isinstance(out, (list, tuple)) else (out,):
            if isinstance(tensor, Tensor):
                tensor._seen = seen

    def _into_bases(self, base: Seen | None, call: Call) -> str:
        """What was written into a view is in the tensors that it is a view of: they see it, too."""
        lost = ""
        while base is not None:
            sizes = [sight.units for sight in base.sights or ()]
            if call.sights and call.at == base.at and sizes == [s.units for s in call.sights]:
                base.sights = tuple(map(Sight.join, zip(base.sights, call.sights)))
            elif base.sights:
                lost = "written into a part of the image: positions are not followed any further"
                base.sights, base.at, base.lost = None, (), lost
            base.context = base.context or call.context
            base.row, base = len(self.rows), base.base
        return lost


class Operation:
    """What is worth knowing once about an operation of PyTorch."""

    def __init__(self, func, rules: Mapping[str, Rule]):
        packet = func.overloadpacket.__name__
        self.name = packet.rstrip("_") if not packet.startswith("_") else packet
        self.defaults = {
            a.name: a.default_value if a.has_default_value() else None
            for a in func._schema.arguments
        }
        self.constant = self.name.startswith("new_") or self.name.endswith("_like")
        self.in_place = packet.endswith("_") and not packet.endswith("__")
        is_pointwise = torch.Tag.pointwise in func.tags or self.name in POINTWISE
        self.in_place_same = self.in_place and is_pointwise
        rule = rules.get(self.name)
        if func.namespace != "aten":
            if rule is RULES.get(self.name):  # an operation of the same name, not PyTorch's
                rule = None
            rule = rule or rules.get(f"{func.namespace}::{self.name}")
        self.rule = rule or (pointwise if is_pointwise else unknown)
        self.shape = SHAPES.get(self.name) if func.namespace == "aten" else None

    def bind(self, args: Sequence[Any], kwargs: Mapping[str, Any]) -> dict[str, Any]:
        """Arguments by name, defaults filled in."""
        return {**self.defaults, **dict(zip(self.defaults, args)), **kwargs}


def _fits(small: Sequence[int], large: Sequence[int]) -> bool:
    """Whether a tensor of size `small` can be broadcast to `large`."""
    pairs = zip(reversed(small), reversed(large))
    return len(small) <= len(large) and all(a in (1, b) for a, b in pairs)


def _of_the_image(known: Sequence[Tensor]) -> list[Tensor]:
    return [x for x in known if x._seen.sights != ()]


def _held(at: Sequence[int | None]) -> int:
    return len(at) - at.count(None)
