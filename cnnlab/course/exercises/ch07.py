"""Exercises of chapter 07, why depth fails."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import nn

from cnnlab.course.exercises.built import must_be_function
from cnnlab.course.exercises.exercise import Exercise, Exercises, Mistake
from cnnlab.course.exercises.judge import at_least, at_most
from cnnlab.course.exercises.sandbox import called, output_of

# -- copying: a convolution that passes on what it gets


def copying_layer(channels):
    conv = nn.Conv2d(channels, channels, 3, padding=1, bias=False)
    nn.init.zeros_(conv.weight)
    with torch.no_grad():
        for channel in range(channels):
            conv.weight[channel, channel, 1, 1] = 1  # its own channel, the middle
    return nn.Sequential(conv, nn.ReLU())


def _filled(channels, fill, padding=1):
    conv = nn.Conv2d(channels, channels, 3, padding=padding, bias=False)
    with torch.no_grad():
        fill(conv.weight.zero_())
    return nn.Sequential(conv, nn.ReLU())


def _mixes_all_channels(channels):
    return _filled(channels, lambda weight: weight[:, :, 1, 1].fill_(1))


def _all_ones(channels):
    return _filled(channels, lambda weight: weight.fill_(1))


def _blurs(channels):
    return _filled(channels, lambda weight: [weight[c, c].fill_(1 / 9) for c in range(channels)])


def _all_zero(channels):
    return _filled(channels, lambda weight: weight)


def _moves_by_a_pixel(channels):
    return _filled(channels, lambda weight: [weight[c, c, 0, 0].fill_(1) for c in range(channels)])


def _only_channel_0(channels):
    return _filled(channels, lambda weight: weight[0, 0, 1, 1].fill_(1))


def _others_left_random(channels):
    conv = nn.Conv2d(channels, channels, 3, padding=1, bias=False)
    with torch.no_grad():
        for channel in range(channels):
            conv.weight[channel, channel, 1, 1] = 1
    return nn.Sequential(conv, nn.ReLU())


def _without_padding(channels):
    return _filled(channels, lambda weight: nn.init.dirac_(weight), padding=0)


def _no_weights(channels):
    return nn.Sequential(nn.Identity(), nn.ReLU())


def _observe_copying(build):
    model = _called(build, 6)
    pixels = torch.zeros(6, 6, 9, 9)
    pixels[range(6), range(6), 4, 4] = 1.0  # image c: one, in channel c
    maps = 20 * torch.rand(2, 6, 9, 9, generator=torch.Generator().manual_seed(0))
    output = output_of(model, maps)
    if output.requires_grad:
        output.sum().backward()
    deaf = sum(p.grad is None for p in model.parameters())
    with torch.no_grad():
        return {
            "weights of copying_layer(6)": sum(p.numel() for p in model.parameters()),
            "shape for an input of (2, 6, 9, 9)": tuple(output.shape),
            "where a bright pixel of each channel arrives, (from, to, row, column)": [
                tuple(place) for place in model(pixels).nonzero().tolist()
            ],
            "maps without negative values pass unchanged": model(maps).shape == maps.shape
            and torch.allclose(model(maps), maps),
            "negative values come out as 0": bool((model(-maps) == 0).all()),
            "a gradient reaches the weights": deaf == 0,
            "it does the same after model.eval()": torch.equal(output, model.eval()(maps)),
        }


def _called(function, *arguments):
    must_be_function(function)
    model = called(function, copying_layer, *arguments)
    if not isinstance(model, nn.Module):
        raise ValueError(
            f"the function gives a {type(model).__name__}, expected an nn.Module: is "
            "the `return` missing?"
        )
    return model


# -- all_gone: gradients read after they were cleared


def report(model, images, labels):
    F.cross_entropy(model(images), labels).backward()
    norms = [p.grad.norm().item() for p in model.parameters() if p.ndim > 1]
    model.zero_grad()  # after reading
    return norms


def _read_too_late(model, images, labels):
    F.cross_entropy(model(images), labels).backward()
    model.zero_grad(set_to_none=False)
    return [p.grad.norm().item() for p in model.parameters() if p.ndim > 1]


def _removed_too_early(model, images, labels):
    F.cross_entropy(model(images), labels).backward()
    model.zero_grad()
    return [p.grad.norm().item() for p in model.parameters() if p.ndim > 1]


def _never_cleared(model, images, labels):
    F.cross_entropy(model(images), labels).backward()
    return [p.grad.norm().item() for p in model.parameters() if p.ndim > 1]


def _cleared_before_only(model, images, labels):
    model.zero_grad()
    F.cross_entropy(model(images), labels).backward()
    return [p.grad.norm().item() for p in model.parameters() if p.ndim > 1]


def _biases_too(model, images, labels):
    F.cross_entropy(model(images), labels).backward()
    norms = [p.grad.norm().item() for p in model.parameters()]
    model.zero_grad()
    return norms


def _of_the_weights(model, images, labels):
    F.cross_entropy(model(images), labels).backward()
    model.zero_grad()
    return [p.detach().norm().item() for p in model.parameters() if p.ndim > 1]


def _observe_report(function):
    must_be_function(function)
    with torch.random.fork_rng(devices=()):
        torch.manual_seed(0)
        inner = nn.Sequential(nn.Conv2d(4, 2, 1), nn.BatchNorm2d(2), nn.Tanh(), nn.Dropout(0.1))
        conv = nn.Conv2d(1, 4, 3)
        model = nn.Sequential(conv, nn.Tanh(), inner, nn.Flatten(), nn.Linear(72, 10))
        images, labels = torch.randn(5, 1, 8, 8), torch.arange(5)
    first, second = (called(function, report, model, images, labels) for _ in range(2))
    return {
        "norms of the first call": first,
        "norms of a second call": second,
        "no gradient is left afterwards": all(
            p.grad is None or not p.grad.any() for p in model.parameters()
        ),
    }


# -- healthy: 56 layers without skips


def _observe_healthy(answer):
    from cnnlab.course.explorers.ch07_gradient_flow import ACTIVATIONS, INITIALIZATIONS, flow

    if not isinstance(answer, (tuple, list)) or len(answer) != 3:
        raise ValueError(
            'give a triple (activation, initialization, norm), such as ("ReLU", "He", True)'
        )
    activation, init, norm = answer
    known = [name for name in ACTIVATIONS if name != "none"]
    if activation not in known:
        raise ValueError(f"activation {activation!r}: choose one of {', '.join(known)}")
    if init not in INITIALIZATIONS:
        names = ", ".join(map(repr, INITIALIZATIONS))
        raise ValueError(f"initialization {init!r}: choose one of {names}")
    if not isinstance(norm, bool):
        raise ValueError(f"batch norm is True or False, got {norm!r}")
    passed = flow(56, activation, init, norm)
    smallest, largest = min(passed.gradients), max(passed.gradients)
    differ = passed.spreads[-1] / passed.spreads[0]
    return {
        "a gradient arrives: every layer's share is at least a millionth": at_least(smallest, 1e-6),
        "the images do not drift apart: in the last layer they differ at most 100 times as "
        "much as in the first": at_most(differ, 100),
        "every layer's share is at least 0.002": at_least(smallest, 0.002),
        "no layer's share is above 5": at_most(largest, 5),
        "in the last layer images differ at least 0.5 times as much as in the first": at_least(
            differ, 0.5
        ),
    }


exercises = Exercises(
    Exercise(
        "ten_sigmoids",
        "The largest slope of ten sigmoids in a row",
        "recall",
        2,
        0.25**10,
        mistakes=(
            Mistake(0.5**10, "0.5 is the sigmoid's *value* at 0. Its slope there is s (1 - s)."),
            Mistake(0.25 * 10, "Slopes of a chain multiply; you added them."),
            Mistake(1.0, "Only a slope of 1 would stay 1. What is the sigmoid's largest slope?"),
            Mistake(0.25**9, "That is nine layers."),
        ),
        hints=(
            "The sigmoid's slope is s (1 - s). Where is that largest?",
            "Each layer contributes at most 1/4 as a factor.",
        ),
        note="0.25^10 is about a millionth, and that is the best case: each unit exactly at 0.",
        working="0.25 ** 10",
        tolerance=0.01,
    ),
    Exercise(
        "he_spread",
        "He's standard deviation, 3x3 from 32 to 48 channels",
        "compute",
        4,
        (2 / 288) ** 0.5,
        mistakes=(
            Mistake(2 / 288, "That is the variance. The standard deviation is its root."),
            Mistake((1 / 288) ** 0.5, "The factor 2 is missing: it makes up for what ReLU cuts."),
            Mistake(
                (2 / 32) ** 0.5,
                "An output value adds 9 products *per channel*: the kernel's area belongs to the "
                "fan-in.",
            ),
            Mistake(
                (2 / 432) ** 0.5,
                "That is the fan-out: 9 times the output channels. Asked for: fan-in.",
            ),
            Mistake((2 / 720) ** 0.5, "That is Xavier's, which averages fan-in and fan-out."),
        ),
        hints=(
            "How many products does one output value add? That is the fan-in.",
            "Var(w) = 2 / fan-in; the standard deviation is the root of it.",
        ),
        note="The root of 2 / (9 * 32) = 2 / 288. Wider inputs mean smaller weights.",
        working="(2 / (9 * 32)) ** 0.5",
        tolerance=0.01,
    ),
    Exercise(
        "copying",
        "A 3x3 layer that copies its input",
        "implement",
        8,
        copying_layer,
        observe=_observe_copying,
        mistakes=(
            Mistake(
                _mixes_all_channels,
                "The middle is right, but every output channel adds up all inputs. Each kernel "
                "needs its 1 for its own channel only: weight[c, c, 1, 1].",
            ),
            Mistake(
                _all_ones,
                "Each output adds nine pixels of all channels. "
                "A copy reads one tap only: the middle one of its own channel.",
            ),
            Mistake(
                _blurs,
                "Each channel stays by itself, but its kernel reads all nine pixels. "
                "To copy, one tap must be 1 and the others 0.",
            ),
            Mistake(
                _all_zero,
                "Nothing passes: are all weights zero? (In a residual block that would be "
                "the right answer: chapter 08.)",
            ),
            Mistake(
                _only_channel_0,
                "Channel 0 passes, and no other: each channel needs its own "
                "1. Loop over the channels.",
            ),
            Mistake(
                _moves_by_a_pixel,
                "Nothing is mixed, but the map moves by a pixel: the 1 "
                "belongs in the middle, at [1, 1].",
            ),
            Mistake(
                _others_left_random,
                "The ones are in place, but the other weights are still random: set all to zero "
                "first.",
            ),
            Mistake(
                _without_padding, "Each channel stays by itself, but the map shrinks: padding=1."
            ),
            Mistake(
                _no_weights,
                "That copies, but it has no weights. The point is that a convolution *can* copy.",
            ),
        ),
        hints=(
            "Start from zeros. Which single tap reads the pixel itself?",
            "Output channel c must read input channel c only: weight[c, c, 1, 1] = 1, "
            "inside `with torch.no_grad():`.",
            "nn.init.dirac_(conv.weight) does this.",
        ),
        note="Zeros everywhere, and a 1 in the middle of channel c's own kernel: the identity. "
        "What comes from a ReLU passes the next ReLU unchanged.",
    ),
    Exercise(
        "all_gone",
        "A report in which every gradient has vanished",
        "spot the bug",
        6,
        report,
        observe=_observe_report,
        mistakes=(
            Mistake(
                _read_too_late,
                "All zero, as reported: the gradients are cleared *before* they are read. "
                "Read first, then clear.",
            ),
            Mistake(
                _removed_too_early,
                "Where you read .grad it is None: backward() makes it, zero_grad() removes it. "
                "Read between the two.",
            ),
            Mistake(
                _never_cleared,
                "The first call is right, the second is twice as large: "
                "backward *adds* to .grad. Clear it after reading.",
            ),
            Mistake(
                _cleared_before_only,
                "The norms are right. But the model keeps the gradients "
                "afterwards: clear them once they are read.",
            ),
            Mistake(
                _biases_too,
                "The norms are right, but those of the biases are among them: "
                "only weights of two or more axes were asked for.",
            ),
            Mistake(_of_the_weights, "Those are the norms of the weights, not of their gradients."),
        ),
        hints=(
            "Which line runs between backward() and the reading of .grad?",
            "Keep the norms in a list first, then call zero_grad, then return the list.",
        ),
        note="A zero is a measurement only if the instrument could have shown something else. "
        "Before you believe in vanished gradients, look where they are read.",
    ),
    Exercise(
        "healthy",
        "56 layers that keep signal and gradient",
        "design",
        8,
        ("tanh", "He", False),
        observe=_observe_healthy,
        mistakes=(
            Mistake(
                ("ReLU", "He", True),
                "The signal is kept, but the gradient explodes: it grows "
                "until it is larger than the layers themselves.",
            ),
            Mistake(
                ("sigmoid", "Xavier", False),
                "Both are lost: the gradient goes, and by the last layer all images look the same.",
            ),
        ),
        hints=(
            "Try the six combinations of activation and norm in the explorer at 56 layers.",
            "Which activation bounds the signal and has a slope near 1 around zero?",
            "With batch norm even the sigmoid comes into question.",
        ),
        note="Several answers fit, among them tanh with He's weights, and sigmoid with batch norm "
        "and Xavier's or He's weights. The usual recipe, ReLU, He and batch norm, is not among "
        "them. Healthy at the start does not yet mean trainable: that is the second story.",
    ),
)
