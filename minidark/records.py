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
import io
import json
import math
import platform
from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from minidark.bytepairs import byte_pairs
from minidark.checkpoint import Checkpoint, cfg_values, computing, is_sound, surroundings
from minidark.errors import DivergedError, MinidarkError, SaveError
from minidark.files import append, named, open_regular, write_atomically
from minidark.train import StepReport, Training

SAMPLE_EVERY = 500  # batches
LARGEST_RUN = 1 << 24  # bytes


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
        self.training.net.check_finite()
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
            "clip_norm": net.clip_norm,
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
            run = json.loads(file.read(LARGEST_RUN))
    except (MinidarkError, ValueError, RecursionError):
        return {}
    return run if isinstance(run, dict) and isinstance(run.get("resumed"), list) else {}


def sampled(report: StepReport, training: Training) -> StepReport:
    """With a sample, if it is one to have it: every 500th and the last, of symbols that are bytes.
    It leaves no trace in the run. None of weights that diverged, of which the next save tells."""
    due = report.batch % SAMPLE_EVERY == 0 or report.last
    net = training.net
    if not due or net.outputs > len(byte_pairs(net).names):
        return report
    try:
        with net.averaged():
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
            with open_regular(path, named(path, SaveError)) as file:
                self.size = _length_upto(file.read(), upto)
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


def _length_upto(data: bytes, batch: int) -> int:
    """Bytes of the whole lines before the first of a later batch, or that is none of ours."""
    length = 0
    for line in io.BytesIO(data):
        try:
            if not line.endswith(b"\n") or not 0 < json.loads(line)["batch"] <= batch:
                break
        except (ValueError, TypeError, KeyError, RecursionError):
            break
        length += len(line)
    return length
