"""Exercises of chapter 02, Receptive fields."""

from __future__ import annotations

import torch
from torch import nn

from cnnlab.arithmetic import Window
from cnnlab.course.exercises import ch02_answers
from cnnlab.course.exercises.built import observe_cases
from cnnlab.course.exercises.exercise import Exercise, Exercises, Mistake
from cnnlab.course.exercises.judge import at_least
from cnnlab.course.exercises.sandbox import called, output_of
from cnnlab.probes import support

_STACKS = (
    ([(3, 1, 0, 1), (3, 1, 0, 1)],),
    ([(7, 2, 3, 1), (3, 2, 1, 1)],),
    ([(5, 2, 2, 1), (3, 3, 1, 2), (3, 1, 2, 4)],),
    ([],),
)

# -- sees: the recurrence from the other end


def sees(layers, unit):
    """First and last pixel: start at the unit and walk down to the image."""
    first = last = unit
    for kernel, stride, padding, dilation in reversed(layers):
        first = first * stride - padding
        last = last * stride - padding + dilation * (kernel - 1)
    return first, last


def _upwards(layers, unit):
    first = last = unit
    for kernel, stride, padding, dilation in layers:
        first = first * stride - padding
        last = last * stride - padding + dilation * (kernel - 1)
    return first, last


def _without_dilation(layers, unit):
    return sees([(kernel, stride, padding, 1) for kernel, stride, padding, _ in layers], unit)


def _without_padding(layers, unit):
    return sees([(kernel, stride, 0, dilation) for kernel, stride, _, dilation in layers], unit)


def _cut(layers, unit):
    first, last = sees(layers, unit)
    return max(first, 0), last


def _one_too_far(layers, unit):
    first = last = unit
    for kernel, stride, padding, dilation in reversed(layers):
        first = first * stride - padding
        last = last * stride - padding + dilation * kernel
    return first, last


_STEM = [(7, 2, 3, 1), (3, 2, 1, 1)]
_CASES = (
    ([(3, 1, 0, 1), (3, 1, 0, 1)], 0),
    (_STEM, 0),
    (_STEM, 10),
    ([(5, 1, 2, 1), (3, 2, 2, 2), (2, 2, 0, 1)], 4),
    ([], 6),
)


def _more_layers(draw):
    return [
        (draw.randint(1, 7), draw.randint(1, 3), draw.randint(0, 3), draw.randint(1, 3))
        for _ in range(draw.randint(1, 5))
    ]


def _more_units(draw):
    return _more_layers(draw), draw.randint(0, 20)


def _more_stacks(draw):
    return (_more_layers(draw),)


# -- block: a branch that fits and looks past its shortcut


class Block(nn.Module):
    """x plus a 3x3 convolution of x, both centered on the same pixel."""

    def __init__(self, channels):
        super().__init__()
        self.conv = nn.Conv2d(channels, channels, 3, padding=1)

    def forward(self, x):
        return x + self.conv(x)


class _Shifted(Block):
    def __init__(self, channels):
        super().__init__(channels)
        self.conv = nn.Conv2d(channels, channels, 3, padding=2)

    def forward(self, x):
        return x + self.conv(x)[..., : x.shape[2], : x.shape[3]]


class _OtherWay(_Shifted):
    def forward(self, x):
        return x + self.conv(x)[..., 2:, 2:]


class _Pointwise(Block):
    def __init__(self, channels):
        super().__init__(channels)
        self.conv = nn.Conv2d(channels, channels, 1)


class _NoShortcut(Block):
    def forward(self, x):
        return self.conv(x)


def _seen_in_block(block):
    """What unit (8, 8) of the block depends on, and which of its two paths are there."""
    module = block if isinstance(block, nn.Module) else called(block, Block, 2)
    if not isinstance(module, nn.Module):
        raise ValueError(
            "check the class itself: ex.block.check(Repaired), where Repaired(channels) "
            "makes an nn.Module"
        )
    shape = tuple(output_of(module, torch.rand(1, 2, 17, 17)).shape)
    if shape != (1, 2, 17, 17):
        return {"shape for an input of (1, 2, 17, 17)": shape}
    rows, columns = support(module, (2, 17, 17), (8, 8))
    for parameter in module.parameters():
        nn.init.zeros_(parameter)
    without = _is_identity(module)
    return {
        "shape for an input of (1, 2, 17, 17)": shape,
        "rows seen by unit (8, 8)": rows,
        "columns seen by unit (8, 8)": columns,
        "with all weights 0, gives x itself": without,
    }


