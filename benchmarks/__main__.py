"""All speed benchmarks in one table: `python -m benchmarks`, or `make bench`. `--profile` adds a
profile of a training step."""

from __future__ import annotations

import argparse

from benchmarks import sampling, start, training
from benchmarks.table import machine, show


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--profile", action="store_true")
    arguments = parser.parse_args()
    show(machine(), [*training.rows(), *sampling.rows(), *start.rows()])
    if arguments.profile:
        training.show_profile()


if __name__ == "__main__":
    main()
