"""Answers to the exercises of chapter 11: right ones, known mistakes, and what is looked at."""

from __future__ import annotations

import torch
from torch import nn

from cnnlab.course.exercises.built import observe_cases
from cnnlab.course.exercises.sandbox import called, output_of, reads_of

# -- v1: MobileNet from its table


def mobilenet(rows, width, classes):
    def conv(before, after, kernel, stride=1, groups=1):
        return [
            nn.Conv2d(
                before, after, kernel, stride, padding=kernel // 2, groups=groups, bias=False
            ),
            nn.BatchNorm2d(after),
            nn.ReLU(),
        ]

    layers = conv(3, width, 3, stride=2)
    for stride, after in rows:
        layers += conv(width, width, 3, stride, groups=width)
        layers += conv(width, after, 1)
        width = after
    return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(width, classes))


def _rebuilt(change):
    """A wrong `mobilenet`: the right one with `change(model)` applied to what it gives."""

    def wrong(rows, width, classes):
        return change(mobilenet(rows, width, classes))

    return wrong


def _dense(model):
    return _replaced(model, lambda old: {"groups": 1})


def _stride_on_the_1x1(model):
    layers = list(model)
    convs = [i for i, layer in enumerate(layers) if isinstance(layer, nn.Conv2d)][1:]
    for look, blend in zip(convs[::2], convs[1::2]):
        stride = layers[look].stride
        layers[look] = _conv_like(layers[look], stride=1)
        layers[blend] = _conv_like(layers[blend], stride=stride)
    return nn.Sequential(*layers)


def _one_norm_a_pair(model):
    """Neither norm nor ReLU between looking around and mixing."""
    layers = list(model)
    keep = []
    for i, layer in enumerate(layers):
        before = [old for old in layers[max(0, i - 2) : i] if isinstance(old, nn.Conv2d)]
        if before and before[0].groups > 1 and not isinstance(layer, nn.Conv2d):
            continue
        keep.append(layer)
    return nn.Sequential(*keep)


def _no_first_activation(model):
    """Of each pair the first ReLU is missing."""
    layers, keep = list(model), []
    for i, layer in enumerate(layers):
        look = layers[i - 2] if i > 1 else None
        if isinstance(look, nn.Conv2d) and look.groups > 1 and isinstance(layer, nn.ReLU):
            continue
        keep.append(layer)
    return nn.Sequential(*keep)


def _unstrided_stem(model):
    return nn.Sequential(_conv_like(model[0], stride=1), *model[1:])


def _with_bias(model):
    return _replaced(model, lambda old: {"bias": True})


def _replaced(model, change):
    return nn.Sequential(
        *(_conv_like(old, **change(old)) if isinstance(old, nn.Conv2d) else old for old in model)
    )


def _conv_like(old, **changes):
    options = {"stride": old.stride, "padding": old.padding, "groups": old.groups, "bias": False}
    return nn.Conv2d(old.in_channels, old.out_channels, old.kernel_size, **options | changes)


_dense_instead = _rebuilt(_dense)
_strided_mixing = _rebuilt(_stride_on_the_1x1)
_nothing_between = _rebuilt(_one_norm_a_pair)
_one_activation = _rebuilt(_no_first_activation)
_large_stem = _rebuilt(_unstrided_stem)
_biased = _rebuilt(_with_bias)

SMALL_TABLE = ((1, 8), (2, 12), (1, 12), (2, 20))


def _observe_v1(answer):
    cases = (((SMALL_TABLE, 6, 5), (2, 3, 32, 32)), ((SMALL_TABLE[1:], 4, 3), (1, 3, 17, 23)))
    return observe_cases(answer, mobilenet, cases)


# -- inverted: the block of MobileNet v2


class Inverted(nn.Module):
    def __init__(self, before, after, stride, t):
        super().__init__()
        wide = t * before
        self.branch = nn.Sequential(
            nn.Conv2d(before, wide, 1, bias=False),
            nn.BatchNorm2d(wide),
            nn.ReLU6(),
            nn.Conv2d(wide, wide, 3, stride, padding=1, groups=wide, bias=False),
            nn.BatchNorm2d(wide),
            nn.ReLU6(),
            nn.Conv2d(wide, after, 1, bias=False),
            nn.BatchNorm2d(after),
        )
        self.skip = stride == 1 and before == after

    def forward(self, x):
        y = self.branch(x)
        return x + y if self.skip else y


