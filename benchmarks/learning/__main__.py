"""Accuracy of trained networks, in one table: `python -m benchmarks.learning`, or `make
bench-learning`.

Names select tasks: `python -m benchmarks.learning numbers`. All tasks but `generation` need the
extra `learning`. `generation` needs a text, --text; with a checkout of nanoGPT, --nanogpt, it also
measures nanoGPT. All tasks together take an hour and a half on two cores.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterator
from pathlib import Path

from benchmarks.learning import commands, pairs
from benchmarks.learning.generation import generation
from benchmarks.table import Row, machine, show

# A task is a function that trains, measures and yields rows of the table.
TASKS: dict[str, Callable[[], Iterator[Row]]] = {
    "numbers": pairs.numbers,
    "romanization": pairs.romanization,
    "sentiment": pairs.sentiment,
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("tasks", nargs="*", metavar="TASK", help=", ".join(TASKS))
    parser.add_argument("--threads", metavar="N", help="threads of every command")
    parser.add_argument("--text", type=Path, metavar="FILE", help="text for generation")
    parser.add_argument("--nanogpt", type=Path, metavar="DIR", help="nanoGPT checkout to compare")
    options = parser.parse_args()
    if options.threads:
        commands.THREADS += ["--threads", options.threads]
    tasks = dict(TASKS)
    if options.text:
        tasks["generation"] = lambda: generation(options.text, options.nanogpt)
    names = options.tasks or [*tasks]
    for name in names:
        if name not in tasks:
            parser.error(f"{name!r} is not one of {', '.join(TASKS)}, or, with --text, generation")
    show(machine(), [row for name in names for row in tasks[name]()])


if __name__ == "__main__":
    main()
