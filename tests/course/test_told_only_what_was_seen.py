"""Answers that a diagnosis or a pass once fitted without being true of them."""

import os
import signal

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from cnnlab.models.design import Design
from tests.course.chapter import exercise


def reads_three_of_four_rows():
    look = nn.Conv2d(64, 64, 3, stride=4, padding=1, groups=64)
    return nn.Sequential(look, nn.Upsample(scale_factor=2), nn.Conv2d(64, 128, 1))


class DropsAFifth(exercise("04.head").answer):
    def forward(self, x):
        return self.last(F.dropout(F.relu(self.hidden(x)), 0.2, training=self.training))


class PadWithoutKernel(exercise("06.naive_module").answer):
    def __init__(self, inputs):
        super().__init__(inputs)
        self.branch2 = nn.Conv2d(inputs, 128, pad=1)


class NoBias(exercise("06.naive_module").answer):
    def __init__(self, inputs):
        super().__init__(inputs)
        self.branch2 = nn.Conv2d(inputs, 128, 3, padding=1, bias=False)


def collapses_in_place(first, second):
    with torch.no_grad():
        bias = second(first.bias)
        first.weight, first.bias = nn.Parameter(second.weight @ first.weight), nn.Parameter(bias)
    return first


def copies_with(fill):
    def layer(channels):
        conv = nn.Conv2d(channels, channels, 3, padding=1, bias=False)
        with torch.no_grad():
            conv.weight.zero_()
            for channel in range(channels):
                fill(conv.weight[channel, channel])
        return nn.Sequential(conv, nn.ReLU())

    return layer


def without_backward(model, images, labels):
    F.cross_entropy(model(images), labels)
    return [p.grad.norm().item() for p in model.parameters() if p.ndim > 1]


def without_step(model, batches, rates):
    losses = []
    for images, labels in batches:
        loss = F.cross_entropy(model(images), labels)
        loss.backward()
        losses.append(loss.item())
    return losses


def three_steps(net, images, labels, steps):
    exercise("12.freeze").answer(net, images, labels, 3)


CASES = [
    ("01.halve", reads_three_of_four_rows, "some input pixels are never read"),
    ("03.stack", lambda widths, kernel=3: nn.Sequential(nn.ReLU()), "module has no parameters"),
    ("03.budget", [(5, 32)] * 4 + [(5, 64)], "take fewer layers, smaller kernels or a narrower"),
    ("04.head", DropsAFifth, "doubled as with a dropout of 0.5"),
    ("04.mixing", [(3, 64, 2)], "Layers in the same groups mix no more than one does"),
    ("04.mixing", [(1, 10**7, 1)], "640,000,000 weights up to (1, 10000000, 1): far beyond"),
    ("06.naive_module", PadWithoutKernel, "nn.Conv2d has no `pad`. What is it called?"),
    ("06.naive_module", NoBias, "parameters with bias: got 387,168, expected 387,296"),
    ("06.collapse", collapses_in_place, "the two layers are left as they were"),
    (
        "07.copying",
        copies_with(lambda own: own[1, 1].fill_(-1)),
        "arrives, (from, to, row, column): has 0 elements, expected 6",
    ),
    ("07.copying", copies_with(lambda own: own.fill_(1)), "its kernel reads all nine pixels"),
    ("07.all_gone", without_backward, "Where you read .grad it is None: backward() makes it"),
    ("07.ten_sigmoids", 0.0, "0 is too small"),
    ("07.ten_sigmoids", 2 * 0.25**10, "too large"),
    ("08.budget", [(10, 8), (15, 32), (1, 64)], "1,024 in the first stage, 256 in the second"),
    ("08.residual_block", lambda before, after, stride: nn.Identity(), "after, stride=1)"),
    ("09.budget", (24, 10**9, False), "1,000,000,000 layers are far beyond"),
    ("10.loop", without_step, "Is there a step() after each backward()"),
    ("10.epoch", lambda *arguments: (None, None), "return a list of numbers, the losses"),
    ("12.freeze", three_steps, "the head's weights, in 5 steps"),
    (
        "13.audit",
        lambda model, image: exercise("13.audit").answer(model, (1, 16, 16)),
        "3 channels",
    ),
    (
        "13.cheapest",
        Design((10**9,), (16,), (2,)),
        "1,000,000,000 convolutions: the check looks at 100 at most",
    ),
    ("13.cheapest", Design((1,) * 4, (16,) * 4, (2, 2, 2, 1)), "let every one of them stride"),
    ("13.broken", ("macs", "kept", "field", "params", None), "element 4: is None"),
]


@pytest.mark.parametrize("name, answer, words", CASES, ids=[f"{n} {w}" for n, _, w in CASES])
def test_it_is_refused_with_a_sentence_that_is_true_of_it(name, answer, words):
    verdict = exercise(name).judge(answer)
    assert verdict.status == "wrong" and words in verdict.message


def test_a_raised_interrupt_is_an_error_and_a_pressed_one_goes_through():
    def raises(inputs, outputs, small):
        raise KeyboardInterrupt

    def pressed(inputs, outputs, small):
        os.kill(os.getpid(), signal.SIGINT)
        return exercise("03.break_even").answer(inputs, outputs, small)

    verdict = exercise("03.break_even").judge(raises)
    assert verdict.status == "wrong" and "raises KeyboardInterrupt" in verdict.message
    with pytest.raises(KeyboardInterrupt):
        exercise("03.break_even").judge(pressed)