class _ActivatedEnd(Inverted):
    def __init__(self, before, after, stride, t):
        super().__init__(before, after, stride, t)
        self.branch.append(nn.ReLU6())


class _NoShortcut(Inverted):
    def forward(self, x):
        return self.branch(x)


class _ShortcutByWidth(Inverted):
    def __init__(self, before, after, stride, t):
        super().__init__(before, after, stride, t)
        self.skip = before == after


class _ShortcutByWidthTurned(_ShortcutByWidth):
    def forward(self, x):
        y = self.branch(x)
        return y + x if self.skip else y  # other words of PyTorch


class _PlainReLU(Inverted):
    def __init__(self, before, after, stride, t):
        super().__init__(before, after, stride, t)
        self.branch[2] = self.branch[5] = nn.ReLU()


class _DenseMiddle(Inverted):
    def __init__(self, before, after, stride, t):
        super().__init__(before, after, stride, t)
        self.branch[3] = nn.Conv2d(t * before, t * before, 3, stride, padding=1, bias=False)


class _StridedWidening(Inverted):
    def __init__(self, before, after, stride, t):
        super().__init__(before, after, stride, t)
        wide = t * before
        self.branch[0] = nn.Conv2d(before, wide, 1, stride, bias=False)
        self.branch[3] = nn.Conv2d(wide, wide, 3, padding=1, groups=wide, bias=False)


class _ReluAfterSum(Inverted):
    def forward(self, x):
        return nn.functional.relu6(super().forward(x))


def _observe_inverted(answer):
    settings = ((6, 6, 1, 4), (6, 9, 2, 3), (6, 9, 1, 2), (5, 5, 2, 3))
    return {
        **observe_cases(answer, Inverted, [(each, (2, each[0], 8, 7)) for each in settings]),
        "no convolution inside reads more than 6": _cut_off_at_6(answer),
    }


def _cut_off_at_6(answer):
    """Whether the activations hold large values back, which no small weights show."""
    module = called(answer, Inverted, 6, 6, 1, 4).train()
    for norm in module.modules():
        if isinstance(norm, nn.BatchNorm2d) and norm.affine:
            nn.init.constant_(norm.weight, 10.0)
    reads = reads_of(layer for layer in module.modules() if isinstance(layer, nn.Conv2d))
    output_of(module, torch.randn(2, 6, 8, 8))
    return all(bool((read <= 6).all()) for read in reads[1:])


# -- fault: a separable block that neither separates nor mixes


class Separable(nn.Module):
    def __init__(self, before, after, stride=1):
        super().__init__()
        self.look = nn.Conv2d(before, before, 3, stride, padding=1, groups=before, bias=False)
        self.norm1 = nn.BatchNorm2d(before)
        self.mix = nn.Conv2d(before, after, 1, bias=False)
        self.norm2 = nn.BatchNorm2d(after)

    def forward(self, x):
        x = self.norm1(self.look(x)).relu()
        return self.norm2(self.mix(x)).relu()


class _AsGiven(Separable):
    """The mixing is grouped too, so that no channel ever meets another."""

    def __init__(self, before, after, stride=1):
        super().__init__(before, after, stride)
        self.mix = nn.Conv2d(before, after, 1, groups=before, bias=False)


class _MixesInPairs(Separable):
    def __init__(self, before, after, stride=1):
        super().__init__(before, after, stride)
        self.mix = nn.Conv2d(before, after, 1, groups=2, bias=False)


class _DenseLook(Separable):
    def __init__(self, before, after, stride=1):
        super().__init__(before, after, stride)
        self.look = nn.Conv2d(before, before, 3, stride, padding=1, bias=False)


def _observe_fault(answer):
    cases = (((8, 16, 2), (2, 8, 9, 9)), ((4, 8), (2, 4, 6, 7)), ((6, 6, 2), (1, 6, 5, 5)))
    return observe_cases(answer, Separable, cases)


# -- sizes: which image sides a padded U-Net takes


def fitting(side, depth):
    step = 2**depth
    return side - side % step, side + -side % step


def _more(draw):
    return draw.randint(1, 700), draw.randint(0, 6)


def _half_is_enough(side, depth):
    return side - side % 2, side + side % 2


def _twice_the_depth(side, depth):
    step = 2 * depth
    return side - side % step, side + -side % step


def _always_up(side, depth):
    step = 2**depth
    return side - side % step, side - side % step + step


def _one_level_more(side, depth):
    return fitting(side, depth + 1)
