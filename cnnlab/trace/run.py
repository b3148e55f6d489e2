"""Record one forward pass of any module, layer by layer, without computing it.

The hot operations are recorded where Python calls them, by rules, and PyTorch does not run them;
any other runs on PyTorch's `meta` device, on twins that have shapes but no memory, while a
dispatch mode watches what it is made of. So the caller's model is neither run, moved nor changed,
branches and functional calls are seen like modules are, and VGG-16 takes milliseconds and no
memory. What autograd keeps for the backward pass is counted by rules as well, and by a second
pass, with autograd, wherever a rule is missing or could be wrong.

A rule per family of operations says what it costs and what its outputs see. Where there is no
rule, the row says so; nothing is guessed. `trace(..., rules={"my_op": rule})` adds one.
"""

from __future__ import annotations

import threading
import traceback
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import lru_cache, partial
from math import prod
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode

from cnnlab.arithmetic import GeometryError, output_size
from cnnlab.trace.sight import Remap, Resize, Sight, Slide, Spread
from cnnlab.trace.table import Layer, LayerTable, Memory

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
    if not isinstance(model, nn.Module):
        made = f"{model.__name__}(...)" if isinstance(model, type) else "build('resnet50')"
        raise TraceError(f"trace got {model!r:.80}, expected a module, such as {made}")
    if not inputs:
        raise TraceError("trace got no input: give it a shape such as (3, 224, 224)")
    watched = _Watched(model, inputs, training)
    table_rules = {**RULES, **rules} if rules else RULES
    note = ""
    try:
        recorder = watched.record_fast(table_rules) or watched.record(table_rules, on_meta=True)
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
    recorder.memory.measure = lambda: (
        watched.kept(recorder) if recorder.kept is None else recorder.kept
    )
    return LayerTable(
        rows=recorder.rows,
        inputs=watched.shapes,
        image=recorder.image,
        model=model,
        unused=recorder.unused,
        note=note,
    )


_ONE_AT_A_TIME = threading.RLock()
_MODULES_OWN = frozenset(nn.Module().__dict__)  # attributes that every module has


class _Watched:
    """The caller's model, with the inputs and the way to run it unharmed."""

    def __init__(self, model: nn.Module, inputs: Sequence[Any], training: bool):
        self.model, self.training = model, training
        modules = dict(model.named_modules())
        self.modules = list(modules.values())
        self.places = {id(m): (path, type(m).__name__) for path, m in modules.items()}
        kinds = {type(module) for module in self.modules}
        pytorchs = {kind for kind in kinds if kind.__module__.startswith("torch.nn.modules.")}
        self.unusual = [module for module in self.modules if type(module) not in pytorchs]
        for module in self.unusual:
            path, kind = self.places[id(module)]
            if isinstance(module, torch.jit.ScriptModule):
                raise TraceError(
                    f"{path or 'the model'} is TorchScript, which hides its operations: trace the "
                    f"module that it was made from"
                )
            if type(module).__module__.startswith(("torch.ao.nn.", "torch.nn.quantized")):
                raise TraceError(
                    f"{path or 'the model'} is quantized ({kind}): trace the float model that it "
                    f"was made from"
                )
        self.params = _state_of(modules, "_parameters")
        self.buffers = _state_of(modules, "_buffers")
        floats = [p.dtype for p in self.params.values() if p.is_floating_point()]
        dtype = floats[0] if floats else torch.get_default_dtype()
        self.inputs = tuple(_to_meta(one, dtype) for one in inputs)
        self.shapes = tuple(tuple(one.shape[1:]) for one in _tensors(self.inputs))

    def record_fast(self, rules: Mapping[str, Rule]) -> _Recorder | None:
        """One forward pass in which PyTorch runs next to nothing: see `_Shortcuts`.

        None if it fails, or if something escaped it (TorchScript): `record` sees everything.
        """
        inputs = _map(self.inputs, torch.Tensor.detach)
        recorder = _Recorder(self.params, rules, True, inputs)
        shortcuts = _Shortcuts(recorder, self.buffers)
        leaves = [m for m in self.modules if not m._modules]
        regular = all(m._modules for m in self.unusual)
        dense = all(p.is_contiguous() for p in self.params.values())
        if dense and (regular or self.training) and torch.__version__.startswith(KEEPS_PROVED):
            recorder.kept = {}
            recorder.trained = {self.places[id(m)][0] for m in leaves}
        try:
            with self._unharmed(leaves_train=False), torch.enable_grad():
                with _module_stack(self.places, recorder.stack), recorder, shortcuts:
                    self.model(*inputs)
        except TraceError:
            raise
        except Exception:
            return None
        recorder.plans.clear()  # the table outlives them, and they hold tensors
        return recorder

    def record(self, rules: Mapping[str, Rule], on_meta: bool) -> _Recorder:
        """One forward pass, on meta twins or for real, with every operation written down."""
        params, buffers, inputs = self._swapped(on_meta)
        recorder = _Recorder(params, rules, on_meta, inputs)
        with self._unharmed(leaves_train=False), torch.inference_mode():
            with _module_stack(self.places, recorder.stack), recorder.calls, recorder:
                torch.func.functional_call(self.model, {**params, **buffers}, inputs)
        return recorder

    def kept(self, recorder: _Recorder) -> dict[int, dict[str, int]]:
        """Bytes that autograd keeps for the backward pass: row -> dtype -> bytes, per image.

        Where rules do not tell: a second pass on meta tensors, this time with autograd, in which
        normalization and dropout are in training mode. A buffer that two operations keep is
        counted once, at the first; parameters are not counted.
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
                dtype, here = str(tensor.dtype).removeprefix("torch."), kept.setdefault(row, {})
                here[dtype] = here.get(dtype, 0) + storage.nbytes()
            return tensor

        saving = torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor)
        with self._unharmed(leaves_train=True), torch.enable_grad(), saving, _flash_attention():
            with _module_stack(self.places, stack), _Calls(stack) as calls, _QuickNorm():
                torch.func.functional_call(self.model, state, inputs)
        return kept

    def _swapped(self, on_meta: bool) -> tuple[dict[str, Tensor], dict[str, Tensor], Any]:
        """Parameters, buffers and inputs to run with.

        On meta: twins with shapes but without memory. For real: copies, which may be written to.
        """
        params, buffers = self.params, self.buffers
        if not on_meta:
            device = next((p.device for p in params.values()), torch.device("cpu"))
            params = {
                name: p.detach().clone().requires_grad_(p.requires_grad)
                for name, p in params.items()
            }
            buffers = {name: buffer.clone() for name, buffer in buffers.items()}
            return params, buffers, _map(self.inputs, lambda x: torch.zeros_like(x, device=device))
        twins = {
            name: torch.empty_like(p, device="meta").requires_grad_(p.requires_grad)
            for name, p in params.items()
        }
        buffers = {name: torch.empty_like(b, device="meta") for name, b in buffers.items()}
        return twins, buffers, self.inputs

    @contextmanager
    def _unharmed(self, leaves_train: bool) -> Iterator[None]:
        """Modes as asked for; all attributes and the random state are put back afterwards.

        One thread at a time: what a trace patches belongs to the whole process.
        """
        with _ONE_AT_A_TIME:
            saved, contents, random_state = [], [], torch.get_rng_state()
            for module in self.modules:
                parts = module._parameters, module._buffers, module._modules, module.__dict__
                saved += [(part, part.copy()) for part in parts]
            for module in self.unusual:
                for name in module.__dict__.keys() - _MODULES_OWN:
                    value = module.__dict__[name]
                    if isinstance(value, (list, dict, set, deque)):
                        contents.append((value, value.copy()))
                    elif isinstance(value, Tensor):  # forward may write to it
                        module.__dict__[name] = value.detach().clone()
            try:
                for module in self.modules:
                    wanted = self.training or (leaves_train and not module._modules)
                    if module.training != wanted:  # PyTorch is slow to set a module's attribute
                        module.training = wanted
                yield
            finally:
                for part, before in saved:
                    part.update(before)
                    if len(part) > len(before):  # what forward stored: running sums, features
                        for name in part.keys() - before.keys():
                            del part[name]
                for value, before in contents:
                    value.clear()
                    (value.extend if isinstance(value, (list, deque)) else value.update)(before)
                torch.set_rng_state(random_state)

    def explain(self, error: Exception) -> TraceError:
        """Name the module in whose forward the error was raised, and the line."""
        where = ""
        for frame, line in traceback.walk_tb(error.__traceback__):
            module = frame.f_locals.get("self")
            if frame.f_code.co_name == "forward" and id(module) in self.places:
                path = self.places[id(module)][0] or "the model itself"
                where = f"{path} ({type(module).__name__}), line {line} of its forward"
        shapes = ", ".join(map(str, self.shapes))
        advice = "Run the model on such an input yourself, and fix that first"
        if self.shapes and len(self.shapes[0]) == 4 and self.shapes[0][0] == 1:
            advice = f"A shape is given without the batch: {self.shapes[0][1:]}"
        return TraceError(
            f"{where or 'the model'} fails on input {shapes}: {_first_line(error)} "
            f"[{type(error).__name__}]. {advice}"
        )


class _Calls(TorchFunctionMode):
    """Numbers the calls that each module's code makes, so that two passes can be matched."""

    def __init__(self, stack: list[tuple[str, str]]):
        super().__init__()
        self.stack, self.counts, self.now = stack, {}, ("", 0)

    def count(self):
        path = self.stack[-1][0] if self.stack else ""
        self.counts[path] = number = self.counts.get(path, 0) + 1
        self.now = (path, number)

    def __torch_function__(self, func, types, args=(), kwargs=None):
        self.count()
        if func is F.batch_norm:  # its own check refuses a single image
            func = _batch_norm
        return func(*args, **(kwargs or {}))


