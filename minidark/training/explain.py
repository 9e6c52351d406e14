"""Estimates what a run would need, without running it: `train --explain`.

It trains the first four batches, times three of them, and discards the network. It writes no files.
A very large network trains fewer batches. If a batch diverges, as it will in the real run, the
estimate is still made.
"""

from __future__ import annotations

import logging
import math
import statistics
import time
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from minidark.backend import NUMPY_RATE
from minidark.cfg.plan import replan
from minidark.errors import DivergedError
from minidark.inference.valid import Pieces, evaluate, evaluate_pairs
from minidark.network import Network, policy
from minidark.training.feeds import LEAST_VALIDATION, Feed, PairsFeed, TextFeed
from minidark.training.train import Training
from minidark.training.validation import validations

log = logging.getLogger(__name__)

TIMED = 3  # batches, after one warm-up batch
ENOUGH = 10.0  # seconds, after which no further batch starts
TIMED_SYMBOLS = 8192  # most symbols of the timed validation
VALIDATED = 5.0  # seconds that it should take at most
LONG = 5.0  # seconds; a longer wait is announced
POINTS = 48  # points of the rate curve


@dataclass(frozen=True, slots=True)
class Explained:
    """Estimate of a run. Sizes are bytes and times seconds. A batch's rate is the one that `train`
    reports: the rate of its update."""

    parameters: int
    parameter_bytes: int  # with gradients and the optimizer's slots
    pass_bytes: int  # lower bound: states, and the arrays that a training pass saves
    streams: int
    time_steps: int
    subdivisions: int
    characters_per_batch: int
    batches: int  # remaining
    batches_seen: int
    characters: int  # to train on; for pairs, those of targets and end marks
    characters_validated: int  # in each validation
    pairs: bool
    epochs: float
    rates: dict[str, float]  # by batch number, as text for JSON
    curve: list[float]
    diverged: str | None  # error that ended the timed batches early
    timed_batches: int
    seconds_per_batch: float
    seconds_per_validation: float
    validations: int

    @property
    def characters_per_second(self) -> float:
        return self.characters_per_batch / self.seconds_per_batch

    @property
    def seconds_training(self) -> float:
        return self.batches * self.seconds_per_batch

    @property
    def seconds(self) -> float:
        return self.seconds_training + self.validations * self.seconds_per_validation

    def to_json(self) -> dict[str, Any]:
        names = ("characters_per_second", "seconds_training", "seconds")
        figures = {**asdict(self), **{name: getattr(self, name) for name in names}}
        figures["rates"] = {batch: _finite(rate) for batch, rate in self.rates.items()}
        return {**figures, "curve": [*map(_finite, self.curve)]}


def _finite(rate: float) -> float | None:
    """None for an infinite rate: JSON has no infinity."""
    return rate if math.isfinite(rate) else None


def explain(training: Training) -> Explained:
    """Estimate what finishing a run needs. Trains a few batches, which changes the network. Raises
    what training raises, except DivergedError."""
    net, learned, batches = training.net, training.feed, training.batches
    options, seen = net.options, net.batches_seen
    plan = replan(net.sections)
    characters = _characters_per_batch(net, learned)
    to_come = batches - seen
    rates = rate_curve(net, seen, batches)
    if (1 + TIMED) * training.rows * 3 * net.work() > LONG * NUMPY_RATE:
        log.info("timing a few batches, which takes a while with %s parameters",
                 f"{plan.trained:,}")  # fmt: skip
    times, diverged = _seconds_of_batches(training, characters)
    if diverged:
        log.warning("%s", diverged)
    return Explained(
        parameters=plan.trained,
        parameter_bytes=plan.parameter_bytes(net.backend.dtype.itemsize),
        pass_bytes=plan.pass_bytes(net.backend.dtype.itemsize),
        streams=net.streams,
        time_steps=options.time_steps,
        subdivisions=options.subdivisions,
        characters_per_batch=characters,
        batches=to_come,
        batches_seen=seen,
        characters=learned.size,
        characters_validated=learned.validated,
        pairs=isinstance(learned, PairsFeed),
        epochs=to_come * characters / learned.size,
        rates={str(batch): rates[batch] for batch in key_batches(net, rates)},
        curve=_sampled(list(rates.values()), POINTS),
        diverged=diverged,
        timed_batches=len(times),
        seconds_per_batch=statistics.median(times),
        seconds_per_validation=_seconds_per_validation(net, learned),
        validations=validations(to_come, characters, learned.validated),
    )


