"""The trace beside PyTorch itself on every network of torchvision and, where installed, of timm.

Per network: does it crash, are parameters and MACs right (FlopCounterMode), is the shape of every
module's output right (hooks in PyTorch's own pass), and, on every tenth, the bytes kept for
backward (a real pass). Torchvision's smallest first; of timm one network of every module, then the
next of each, so that a sweep that is cut off has seen most families.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Iterator

import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from cnnlab._torchvision import import_torchvision
from cnnlab.trace.run import trace
from cnnlab.trace.watch import tensors_in
from tests.trace.real import kept_for_real

SAMPLE = 10  # of so many networks one is run for real
Made = tuple[Callable[[], nn.Module], tuple]


def sweep(only: str = "", most: int = 300) -> Iterator[str]:
    """A line per network that is not right, then the counts."""
    right: Counter[str] = Counter()
    networks = {**torchvisions(), **timms(most)}
    chosen = {name: made for name, made in networks.items() if only in name}
    yield f"sweep: {len(chosen)} networks, torch {torch.__version__}"
    for number, (name, (make, given)) in enumerate(chosen.items()):
        began = time.process_time()
        try:
            found = check(make, given, real=number % SAMPLE == 0)
        except Exception as error:  # a crash is what the sweep looks for
            found = {"traced": f"{type(error).__name__}: {str(error)[:300]}"}
        wrong = {what: said for what, said in found.items() if said}
        right.update(f"{what}: {'wrong' if said else 'right'}" for what, said in found.items())
        for what, said in wrong.items():
            yield f"  {name}: {what}: {said}"
        if (spent := time.process_time() - began) > 60:
            yield f"  {name} took {spent:.0f} s"
    yield from (f"  {what} {count}" for what, count in sorted(right.items()))


def check(make: Callable[[], nn.Module], given: tuple, real: bool) -> dict[str, str]:
    """What was compared -> "" if right, or what differs."""
    model, on_meta = _on_meta(make)
    real = real or not on_meta
    table = trace(model.eval(), *given)
    params = sum(p.numel() for p in model.parameters())
    used = table.params + sum(table.unused.values())
    found = {"traced": "", "parameters": _differ(used, params)}
    outputs: dict[str, tuple[int, ...]] = {}

    def hook(path: str) -> Callable:
        def keep(module, args, result) -> None:
            first = next(iter(tensors_in(result)), None)
            if first is not None:
                outputs[path] = tuple(first.shape)

        return keep

    hooks = [m.register_forward_hook(hook(path)) for path, m in model.named_modules()]
    inputs = [_example(one, on_meta) for one in given]
    with FlopCounterMode(display=False) as counter:
        model(*inputs)
    for one in hooks:
        one.remove()
    if table.unknown:
        found["MACs"] = f"unknown: {sorted({row.op for row in table.unknown})}"
    else:
        found["MACs"] = _differ(table.macs, counter.get_total_flops() // 2)
    odd = [
        f"{path} {table.outputs[path].out_shape}, PyTorch {shape}"
        for path, shape in outputs.items()
        if path in table.outputs and table.outputs[path].out_shape not in (shape, shape[1:])
    ]
    found["shapes"] = "; ".join(odd[:3])
    if real and not table.unknown_kept and params < 60_000_000:
        model = make() if on_meta else model
        for module in model.modules():  # as the table counts: parts train
            module.training = not module._modules
        with _one_image_may_be_normalized():
            kept = kept_for_real(model, *(_example(one, False) for one in given))
        found["kept bytes"] = _differ(table.kept_bytes, kept)
    return found


class _one_image_may_be_normalized:
    """PyTorch refuses to normalize a batch of one value per channel."""

    def __enter__(self) -> None:
        self.plain = nn.functional._verify_batch_size
        nn.functional._verify_batch_size = lambda size: None

    def __exit__(self, *_: object) -> None:
        nn.functional._verify_batch_size = self.plain


def _differ(ours: int, theirs: int) -> str:
    return "" if ours == theirs else f"{ours:,}, PyTorch {theirs:,}"


def _example(one: object, on_meta: bool) -> object:
    if isinstance(one, (list, torch.Tensor)):
        return one
    return torch.zeros(1, *one, device="meta" if on_meta else "cpu")


def _on_meta(make: Callable[[], nn.Module]) -> tuple[nn.Module, bool]:
    """Without memory, where its constructor can do that and its forward needs no values."""
    if getattr(make, "real", False):
        return make(), False
    try:
        with torch.device("meta"):
            return make(), True
    except (NotImplementedError, RuntimeError, ValueError):
        return make(), False


def torchvisions() -> dict[str, Made]:
    """All but the quantized ones, which the trace refuses by name; smallest first."""
    models = import_torchvision().models
    found: dict[str, Made] = {}

    def size(name: str) -> int:
        return min((w.meta["num_params"] for w in models.get_model_weights(name)), default=0)

    for name in sorted(models.list_models(), key=size):
        if name.startswith("quantized"):
            continue
        make = models.get_model_builder(name)
        module = make.__module__
        options = {"weights": None}
        given: tuple = ((3, 224, 224),)
        weights = models.get_model_weights(name)
        if ".detection" in module:
            given = ([torch.rand(3, 160, 192, generator=torch.Generator().manual_seed(0))],)
            options["weights_backbone"] = None
        elif ".segmentation" in module:
            given = ((3, 128, 160),)
            options["weights_backbone"] = None
        elif ".video" in module:
            given = ((3, 16, 224, 224),)
        elif ".optical_flow" in module:
            given = ((3, 128, 128), (3, 128, 128))
        elif len(weights):
            side = weights.DEFAULT.transforms().crop_size[0]
            if name.startswith("vit_"):  # built for one size only
                options["image_size"] = side
            given = ((3, side, side),)

        def build(make=make, options=options) -> nn.Module:
            return make(**options)

        build.real = ".detection" in module
        if not build.real or _has_boxes():
            found[name] = build, given
    return found


def _has_boxes() -> bool:
    """Whether torchvision's compiled operators are there, which detection needs."""
    try:
        import_torchvision().ops.nms(torch.rand(1, 4), torch.rand(1), 0.5)
    except (RuntimeError, NotImplementedError):
        return False
    return True


def timms(most: int) -> dict[str, Made]:
    """Up to `most` of timm's networks, every module of it once before any comes again."""
    try:
        import timm
    except ImportError:
        return {}
    modules = [timm.list_models(module=name) for name in timm.list_modules()]
    turns = [
        name
        for turn in range(max(map(len, modules), default=0))
        for name in (names[turn] for names in modules if turn < len(names))
    ]
    found: dict[str, Made] = {}
    for name in dict.fromkeys(turns):
        if len(found) == most:
            break
        size = timm.get_pretrained_cfg(name)
        size = getattr(size, "input_size", None) or (3, 224, 224)
        found[f"timm {name}"] = lambda name=name: timm.create_model(name), (size,)
    return found