class _Shortcuts(_Calls):
    """The hot operations, recorded where Python calls them: PyTorch does not run them at all.

    Everything else runs on meta twins, below this mode, where the recorder sees what it is made
    of. What the recorder sees and did not come through here (TorchScript) ends the pass.
    """

    def __init__(self, recorder: _Recorder, buffers: Mapping[str, Tensor]):
        super().__init__(recorder.stack)
        self.recorder, recorder.calls = recorder, self
        self.own = recorder.own = {*recorder.params, *map(id, buffers.values())}
        self.twins: dict[int, Tensor] = {}
        recorder.escaped = True  # unless it comes through here

    def twin(self, tensor: Tensor) -> Tensor:
        """What runs in place of a parameter or buffer of the model."""
        key = id(tensor)
        if key not in self.own:
            return tensor
        if key not in self.twins:
            twin = torch.empty_like(tensor, device=META).requires_grad_(tensor.requires_grad)
            self.twins[key] = self.twins[id(twin)] = twin
            self.own.add(id(twin))
            if key in self.recorder.params:
                self.recorder.params[id(twin)] = self.recorder.params[key]
        return self.twins[key]

    def __torch_function__(self, func, types, args=(), kwargs=None):
        self.count()
        kwargs = kwargs or {}
        if func in HARMLESS:
            return func(*args, **kwargs)
        recorder = self.recorder
        if recorder.kept is not None and (  # the hooks' function is not in every PyTorch
            not torch.is_grad_enabled() or torch._C._autograd._top_saved_tensors_default_hooks(True)
        ):
            recorder.kept = None  # no_grad, checkpointing or a custom function: autograd will tell
        recorder.escaped = False
        try:
            if func in SHORTCUTS:
                with torch._C._DisableTorchDispatch():
                    out = recorder.shortcut(func, args, kwargs)
                if out is not None:
                    return out
            if func in AUTOGRAD:
                recorder.kept = None
            with torch._C._DisableTorchDispatch():
                args, kwargs = _map((args, kwargs), self.twin)
            if func is F.batch_norm:
                func = _batch_norm
            with torch.inference_mode():
                return func(*args, **kwargs)
        finally:
            recorder.escaped = True


class _QuickNorm(TorchDispatchMode):
    """Shapes of batch norm below autograd: PyTorch's own rule takes most of a pass's time."""

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        kwargs = kwargs or {}
        if not any(x.is_meta for x in _tensors((args, kwargs))):
            return func(*args, **kwargs)
        if func is torch.ops.aten.native_batch_norm.default:
            x = args[0]
            channels = x.shape[1] if args[5] else 0  # in training only
            return torch.empty_like(x), x.new_empty(channels), x.new_empty(channels)
        args, kwargs = _map((args, kwargs), _twin)  # a constant made in forward
        return func(*args, **kwargs)


