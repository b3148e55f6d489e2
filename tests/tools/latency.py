"""Milliseconds from a key press on a slider to the changed picture, in JupyterLab and Chromium.

    python -m tests.tools.latency            every explorer: median, 95th percentile, layout jumps

The clock is the page's own: from the keydown event to the frame that shows the new picture. A
picture that changed its height counts as a jump. On a busy machine the figures are high: close
other programs, and compare medians of several runs.
"""

from __future__ import annotations

import argparse
import re
from statistics import median, quantiles

from tests.browser.harness import NOTEBOOKS, Lab

WATCH = """picture => {
    const seen = {times: [], heights: new Set(), blank: 0};
    let pressed = null;
    document.addEventListener("keydown", () => { pressed = performance.now(); }, true);
    new MutationObserver(() => {
        if (!picture.querySelector("svg")) seen.blank += 1;
        if (pressed === null) return;
        const from = pressed;
        pressed = null;
        requestAnimationFrame(() => {
            seen.times.push(performance.now() - from);
            seen.heights.add(picture.getBoundingClientRect().height);
        });
    }).observe(picture, {childList: true, subtree: true});
    window.cnnlabSeen = seen;
}"""
READ = "() => ({...window.cnnlabSeen, heights: [...window.cnnlabSeen.heights]})"


def explorers():
    """(notebook, ids of the cells to run, the last of which shows an explorer)."""
    import nbformat

    for path in sorted(NOTEBOOKS.glob("*.ipynb")):
        cells = nbformat.read(path, 4).cells
        ids = [cell.id for cell in cells if cell.cell_type == "code"]
        for cell in (i for i in ids if re.search(r"-explore[-\w]*$", i)):
            above = ids[: ids.index(cell)]
            # Chapter 00 shows the network that it has trained; the others need their first cell.
            yield path.name, [*(above if cell.startswith("00") else above[:1]), cell]


def measure(page, presses: int) -> dict:
    """Press the arrow keys on the explorer's first enabled slider, back and forth."""
    explorer = page.page.locator(".cnnlab-explorer").first
    slider = explorer.get_by_role("slider").first
    picture = explorer.locator(".cnnlab-picture").first
    slider.scroll_into_view_if_needed()
    slider.focus()
    page.page.wait_for_timeout(1000)
    picture.evaluate(WATCH)
    slider.press("Home")
    page.page.wait_for_timeout(300)
    for press in range(presses):
        slider.press("ArrowRight" if press % 6 < 3 else "ArrowLeft")
        page.page.wait_for_timeout(150)
    return page.page.evaluate(READ)


def main():
    parser = argparse.ArgumentParser(prog="python -m tests.tools.latency", description=__doc__)
    parser.add_argument("--presses", type=int, default=60)
    arguments = parser.parse_args()
    with Lab() as lab:
        for notebook, cells in explorers():
            with lab.open(notebook) as page:
                page.run_cells(cells)
                report(cells[-1], measure(page, arguments.presses))


def report(cell: str, seen: dict) -> None:
    """One line: how long key presses took, and whether the picture jumped or went blank."""
    times = seen["times"]
    print(
        f"{cell:<18} {len(times):3} changes  median {median(times):4.0f} ms  "
        f"95% {quantiles(times, n=20)[-1]:4.0f} ms  "
        f"heights {len(seen['heights'])}  blank frames {seen['blank']}",
        flush=True,
    )


if __name__ == "__main__":
    main()
