"""Two threads that meet where a race would be."""

from __future__ import annotations

import threading
from collections.abc import Callable


def overlap(first: Callable, second: Callable, held: threading.Event, go_on: threading.Event):
    """Run `first` until it sets `held`; give `second` time to overtake; let both end.

    `first` must wait for `go_on` after it has set `held`.
    """
    threads = [threading.Thread(target=first), threading.Thread(target=second)]
    threads[0].start()
    assert held.wait(120)
    threads[1].start()
    threads[1].join(0.2)  # time to overtake, were it let
    go_on.set()
    for thread in threads:
        thread.join(120)