@contextmanager
def _flash_attention() -> Iterator[None]:
    """Attention as PyTorch runs it on a CPU: on meta tensors it would keep the whole matrix."""
    plain = F.scaled_dot_product_attention

    def attention(query, key, value, attn_mask=None, dropout_p=0.0, is_causal=False, **others):
        usual = query.is_meta and query.dim() == 4 and attn_mask is None and not dropout_p
        usual = usual and all(x.stride(-1) == 1 for x in (query, key, value))
        if not usual or others.get("enable_gqa"):
            return plain(query, key, value, attn_mask, dropout_p, is_causal, **others)
        flash = torch.ops.aten._scaled_dot_product_flash_attention_for_cpu
        return flash(query, key, value, 0.0, is_causal, scale=others.get("scale"))[0]

    F.scaled_dot_product_attention = attention
    try:
        yield
    finally:
        F.scaled_dot_product_attention = plain


def _batch_norm(x, mean, var, weight=None, bias=None, training=False, momentum=0.1, eps=1e-5):
    return torch.batch_norm(x, weight, bias, mean, var, training, momentum, eps, False)


class _Seen:
    """What is known of a tensor: attached to it while the trace runs."""

    __slots__ = ("sights", "at", "row", "storage", "grad", "memory", "kind", "base")

    def __init__(self, sights, at, row, storage, kind=None):
        self.sights: tuple[Sight, ...] | None = sights  # one per image axis; None if unknown
        self.at: tuple[int | None, ...] = at  # the dimension that holds each image axis
        self.row: int = row  # where it was made; -1 for the input
        self.storage: int = storage  # a number shared by tensors that share memory
        self.grad = False  # made of a parameter that is trained
        self.memory: int = storage  # the storage it has while bytes for backward are counted
        self.kind = kind  # equal for tensors that plans need not tell apart; None: no plan
        self.base: _Seen | None = None  # the tensor that it is a view of


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
        self.seen = [_seen(x) for x in data]
        self.sights, self.at = self.seen[0].sights, self.seen[0].at
        self.see: Callable[[list[_Seen]], tuple[Sight, ...] | None] = _as_the_first
        self.macs: int | None = 0
        self.other_ops = 0
        self.context = False
        self.note = ""

    def follow(self, see: Callable[[list[_Seen]], tuple[Sight, ...]], at: Sequence) -> None:
        """The output sees `see(what is known of data)`, and holds the image's axes at `at`."""
        self.see, self.sights, self.at = see, see(self.seen), tuple(at)

    def each(self, step: Callable[[Sight, int], tuple[Sight, int | None]]) -> None:
        """Replace (sight, dimension) of every image axis that the first input still holds."""
        if not self.sights:
            return

        def moved(seen: _Seen) -> tuple:
            pairs = zip(seen.sights, seen.at)
            return zip(*[(s, None) if dim is None else step(s, dim) for s, dim in pairs])

        self.sights, self.at = moved(self)
        self.see = lambda seen: next(moved(seen[0]))

    def lose(self, why: str) -> None:
        """The receptive field is not followed any further."""
        self.sights, self.at, self.note = None, (), why
        self.see = lambda seen: None


def _as_the_first(seen: list[_Seen]) -> tuple[Sight, ...] | None:
    return seen[0].sights


class _Plan:
    """What an operation writes whenever its arguments are alike: all but where they come from."""

    def __init__(self, operation: _Operation, call: Call, known: list[Tensor], fresh: bool):
        out, before = call.out, call.seen[0].at
        self.operation, self.see = operation, call.see
        self.shape, self.dtype = tuple(out.shape), out.dtype
        self.nbytes = out.untyped_storage().nbytes()
        self.data = [i for i, x in enumerate(known) if x._seen.sights != ()] or [*range(len(known))]
        self.collapsed = call.at is not before and _held(call.at) < _held(before)  # a flatten
        self.fields = {
            "op": operation.name,
            "in_shapes": tuple([tuple(x.shape)[1:] for x in call.data]),
            "out_shape": self.shape[1:],
            "macs": call.macs,
            "other_ops": call.other_ops,
            "activations": out.numel() if fresh else 0,
            "itemsize": out.element_size(),
            "at": call.at,
            "context": call.context,
            "note": call.note,
        }
        self.grad = False  # made of a parameter that is trained
        self.kept: list | object | None = None  # what autograd keeps of it: see `_Recorder._keeps`
        self.kind: int | None = None  # of the output


