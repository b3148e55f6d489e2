"""What a forward or backward pass shows: activations, gradients, receptive fields, losses around.

Each function works on a copy of the model, so the caller's keeps its mode, gradients, buffers,
hooks and device. torch's global random numbers are not used.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterable, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from cnnlab._tools import did_you_mean

Box = tuple[tuple[int, int], tuple[int, int]]  # ((top, bottom), (left, right)), inclusive


class ProbeError(ValueError):
    """A probe that cannot be taken: what was got, what was expected, what to do next."""


def activations(model: nn.Module, images: Tensor, paths: Iterable[str]) -> dict[str, Tensor]:
    """What the named modules return for `images` (N, C, H, W), in eval mode: path -> tensor.

    Paths are those of `model.named_modules()`, such as "features.0". A module called several times
    gives its last output. The tensors are copies: a following in-place ReLU does not change them.
    """
    model = copy_of(model)
    found: dict[str, Tensor] = {}
    paths = list(paths)
    for path in paths:
        _keep_output(model, path, lambda output, path=path: found.update({path: output}))
    with torch.no_grad():
        model(images.to(like(model).device))
    _all_called(paths, found)
    return {path: found[path] for path in paths}


def gradient_norms(model: nn.Module, loss: Tensor, *, relative: bool = False) -> dict[str, float]:
    """Norm of the gradient of `loss` by each layer's weight: module path -> norm, in model order.

    The weights of a module that has several, such as an LSTM, go by their parameters' names.
    `loss` is a scalar computed from `model`; it can still be used for `backward`, and no `.grad`
    is touched. Only weights of two or more axes count (convolutions, linear layers).
    `relative` divides by the weight's own norm: which share of itself would it change?
    """
    weights = {name: p for name, p in model.named_parameters() if p.ndim >= 2 and p.requires_grad}
    if loss.numel() != 1 or not loss.requires_grad:
        raise ProbeError(
            f"loss has shape {tuple(loss.shape)}, requires_grad {loss.requires_grad}; expected one "
            "number computed by the model, such as F.cross_entropy(model(images), labels)."
        )
    gradients = torch.autograd.grad(
        loss, list(weights.values()), retain_graph=True, allow_unused=True
    )
    layers = [name.rpartition(".")[0] for name in weights]
    norms = {}
    for (name, weight), gradient in zip(weights.items(), gradients):
        norm = 0.0 if gradient is None else float(gradient.norm())
        layer = name.rpartition(".")[0]
        path = layer if layer and layers.count(layer) == 1 else name
        norms[path] = norm / max(float(weight.detach().norm()), 1e-30) if relative else norm
    return norms


def effective_receptive_field(
    model: nn.Module,
    input_shape: Sequence[int],
    unit: tuple[int, int] | None = None,
    *,
    path: str | None = None,
    count: int = 16,
    seed: int = 0,
) -> Tensor:
    """How much each input pixel moves one unit: mean absolute gradient, (H, W), float32 on the CPU.

    The gradient of the unit at (row, column) `unit` (None: the center) of the last feature map, or
    of the one that module `path` returns, by `count` inputs drawn from a standard normal
    distribution. The unit's channels enter with random signs, as if the loss's gradient came in
    from above (Luo, Li, Urtasun, Zemel 2016, section 2). The model is in eval mode.
    """
    device = like(model).device
    generator = torch.Generator().manual_seed(seed)
    images = torch.randn(count, *_shape(input_shape), generator=generator).to(device)

    def seen(features: Tensor) -> Tensor:
        signs = torch.randint(2, features.shape, generator=generator) * 2 - 1
        return (features * signs.to(features)).sum()

    gradient = _input_gradient(copy_of(model), images, unit, path, seen)
    return gradient.abs().mean(dim=(0, 1)).float().cpu()


def erf_width(field: Tensor, unit: tuple[int, int] | None = None) -> float:
    """Side of an effective receptive field (H, W) in pixels, as Luo et al. 2016 measure it.

    The square root of the number of pixels above 1 - 0.9545 times the center's value (section
    3.1; 0.9545 is the share of a normal distribution within two standard deviations). `unit` is
    the center's (row, column); None: the largest value.
    """
    center = field.max() if unit is None else field[unit]
    if not center > 0:
        raise ProbeError("the field is zero at its center. Is the unit dead (ReLU at 0)?")
    return float((field > (1 - 0.9545) * center).sum()) ** 0.5


def support(
    model: nn.Module,
    input_shape: Sequence[int],
    unit: tuple[int, int] | None = None,
    *,
    path: str | None = None,
) -> Box:
    """The input rectangle that one unit depends on, proved by gradient, inside the image.

    Every weight of a copy is made positive, a maximum or minimum becomes an average, a clipped
    value stays as it is, inputs are positive and numbers are float64: then every activation is
    positive, every ReLU is open, no two paths cancel, and a pixel's gradient is zero only where no
    path leads from it to the unit. A model that subtracts or picks values itself may hide pixels.
    Returns ((top, bottom), (left, right)), inclusive.
    """
    model = copy_of(model).double().cpu()
    with torch.no_grad():
        for parameter in model.parameters():
            # 1 / fan-in: sums become means, so that nothing grows or dies out over many layers
            fan_in = parameter[0].numel() if parameter.ndim > 1 else 1
            parameter.fill_(1 / fan_in)
        for module in model.modules():
            if isinstance(module, nn.modules.batchnorm._BatchNorm):
                module.reset_running_stats()  # mean 0, variance 1
    generator = torch.Generator().manual_seed(0)
    images = 0.5 + torch.rand(1, *_shape(input_shape), generator=generator, dtype=torch.float64)
    with _NothingHidden():
        gradient = _input_gradient(model, images, unit, path, torch.sum)
    seen = gradient.abs().sum(dim=(0, 1)) > 0
    if not seen.any():
        raise ProbeError("the unit's gradient is zero everywhere: it does not depend on the input.")
    rows, columns = seen.any(1).nonzero().flatten(), seen.any(0).nonzero().flatten()
    return (int(rows[0]), int(rows[-1])), (int(columns[0]), int(columns[-1]))


def loss_surface(
    model: nn.Module,
    images: Tensor,
    labels: Tensor,
    *,
    size: int = 9,
    reach: float = 1.0,
    norms: str = "batch",
    seed: int = 0,
) -> Tensor:
    """Cross-entropy around the model's weights, in two random directions: (size, size), on the CPU.

    The value at (row, column) is the loss on `images` with the weights moved by a[row] of the first
    direction and a[column] of the second, a = linspace(-reach, reach, size); the unmoved model is
    in the middle when `size` is odd. Each filter of a direction (each row of a linear layer) is as
    long as the model's own, so 1.0 is a step as large as the weights (Li, Xu, Taylor, Studer,
    Goldstein 2018, section 4). Biases and the parameters of norms stay where they are.

    norms: what batch norm subtracts and divides by: "batch", the statistics of `images` at each
    point, as in training, or "stored", the running ones of the unmoved model. Two pictures!
    """
    if size < 2 or not reach > 0 or norms not in ("batch", "stored"):
        raise ProbeError(
            f"size {size}, reach {reach}, norms {norms!r}; expected a size of at least 2, a reach "
            'above 0, and norms "batch" or "stored".'
        )
    if labels.shape != images.shape[:1]:
        raise ProbeError(
            f"{len(images)} images with labels of shape {tuple(labels.shape)}; expected one label "
            "per image: loss_surface(model, images, labels)."
        )
    model = copy_of(model)
    for module in model.modules():
        if isinstance(module, nn.modules.batchnorm._BatchNorm):
            module.train(norms == "batch")
    weights = [p for p in model.parameters() if p.ndim > 1]
    generator = torch.Generator().manual_seed(seed)
    starts = [weight.clone() for weight in weights]
    directions = [[_filterwise(weight, generator) for weight in weights] for _ in range(2)]
    steps = torch.linspace(-reach, reach, size).tolist()
    images, labels = images.to(like(model).device), labels.to(like(model).device)
    surface = torch.empty(size, size)
    with torch.no_grad():
        for row, down in enumerate(steps):
            for column, right in enumerate(steps):
                for weight, start, first, second in zip(weights, starts, *directions):
                    weight.copy_(start + down * first + right * second)
                surface[row, column] = F.cross_entropy(model(images), labels).cpu()
    return surface


def _filterwise(weight: Tensor, generator: torch.Generator) -> Tensor:
    """A random direction, each filter scaled to the norm of the weight's own filter."""
    direction = torch.randn(weight.shape, generator=generator).to(weight)
    shape = (-1, *[1] * (weight.ndim - 1))
    own, drawn = weight.flatten(1).norm(dim=1), direction.flatten(1).norm(dim=1)
    return direction * (own / drawn.clamp(min=1e-30)).view(shape)


