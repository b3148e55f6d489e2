"""Chapter 13: what a network costs beside its budget, and the design that goes into the report."""

from __future__ import annotations

import base64
import html
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from cnnlab.arithmetic import bytes_text, count_text
from cnnlab.course.budget import BUDGET, SIZE, Costs
from cnnlab.course.errors import CourseError
from cnnlab.course.look import Card, short

if TYPE_CHECKING:
    from torch import nn

    from cnnlab.training.history import History

IMAGE = (1, SIZE, SIZE)
NAMES = {
    "params": "parameters",
    "macs": "MACs",
    "kept": "kept for backward",
    "field": "receptive field",
}


def audit(model: nn.Module, image: Sequence[int] = IMAGE) -> Costs:
    """What a network costs for one image, before it is trained: any module, also one of your own.

    Raises CourseError where its MACs are unknown or it has no convolution that sees the image.
    """
    from cnnlab.trace import trace

    table = trace(model, tuple(image))
    if table.unknown:
        raise CourseError(
            f"the MACs of {table.unknown[0].op} are unknown, so nobody can say whether it keeps "
            "the budget; give trace a rule for it, or use another operation"
        )
    convs = [row for row in table if row.op.startswith("conv") and row.receptive_field]
    if not convs:
        raise CourseError("the network has no convolution; a design needs at least one")
    return Costs(table.params, table.macs, table.kept_bytes, min(convs[-1].receptive_field))


def rows_of(found: Costs, limits: Costs = BUDGET) -> list[tuple[str, str, str, str]]:
    """(what, of this network, limit, verdict) of each limit."""
    broken = found.broken(limits)
    return [
        (said, found.text(name), limits.limit(name), "BROKEN" if name in broken else "holds")
        for name, said in NAMES.items()
    ]


def show_audit(model: nn.Module, limits: Costs = BUDGET, image: Sequence[int] = IMAGE) -> Card:
    """The four limits, and whether the network keeps them."""
    found = audit(model, image)
    broken = found.broken(limits)
    title = f"Over budget: {len(broken)} of 4 limits broken" if broken else "Within the budget"
    head = ("", "this network", "limit", "")
    return Card("bad" if broken else "good", title, (), (head, *rows_of(found, limits)))


# -- the page to hand in


def record(
    name: str,
    model: nn.Module,
    runs: Mapping[str, Sequence[History]],
    image: Sequence[int] = IMAGE,
) -> dict:
    """What the report keeps of a design, as plain numbers and text.

    name   the design in a line
    runs   trainings by name: first those of the design, then those with one decision changed

    Raises CourseError where there is no training, or one without an epoch.
    """
    for label, histories in runs.items() or [("runs", ())]:
        if not isinstance(label, str) or not histories or not all(h.epochs for h in histories):
            raise CourseError(
                f"the trainings {label!r} have nothing to show: expected a name in quotes, and for "
                "each start a history with at least one epoch; train first, then hand in"
            )
    from cnnlab.course.pictures.diagram import diagram
    from cnnlab.trace import trace

    table = trace(model, tuple(image))
    words = {"title": "The design", "alt": name}
    try:
        drawn = diagram(table, **words)
    except CourseError:  # too many boxes
        drawn = diagram(table, depth=1, **words)
    return {
        "name": name,
        "costs": [list(row) for row in rows_of(audit(model, image))],
        "diagram": drawn.svg,
        "layers": [
            [
                row.path,
                row.op,
                " x ".join(map(str, row.out_shape)),
                count_text(row.params),
                count_text(row.macs),
                bytes_text(row.kept_bytes),
            ]
            for row in table.fold(1)
        ],
        "runs": {
            label: [
                {
                    "loss": [round(epoch.val_loss, 4) for epoch in history.epochs],
                    "right": [round(100 * epoch.val_accuracy, 2) for epoch in history.epochs],
                }
                for history in histories
            ]
            for label, histories in runs.items()
        },
    }


def section(kept: Mapping, table) -> str:
    """The design as a part of the report's page; `table(head, rows)` writes a table."""
    parts = [f"<h2>My design</h2><p><code>{html.escape(kept['name'])}</code></p>"]
    parts.append(table(("", "this network", "limit", ""), kept["costs"]))
    parts.append(_image(kept["diagram"].encode(), "svg+xml", "Diagram of the design"))
    head = ("layer", "operations", "output", "parameters", "MACs", "kept")
    parts.append(table(head, kept["layers"]))
    parts.append("<h2>One decision changed</h2>")
    rows = [
        (label, str(len(runs)), _spread(runs, "right", "%"), _spread(runs, "loss", ""))
        for label, runs in kept["runs"].items()
    ]
    parts.append(table(("", "starts", "validation images right", "validation loss"), rows))
    curves = _curves(kept["runs"])
    parts.append(_image(curves, "png", "Validation loss after each epoch, all starts"))
    return "".join(parts)


def _spread(runs: Sequence[Mapping], what: str, unit: str) -> str:
    """The last epoch's mean over the starts, and the range."""
    ends = [run[what][-1] for run in runs]
    low, mean, high = (short(v, 3) for v in (min(ends), sum(ends) / len(ends), max(ends)))
    return f"{mean} ({low} to {high}) {unit}".strip()


def _as_far_as_all(runs: Sequence[Mapping]) -> list[list[float]]:
    """The losses of all starts, up to the end of the shortest."""
    shortest = min(len(run["loss"]) for run in runs)
    return [run["loss"][:shortest] for run in runs]


def _curves(runs: Mapping[str, Sequence[Mapping]]) -> bytes:
    from cnnlab.course.pictures import plots

    return plots.curves(
        {label: _as_far_as_all(some) for label, some in runs.items()},
        title="Validation loss, all starts",
        x_label="epoch",
        y_label="loss",
        alt="One curve per variant: the mean over the starts, and their range.",
    ).png()


def _image(data: bytes, kind: str, alt: str) -> str:
    coded = base64.b64encode(data).decode()
    return f'<p><img alt="{alt}" src="data:image/{kind};base64,{coded}"></p>'
