"""Training: truncated back-propagation through time over S streams.

On a text, each pass feeds every stream its next T symbols, with the state that the last pass left;
after `subdivisions` passes the weights move. Now and then a stream begins anew at a random place
with a zero state, so that the network does not see the same order for ever. On pairs, each pass
feeds every stream a pair, from a zero state, and what counts is its target. `feeds` has both.

`train` gives an iterator of reports, one for each batch, and prints nothing. After a report all of
the run can be had as a `Checkpoint`, from which another `train` goes on to the same bytes.

Where the streams are dealt in groups, to one process or to several, `parallel.shards` has the
passes of a batch; all else here is as with one.

Source: darknet examples/rnn.c (train_char_rnn). pjreddie's `[rnn]` on a CPU forgets the state
between passes; here it is carried, as darknet's GPU code does.
"""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from hashlib import sha256

import numpy as np

from minidark._version import __version__
from minidark.backend import Scalar
from minidark.data.pairs import Pairs
from minidark.data.text import Symbols
from minidark.errors import DataError, MinidarkError, WeightsError
from minidark.network import Network
from minidark.training.checkpoint import (
    MALFORMED,
    Checkpoint,
    copied_arrays,
    exhausted,
    generators,
    network_arrays,
    restore_arrays,
)
from minidark.training.feeds import LEAST_VALIDATION, Pass, feed
from minidark.training.parallel.gpus import transport
from minidark.training.parallel.ranks import Ranks
from minidark.training.parallel.shards import Shards, own_streams
from minidark.training.rehearsal import rehearse
from minidark.training.report import StepReport
from minidark.training.same_run import (
    cfg_values,
    check_cfg,
    check_computing,
    check_text,
    computing,
    settle_cfg,
    surroundings,
    warn_of_surroundings,
)
from minidark.training.validation import Validation, check_cost

log = logging.getLogger(__name__)

APART = "their processors or BLAS round otherwise; --kernels fast rounds alike"
MEASURE_EVERY = 10  # batches, of which the gradient's length is taken


def train(
    net: Network,
    text: Symbols | Pairs,
    batches: int,
    *,
    seed: int = 0,
    valid_fraction: float = 0.05,
    patience: int | None = None,
    resume: Checkpoint | None = None,
    baseline: bool | None = None,
    clip_norm: float | None = None,
    shards: int | None = None,
    ranks: Ranks | None = None,
) -> Training:
    """Train until `batches` batches have been seen in all; a report for each.

    seed: where streams begin and restart, or the order of pairs. The last `valid_fraction` of the
    text is kept out and validated on, now and then and at the end, by up to half a million symbols
    from all of it, the same each time (`valid.MOST`); of pairs, those whose sources have the lowest
    hashes (`Pairs.split`). baseline: validate the weights as they are first, so that the best of
    the run is better than they were (None: where they have seen rows). patience: stop after that
    many validations without a new lowest. resume: go on from there as if nothing had happened; seed
    and valid_fraction are its own then, and what the network held is replaced.

    clip_norm: the longest mean gradient, in place of the cfg's.

    shards: how many groups the streams are dealt in, each with a gradient and batch norm statistics
    of its own (None: one for each rank, or as many as `resume` had). ranks: the processes that they
    are dealt to, all of which are here (None: this one).

    Raises DataError for a text that is too short, or not the one to go on with; CfgError for a
    network with another number of outputs than inputs, or not the one to go on with, BackendError
    where that was computed otherwise; and from an iteration DivergedError when the cost is NaN or
    infinite, DataError when the text changed meanwhile.
    """
    ranks = ranks or Ranks()
    if resume is not None:
        seed, valid_fraction, shards = resume.seed, resume.valid_fraction, resume.shards
    shards = ranks.size if shards is None else shards
    if clip_norm is not None:
        net.learner.clip_norm = clip_norm
    training = Training(net, text, batches, seed, valid_fraction, patience, shards, ranks)
    if resume is not None:
        training.go_on(resume)
    training.check_alike()
    if resume is not None:
        return training
    if net.seen if baseline is None else baseline:
        training.rehearse()
        training.validation.begin()
    return training