_CLIPPED = frozenset(
    "relu6 hardtanh hardtanh_ hardsigmoid clamp clamp_ clip clip_ clamp_min clamp_min_ clamp_max "
    "clamp_max_".split()
)


class _NothingHidden(TorchFunctionMode):
    """Replaces what would hide a pixel: a maximum depends on one only, ReLU6 on none above 6."""

    def __torch_function__(self, func, types, args=(), kwargs=None):
        kwargs = kwargs or {}
        if func in (F.max_pool2d, torch.max_pool2d):
            return _average(*args, **kwargs)
        if func is F.max_pool2d_with_indices:
            raise ProbeError("max pooling with return_indices has no average to put in its place.")
        if func is F.adaptive_max_pool2d:
            return F.adaptive_avg_pool2d(*args[:2])
        name = getattr(func, "__name__", "")  # one for torch.maximum and Tensor.maximum
        x, *rest = (*args, *kwargs.values()) or (None,)
        if not isinstance(x, Tensor) or not x.is_floating_point():
            return func(*args, **kwargs)  # an index holds no pixel
        if name in _CLIPPED:
            return x
        if name in ("maximum", "minimum", "fmax", "fmin"):
            return (x + rest[0]) / 2
        if name in ("amax", "amin"):
            return torch.mean(*args, **kwargs)
        if name in ("max", "min"):
            if not rest:
                return x.mean()
            if isinstance(rest[0], Tensor):
                return (x + rest[0]) / 2
            indices = func(*args, **kwargs).indices
            return getattr(torch.return_types, name)((torch.mean(*args, **kwargs), indices))
        return func(*args, **kwargs)


