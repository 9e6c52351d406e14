"""Trains networks under equal conditions to see which learns a text best: the same seeds, the same
streams of the same text, the same number of parameters, and the same number of batches or
seconds.

The first cfg sets the number of streams, steps and passes. Everything else, including optimizer and
learning rate, is each cfg's own. To match the number of parameters, each cfg's recurrent widths are
scaled by one factor; other widths stay.

The same batches means the same text in the same order. The same seconds means as many batches as
each network finishes in that time. Their speeds are measured before the runs, in turns so that all
meet the same load, and each learning-rate schedule then ends at its own number of batches.
"""

from __future__ import annotations

import contextlib
import itertools
import math
import statistics
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

from minidark.backend import BF16, Backend
from minidark.cfg.described import title_of_plan
from minidark.cfg.difference import side_by_side
from minidark.cfg.plan import Doubts, Plan, check_memory, plan_cfg, replan
from minidark.cfg.source import read_source
from minidark.data.text import Symbols
from minidark.errors import CfgError, DivergedError, WrongLayerError
from minidark.files.shipped import bare_name
from minidark.network import Network
from minidark.network.parser import build_network
from minidark.training import run
from minidark.training.backups import Backups
from minidark.training.records import is_logged
from minidark.training.report import StepReport
from minidark.training.same_run import computing, surroundings
from minidark.training.train import Training, train
from minidark.weights.run_folder import base_name

WIDTHS = ("output", "hidden")  # keys that are scaled
WIDEST = 1 << 20
PACE_ROUNDS, PACE_BATCHES = 5, 4  # for each candidate, in turns; the first round is a warm-up


@dataclass(frozen=True, slots=True)
class Candidate:
    """A cfg in the comparison, with a unique `name`."""

    name: str
    path: Path
    plan: Plan

    @property
    def label(self) -> str:
        """The name for people; of a shipped cfg, with a description."""
        is_shipped = bare_name(self.path) == self.name
        return title_of_plan(self.path, self.plan) if is_shipped else self.name

    @property
    def widths(self) -> list[int]:
        """Widths of the recurrent layers."""
        return [la.size.outputs for la in self.plan.layers if la.options.is_recurrent]

    def needed_bytes(self, itemsize: int) -> int:
        """Lower bound of the memory for training."""
        return self.plan.parameter_bytes(itemsize) + self.plan.pass_bytes(itemsize)

    def network(self, seed: int, backend: Backend, batches: int) -> Network:
        """Raises CfgError, also if the cost is not in bits."""
        plan = replan(self.plan.sections, {0: {"max_batches": batches}})
        net = build_network(plan, seed, backend)
        if not net.predicts_symbols:
            raise CfgError("does not end in a plain [softmax]: its cost is not in bits", self.path)
        return net


@dataclass(frozen=True, slots=True)
class Outcome:
    """Result of one candidate with one seed. Costs are bits per character."""

    name: str
    seed: int
    batches: int
    symbols: int  # trained on
    seconds: float  # training time, without validations
    speed: float  # characters per second, in the median batch
    bits: float | None = None  # lowest validation; None without one, or after divergence
    last_bits: float | None = None  # last validation
    sample: str | None = None
    diverged: str | None = None
    reports: list[StepReport] = field(default_factory=list, repr=False)  # those that a log contains


# --- candidates ---------------------------------------------------------------------------


def candidates(
    paths: Sequence[Path],
    overrides: Sequence[str] = (),
    parameters: int | None = None,
    strict: bool = False,
) -> list[Candidate]:
    """Plan each cfg with the first one's streams and steps, with its recurrent widths scaled to
    come as close as possible to `parameters` (None: the first one's number). overrides: for
    every cfg. Raises CfgError."""
    result: list[Candidate] = []
    for path, name in zip(paths, _names(paths), strict=True):
        if result:
            net = result[0].plan.net
            overrides = [*overrides, *(f"net.{k}={getattr(net, k)}" for k in STREAMS)]
        warn = Doubts(path, strict)
        plan = plan_cfg(read_source(path), path, warn=warn, overrides=[*overrides, *RUNS])
        if parameters is not None:
            plan = scaled(plan, path, parameters)
        parameters = plan.trained if parameters is None else parameters
        result.append(Candidate(name, path, plan))
    return result


STREAMS = ("batch", "subdivisions", "time_steps")
RUNS = ("net.max_batches=1",)  # placeholder; some policies need a number


