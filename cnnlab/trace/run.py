"""Record one forward pass of any module, layer by layer, without computing it.

It runs on PyTorch's `meta` device, on twins that have shapes but no memory, while a dispatch mode
watches what it is made of. So the caller's model is neither run, moved nor changed, branches and
functional calls are seen like modules are, and VGG-16 takes no memory. What autograd keeps for the
backward pass is counted by a second such pass, with autograd, when it is asked for.

A rule per family of operations says what it costs and what its outputs see. Where there is no
rule, the row says so; nothing is guessed. `trace(..., rules={"my_op": rule})` adds one.
"""

from __future__ import annotations

import random
import threading
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from cnnlab._tools import counted, did_you_mean
from cnnlab.trace import words
from cnnlab.trace.call import Rule, TraceError
from cnnlab.trace.inputs import Inputs
from cnnlab.trace.kept import Keeper
from cnnlab.trace.recorder import Recorder
from cnnlab.trace.rules import RULES
from cnnlab.trace.table import LayerTable
from cnnlab.trace.watch import module_stack


def trace(
    model: nn.Module,
    *inputs: Any,
    keywords: Mapping[str, Any] | None = None,
    batch: int | str | None = "auto",
    training: bool = False,
    rules: Mapping[str, Rule] | None = None,
) -> LayerTable:
    """Trace `model` on inputs of the given shapes.

    model:    any module; nothing about it changes, also when the trace fails
    inputs:   one per argument of `forward`: a shape without the batch, such as (3, 224, 224); an
              example tensor, used as it is; a list, tuple or dict of those (torchvision's detection
              networks take a list of images); a number, a flag or None
    keywords: the same for arguments by name, {"mask": (1, 224, 224), "flag": True}
    batch:    how many images the inputs hold. "auto": a shape gets a batch of one, and of an
              example tensor it is the first dimension, or the second where the model's sequence
              layers have batch_first=False, or the length of a list of images; the table's note
              says so. None: the inputs have no batch dimension, and shapes are used as they are
    training: follow the branches of training mode (GoogLeNet's auxiliary heads, for example)
    rules:    operation name -> function of a `Call`, for operations without a rule of ours

    Counts are for one image: those of the pass divided by its images, rounded up. MACs are without
    bias, 1 MAC = 2 FLOPs. A model that needs values to decide what to do cannot be followed by
    shapes alone: it is run for real, once, and the table's note says so.

    Raises TraceError if the forward pass fails, with the module and the shapes it got.
    """
    if not isinstance(model, nn.Module):
        made = f"{model.__name__}(...)" if isinstance(model, type) else "build('resnet50')"
        raise TraceError(f"trace got {model!r:.80}, expected a module, such as {made}")
    if not inputs and not keywords:
        raise TraceError("trace got no input: give it a shape such as (3, 224, 224)")
    watched = Watched(model, inputs, keywords or {}, batch, training)
    recorder, notes = watched.followed({**RULES, **(rules or {})})
    known = {operation.name for operation in recorder.operations.values()} | RULES.keys()
    for name in rules or ():
        if name not in known and not hasattr(torch.ops.aten, name):
            raise TraceError(
                f"rules= names {name!r}, which is no operation of this model."
                f"{did_you_mean(name, known)}"
            )
    if not recorder.rows:
        raise TraceError("no operation depends on the input: is forward's argument used?")
    row_of, on_meta = recorder.row_of_call(), recorder.on_meta
    autocast, rows = recorder.calls.autocast, range(len(recorder.rows))
    recorder.memory.measure = lambda: watched.kept(row_of, on_meta, autocast, rows)
    return LayerTable(
        rows=recorder.rows,
        outputs=recorder.outputs,
        inputs=watched.inputs.shapes,
        image=recorder.image,
        model=model,
        unused=recorder.unused,
        notes=notes,
    )


_Take = Callable[[nn.Module], list[tuple[Tensor, Tensor]]]  # -> what it held, and the twins
_ONE_AT_A_TIME = threading.RLock()
_MODULES_OWN = frozenset(nn.Module().__dict__)  # attributes that every module has
_AUTOCAST = (
    "forward uses autocast: what is kept for backward comes from a real pass with it; number types "
    "and bytes in inference are those without it"
)


