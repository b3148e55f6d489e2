"""What an error says: where, in whose line, what it got, what to do next."""

from __future__ import annotations

import inspect
import linecache
import traceback
from collections.abc import Mapping
from pathlib import Path

import torch
from torch import nn

from cnnlab._tools import counted
from cnnlab.trace.call import TraceError
from cnnlab.trace.inputs import Inputs, shape_of
from cnnlab.trace.watch import module_of, tensors_in

_OURS = str(Path(__file__).parent), str(Path(torch.__file__).parent)


def fits(model: nn.Module, inputs: Inputs) -> None:
    """Refuse inputs that `forward` cannot take, in the words of its signature."""
    try:
        signature = inspect.signature(model.forward)
    except (TypeError, ValueError):  # a function without one
        return
    try:
        signature.bind(*inputs.args, **inputs.keywords)
    except TypeError as error:
        given, advice = inputs.given, ""
        got = counted(len(given), "input")
        if len(given) == 1 and isinstance(given[0], (list, tuple)) and not shape_of(given[0]):
            advice = f", such as trace(model, {', '.join(map(repr, given[0]))})"
        raise TraceError(
            f"forward of {type(model).__name__} takes ({', '.join(signature.parameters)}), "
            f"but got {got} ({error}): give one input per argument{advice}; those by "
            f"name go into keywords="
        ) from None


def explain(
    error: Exception,
    places: Mapping[int, tuple[str, str]],
    inputs: Inputs,
    nothing: list[str],
    runs: bool,
) -> TraceError:
    """The error of a forward pass: the module, what it got, and what to do next.

    nothing: modules that returned None; runs: whether the model runs outside of a trace
    """
    where, got = "the model", inputs.shapes
    for frame, _ in traceback.walk_tb(error.__traceback__):
        module = module_of(frame)
        if id(module) in places:
            path, kind = places[id(module)]
            where = f"{path or 'the model'} ({kind})"
            found = tensors_in((frame.f_locals["args"], frame.f_locals["kwargs"]))
            got = tuple(inputs.per_image(x.shape) for x in found) or got
    given = (*inputs.args, *(f"{name}=..." for name in inputs.keywords))
    call = ", ".join(
        f"torch.zeros{tuple(one.shape)}" if isinstance(one, torch.Tensor) else str(one)[:20]
        for one in given
    )
    advice = f"Outside of trace, model({call}) fails in the same way"
    if runs:
        advice = "The model itself runs on it, so give the trace inputs of another kind"
    elif nothing and "NoneType" in str(error):
        advice = f"{nothing[-1]} returned None: end its forward with `return`"
    text = f"{where} fails on {', '.join(map(str, got))}: {first_line(error)}"
    return TraceError(f"{text} [{type(error).__name__}]", advice)


def place(error: BaseException) -> str:
    """The innermost line of the learner's own code: " (net.py, line 12: y = self.a(x) + x)"."""
    found = ""
    for frame, number in traceback.walk_tb(error.__traceback__):
        name = frame.f_code.co_filename
        if name.startswith((*_OURS, "<")) or "site-packages" in name:
            continue
        line = linecache.getline(name, number, frame.f_globals).strip()
        file = "the cell" if "ipykernel_" in name else Path(name).name
        told = "" if line.endswith(("(", "[", "{")) else f": {line[:80]}"  # half a statement
        found = f" ({file}, line {number}{told})"
    return found


def first_line(error: BaseException) -> str:
    """What an error says, without what follows in further lines."""
    return (str(error).strip().splitlines() or [type(error).__name__])[0]
