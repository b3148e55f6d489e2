"""Exercises of chapter 13, Capstone."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import nn

from cnnlab.arithmetic import bytes_text, count_text
from cnnlab.course.budget import BUDGET, SIZE
from cnnlab.course.capstone import audit
from cnnlab.course.exercises.built import must_be_function
from cnnlab.course.exercises.exercise import Exercise, Exercises, Mistake
from cnnlab.course.exercises.judge import at_least, at_most, plain, plain_text
from cnnlab.course.exercises.sandbox import called
from cnnlab.models.design import Design, network
from cnnlab.trace import trace

# -- audit: four numbers of any network


def my_audit(model, image):
    table = trace(model, image)
    convs = [row for row in table if row.op == "conv2d"]
    return table.params, table.macs, table.kept_bytes, convs[-1].receptive_field[0]


def _written(model, image):
    table = trace(model, image)
    return table.params, table.macs, 4 * table.activations, my_audit(model, image)[3]


def _after_the_average(model, image):
    table = trace(model, image)
    return *my_audit(model, image)[:3], table.output.receptive_field[0]


def _first_convolution(model, image):
    convs = [row for row in trace(model, image) if row.op == "conv2d"]
    return *my_audit(model, image)[:3], convs[0].receptive_field[0]


def _observe_audit(answer):
    must_be_function(answer)
    found, image = {}, (1, SIZE, SIZE)
    designs = Design((1, 2), (4, 6), (1, 2)), Design((3, 1, 1), (4, 4, 8), (2, 1, 2), True)
    cases = [(f"convs {d.convs}, strides {d.strides}", network(d), image) for d in designs]
    tall = nn.Sequential(nn.Conv2d(3, 4, (3, 5)), nn.ReLU(), nn.Conv2d(4, 2, 3), nn.MaxPool2d(2))
    cases.append(
        ("a 3x5 convolution, ReLU, a 3x3 and a pooling, on 3 x 20 x 12", tall, (3, 20, 12))
    )
    for where, model, shape in cases:
        given = called(answer, my_audit, model, shape)
        if not isinstance(given, (tuple, list)) or len(given) != 4:
            raise ValueError("return four numbers: parameters, MACs, bytes kept, receptive field")
        names = ("parameters", "MACs", "bytes kept for backward", "receptive field")
        found |= {f"{name} of {where}": value for name, value in zip(names, given)}
    return found


# -- cheapest and deep: designs

MOST = 100, 10_000, 1_000  # convolutions, channels, stride: far from every budget


def _costs(answer):
    """A design in plain numbers, and its costs; ValueError with a sentence where it is none."""
    if not isinstance(answer, Design):
        raise ValueError(
            f"expected a Design, got {type(answer).__name__}; "
            "write Design(convs=(...), widths=(...), strides=(...))"
        )
    parts = [plain(part) for part in (answer.convs, answer.widths, answer.strides)]
    if not all(isinstance(part, Sequence) and not isinstance(part, str) for part in parts):
        raise ValueError("convs, widths and strides each take a tuple: a number for each stage")
    design = Design(*map(tuple, parts), bool(answer.skips))
    convs, widths, strides = ([n for n in part if type(n) is int] for part in parts)
    largest = sum(convs), max(widths, default=0), max(strides, default=0)
    for what, found, most in zip(("convolutions", "channels", "as a stride"), largest, MOST):
        if found > most:
            raise ValueError(f"{plain_text(found)} {what}: the check looks at {most:,} at most")
    with torch.device("meta"):  # shapes without memory
        return design, audit(network(design))


CHEAPEST = Design(convs=(1, 1, 1, 1), widths=(16, 16, 16, 16), strides=(2, 2, 2, 2))


def _observe_cheapest(answer):
    (answer, found), (_, least) = _costs(answer), _costs(CHEAPEST)
    field = BUDGET.field
    return {
        "all widths are 16": set(answer.widths) == {16},
        "no stride above 2": max(answer.strides) <= 2,
        "a receptive field of at least 31": at_least(found.field, field),
        f"at most {count_text(least.macs)} MACs": at_most(found.macs, least.macs),
    }


DEEP = Design(convs=(4, 4, 4), widths=(8, 15, 30), strides=(2, 2, 2))


def _observe_deep(answer):
    answer, found = _costs(answer)
    return {
        "exactly twelve convolutions": sum(answer.convs) == 12,
        f"at most {count_text(BUDGET.params)} parameters": at_most(found.params, BUDGET.params),
        f"at most {count_text(BUDGET.macs)} MACs": at_most(found.macs, BUDGET.macs),
        f"at most {bytes_text(BUDGET.kept)} kept": at_most(found.kept, BUDGET.kept),
        f"a receptive field of at least {BUDGET.field}": at_least(found.field, BUDGET.field),
        "more than 36,000 parameters: the budget is used": at_least(found.params, 36_001),
    }


# -- broken: the one limit that a design breaks; a test audits all five
FIVE = (
    Design(convs=(2, 2, 2), widths=(24, 24, 24), strides=(2, 2, 2)),
    Design(convs=(3, 4, 4), widths=(4, 8, 16), strides=(1, 2, 2)),
    Design(convs=(1, 1, 3), widths=(8, 16, 16), strides=(1, 2, 2)),
    Design(convs=(2, 2, 2), widths=(12, 24, 48), strides=(2, 2, 2)),
    Design(convs=(4, 4, 4), widths=(6, 12, 24), strides=(2, 2, 2)),
)

exercises = Exercises(
    Exercise(
        "stack",
        "Without strides",
        "compute",
        2,
        15,
        mistakes=(
            Mistake(16, "The first convolution sees 3 pixels already, each further one 2 more."),
            Mistake(
                8,
                "Eight see 17 pixels: enough for the unit in the middle, not for one in a corner, "
                "which needs 31.",
            ),
            Mistake(10, "Each further convolution adds 2 pixels, not 3: the windows overlap."),
        ),
        hints=("n convolutions of 3x3 see 2n + 1 pixels.", "2n + 1 = 31"),
        note="Depth alone buys 2 pixels each. A stride doubles what all later ones add.",
        working="(31 - 1) // 2",
    ),
    Exercise(
        "audit",
        "The audit",
        "implement",
        5,
        my_audit,
        observe=_observe_audit,
        mistakes=(
            Mistake(
                _written,
                "That is what the pass writes, in bytes. What backward needs is kept: "
                "`table.kept_bytes`.",
            ),
            Mistake(
                _after_the_average,
                "The average over the whole map sees everything, so that says nothing: take the "
                "last convolution's row.",
            ),
            Mistake(_first_convolution, "That is the first convolution's field; take the last."),
        ),
        hints=(
            "`trace(model, image)` gives a table: `table.params`, `table.macs`, "
            "`table.kept_bytes`.",
            'Rows of convolutions: `[row for row in table if row.op == "conv2d"]`.',
            "`row.receptive_field` is (height, width): return the height, `[0]`.",
        ),
        note="Four numbers, known before a single step of training.",
    ),
    Exercise(
        "broken",
        "Which limit breaks?",
        "spot the bug",
        5,
        ("macs", "kept", "field", "params", "none"),
        mistakes=(
            Mistake(
                ("macs", "macs", "field", "params", "none"),
                "Element 1 is narrow, so its MACs are few. But three maps of 16 x 16 are kept "
                "twice each, for the norm and for the ReLU.",
            ),
            Mistake(
                ("macs", "kept", "none", "params", "none"),
                "Element 2 sees 3 + 2 + 4 + 8 + 8 = 25 pixels; 31 are needed.",
            ),
            Mistake(
                ("params", "kept", "field", "params", "none"),
                "Element 0 is 24 wide everywhere: 26,674 parameters. It is its first stage, on "
                "8 x 8 pixels, that multiplies too much.",
            ),
            Mistake(
                ("macs", "kept", "field", "macs", "none"),
                "Element 3 is wide where the maps are small: few MACs, many parameters.",
            ),
        ),
        hints=(
            "Parameters care for widths only; MACs and kept memory also for the pixels of a map.",
            "Where is the first stride? Before it everything happens on 16 x 16 pixels.",
            "`audit(network(design))` tells; try to say it before you look.",
        ),
        note="Wide and late: parameters. Wide and early: MACs. Deep and early: memory.",
    ),
    Exercise(
        "cheapest",
        "The cheapest that sees everything",
        "design",
        5,
        CHEAPEST,
        observe=_observe_cheapest,
        mistakes=(
            Mistake(
                Design((1, 1, 2), (16, 16, 16), (2, 2, 2)),
                "It sees enough, and it can be had for fewer MACs. A convolution costs its "
                "output's pixels: let every one of them stride, and take no more than you need.",
            ),
            Mistake(
                Design((1, 1, 1), (16, 16, 16), (2, 2, 2)),
                "Cheap enough, but it does not see the whole image yet.",
            ),
        ),
        hints=(
            "There may be more than three stages.",
            "Each stride doubles what the following convolutions add: 2, 4, 8, 16.",
            "1 + 2 + 4 + 8 + 16 = 31.",
        ),
        note="Field is cheapest bought with strides. What that costs in accuracy is another "
        "question, and a measurement.",
        working="Design(convs=(1, 1, 1, 1), widths=(16, 16, 16, 16), strides=(2, 2, 2, 2))",
    ),
    Exercise(
        "deep",
        "Twelve convolutions within the budget",
        "design",
        5,
        DEEP,
        observe=_observe_deep,
        mistakes=(
            Mistake(
                Design((4, 4, 4), (8, 16, 32), (2, 2, 2)),
                "Only the parameters are too many, and no stride changes them: make it narrower.",
            ),
            Mistake(
                Design((4, 4, 4), (6, 12, 24), (1, 2, 2)),
                "MACs and memory pay for every pixel of a map: stride earlier, or more often.",
            ),
            Mistake(
                Design((4, 4, 4), (6, 12, 24), (2, 2, 2)),
                "It keeps every limit, and leaves parameters unused: make it wider.",
            ),
        ),
        hints=(
            "Begin with strides (2, 2, 2) and four convolutions in each stage.",
            "The widths need not double exactly: look between 7, 14, 28 and 8, 16, 32.",
        ),
        note="Depth is paid for in width: the more convolutions, the narrower each one.",
        working="Design(convs=(4, 4, 4), widths=(8, 15, 30), strides=(2, 2, 2))",
    ),
)