class _Recorder(TorchDispatchMode):
    """Sees every operation, asks its rule, writes a row."""

    def __init__(self, params, rules, on_meta, inputs):
        super().__init__()
        self.params = {id(tensor): name for name, tensor in params.items()}
        self.unused = {name: tensor.numel() for name, tensor in params.items()}  # as yet
        self.rules, self.on_meta = rules, on_meta
        self.rows: list[Layer] = []
        self.memory = Memory(self.rows)
        self.row_calls: list[tuple[str, int]] = []
        self.stack: list[tuple[str, str]] = []
        self.calls = _Calls(self.stack)
        self.storages: list[int] = []  # bytes of each
        self.kept: dict[int, dict[str, int]] | None = None  # None: only a pass with autograd knows
        self.kept_storages: set[int] = set()
        self.viewed: set[int] = set()  # storages that have views
        self.written: dict[int, Any] = {}  # storages of constants that the input was written to
        self.plans: dict[tuple, _Plan] = {}
        self.kinds: dict[tuple, int] = {}
        self.escaped = False
        self.own: set[int] = set()  # parameters, buffers and their twins
        self.trained: set[str] = set()  # modules that train while bytes are counted
        self.operations: dict[int, _Operation] = {}
        for tensor in _tensors(inputs):
            axes = {size: Sight.of_image(size) for size in tensor.shape[2:]}
            sights = tuple(axes[size] for size in tensor.shape[2:])
            storage = self._new_storage(tensor.untyped_storage().nbytes())
            at = tuple(range(2, tensor.dim()))
            kind = self._kind(tensor.shape, tensor.dtype)
            tensor._seen = _Seen(sights, at, -1, storage, kind)
        self.image = next((x.shape[2:] for x in _tensors(inputs) if x.dim() > 2), ())

    def _trains(self) -> bool:
        return bool(self.stack) and self.stack[-1][0] in self.trained

    def _kind(self, *alike: Any) -> int:
        return self.kinds.setdefault(alike, len(self.kinds) + 1)

    def _new_storage(self, nbytes: int) -> int:
        self.storages.append(nbytes)
        return len(self.storages) - 1

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
        if self.escaped:
            raise RuntimeError(f"{func} runs where Python did not call it")
        operation = self._operation(func)
        tensors = [x for x in args if isinstance(x, Tensor)]
        for x in args:
            if isinstance(x, (list, tuple)):
                tensors += [y for y in x if isinstance(y, Tensor)]
        if kwargs:
            tensors += [x for x in kwargs.values() if isinstance(x, Tensor)]
        for x in tensors if self.written else ():
            if not hasattr(x, "_seen") and x.untyped_storage()._cdata in self.written:
                x._seen = _Seen(None, (), len(self.rows) - 1, self._new_storage(0))
        known = [x for x in tensors if hasattr(x, "_seen")]
        used = [self.params[id(x)] for x in tensors if id(x) in self.params]
        if operation.constant or not (known or used):
            return func(*args, **(kwargs or {}))
        out = self._run(operation, func, args, kwargs or {})
        first = out[0] if isinstance(out, (list, tuple)) else out
        if isinstance(first, Tensor):
            named = operation.bind(args, kwargs or {})
            address, shares = first.untyped_storage()._cdata, None
            for x in known:
                if x is first or x.untyped_storage()._cdata == address:
                    shares = x._seen
            plan, sights = self._plan(operation, named, tensors, known, first, shares is None)
            if first is not out:  # of several outputs each has a shape of its own
                plan.kind = None
            if known and shares is None and operation.in_place:
                storage = first.untyped_storage()  # kept: its address must not be used twice
                self.written[storage._cdata] = storage
                plan.fields["note"] = (
                    "written into a tensor that was not made of the input: positions are not "
                    "followed through it"
                )
            self._write(plan, sights, known, used, shares, out)
        return out

    def _operation(self, func) -> _Operation:
        operation = self.operations.get(id(func))  # by id: hashing an overload is slow
        if operation is None:
            operation = self.operations[id(func)] = _Operation(func, self.rules)
        return operation

    def shortcut(self, func, args, kwargs) -> Tensor | None:
        """Record an operation by its rules alone; None where they do not cover the case."""
        known, used = [], []
        key = [func, self._trains()]
        listed = args and isinstance(args[0], (list, tuple))
        for x in (*args[0], *args[1:]) if listed else args:
            if not isinstance(x, Tensor):
                key.append(x)
            elif hasattr(x, "_seen"):
                known.append(x)
                key.append(x._seen.kind or object())  # of no kind: like no other
            elif not self._use(x, used, key):
                return None
        for name, x in kwargs.items():
            if not isinstance(x, Tensor):
                key += name, x
            elif hasattr(x, "_seen") or not self._use(x, used, key):
                return None
        try:
            plan = self.plans.get(key := tuple(key))
        except TypeError:  # a list among the arguments
            plan, key = None, None
        if plan is None:
            plan, sights, out = self._plan_ahead(func, args, kwargs, known)
            if plan is None:
                return None
            if plan.operation.ours and key:
                self.plans[key] = plan
        else:
            sights = plan.see([known[i]._seen for i in plan.data])
            out = known[0] if plan.operation.in_place else _empty(plan.shape, plan.dtype)
        shares = out._seen if plan.operation.in_place else None
        self._write(plan, sights, known, used, shares, out)
        return out

    def _use(self, tensor: Tensor, used: list[str], key: list) -> bool:
        """Whether it is a parameter or buffer of the model, or the twin of one."""
        name = self.params.get(id(tensor))
        if name is not None:
            used.append(name)
        elif id(tensor) not in self.own:
            return False
        key += tensor.shape, tensor.requires_grad
        return True

    def _plan_ahead(self, func, args, kwargs, known):
        """The plan of a hot operation, what its output sees, and the output; None, None, None
        where rules do not tell."""
        overload, names = SHORTCUTS[func]
        operation = self._operation(overload)
        if kwargs:
            kwargs = {PYTHONS_NAMES.get(key, key) if names else key: kwargs[key] for key in kwargs}
            if not all([key in names or key in operation.defaults for key in kwargs]):
                return None, None, None
        named = operation.bind(args, kwargs, names)
        if named.get("inplace"):
            operation = self._operation(IN_PLACE[operation.name])
        tensors = [x for x in named.values() if isinstance(x, Tensor)] or list(named["tensors"])
        contiguous = all([x.is_contiguous() for x in known])
        if not contiguous or operation.shape is None or not hasattr(tensors[0], "_seen"):
            return None, None, None
        try:
            shape = operation.shape(named)
        except GeometryError as error:
            raise self._refuse(operation, tensors, error) from None
        if shape is None:
            return None, None, None
        out = tensors[0] if operation.in_place else _empty(shape, tensors[0].dtype)
        fresh = not operation.in_place
        return *self._plan(operation, named, tensors, known, out, fresh), out

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
                return _empty(shape, like.dtype)
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

    def _plan(self, operation, named, tensors, known, out, fresh) -> tuple[_Plan, Any]:
        """What the operation's rule says of this call, and what its output sees."""
        data = [x for x in known if x._seen.sights != ()] or known or tensors
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
        plan = _Plan(operation, call, known, fresh)
        if self.kept is not None and any(map(_needs_grad, tensors)):
            plan.grad, plan.kept = True, self._keeps(operation, named, known, out)
        if out.is_contiguous():
            plan.kind = self._kind(plan.shape, plan.dtype, call.at, call.sights is None, plan.grad)
        return plan, call.sights

    def _write(self, plan, sights, known, used, shares, out) -> None:
        """A row, if the operation made anything; `shares` is the input whose memory `out` has."""
        operation, fields = plan.operation, plan.fields
        params = sum([self.unused.pop(name, 0) for name in used]) if used else 0
        storage = self._new_storage(plan.nbytes) if shares is None else shares.storage
        note = fields["note"]
        if operation.in_place and shares is not None:
            note = self._into_bases(shares.base, sights, fields["at"]) or note
        if shares is None or operation.in_place or params or plan.collapsed or note:
            row = len(self.rows)
            path, module = self.stack[-1] if self.stack else ("", "")
            self.row_calls.append(self.calls.now)
            self.rows.append(
                Layer.made(
                    fields
                    | {
                        "index": row,
                        "path": path,
                        "module": module,
                        "inputs": tuple(dict.fromkeys([x._seen.row for x in known])),
                        "params": params,
                        "storage": storage,
                        "reads": tuple(dict.fromkeys([x._seen.storage for x in known])),
                        "sights": sights,
                        "memory": self.memory,
                        "covers": (row,),
                        "note": note,
                    }
                )
            )
        else:
            row = known[plan.data[0]]._seen.row if plan.data else -1
        seen = _Seen(sights, fields["at"], row, storage, plan.kind)
        if shares is not None:
            seen.memory = shares.memory
            seen.base = shares.base if operation.in_place else shares
            if not operation.in_place:
                self.viewed.add(seen.memory)
        if plan.grad and self.kept is not None:
            seen.grad = True
            self._keep(plan, known, seen)
        for tensor in out if isinstance(out, (list, tuple)) else (out,):
            if isinstance(tensor, Tensor):
                tensor._seen = seen

    def _into_bases(self, base: _Seen | None, sights, at) -> str:
        """What was written into a view is in the tensors that it is a view of: they see it, too."""
        lost = ""
        while base is not None:
            sizes = [sight.units for sight in base.sights or ()]
            if sights and at == base.at and sizes == [sight.units for sight in sights]:
                base.sights = tuple(map(Sight.join, zip(base.sights, sights)))
            elif base.sights:
                base.sights, base.at = None, ()
                lost = "written into a part of the image: positions are not followed any further"
            base.row, base.kind, base = len(self.rows), None, base.base
        return lost

    def _keeps(self, operation, named, known, out) -> list | object | None:
        """What autograd keeps for the backward pass: (place in known, or -1 for the output), or
        (dtype, bytes) of something new; None where no proved rule tells."""
        rule = (KEEPS_IN_PLACE if operation.in_place else KEEPS).get(operation.name)
        if rule is None or not known:
            return None
        if rule is not _nothing and not all([x.is_contiguous() for x in known]):
            return None
        kept, places = rule(named, out, self._trains()), []
        if kept is None or kept is _ALIAS:
            return kept
        for one in kept:
            if isinstance(one, tuple):
                places.append((None, *one))
            elif one is out:
                places.append((-1, one.dtype, 0))
            elif hasattr(one, "_seen"):
                places.append(([x is one for x in known].index(True), one.dtype, 0))
            elif id(one) not in self.own:
                return None  # a constant: whose memory, is not known here
        return [(place, str(dtype).removeprefix("torch."), n) for place, dtype, n in places]

    def _keep(self, plan: _Plan, known: list[Tensor], seen: _Seen) -> None:
        """Count what the plan says is kept, a tensor that two operations keep only once."""
        if plan.kept is None or (plan.operation.in_place and seen.memory in self.viewed):
            self.kept = None  # what has views changes as well: autograd will tell
        elif plan.kept is _ALIAS:
            seen.memory = known[0]._seen.memory
            self.viewed.add(seen.memory)
        else:
            for place, dtype, count in plan.kept:
                if place is not None:
                    memory = (seen if place < 0 else known[place]._seen).memory
                    if memory in self.kept_storages:
                        continue
                    self.kept_storages.add(memory)
                    count = self.storages[memory]
                here = self.kept.setdefault(seen.row, {})
                here[dtype] = here.get(dtype, 0) + count


