"""What one unit sees, layer by layer backwards: the cone of its lines of sight."""

from __future__ import annotations

from collections.abc import Sequence

from cnnlab.arithmetic import Window
from cnnlab.course.look import INK, INPUT, KERNEL, MUTED, OUTPUT, SMALL, TEXT, WIDTH, mix
from cnnlab.course.pictures.svg import Drawing, Svg

_ROW, _TOP, _LEFT, _RIGHT = 84, 44, 150, 190  # heights and margins


def backwards(layers: Sequence[tuple[int, int]]) -> Drawing:
    """A unit on top, below it what it reads in each map, at the bottom its pixels of the image.

    layers  (kernel, stride) of each, from the image up, without padding.
    """
    windows = [Window()]
    for kernel, stride in layers:
        windows.append(windows[-1].then(kernel, stride))
    seen = [1]  # units of each map, from the top down
    for kernel, stride in reversed(layers):
        seen.append((seen[-1] - 1) * stride + kernel)
    seen.reverse()
    size = seen[0]
    step = min(46, (WIDTH - _LEFT - _RIGHT) / size)
    label = f"One unit reads {', '.join(f'{n} units' for n in seen[-2:0:-1])}"
    label = f"{label}, and so {size} pixels" if len(layers) > 1 else f"One unit reads {size} pixels"
    svg = Svg(WIDTH, _TOP + _ROW * len(layers) + 44, f"{label}: one line for each weight.")
    middle = _LEFT + (WIDTH - _LEFT - _RIGHT) / 2

    def place(level: int, unit: int) -> tuple[float, float]:
        at = windows[level].center(unit) - (size - 1) / 2
        return middle + at * step, _TOP + _ROW * (len(layers) - level)

    for level, (kernel, stride) in enumerate(layers, 1):
        for unit in range(seen[level]):
            for tap in range(kernel):
                ends = (*place(level, unit), *place(level - 1, unit * stride + tap))
                svg.line(*ends, stroke=KERNEL if unit == 0 else MUTED, line=1.6)
    side = min(26, step * 0.78)
    for level, count in enumerate(seen):
        color = INPUT if level == 0 else OUTPUT if level == len(layers) else INK
        for unit in range(count):
            x, y = place(level, unit)
            box = (x - side / 2, y - side / 2, side, side)
            svg.rect(*box, fill=mix("#ffffff", color, 0.35), stroke=color, radius=3)
        y = place(level, 0)[1]
        name = f"map {level}" if level else "image"
        what = "pixel" if level == 0 else "unit"
        svg.text(16, y - 2, name, TEXT, INK, bold=True)
        svg.text(16, y + 15, f"{count} {what}{'s' * (count > 1)}", SMALL, MUTED)
        if level:
            kernel, stride = layers[level - 1]
            jump = windows[level - 1].jump
            x, y = WIDTH - _RIGHT + 24, y + _ROW / 2
            svg.text(x, y - 2, f"kernel {kernel}, stride {stride}", SMALL, INK)
            adds = f"adds {(kernel - 1) * jump} pixels"
            svg.text(x, y + 15, adds, SMALL, MUTED)
    return Drawing(str(svg))
