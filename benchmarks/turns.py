"""Measures several functions in turns, so that other load on the machine affects all equally. A
turn has several repetitions, as in training, so that threads are awake and caches are warm."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping

import numpy as np

REST = 0.05  # seconds between turns; idle OpenBLAS threads spin for half of that
TURN = 0.25  # approximate seconds of a turn


def medians(runs: Mapping[str, Callable[[], object]], rounds: int) -> dict[str, float]:
    """The median seconds of each function over its turns. Earlier calls, which compile and warm
    up, do not count."""
    repetitions = {}
    for name, run in runs.items():
        run()
        repetitions[name] = max(1, round(TURN / seconds_of(run, 2)))
    seconds: dict[str, list[float]] = {name: [] for name in runs}
    for _ in range(rounds):
        for name, run in runs.items():
            time.sleep(REST)
            seconds[name].append(seconds_of(run, repetitions[name]))
    return {name: float(np.median(times)) for name, times in seconds.items()}


def seconds_of(run: Callable[[], object], repetitions: int) -> float:
    """The mean seconds of a call over some repetitions."""
    began = time.perf_counter()
    for _ in range(repetitions):
        run()
    return (time.perf_counter() - began) / repetitions
