"""The budget of chapter 13: four limits for a network that reads one gray image of 16 x 16.

A design is three numbers per stage of 3x3 convolutions: how many, their width, the stride of the
first (`cnnlab.models.design`, which needs PyTorch). What it costs follows from arithmetic alone.
Standard library only; a test holds it against the trace of the real network.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields

from cnnlab.arithmetic import (
    Window,
    bytes_text,
    conv_macs,
    conv_params,
    count_text,
    linear_macs,
    linear_params,
    output_size,
)

SIZE, CLASSES = 16, 10


@dataclass(frozen=True)
class Costs:
    """What a network costs, or may cost.

    params  parameters
    macs    MACs of one image, without bias
    kept    bytes that one image keeps for the backward pass
    field   receptive field of the last convolution, in pixels: more is better
    """

    params: int
    macs: int
    kept: int
    field: int

    def broken(self, limits: Costs) -> tuple[str, ...]:
        """The names of the limits that these costs do not keep."""
        pairs = [(f.name, getattr(self, f.name), getattr(limits, f.name)) for f in fields(self)]
        return tuple(
            name for name, own, limit in pairs if (own < limit if name == "field" else own > limit)
        )

    def text(self, name: str) -> str:
        """One of the costs as it is written: 40,000; 40.0 kB; 31 px."""
        value = getattr(self, name)
        if name == "field":
            return f"{value} px"
        return bytes_text(value) if name == "kept" else count_text(value)

    def limit(self, name: str) -> str:
        """The same as a limit: at most 40,000; at least 31 px."""
        return f"at {'least' if name == 'field' else 'most'} {self.text(name)}"


# Each unit of a map sees the whole image where its receptive field is at least 2 x 16 - 1.
BUDGET = Costs(params=40_000, macs=500_000, kept=40_000, field=2 * SIZE - 1)


def costs(
    convs: Sequence[int],
    widths: Sequence[int],
    strides: Sequence[int],
    size: int = SIZE,
    classes: int = CLASSES,
) -> Costs:
    """Costs of a design: each convolution without bias, then batch norm and ReLU; then the average
    of each channel, and one linear layer."""
    before, window = 1, Window()
    params = macs = 0
    floats = size**2  # the image
    for count, width, stride in zip(convs, widths, strides):
        for place in range(count):
            step = stride if place == 0 else 1
            size, window = output_size(size, 3, step, 1), window.then(3, step, 1)
            params += conv_params(before, width, 3, bias=False) + 2 * width  # scale and shift
            macs += conv_macs(before, width, 3, size)
            floats += 2 * width * size**2 + 2 * width  # of the norm: a mean and a deviation
            before = width
    params += linear_params(before, classes)
    return Costs(params, macs + linear_macs(before, classes), 4 * (floats + before), window.size)
