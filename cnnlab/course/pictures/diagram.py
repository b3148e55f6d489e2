"""Any traced module as a picture: boxes for operations, lines for tensors, branches side by side.

    diagram(trace(block, (64, 56, 56)), title="A residual block", alt="...")

A layered drawing (Sugiyama, Tagawa, Toda 1981): a box stands below everything it reads; a line
that passes a row of boxes has a place of its own there; the order within a row follows the
neighbors.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

from torch import nn

from cnnlab.course.errors import CourseError
from cnnlab.course.look import (
    INK,
    INPUT,
    KERNEL,
    LARGE,
    MUTED,
    OUTPUT,
    SERIES,
    SMALL,
    SPACE,
    TEXT,
    WIDTH,
    mix,
)
from cnnlab.course.pictures.svg import Drawing, Svg, number, text_width
from cnnlab.trace.table import Layer, LayerTable

MOST_BOXES = 60
LINE = 620  # pixels: a page of 800, whose pictures JupyterLab does not scale down
_GAP_X, _GAP_Y, _LINE = 24, 30, 18
_TOP = 4 * SPACE + LARGE  # below the title
_NORMS = {"batch_norm": "batch norm", "layer_norm": "layer norm", "group_norm": "group norm"}
# Written as a further line of the box above them, when nothing else reads that box.
_RIDERS = {
    **_NORMS,
    "relu": "ReLU",
    "relu6": "ReLU6",
    "sigmoid": "sigmoid",
    "tanh": "tanh",
    "gelu": "GELU",
    "silu": "SiLU",
    "dropout": "dropout",
    "flatten": "flatten",
    "softmax": "softmax",
}
_HOLDERS = (nn.ModuleList, nn.ModuleDict)  # they have no forward of their own
_JOINS = {"cat": "concatenate", "add": "+", "mul": "x", "sub": "-"}


@dataclass(eq=False)
class _Box:
    """One node; without lines of text it is the place where a long line passes a row."""

    lines: list[str] = field(default_factory=list)
    shape: str = ""
    color: str = MUTED
    above: list[_Box] = field(default_factory=list)
    below: list[_Box] = field(default_factory=list)
    rank: int = 0
    x: float = 0.0  # middle
    y: float = 0.0  # top
    passes: float = 0.0  # height of a place in a row

    @property
    def width(self) -> float:
        if not self.lines:
            return 4
        if self.round:  # what follows is written at its right
            return 30 + 2 * max((text_width(t, SMALL) + SPACE for t in self.lines[1:]), default=0)
        texts = [text_width(text, TEXT) for text in self.lines[:1]]
        texts += [text_width(text, SMALL) for text in (*self.lines[1:], self.shape)]
        return max(texts) + 3 * SPACE

    @property
    def round(self) -> bool:
        return self.lines[:1] in (["+"], ["x"], ["-"])

    @property
    def height(self) -> float:
        if self.round:
            return 30
        return _LINE * (len(self.lines) + 1) + SPACE if self.lines else self.passes


def diagram(
    table: LayerTable,
    *,
    title: str,
    alt: str,
    depth: int | None = None,
    width: float = LINE,
    stages: bool = False,
) -> Drawing:
    """Boxes, output shapes (channels x height x width) and branches of a traced module.

    table: of any module, not folded
    title, alt: above the picture; in one sentence, for readers who cannot see it
    depth: draw each module this many levels down as one box (1: the model's direct children)
    width, stages: a chain goes on in a new line where this one gets wider; after each pooling

    Activations, norms and dropout are written in the box they follow. CourseError: over 60 boxes.
    """
    boxes = _boxes(table, depth)
    if len(boxes) > MOST_BOXES:
        raise CourseError(
            f"{len(boxes)} boxes, expected at most {MOST_BOXES}: draw a part of the model, or "
            "each module as one box with depth=1"
        )
    rows = _ranked(boxes)
    chain = all(len(row) == 1 for row in rows) and len(rows) > 4
    size = _place_chain(boxes, width, stages) if chain else _place_rows(rows)
    width = max(size[0], text_width(title, LARGE) * 1.1 + 4 * SPACE, WIDTH / 2)
    svg = Svg(width, size[1], alt)
    svg.text(2 * SPACE, 2 * SPACE + LARGE, title, LARGE, bold=True)
    with svg.group((width - size[0]) / 2, 0):
        for box in (box for row in rows for box in row):
            for lower in box.below:
                _join(svg, box, lower)
        for box in boxes:
            _draw(svg, box)
    return Drawing(str(svg))


# -- from rows to boxes


def _boxes(table: LayerTable, depth: int | None) -> list[_Box]:
    """A box per operation, per leaf module or per module at `depth`, the input first."""
    modules = dict(table.model.named_modules())
    source = _Box(["input"], _shape(table.input_shape), MUTED)
    boxes, owner = [source], {-1: source}
    before, last = None, None
    for row in table:
        group = _group(row, modules, depth)
        above = list(dict.fromkeys(owner[i] for i in row.inputs))
        same = group is not None and group == before
        if same and (depth is not None or not _RIDERS.get(row.op)):
            box = last
            above = [one for one in above if one is not box]
        elif (
            len(above) == 1
            and above[0] is not source
            and not _readers(table, row, owner)
            and _rides(row, group, depth)
        ):
            box = above.pop()
            if row.op in _RIDERS and getattr(modules.get(row.path), "p", 1) > 0:  # no dropout of 0
                box.lines.append(_RIDERS[row.op])
        else:
            box = _Box(_label(row, group, modules, depth), "", _color(row, group, depth))
            boxes.append(box)
        box.shape = _shape(row.out_shape)
        for one in above:
            if one not in box.above:
                box.above.append(one)
        for index in row.covers:
            owner[index] = box
        before, last = group, box
    for box in boxes:
        if box.lines[1:]:  # norm, ReLU: one line
            box.lines[1:] = [", ".join(box.lines[1:])]
        for one in box.above:
            one.below.append(box)
    return boxes


def _group(row: Layer, modules: dict[str, nn.Module], depth: int | None) -> str | None:
    """The module that is drawn as one box, or None for an operation on its own."""
    parts = row.path.split(".") if row.path else []
    if depth is not None:
        end = depth
        while end < len(parts) and type(modules.get(".".join(parts[:end]))) in _HOLDERS:
            end += 1
        return ".".join(parts[:end]) if len(parts) >= end else None
    module = modules.get(row.path)
    return row.path if parts and module is not None and not module._modules else None


def _rides(row: Layer, group: str | None, depth: int | None) -> bool:
    alone = group is None or depth is None
    return alone and (row.op in _RIDERS or row.op == "cat")  # cat of one tensor: a copy


def _readers(table: LayerTable, row: Layer, owner: dict[int, _Box]) -> bool:
    """Whether anything but this row reads the box that it reads."""
    box = owner[row.inputs[0]]
    return any(
        other.index != row.index and any(owner.get(i) is box for i in other.inputs)
        for other in table.rows
        if owner.get(other.index) is not box
    )


def _label(row: Layer, group: str | None, modules, depth: int | None) -> list[str]:
    if group is not None and depth is not None:
        return [group, type(modules[group]).__name__]
    if row.op in _JOINS and group is None:
        return [_JOINS[row.op]]
    module = modules.get(row.path)
    kernel = getattr(module, "kernel_size", None)
    if kernel is not None and ("conv" in row.op or "pool" in row.op):
        return [_sliding(row.op, module)]
    names = {"linear": "linear", "mean": "mean", "flatten": "flatten", **_RIDERS}
    if "adaptive_avg" in row.op:
        return ["average pool, global" if set(row.out_shape[1:]) == {1} else "adaptive pool"]
    if row.op in names:
        return [names[row.op]]
    return [row.module if group else row.op.replace("_", " ")]


def _sliding(op: str, module: nn.Module) -> str:
    """A convolution or pooling in words: 3x3 conv, stride 2."""
    kind = "max pool" if "max" in op else "average pool" if "avg" in op else "conv"
    kind = f"transposed {kind}" if "transpose" in op else kind
    parts = [f"{_pair(module.kernel_size)} {kind}"]
    for name in ("stride", "dilation"):
        steps = _pair(getattr(module, name, 1))
        if set(steps) != {"1", "x"}:
            low, _, high = steps.partition("x")
            parts.append(f"{name} {low if low == high else steps}")
    groups = getattr(module, "groups", 1)
    if groups > 1:
        parts.append("depthwise" if groups == module.in_channels else f"{groups} groups")
    return ", ".join(parts)


def _color(row: Layer, group: str | None, depth: int | None) -> str:
    if row.op in _JOINS and group is None:
        return OUTPUT
    if "conv" in row.op:
        return KERNEL
    if row.op in ("linear", "addmm", "matmul"):
        return SERIES[4]
    whole = None not in (group, depth) and row.op != "dropout"
    return INPUT if whole or "pool" in row.op or row.op == "mean" else MUTED


def _shape(shape: Iterable[int]) -> str:
    return " x ".join(map(str, shape))


def _pair(size) -> str:
    return f"{size}x{size}" if isinstance(size, int) else "x".join(map(str, size))


# -- where boxes stand


def _ranked(boxes: list[_Box]) -> list[list[_Box]]:
    """Boxes by row, with a place for each line in each row that it passes; order by neighbors."""
    for box in boxes:  # execution order: everything above is known
        box.rank = 1 + max((one.rank for one in box.above), default=-1)
    rows: list[list[_Box]] = [[] for _ in range(1 + max(box.rank for box in boxes))]
    for box in boxes:
        rows[box.rank].append(box)
    for box in boxes:
        for upper in list(box.above):
            here = upper
            for rank in range(upper.rank + 1, box.rank):
                place = _Box(rank=rank, above=[here])
                here.below[here.below.index(box)] = place
                rows[rank].append(place)
                place.below = [box]
                here = place
            box.above[box.above.index(upper)] = here
    for down in (True, False) * 4:
        for row in rows if down else rows[::-1]:
            for at, box in enumerate(row):
                box.x = at
        for row in rows if down else rows[::-1]:

            def middle(box):
                near = box.above if down else box.below
                return sum(one.x for one in near) / len(near) if near else box.x

            row.sort(key=middle)
            for at, box in enumerate(row):
                box.x = at
    return rows


def _place_chain(boxes: list[_Box], width: float, stages: bool) -> tuple[float, float]:
    """A chain is written like text, in lines from left to right. Gives the picture's size."""
    lines: list[list[_Box]] = [[]]
    for box in boxes:
        ends = stages and lines[-1] and "pool" in lines[-1][-1].lines[0]
        if ends or (lines[-1] and _extent([*lines[-1], box]) > width - 6 * SPACE):
            lines.append([])
        lines[-1].append(box)
    y = _TOP
    for line in lines:
        x, tall = 3.0 * SPACE, max(box.height for box in line)
        for box in line:
            box.x, box.y = x + box.width / 2, y + (tall - box.height) / 2
            x += box.width + _GAP_X
        y += tall + _GAP_Y
    return max(map(_extent, lines)) + 6 * SPACE, y - _GAP_Y + 2 * SPACE


def _place_rows(rows: list[list[_Box]]) -> tuple[float, float]:
    """Each box near the middle of its neighbors, never over the next. Gives the picture's size."""
    for row in rows:
        for at, box in enumerate(row):
            box.x = (at - (len(row) - 1) / 2) * 150
    for turn in range(40):
        for row in rows if turn % 2 == 0 else rows[::-1]:
            _spread(row, [_wanted(box) for box in row])
    left = min(box.x - box.width / 2 for row in rows for box in row) - 2 * SPACE
    right = max(box.x + box.width / 2 for row in rows for box in row) + 2 * SPACE
    y = _TOP
    for row in rows:
        tall = max(box.height for box in row)
        for box in row:
            box.x -= left
            box.y = y + (tall - box.height) / 2
            if not box.lines:  # straight down beside the boxes of this row
                box.y, box.passes = y, tall
        y += tall + _GAP_Y
    return right - left, y - _GAP_Y + 2 * SPACE


def _wanted(box: _Box) -> float:
    """The middle of the neighbors; the only one on its side, and a passing line, weigh more."""
    total = weight = 0.0
    for near, back in ((box.above, "below"), (box.below, "above")):
        for one in near:
            single = len(near) == 1 and len(getattr(one, back)) == 1
            pull = 16.0 if not box.lines and not one.lines else 16.0 if single else 1.0
            total, weight = total + pull * one.x, weight + pull
    return total / weight if weight else box.x


def _spread(row: list[_Box], wanted: list[float]) -> None:
    """Move boxes to where they want to be; those that would overlap share the difference."""
    clusters: list[tuple[float, list[_Box]]] = []  # (left edge wanted, boxes side by side)
    for box, x in zip(row, wanted):
        left, members = x - box.width / 2, [box]
        while clusters and clusters[-1][0] + _extent(clusters[-1][1]) + _GAP_X > left:
            before, first = clusters.pop()
            weight = len(first)
            aim = left - _extent(first) - _GAP_X
            left = (before * weight + aim * len(members)) / (weight + len(members))
            members = first + members
        clusters.append((left, members))
    for left, members in clusters:
        for box in members:
            box.x = left + box.width / 2
            left += box.width + _GAP_X


def _extent(boxes: list[_Box]) -> float:
    return sum(box.width for box in boxes) + _GAP_X * (len(boxes) - 1)


# -- ink


def _join(svg: Svg, upper: _Box, lower: _Box) -> None:
    top, bottom = upper.y + upper.height, lower.y
    if top <= bottom:
        end, bend = bottom - (6 if lower.lines else 0), (bottom - top) / 2
        svg.path(
            f"M{number(upper.x)} {number(top)}C{number(upper.x)} {number(top + bend)} "
            f"{number(lower.x)} {number(bottom - bend)} {number(lower.x)} {number(end)}",
            stroke=MUTED,
            line=1.6,
        )
        if upper.passes:
            svg.line(upper.x, upper.y, upper.x, top, MUTED, 1.6)
        if lower.lines:
            svg.path(f"M{number(lower.x)} {number(bottom)}l-4 -8h8z", fill=MUTED)
    else:
        middle = upper.y + upper.height / 2
        svg.arrow(upper.x + upper.width / 2, middle, lower.x - lower.width / 2, middle, MUTED, 1.6)


def _draw(svg: Svg, box: _Box) -> None:
    if not box.lines:
        return
    left, fill = box.x - box.width / 2, mix("#ffffff", box.color, 0.18)
    if box.round:
        svg.circle(box.x, box.y + 15, 15, fill, box.color, 1.5)
        svg.text(box.x, box.y + 15 + LARGE * 0.36, box.lines[0], LARGE, anchor="middle")
        for text in box.lines[1:]:
            svg.text(box.x + 15 + SPACE, box.y + 15 + SMALL * 0.36, text, SMALL)
        return
    svg.rect(left, box.y, box.width, box.height, fill, box.color, 1.5, radius=6)
    y = box.y + SPACE / 2 + TEXT
    svg.text(box.x, y, box.lines[0], TEXT, anchor="middle", bold=True)
    for text, color in [*((line, INK) for line in box.lines[1:]), (box.shape, MUTED)]:
        y += _LINE
        svg.text(box.x, y, text, SMALL, color, "middle")
