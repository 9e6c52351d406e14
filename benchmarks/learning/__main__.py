"""What networks learn, in one table: `python -m benchmarks.learning`, or `make bench-learning`.

With names, only those: `python -m benchmarks.learning numbers`. They need the extra `learning`; in
all they take half an hour on two cores.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterator

from benchmarks.learning import pairs
from benchmarks.table import Row, machine, show

# A task is a function that learns, measures and gives its rows. What is to be generated has its
# place here too.
TASKS: dict[str, Callable[[], Iterator[Row]]] = {
    "numbers": pairs.numbers,
    "romanization": pairs.romanization,
    "sentiment": pairs.sentiment,
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("tasks", nargs="*", metavar="TASK", help=", ".join(TASKS))
    parser.add_argument("--threads", metavar="N", help="as the commands take it")
    given = parser.parse_args()
    if given.threads:
        pairs.THREADS += ["--threads", given.threads]
    names = given.tasks or [*TASKS]
    for name in names:
        if name not in TASKS:
            parser.error(f"{name!r} is not one of {', '.join(TASKS)}")
    show(machine(), [row for name in names for row in TASKS[name]()])


if __name__ == "__main__":
    main()
