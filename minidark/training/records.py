"""The files of a training run besides its weights.

    BASE.ckpt        the complete run, to resume from; BASE.ckpt.prev is the previous one
    log.jsonl        a JSON object for every tenth batch, every validation, the last batch and a
                     batch that diverged
    run.json         how the run was started: command, cfg, text, seed, versions; and each resume

log.jsonl is append-only; a line that could not be written is written with the next one. A resumed
run first removes the lines after its checkpoint, because it repeats their batches. Both files
belong to the last run that was started in the folder.
"""

from __future__ import annotations

import hashlib
import itertools
import json
import math
import platform
from collections.abc import Iterator, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from minidark.cfg.source import CFG_VALUES, LARGEST_RUN, SHORT
from minidark.errors import DataError, DivergedError, MinidarkError, SaveError, echo
from minidark.files import schema
from minidark.files.disk import append, named, open_regular, write_atomically
from minidark.files.schema import (
    Anything,
    Flag,
    Kind,
    ListOf,
    MapOf,
    Optional,
    Real,
    Record,
    String,
    Whole,
)
from minidark.inference.generate import can_generate
from minidark.network.nonfinite import check_finite
from minidark.training.checkpoint import Checkpoint, is_sound
from minidark.training.report import StepReport
from minidark.training.same_run import cfg_values, computing, surroundings
from minidark.training.train import Training

SAMPLE_EVERY = 500  # batches
LONGEST_LINE = 1 << 22  # bytes of the log

FIGURE = Real(-1e300, 1e300)  # range that a plot can show
COMMAND = ListOf(String())
RUN: dict[str, Kind] = {  # keys of run.json that a report uses
    "command": COMMAND,
    "cfg": String(path=True),
    "cfg_values": CFG_VALUES,
    "text": ListOf(
        Record({"path": String(path=True), "size": Whole(0), "sampled": SHORT}, others=Anything())
    ),
    "seed": Whole(most=None),
    "valid_fraction": FIGURE,
    "clip_norm": FIGURE,
    "parameters": Whole(0),
    "in_nats": Flag(),
    "batches": Whole(0),
    "resumed": ListOf(
        Record({"batch": Whole(0), "at": String(), "command": COMMAND}, others=Anything())
    ),
    "began": String(),
}
LINE: dict[str, Kind] = {  # keys of a log line that a report uses
    "batch": Whole(0),
    "loss": FIGURE,
    "average": FIGURE,
    "rate": FIGURE,
    "symbols": Whole(0),
    "epochs": FIGURE,
    "seconds": FIGURE,
    "gradient_norms": MapOf(Optional(FIGURE)),
    "valid_loss": FIGURE,
    "sample": String(),
}
SOMETIMES = frozenset({"valid_loss", "sample"})  # optional keys
DIVERGED: dict[str, Kind] = {"batch": Whole(0), "diverged": String()}  # last line of a diverged run


class Records:
    """Writes these files for `training` into `folder`, which must exist. Raises MinidarkError.

    base: the checkpoint's name without its suffix. cfg: the cfg's name. command: the command line.
    resumed: the checkpoint to resume from; None for a new run. overrides: the "section.key=value"
    settings.
    """

    def __init__(
        self,
        training: Training,
        folder: Path,
        base: str,
        cfg: Path | str,
        command: Sequence[str] = (),
        resumed: Checkpoint | None = None,
        overrides: Sequence[str] = (),
    ):
        self.training, self.folder = training, folder
        self.checkpoint = folder / f"{base}.ckpt"
        self.sound = False  # is the existing file valid? a damaged one must not become .prev
        before = read_run(folder) if resumed else {}
        ours = resumed is not None and before.get("began") == resumed.began
        self.log = _Log(folder / "log.jsonl", resumed.batch if resumed and ours else 0)
        self._write_run(before if ours else {}, cfg, command, resumed, overrides)

    def add(self, report: StepReport) -> None:
        """Add a line to the log if this batch is logged."""
        if is_logged(report):
            self.log.add(log_line(report))

    def add_diverged(self, error: DivergedError) -> None:
        """Add a line for a batch that diverged; a resumed run removes it."""
        self.log.add({"batch": self.training.net.batches_seen, "diverged": str(error)})

    def save(self) -> Path:
        """Write the checkpoint; call `log.sync` first. Raises DivergedError if weights contain NaN
        or infinity; the file stays unchanged."""
        check_finite(self.training.net)
        self.sound = self.sound or is_sound(self.checkpoint)
        self.training.checkpoint().write(self.checkpoint, keep=self.sound)
        self.sound = True
        return self.checkpoint

    def _write_run(
        self,
        before: dict[str, Any],
        cfg: Path | str,
        command: Sequence[str],
        resumed: Checkpoint | None,
        overrides: Sequence[str],
    ) -> None:
        training, net = self.training, self.training.net
        values = cfg_values(net)
        run = {
            "began": training.began,
            "command": list(command),
            "cfg": str(cfg),
            "overrides": list(overrides),
            "cfg_sha256": hashlib.sha256(json.dumps(values).encode()).hexdigest(),
            "cfg_values": values,
            "text": training.identity.to_json(),
            "separator": training.feed.separator,
            "columns": training.feed.columns,
            "fields": training.feed.fields,
            "valid": [f.path for f in valid.files]
            if (valid := training.feed.valid_identity)
            else [],
            "seed": training.seed,
            "valid_fraction": training.valid_fraction,
            "clip_norm": net.learner.clip_norm,
            "shards": training.groups,
            "parameters": sum(p.value.size for p in net.parameters()),
            "in_nats": net.predicts_symbols,
            "resumed": [],
            **before,  # a resumed run keeps all of the above
            "batches": training.batches,
            "patience": training.patience,
        }
        if resumed:
            now = datetime.now(UTC).isoformat()
            again = {
                "at": now,
                "batch": resumed.batch,
                "command": list(command),
                **made_on(training),
            }
            run["resumed"] = [*run["resumed"], again]
        else:
            run |= made_on(training)
        write_atomically(self.folder / "run.json", [json.dumps(run, indent=1).encode(), b"\n"])


