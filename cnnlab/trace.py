"""Record one forward pass of any module, layer by layer, without computing it.

Parameters and buffers are swapped for twins on PyTorch's `meta` device, which have shapes but
no memory, and a dispatch mode watches the operations go by. So the caller's model is neither
run, moved nor changed, branches and functional calls are seen like modules are, and VGG-16
takes milliseconds and no memory.

A rule per family of operations says what it costs and what its outputs see. Where there is no
rule, the row says so; nothing is guessed. `trace(..., rules={"my_op": rule})` adds one.
"""

from __future__ import annotations

import traceback
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from math import prod
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules import module as hooks
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode

from cnnlab.arithmetic import GeometryError, output_size
from cnnlab.sight import Remap, Resize, Sight, Slide, Spread
from cnnlab.table import Layer, LayerTable, Memory

Rule = Callable[["Call"], None]


class TraceError(RuntimeError):
    """A model that cannot be traced: the module, what it got, and the next step."""


def trace(
    model: nn.Module,
    *inputs: Any,
    training: bool = False,
    rules: Mapping[str, Rule] | None = None,
) -> LayerTable:
    """Trace `model` on inputs of the given shapes.

    model:    any module; nothing about it changes, also when the trace fails
    inputs:   one per argument of `forward`: a shape without the batch, such as (3, 224, 224),
              or an example tensor with the batch (only its shape and dtype are used), or a
              list of those
    training: follow the branches of training mode (GoogLeNet's auxiliary heads, for example)
    rules:    operation name -> function of a `Call`, for operations without a rule of ours

    Counts are for one image; MACs without bias, 1 MAC = 2 FLOPs. A model that needs values to
    decide what to do cannot be followed by shapes alone: it is run for real, once, and the
    table's note says so.

    Raises TraceError if the forward pass fails, with the module and the shapes it got.
    """
    if not inputs:
        raise TraceError("trace got no input: give it a shape such as (3, 224, 224)")
    _refuse_lazy(model)
    watched = _Watched(model, inputs, training)
    table_rules = {**RULES, **rules} if rules else RULES
    note = ""
    try:
        recorder = watched.record(table_rules, on_meta=True)
    except TraceError:
        raise
    except Exception as on_shapes:
        # Only a real run can tell a model that needs values from a model that is broken.
        try:
            recorder = watched.record(table_rules, on_meta=False)
        except TraceError:
            raise
        except Exception as for_real:
            raise watched.explain(for_real) from for_real
        note = f"run for real, because shapes alone were not enough: {_first_line(on_shapes)}"
    if not recorder.rows:
        raise TraceError("no operation depends on the input: is forward's argument used?")
    recorder.memory.measure = lambda: watched.kept(recorder)
    return LayerTable(
        rows=recorder.rows,
        inputs=watched.shapes,
        image=recorder.image,
        model=model,
        unused=recorder.unused(),
        note=note,
    )