def rate_curve(net: Network, seen: int, batches: int) -> dict[int, float]:
    """Learning rates of up to about a thousand remaining batches, including the first and the last.
    The random policy gets its median rate."""
    first, last = seen + 1, batches
    step = max(1, (last - first) // 1000)
    chosen = sorted({*range(first, last + 1, step), last, *_turns(net, first, last)})
    return {b: policy.learning_rate(b, net.options, lambda: 0.5) for b in chosen}


def _turns(net: Network, first: int, last: int) -> list[int]:
    """Batches where the learning-rate schedule changes."""
    turns = [net.options.burn_in, *net.options.steps]
    return [batch for batch in turns if first <= batch <= last]


def key_batches(net: Network, rates: dict[int, float]) -> list[int]:
    """The first batch, the one with the highest rate, the turns, the middle one and the last."""
    known = [*rates]
    highest = max(rates, key=lambda batch: rates[batch])
    turns = _turns(net, known[0], known[-1])[:8]
    return sorted({known[0], highest, *turns, known[len(known) // 2], known[-1]})


def _sampled(values: list[float], points: int) -> list[float]:
    if len(values) <= points:
        return values
    return [values[i * (len(values) - 1) // (points - 1)] for i in range(points)]


def _characters_per_batch(net: Network, learned: Feed) -> int:
    """Mean over an epoch. It differs from the number of rows if pairs end early or symbols have
    several characters."""
    if isinstance(learned, PairsFeed):
        return round(learned.size * net.options.subdivisions / len(learned.order))
    assert isinstance(learned, TextFeed)
    part = learned.streams.part
    return net.options.rows * net.options.subdivisions * part.characters // part.size


def _seconds_of_batches(training: Training, characters: int) -> tuple[list[float], str | None]:
    """Times of up to three batches after a warm-up batch, scaled to this number of characters, and
    the message if a batch diverged. Stops early after ENOUGH seconds or a divergence. Returns
    the warm-up batch's time if there is no other. No batch validates."""
    training.begin_unvalidated(1 + TIMED)
    times: list[float] = []
    diverged, total, symbols = None, 0.0, 0
    while len(times) < 1 + TIMED and total <= ENOUGH and not diverged:
        began = time.perf_counter()
        try:
            report = next(training)
        except DivergedError as error:
            diverged = str(error)
        seconds = time.perf_counter() - began
        total += seconds
        if not diverged:
            times.append(seconds * characters / (report.symbols - symbols))
            symbols = report.symbols
        elif not times:
            times.append(seconds)
    return times[1:] or times, diverged


def _seconds_per_validation(net: Network, learned: Feed) -> float:
    if not learned.validated:
        return 0.0
    quick = int(VALIDATED * NUMPY_RATE * 3 / max(1.0, 3 * net.work()))
    few = min(TIMED_SYMBOLS, max(LEAST_VALIDATION, quick), learned.validated)
    began = time.perf_counter()
    with np.errstate(all="ignore"):  # the network may have diverged
        scored = _scored(net, learned, few)
    return (time.perf_counter() - began) * learned.validated / scored


def _scored(net: Network, learned: Feed, few: int) -> int:
    """Number of characters scored in a short validation of about `few`."""
    if isinstance(learned, PairsFeed):
        apart = math.ceil(learned.validated / few)
        return evaluate_pairs(net, learned.held, learned.held_out[::apart]).characters
    assert isinstance(learned, TextFeed)
    evaluate(net, learned.held_out, most=few)
    return Pieces.of(learned.held_out, most=few).characters(learned.held_out.text)
