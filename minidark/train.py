"""Training on a text: truncated back-propagation through time over S streams.

Each pass feeds every stream its next T symbols, with the state that the last pass left; after
`subdivisions` passes the weights move. Now and then a stream begins anew at a random place with
a zero state, so that the network does not see the same order for ever.

`train` gives an iterator of reports, one for each batch, and prints nothing. After a report all of
the run can be had as a `Checkpoint`, from which another `train` goes on to the same bytes.

Source: darknet examples/rnn.c (train_char_rnn). pjreddie's `[rnn]` on a CPU forgets the state
between passes; here it is carried, as darknet's GPU code does.
"""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime

import numpy as np

from minidark.checkpoint import (
    MALFORMED,
    Checkpoint,
    cfg_values,
    check_cfg,
    check_computing,
    computing,
    copied_arrays,
    generators,
    restore_arrays,
    surroundings,
    warn_of_surroundings,
)
from minidark.errors import CfgError, DataError, DivergedError, MinidarkError, WeightsError
from minidark.html_table import html_table
from minidark.network import Network
from minidark.text import Identity, Part, Streams, Symbols
from minidark.valid import Pieces, evaluate

log = logging.getLogger(__name__)

VALIDATE_EVERY = 100  # batches, and
VALIDATE_SHARE = 10  # training symbols for each validation symbol, so that it costs little
LEAST_VALIDATION = 200  # symbols; a part shorter than this says nothing
MEASURE_EVERY = 10  # batches, of which the gradient's length is taken


SHOWN = ("batch", "loss", "average", "rate", "epochs", "valid_loss")  # in a notebook


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
    # Of each layer's mean gradient before clipping, by the layer's name; of every tenth batch, of
    # the last and of those that end in a validation.
    gradient_norms: dict[str, float] | None = None
    sample: str | None = None  # of text after this batch, for whoever draws one

    def _repr_html_(self) -> str:
        """The figures as a table, for notebooks."""
        shown = {name: _rounded(getattr(self, name)) for name in SHOWN}
        return html_table("", list(shown), [list(shown.values())])


def train(
    net: Network,
    text: Symbols,
    batches: int,
    *,
    seed: int = 0,
    valid_fraction: float = 0.05,
    patience: int | None = None,
    resume: Checkpoint | None = None,
    baseline: bool | None = None,
) -> Training:
    """Train until `batches` batches have been seen in all; a report for each.

    seed: where streams begin and restart. The last `valid_fraction` of the text is kept out and
    validated on, now and then and at the end, by up to half a million symbols from all of it, the
    same each time (`valid.MOST`). baseline: validate the weights as they are first, so that the
    best of the run is better than they were (None: where they have seen rows). patience: stop after
    that many validations without a new lowest. resume: go on from there as if nothing had happened;
    seed and valid_fraction are its own then, and what the network held is replaced.

    Raises DataError for a text that is too short, or not the one to go on with; CfgError for a
    network with another number of outputs than inputs, or not the one to go on with, BackendError
    where that was computed otherwise; and from an iteration DivergedError when the cost is NaN or
    infinite, DataError when the text changed meanwhile.
    """
    if resume is not None:
        seed, valid_fraction = resume.seed, resume.valid_fraction
    training = Training(net, text, batches, seed, valid_fraction, patience)
    if resume is not None:
        training.go_on(resume)
    elif net.seen if baseline is None else baseline:
        training.validation.begin()
    return training


