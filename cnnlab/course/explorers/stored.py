"""Numbers that a command made once, for explorers to look up. Standard library only.

`python -m tests.tools.stored` writes numbers/*.bin; the tests hold them against torch.
"""

from __future__ import annotations

import zlib
from array import array
from collections.abc import Sequence
from pathlib import Path

FOLDER = Path(__file__).with_name("numbers")


def read(name: str) -> bytes:
    """The bytes that were stored under a name."""
    return zlib.decompress((FOLDER / f"{name}.bin").read_bytes())


def write(name: str, data: bytes) -> None:
    """Store bytes under a name."""
    FOLDER.mkdir(exist_ok=True)
    (FOLDER / f"{name}.bin").write_bytes(zlib.compress(data, 9))


def pack(numbers: Sequence[int]) -> bytes:
    """Whole numbers of 32 bits as bytes: what slowly changes packs small.

    Differences of neighbors, their first bytes together, then their second ones, and so on.
    """
    steps = array("i", [now - last for now, last in zip(numbers, [0, *numbers])])
    data = steps.tobytes()
    return b"".join(data[place::4] for place in range(4))


def unpack(data: bytes) -> list[int]:
    """The numbers that `pack` made bytes of."""
    mixed, count = bytearray(len(data)), len(data) // 4
    for place in range(4):
        mixed[place::4] = data[place * count : (place + 1) * count]
    numbers, last = [], 0
    for step in array("i", bytes(mixed)):
        last += step
        numbers.append(last)
    return numbers