class Watched:
    """The caller's model, with the inputs and the way to run it unharmed."""

    def __init__(self, model, given, keywords, batch, training):
        self.model, self.training = model, training
        self.nothing: list[str] = []  # modules that returned None
        self.met: dict[str, nn.Module] = {}  # in the last pass, found nowhere in the model
        modules = dict(model.named_modules())
        self.loose = _unregistered(modules)  # in plain lists: path -> module or parameter
        for path, one in self.loose.items():
            if isinstance(one, nn.Module):
                modules |= {f"{path}.{n}" if n else path: m for n, m in one.named_modules()}
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
        # DataParallel splits batches only, and needs GPUs to do so.
        self.inner = model.module if isinstance(model, nn.DataParallel) else model
        self.names: dict[int, str] = {}  # of parameters, each by its first name
        for path, module in modules.items():
            for name, tensor in module._parameters.items():
                if tensor is not None:
                    self.names.setdefault(id(tensor), f"{path}.{name}" if path else name)
                if isinstance(tensor, nn.parameter.UninitializedTensorMixin):
                    raise TraceError(
                        f"{self.names[id(tensor)]} has no shape yet, because its module is lazy: "
                        f"run the model once on a batch, then trace it"
                    )
        self.names |= {id(p): path for path, p in self.loose.items() if isinstance(p, nn.Parameter)}
        own = (t for m in self.modules for t in (*m._parameters.values(), *m._buffers.values()))
        tensors = [tensor for tensor in own if tensor is not None]
        floats = [tensor.dtype for tensor in tensors if tensor.is_floating_point()]
        dtype = floats[0] if floats else torch.get_default_dtype()
        self.device = tensors[0].device if tensors else torch.device("cpu")
        self.inputs = Inputs(given, keywords, batch, self.modules, dtype)
        words.fits(self.inner, self.inputs)

    def followed(self, rules: Mapping[str, Rule]) -> tuple[Recorder, list[str]]:
        """A pass on shapes, or, where shapes are not enough, for real; and notes on it."""
        notes = [self.inputs.note] if self.inputs.note else []
        try:
            recorder = self.record(rules, on_meta=True)
        except TraceError as error:
            raise self._advised(error, error) from error.__cause__
        except Exception as on_shapes:
            # Only a real run can tell a model that needs values from a model that is broken.
            try:
                recorder = self.record(rules, on_meta=False)
            except TraceError as error:
                raise self._advised(error, error) from error.__cause__
            except Exception as for_real:
                runs = self._runs()
                error = words.explain(for_real, self.places, self.inputs, self.nothing, runs)
                raise self._advised(error, for_real) from for_real
            why = words.first_line(on_shapes).split(". ")[0]  # what follows is PyTorch's advice
            notes.append(f"run for real, because shapes alone were not enough: {why}")
        loose = self._loose_note(recorder.unused)
        return recorder, [*notes, *([_AUTOCAST] if recorder.calls.autocast else []), *loose]

    def _loose_note(self, unused: dict[str, int]) -> list[str]:
        """A word on used layers that no one but a plain list holds; they are not unused either."""
        said = []
        for path, one in (self.loose | self.met).items():
            sizes = (
                {path: one.numel()}
                if isinstance(one, nn.Parameter)
                else {f"{path}.{name}": p.numel() for name, p in one.named_parameters()}
            )
            gone = [unused.pop(name, None) for name in sizes]
            if None in gone and sizes:
                kind = "" if path in self.met else f"{type(one).__name__}, "
                held = counted(sum(sizes.values()), "parameter", ",")
                said.append(f"{path.strip('()')} ({kind}{held})")
        if not said:
            return []
        return [
            f"not registered, so no optimizer will train them and no state_dict holds them: "
            f"{', '.join(said)}. Keep them in nn.ModuleList, nn.ModuleDict or nn.ParameterList"
        ]

    def record(self, rules: Mapping[str, Rule], on_meta: bool) -> Recorder:
        """One forward pass, on meta twins or for real, with every operation written down."""
        with self._unharmed(on_meta, leaves_train=False) as (params, take):
            args, keywords = self.inputs.twins(None if on_meta else self.device)
            given = (args, keywords)
            recorder = Recorder(params, rules, on_meta, self.inputs, given, self.nothing)

            def meet(module: nn.Module) -> tuple[str, str]:
                recorder.add_params({n: t for t, n in self._meet(module, take) if n})
                return self.places[id(module)]

            stack = module_stack(self.places, recorder.stack, meet, recorder.leave)
            with torch.inference_mode(), stack, recorder.calls, recorder:
                out = self.inner(*args, **keywords)
        if out is None or isinstance(out, (str, Iterator)):
            got, advice = f"a {type(out).__name__}", ", or a list of tensors: `return` that"
            if out is None:
                got, advice = "None", ": end it with `return`"
            kind = type(self.inner).__name__
            raise TraceError(f"forward of {kind} returned {got}; expected a tensor{advice}")
        return recorder

    def _runs(self) -> bool:
        """Whether the model, which failed in a trace, runs by itself."""
        with suppress(Exception), self._unharmed(False, False), torch.inference_mode():
            args, keywords = self.inputs.twins(self.device)
            self.inner(*args, **keywords)
            return True
        return False

    def kept(
        self, row_of: Callable[[tuple[str, int]], int], on_meta: bool, autocast: bool, rows: range
    ) -> tuple[dict[int, dict[str, int]], set[int]]:
        """What autograd keeps for the backward pass: row -> dtype -> bytes, and unknown rows.

        A pass like the recorded one, with autograd, in which normalization and dropout train.
        """
        ways = {on_meta and not autocast, False}  # autocast works on real numbers only
        if autocast and self.device.type == "meta":
            ways = set()
        for way in sorted(ways, reverse=True):  # a real pass minds no constants made in forward
            with suppress(Exception):
                return self._kept(row_of, way)
        return {}, set(rows)

    def _kept(self, row_of, on_meta) -> tuple[dict[int, dict[str, int]], set[int]]:
        stack: list[tuple[str, str]] = []
        with torch.inference_mode(False), self._unharmed(on_meta, True) as (_, take):
            own = (t for m in self.modules for t in (*m._parameters.values(), *m._buffers.values()))
            keeper = Keeper([t for t in own if t is not None], stack, row_of)
            args, keywords = self.inputs.twins(None if on_meta else self.device)

            def meet(module: nn.Module) -> tuple[str, str]:
                keeper.add_own(tensor for tensor, _ in self._meet(module, take))
                return self.places[id(module)]

            # The calls innermost, so that only the model's own are numbered.
            with keeper.watching(), module_stack(self.places, stack, meet), keeper.calls:
                kept_alive = self.inner(*args, **keywords)
            kept = keeper.kept()
            del kept_alive  # until here: with it, its graph would be gone
            return kept, keeper.unknown

    def _meet(self, module: nn.Module, take: _Take) -> list[tuple[Tensor, str]]:
        """A layer that nobody holds, made in forward or found outside of the model: its parameters
        with their names, and its buffers."""
        kind = type(module).__name__
        number = sum(type(one) is type(module) for one in self.met.values())
        path = f"({kind}{f' {number + 1}' if number else ''} held by no module)"
        self.met[path] = module
        names = {id(p): f"{path}.{name}" for name, p in module.named_parameters()}
        self.names |= {key: name for key, name in names.items() if key not in self.names}
        held: list[tuple[Tensor, str]] = []
        with torch.inference_mode(False):
            for name, one in module.named_modules():
                place = f"{path}.{name}" if name else path, type(one).__name__
                if id(one) not in self.places:
                    self.places[id(one)] = place
                    held += [(new, names.get(id(old), "")) for old, new in take(one)]
        return held

    @contextmanager
    def _unharmed(
        self, on_meta: bool, leaves_train: bool
    ) -> Iterator[tuple[dict[str, Tensor], _Take]]:
        """Run with twins of all weights: on meta without memory, for real copies, which may be
        written to. Modes as asked for; what was, is put back: attributes and random states.

        Gives the parameters by name, and what does the same to a module met later. One thread at a
        time: what a trace patches belongs to the whole process.
        """
        with _ONE_AT_A_TIME:
            saved, contents, params = [], [], {}
            devices = [self.device] if self.device.type == "cuda" else []
            states = random.getstate(), np.random.get_state()
            for one in self.met.values():
                for module in one.modules():
                    self.places.pop(id(module), None)
            self.met.clear()
            twins: dict[int, Tensor] = {}

            def twin(x: Any, on_meta: bool = on_meta) -> Any:
                if not isinstance(x, Tensor):
                    return x
                if id(x) not in twins:
                    new = torch.empty_like(x, device="meta") if on_meta else x.detach().clone()
                    twins[id(x)] = new.requires_grad_(x.requires_grad)
                    if id(x) in self.names:
                        params[self.names[id(x)]] = new
                return twins[id(x)]

            def take(module: nn.Module) -> list[tuple[Tensor, Tensor]]:
                parts = module._parameters, module._buffers, module._modules, module.__dict__
                saved.extend((part, part.copy()) for part in parts)
                pairs = []
                for held in (module._parameters, module._buffers):
                    pairs += [(x, twin(x)) for x in held.values() if x is not None]
                    held.update({name: twin(x) for name, x in held.items()})
                wanted = self.training or (leaves_train and not module._modules)
                if module.training != wanted:  # PyTorch is slow to set a module's attribute
                    module.training = wanted
                return pairs

            try:
                for module in self.modules:
                    take(module)
                for module in self.unusual:  # forward may write to what it finds
                    for name in module.__dict__.keys() - _MODULES_OWN:
                        value = module.__dict__[name]
                        if isinstance(value, (list, dict, set, deque)):
                            contents.append((value, value.copy()))
                        if isinstance(value, Tensor):
                            module.__dict__[name] = twin(value, False)
                        elif isinstance(value, list):
                            value[:] = [twin(x, False) for x in value]
                        elif isinstance(value, dict):
                            value.update({key: twin(x, False) for key, x in value.items()})
                with torch.random.fork_rng(devices):
                    yield params, take
            finally:
                for part, before in saved:
                    part.update(before)
                    if len(part) > len(before):  # what forward stored: running sums, features
                        for name in part.keys() - before.keys():
                            del part[name]
                for value, before in contents:
                    value.clear()
                    (value.extend if isinstance(value, (list, deque)) else value.update)(before)
                random.setstate(states[0])
                np.random.set_state(states[1])

    def _advised(self, error: TraceError, raised: Exception) -> TraceError:
        """The error with the learner's own line and a next step: what was perhaps meant, if a try
        shows that it works."""
        text, *advice = error.args
        text += words.place(raised)
        for meant, given in self.inputs.alternatives():
            with suppress(Exception):
                other = Watched(self.model, given, self.inputs.keywords, "auto", self.training)
                other.record(RULES, on_meta=True)
                advice = [meant]
                break
        return TraceError(". ".join([text, *advice]))


def _unregistered(modules: dict[str, nn.Module]) -> dict[str, nn.Module | nn.Parameter]:
    """Layers and parameters that only plain lists, tuples and dicts of modules hold, by path."""
    known, found = {id(module) for module in modules.values()}, {}
    known |= {id(p) for module in modules.values() for p in module._parameters.values()}

    def look(value: Any, path: str) -> None:
        if isinstance(value, (nn.Module, nn.Parameter)):
            if id(value) not in known:
                found[path] = value
        elif not isinstance(value, (list, tuple, dict)) or id(value) in known:
            return
        elif isinstance(value, dict):
            for key, part in value.items():
                look(part, f"{path}.{key}")
        else:
            for number, part in enumerate(value):
                look(part, f"{path}.{number}")
        known.add(id(value))

    for path, module in modules.items():
        for name, value in module.__dict__.items():
            if name not in _MODULES_OWN:
                look(value, f"{path}.{name}" if path else name)
    return found