class Training(Iterator[StepReport]):
    """A run as it goes. Between two reports `checkpoint` has all of it."""

    def __init__(
        self,
        net: Network,
        text: Symbols,
        batches: int,
        seed: int,
        valid_fraction: float,
        patience: int | None,
    ):
        self.part, held_out = text.split(valid_fraction)
        if patience and held_out.size < LEAST_VALIDATION:
            raise DataError(
                f"patience needs a validation, and {held_out.size} characters held out are too few "
                f"for one; it takes {LEAST_VALIDATION}"
            )
        _check_fit(self.part, net)
        self.net, self.text, self.batches = net, text, batches
        self.seed, self.valid_fraction, self.patience = seed, valid_fraction, patience
        self.identity = text.identity()
        self.streams = Streams(self.part, net.streams, np.random.default_rng([seed % 2**64, 1]))
        self.validation = _Validation(net, held_out)
        self.average, self.symbols = math.nan, 0
        self.began = datetime.now(UTC).isoformat()
        self.seconds = 0.0  # before `clock`
        self.clock = time.perf_counter()
        self.whole = True  # between two batches, and not within one

    def __repr__(self) -> str:
        return f"<Training: {self._progress()}>"

    def _repr_html_(self) -> str:
        """How far it is, for notebooks."""
        seen, batches = self.net.batches_seen, self.batches
        return f'<progress value="{seen}" max="{batches}"></progress> {self._progress()}'

    def _progress(self) -> str:
        said = f"{self.net.batches_seen:,} of {self.batches:,} batches"
        if self.symbols:
            said += f", average loss {self.average:.4f}"
        if math.isfinite(self.validation.lowest):
            said += f", lowest validation {self.validation.lowest:.4f}"
        return said

    @property
    def over(self) -> bool:
        """Whether there is no batch to come."""
        return self.net.batches_seen >= self.batches or self.validation.exhausts(self.patience)

    def __next__(self) -> StepReport:
        if self.over or not self.whole:
            raise StopIteration
        self.text.check()
        self.whole = False
        if self.symbols:
            for stream in self.streams.restart():
                self.net.reset_state(stream)
        validation, batch, rows = self.validation, self.net.batches_seen + 1, self.rows
        last = batch >= self.batches
        validated = validation.is_due(rows, last)
        measured = validated or last or batch % MEASURE_EVERY == 0
        loss, norms = _batch(self.net, self.streams, rows, measured)
        self.symbols += rows
        self.average = loss if math.isnan(self.average) else 0.9 * self.average + 0.1 * loss
        valid_loss = validation.after(rows, validated)
        self.whole = True
        return StepReport(
            batch=self.net.batches_seen,
            last=self.over,
            loss=loss,
            average=self.average,
            rate=self.net.last_rate,
            symbols=self.symbols,
            seconds=self._seconds(),
            epochs=self.symbols / self.part.size,
            valid_loss=valid_loss,
            valid_symbols=None if valid_loss is None else validation.symbols,
            best=valid_loss is not None and validation.fruitless == 0,
            gradient_norms=norms,
        )

    @property
    def rows(self) -> int:
        """Of a batch."""
        options = self.net.options
        return options.time_steps * self.net.streams * options.subdivisions

    def _seconds(self) -> float:
        return self.seconds + time.perf_counter() - self.clock

    def checkpoint(self) -> Checkpoint:
        """All of the run as it is after the last report. Raises MinidarkError before the first,
        and after an error within a batch."""
        if not (self.whole and self.symbols):
            raise MinidarkError("a checkpoint is taken after a whole batch")
        net, validation = self.net, self.validation
        return Checkpoint(
            arrays=copied_arrays(net),
            began=self.began,
            cfg=cfg_values(net),
            computing=computing(net.backend),
            surroundings=surroundings(),
            text=self.identity.to_json(),
            tokenized=self.text.tokenized,
            seed=self.seed,
            valid_fraction=float(self.valid_fraction),
            clip_norm=float(net.clip_norm),
            batches=self.batches,
            patience=self.patience,
            batch=net.batches_seen,
            seen=net.seen,
            updates=net.optimizer.updates,
            generators={name: g.bit_generator.state for name, g in self._generators().items()},
            offsets=self.streams.offsets.tolist(),
            symbols=self.symbols,
            seconds=self._seconds(),
            average=self.average,
            lowest=None if math.isinf(validation.lowest) else validation.lowest,
            fruitless=validation.fruitless,
            since=validation.since,
            validated=validation.batches,
        )

    def go_on(self, since: Checkpoint) -> None:
        """Be the run that `since` was taken of. Raises MinidarkError where it cannot be."""
        _check_text(self.text, self.identity, since)
        check_cfg(self.net, since)
        check_computing(self.net.backend, since)
        warn_of_surroundings(since)
        validation = self.validation
        try:
            restore_arrays(self.net, since)
            for name, generator in self._generators().items():
                generator.bit_generator.state = since.generators[name]
            self.streams.move(since.offsets)
        except MALFORMED as error:
            raise WeightsError(f"the checkpoint does not fit: {error}") from error
        self.began, self.seconds = since.began, since.seconds
        self.symbols, self.average = since.symbols, since.average
        validation.lowest = math.inf if since.lowest is None else since.lowest
        validation.fruitless, validation.since = since.fruitless, since.since
        validation.batches = since.validated

    def _generators(self) -> dict[str, np.random.Generator]:
        return {"streams": self.streams.rng, **generators(self.net)}


