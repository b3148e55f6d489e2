"""For the fuzz of the judge: random designs with the requirements written anew, by building what is
designed where that can be done; and fresh arguments and inputs for the modules of learners."""

from __future__ import annotations

import itertools
import random
from functools import lru_cache

import torch
from torch import nn

from cnnlab.course.capstone import audit
from cnnlab.models.design import Design, network
from cnnlab.models.googlenet import Row
from tests.tools.stored import measure_flow


def _count(layers: list[nn.Module]) -> int:
    return sum(p.numel() for layer in layers for p in layer.parameters())


def _whole(*numbers: object) -> bool:
    return all(type(n) is int and n >= 1 for n in numbers)


def _dilations(answer) -> bool:
    if not _whole(*answer) or len(answer) != 4:
        return False
    line = torch.zeros(1, 1, 4001)
    line[0, 0, 2000] = 1
    for dilation in answer:
        line = nn.functional.conv1d(line, torch.ones(1, 1, 3), padding=dilation, dilation=dilation)
        line = (line > 0).float()
    seen = line[0, 0].nonzero()[:, 0]
    width = int(seen[-1] - seen[0]) + 1
    return width >= 60 and len(seen) == width


def _kernels(answer) -> bool:
    before, layers, values = 64, [], 0
    for kernel, after in answer:
        if not _whole(kernel, after) or kernel % 2 == 0:
            return False
        layers.append(nn.Conv2d(before, after, kernel, padding=kernel // 2, bias=False))
        values += after * 28 * 28
        before = after
    view = sum(layer.kernel_size[0] - 1 for layer in layers) + 1
    widths = [layer.out_channels for layer in layers]
    enough = before == 64 and view >= 9 and min(widths) >= 16
    return enough and _count(layers) <= 110_000 and values <= 150_000


def _mixing(answer) -> bool:
    before, layers = 64, []
    for kernel, after, groups in answer:
        if not _whole(kernel, after, groups) or before % groups or after % groups:
            return False
        layers.append(nn.Conv2d(before, after, kernel, groups=groups, bias=False))
        before = after
    if before != 64 or sum(layer.kernel_size[0] - 1 for layer in layers) < 2:
        return False
    if min(layer.out_channels for layer in layers) < 16 or _count(layers) > 6_000:
        return False
    reach = torch.eye(64)
    for layer in layers:
        blocks = [torch.ones(layer.out_channels // layer.groups, layer.in_channels // layer.groups)]
        reach = torch.block_diag(*blocks * layer.groups) @ reach
    return bool((reach > 0).all())


def _small(answer) -> bool:
    widths, poolings = answer
    if len(widths) != 5 or not _whole(*widths, *poolings) or len({*poolings}) < len(poolings):
        return False
    if any(stage > 5 for stage in poolings):
        return False
    if list(widths) != sorted(widths) or widths[0] < 8 or widths[-1] < 64:
        return False
    params, macs, side, before = 0, 0, 32, 3
    for stage, (count, width) in enumerate(zip((2, 2, 3, 3, 3), widths), 1):
        for _ in range(count):
            params += 9 * before * width + width
            macs += 9 * before * width * side * side
            before = width
        if stage in poolings:
            side //= 2
    return side >= 4 and params + 160 * width + 10 <= 500_000 and macs + 160 * width <= 20_000_000


def _inception(answer) -> bool:
    if len(answer) != 6 or not _whole(*answer):
        return False
    a, b, c, d, e, f = answer
    plan = ((256, a, 1), (256, b, 1), (b, c, 3), (256, d, 1), (d, e, 5), (256, f, 1))
    weights = sum(x * y * k * k for x, y, k in plan)
    widths = a + c + e + f == 480 and c >= 128 and e >= 64 and a >= 64 and f >= 32
    return widths and 3 * b >= c and 3 * d >= e and weights <= 194_048


def _residual(answer) -> bool:
    if len(answer) != 3 or not all(_whole(*stage) for stage in answer):
        return False
    widths = [width for _, width in answer]
    if widths != sorted(widths) or widths[0] < 8 or widths[-1] < 64:
        return False
    params, macs, before = 27 * widths[0] + 2 * widths[0], 27 * widths[0] * 1024, widths[0]
    for (blocks, width), pixels in zip(answer, (1024, 256, 64)):
        for _ in range(2 * blocks):
            params += 9 * before * width + 2 * width
            macs += 9 * before * width * pixels
            before = width
    layers = 2 * sum(blocks for blocks, _ in answer) + 2
    return (
        layers >= 50 and params + 11 * before - before + 10 <= 400_000 and macs + 10 * before <= 7e7
    )


def _dense(answer) -> bool:
    growth, layers, bottleneck = answer
    if not _whole(growth, layers) or not isinstance(bottleneck, bool):
        return False
    weights = kept = 0
    for layer in range(layers):
        reads = 64 + layer * growth
        weights += reads * 4 * growth + 36 * growth**2 if bottleneck else 9 * reads * growth
        kept += 2 * reads + (8 * growth if bottleneck else 0)
    outputs = 64 + layers * growth
    return outputs >= 256 and layers >= 8 and weights <= 290_000 and kept <= 3_000


@lru_cache(maxsize=None, typed=True)  # True is no 1
def _flows(activation, init, norm) -> bool:
    """By the network itself, in place of the stored numbers."""
    if activation not in STATES[0] or init not in STATES[1] or not isinstance(norm, bool):
        return False
    passed = measure_flow(56, activation, init, norm, False)
    shares = passed.gradients
    differ = passed.spreads[-1] / passed.spreads[0]
    return min(shares) >= 0.002 and max(shares) <= 5 and 0.5 <= differ <= 100


STATES = (("sigmoid", "tanh", "ReLU"), ("Xavier", "He", "small, 0.01", "large, 0.3"))


def _healthy(answer) -> bool:
    return len(answer) == 3 and _flows(*answer)


def _recipe(draw: random.Random):
    made = tuple(draw.choice((*names, "LeCun")) for names in STATES)
    return (*made, draw.choice((True, False, 1, None)))


def _pairs(draw: random.Random):
    return [
        (draw.choice((1, 3, 5, 7, 9)), draw.choice((1, 16, 24, 32, 48, 64)))
        for _ in range(draw.randint(1, 5))
    ]


def _triples(draw: random.Random):
    sides = (1, 16, 32, 64)
    return [
        (draw.choice((1, 3, 5)), draw.choice(sides), draw.choice(sides))
        for _ in range(draw.randint(1, 3))
    ]


def _vgg(draw: random.Random):
    widths = tuple(draw.choice((1, 8, 16, 24, 32, 64, 80)) for _ in range(5))
    return widths, tuple(draw.sample((1, 2, 3, 4, 5), draw.randint(0, 5)))


def _rows(draw: random.Random):
    a, b, c, d, e = (
        draw.randint(*ends) for ends in ((1, 288), (16, 64), (100, 160), (8, 40), (48, 80))
    )
    return a, b, c, d, e, max(480 - a - c - e, 1)


def _stages(draw: random.Random):
    widths = (draw.choice((1, 4, 8, 12, 16)), draw.choice((8, 16, 24, 32)), draw.choice((48, 64)))
    return [(draw.randint(1, 22), width) for width in widths]


def _counted(answer: Design):
    """(parameters, MACs, bytes kept, field) of a design, or None where it is none."""
    stages = [*zip(answer.convs, answer.widths, answer.strides)]
    sizes = {len(part) for part in (answer.convs, answer.widths, answer.strides)}
    if not stages or len(sizes) > 1 or not all(_whole(*stage) for stage in stages):
        return None
    side, before, jump, field = 16, 1, 1, 1
    params = macs = 0
    maps = side**2
    for convs, width, stride in stages:
        for step in (stride, *[1] * (convs - 1)):
            side, field, jump = -(-side // step), field + 2 * jump, jump * step
            params += 9 * before * width + 2 * width
            macs += 9 * before * width * side**2
            maps += 2 * width * side**2 + 2 * width
            before = width
    return params + 11 * before - before + 10, macs + 10 * before, 4 * (maps + before), field


def _cheapest(answer) -> bool:
    found = _counted(answer)
    if found is None or {*answer.widths} != {16} or max(answer.strides) > 2:
        return False
    return found[3] >= 31 and found[1] <= LEAST


def _deep(answer) -> bool:
    found = _counted(answer)
    if found is None or sum(answer.convs) != 12:
        return False
    params, macs, kept, field = found
    if answer.skips:  # their sums are kept too; the judge's own number
        kept = audit(network(answer)).kept
    return 36_000 < params <= 40_000 and macs <= 500_000 and kept <= 40_000 and field >= 31


def _any_design(draw: random.Random):
    stages = draw.randint(1, 5)
    convs = tuple(draw.randint(1, 5) for _ in range(stages))
    widths = tuple(draw.choice((6, 7, 8, 12, 14, 15, 16, 24, 28, 30)) for _ in range(stages))
    strides = tuple(draw.choice((1, 2, 2, 2, 3)) for _ in range(stages))
    return Design(convs, draw.choice((widths, (16,) * stages)), strides, draw.random() < 0.2)


# The fewest MACs of all designs of up to six convolutions, one after the other.
LEAST = min(
    found[1]
    for count in range(1, 7)
    for strides in itertools.product((1, 2), repeat=count)
    if (found := _counted(Design((1,) * count, (16,) * count, strides)))[3] >= 31
)


# name: (a random design, whether it fulfills everything); names alone where two chapters share one
DESIGNS = {
    "dilations": (
        lambda draw: [draw.randint(1, 40) for _ in range(draw.randint(3, 5))],
        _dilations,
    ),
    "healthy": (_recipe, _healthy),
    "cheapest": (_any_design, _cheapest),
    "deep": (_any_design, _deep),
    "mixing": (_triples, _mixing),
    "small_budget": (_vgg, _small),
    "03.budget": (_pairs, _kernels),
    "06.budget": (_rows, _inception),
    "08.budget": (_stages, _residual),
    "09.budget": (
        lambda draw: (draw.randint(1, 60), draw.randint(1, 14), draw.random() < 0.4),
        _dense,
    ),
}


def _sizes(draw, *channels):
    return (draw.randint(1, 3), channels[0], draw.randint(5, 9), draw.randint(5, 9))


def _two(draw):
    before, after = draw.randint(2, 9), draw.randint(2, 9)
    return (before, after), _sizes(draw, before)


def _one(draw):
    channels = draw.randint(2, 9)
    return (channels,), _sizes(draw, channels)


def _towers(draw):
    before, after = 2 * draw.randint(1, 4), 2 * draw.randint(1, 4)
    return (before, after, draw.choice((1, 3, 5))), _sizes(draw, before)


def _stack(draw):
    channels = draw.randint(1, 6)
    return (channels, draw.randint(1, 4)), _sizes(draw, channels)


def _module(draw):
    inputs = draw.randint(2, 6)
    return (inputs, Row(*(draw.randint(2, 6) for _ in range(6)))), _sizes(draw, inputs)


def _widths(draw):
    widths = tuple(draw.randint(1, 6) for _ in range(draw.randint(2, 5)))
    kernel = draw.choice(((), (1,), (3,), (5,)))  # (): as the exercise's default
    return (widths, *kernel), _sizes(draw, widths[0])


def _strided(draw):
    (before, after), shape = _two(draw)
    after = draw.choice((before, after))
    return (before, after, draw.randint(1, 2)), shape


def _mobile(draw):
    rows = tuple((draw.randint(1, 2), draw.randint(2, 9)) for _ in range(draw.randint(1, 4)))
    shape = (draw.randint(2, 3), 3, draw.randint(20, 36), draw.randint(20, 36))
    return (rows, draw.randint(2, 6), draw.randint(2, 6)), shape


def _inverted(draw):
    (before, after, stride), shape = _strided(draw)
    return (before, after, stride, draw.randint(1, 4)), shape


def _faulty(draw):
    (before, after, stride), shape = _strided(draw)
    return (before, after, stride)[: draw.choice((2, 3))], shape


def _head(draw):
    features = draw.randint(3, 30)
    return (features, draw.randint(2, 9)), (draw.randint(1, 20), features)


# name: fresh arguments of the class and the shape of its input
MODULES = {
    "lenet": lambda draw: ((), (draw.randint(1, 3), 1, 32, 32)),
    "batch": lambda draw: ((), (draw.randint(1, 4), 1, 32, 32)),
    "separable": _two,
    "block": _one,
    "shared_layer": _stack,
    "v1": _mobile,
    "inverted": _inverted,
    "fault": _faulty,
    "towers": _towers,
    "head": _head,
    "naive_module": _one,
    "wrong_axis": _one,
    "module": _module,
    "residual_block": _strided,
    "stack": _widths,
    "only_grows": _one,
    "in_place": _one,
    "dense_layer": _two,
    "polite": _two,
}
