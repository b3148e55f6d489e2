"""`python -m tests.bench start | trace | sweep | train | chapters`: what `make bench` runs."""

from __future__ import annotations

import argparse

from tests.bench.bench import BENCHES


def main() -> None:
    """Print a benchmark's report line by line, as it comes."""
    parser = argparse.ArgumentParser(prog="python -m tests.bench", description=__doc__)
    parser.add_argument("what", choices=BENCHES)
    parser.add_argument(
        "--only", metavar="TEXT", help="train, sweep: cases with this in their name"
    )
    parser.add_argument("--store", metavar="FOLDER", help="train: keep what was measured, as JSON")
    options = parser.parse_args()
    given = {key: getattr(options, key) for key in ("only", "store") if getattr(options, key)}
    if given.keys() - {"train": {"only", "store"}, "sweep": {"only"}}.get(options.what, set()):
        parser.error(f"--{next(iter(given))} is not for {options.what}")
    for text in BENCHES[options.what](**given):
        print(text, flush=True)


if __name__ == "__main__":
    main()