def _empty(shape: Sequence[int], dtype: torch.dtype) -> Tensor:
    return torch.empty(shape, dtype=dtype, device=META)


def _held(at: Sequence[int | None]) -> int:
    return len(at) - at.count(None)


def _needs_grad(tensor: Tensor) -> bool:
    seen = getattr(tensor, "_seen", None)
    return tensor.requires_grad if seen is None else seen.grad


class _Operation:
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
        pointwise = torch.Tag.pointwise in func.tags or self.name in POINTWISE
        self.in_place_same = self.in_place and pointwise
        self.overload = func  # kept alive, for its id
        rule = rules.get(self.name)
        self.ours = rule is RULES.get(self.name)
        if self.ours and func.namespace != "aten":  # an operation of the same name, not PyTorch's
            rule = None
        self.rule = rule or (_pointwise if pointwise else _unknown)
        self.shape = SHAPES.get(self.name) if func.namespace == "aten" else None

    def bind(self, args, kwargs, names: Sequence[str] = ()) -> dict[str, Any]:
        """Arguments by name, defaults filled in; `names` where Python's order is another."""
        named = self.defaults.copy()
        named.update(zip(names or self.defaults, args))
        if kwargs:
            named.update(kwargs)
        return named


# ---------------------------------------------------------------- shapes of the hot operations


_size_of = lru_cache(output_size)  # height and width are most often alike, and blocks repeat


def _same_shape(a):
    return a["input" if "input" in a else "self"].shape


def _norm_shape(a):
    x, per_channel = a["input"], (a["weight"], a["bias"], a["running_mean"], a["running_var"])
    for tensor in per_channel:
        if tensor is not None and tensor.numel() != x.shape[1]:
            raise GeometryError(
                f"it has {x.shape[1]} channels where the normalization expects {tensor.numel()}; "
                f"build it for {x.shape[1]}"
            )
    return x.shape


