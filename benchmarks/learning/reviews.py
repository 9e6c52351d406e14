"""Sentiment of reviews, as accuracy on reviews that no training saw.

The folder REVIEWS has one file with `train` in its name and one or more with `test`, also with .gz.
If names begin with `naver`, other files do not count. Each line is a review, a tab and its class.
Choices were made on held-out training reviews alone.
The weights stay in build/learning.

Training runs as a user would run it: `minidark train sentiment train.tsv --pairs`.
"""

from __future__ import annotations

import json
import shutil
import statistics
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from benchmarks.learning.commands import run
from benchmarks.learning.files import unpacked
from benchmarks.table import Row

CFG = "sentiment"
GOAL, SECONDS = 88.0, 600.0
JOINED_GOAL, JOINED_SECONDS = 88.8, 1800.0
TOGETHER = 3  # networks in an ensemble
FEW = 20_000  # reviews
FEW_OPTIONS = ("--epochs", "8")
FEW_TOGETHER = 3


@dataclass(frozen=True, slots=True)
class Data:
    train: Path
    tests: list[Path]


def tasks(folder: Path, kept: Path, seeds: int) -> dict[str, Callable[[], Iterator[Row]]]:
    """The tasks by name. They keep weights in `kept`."""
    return {
        "reviews": lambda: trained(folder, kept, seeds),
        "reviews-joined": lambda: joined(folder, kept),
        "reviews-few": lambda: few(folder, kept),
    }


def prepared(folder: Path, kept: Path) -> Data:
    """The data without .gz."""
    trains, tests = (
        sorted(folder.glob(f"naver*{part}*.tsv*")) or sorted(folder.glob(f"*{part}*.tsv*"))
        for part in ("train", "test")
    )
    return Data(unpacked(trains, kept)[0], unpacked(tests, kept))


def trained(folder: Path, kept: Path, seeds: int) -> Iterator[Row]:
    """Train `seeds` networks: their accuracy on each test file beside that of the baseline, and the
    seconds of the slowest."""
    data = prepared(folder, kept)
    runs = [_train(data.train, kept / "all" / str(seed), seed) for seed in range(1, seeds + 1)]
    for test in data.tests:
        scores = [_score(CFG, weights, test) for weights, _ in runs[1:]]
        first = _score(CFG, runs[0][0], test, "--baseline", str(data.train))
        accuracies = [100 * score["accuracy"] for score in [first, *scores]]
        remark = f"seeds 1 to {seeds}: " + ", ".join(f"{a:.2f}" for a in accuracies)
        baseline = 100 * first["baseline"]["accuracy"]
        yield Row(f"{test.name}: accuracy", statistics.mean(accuracies), GOAL, "%",
                  remark=f"{remark}; logistic regression on n-grams {baseline:.2f}")  # fmt: skip
    yield Row("  trained in", max(s for _, s in runs), SECONDS, "s", less=True)


def joined(folder: Path, kept: Path) -> Iterator[Row]:
    """An ensemble of the first networks of `trained`, which are trained once for both rows: its
    accuracy, and the seconds of all its trainings together."""
    data = prepared(folder, kept)
    cfg, weights, seconds = _ensemble(data.train, kept / "all", TOGETHER)
    for test in data.tests:
        accuracy = 100 * _score(cfg, weights, test)["accuracy"]
        yield Row(f"{test.name}: accuracy of {TOGETHER} joined", accuracy, JOINED_GOAL, "%")
    yield Row("  trained in", seconds, JOINED_SECONDS, "s", less=True)


def few(folder: Path, kept: Path) -> Iterator[Row]:
    """With the first FEW reviews: accuracy against logistic regression."""
    data, some = prepared(folder, kept), kept / "few.tsv"
    with data.train.open("rb") as file:
        some.write_bytes(b"".join(line for _, line in zip(range(FEW), file, strict=False)))
    cfg, weights, seconds = _ensemble(some, kept / "few", FEW_TOGETHER, *FEW_OPTIONS)
    for test in data.tests:
        score = _score(cfg, weights, test, "--baseline", str(some))
        baseline = 100 * score["baseline"]["accuracy"]
        yield Row(f"{test.name}: accuracy with {FEW:,} reviews, above the baseline's",
                  100 * score["accuracy"], baseline, "%",
                  remark=f"{FEW_TOGETHER} joined, {seconds:.0f} s")  # fmt: skip


@cache
def _train(train: Path, backup: Path, seed: int, *options: str) -> tuple[Path, float]:
    """The final weights, and the seconds of the whole command; once for all rows of a benchmark."""
    shutil.rmtree(backup, ignore_errors=True)
    began = time.perf_counter()
    run("train", CFG, str(train), "--pairs", "--seed", str(seed), "--backup", str(backup), *options)
    return backup / f"{CFG}_final.weights", time.perf_counter() - began


def _ensemble(train: Path, folder: Path, count: int, *options: str) -> tuple[str, Path, float]:
    """The cfg and weights of `count` joined networks, and the seconds to train them. They share the
    byte pairs of the same reviews, as `join` needs."""
    runs = [_train(train, folder / str(seed), seed, *options) for seed in range(1, count + 1)]
    weights = folder / "joined.weights"
    run("join", CFG, str(weights), *(str(path) for path, _ in runs))
    return str(weights.with_suffix(".cfg")), weights, sum(seconds for _, seconds in runs)


def _score(cfg: str, weights: Path, test: Path, *options: str) -> dict[str, Any]:
    words = ("score", cfg, str(weights), str(test), "--json", *options)
    scored: dict[str, Any] = json.loads(run(*words))
    return scored