class _Watched:
    """The caller's model, with the inputs and the way to run it unharmed."""

    def __init__(self, model: nn.Module, inputs: Sequence[Any], training: bool):
        self.model, self.training = model, training
        self.paths = {id(module): path for path, module in model.named_modules()}
        self.inputs = tuple(_to_meta(one) for one in inputs)
        self.shapes = tuple(tuple(one.shape[1:]) for one in _tensors(self.inputs))

    def record(self, rules: Mapping[str, Rule], on_meta: bool) -> _Recorder:
        """One forward pass, on meta twins or for real, with every operation written down."""
        params, buffers, inputs = self._swapped(on_meta)
        recorder = _Recorder(params, rules, on_meta, inputs)
        with self._unharmed(leaves_train=False), torch.inference_mode():
            with _module_stack(self.paths, recorder.stack), recorder.calls, recorder:
                torch.func.functional_call(self.model, {**params, **buffers}, inputs)
        return recorder

    def kept(self, recorder: _Recorder) -> dict[int, Counter[str]]:
        """Bytes that autograd keeps for the backward pass: row -> dtype -> bytes, per image.

        A second pass on meta tensors, this time with autograd, in which normalization and
        dropout are in training mode. A buffer that two operations keep is counted once, at the
        first; parameters are not counted.
        """
        params, buffers, inputs = self._swapped(recorder.on_meta)
        state = {**params, **buffers}
        own = {tensor.untyped_storage()._cdata for tensor in state.values()}
        stack, kept, alive = [], {}, []
        by_call = recorder.row_of_call()

        def pack(tensor: Tensor) -> Tensor:
            storage = tensor.untyped_storage()
            if storage._cdata not in own:
                own.add(storage._cdata)
                alive.append(storage)  # an address must not be used twice
                row = by_call(calls.now)
                dtype = str(tensor.dtype).removeprefix("torch.")
                kept.setdefault(row, Counter())[dtype] += storage.nbytes()
            return tensor

        saving = torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor)
        with self._unharmed(leaves_train=True), torch.enable_grad(), saving:
            with _module_stack(self.paths, stack), _Calls(stack) as calls, _QuickNorm():
                torch.func.functional_call(self.model, state, inputs)
        return kept

    def _swapped(self, on_meta: bool) -> tuple[dict[str, Tensor], dict[str, Tensor], Any]:
        """Parameters, buffers and inputs to run with.

        On meta: twins with shapes but without memory. For real: the model's own parameters, which
        are only read, and copies of its buffers, which may be written to.
        """
        params, buffers = self.model.named_parameters(), self.model.named_buffers()
        if not on_meta:
            params = dict(params)
            device = next((p.device for p in params.values()), torch.device("cpu"))
            buffers = {name: buffer.clone() for name, buffer in buffers}
            return params, buffers, _map(self.inputs, lambda x: torch.zeros_like(x, device=device))
        twins = {
            name: torch.empty_like(p, device="meta").requires_grad_(p.requires_grad)
            for name, p in params
        }
        buffers = {name: torch.empty_like(b, device="meta") for name, b in buffers}
        return twins, buffers, self.inputs

    @contextmanager
    def _unharmed(self, leaves_train: bool) -> Iterator[None]:
        """Modes as asked for, put back afterwards together with the random state."""
        modes = [(module, module.training) for module in self.model.modules()]
        random_state = torch.get_rng_state()
        try:
            for module, _ in modes:
                leaf = not module._modules
                module.training = self.training or (leaves_train and leaf)
            yield
        finally:
            for module, mode in modes:
                module.training = mode
            torch.set_rng_state(random_state)

    def explain(self, error: Exception) -> TraceError:
        """Name the module in whose forward the error was raised, and the line."""
        where = ""
        for frame, line in traceback.walk_tb(error.__traceback__):
            module = frame.f_locals.get("self")
            if frame.f_code.co_name == "forward" and id(module) in self.paths:
                path = self.paths[id(module)] or "the model itself"
                where = f"{path} ({type(module).__name__}), line {line} of its forward"
        shapes = ", ".join(map(str, self.shapes))
        return TraceError(
            f"{where or 'the model'} fails on input {shapes}: {_first_line(error)} "
            f"[{type(error).__name__}]. Run the model on such an input yourself, and fix that first"
        )


class _Calls(TorchFunctionMode):
    """Numbers the calls that each module's code makes, so that two passes can be matched."""

    def __init__(self, stack: list[tuple[str, str]]):
        super().__init__()
        self.stack, self.counts, self.now = stack, Counter(), ("", 0)

    def __torch_function__(self, func, types, args=(), kwargs=None):
        path = self.stack[-1][0] if self.stack else ""
        self.counts[path] += 1
        self.now = (path, self.counts[path])
        if func is nn.functional.batch_norm:  # its own check refuses a single image
            func = _batch_norm
        return func(*args, **(kwargs or {}))


class _QuickNorm(TorchDispatchMode):
    """Shapes of batch norm below autograd: PyTorch's own rule takes most of a pass's time."""

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        if func is torch.ops.aten.native_batch_norm.default:
            x = args[0]
            statistics = x.new_empty(x.shape[1]), x.new_empty(x.shape[1])
            return torch.empty_like(x), *statistics
        return func(*args, **(kwargs or {}))


def _batch_norm(x, mean, var, weight=None, bias=None, training=False, momentum=0.1, eps=1e-5):
    return torch.batch_norm(x, weight, bias, mean, var, training, momentum, eps, False)


class _Seen:
    """What is known of a tensor: attached to it while the trace runs."""

    __slots__ = ("sights", "at", "row", "storage")

    def __init__(self, sights, at, row, storage):
        self.sights: tuple[Sight, ...] | None = sights  # one per image axis; None if unknown
        self.at: tuple[int | None, ...] = at  # the dimension that holds each image axis
        self.row: int = row  # where it was made; -1 for the input
        self.storage: int = storage  # a number shared by tensors that share memory


_CONSTANT = _Seen((), (), -1, -1)  # a parameter, or made of parameters: sees nothing of the image


def _seen(tensor: Tensor) -> _Seen:
    return getattr(tensor, "_seen", _CONSTANT)


