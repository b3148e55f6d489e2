"""Answers to the exercises of chapter 03: right ones, known mistakes, and what is looked at."""

from __future__ import annotations

import torch
from torch import nn

from cnnlab.arithmetic import conv_params
from cnnlab.course.exercises.built import must_be_function, observe_cases
from cnnlab.course.exercises.judge import at_least, at_most
from cnnlab.course.exercises.sandbox import called, output_of, reads_of

# -- break_even: the largest hidden width that still saves weights


def break_even(inputs, outputs, small):
    large = 2 * small - 1
    budget = large**2 * inputs * outputs  # one large kernel
    per_hidden = small**2 * (inputs + outputs)  # what each hidden channel costs
    return (budget - 1) // per_hidden  # strictly below the budget


def _equal_counts_as_saving(inputs, outputs, small):
    return (2 * small - 1) ** 2 * inputs * outputs // (small**2 * (inputs + outputs))


def _first_layer_only(inputs, outputs, small):
    return ((2 * small - 1) ** 2 * inputs * outputs - 1) // (small**2 * inputs)


def _all_widths_equal(inputs, outputs, small):
    return ((2 * small - 1) ** 2 * inputs - 1) // (2 * small**2)


def _one_above(inputs, outputs, small):
    return break_even(inputs, outputs, small) + 1


# -- stack: the loop that is a stage of VGG


def stack(widths, kernel=3):
    layers = []
    for before, after in zip(widths, widths[1:]):
        layers.append(nn.Conv2d(before, after, kernel, padding=kernel // 2))
        layers.append(nn.ReLU())
    return nn.Sequential(*layers)


def _stacked(widths, kernel=3, relus="after each", **options):
    options = {"padding": kernel // 2, **options}
    layers = []
    for before, after in zip(widths, widths[1:]):
        layers += [nn.Conv2d(before, after, kernel, **options), nn.ReLU()]
    kept = {"after each": layers, "between": layers[:-1], "none": layers[::2]}
    return nn.Sequential(*kept[relus])


def _no_relu_at_all(widths, kernel=3):
    return _stacked(widths, kernel, relus="none")


def _relu_only_between(widths, kernel=3):
    return _stacked(widths, kernel, relus="between")


def _not_padded(widths, kernel=3):
    return _stacked(widths, kernel, padding=0)


def _padded_for_three(widths, kernel=3):
    return _stacked(widths, kernel, padding=1)


def _no_bias(widths, kernel=3):
    return _stacked(widths, kernel, bias=False)


def _always_three(widths, kernel=3):
    return _stacked(widths, 3)


def _last_pair_left_out(widths, kernel=3):
    return _stacked(widths[:-1], kernel)


def _observe_written(build):
    cases = ((((4, 6, 6, 6),), (2, 4, 9, 9)), (((4, 6, 3), 5), (1, 4, 12, 13)))
    return observe_cases(build, stack, cases)


def _more(draw):
    return draw.randint(1, 256), draw.randint(1, 256), draw.randint(2, 6)


# -- shared_layer: a list multiplied instead of layers made


def _same_layer_three_times(channels, layers):
    return nn.Sequential(
        *[nn.Conv2d(channels, channels, 3, padding=1, bias=False), nn.ReLU()] * layers
    )


def stack_of(channels, layers):
    modules = []
    for _ in range(layers):
        modules += [nn.Conv2d(channels, channels, 3, padding=1, bias=False), nn.ReLU()]
    return nn.Sequential(*modules)


def _without_relu(channels, layers):
    convolutions = [nn.Conv2d(channels, channels, 3, padding=1, bias=False) for _ in range(layers)]
    return nn.Sequential(*convolutions)


def _without_padding(channels, layers):
    modules = []
    for _ in range(layers):
        modules += [nn.Conv2d(channels, channels, 3, bias=False), nn.ReLU()]
    return nn.Sequential(*modules)


def _with_bias(channels, layers):
    modules = []
    for _ in range(layers):
        modules += [nn.Conv2d(channels, channels, 3, padding=1), nn.ReLU()]
    return nn.Sequential(*modules)


def _no_last_relu(channels, layers):
    return stack_of(channels, layers)[:-1]


def _seen_in_stack(build):
    must_be_function(build)
    model = called(build, stack_of, 8, 3)
    if not isinstance(model, nn.Module):
        raise ValueError(
            f"the function gives a {type(model).__name__}, expected an nn.Module; "
            "return nn.Sequential(*modules)"
        )
    if isinstance(model, nn.ModuleList):
        raise ValueError(
            "a ModuleList only holds layers, it does not run them; return nn.Sequential(*modules)"
        )
    reads = reads_of(m for m in model.modules() if isinstance(m, nn.Conv2d))
    output = output_of(model, torch.rand(1, 8, 12, 12))
    return {
        "convolutions that run in stack_of(8, 3)": len(reads),
        "weights of stack_of(8, 3)": sum(p.numel() for p in model.parameters()),
        "shape for an input of (1, 8, 12, 12)": tuple(output.shape),
        "there is a ReLU between the layers": not any((x < 0).any() for x in reads[1:]),
        "weights of stack_of(4, 2)": sum(p.numel() for p in build(4, 2).parameters()),
    }


def _observe_stack(build):
    cases = (((8, 3), (1, 8, 12, 12)), ((4, 2), (2, 4, 7, 6)), ((3, 1), (1, 3, 5, 5)))
    seen = _seen_in_stack(build)
    if False in seen.values() or seen["weights of stack_of(4, 2)"] != 2 * 9 * 4 * 4:
        return seen
    return seen | observe_cases(build, stack_of, cases, accept=(_no_last_relu,))


# -- budget: a block from 64 to 64 channels on 28 x 28

BUDGET_WEIGHTS, BUDGET_VALUES = 110_000, 150_000


def _observe_budget(answer):
    if not isinstance(answer, (list, tuple)) or not answer:
        raise ValueError(
            "give a list of (kernel, output channels), one pair per layer, such as "
            "[(3, 32), (3, 64)]"
        )
    view, weights, values, before, narrowest = 1, 0, 0, 64, 64
    for layer in answer:
        if not isinstance(layer, (list, tuple)) or len(layer) != 2:
            raise ValueError(f"a layer is a pair (kernel, output channels), got {layer!r}")
        kernel, after = layer
        if type(kernel) is not int or type(after) is not int or kernel < 1 or after < 1:
            raise ValueError(f"kernel and channels are whole numbers from 1, got {layer!r}")
        if kernel % 2 == 0:
            raise ValueError(f"kernel {kernel} is even: no equal padding keeps the size")
        view += kernel - 1
        weights += conv_params(before, after, kernel, bias=False)
        values += after * 28 * 28
        narrowest = min(narrowest, after)
        before = after
    return {
        "the last layer has 64 output channels": before == 64,
        "the view is at least 9 x 9": at_least(view, 9),
        "no layer has fewer than 16 output channels": at_least(narrowest, 16),
        f"at most {BUDGET_WEIGHTS:,} weights": at_most(weights, BUDGET_WEIGHTS),
        f"at most {BUDGET_VALUES:,} stored values": at_most(values, BUDGET_VALUES),
    }
