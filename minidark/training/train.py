"""Training: truncated back-propagation through time over S streams.

On a text, each pass feeds every stream its next T symbols, with the state from the previous pass.
After `subdivisions` passes the weights are updated. From time to time a stream restarts at a random
position with a zero state, so that the network sees the text in varying order. On pairs, each pass
feeds every stream one pair, from a zero state, and only the target counts. `feeds` has both.

`train` returns an iterator of reports, one for each batch, and prints nothing. After each report,
the run can be saved as a `Checkpoint`, from which another `train` resumes with byte-identical
results.

If the streams are split into groups, in one process or several, `parallel.shards` runs the passes
of a batch. Everything else is the same.

Source: darknet examples/rnn.c (train_char_rnn). pjreddie's `[rnn]` on a CPU loses the state between
passes; minidark carries it, as darknet's GPU code does.
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
    restore_byte_pairs,
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

APART = "their processors or BLAS round differently; --kernels fast rounds identically"
MEASURE_EVERY = 10  # batches between measurements of gradient norms


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
    valid: Symbols | Pairs | None = None,
) -> Training:
    """Train until `batches` batches have been seen in total; yields a report for each.

    seed: determines where streams start and restart, or the order of pairs. The last
    `valid_fraction` of the text is held out for validations, which run from time to time and at the
    end. They score up to half a million symbols, evenly spread and the same each time
    (`valid.MOST`). Of pairs, those with the lowest source hashes are held out (`Pairs.split`).
    valid: validate on this text, or on these pairs, and hold out nothing. baseline: validate the
    initial weights, so that `_best` must beat them (None: if they have been trained). patience:
    early stopping after this many validations without a new lowest. resume: continue from this
    checkpoint with byte-identical results; its seed and valid_fraction apply, and the network's
    contents are replaced.

    clip_norm: the largest norm of the mean gradient, instead of the cfg's.

    shards: number of groups that the streams are split into, each with its own gradient and batch
    norm statistics (None: one for each rank, or the number in `resume`). ranks: the processes that
    run the groups (None: only this one).

    Raises DataError for a text that is too short or not the one to resume with; CfgError for a
    network whose numbers of outputs and inputs differ, or that is not the one to resume with;
    BackendError if the device, kernels or precision differ from the checkpoint's. Iteration raises
    DivergedError if the cost is NaN or infinite, and DataError if the text changes during the run.
    """
    ranks = ranks or Ranks()
    if resume is not None:
        seed, valid_fraction, shards = resume.seed, resume.valid_fraction, resume.shards
        restore_byte_pairs(net, resume)
    shards = ranks.size if shards is None else shards
    if clip_norm is not None:
        net.learner.clip_norm = clip_norm
    training = Training(net, text, batches, seed, valid_fraction, patience, shards, ranks, valid)
    if resume is not None:
        training.restore(resume)
    training.check_alike()
    if resume is not None:
        return training
    if net.seen if baseline is None else baseline:
        training.rehearse()
        training.validation.begin()
    return training


class Training(Iterator[StepReport]):
    """A run in progress. After each report, `checkpoint` returns its complete state."""

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
        valid: Symbols | Pairs | None = None,
    ):
        own = own_streams(net, shards, ranks)
        self.feed = feed(text, net, seed, valid_fraction, own, valid)
        if patience and not self.feed.validated:
            raise DataError(
                f"patience needs a validation, but only {self.feed.kept_out} are held out; "
                f"it needs {LEAST_VALIDATION}"
            )
        self.net, self.batches = net, batches
        self.seed, self.patience = seed, patience
        self.valid_fraction = valid_fraction if valid is None else 0.0
        self.identity = self.feed.identity
        self.ranks = ranks
        self.shards = Shards(net, shards, ranks, seed) if shards > 1 else None
        self.validation = Validation(net, self.feed, ranks)
        self.average, self.symbols = math.nan, 0
        self.began = datetime.now(UTC).isoformat()
        self.seconds = 0.0  # seconds before `clock` started
        self.clock = time.perf_counter()
        self.rehearsed = False
        self.whole = True  # False within a batch
        self.ended = False

    def __repr__(self) -> str:
        return f"<Training: {self._progress()}>"

    def _repr_html_(self) -> str:
        """Progress, for notebooks."""
        seen, batches = self.net.batches_seen, self.batches
        return f'<progress value="{seen}" max="{batches}"></progress> {self._progress()}'

    def _progress(self) -> str:
        text = f"{self.net.batches_seen:,} of {self.batches:,} batches"
        if self.symbols:
            text += f", average loss {self.average:.4f}"
        if math.isfinite(self.validation.lowest):
            text += f", lowest validation {self.validation.lowest:.4f}"
        return text

    @property
    def over(self) -> bool:
        """Whether the run is finished."""
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
        self.feed.check()  # the data must not have changed while it was read
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
        """Train one batch and update. Returns the mean cost of a symbol, and if `measured` the norm
        of each layer's mean gradient."""
        net = self.net
        with np.errstate(all="ignore"):  # overflow shows in the cost, which is checked
            cost = (
                self.shards.learn(passes, measured)
                if self.shards
                else _learn(net, passes, measured)
            )
        norms = net.learner.norms if measured else {}
        # the only GPU synchronisation in a batch
        summed, *lengths = net.backend.asfloats([cost, *norms.values()])
        check_cost(summed, "loss", net)
        return summed / symbols, dict(zip(norms, lengths, strict=True)) if measured else None

    def rehearse(self) -> None:
        """Compile or load the kernels, once, before the clock starts; the first batch calls this if
        nobody has."""
        if not self.rehearsed:
            began = time.perf_counter()
            rehearse(self.net, self.feed, self.shards.each if self.shards else self.net.streams)
            self.clock += time.perf_counter() - began
            self.rehearsed = True

    def begin_unvalidated(self, batches: int) -> None:
        """For timing: allow this many more batches, without validations, even if fewer remain."""
        self.rehearse()
        self.batches, self.patience = self.net.batches_seen + batches + 1, None
        self.validation.off = True

    def _end(self) -> None:
        """After the last report, replace the parameters by their moving average."""
        if self.over and not self.ended:
            self.ended = True
            self.net.learner.keep_average()

    @property
    def groups(self) -> int:
        """Number of groups that the streams are split into."""
        return self.shards.count if self.shards else 1

    @property
    def rows(self) -> int:
        """Rows in a batch."""
        options = self.net.options
        return options.time_steps * self.net.streams * options.subdivisions

    def _seconds(self) -> float:
        return self.seconds + time.perf_counter() - self.clock

    def gather(self) -> None:
        """Before a checkpoint, on all ranks: collect the states of all streams on each rank. Raises
        DataError if the ranks' weights differ."""
        if self.shards:
            self.shards.gather()
        if self.ranks.size > 1:
            self.ranks.check_alike({"weights": self._weights()}, APART)

    @property
    def can_be_saved(self) -> bool:
        """Whether this process has the complete state of a run between two batches."""
        gathered = self.shards is None or self.shards.gathered
        return self.whole and bool(self.symbols) and gathered

    def checkpoint(self) -> Checkpoint:
        """The complete state after the last report. Raises MinidarkError before the first report
        and after an error within a batch."""
        if not self.can_be_saved:
            raise MinidarkError("a checkpoint can only be made after a complete batch")
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
            valid=other.to_json() if (other := self.feed.valid_identity) else [],
            skip_bad=self.feed.skip_bad,
            columns=self.feed.columns,
            fields=self.feed.fields,
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

    def restore(self, since: Checkpoint) -> None:
        """Restore the run of checkpoint `since`. Raises MinidarkError if it does not fit."""
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
                f"but its seen={since.seen:,} means {self.net.batches_seen:,} batches"
            )
        self.began, self.seconds = since.began, since.seconds
        self.symbols, self.average = since.symbols, since.average
        validation.lowest = math.inf if since.lowest is None else since.lowest
        validation.fruitless, validation.unvalidated = since.fruitless, since.unvalidated
        validation.batches = since.validated

    def check_alike(self) -> None:
        """Raise DataError if another rank has different settings, data or weights."""
        net, ranks = self.net, self.ranks
        if ranks.size == 1:
            return
        ranks.check_alike(
            {
                "a version": __version__,
                "a cfg": cfg_values(net),
                "a device or kernels": [computing(net.backend), transport(net.backend)],
                "data": [
                    *(self.feed.tokenized, self.feed.separator, self.feed.skip_bad),
                    *(self.feed.columns, self.feed.fields),
                    *(i and i.content() for i in (self.identity, self.feed.valid_identity)),
                ],
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
    """Run a batch's passes and its update; returns the summed cost."""
    return sum(_train_pass(net, one_pass, measured) for one_pass in passes)


def _train_pass(net: Network, one_pass: Pass, measured: bool) -> Scalar:
    """Passes differ in their number of symbols; the cfg's rows define a batch."""
    if one_pass.fresh:
        net.reset_state()
    return net.train_batch(one_pass.x, one_pass.truth, measure=measured, rows=net.options.rows)
