"""Networks trained alike, to see which learns a text best: the same seeds, the same streams of the
same text, as many parameters, and as many batches or seconds.

The first cfg says how many streams there are, of how many steps, in how many passes. All else,
optimizer and rate among it, is each cfg's own. For as many parameters each cfg's recurrent widths
are scaled by one factor; other widths stay.

The same batches means the same symbols in the same order. The same seconds means as many batches as
each manages in them: the pace of each is taken before the runs, in turns so that all meet the same
load, and its rate then falls towards that many.
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

from minidark.backend import Backend
from minidark.cfg.plan import Doubts, Plan, check_memory, plan_cfg, replan
from minidark.cfg.sections import read_cfg
from minidark.data.text import Symbols
from minidark.errors import CfgError, DivergedError
from minidark.network import Network
from minidark.network.parser import build_network
from minidark.training import run
from minidark.training.backups import Backups, base_name
from minidark.training.records import is_logged
from minidark.training.report import StepReport
from minidark.training.same_run import computing, surroundings
from minidark.training.train import Training, train

WIDTHS = ("output", "hidden")  # the keys that are scaled
WIDEST = 1 << 20
PACE_ROUNDS, PACE_BATCHES = 5, 4  # of each candidate, in turns; the first round warms up


@dataclass(frozen=True, slots=True)
class Candidate:
    """A cfg as it takes part. `name` is its own among the others."""

    name: str
    path: Path
    plan: Plan

    @property
    def widths(self) -> list[int]:
        """Of its recurrent layers."""
        return [la.size.outputs for la in self.plan.layers if la.options.is_recurrent]

    def needed_bytes(self, itemsize: int) -> int:
        """Memory that training takes, at the least."""
        return self.plan.parameter_bytes(itemsize) + self.plan.pass_bytes(itemsize)

    def network(self, seed: int, backend: Backend, batches: int) -> Network:
        """Raises CfgError, also for one whose cost is not bits."""
        plan = replan(self.plan.sections, {0: {"max_batches": batches}})
        net = build_network(plan, seed, backend)
        if not net.predicts_symbols:
            raise CfgError("ends in no plain [softmax]: its cost is not bits", self.path)
        return net


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of one candidate with one seed. Costs are bits per character."""

    name: str
    seed: int
    batches: int
    symbols: int  # trained on
    seconds: float  # of training, without validations
    speed: float  # characters a second, in the batch of middling length
    bits: float | None = None  # the lowest validation; None: there was none, or it diverged
    last_bits: float | None = None  # the last one
    sample: str | None = None
    diverged: str | None = None
    reports: list[StepReport] = field(default_factory=list, repr=False)  # that a log would have


# --- who takes part -----------------------------------------------------------------------


def candidates(
    paths: Sequence[Path],
    overrides: Sequence[str] = (),
    parameters: int | None = None,
    strict: bool = False,
) -> list[Candidate]:
    """The cfgs with the first one's streams and steps, and as close to `parameters` (None: the
    first one's) as their recurrent widths can come. overrides: for each. Raises CfgError."""
    found: list[Candidate] = []
    for path, name in zip(paths, _names(paths), strict=True):
        if found:
            net = found[0].plan.net
            overrides = [*overrides, *(f"net.{k}={getattr(net, k)}" for k in STREAMS)]
        warn = Doubts(path, strict)
        plan = plan_cfg(read_cfg(path), path, warn=warn, overrides=[*overrides, *RUNS])
        if parameters is not None:
            plan = scaled(plan, path, parameters)
        parameters = plan.trained if parameters is None else parameters
        found.append(Candidate(name, path, plan))
    return found


STREAMS = ("batch", "subdivisions", "time_steps")
RUNS = ("net.max_batches=1",)  # until it is known how many; a falling rate needs some


def scaled(plan: Plan, path: Path | str | None, parameters: int) -> Plan:
    """The plan with its recurrent widths times one factor, such that it trains as close to
    `parameters` numbers as it can. Raises CfgError where there is no such width, or where the
    widest would be needed."""
    keys = _scalable(plan)
    if plan.trained == parameters:
        return plan
    if not keys:
        raise CfgError(
            f"no recurrent width to scale its {plan.trained:,} parameters by towards "
            f"{parameters:,}",
            path,
        )
    most = WIDEST / max(int(plan.sections[at].pairs[key].value) for at, key in keys)
    low, high = 0.0, min(1.0, most)

    def at(factor: float) -> Plan:
        return _times(plan, keys, factor)

    while at(high).trained < parameters:
        if high == most:
            raise CfgError(f"{parameters:,} parameters take widths beyond {WIDEST:,}", path)
        low, high = high, min(2 * high, most)
    for _ in range(50):
        middle = (low + high) / 2
        low, high = (middle, high) if at(middle).trained < parameters else (low, middle)
    chosen = min((at(low), at(high)), key=lambda p: abs(p.trained - parameters))
    check_memory(chosen, path, itemsize=4)
    return chosen


