"""Times of several things in one run, each in its turn, so that what else the machine does meets
all alike. A turn is some repetitions, as in training, so that threads are awake and caches warm."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping

import numpy as np

REST = 0.05  # seconds between two: OpenBLAS's threads spin for half of that, with nothing to do
TURN = 0.25  # seconds that a turn takes at least


def medians(runs: Mapping[str, Callable[[], object]], rounds: int) -> dict[str, float]:
    """The median seconds of each over its turns. What comes before them, which compiles and warms
    up, does not count."""
    repetitions = {}
    for name, run in runs.items():
        run()
        repetitions[name] = max(1, round(TURN / _seconds(run, 2)))
    seconds: dict[str, list[float]] = {name: [] for name in runs}
    for _ in range(rounds):
        for name, run in runs.items():
            time.sleep(REST)
            seconds[name].append(_seconds(run, repetitions[name]))
    return {name: float(np.median(times)) for name, times in seconds.items()}


def _seconds(run: Callable[[], object], repetitions: int) -> float:
    began = time.perf_counter()
    for _ in range(repetitions):
        run()
    return (time.perf_counter() - began) / repetitions