def _is_identity(module):
    x = torch.rand(1, 2, 17, 17)
    with torch.no_grad():
        y = module(x)
    return y.shape == x.shape and bool(torch.equal(y, x))


def _look(block):
    cases = (((2,), (1, 2, 17, 17)), ((3,), (2, 3, 8, 5)))
    return {**_seen_in_block(block), **observe_cases(block, Block, cases)}


# -- dilations: far and without holes


def _stack(dilations):
    """Requirements on a stack of 3x3 convolutions at stride 1."""
    if not isinstance(dilations, (list, tuple)) or not all(
        isinstance(d, int) and not isinstance(d, bool) and d >= 1 for d in dilations
    ):
        raise ValueError("give a list of whole numbers, one dilation per layer: [1, 1, 1, 1]")
    window, offsets = Window(), {0}
    for dilation in dilations[:16]:  # no more are needed to see that it is too many
        window = window.then(3, dilation=dilation)
        offsets = {offset + step * dilation for offset in offsets for step in (-1, 0, 1)}
    return {
        "four layers": len(dilations) == 4,
        "a receptive field of at least 60": at_least(window.size, 60),
        "every pixel of the window is seen": len(offsets) == window.size,
    }


exercises = Exercises(
    Exercise(
        "marks",
        "Layers that two marks need",
        "recall",
        2,
        6,
        mistakes=(
            Mistake(
                5,
                "Five layers have receptive field 11. Marks 11 apart span 12 pixels, so no "
                "window of 11 holds both.",
            ),
            Mistake(11, "Each 3x3 layer adds two pixels, one on each side, not one."),
            Mistake(4, "Kernels do not add up: four layers have receptive field 9, not 12."),
        ),
        hints=(
            "How many pixels in a row must one window hold, both marks included?",
            "n layers of 3x3 at stride 1 see 2n + 1 pixels. The window must be larger than 11.",
        ),
        note="Marks d apart span d + 1 pixels: the receptive field must be larger than d.",
        working="2 * 5 + 1 = 11 is not enough, 2 * 6 + 1 = 13 is",
    ),
    Exercise(
        "stem",
        "Size, jump and start of a stem",
        "compute",
        4,
        (17, 4, -8),
        mistakes=(
            Mistake(
                (9, 4, -8),
                "You added kernel - 1 pixels per layer. The taps of the second and "
                "third layer are one jump apart, 2 and 4 pixels.",
            ),
            Mistake(
                (9, 4, -4),
                "That is the second map, or every layer counted in pixels. The third layer counts "
                "in jumps of 4: two for its taps, one for its padding.",
            ),
            Mistake(
                (17, 4, -4),
                "Size and jump are right. One unit of padding is as wide as the jump of the map "
                "it pads: the paddings take 2 * 1, 1 * 2 and 1 * 4.",
            ),
            Mistake(
                (25, 4, -12),
                "You used the jump after each layer. A layer's taps and its padding are as wide "
                "as the units it reads: use the jump before it.",
            ),
            Mistake((17, 4, 8), "Padding lies left of pixel 0: start is negative."),
        ),
        hints=(
            "Do one layer at a time, beginning with size 1, jump 1, start 0.",
            "After the first convolution: size 5, jump 2, start -2.",
            "The second adds (3 - 1) * 2 to the size and takes 1 * 2 from the start.",
        ),
        note="Kernel, padding and stride of a layer are counted in the jump of the map it reads.",
        working="Window().then(5, 2, 2).then(3, 2, 1).then(3, 1, 1)",
    ),
    Exercise(
        "window",
        "Size, jump and start, by a loop",
        "implement",
        6,
        ch02_answers.my_window,
        cases=_STACKS,
        more=_more_stacks,
        mistakes=(
            Mistake(
                ch02_answers.jump_first,
                "You changed the jump first. A layer's taps are as far apart as the units it "
                "reads: use the old jump for size and start, then multiply it.",
            ),
            Mistake(
                ch02_answers.no_jump,
                "That adds dilation * (kernel - 1) pixels. The taps stand one jump apart: times "
                "jump.",
            ),
            Mistake(
                ch02_answers.padding_in_pixels,
                "Size and jump are right. One unit of padding is as wide as the jump of the map "
                "it pads.",
            ),
            Mistake(
                ch02_answers.padding_adds, "Padding lies left of pixel 0: subtract it from start."
            ),
            Mistake(
                ch02_answers.no_dilation,
                "Right without dilation. It spreads the taps: dilation * (kernel - 1).",
            ),
            Mistake(
                ch02_answers.jumps_added,
                "Jumps multiply: units 2 apart, taken every third, are 6 apart.",
            ),
            Mistake(
                ch02_answers.whole_kernel, "Between k taps are k - 1 steps: kernel - 1, not kernel."
            ),
        ),
        hints=(
            "Begin with size, jump, start = 1, 1, 0; then for kernel, stride, padding, dilation "
            "in layers: one line of the table each.",
            "size += dilation * (kernel - 1) * jump",
            "start -= padding * jump; and last, jump *= stride. Then return all three.",
        ),
        note="The order matters: jump is multiplied last, because size and start use the old one.",
    ),
    Exercise(
        "sees",
        "From a unit down to its pixels",
        "implement",
        10,
        sees,
        cases=_CASES,
        more=_more_units,
        mistakes=(
            Mistake(
                _upwards,
                "You walk from the image up. The unit lives in the last map: begin "
                "with the last layer, reversed(layers).",
            ),
            Mistake(
                _without_dilation,
                "Right without dilation. The last tap of a dilated kernel "
                "is dilation * (kernel - 1) units after its first.",
            ),
            Mistake(
                _without_padding,
                "Right without padding. Padding shifts what a unit reads to the left: subtract it.",
            ),
            Mistake(
                _cut,
                "You cut at pixel 0. Here a negative first pixel is wanted: it tells how "
                "much padding the unit sees.",
            ),
            Mistake(_one_too_far, "The last pixel is too far: between k taps are k - 1 steps."),
        ),
        hints=(
            "A unit u reads, in the map below, the units from u * stride - padding on.",
            "Keep first and last. Both move by that rule; last also adds "
            "span - 1, that is dilation * (kernel - 1).",
            "for kernel, stride, padding, dilation in reversed(layers): ...",
        ),
        note="The same window from the other end: up gives size, jump and start for all units at "
        "once, down gives one unit's pixels.",
    ),
    Exercise(
        "block",
        "A residual block that looks aside",
        "spot the bug",
        6,
        Block,
        observe=_look,
        mistakes=(
            Mistake(
                _Shifted,
                "Shapes fit, but unit (8, 8) sees rows 6 to 8: the convolution looks up and left "
                "of the pixel that the shortcut brings. Its window must be centered on 8.",
            ),
            Mistake(
                _OtherWay,
                "Now it looks down and right, rows 8 to 10. Of the two extra rows, "
                "one must go on each side.",
            ),
            Mistake(
                _Pointwise,
                "Aligned, but a 1x1 kernel sees nothing of the neighbors: the "
                "block should see rows 7 to 9.",
            ),
            Mistake(_NoShortcut, "The convolution is aligned, but the shortcut is gone: add x."),
        ),
        hints=(
            "Which rows does y[8] read before it is cut, and which row is x[8]?",
            "With padding 2 the window of unit 8 starts at 8 - 2 and has 3 rows.",
            "Pad so that nothing need be cut.",
        ),
        note="Adding needs equal shapes; sense needs equal centers, and nothing checks them.",
    ),
    Exercise(
        "dilations",
        "Four layers that see 60 pixels",
        "design",
        8,
        [1, 3, 9, 27],
        observe=_stack,
        mistakes=(
            Mistake(
                [1, 2, 4, 8],
                "No holes, but less than 60 pixels wide: the windows overlap "
                "more than they need. How far apart may two windows of 3 be?",
            ),
            Mistake(
                [8, 8, 8, 8],
                "Wide enough, but the window has holes. The order of the layers changes nothing; "
                "from the smallest dilation up, a layer's taps may be no further apart than the "
                "windows of the map it reads are wide.",
            ),
            Mistake(
                [1, 2, 4, 8, 16],
                "Wide enough and without holes, but with more than four "
                "layers: it can be done with four.",
            ),
        ),
        hints=(
            "The first layer makes windows of 3 pixels. How far may the taps of the second be "
            "apart, so that three such windows leave no gap?",
            "With dilation 3 they just touch: 9 pixels. And then?",
            "Each layer can triple the window.",
        ),
        note="[1, 3, 9, 27] sees 81 pixels, the most that four layers of three taps can reach: one "
        "path to each. Its effective field is flat, not a bell.",
        working="3 * 3 * 3 * 3 = 81",
    ),
)