def made_on(training: Training) -> dict[str, Any]:
    """The hardware and software that the run uses."""
    backend = training.net.backend
    return {**computing(backend), **surroundings(), "python": platform.python_version()}


def read_run(folder: Path) -> dict[str, Any]:
    """The contents of `run.json`, empty if it is missing or damaged."""
    try:
        with open_regular(folder / "run.json", MinidarkError) as file:
            run = schema.parse(file.read(LARGEST_RUN))
    except (MinidarkError, ValueError):
        return {}
    return run if isinstance(run, dict) and isinstance(run.get("resumed"), list) else {}


def read_whole_run(folder: Path) -> dict[str, Any]:
    """`read_run`, checked against RUN. Raises DataError."""
    run = read_run(folder)
    if message := schema.mistake(run, Record(RUN, others=Anything())):
        raise DataError(f"{folder / 'run.json'}: damaged, or of another version: {message}")
    return run


def read_log(path: Path) -> list[dict[str, Any]]:
    """The complete lines of a log, checked against LINE, and the last one perhaps against DIVERGED.
    Text after the last line break is incomplete and ignored. Raises DataError with the line
    number."""
    lines: list[dict[str, Any]] = []
    pairs = itertools.pairwise(itertools.chain(_whole_lines(path), [b""]))
    for number, (data, following) in enumerate(pairs, start=1):
        try:
            line = schema.parse(data)
            message = _mistake(line, lines[0] if lines else line, last=not following)
        except ValueError as error:
            message = str(error)
        if message:
            content = echo(data.removesuffix(b"\n").decode(errors="replace"))
            raise DataError(
                f"{path}:{number}: {content} is not a log line of this version of `train`: "
                f"{message}"
            )
        lines.append(line)
    return lines


def _mistake(line: Any, first: dict[str, Any], last: bool) -> str | None:
    """What is wrong with a line. All lines must have the layers of the first one; otherwise a table
    of them could grow as the square of the file's size."""
    diverged = last and isinstance(line, dict) and "diverged" in line
    table = Record(DIVERGED if diverged else LINE, others=Anything(), absent=SOMETIMES)
    message = schema.mistake(line, table)
    if message or diverged or line["gradient_norms"].keys() == first["gradient_norms"].keys():
        return message
    return "the layers in gradient_norms differ from those in the first line"


def _whole_lines(path: Path) -> Iterator[bytes]:
    """Complete lines with their line breaks. A line that is too long is truncated."""
    with open_regular(path, named(path, DataError)) as file:
        while line := file.readline(LONGEST_LINE):
            if not line.endswith(b"\n") and len(line) < LONGEST_LINE:
                return
            yield line


def sampled(report: StepReport, training: Training) -> StepReport:
    """The report with a sample, if one is due: at every 500th batch and the last, if the network
    can generate. Drawing it does not change the run. A diverged network gives no sample; the
    next save raises the error."""
    due = report.batch % SAMPLE_EVERY == 0 or report.last
    net = training.net
    if not due or not can_generate(net):
        return report
    try:
        with net.learner.averaged():
            return replace(report, sample=training.feed.sample(net, report.batch))
    except DivergedError:
        return report


def is_logged(report: StepReport) -> bool:
    """Whether the log has a line for this batch."""
    return report.gradient_norms is not None


def log_line(report: StepReport) -> dict[str, Any]:
    """The report as a log line; infinite norms become null."""
    line: dict[str, Any] = {
        "batch": report.batch,
        "loss": report.loss,
        "average": report.average,
        "rate": report.rate,
        "symbols": report.symbols,
        "epochs": report.epochs,
    }
    if report.valid_loss is not None:
        line |= {
            "valid_loss": report.valid_loss,
            "valid_symbols": report.valid_symbols,
            "best": report.best,
        }
    norms = report.gradient_norms or {}
    line["gradient_norms"] = {n: x if math.isfinite(x) else None for n, x in norms.items()}
    if report.sample is not None:
        line["sample"] = report.sample
    if report.last:
        line["last"] = True
    if report.valid_exact is not None:
        line["valid_exact"] = report.valid_exact
    return {**line, "seconds": round(report.seconds, 3)}


class _Log:
    """A JSON Lines file that is closed between writes. Lines of batches after `upto` are removed. A
    line that could not be written is written with the next one. Raises SaveError."""

    def __init__(self, path: Path, upto: int):
        self.path, self.waiting = path, b""
        self.size = 0  # bytes of complete lines in the file
        if upto and path.exists():
            self.size = _length_upto(path, upto)
        self._write()

    def add(self, line: dict[str, Any]) -> None:
        """Write the waiting lines and this one, all or nothing."""
        self.waiting += json.dumps(line).encode() + b"\n"
        self._write()

    def sync(self) -> None:
        """Write the waiting lines and flush the file to disk."""
        self._write(sync=True)

    def _write(self, sync: bool = False) -> None:
        self.size = append(self.path, self.size, self.waiting, sync)
        self.waiting = b""


def _length_upto(path: Path, batch: int) -> int:
    """Bytes of the lines before the first that is damaged or of a later batch."""
    length = 0
    try:
        for line in _whole_lines(path):
            if not 0 < schema.parse(line)["batch"] <= batch:
                break
            length += len(line)
    except (ValueError, TypeError, KeyError):
        pass
    except DataError as error:
        raise SaveError(str(error)) from error
    return length