def _rounded(figure: float | None) -> str | int:
    if figure is None:
        return "-"
    return figure if isinstance(figure, int) else f"{figure:.4g}"


def _check_text(text: Symbols, now: Identity, since: Checkpoint) -> None:
    """A file's time alone may be another, as a copy's is: sizes and samples are the text."""
    before = Identity.from_json(since.text)
    if text.tokenized != since.tokenized:
        change: str | None = f"tokenized={text.tokenized}, and before {since.tokenized}"
    else:
        change = now.undated().change(before.undated())
    if change:
        raise DataError(
            f"{change}; a run goes on with the text that it began with, and --weights begins "
            "another from its weights"
        )
    if redated := now.change(before):
        log.warning("%s; taken for the same", redated)


def _batch(
    net: Network, streams: Streams, rows: int, measured: bool
) -> tuple[float, dict[str, float] | None]:
    """`subdivisions` passes and the update behind them: the mean cost of a row, and where they are
    measured the lengths of the layers' mean gradients."""
    steps, passes = net.options.time_steps, net.options.subdivisions
    with np.errstate(all="ignore"):  # what overflows shows in the cost, which is looked at
        costs = [net.train_batch(*streams.next(steps), measure=measured) for _ in range(passes)]
    norms = net.last_norms if measured else {}
    # where a GPU is waited for, once in a batch
    cost, *lengths = net.backend.asfloats([sum(costs), *norms.values()])
    _check_cost(cost, "loss", net)
    return cost / rows, dict(zip(norms, lengths, strict=True)) if measured else None


def _check_cost(cost: float, what: str, net: Network) -> None:
    if not math.isfinite(cost):
        name = net.first_not_finite()
        where = f", and NaN or infinity is first in {name}" if name else ""
        raise DivergedError(
            f"batch {net.batches_seen}: the {what} is {cost}{where}; "
            "try a lower learning_rate, or --clip-norm 1"
        )


class _Validation:
    """When to validate, and whether it still falls."""

    def __init__(self, net: Network, part: Part):
        self.net, self.part = net, part
        self.symbols = Pieces.of(part).scored if part.size >= LEAST_VALIDATION else 0
        self.lowest = math.inf
        self.fruitless = 0  # validations since the lowest
        self.since = 0  # symbols trained on since the last
        self.batches = 0

    def begin(self) -> None:
        """The best of the run is to be better than what it begins with."""
        if self.symbols:
            self.lowest = self._cost()

    def exhausts(self, patience: int | None) -> bool:
        return patience is not None and self.fruitless >= max(1, patience)

    def is_due(self, rows: int, last: bool) -> bool:
        """Whether the batch that comes, of so many rows, is one to validate after."""
        in_turn = (self.batches + 1) % VALIDATE_EVERY == 0
        enough = self.since + rows >= VALIDATE_SHARE * self.symbols
        return self.symbols > 0 and (last or (in_turn and enough))

    def after(self, rows: int, due: bool) -> float | None:
        """The validation cost, if it is due after this batch."""
        self.since += rows
        self.batches += 1
        if not due:
            return None
        self.since = 0
        loss = self._cost()
        if loss < self.lowest:
            self.lowest, self.fruitless = loss, 0
        else:
            self.fruitless += 1
        return loss

    def _cost(self) -> float:
        with np.errstate(all="ignore"):
            cost = evaluate(self.net, self.part)
        _check_cost(cost, "validation cost", self.net)
        return cost


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
