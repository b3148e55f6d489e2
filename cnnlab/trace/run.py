"""Record one forward pass of any module, layer by layer, without computing it.

It runs on PyTorch's `meta` device, on twins that have shapes but no memory, while a dispatch mode
watches what it is made of. So the caller's model is neither run, moved nor changed, branches and
functional calls are seen like modules are, and VGG-16 takes no memory. What autograd keeps for the
backward pass is counted by a second such pass, with autograd, when it is asked for.

A rule per family of operations says what it costs and what its outputs see. Where there is no
rule, the row says so; nothing is guessed. `trace(..., rules={"my_op": rule})` adds one.
"""

from __future__ import annotations

import threading
import traceback
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from cnnlab.trace.call import Rule
from cnnlab.trace.kept import Keeper
from cnnlab.trace.recorder import Recorder, TraceError
from cnnlab.trace.rules import RULES
from cnnlab.trace.table import LayerTable
from cnnlab.trace.watch import Calls, map_tensors, module_stack, tensors_in


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
    watched = Watched(model, inputs, training)
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
    row_of, on_meta = recorder.row_of_call(), recorder.on_meta
    recorder.memory.measure = lambda: watched.kept(row_of, on_meta)
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


class Watched:
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
        # DataParallel splits batches only, and cannot be called with other weights.
        self.inner = inner = model.module if isinstance(model, nn.DataParallel) else model
        self.params, self.buffers = dict(inner.named_parameters()), dict(inner.named_buffers())
        for name, tensor in (self.params | self.buffers).items():
            if isinstance(tensor, nn.parameter.UninitializedTensorMixin):
                raise TraceError(
                    f"{name} has no shape yet, because its module is lazy: run the model once on "
                    f"a batch, then trace it"
                )
        floats = [p.dtype for p in self.params.values() if p.is_floating_point()]
        dtype = floats[0] if floats else torch.get_default_dtype()
        self.inputs = tuple(_to_meta(one, dtype) for one in inputs)
        self.shapes = tuple(tuple(one.shape[1:]) for one in tensors_in(self.inputs))

    def record(self, rules: Mapping[str, Rule], on_meta: bool) -> Recorder:
        """One forward pass, on meta twins or for real, with every operation written down."""
        params, buffers, inputs = self._swapped(on_meta)
        recorder = Recorder(params, rules, on_meta, inputs)
        with self._unharmed(leaves_train=False), torch.inference_mode():
            with module_stack(self.places, recorder.stack), recorder.calls, recorder:
                torch.func.functional_call(self.inner, {**params, **buffers}, inputs)
        return recorder

    def kept(
        self, row_of: Callable[[tuple[str, int]], int], on_meta: bool
    ) -> dict[int, dict[str, int]]:
        """Bytes that autograd keeps for the backward pass: row -> dtype -> bytes, per image.

        A pass like the recorded one, with autograd, in which normalization and dropout train.
        """
        params, buffers, inputs = self._swapped(on_meta)
        state, stack = {**params, **buffers}, []
        calls = Calls(stack)
        keeper = Keeper(list(state.values()), calls, row_of)
        with self._unharmed(leaves_train=True), keeper.watching():
            # Innermost, so that only the model's own calls are numbered.
            with module_stack(self.places, stack), calls:
                torch.func.functional_call(self.inner, state, inputs)
        return keeper.kept

    def _swapped(self, on_meta: bool) -> tuple[dict[str, Tensor], dict[str, Tensor], Any]:
        """Parameters, buffers and inputs to run with.

        On meta: twins with shapes but without memory. For real: copies, which may be written to.
        """

        def twin(x: Tensor) -> Tensor:
            return torch.empty_like(x, device="meta") if on_meta else x.detach().clone()

        params = {n: twin(p).requires_grad_(p.requires_grad) for n, p in self.params.items()}
        buffers, inputs = {n: twin(b) for n, b in self.buffers.items()}, self.inputs
        if not on_meta:
            device = next((p.device for p in params.values()), torch.device("cpu"))
            inputs = map_tensors(inputs, lambda x: torch.zeros_like(x, device=device))
        return params, buffers, inputs

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


def _first_line(error: Exception) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0]
