"""Sees every operation of a forward pass, asks its rule, writes a row."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from math import prod
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from cnnlab.arithmetic import GeometryError
from cnnlab.trace.call import Call, Rule, Seen, seen_of
from cnnlab.trace.memory import Memory
from cnnlab.trace.rules import POINTWISE, RULES, pointwise, unknown
from cnnlab.trace.shapes import SHAPES
from cnnlab.trace.sight import Sight
from cnnlab.trace.table import Layer
from cnnlab.trace.watch import Calls, map_tensors, memory_of, meta_twin, tensors_in


class TraceError(RuntimeError):
    """A model that cannot be traced: the module, what it got, and the next step."""


class Recorder(TorchDispatchMode):
    """Writes `rows` while it is active. On meta tensors no operation is computed."""

    def __init__(
        self, params: Mapping[str, Tensor], rules: Mapping[str, Rule], on_meta: bool, inputs: Any
    ):
        super().__init__()
        self.params = {id(tensor): name for name, tensor in params.items()}
        self.unused = {name: tensor.numel() for name, tensor in params.items()}  # as yet
        self.rules, self.on_meta = rules, on_meta
        self.rows: list[Layer] = []
        self.memory = Memory()
        self.row_calls: list[tuple[str, int]] = []
        self.stack: list[tuple[str, str]] = []
        self.calls = Calls(self.stack)
        self.storages = 0
        self.written: dict[int, Any] = {}  # storages of constants that the input was written to
        self.operations: dict[Any, Operation] = {}
        tensors = tensors_in(inputs)
        for tensor in tensors:
            axes = {size: Sight.of_image(size) for size in tensor.shape[2:]}
            sights = tuple(axes[size] for size in tensor.shape[2:])
            tensor._seen = Seen(sights, tuple(range(2, tensor.dim())), -1, self._new_storage())
        self.image = next((x.shape[2:] for x in tensors if x.dim() > 2), ())

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

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        kwargs = kwargs or {}
        if func not in self.operations:
            self.operations[func] = Operation(func, self.rules)
        operation, tensors = self.operations[func], _near(args, kwargs)
        for x in tensors if self.written else ():
            if not hasattr(x, "_seen") and memory_of(x) in self.written:
                x._seen = Seen(None, (), len(self.rows) - 1, self._new_storage())
        known = [x for x in tensors if hasattr(x, "_seen")]
        used = [self.params[id(x)] for x in tensors if id(x) in self.params]
        if operation.constant or not (known or used):
            return func(*args, **kwargs)
        out = self._run(operation, func, args, kwargs)
        first = out[0] if isinstance(out, (list, tuple)) else out
        if isinstance(first, Tensor):
            call = self._ask(operation, operation.bind(args, kwargs), tensors, known, first)
            self._write(operation, call, known, used, out)
        return out

    def _run(self, operation: Operation, func, args, kwargs):
        """Only shapes are needed: direct ones for the hot operations, PyTorch's for the rest."""
        if not self.on_meta:
            return func(*args, **kwargs)
        if operation.in_place_same:
            return args[0]
        if operation.shape is not None:
            try:
                shape = operation.shape(operation.bind(args, kwargs))
            except GeometryError as error:
                raise self._refuse(operation, args, error) from None
            if shape is not None:
                like = args[0][0] if isinstance(args[0], (list, tuple)) else args[0]
                return torch.empty(shape, dtype=like.dtype, device="meta")
        # A constant made inside forward lives on the CPU: give it a twin as well.
        args, kwargs = map_tensors((args, kwargs), meta_twin)
        return func(*args, **kwargs)

    def _refuse(self, operation: Operation, args, error: GeometryError) -> TraceError:
        path, module = self.stack[-1] if self.stack else ("", "the model itself")
        sights, advice = seen_of(args[0]).sights, ""
        if "does not fit" in str(error) and sights:
            jump = max((sight.rate or 1) for sight in sights)
            advice = f"; one pixel here is {jump} pixels of the input, so give it a larger image"
        return TraceError(
            f"{path or module} ({module}, {operation.name}) got {tuple(args[0].shape[1:])}: "
            f"{error}{advice}"
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
            note = (
                "written into a tensor that was not made of the input: positions are not "
                "followed through it"
            )
        elif operation.in_place and shares is not None:
            note = self._into_bases(shares.base, call) or note
        if shares is None or operation.in_place or params or collapsed or note:
            row = len(self.rows)
            path, module = self.stack[-1] if self.stack else ("", "")
            self.row_calls.append(self.calls.now)
            layer = Layer(
                index=row,
                path=path,
                module=module,
                op=operation.name,
                inputs=tuple(dict.fromkeys(x._seen.row for x in known)),
                in_shapes=tuple(tuple(x.shape)[1:] for x in call.data),
                out_shape=tuple(made.shape)[1:],
                params=params,
                macs=call.macs,
                other_ops=call.other_ops,
                activations=made.numel() if shares is None else 0,
                context=call.context,
                note=note,
                itemsize=made.element_size(),
                storage=number,
                reads=tuple(dict.fromkeys(x._seen.storage for x in known)),
                sights=call.sights,
                at=call.at,
                memory=self.memory,
                covers=(row,),
            )
            self.rows.append(layer)
            size = made.element_size()
            sizes = [prod(shape) * size for shape in layer.in_shapes]
            self.memory.add(number, prod(layer.out_shape) * size, layer.reads, sizes)
        else:
            of_the_image = _of_the_image(known) or known
            row = of_the_image[0]._seen.row if of_the_image else -1
        seen = Seen(call.sights, call.at, row, number)
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
                base.sights, base.at = None, ()
                lost = "written into a part of the image: positions are not followed any further"
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
        if func.namespace != "aten" and rule is RULES.get(self.name):
            rule = None  # an operation of the same name, not PyTorch's
        self.rule = rule or (pointwise if is_pointwise else unknown)
        self.shape = SHAPES.get(self.name) if func.namespace == "aten" else None

    def bind(self, args: Sequence[Any], kwargs: Mapping[str, Any]) -> dict[str, Any]:
        """Arguments by name, defaults filled in."""
        return {**self.defaults, **dict(zip(self.defaults, args)), **kwargs}


def _near(args: Sequence[Any], kwargs: Mapping[str, Any]) -> list[Tensor]:
    """The tensors among the arguments, and in lists among them."""
    found = [x for x in args if isinstance(x, Tensor)]
    for x in args:
        if isinstance(x, (list, tuple)):
            found += [y for y in x if isinstance(y, Tensor)]
    return found + [x for x in kwargs.values() if isinstance(x, Tensor)]


def _of_the_image(known: Sequence[Tensor]) -> list[Tensor]:
    return [x for x in known if x._seen.sights != ()]


def _held(at: Sequence[int | None]) -> int:
    return len(at) - at.count(None)