class Call:
    """One operation under way: what a rule reads, and what it fills in.

    Read:  `name`, `args` (named as in PyTorch's schema), `data` (the tensors among them that
           come from the input), `out` (the output, or the first of several)
    Fill:  `macs` (None if unknown), `other_ops`, `context` (it also depends on the rest of the
           image), `note`, and through `each` or `lose` what the output sees
    """

    def __init__(self, name: str, args: dict[str, Any], data: list[Tensor], out: Tensor):
        self.name, self.args, self.data, self.out = name, args, data, out
        self.sights, self.at = _seen(data[0]).sights, _seen(data[0]).at
        self.macs: int | None = 0
        self.other_ops = 0
        self.context = False
        self.note = ""

    def each(self, step: Callable[[Sight, int], tuple[Sight, int | None]]) -> None:
        """Replace (sight, dimension) of every image axis that the first input still holds."""
        if self.sights is not None:
            pairs = [
                (sight, None) if dim is None else step(sight, dim)
                for sight, dim in zip(self.sights, self.at)
            ]
            self.sights, self.at = tuple(zip(*pairs)) if pairs else ((), ())

    def lose(self, why: str) -> None:
        """The receptive field is not followed any further."""
        self.sights, self.at, self.note = None, (), why


class _Recorder(TorchDispatchMode):
    """Sees every operation, asks its rule, writes a row."""

    def __init__(self, params, rules, on_meta, inputs):
        super().__init__()
        self.params = {id(tensor): name for name, tensor in params.items()}
        self.sizes = {name: tensor.numel() for name, tensor in params.items()}
        self.rules, self.on_meta = rules, on_meta
        self.rows: list[Layer] = []
        self.memory = Memory(self.rows)
        self.row_calls: list[tuple[str, int]] = []
        self.stack: list[tuple[str, str]] = []
        self.calls = _Calls(self.stack)
        self.counted: set[str] = set()
        self.storages = 0
        self.operations: dict[Any, _Operation] = {}
        for tensor in _tensors(inputs):
            sights = tuple(Sight.of_image(size) for size in tensor.shape[2:])
            tensor._seen = _Seen(sights, tuple(range(2, tensor.dim())), -1, self._new_storage())
        self.image = next((x.shape[2:] for x in _tensors(inputs) if x.dim() > 2), ())

    def _new_storage(self) -> int:
        self.storages += 1
        return self.storages - 1

    def unused(self) -> dict[str, int]:
        """Parameters that this forward pass never touched, with their sizes."""
        return {name: n for name, n in self.sizes.items() if name not in self.counted}

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
        operation = self.operations.get(func) or self.operations.setdefault(
            func, _Operation(func, self.rules)
        )
        tensors = [x for x in args if isinstance(x, Tensor)]
        for x in args:
            if isinstance(x, (list, tuple)):
                tensors += [y for y in x if isinstance(y, Tensor)]
        if kwargs:
            tensors += [x for x in kwargs.values() if isinstance(x, Tensor)]
        known = [x for x in tensors if hasattr(x, "_seen")]
        used = [self.params[id(x)] for x in tensors if id(x) in self.params]
        if operation.constant or not (known or used):
            return func(*args, **(kwargs or {}))
        out = self._run(operation, func, args, kwargs or {})
        first = out[0] if isinstance(out, (list, tuple)) else out
        if isinstance(first, Tensor):
            self._write(operation, args, kwargs or {}, tensors, known, used, first, out)
        return out

    def _run(self, operation: _Operation, func, args, kwargs):
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
        args, kwargs = _map((args, kwargs), _twin)
        return func(*args, **kwargs)

    def _refuse(self, operation: _Operation, args, error: GeometryError) -> TraceError:
        path, module = self.stack[-1] if self.stack else ("", "the model itself")
        seen = getattr(args[0], "_seen", None)
        advice = ""
        if "does not fit" in str(error) and seen is not None and seen.sights:
            jump = max((s.rate or 1) for s in seen.sights)
            advice = f"; one pixel here is {jump} pixels of the input, so give it a larger image"
        return TraceError(
            f"{path or module} ({module}, {operation.name}) got {tuple(args[0].shape[1:])}: "
            f"{error}{advice}"
        )

    def _write(self, operation, args, kwargs, tensors, known, used, first, out) -> None:
        data = [x for x in known if x._seen.sights != ()] or known or tensors
        storage, fresh = None, True
        address = first.untyped_storage()._cdata
        for x in known:
            if x is first or x.untyped_storage()._cdata == address:
                storage, fresh = x._seen.storage, False
        new_params = [name for name in used if name not in self.counted]
        self.counted.update(new_params)
        call = Call(operation.name, operation.bind(args, kwargs), data, first)
        try:
            operation.rule(call)
        except Exception as error:  # a fault of the rule, not of the model: never hide it
            path = self.stack[-1][0] if self.stack else ""
            raise TraceError(
                f"the rule for {operation.name} failed in {path or 'the model'} on "
                f"{[tuple(x.shape) for x in data]}: {error!r}; pass a better one with "
                f"trace(..., rules={{{operation.name!r}: rule}})"
            ) from error
        row = _seen(data[0]).row
        held = sum(dim is not None for dim in _seen(data[0]).at)
        collapsed = sum(dim is not None for dim in call.at) < held  # a flatten is worth a row
        if fresh or operation.in_place or new_params or collapsed or call.note:
            row = len(self.rows)
            path, module = self.stack[-1] if self.stack else ("", "")
            self.row_calls.append(self.calls.now)
            storage = self._new_storage() if storage is None else storage
            self.rows.append(
                Layer(
                    index=row,
                    path=path,
                    module=module,
                    op=operation.name,
                    inputs=tuple(dict.fromkeys(x._seen.row for x in known)),
                    in_shapes=tuple(tuple(x.shape[1:]) for x in data),
                    out_shape=tuple(first.shape[1:]),
                    params=sum(self.sizes[name] for name in new_params),
                    macs=call.macs,
                    other_ops=call.other_ops,
                    activations=first.numel() if fresh else 0,
                    itemsize=first.element_size(),
                    storage=storage,
                    reads=tuple(dict.fromkeys(x._seen.storage for x in known)),
                    sights=call.sights,
                    at=call.at,
                    context=call.context,
                    note=call.note,
                    memory=self.memory,
                    covers=(row,),
                )
            )
        elif storage is None:
            storage = self._new_storage()
        for tensor in out if isinstance(out, (list, tuple)) else (out,):
            if isinstance(tensor, Tensor):
                tensor._seen = _Seen(call.sights, call.at, row, storage)


