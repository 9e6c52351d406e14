"""Training on a text: truncated back-propagation through time over S streams.

Each pass feeds every stream its next T symbols, with the state that the last pass left; after
`subdivisions` passes the weights move. Now and then a stream begins anew at a random place with
a zero state, so that the network does not see the same order for ever.

`train` yields a report per batch and prints nothing.

Source: darknet examples/rnn.c (train_char_rnn). pjreddie's `[rnn]` on a CPU forgets the state
between passes; here it is carried, as darknet's GPU code does.
"""

from __future__ import annotations

import math
import time
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from minidark.errors import CfgError, DataError, DivergedError
from minidark.network import Network
from minidark.text import Part, Streams, Symbols
from minidark.valid import Pieces, evaluate

VALIDATE_EVERY = 100  # batches, and
VALIDATE_SHARE = 10  # training symbols for each validation symbol, so that it costs little
LEAST_VALIDATION = 200  # symbols; a part shorter than this says nothing


@dataclass(frozen=True, slots=True)
class StepReport:
    """One batch. Costs are nats per symbol for a softmax."""

    batch: int  # whole batches seen, over all runs of these weights
    last: bool
    loss: float  # mean over this batch's rows
    average: float  # .9 average + .1 loss
    rate: float  # of the update that this batch ended in
    symbols: int  # trained on in this run
    seconds: float  # since this run began, validation included
    epochs: float  # symbols over the size of the training part
    valid_loss: float | None = None  # where this batch ended in a validation
    valid_symbols: int | None = None  # that it is the mean of; fewer than were kept out, of many
    best: bool = False  # that validation was the lowest of this run


def train(
    net: Network,
    text: Symbols,
    batches: int,
    *,
    seed: int = 0,
    valid_fraction: float = 0.05,
    patience: int | None = None,
) -> Iterator[StepReport]:
    """Train until `batches` batches have been seen in all; a report for each.

    seed: where streams begin and restart. The last `valid_fraction` of the text is kept out and
    validated on, now and then and at the end, by up to half a million symbols from all of it, the
    same each time (`valid.MOST`). patience: stop after that many validations without
    a new lowest. Raises DataError for a text that is too short, CfgError for a network
    with another number of outputs than inputs, DivergedError when the cost is NaN or infinite.
    """
    part, held_out = text.split(valid_fraction)
    if patience and held_out.size < LEAST_VALIDATION:
        raise DataError(
            f"patience needs a validation, and {held_out.size} characters held out are too few "
            f"for one; it takes {LEAST_VALIDATION}"
        )
    _check_fit(part, net)
    validation = _Validation(net, held_out)
    return _reports(net, part, batches, seed, validation, patience)


def _reports(
    net: Network,
    part: Part,
    batches: int,
    seed: int,
    validation: _Validation,
    patience: int | None,
) -> Iterator[StepReport]:
    streams = Streams(part, net.streams, np.random.default_rng([seed % 2**64, 1]))
    began, average, symbols = time.perf_counter(), math.nan, 0
    while net.batches_seen < batches:
        rows, loss = _batch(net, streams)
        symbols += rows
        average = loss if math.isnan(average) else 0.9 * average + 0.1 * loss
        valid_loss = validation.after(rows, last=net.batches_seen >= batches)
        stop = patience is not None and validation.fruitless >= max(1, patience)
        yield StepReport(
            batch=net.batches_seen,
            last=stop or net.batches_seen >= batches,
            loss=loss,
            average=average,
            rate=net.last_rate,
            symbols=symbols,
            seconds=time.perf_counter() - began,
            epochs=symbols / part.size,
            valid_loss=valid_loss,
            valid_symbols=None if valid_loss is None else validation.symbols,
            best=valid_loss is not None and validation.fruitless == 0,
        )
        if stop:
            return
        for stream in streams.restart():
            net.reset_state(stream)


def _batch(net: Network, streams: Streams) -> tuple[int, float]:
    """`subdivisions` passes and the update behind them: rows, and the mean cost of one."""
    steps, passes = net.options.time_steps, net.options.subdivisions
    with np.errstate(all="ignore"):  # what overflows shows in the cost, which is looked at
        costs = [net.train_batch(*streams.next(steps)) for _ in range(passes)]
    rows = steps * net.streams * passes
    cost = float(sum(costs))  # where a GPU is waited for, once in a batch
    _check_cost(cost, "loss", net)
    return rows, cost / rows


def _check_cost(cost: float, what: str, net: Network) -> None:
    if not math.isfinite(cost):
        raise DivergedError(
            f"batch {net.batches_seen}: the {what} is {cost}; "
            "try a lower learning_rate, or --clip-norm 1"
        )


class _Validation:
    """When to validate, and whether it still falls. Weights that have been trained before are
    validated first: a run goes on from them, and its best is to be better."""

    def __init__(self, net: Network, part: Part):
        self.net, self.part = net, part
        self.symbols = Pieces.of(part).scored if part.size >= LEAST_VALIDATION else 0
        self.lowest = evaluate(net, part) if net.seen and self.symbols else math.inf
        self.fruitless = 0  # validations since the lowest
        self.since = 0  # symbols trained on since the last
        self.batches = 0

    def after(self, rows: int, last: bool) -> float | None:
        """The validation cost, if this batch is one to validate after."""
        self.since += rows
        self.batches += 1
        due = self.batches % VALIDATE_EVERY == 0 and self.since >= VALIDATE_SHARE * self.symbols
        if not self.symbols or not (due or last):
            return None
        self.since = 0
        with np.errstate(all="ignore"):
            loss = evaluate(self.net, self.part)
        _check_cost(loss, "validation cost", self.net)
        if loss < self.lowest:
            self.lowest, self.fruitless = loss, 0
        else:
            self.fruitless += 1
        return loss


def _check_fit(part: Part, net: Network) -> None:
    net.check_has_cost()
    if net.outputs != net.inputs:
        raise CfgError(
            f"the last layer has {net.outputs} outputs; to predict the next of {net.inputs} "
            f"symbols (inputs={net.inputs}) it needs as many"
        )
    needed = net.options.time_steps + 1
    if part.size < needed:
        raise DataError(
            f"{part.size} characters to train on; a window of time_steps={net.options.time_steps} "
            f"takes {needed}: give more text or a smaller time_steps"
        )