def _conv_shape(a):
    x, weight, groups = a["input"], a["weight"], a["groups"]
    padding = 0 if a["padding"] == "valid" else a["padding"]
    if x.dim() != weight.dim() or padding == "same" or x.dtype != weight.dtype:
        return None
    expected = weight.shape[1] * groups
    if x.shape[1] != expected:
        raise GeometryError(
            f"it has {x.shape[1]} channels where the weight expects {expected}; give an input "
            f"with {expected} channels, or build the model for {x.shape[1]}"
        )
    sizes = (
        _size_of(n, k, _nth(a["stride"], i), _nth(padding, i), _nth(a["dilation"], i))
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
    if x.dtype != weight.dtype:
        return None
    return (*x.shape[:-1], weight.shape[0])


def _pool_shape(a, axes=2):
    x, kernel = a["self"], a["kernel_size"]
    stride = a.get("stride") or kernel
    if x.dim() != 2 + axes:
        return None
    sizes = (
        _size_of(
            x.shape[2 + i],
            _nth(kernel, i),
            _nth(stride, i),
            _nth(a["padding"], i),
            _nth(a.get("dilation") or 1, i),
            a["ceil_mode"],
        )
        for i in range(axes)
    )
    return (*x.shape[:2], *sizes)


def _cat_shape(a):
    tensors, dim = a["tensors"], a["dim"]
    first = tensors[0]
    dim %= first.dim()
    total, rest = 0, None
    for tensor in tensors:
        shape = list(tensor.shape)
        total += shape.pop(dim) if len(shape) > dim else 0
        rest = rest or shape
        if shape != rest or tensor.dtype != first.dtype:
            return None  # PyTorch words the error, or promotes types
    return (*rest[:dim], total, *rest[dim:])


def _elementwise_shape(a):
    x = a["self"]
    y = a["other" if "other" in a else "exponent"]
    if not x.is_floating_point():
        return None  # PyTorch promotes types
    if not isinstance(y, Tensor):
        return x.shape if isinstance(y, (int, float)) else None
    if y.dim() > x.dim():
        x, y = y, x
    fits = all(b in (1, a) for a, b in zip(reversed(x.shape), reversed(y.shape)))
    return x.shape if fits and x.dtype == y.dtype else None


def _layer_norm_shape(a):
    x, expected = a["input"], list(a["normalized_shape"])
    return x.shape if list(x.shape[-len(expected) :]) == expected else None  # it words the error


def _adaptive_shape(a):
    x, sizes = a["self"], a["output_size"]
    return (*x.shape[:2], *sizes) if x.dim() == 4 and min(sizes) > 0 else None


def _mean_shape(a):
    x, dims = a["self"], a.get("dim")
    if not dims or not x.is_floating_point() or a["dtype"] is not None:
        return None
    gone = {d % x.dim() for d in dims}
    kept = ((1 if i in gone else n) for i, n in enumerate(x.shape) if a["keepdim"] or i not in gone)
    return tuple(kept)


def _pad_shape(a):
    shape, pads = list(a["self"].shape), a["pad"]
    if a["mode"] != "constant":
        return None
    for i in range(len(pads) // 2):
        shape[-1 - i] += pads[2 * i] + pads[2 * i + 1]
    return shape if min(shape) > 0 else None  # PyTorch words the error


SHAPES: dict[str, Callable[[dict[str, Any]], Sequence[int] | None]] = {
    **dict.fromkeys(("relu", "gelu", "silu", "hardswish", "hardsigmoid", "dropout"), _same_shape),
    "batch_norm": _norm_shape,
    "layer_norm": _layer_norm_shape,
    "adaptive_avg_pool2d": _adaptive_shape,
    "mean": _mean_shape,
    # All three: on the meta device PyTorch 2.6 gives an empty map where a kernel does not fit.
    **dict.fromkeys(("conv1d", "conv2d", "conv3d"), _conv_shape),
    "linear": _linear_shape,
    "max_pool2d": _pool_shape,
    "avg_pool2d": _pool_shape,
    "avg_pool3d": partial(_pool_shape, axes=3),
    "cat": _cat_shape,
    "pad": _pad_shape,
    **dict.fromkeys(("add", "mul", "div", "pow"), _elementwise_shape),
}

# ------------------------------------------------- what autograd keeps for the backward pass
#
# Arguments by name, output, whether the module trains -> the tensors kept, or (dtype, bytes) of
# new ones; None where only a pass with autograd knows.

KEEPS_PROVED = ("2.13.", "2.14.")  # PyTorch with which the tests compared these rules
_ALIAS = object()  # nothing is kept, and the output is the input


def _nothing(*_):
    return ()


def _each_other(x, y):
    """Factors: each is kept for the gradient of the other; a number is no tensor to keep."""
    if not isinstance(y, Tensor):
        return ()
    return [kept for kept, other in ((x, y), (y, x)) if _needs_grad(other)]


def _div_keeps(a, out, trains):
    x, y = a["self"], a["other"]
    if not isinstance(y, Tensor):
        return ()
    return (x, y) if _needs_grad(y) else (y,)


def _norm_keeps(a, out, trains):
    x = a["input"]
    if trains or a.get("train", a["training"]):
        return x, (x.dtype, 2 * x.shape[1] * x.element_size())
    return x, a["running_mean"], a["running_var"]


def _dropout_keeps(a, out, trains):
    if a["p"] == 0 or not (trains or a["train"]):
        return _ALIAS
    return None if a["p"] == 1 else _new(a, out, trains)


def _new(a, out, trains):
    return [(out.dtype, out.numel() * out.element_size())]


KEEPS: dict[str, Callable] = {
    **dict.fromkeys(
        ("conv1d", "conv2d", "conv3d", "conv_transpose2d"),
        lambda a, *_: (a["input"], a["weight"]),
    ),
    "linear": lambda a, *_: _each_other(a["input"], a["weight"]),
    "mul": lambda a, *_: _each_other(a["self"], a["other"]),
    "pow": lambda a, *_: None if isinstance(a["exponent"], Tensor) else (a["self"],),
    "div": _div_keeps,
    "batch_norm": _norm_keeps,
    "dropout": _dropout_keeps,
    "max_pool2d": lambda a, out, _: (a["self"], (torch.int64, 8 * out.numel())),
    # To one value per map PyTorch takes a plain mean, which keeps nothing.
    "adaptive_avg_pool2d": lambda a, out, _: () if out.shape[2:] == (1, 1) else (a["self"],),
    **dict.fromkeys(
        ("relu", "sigmoid", "tanh", "softmax", "log_softmax"), lambda a, out, _: (out,)
    ),
    **dict.fromkeys(
        "relu6 hardtanh silu gelu hardswish hardsigmoid leaky_relu avg_pool2d avg_pool3d".split(),
        lambda a, *_: (a["self"],),
    ),
    **dict.fromkeys(
        "add cat mean sum flatten view reshape permute transpose squeeze unsqueeze slice select "
        "chunk split unbind constant_pad_nd contiguous".split(),
        _nothing,
    ),
    "pad": lambda a, *_: () if a["mode"] == "constant" else None,
}
KEEPS_IN_PLACE: dict[str, Callable] = {
    "add": _nothing,
    "dropout": _dropout_keeps,
    **dict.fromkeys(("relu", "sigmoid", "tanh", "leaky_relu"), lambda a, out, _: (out,)),
    # Of these PyTorch keeps what was there before: a copy.
    **dict.fromkeys(("relu6", "hardtanh", "silu", "hardswish", "hardsigmoid"), _new),
}

# ---------------------------------------------------------------- where Python calls hot operations

META = torch.device("meta")
_aten = torch.ops.aten

# The function that a module or a learner calls -> operation, names of arguments in that order.
SHORTCUTS: dict[Any, tuple[Any, Sequence[str]]] = {
    torch.conv2d: (_aten.conv2d.default, ()),
    F.linear: (_aten.linear.default, ()),
    F.batch_norm: (
        _aten.batch_norm.default,
        "input running_mean running_var weight bias train momentum eps".split(),
    ),
    F.relu: (_aten.relu.default, ("self", "inplace")),
    **dict.fromkeys((torch.relu, Tensor.relu), (_aten.relu.default, ())),
    **dict.fromkeys((torch.relu_, Tensor.relu_), (_aten.relu_.default, ())),
    F.dropout: (_aten.dropout.default, ("input", "p", "train", "inplace")),
    F.max_pool2d: (
        _aten.max_pool2d.default,
        "self kernel_size stride padding dilation ceil_mode return_indices".split(),
    ),
    F.avg_pool2d: (_aten.avg_pool2d.default, ()),
    torch.cat: (_aten.cat.default, ()),
    **dict.fromkeys((torch.add, Tensor.add), (_aten.add.Tensor, ())),
    Tensor.add_: (_aten.add_.Tensor, ()),
}
IN_PLACE = {"relu": _aten.relu_.default, "dropout": _aten.dropout_.default}

PYTHONS_NAMES = {"training": "train"}

# A forward that changes what is trained: only autograd can tell what it keeps then.
AUTOGRAD = frozenset((Tensor.requires_grad_, Tensor.requires_grad.__set__))

# Run nothing: questions that a forward asks, and no_grad, which must outlast the call.
HARMLESS = frozenset(
    (Tensor.dim, Tensor.size, Tensor.numel, Tensor.shape.__get__, Tensor.dtype.__get__)
    + (torch._C._set_grad_enabled,)
)

# ------------------------------------------------------------------------------------- rules


def _pointwise(call: Call) -> None:
    """Each output value from the values at its own position; smaller inputs are broadcast."""
    call.other_ops = call.out.numel()
    if len(call.data) > 1:
        _meet(call)


def _meet(call: Call, join_dim: int | None = None) -> None:
    """Branches meet. A branch of size 1 along an axis brings context from all of it."""
    seen, out = call.seen, call.out.shape
    if any([s.sights is None for s in seen]):
        return call.lose("one of its inputs has an unknown receptive field")
    at, groups = [], []  # per axis: where the output holds it, and the inputs that meet along it
    alike = {s.at for s in seen} == {seen[0].at} and None not in seen[0].at
    if alike and join_dim not in (None, *seen[0].at):  # many, in a DenseNet
        return call.follow(_joined([range(len(seen))] * len(seen[0].at)), seen[0].at)
    for axis in range(max([len(s.sights) for s in seen])):
        full, small, dims = [], [], set()
        for i, (s, x) in enumerate(zip(seen, call.data)):
            if axis >= len(s.sights):
                continue
            dim, shift = s.at[axis], len(out) - x.dim()
            if dim is None or (x.shape[dim] == 1 and out[dim + shift] > 1):
                small.append(i)
            else:
                full.append(i)
                dims.add(dim + shift)
        if len(dims) > 1 or dims == {join_dim}:
            return call.lose("its inputs are laid side by side along the image")
        call.context |= bool(full and small)
        groups.append(full or small)
        at.append(dims.pop() if dims else None)

    call.follow(_joined(groups), at)


def _joined(groups: Sequence[Sequence[int]]) -> Callable[[list[_Seen]], tuple[Sight, ...]]:
    """Per axis: what is seen where the inputs of a group meet."""

    def see(seen: list[_Seen]) -> tuple[Sight, ...]:
        joined = {}  # height and width are most often alike
        axes = [tuple([seen[i].sights[axis] for i in group]) for axis, group in enumerate(groups)]
        for branches in axes:
            if branches not in joined:
                joined[branches] = Sight.join(branches)
        return tuple([joined[branches] for branches in axes])

    return see


def _cat(call: Call) -> None:
    _meet(call, join_dim=call.args["dim"] % call.out.dim())


def _conv(call: Call) -> None:
    a, weight = call.args, call.args["weight"]
    call.macs = call.out.numel() * (weight.numel() // weight.shape[0])
    call.other_ops = call.out.numel() if a["bias"] is not None else 0

    def taps(i: int) -> Slide:
        kernel, dilation = weight.shape[2 + i], _nth(a["dilation"], i)
        padding = a["padding"]
        if isinstance(padding, str):  # "same" puts the odd pixel on the right
            padding = dilation * (kernel - 1) // 2 if padding == "same" else 0
        return _slide_of(kernel, _nth(a["stride"], i), _nth(padding, i), dilation)

    _slide(call, [taps(i) for i in range(weight.dim() - 2)])


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

    def taps(i: int) -> Slide:
        dilation = _nth(a.get("dilation") or 1, i)
        return _slide_of(kernels[i], _nth(stride, i), _nth(a["padding"], i), dilation)

    _slide(call, [taps(i) for i in range(axes)])


_slide_of = lru_cache(Slide)


def _slide(call: Call, taps: Sequence[Slide]) -> None:
    """A kernel over the last dimensions; an image axis among the channels is used up."""
    offset, shape, made = call.out.dim() - len(taps), tuple(call.out.shape), {}

    def step(sight: Sight, dim: int):
        if dim < offset:
            return sight.whole(), None
        slide, units = taps[dim - offset], shape[dim]
        key = sight, id(slide), units
        if key not in made:  # height and width are most often alike
            made[key] = sight.slide(slide, units)
        return made[key], dim

    call.each(step)


def _resize(call: Call) -> None:
    """Adaptive pooling and upsampling."""
    mode = "adaptive" if call.name.startswith("adaptive") else "linear"
    mode = "nearest" if "nearest" in call.name else mode
    call.other_ops = max(call.out.numel(), call.data[0].numel())
    corners, factors = bool(call.args.get("align_corners")), _scale_factors(call)
    if "bicubic" in call.name or "exact" in call.name:
        return call.lose(f"no rule for the receptive field of {call.name}")

    def step(sight: Sight, dim: int):
        size, out = call.data[0].shape[dim], call.out.shape[dim]
        if size == out or (dim < 2 and call.data[0].dim() > 3):
            return sight, dim
        factor = factors[dim - 2] if factors and not corners else None
        return sight.resize(Resize(size, out, mode, corners, factor)), dim

    call.each(step)


def _scale_factors(call: Call) -> Sequence[float | None] | None:
    """Per image axis, where `F.interpolate` was given factors: PyTorch then scales by them."""
    axes = call.data[0].dim() - 2
    names = ("scales",) if axes == 1 else ("scales_d", "scales_h", "scales_w")[-axes:]
    return call.args.get("scale_factors") or [call.args.get(name) for name in names]


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
        _meet(call)


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
    elif "source" in a:
        source, target = (
            [d % x.dim() for d in ([dims] if isinstance(dims, int) else dims)]
            for dims in (a["source"], a["destination"])
        )
        rest = iter(d for d in range(x.dim()) if d not in source)
        moved = dict(zip(target, source))
        order = [moved[d] if d in moved else next(rest) for d in range(x.dim())]
    elif call.name in ("t", "numpy_T", "matrix_H", "mT", "mH"):
        flip = x.dim() if call.name in ("t", "numpy_T") else 2
        order = [*range(x.dim() - flip), *reversed(range(x.dim() - flip, x.dim()))]
    else:
        order = list(range(x.dim()))
        i, j = (a["dim0"], a["dim1"]) if "dim0" in a else (a["axis0"], a["axis1"])
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
    call.lose(
        f"no rule for {call.name}: its MACs and receptive field are unknown; "
        f"add one with trace(..., rules={{{call.name!r}: rule}})"
    )


# Pointwise operations that PyTorch does not tag as such.
POINTWISE = frozenset(
    "dropout feature_dropout alpha_dropout relu6 hardtanh hardswish hardsigmoid selu silu mish "
    "contiguous clone detach alias to _to_copy type_as prelu leaky_relu rrelu celu copy lift_fresh "
    "bernoulli zero fill masked_fill where clamp pow square float half native_dropout softplus "
    "requires_grad to_dense log_sigmoid resolve_conj resolve_neg".split()
)

RULES: dict[str, Rule] = {
    **dict.fromkeys(("conv1d", "conv2d", "conv3d", "convolution"), _conv),
    **dict.fromkeys(("conv_transpose1d", "conv_transpose2d", "conv_transpose3d"), _conv_transpose),
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
    **dict.fromkeys(
        "permute transpose swapaxes swapdims t numpy_T matrix_H mT mH movedim moveaxis".split(),
        _permute,
    ),
    **dict.fromkeys(("expand", "expand_as", "broadcast_to"), _expand),
    **dict.fromkeys(("chunk", "split", "split_with_sizes", "unbind", "select"), _split),
    **dict.fromkeys(("slice", "narrow"), _slice),
    **dict.fromkeys(
        "pad constant_pad_nd _pad_circular reflection_pad2d replication_pad2d".split(), _pad
    ),
    **dict.fromkeys(("cat", "concat", "concatenate"), _cat),
    **dict.fromkeys(
        "index index_select gather roll flip take stack repeat tile repeat_interleave tensor_split "
        "pixel_shuffle pixel_unshuffle triu tril im2col col2im unfold max_unpool2d".split(),
        _select_any,
    ),
    **dict.fromkeys(("channel_shuffle", "native_channel_shuffle"), _embedding),
}

# ------------------------------------------------------------------------------------ helpers


@contextmanager
def _module_stack(
    places: Mapping[int, tuple[str, str]], stack: list[tuple[str, str]]
) -> Iterator[None]:
    """While inside, `stack` holds (path, class name) of the modules whose forward is running."""

    plain, here = nn.Module.__call__, threading.get_ident()

    def watched(module, *args, **kwargs):
        if threading.get_ident() != here:  # a model that runs beside the traced one
            return plain(module, *args, **kwargs)
        name = type(module).__name__
        stack.append(places.get(id(module)) or (f"({name} made in forward)", name))
        try:
            return plain(module, *args, **kwargs)
        finally:
            stack.pop()

    # Not hooks: the caller's modules carry none, and hooks cost PyTorch's slow way of calling.
    nn.Module.__call__ = watched
    try:
        yield
    finally:
        nn.Module.__call__ = plain


def _state_of(modules: Mapping[str, nn.Module], kind: str) -> dict[str, Tensor]:
    """All parameters or buffers by name, each once: one walk, where PyTorch's own take two."""
    found = {}
    for path, module in modules.items():
        for name, tensor in getattr(module, kind).items():
            if tensor is None or id(tensor) in found:
                continue
            name = f"{path}.{name}" if path else name
            if isinstance(tensor, nn.parameter.UninitializedTensorMixin):
                raise TraceError(
                    f"{name} has no shape yet, because its module is lazy: run the model once on "
                    f"a batch, then trace it"
                )
            found[id(tensor)] = name, tensor
    return dict(found.values())


def _to_meta(one: Any, dtype: torch.dtype) -> Any:
    """A shape becomes a batch of one on the meta device; so does an example tensor."""
    if isinstance(one, Tensor):
        return torch.empty_like(one[:1] if one.dim() else one, device="meta")
    if isinstance(one, Sequence) and one and all(isinstance(size, int) for size in one):
        if min(one) < 1:
            raise TraceError(f"an input shape has positive sizes, got {tuple(one)}")
        return torch.empty((1, *one), dtype=dtype, device="meta")
    if isinstance(one, Sequence) and one and not isinstance(one, str):
        return type(one)(_to_meta(part, dtype) for part in one)
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
