"""What networks learn, in one table: `python -m benchmarks.learning`, or `make bench-learning`.

With names, only those: `python -m benchmarks.learning numbers`. All but `generation` need the extra
`learning`; `generation` needs a text, --text, and takes nanoGPT's own figures where --nanogpt gives
a checkout of it. In all they take an hour and a half on two cores.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterator
from pathlib import Path

from benchmarks.learning import commands, pairs
from benchmarks.learning.generation import generation
from benchmarks.table import Row, machine, show

# A task is a function that learns, measures and gives its rows.
TASKS: dict[str, Callable[[], Iterator[Row]]] = {
    "numbers": pairs.numbers,
    "romanization": pairs.romanization,
    "sentiment": pairs.sentiment,
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("tasks", nargs="*", metavar="TASK", help=", ".join(TASKS))
    parser.add_argument("--threads", metavar="N", help="as the commands take it")
    parser.add_argument("--text", type=Path, metavar="FILE", help="what generation learns")
    parser.add_argument("--nanogpt", type=Path, metavar="DIR", help="a checkout to compare with")
    given = parser.parse_args()
    if given.threads:
        commands.THREADS += ["--threads", given.threads]
    tasks = dict(TASKS)
    if given.text:
        tasks["generation"] = lambda: generation(given.text, given.nanogpt)
    names = given.tasks or [*tasks]
    for name in names:
        if name not in tasks:
            parser.error(f"{name!r} is not one of {', '.join(TASKS)}, or with --text generation")
    show(machine(), [row for name in names for row in tasks[name]()])


if __name__ == "__main__":
    main()