class _Operation:
    """What is worth knowing once about an operation of PyTorch."""

    def __init__(self, func, rules: Mapping[str, Rule]):
        packet = func.overloadpacket.__name__
        self.name = packet.rstrip("_") if not packet.startswith("_") else packet
        self.defaults = [
            (a.name, a.default_value if a.has_default_value() else None)
            for a in func._schema.arguments
        ]
        self.constant = self.name.startswith("new_") or self.name.endswith("_like")
        self.in_place = packet.endswith("_") and not packet.endswith("__")
        pointwise = torch.Tag.pointwise in func.tags or self.name in POINTWISE
        self.in_place_same = self.in_place and pointwise
        self.rule = rules.get(self.name) or (_pointwise if pointwise else _unknown)
        self.shape = SHAPES.get(self.name)

    def bind(self, args, kwargs) -> dict[str, Any]:
        """Arguments by name, defaults filled in."""
        named = dict(self.defaults)
        named.update(zip((name for name, _ in self.defaults), args))
        named.update(kwargs)
        return named


# ---------------------------------------------------------------- shapes of the hot operations


def _same_shape(a):
    return a["input" if "input" in a else "self"].shape


def _conv_shape(a):
    x, weight, groups = a["input"], a["weight"], a["groups"]
    padding = 0 if a["padding"] == "valid" else a["padding"]
    if x.dim() != weight.dim() or padding == "same":
        return None
    expected = weight.shape[1] * groups
    if x.shape[1] != expected:
        raise GeometryError(
            f"it has {x.shape[1]} channels where the weight expects {expected}; give an input "
            f"with {expected} channels, or build the model for {x.shape[1]}"
        )
    sizes = (
        output_size(n, k, _nth(a["stride"], i), _nth(padding, i), _nth(a["dilation"], i))
        for i, (n, k) in enumerate(zip(x.shape[2:], weight.shape[2:]))
    )
    return (x.shape[0], weight.shape[0], *sizes)


def _linear_shape(a):
    x, weight = a["input"], a["weight"]
    if x.shape[-1] != weight.shape[1]:
        raise GeometryError(
            f"it has {x.shape[-1]} features where the weight expects {weight.shape[1]}; the "
            f"model was built for another input size"
        )
    return (*x.shape[:-1], weight.shape[0])


def _pool_shape(a):
    x, kernel = a["self"], a["kernel_size"]
    stride = a.get("stride") or kernel
    if x.dim() != 4:
        return None
    sizes = (
        output_size(
            x.shape[2 + i],
            _nth(kernel, i),
            _nth(stride, i),
            _nth(a["padding"], i),
            _nth(a.get("dilation") or 1, i),
            a["ceil_mode"],
        )
        for i in range(2)
    )
    return (*x.shape[:2], *sizes)


