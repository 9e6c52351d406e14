"""Speed beside busy processes, with the default number of threads against one thread.

Each measurement runs in its own process; the two measurements of a row alternate. `python -m
benchmarks.busy`, or `make bench-busy`, prints the table.
"""

from __future__ import annotations

import argparse
import contextlib
import subprocess
import sys
import time
from collections.abc import Callable, Iterator

import numpy as np

from benchmarks.shapes import Shape, minidark_sample, minidark_step
from benchmarks.table import Row, machine, show
from minidark.backend.threads import set_threads

GOAL = 1.3  # upper limit, relative to one thread
BUSY = (0, 1, 2, 4, 8)  # numbers of other processes
ROUNDS = 2
SECONDS = 6.0  # of each measurement, after the first repetition


WORK: dict[str, Callable[[], Callable[[], object]]] = {
    "train 2x128, fast kernels": lambda: minidark_step(Shape(2, 128, 50, 50), "fast"),
    "train 2x128, numpy's kernels": lambda: minidark_step(Shape(2, 128, 50, 50), "numpy"),
    "sample 3x1024, fast kernels": lambda: minidark_sample(Shape(3, 1024), "fast", 20),
}


def rows() -> Iterator[Row]:
    for name in WORK:
        measured(name, None)  # compiles the kernels if necessary
    for busy in BUSY:
        for name in WORK:
            with other_programs(busy):
                times = [(measured(name, None), measured(name, 1)) for _ in range(ROUNDS)]
            default, single = np.median(times, axis=0)
            yield Row(f"{name}, beside {busy} busy processes", default / single, GOAL, less=True,
                      remark=f"{1e3 * default:.1f} ms, one thread {1e3 * single:.1f}")  # fmt: skip


@contextlib.contextmanager
def other_programs(count: int) -> Iterator[None]:
    """Run `count` processes that keep a processor busy."""
    running = [subprocess.Popen([sys.executable, "-c", "while True: pass"]) for _ in range(count)]
    try:
        yield
    finally:
        for process in running:
            process.kill()
            process.wait()


def measured(name: str, threads: int | None) -> float:
    """Seconds per repetition, measured in a new process."""
    command = [sys.executable, "-m", "benchmarks.busy", "--work", name]
    command += [] if threads is None else ["--threads", str(threads)]
    return float(subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout)


def measure(name: str, threads: int | None) -> float:
    if threads is not None:
        set_threads(threads)
    run = WORK[name]()
    run()
    began, repetitions = time.perf_counter(), 0
    while (seconds := time.perf_counter() - began) < SECONDS:
        run()
        repetitions += 1
    return seconds / repetitions


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--work", choices=WORK, help="measure only this work, in this process")
    parser.add_argument("--threads", type=int)
    arguments = parser.parse_args()
    if arguments.work:
        print(measure(arguments.work, arguments.threads))
    else:
        show(f"Beside busy processes. {machine()}", rows())


if __name__ == "__main__":
    main()