def _scalable(plan: Plan) -> list[tuple[int, str]]:
    """Widths that may change: section and key. What the last layer with a width of its own puts
    out stays, there being so many symbols."""
    wide = [at for at, layer in enumerate(plan.layers, start=1) if _has_width(plan, at)]
    return [
        (at, key)
        for at in wide
        for key in WIDTHS
        if plan.layers[at - 1].options.is_recurrent
        and key in plan.sections[at].pairs
        and (at != wide[-1] or key == "hidden")
    ]


def _has_width(plan: Plan, at: int) -> bool:
    options = plan.layers[at - 1].options
    return options.has_width


def _times(plan: Plan, keys: list[tuple[int, str]], factor: float) -> Plan:
    changes: dict[int, dict[str, int]] = {}
    for at, key in keys:
        width = int(plan.sections[at].pairs[key].value)
        changes.setdefault(at, {})[key] = max(1, round(width * factor))
    return replan(plan.sections, changes)


def _names(paths: Sequence[Path]) -> list[str]:
    """Each file's name without its ending, as UTF-8 can hold it, and where that is another's, with
    a number."""
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
    """Candidates, what each is trained on and with, and into which folder its runs go.

    Raises what `train` raises, but for DivergedError, which is an outcome.
    """

    candidates: list[Candidate]
    text: Symbols
    backend: Backend
    valid_fraction: float = 0.05
    patience: int | None = None
    folder: Path | None = None  # each run leaves there what `train` leaves, in NAME-seedN

    def batches_in(self, seconds: float) -> list[int]:
        """How many each does in so many, at the pace that is measured now."""
        trainings = [self._training(c, 0, WIDEST) for c in self.candidates]
        paces: list[list[float]] = [[] for _ in trainings]
        for _ in range(PACE_ROUNDS):
            for training, pace in zip(trainings, paces, strict=True):
                pace += [next(training).took for _ in range(PACE_BATCHES)]
        middling = [statistics.median(pace[PACE_BATCHES:]) for pace in paces]
        return [max(1, round(seconds / pace)) for pace in middling]

    def runs(
        self,
        seeds: Sequence[int],
        batches: Sequence[int],
        follow: Callable[[Candidate, int, StepReport], bool],
    ) -> Iterator[Outcome]:
        """Train each candidate for its number of batches, with the first seed, then with the
        next; an outcome for each. `follow` hears of every batch, and where it is False the run,
        which is no outcome then, and all that would follow are not done."""
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
        try:
            with self._kept(candidate, training) as kept:
                run.follow(training, [*kept, measured], measured)
        except DivergedError as error:
            measured.diverged = str(error)
        return None if measured.due else measured.outcome()

    @contextlib.contextmanager
    def _kept(self, candidate: Candidate, training: Training) -> Iterator[list[Backups]]:
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
        """By which `train` repeats a run whose cfg is kept."""
        computed = computing(self.backend)
        patience = ["--patience", str(self.patience)] if self.patience else []
        return [
            *("minidark", "train", str(cfg)),
            *(file.path for file in self.text.identity().files),
            *("--backup", str(cfg.parent)),
            *("--batches", str(training.batches), "--seed", str(training.seed)),
            *("--valid-fraction", str(self.valid_fraction), *patience),
            *("--device", computed["device"]),
            *(("--kernels", computed["kernels"]) if computed["device"] == "cpu" else ()),
        ]


class _Measured(run.Follower):
    """What a run comes to. It ends where `follow` is False."""

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
    """Mean, and standard deviation (of n - 1) where there are two or more."""
    return statistics.mean(figures), statistics.stdev(figures) if len(figures) > 1 else None


def comparison_facts(
    comparison: Comparison, outcomes: Sequence[Outcome], seconds: float | None
) -> dict[str, Any]:
    """What was found, as JSON has it. seconds: the budget, if it was one of seconds."""
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