def _cat_shape(a):
    tensors, dim = a["tensors"], a["dim"]
    first = tensors[0]
    dim %= first.dim()
    rest = first.shape[:dim], first.shape[dim + 1 :]
    if any((t.shape[:dim], t.shape[dim + 1 :]) != rest or t.dtype != first.dtype for t in tensors):
        return None  # PyTorch words this error, and promotes types
    return (*rest[0], sum(t.shape[dim] for t in tensors), *rest[1])


def _add_shape(a):
    x, y = a["self"], a["other"]
    same = isinstance(y, Tensor) and x.shape == y.shape and x.dtype == y.dtype
    return x.shape if same else None


SHAPES: dict[str, Callable[[dict[str, Any]], Sequence[int] | None]] = {
    "relu": _same_shape,
    "batch_norm": _same_shape,
    "dropout": _same_shape,
    # All three: on the meta device PyTorch 2.6 gives an empty map where a kernel does not fit.
    **dict.fromkeys(("conv1d", "conv2d", "conv3d"), _conv_shape),
    "linear": _linear_shape,
    "max_pool2d": _pool_shape,
    "avg_pool2d": _pool_shape,
    "cat": _cat_shape,
    "add": _add_shape,
}

# ------------------------------------------------------------------------------------- rules


def _pointwise(call: Call) -> None:
    """Each output value from the values at its own position; smaller inputs are broadcast."""
    call.other_ops = call.out.numel()
    if len(call.data) > 1:
        _meet(call, call.data)


def _meet(call: Call, tensors: Sequence[Tensor], join_dim: int | None = None) -> None:
    """Branches meet. A branch of size 1 along an axis brings context from all of it."""
    seen = [(_seen(x), call.out.dim() - x.dim(), x) for x in tensors]
    if any(s.sights is None for s, _, _ in seen):
        return call.lose("one of its inputs has an unknown receptive field")
    sights, at = [], []
    for axis in range(max((len(s.sights) for s, _, _ in seen), default=0)):
        full, small = [], []
        dims = set()
        for s, shift, x in seen:
            if axis >= len(s.sights):
                continue
            dim = s.at[axis]
            if dim is None or (x.shape[dim] == 1 and call.out.shape[dim + shift] > 1):
                small.append(s.sights[axis])
            else:
                full.append(s.sights[axis])
                dims.add(dim + shift)
        if len(dims) > 1 or dims == {join_dim}:
            return call.lose("its inputs are laid side by side along the image")
        call.context |= bool(full and small)
        sights.append(Sight.join(full or small))
        at.append(dims.pop() if dims else None)
    call.sights, call.at = tuple(sights), tuple(at)


def _cat(call: Call) -> None:
    _meet(call, call.data, join_dim=call.args["dim"] % call.out.dim())