def _average(
    images: Tensor, kernel_size, stride=None, padding=0, dilation=1, ceil_mode=False, **_
) -> Tensor:
    if dilation in (1, (1, 1)):
        return F.avg_pool2d(images, kernel_size, stride or kernel_size, padding, ceil_mode)
    if ceil_mode:
        raise ProbeError("maximum pooling with both dilation and ceil_mode is not supported.")
    height, width = kernel_size if isinstance(kernel_size, tuple) else (kernel_size, kernel_size)
    ones = images.new_ones(images.shape[1], 1, height, width) / (height * width)
    return F.conv2d(
        images, ones, None, stride or kernel_size, padding, dilation, groups=images.shape[1]
    )


def _input_gradient(
    model: nn.Module,
    images: Tensor,
    unit: tuple[int, int] | None,
    path: str | None,
    scalar: Callable[[Tensor], Tensor],
) -> Tensor:
    """Gradient of scalar(features[:, :, row, column]) by the images, of their shape."""
    images.requires_grad_()
    kept: dict[str, Tensor] = {}
    if path is not None:
        _keep_output(model, path, lambda output: kept.update({path: output}))
    with torch.enable_grad():
        features = model(images)
        if path is not None:
            _all_called([path], kept)
            features = kept[path]
        if not isinstance(features, Tensor) or features.ndim != 4:
            got = tuple(features.shape) if isinstance(features, Tensor) else type(features).__name__
            raise ProbeError(
                f"the model returns {got}; expected a feature map (N, C, H, W). Name a module that "
                'makes one, such as path="features", or pass that part of the model.'
            )
        height, width = features.shape[2:]
        row, column = (height // 2, width // 2) if unit is None else unit
        if not (0 <= row < height and 0 <= column < width):
            raise ProbeError(
                f"unit ({row}, {column}) is outside the feature map of {height} x {width}; "
                f"expected row 0 to {height - 1} and column 0 to {width - 1}."
            )
        return torch.autograd.grad(scalar(features[:, :, row, column]), images)[0]


def copy_of(model: nn.Module) -> nn.Module:
    """The model's copy in eval mode, without gradients of its own."""
    return copy.deepcopy(model).eval().requires_grad_(False)


def like(model: nn.Module) -> Tensor:
    """A tensor on the model's device; one on the CPU for a model without parameters."""
    return next(model.parameters(), torch.empty(0))


def _shape(input_shape: Sequence[int]) -> tuple[int, int, int]:
    if len(input_shape) != 3:
        raise ProbeError(f"input_shape {tuple(input_shape)}; expected (channels, height, width).")
    channels, height, width = input_shape
    return channels, height, width


def _keep_output(model: nn.Module, path: str, keep: Callable[[Tensor], None]) -> None:
    """Call `keep` with a copy of what the module returns, at each of its calls."""
    modules = dict(model.named_modules())
    if path not in modules:
        hint = did_you_mean(path, modules) or f" Known: {', '.join(list(modules)[1:9])}."
        raise ProbeError(f"the model has no module {path!r}.{hint}")

    def hook(module: nn.Module, args: tuple, output: object) -> None:
        if not isinstance(output, Tensor):
            who = f"module {path!r}" if path else "the model"
            raise ProbeError(
                f"{who} returns a {type(output).__name__}; expected a tensor. Name a module that "
                "returns one."
            )
        keep(output.clone())

    modules[path].register_forward_hook(hook)


def _all_called(paths: list[str], found: dict[str, Tensor]) -> None:
    missing = [path for path in paths if path not in found]
    if missing:
        raise ProbeError(f"the forward pass did not call {', '.join(missing)}.")
