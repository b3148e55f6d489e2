"""Modules that a learner writes, held against the course's own: parameters, shapes, the function.

Names and the order of layers are free. Both modules get the same numbers into parameters of the
same size, so that equal architectures compute equal outputs, whatever they call their parts; and
every parameter must get a gradient, which finds a layer used twice in place of another. A module
whose parameters have other sizes can be right and compute other numbers: it is not judged by them.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence

import torch
from torch import nn
from torch.nn.parameter import is_lazy

from cnnlab.course.exercises.judge import Sizes, difference_of
from cnnlab.course.exercises.sandbox import called, output_of


def observe_built(
    answer: Callable[..., nn.Module],
    reference: Callable[..., nn.Module],
    *arguments: object,
    shape: Sequence[int],
) -> dict[str, object]:
    """What a check looks at, of the module that `answer(*arguments)` builds.

    reference  whose parameters, their order and their names are free, but whose function counts.
    shape      (B, C, H, W) or another shape of an input that both take.

    Raises ValueError, with a sentence, where the answer is no class or its output no tensor.
    """
    module = made(answer, reference, *arguments)
    if not any(True for _ in module.parameters()):
        raise ValueError(
            "the module has no parameters: assign its layers to self in __init__ (a plain list "
            "hides them: use nn.Sequential or nn.ModuleList)"
        )
    images = _numbers(tuple(shape), 10.0)  # beyond 6, where ReLU6 is not ReLU
    ready(module, images)
    before = images.clone()
    output = output_of(module.train(), images)
    still = output_of(copy.deepcopy(module).eval(), images).detach()
    left, arrived = _gradients(module, before)
    return {
        "parameters": sum(p.numel() for p in module.parameters()),
        f"shape of the output for {tuple(shape)}": tuple(output.shape),
        "the input is left as it was": bool(torch.equal(images, before)),
        "parameters that get no gradient": left,
        "a gradient reaches the input": bool(arrived.any()),
        "sizes of the parameters": sizes(module),
        "gradient that reaches the input, as a share of its largest number": arrived,
        "output, with the same weights as the course's": output.detach(),
        "output in evaluation": still,
    }


def ready(module: nn.Module, images: torch.Tensor) -> None:
    """Lazy layers take their sizes from the images; then `fill`."""
    known(module, images)
    fill(module)


def known(module: nn.Module, images: torch.Tensor) -> nn.Module:
    """The module, with the sizes of its lazy layers taken from the images."""
    if any(is_lazy(parameter) for parameter in module.parameters()):
        was = module.training
        output_of(module.eval(), images.clone())  # running statistics do not move
        module.train(was)
    return module


def sizes(module: nn.Module) -> Sizes:
    """The sizes of its parameters, in any order; a 1x1 convolution has those of a linear layer."""
    return Sizes(tuple(sorted(size(p) for p in module.parameters())))


def size(parameter: torch.Tensor) -> tuple[int, ...]:
    """Its shape without axes of one."""
    return tuple(n for n in parameter.shape if n > 1)


def observe_cases(
    answer: Callable[..., nn.Module],
    reference: Callable[..., nn.Module],
    cases: Sequence[tuple[tuple, Sequence[int]]],
    accept: Sequence[Callable[..., nn.Module]] = (),
) -> dict[str, object]:
    """`observe_built` for several ((arguments), shape of the input).

    accept  other right answers: what agrees with one of them in all cases is taken for `reference`.
    """

    def observed(module: Callable[..., nn.Module]) -> dict[str, object]:
        return {
            f"{_words(arguments, shape) * (len(cases) > 1)}{label}": value
            for arguments, shape in cases
            for label, value in observe_built(module, reference, *arguments, shape=shape).items()
        }

    found = observed(answer)
    for other in accept:
        if difference_of(found, observed(other), 1e-5, reveal=True) is None:
            return observed(reference)
    return found


def _words(arguments: tuple, shape: Sequence[int]) -> str:
    return f"with {arguments}, for {tuple(shape)}: " if arguments else f"for {tuple(shape)}: "


def made(answer: object, reference: Callable, *arguments: object) -> nn.Module:
    """The module that the learner's class or function makes. Raises ValueError for others."""
    if isinstance(answer, nn.Module) or not callable(answer):
        raise ValueError("give the class or the function itself, without calling it")
    module = called(answer, reference, *arguments)
    if not isinstance(module, nn.Module):
        raise ValueError(
            f"it gives a {type(module).__name__}, expected an nn.Module: write class "
            "Name(nn.Module), or return nn.Sequential(*layers)"
        )
    return module


def must_be_function(answer: object) -> None:
    """Raises ValueError, with a sentence, for what no call can be made of, and for a module."""
    if not callable(answer) or isinstance(answer, nn.Module):
        raise ValueError("give the function itself, without calling it")


def fill(module: nn.Module) -> None:
    """Put in numbers that depend on each parameter's size alone, and keep signals alive."""
    with torch.no_grad():
        for parameter in module.parameters():
            fan_in = parameter[0].numel() if parameter.dim() > 1 else 4
            numbers = _numbers(size(parameter), (2 / fan_in) ** 0.5)
            parameter.copy_(numbers.reshape(parameter.shape))


def _numbers(shape: tuple[int, ...], spread: float) -> torch.Tensor:
    generator = torch.Generator().manual_seed(sum(7**i * n for i, n in enumerate(shape)))
    return torch.randn(shape, generator=generator) * spread


def without_gradient(module: nn.Module, images: torch.Tensor) -> int:
    """How many parameters a backward pass leaves without a gradient, on these images."""
    return _gradients(module, images)[0]


def _gradients(module: nn.Module, images: torch.Tensor) -> tuple[int, torch.Tensor]:
    """`without_gradient`, and what reaches the images, as a share of its largest number."""
    module.zero_grad()
    with torch.enable_grad():
        first = images.clone().requires_grad_()
        output = output_of(module, first * 1)  # as behind another layer: may be changed in place
        if output.requires_grad:
            (output * _numbers(tuple(output.shape), 1.0)).sum().backward()
    left = sum(p.numel() for p in module.parameters() if p.grad is None or not bool(p.grad.any()))
    arrived = torch.zeros_like(images) if first.grad is None else first.grad
    return left, arrived / arrived.abs().max().clamp(min=1e-30)