class Training(Iterator[StepReport]):
    """A run as it goes. Between two reports `checkpoint` has all of it."""

    def __init__(
        self,
        net: Network,
        text: Symbols | Pairs,
        batches: int,
        seed: int,
        valid_fraction: float,
        patience: int | None,
        shards: int,
        ranks: Ranks,
    ):
        own = own_streams(net, shards, ranks)
        self.feed = feed(text, net, seed, valid_fraction, own)
        if patience and not self.feed.validated:
            raise DataError(
                f"patience needs a validation, and {self.feed.kept_out} held out are too few "
                f"for one; it takes {LEAST_VALIDATION}"
            )
        self.net, self.batches = net, batches
        self.seed, self.valid_fraction, self.patience = seed, valid_fraction, patience
        self.identity = self.feed.identity
        self.ranks = ranks
        self.shards = Shards(net, shards, ranks, seed) if shards > 1 else None
        self.validation = Validation(net, self.feed, ranks)
        self.average, self.symbols = math.nan, 0
        self.began = datetime.now(UTC).isoformat()
        self.seconds = 0.0  # before `clock`
        self.clock = time.perf_counter()
        self.rehearsed = False
        self.whole = True  # between two batches, and not within one
        self.ended = False

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
        spent = exhausted(self.validation.fruitless, self.patience)
        return self.net.batches_seen >= self.batches or spent

    def __next__(self) -> StepReport:
        if self.over or not self.whole:
            self._end()
            raise StopIteration
        self.rehearse()
        began = time.perf_counter()
        self.feed.check()
        self.whole = False
        if self.symbols:
            for stream in self.feed.restart():
                self.net.reset_state(stream)
        validation, batch = self.validation, self.net.batches_seen + 1
        passes = [self.feed.next() for _ in range(self.net.options.subdivisions)]
        self.feed.check()  # before anything is learned from what was read meanwhile
        symbols = self.ranks.total(sum(p.symbols for p in passes))
        last = batch >= self.batches
        validated = validation.is_due(symbols, last)
        measured = validated or last or batch % MEASURE_EVERY == 0
        loss, norms = self._batch(passes, symbols, measured)
        self.symbols += symbols
        self.average = loss if math.isnan(self.average) else 0.9 * self.average + 0.1 * loss
        valid = validation.after(symbols, validated)
        self.whole = True
        return StepReport(
            batch=self.net.batches_seen,
            last=self.over,
            loss=loss,
            average=self.average,
            rate=self.net.learner.rate,
            symbols=self.symbols,
            seconds=self._seconds(),
            epochs=self.symbols / self.feed.size,
            valid_loss=valid.loss if valid else None,
            valid_symbols=self.feed.validated if valid else None,
            valid_exact=valid.exact if valid else None,
            best=valid is not None and validation.fruitless == 0,
            gradient_norms=norms,
            took=time.perf_counter() - began,
        )

    def _batch(
        self, passes: Sequence[Pass], symbols: int, measured: bool
    ) -> tuple[float, dict[str, float] | None]:
        """A batch and its update: the mean cost of a symbol, and where they are measured the
        lengths of the layers' mean gradients."""
        net = self.net
        with np.errstate(all="ignore"):  # what overflows shows in the cost, which is looked at
            cost = (
                self.shards.learn(passes, measured)
                if self.shards
                else _learn(net, passes, measured)
            )
        norms = net.learner.norms if measured else {}
        # where a GPU is waited for, once in a batch
        summed, *lengths = net.backend.asfloats([cost, *norms.values()])
        check_cost(summed, "loss", net)
        return summed / symbols, dict(zip(norms, lengths, strict=True)) if measured else None

    def rehearse(self) -> None:
        """Let kernels that are compiled at their first call be there, once; the first batch does,
        if nobody has. It is no part of the run's seconds."""
        if not self.rehearsed:
            began = time.perf_counter()
            rehearse(self.net, self.feed, self.shards.each if self.shards else self.net.streams)
            self.clock += time.perf_counter() - began
            self.rehearsed = True

    def begin_unvalidated(self, batches: int) -> None:
        """For whoever times them: let this many batches come, however few the run has left, none
        of which ends in a validation."""
        self.rehearse()
        self.batches, self.patience = self.net.batches_seen + batches + 1, None
        self.validation.off = True

    def _end(self) -> None:
        """After its last report: the network is what was validated."""
        if self.over and not self.ended:
            self.ended = True
            self.net.learner.keep_average()

    @property
    def groups(self) -> int:
        """That the streams are dealt in."""
        return self.shards.count if self.shards else 1

    @property
    def rows(self) -> int:
        """Of a batch."""
        options = self.net.options
        return options.time_steps * self.net.streams * options.subdivisions

    def _seconds(self) -> float:
        return self.seconds + time.perf_counter() - self.clock

    def gather(self) -> None:
        """Before a checkpoint, on all ranks: let each have the states of all streams. Raises
        DataError where their weights are no longer the same."""
        if self.shards:
            self.shards.gather()
        if self.ranks.size > 1:
            self.ranks.check_alike({"weights": self._weights()}, APART)

    @property
    def can_be_saved(self) -> bool:
        """Whether all of a run between two batches is here."""
        gathered = self.shards is None or self.shards.gathered
        return self.whole and bool(self.symbols) and gathered

    def checkpoint(self) -> Checkpoint:
        """All of the run as it is after the last report. Raises MinidarkError before the first,
        and after an error within a batch."""
        if not self.can_be_saved:
            raise MinidarkError("a checkpoint is taken after a whole batch")
        net, validation = self.net, self.validation
        return Checkpoint(
            arrays=copied_arrays(net),
            began=self.began,
            cfg=cfg_values(net),
            computing=computing(net.backend),
            surroundings=surroundings(),
            text=self.identity.to_json(),
            tokenized=self.feed.tokenized,
            separator=self.feed.separator,
            seed=self.seed,
            valid_fraction=float(self.valid_fraction),
            clip_norm=float(net.learner.clip_norm),
            shards=self.groups,
            batches=self.batches,
            patience=self.patience,
            batch=net.batches_seen,
            seen=net.seen,
            updates=net.learner.optimizer.updates,
            generators={name: g.bit_generator.state for name, g in self._generators().items()},
            offsets=self.feed.place(),
            symbols=self.symbols,
            seconds=self._seconds(),
            average=self.average,
            lowest=None if math.isinf(validation.lowest) else validation.lowest,
            fruitless=validation.fruitless,
            unvalidated=validation.unvalidated,
            validated=validation.batches,
        )

    def go_on(self, since: Checkpoint) -> None:
        """Be the run that `since` was taken of. Raises MinidarkError where it cannot be."""
        check_text(self.feed, since)
        settle_cfg(self.net, since)
        check_cfg(self.net, since)
        check_computing(self.net.backend, since)
        warn_of_surroundings(since)
        validation = self.validation
        try:
            restore_arrays(self.net, since)
            for name, generator in self._generators().items():
                generator.bit_generator.state = since.generators[name]
            self.feed.move(since.offsets)
        except MALFORMED as error:
            raise WeightsError(f"the checkpoint does not fit: {error}") from error
        if self.net.batches_seen != since.batch:
            raise WeightsError(
                f"the checkpoint contradicts itself: it was written after batch {since.batch:,}, "
                f"and its seen={since.seen:,} are {self.net.batches_seen:,} batches"
            )
        self.began, self.seconds = since.began, since.seconds
        self.symbols, self.average = since.symbols, since.average
        validation.lowest = math.inf if since.lowest is None else since.lowest
        validation.fruitless, validation.unvalidated = since.fruitless, since.unvalidated
        validation.batches = since.validated

    def check_alike(self) -> None:
        """Raise DataError where another rank is about to train something else."""
        net, ranks = self.net, self.ranks
        if ranks.size == 1:
            return
        ranks.check_alike(
            {
                "a version": __version__,
                "a cfg": cfg_values(net),
                "a device or kernels": [computing(net.backend), transport(net.backend)],
                "data": [self.feed.tokenized, self.feed.separator, self.identity.content()],
                "options": [
                    *(self.batches, self.seed, self.valid_fraction, self.patience),
                    *(net.learner.clip_norm, self.groups),
                ],
                "a count of batches": [net.seen, net.learner.optimizer.updates],
                "weights": self._weights(),
            }
        )

    def _weights(self) -> dict[str, str]:
        return {n: sha256(a.tobytes()).hexdigest() for n, a in network_arrays(self.net)}

    def _generators(self) -> dict[str, np.random.Generator]:
        return {**self.feed.generators(), **generators(self.net)}


def _learn(net: Network, passes: Sequence[Pass], measured: bool) -> Scalar:
    """A batch's passes and the update behind them; the summed cost."""
    return sum(_train_pass(net, given, measured) for given in passes)


def _train_pass(net: Network, given: Pass, measured: bool) -> Scalar:
    """Passes differ in their symbols, and a batch is a batch by the cfg's."""
    if given.fresh:
        net.reset_state()
    return net.train_batch(given.x, given.truth, measure=measured, rows=net.options.rows)