def scaled(plan: Plan, path: Path | str | None, parameters: int) -> Plan:
    """The plan with all recurrent widths scaled by one factor, to come as close as possible to
    `parameters` trained numbers. Raises CfgError if no width can be scaled, or if the widths
    would exceed the limit."""
    keys = _scalable(plan)
    if plan.trained == parameters:
        return plan
    if not keys:
        raise CfgError(
            f"has no recurrent width to scale from {plan.trained:,} towards {parameters:,} "
            "parameters",
            path,
        )
    most = WIDEST / max(int(plan.sections[at].pairs[key].value) for at, key in keys)
    low, high = 0.0, min(1.0, most)

    def at(factor: float) -> Plan:
        try:
            return _times(plan, keys, factor)
        except WrongLayerError as error:
            raise CfgError(
                f"cannot be scaled to {parameters:,} parameters, because not all widths change: "
                f"{error.message}",
                path,
            ) from error

    while at(high).trained < parameters:
        if high == most:
            raise CfgError(f"{parameters:,} parameters need widths beyond {WIDEST:,}", path)
        low, high = high, min(2 * high, most)
    for _ in range(50):
        middle = (low + high) / 2
        low, high = (middle, high) if at(middle).trained < parameters else (low, middle)
    chosen = min((at(low), at(high)), key=lambda p: abs(p.trained - parameters))
    check_memory(chosen, path, itemsize=4)
    return chosen


def _scalable(plan: Plan) -> list[tuple[int, str]]:
    """Section and key of each width that may change. The output of the last layer with a width
    stays: it is the number of symbols."""
    wide = [at for at, layer in enumerate(plan.layers, start=1) if layer.options.has_width]
    return [
        (at, key)
        for at in wide
        for key in WIDTHS
        if plan.layers[at - 1].options.is_recurrent
        and key in plan.sections[at].pairs
        and (at != wide[-1] or key == "hidden")
    ]


def _times(plan: Plan, keys: list[tuple[int, str]], factor: float) -> Plan:
    changes: dict[int, dict[str, int]] = {}
    for at, key in keys:
        width = int(plan.sections[at].pairs[key].value)
        changes.setdefault(at, {})[key] = max(1, round(width * factor))
    return replan(plan.sections, changes)


def _names(paths: Sequence[Path]) -> list[str]:
    """Each file's stem as valid UTF-8, with a number if several files have the same."""
    stems = [path.stem.encode(errors="backslashreplace").decode() for path in paths]
    names: list[str] = []
    for stem in stems:
        numbered = (f"{stem}-{n}" for n in itertools.count(1))
        free = (name for name in numbered if name not in {*stems, *names})
        names.append(stem if stems.count(stem) == 1 else next(free))
    return names


# --- the runs -----------------------------------------------------------------------------


@dataclass(slots=True)
class Comparison:
    """Candidates, their data and settings, and the folder for their runs.

    Raises what `train` raises, except DivergedError, which is an outcome.
    """

    candidates: list[Candidate]
    text: Symbols
    backend: Backend
    valid_fraction: float = 0.05
    patience: int | None = None
    folder: Path | None = None  # each run writes the files of `train` into its NAME-seedN

    def batches_in(self, seconds: float) -> list[int]:
        """Number of batches that each candidate finishes in this time, at its speed now."""
        trainings = [self._training(c, 0, WIDEST) for c in self.candidates]
        paces: list[list[float]] = [[] for _ in trainings]
        for _ in range(PACE_ROUNDS):
            for training, pace in zip(trainings, paces, strict=True):
                pace += [next(training).took for _ in range(PACE_BATCHES)]
        medians = [statistics.median(pace[PACE_BATCHES:]) for pace in paces]
        return [max(1, round(seconds / pace)) for pace in medians]

    def runs(
        self,
        seeds: Sequence[int],
        batches: Sequence[int],
        follow: Callable[[Candidate, int, StepReport], bool],
    ) -> Iterator[Outcome]:
        """Train every candidate for its number of batches, with the first seed, then with the next;
        yields an outcome for each run. `follow` gets every batch. If it returns False, the
        comparison stops, and the current run yields no outcome."""
        for seed in seeds:
            for candidate, number in zip(self.candidates, batches, strict=True):
                outcome = self._run(candidate, seed, number, follow)
                if outcome is None:
                    return
                yield outcome

    def _training(self, candidate: Candidate, seed: int, batches: int) -> Training:
        net = candidate.network(seed, self.backend, batches)
        return train(
            net,
            self.text,
            batches,
            seed=seed,
            valid_fraction=self.valid_fraction,
            patience=self.patience,
        )

    def _run(
        self,
        candidate: Candidate,
        seed: int,
        batches: int,
        follow: Callable[[Candidate, int, StepReport], bool],
    ) -> Outcome | None:
        training = self._training(candidate, seed, batches)
        measured = _Measured(candidate, training, follow)
        training.rehearse()
        with self._backups(candidate, training) as backups:
            try:
                run.follow(training, [*backups, measured], measured)
            except DivergedError as error:  # inside, so that a SaveError of the run is still raised
                measured.diverged = str(error)
                for one in backups:
                    one.diverged(error)
        return None if measured.due else measured.outcome()

    @contextlib.contextmanager
    def _backups(self, candidate: Candidate, training: Training) -> Iterator[list[Backups]]:
        if self.folder is None:
            yield []
            return
        folder = self.folder / f"{candidate.name}-seed{training.seed}"
        cfg = folder / f"{base_name(candidate.path)}.cfg"
        with Backups(
            training.net,
            folder,
            candidate.path,
            training=training,
            command=self._command(training, cfg),
            own_cfg=True,
        ) as backups:
            yield [backups]

    def _command(self, training: Training, cfg: Path) -> list[str]:
        """The `train` command that repeats a run whose cfg is saved."""
        hardware = computing(self.backend)
        patience = ["--patience", str(self.patience)] if self.patience else []
        return [
            *("minidark", "train", str(cfg)),
            *(file.path for file in self.text.identity().files),
            *("--backup", str(cfg.parent)),
            *("--batches", str(training.batches), "--seed", str(training.seed)),
            *("--valid-fraction", str(self.valid_fraction), *patience),
            *("--device", hardware["device"]),
            *(("--kernels", hardware["kernels"]) if hardware["device"] == "cpu" else ()),
            *(("--precision", BF16) if hardware["precision"] == BF16 else ()),
        ]


