"""What a training run leaves in its folder beside the weights.

    BASE.ckpt        all of the run, to go on from; BASE.ckpt.prev is the one before it
    log.jsonl        a JSON object for every tenth batch, every validation and the last batch, and
                     one for a batch that diverged
    run.json         what was run: command, cfg, text, seed, versions; and when it was gone on with

log.jsonl is only ever added to; a line that could not be written comes with the next. A run that
goes on from a checkpoint first cuts off the batches behind it, which come again. Both are of one
run, the last that began in the folder.
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
from minidark.training.checkpoint import CFG_VALUES, SHORT, Checkpoint, is_sound
from minidark.training.report import StepReport
from minidark.training.same_run import cfg_values, computing, surroundings
from minidark.training.train import Training

SAMPLE_EVERY = 500  # batches
LARGEST_RUN = 1 << 24  # bytes
LONGEST_LINE = 1 << 22  # bytes of the log

FIGURE = Real(-1e300, 1e300)  # no curve goes beyond
COMMAND = ListOf(String())
RUN: dict[str, Kind] = {  # what a report takes of run.json
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
LINE: dict[str, Kind] = {  # and of a line of the log
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
SOMETIMES = frozenset({"valid_loss", "sample"})  # keys that not every line has
DIVERGED: dict[str, Kind] = {"batch": Whole(0), "diverged": String()}  # the last line of such a run


class Records:
    """Keeps them for `training`, in `folder`, which is there. Raises MinidarkError.

    base: the checkpoint's name without its ending. cfg: the name of the cfg. command: how the run
    was called. resumed: where it goes on from; None for a run that begins. overrides: what was set
    over the cfg, as "section.key=value".
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
        self.sound = False  # what is there; a damaged one must not take the place of its previous
        before = read_run(folder) if resumed else {}
        ours = resumed is not None and before.get("began") == resumed.began
        self.log = _Log(folder / "log.jsonl", resumed.batch if resumed and ours else 0)
        self._write_run(before if ours else {}, cfg, command, resumed, overrides)

    def add(self, report: StepReport) -> None:
        """A line in the log, if the batch is one to keep."""
        if is_logged(report):
            self.log.add(log_line(report))

    def add_diverged(self, error: DivergedError) -> None:
        """The line of a batch that came to nothing; a run that goes on cuts it off."""
        self.log.add({"batch": self.training.net.batches_seen, "diverged": str(error)})

    def save(self) -> Path:
        """Write the checkpoint; `log.sync` before it makes safe what the log holds by then. Raises
        DivergedError for weights that are of no use; the file stays what it was."""
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
            "seed": training.seed,
            "valid_fraction": training.valid_fraction,
            "clip_norm": net.learner.clip_norm,
            "shards": training.groups,
            "parameters": sum(p.value.size for p in net.parameters()),
            "in_nats": net.predicts_symbols,
            "resumed": [],
            **before,  # of a run that is gone on with, all this stays but for what follows
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
    """With what it is computed."""
    backend = training.net.backend
    return {**computing(backend), **surroundings(), "python": platform.python_version()}


def read_run(folder: Path) -> dict[str, Any]:
    """What stands in `run.json`; nothing where there is none that is sound."""
    try:
        with open_regular(folder / "run.json", MinidarkError) as file:
            run = schema.parse(file.read(LARGEST_RUN))
    except (MinidarkError, ValueError):
        return {}
    return run if isinstance(run, dict) and isinstance(run.get("resumed"), list) else {}


def read_whole_run(folder: Path) -> dict[str, Any]:
    """The same, with all that RUN asks for. Raises DataError."""
    run = read_run(folder)
    if said := schema.mistake(run, Record(RUN, others=Anything())):
        raise DataError(f"{folder / 'run.json'}: damaged, or of another version: {said}")
    return run


def read_log(path: Path) -> list[dict[str, Any]]:
    """The whole lines of a log, each as LINE asks for, and the last perhaps as DIVERGED does. What
    follows the last line break is not yet whole. Raises DataError with the line's number."""
    lines: list[dict[str, Any]] = []
    pairs = itertools.pairwise(itertools.chain(_whole_lines(path), [b""]))
    for number, (data, following) in enumerate(pairs, start=1):
        try:
            line = schema.parse(data)
            said = _mistake(line, lines[0] if lines else line, last=not following)
        except ValueError as error:
            said = str(error)
        if said:
            shown = echo(data.removesuffix(b"\n").decode(errors="replace"))
            raise DataError(
                f"{path}:{number}: {shown} is no line of a log that `train` of this version "
                f"writes: {said}"
            )
        lines.append(line)
    return lines


def _mistake(line: Any, first: dict[str, Any], last: bool) -> str | None:
    """What is wrong with a line. All have the layers of the first one: a log in which each had its
    own would make a table as large as the file's square."""
    diverged = last and isinstance(line, dict) and "diverged" in line
    table = Record(DIVERGED if diverged else LINE, others=Anything(), absent=SOMETIMES)
    said = schema.mistake(line, table)
    if said or diverged or line["gradient_norms"].keys() == first["gradient_norms"].keys():
        return said
    return "gradient_norms has other layers than in the first line"


def _whole_lines(path: Path) -> Iterator[bytes]:
    """Each with its line break. One that is too long comes cut, without it."""
    with open_regular(path, named(path, DataError)) as file:
        while line := file.readline(LONGEST_LINE):
            if not line.endswith(b"\n") and len(line) < LONGEST_LINE:
                return
            yield line


def sampled(report: StepReport, training: Training) -> StepReport:
    """With a sample, if it is one to have it: every 500th and the last, of a network that can
    generate. It leaves no trace in the run. None of weights that diverged, of which the next save
    tells."""
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
    """A report as it stands in the log, where a length that is beyond all numbers is null."""
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
    """Lines of JSON, closed between two of them; those of batches above `upto` are gone. A line
    that could not be written waits for the next. Raises SaveError."""

    def __init__(self, path: Path, upto: int):
        self.path, self.waiting = path, b""
        self.size = 0  # bytes of the whole lines that are there
        if upto and path.exists():
            self.size = _length_upto(path, upto)
        self._write()

    def add(self, line: dict[str, Any]) -> None:
        """The whole line behind those that wait, or where that fails nothing of them."""
        self.waiting += json.dumps(line).encode() + b"\n"
        self._write()

    def sync(self) -> None:
        """Bring it to the disk, with the lines that wait."""
        self._write(sync=True)

    def _write(self, sync: bool = False) -> None:
        self.size = append(self.path, self.size, self.waiting, sync)
        self.waiting = b""


def _length_upto(path: Path, batch: int) -> int:
    """Bytes of the whole lines before the first of a later batch, or that is none of ours."""
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
