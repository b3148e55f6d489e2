from __future__ import annotations

import re
import xml.etree.ElementTree as ET

import pytest

from cnnlab.training import curves as bar
from cnnlab.training.curves import Bar, curve, progress


def points(svg):
    line = ET.fromstring(svg).find("{*}polyline").attrib["points"]
    return [tuple(map(float, pair.split(","))) for pair in line.split()]


def test_the_curve_falls_where_the_loss_falls_and_says_where_it_is():
    svg = curve([2.0, 1.0, 0.5], [(3, 0.25)], steps=6)
    assert 'aria-label="loss 0.5 after 3 of 6 steps"' in svg and ">2<" in svg
    (x0, y0), (x1, y1), (x2, y2) = points(svg)
    assert x0 < x1 < x2 and x2 - x1 == pytest.approx(x1 - x0)
    assert y0 == 24 and y1 == pytest.approx(24 + 72 / 2) and y2 == pytest.approx(24 + 72 * 3 / 4)
    dot = ET.fromstring(svg).find("{*}circle").attrib
    assert (float(dot["cx"]), float(dot["cy"])) == (24 + 432 / 2, 24 + 72 * 7 / 8)


def test_a_long_curve_stays_small_and_inside():
    svg = curve([float(i % 7) for i in range(100_000)], [], steps=100_000)
    assert len(points(svg)) <= 120 and len(svg) < 4000
    assert all(24 <= x <= 456 and 24 <= y <= 96 for x, y in points(svg))
    assert curve([], [], 5) == "" and len(points(curve([0.0], [], 1))) == 1


def test_in_a_notebook_text_and_curve_are_shown_and_gone_at_the_end(monkeypatch):
    shown = []

    class Handle:
        def display(self, data, raw):
            shown.append(data)

        update = display

    clock = [0.0]
    monkeypatch.setattr("IPython.display.DisplayHandle", Handle)
    monkeypatch.setattr("tqdm.std.tqdm._time", lambda self=None: clock[0], raising=False)
    monkeypatch.setattr("tqdm.std.time", lambda: clock[0])
    monkeypatch.setattr(bar, "_notebook_display", bar._Display)
    with Bar(4, True, picture=lambda: "<svg/>", done=1) as line:
        for _ in range(3):
            line.say("loss < 1")
            clock[0] += 3
            line.advance()
    assert shown[0] == shown[-1] == {"text/plain": ""}
    full = [data["text/html"] for data in shown if "text/html" in data]
    assert full and all(html.endswith("</pre><svg/>") for html in full)
    assert "loss &lt; 1" in full[-1] and re.search(r"[234]/4", full[-1])


def test_progress_gives_the_items_and_is_silent_when_it_is_quick(capsys):
    assert list(progress([3, 1])) == [3, 1]
    assert capsys.readouterr() == ("", "")