class _Measured(run.Follower):
    """Collects the figures of a run, and stops it when `follow` returns False."""

    reads_samples = True
    signals = ()
    signal = 0
    agreed: int | None = None

    def __init__(
        self,
        candidate: Candidate,
        training: Training,
        follow: Callable[[Candidate, int, StepReport], bool],
    ):
        self.candidate, self.training, self.follow = candidate, training, follow
        self.reports: list[StepReport] = []
        self.durations: list[float] = []
        self.diverged: str | None = None
        self.due = 0

    def after(self, report: StepReport) -> None:
        if report.valid_loss is None or not self.durations:
            self.durations.append(report.took)
        if is_logged(report):
            self.reports.append(report)
        self.due = not self.follow(self.candidate, self.training.seed, report)

    def outcome(self) -> Outcome:
        training, rows, reports = self.training, self.training.rows, self.reports
        validated = [r.valid_loss / math.log(2) for r in reports if r.valid_loss is not None]
        usable = [] if self.diverged else validated
        return Outcome(
            name=self.candidate.name,
            seed=training.seed,
            batches=training.symbols // rows,
            symbols=training.symbols,
            seconds=sum(self.durations),
            speed=rows / statistics.median(self.durations) if self.durations else 0.0,
            bits=min(usable, default=None),
            last_bits=usable[-1] if usable else None,
            sample=reports[-1].sample if reports and not self.diverged else None,
            diverged=self.diverged,
            reports=reports,
        )


def spread(figures: Sequence[float]) -> tuple[float, float | None]:
    """Mean, and standard deviation (n - 1) of two or more."""
    return statistics.mean(figures), statistics.stdev(figures) if len(figures) > 1 else None


def comparison_facts(
    comparison: Comparison, outcomes: Sequence[Outcome], seconds: float | None
) -> dict[str, Any]:
    """The results as JSON. seconds: the budget, if it was in seconds."""
    net = comparison.candidates[0].plan.net
    return {
        "text": comparison.text.identity().to_json(),
        "seconds": seconds,
        "streams": net.streams,
        "time_steps": net.time_steps,
        "characters_per_batch": net.rows * net.subdivisions,
        "valid_fraction": comparison.valid_fraction,
        "patience": comparison.patience,
        **computing(comparison.backend),
        **surroundings(),
        "differences": side_by_side([c.plan for c in comparison.candidates]),
        "cfgs": [
            _of_candidate(c, [o for o in outcomes if o.name == c.name], comparison.backend)
            for c in comparison.candidates
        ],
    }


def _of_candidate(
    candidate: Candidate, outcomes: list[Outcome], backend: Backend
) -> dict[str, Any]:
    bits = [o.bits for o in outcomes if o.bits is not None]
    mean, deviation = spread(bits) if bits else (None, None)
    return {
        "name": candidate.name,
        "label": candidate.label,
        "cfg": str(candidate.path),
        "widths": candidate.widths,
        "parameters": candidate.plan.trained,
        "memory_bytes": candidate.needed_bytes(backend.dtype.itemsize),
        "bits_per_character": mean,
        "bits_deviation": deviation,
        "characters_per_second": (
            statistics.median(o.speed for o in outcomes) if outcomes else None
        ),
        "runs": [
            {f.name: getattr(o, f.name) for f in fields(o) if f.name not in ("name", "reports")}
            for o in outcomes
        ],
    }
