"""Accuracy of trained networks, in one table: `python -m benchmarks.learning`, or `make
bench-learning`.

Names select tasks: `python -m benchmarks.learning numbers`. Results are kept in build/learning.
Without names, tasks with a kept result are not measured again.

numbers, romanization and rated-words need the extra `learning`. The tasks of generation need a
text, --text; with a checkout of nanoGPT, --nanogpt, nanogpt measures it. The tasks of translation
need the data, --multi30k, and those of reviews need --reviews. The tasks of precision compare bf16
with float32 and need --text or --multi30k. All tasks together take several
hours on two cores.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterator
from pathlib import Path

from benchmarks.learning import commands, generation, pairs, precision, reviews, translation
from benchmarks.learning.kept import kept
from benchmarks.table import Row, machine, show

KEPT = Path("build", "learning")
# A task is a function that trains, measures and yields rows of the table.
TASKS: dict[str, Callable[[], Iterator[Row]]] = {
    "numbers": pairs.numbers,
    "romanization": pairs.romanization,
    "rated-words": pairs.rated_words,
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("tasks", nargs="*", metavar="TASK", help=", ".join(TASKS))
    parser.add_argument("--threads", metavar="N", help="threads of every command")
    parser.add_argument("--text", type=Path, metavar="FILE", help="text for generation")
    parser.add_argument("--nanogpt", type=Path, metavar="DIR", help="nanoGPT checkout to compare")
    parser.add_argument("--multi30k", type=Path, metavar="DIR", help="data for translation")
    parser.add_argument("--reviews", type=Path, metavar="DIR", help="data for sentiment")
    parser.add_argument("--seeds", type=int, default=1, metavar="N", help="networks to train each")
    options = parser.parse_args()
    if options.threads:
        commands.THREADS += ["--threads", options.threads]
    tasks = dict(TASKS)
    if options.text:
        own = KEPT / "generation"
        tasks |= generation.tasks(options.text, options.nanogpt, own, options.seeds)
    if options.multi30k:
        tasks |= translation.tasks(options.multi30k, KEPT / "translation", options.seeds)
    tasks |= precision.tasks(options.text, options.multi30k, KEPT / "precision", options.seeds)
    if options.reviews:
        tasks |= reviews.tasks(options.reviews, KEPT / "reviews", options.seeds)
    for name in options.tasks:
        if name not in tasks:
            more = "more with --text, --multi30k and --reviews"
            parser.error(f"{name!r} is not one of {', '.join(tasks)}; {more}")
    names, again = options.tasks or [*tasks], bool(options.tasks)
    facts = {"seeds": options.seeds, "threads": options.threads}
    rows = [row for name in names for row in kept(KEPT, name, tasks[name], again, facts)]
    show(machine(), rows)


if __name__ == "__main__":
    main()
