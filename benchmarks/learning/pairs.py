"""Accuracy on pairs after ten minutes of training on two cores, with the ordinary commands."""

from __future__ import annotations

import json
import os
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from benchmarks.learning import data
from benchmarks.learning.commands import run
from benchmarks.table import Row
from minidark.inference.baseline import logistic_regression
from minidark.inference.classification import Classification
from minidark.weights.run_folder import base_name

MOST_SECONDS = 600
MORE = ("--batches", "24000")  # for many short words
CFG = "pairs"  # the shipped cfg
SMALL = str(Path(__file__).with_name("rated-words.cfg"))
TOGETHER = 16  # networks in an ensemble
SPLITS = (1, 2, 3)  # seeds; a single split has too few held-out words to compare methods


def numbers() -> Iterator[Row]:
    yield from _exact("English number words to Korean ones", data.numbers(), 99)


def romanization() -> Iterator[Row]:
    yield from _exact("Hangul words to Latin letters", data.romanization(), 98, *MORE)


def _exact(work: str, task: data.Task, goal: float, *options: str) -> Iterator[Row]:
    scores, seconds, processor = learned(task, *options)
    pairs = scores["pairs"]
    right, wrong = round(pairs * scores["exact"]), 100 * scores["character_error_rate"]
    remark = f"{right:,} of {pairs:,} held out; {wrong:.2f} % of characters wrong"
    yield Row(f"{work}: exact", 100 * scores["exact"], goal, "%", remark=remark)
    yield _time(seconds, f"{len(task.train):,} pairs; {processor:.0f} s of processor time")


def rated_words() -> Iterator[Row]:
    """Accuracy against the majority class, and against logistic regression on the same words."""
    tasks = [data.rated_words(split) for split in SPLITS]
    ours = [joined(task, SMALL, TOGETHER) for task in tasks]
    majority, regression = (
        round(100 * _mean([judge(task) for task in tasks]), 1)
        for judge in (majority_class, regression_accuracy)
    )
    accuracy = _mean([ensemble for ensemble, *_ in ours])
    alone = 100 * _mean([single for _, single, _ in ours])
    remark = (
        f"mean of {len(tasks)} splits, {sum(len(t.held_out) for t in tasks):,} words held out; "
        f"{TOGETHER} networks joined; a single one has {alone:.1f} %"
    )
    work = "words positive or negative: accuracy"
    yield Row(f"{work}, above the majority's", 100 * accuracy, majority, "%", remark=remark)
    yield Row(f"{work}, above n-grams'", 100 * accuracy, regression, "%", remark=remark)
    yield _time(max(seconds for *_, seconds in ours), "the longest split, all its networks")


def _time(seconds: float, remark: str) -> Row:
    return Row("  trained in", seconds, MOST_SECONDS, "s", less=True, remark=remark)


def _mean(values: Sequence[float]) -> float:
    return sum(values) / len(values)


def learned(task: data.Task, *options: str, cfg: str = CFG) -> tuple[dict[str, Any], float, float]:
    """Run `minidark train` with these options, then `minidark score` on the held-out pairs. Returns
    the scores, and the wall and processor seconds of the training."""
    with tempfile.TemporaryDirectory() as folder:
        train, held_out = task.write(Path(folder))
        began, used = time.perf_counter(), _processor_seconds()
        run("train", cfg, str(train), "--pairs", "--seed", "1", "--backup", folder,
             "--valid-fraction", ".01", *options)  # fmt: skip
        seconds, processor = time.perf_counter() - began, _processor_seconds() - used
        weights = Path(folder, f"{base_name(cfg)}_final.weights")
        scored = json.loads(run("score", cfg, str(weights), str(held_out), "--json"))
    return scored, seconds, processor


def joined(task: data.Task, cfg: str, count: int) -> tuple[float, float, float]:
    """The accuracy of `count` joined networks on the held-out pairs, the mean accuracy of the
    single networks, and the seconds to train all of them."""
    with tempfile.TemporaryDirectory() as folder:
        train, held_out = task.write(Path(folder))
        began = time.perf_counter()
        weights = []
        for seed in range(1, count + 1):
            backup = Path(folder, str(seed))
            run("train", cfg, str(train), "--pairs", "--seed", str(seed), "--backup", str(backup),
                 "--valid-fraction", ".01", "--quiet")  # fmt: skip
            weights.append(str(backup / f"{base_name(cfg)}_final.weights"))
        together = Path(folder, "together.weights")
        run("join", cfg, str(together), *weights)
        seconds = time.perf_counter() - began
        alone = [_accuracy(cfg, one, held_out) for one in weights]
        wide = str(together.with_suffix(".cfg"))
        return _accuracy(wide, str(together), held_out), _mean(alone), seconds


def _accuracy(cfg: str, weights: str, held_out: Path) -> float:
    return float(json.loads(run("score", cfg, weights, str(held_out), "--json"))["accuracy"])


def _processor_seconds() -> float:
    """The processor seconds of all commands so far."""
    times = os.times()
    return times.children_user + times.children_system


def majority_class(task: data.Task) -> float:
    """The share of held-out words in the class that is most frequent in training."""
    classes = [target for _, target in task.train]
    likeliest = max(set(classes), key=classes.count)
    return _mean([target == likeliest for _, target in task.held_out])


def regression_accuracy(task: data.Task) -> float:
    """The accuracy of logistic regression on character n-grams, as by `score --baseline`."""
    sources, targets = zip(*task.held_out, strict=True)
    known, labels = zip(*task.train, strict=True)
    predicted = logistic_regression(known, labels, sources)
    return Classification(targets, predicted).accuracy