def _conv(call: Call) -> None:
    a, weight = call.args, call.args["weight"]
    call.macs = call.out.numel() * (weight.numel() // weight.shape[0])
    call.other_ops = call.out.numel() if a["bias"] is not None else 0

    def slides(i: int) -> Slide:
        kernel, dilation = weight.shape[2 + i], _nth(a["dilation"], i)
        padding = a["padding"]
        if isinstance(padding, str):  # "same" puts the odd pixel on the right
            padding = dilation * (kernel - 1) // 2 if padding == "same" else 0
        return Slide(kernel, _nth(a["stride"], i), _nth(padding, i), dilation)

    _slide(call, weight.dim() - 2, slides)


def _conv_transpose(call: Call) -> None:
    a, x, weight = call.args, call.args["input"], call.args["weight"]
    call.macs = x.numel() * (weight.numel() // weight.shape[0])
    call.other_ops = call.out.numel() if a["bias"] is not None else 0
    offset = x.dim() - (weight.dim() - 2)

    def step(sight: Sight, dim: int):
        if dim < offset:
            return sight.whole(), None
        i = dim - offset
        taps = Spread(
            weight.shape[2 + i],
            _nth(a["stride"], i),
            _nth(a["padding"], i),
            _nth(a["dilation"], i),
        )
        return sight.spread(taps, call.out.shape[dim]), dim

    call.each(step)


def _pool(call: Call) -> None:
    a = call.args
    kernel, stride = a["kernel_size"], a.get("stride") or a["kernel_size"]
    axes = int(call.name.rstrip("d_with_indices")[-1])
    kernels = [_nth(kernel, i) for i in range(axes)]
    call.other_ops = call.out.numel() * prod(kernels)

    def slides(i: int) -> Slide:
        dilation = _nth(a.get("dilation") or 1, i)
        return Slide(kernels[i], _nth(stride, i), _nth(a["padding"], i), dilation)

    _slide(call, axes, slides)


def _slide(call: Call, axes: int, slides: Callable[[int], Slide]) -> None:
    """A kernel over the last `axes` dimensions; an image axis among the channels is used up."""
    offset = call.data[0].dim() - axes

    def step(sight: Sight, dim: int):
        if dim < offset:
            return sight.whole(), None
        return sight.slide(slides(dim - offset), call.out.shape[dim]), dim

    call.each(step)


def _resize(call: Call) -> None:
    """Adaptive pooling and upsampling."""
    mode = "adaptive" if call.name.startswith("adaptive") else "linear"
    mode = "nearest" if "nearest" in call.name else mode
    call.other_ops = max(call.out.numel(), call.data[0].numel())
    corners = bool(call.args.get("align_corners"))
    if "bicubic" in call.name or "exact" in call.name:
        return call.lose(f"no rule for the receptive field of {call.name}")

    def step(sight: Sight, dim: int):
        size, out = call.data[0].shape[dim], call.out.shape[dim]
        if size == out or (dim < 2 and call.data[0].dim() > 3):
            return sight, dim
        return sight.resize(Resize(size, out, mode, corners)), dim

    call.each(step)


def _linear(call: Call) -> None:
    """Works on the last dimension, at every position of the others."""
    call.macs = call.out.numel() * call.args["weight"].shape[1]
    call.other_ops = call.out.numel() if call.args.get("bias") is not None else 0
    last = call.data[0].dim() - 1
    call.each(lambda sight, dim: (sight.whole(), None) if dim == last else (sight, dim))


def _matmul(call: Call) -> None:
    left, right = (x for x in call.args.values() if isinstance(x, Tensor) and x.dim() > 0)
    call.macs = call.out.numel() * left.shape[-1]
    _mix(call)


def _addmm(call: Call) -> None:
    call.macs = call.out.numel() * call.args["mat1" if "mat1" in call.args else "batch1"].shape[-1]
    call.other_ops = call.out.numel()
    _mix(call)


def _einsum(call: Call) -> None:
    operands, terms = call.args["tensors"], call.args["equation"].split("->")[0].split(",")
    sizes = {}
    for term, operand in zip(terms, operands):
        sizes |= dict(zip(term.replace(" ", ""), operand.shape))
    call.macs = prod(sizes.values()) if len(operands) == 2 and "." not in terms[0] else None
    _mix(call)


def _attention(call: Call) -> None:
    query, key, value = (call.args[name] for name in ("query", "key", "value"))
    scores = query.numel() // query.shape[-1] * key.shape[-2]
    call.macs = scores * (query.shape[-1] + value.shape[-1])
    call.other_ops = scores
    _mix(call)


def _mix(call: Call) -> None:
    """Products of positions with positions: what each output sees depends on how they are laid."""
    held = any(dim is not None for x in call.data for dim in _seen(x).at)
    if held or any(_seen(x).sights is None for x in call.data):
        call.lose(f"{call.name} mixes positions: the receptive field is not followed through it")
    else:
        _meet(call, call.data)


def _reduce(call: Call) -> None:
    """sum, mean, max ... over some dimensions: axes among them are seen as a whole."""
    x, dims = call.data[0], call.args.get("dim")
    dims = range(x.dim()) if dims is None or dims == [] else dims
    gone = {d % x.dim() for d in ([dims] if isinstance(dims, int) else dims)}
    keep = bool(call.args.get("keepdim"))
    call.other_ops = x.numel()

    def step(sight: Sight, dim: int):
        if dim in gone:
            return sight.whole(), dim if keep else None
        return sight, dim if keep else dim - sum(d < dim for d in gone)

    call.each(step)


def _along(call: Call) -> None:
    """softmax, cumsum ... along one dimension: an image axis there brings context."""
    dim = call.args["dim"] % call.data[0].dim()
    call.other_ops = 3 * call.out.numel()
    call.context = dim in call.at


def _batch_norm_rule(call: Call) -> None:
    call.other_ops = 2 * call.out.numel()


def _spatial_norm(call: Call) -> None:
    """Group, instance and layer normalization: statistics over space bring context."""
    call.other_ops = 2 * call.out.numel()
    first = 1
    if call.name == "layer_norm":
        first = call.out.dim() - len(call.args["normalized_shape"])
    call.context = any(dim is not None and dim >= first for dim in call.at)


def _view(call: Call) -> None:
    """Same values in order, other dimensions: an axis lives on where it is still a dimension."""
    before, after = call.data[0].shape, call.out.shape

    def step(sight: Sight, dim: int):
        inner = prod(before[dim + 1 :])
        for new in range(len(after)):
            if after[new] == before[dim] and prod(after[new + 1 :]) == inner:
                return sight, new
        return sight.whole(), None

    held = sum(dim is not None for dim in call.at)
    call.each(step)
    kept = sum(dim is not None for dim in call.at)
    channels = before[1] if len(before) > 1 else 1
    flat = len(after) <= 2 or prod(after[2:]) == 1 or channels == 1
    if kept < held and not flat and prod(before[2:]) > 1:
        call.lose(f"{call.name} mixes the image's axes: positions are not followed any further")


def _permute(call: Call) -> None:
    x, a = call.data[0], call.args
    if "dims" in a:
        order = [d % x.dim() for d in a["dims"]]
    else:
        order = list(range(x.dim()))
        i, j = ((a["dim0"], a["dim1"]) if "dim0" in a else (a["axis0"], a["axis1"]))
        if call.name == "t":
            i, j = 0, 1
        order[i], order[j] = order[j], order[i]
    call.each(lambda sight, dim: (sight, order.index(dim)))


def _expand(call: Call) -> None:
    shift = call.out.dim() - call.data[0].dim()

    def step(sight: Sight, dim: int):
        grown = call.data[0].shape[dim] != call.out.shape[dim + shift]
        return (sight.whole(), None) if grown else (sight, dim + shift)

    call.each(step)


def _split(call: Call) -> None:
    """chunk, split, unbind: parts of the channels keep their positions."""
    dim = call.args["dim"] % call.data[0].dim()
    if dim in call.at:
        return call.lose(f"{call.name} cuts the image into parts")
    gone = call.name in ("unbind", "select")
    call.each(lambda sight, d: (sight, d - (gone and d > dim)))


def _slice(call: Call) -> None:
    x, a = call.data[0], call.args
    cut = a["dim"] % x.dim()
    start = slice(a["start"], a["end"]).indices(x.shape[cut])[0]

    def step(sight: Sight, dim: int):
        if dim != cut:
            return sight, dim
        return sight.slide(Slide(1, a["step"], -start), call.out.shape[dim]), dim

    call.each(step)


def _pad(call: Call) -> None:
    """Zeros, or the image's own pixels: reflected, repeated, or from the other side."""
    pads, x = call.args["pad" if "pad" in call.args else "padding"], call.data[0]
    mode = call.args.get("mode") or call.name
    kinds = ("circular", "reflect", "replic")
    kind = next((kind for kind in kinds if kind in mode), "constant")

    def step(sight: Sight, dim: int):
        j = 2 * (x.dim() - 1 - dim)
        if j >= len(pads) or not (pads[j] or pads[j + 1]):
            return sight, dim
        here = Slide(padding=pads[j])
        taps = here if kind == "constant" else Remap(pads[j], x.shape[dim], kind)
        return sight.slide(here, call.out.shape[dim], reads=taps), dim

    call.each(step)


def _select_any(call: Call) -> None:
    """Picking by index: positions may move."""
    if any(dim is not None for dim in call.at):
        call.lose(f"{call.name} moves positions")


def _embedding(call: Call) -> None:
    """A look-up: no arithmetic."""


def _unknown(call: Call) -> None:
    call.macs = None
    call.lose(f"no rule for {call.name}: its MACs and receptive field are unknown; "
              f"add one with trace(..., rules={{{call.name!r}: rule}})")


# Pointwise operations that PyTorch does not tag as such.
POINTWISE = frozenset(
    "dropout feature_dropout alpha_dropout relu6 hardtanh hardswish hardsigmoid selu silu mish "
    "contiguous clone detach alias to _to_copy type_as prelu leaky_relu rrelu celu copy lift_fresh "
    "bernoulli zero fill masked_fill where clamp pow square float half native_dropout softplus "
    "requires_grad to_dense log_sigmoid".split()
)

RULES: dict[str, Rule] = {
    **dict.fromkeys(("conv1d", "conv2d", "conv3d", "convolution"), _conv),
    **dict.fromkeys(
        ("conv_transpose1d", "conv_transpose2d", "conv_transpose3d"), _conv_transpose
    ),
    **dict.fromkeys(
        [f"{kind}_pool{n}d" for kind in ("max", "avg") for n in (1, 2, 3)]
        + [f"max_pool{n}d_with_indices" for n in (2, 3)],
        _pool,
    ),
    **dict.fromkeys(
        [f"adaptive_{kind}_pool{n}d" for kind in ("max", "avg") for n in (1, 2, 3)]
        + ["upsample_nearest1d", "upsample_nearest2d", "upsample_nearest3d", "upsample_linear1d"]
        + ["upsample_bilinear2d", "upsample_trilinear3d", "upsample_bicubic2d"],
        _resize,
    ),
    "linear": _linear,
    "embedding": _embedding,
    **dict.fromkeys(("matmul", "mm", "bmm", "dot", "mv"), _matmul),
    **dict.fromkeys(("addmm", "baddbmm"), _addmm),
    "einsum": _einsum,
    "scaled_dot_product_attention": _attention,
    "batch_norm": _batch_norm_rule,
    **dict.fromkeys(("layer_norm", "group_norm", "instance_norm", "rms_norm"), _spatial_norm),
    **dict.fromkeys(
        "sum mean amax amin max min var std var_mean argmax argmin logsumexp prod norm "
        "linalg_vector_norm frobenius_norm any all".split(),
        _reduce,
    ),
    **dict.fromkeys(("softmax", "log_softmax", "cumsum", "glu", "sort", "topk"), _along),
    **dict.fromkeys(
        "view reshape flatten unflatten squeeze unsqueeze _unsafe_view view_as ravel".split(), _view
    ),
    **dict.fromkeys(("permute", "transpose", "swapaxes", "t", "numpy_T", "movedim"), _permute),
    **dict.fromkeys(("expand", "expand_as", "broadcast_to"), _expand),
    **dict.fromkeys(("chunk", "split", "split_with_sizes", "unbind", "select"), _split),
    **dict.fromkeys(("slice", "narrow"), _slice),
    **dict.fromkeys(
        "pad constant_pad_nd _pad_circular reflection_pad2d replication_pad2d".split(), _pad
    ),
    **dict.fromkeys(("cat", "concat", "concatenate"), _cat),
    **dict.fromkeys(("index", "index_select", "gather", "roll", "flip", "take"), _select_any),
}

# ------------------------------------------------------------------------------------ helpers


@contextmanager
def _module_stack(paths: Mapping[int, str], stack: list[tuple[str, str]]) -> Iterator[None]:
    """While inside, `stack` holds (path, class name) of the modules whose forward is running."""

    def enter(module, inputs):
        name = type(module).__name__
        stack.append((paths.get(id(module), f"({name} made in forward)"), name))

    def leave(module, inputs, output):
        stack.pop()

    # Global hooks: the caller's modules carry none, not even for a moment.
    handles = [
        hooks.register_module_forward_pre_hook(enter),
        hooks.register_module_forward_hook(leave),
    ]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


def _refuse_lazy(model: nn.Module) -> None:
    for name, tensor in (*model.named_parameters(), *model.named_buffers()):
        if isinstance(tensor, nn.parameter.UninitializedTensorMixin):
            raise TraceError(
                f"{name} has no shape yet, because its module is lazy: run the model once on a "
                f"batch, then trace it"
            )


def _to_meta(one: Any) -> Any:
    """A shape becomes a batch of one on the meta device; so does an example tensor."""
    if isinstance(one, Tensor):
        return torch.empty_like(one[:1], device="meta")
    if isinstance(one, Sequence) and one and all(isinstance(size, int) for size in one):
        if min(one) < 1:
            raise TraceError(f"an input shape has positive sizes, got {tuple(one)}")
        return torch.empty((1, *one), device="meta")
    if isinstance(one, Sequence) and one and not isinstance(one, str):
        return type(one)(_to_meta(part) for part in one)
    raise TraceError(
        f"an input is a shape such as (3, 224, 224), an example tensor or a list of those; "
        f"got {one!r}"
    )


def _twin(x: Any) -> Any:
    return torch.empty_like(x, device="meta") if x.dim() and x.device.type != "meta" else x


def _map(tree: Any, change: Callable[[Tensor], Tensor]) -> Any:
    if isinstance(tree, Tensor):
        return change(tree)
    if isinstance(tree, dict):
        return {key: _map(value, change) for key, value in tree.items()}
    if type(tree) in (list, tuple):
        return type(tree)(_map(value, change) for value in tree)
    return tree


def _tensors(tree: Any) -> list[Tensor]:
    found: list[Tensor] = []
    _map(tree, lambda x: found.append(x) or x)
    return found


def _nth(value: Any, i: int) -> int:
    """PyTorch passes (3, 3), [3] or 3 for the same thing."""
    return value if isinstance(value, int) else value[i if len(value) > 1 else 0]


def _first_line(error: Exception) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0]
