"""The weight files of a training run, with darknet's names.

    BASE.backup          every 100 batches
    BASE_N.weights       every 10,000
    BASE_best.weights    at each new lowest validation cost
    BASE_final.weights   at the end
    BASE.ckpt            with each BASE.backup, and at the end; `records` writes it and the log

BASE is the cfg's name up to its first dot. Each file has a FILE.json beside it (`made_with`). On
its first save, a run renames the weights of an earlier run to FILE.before, or to FILE.before.2 and
so on if that name is taken. So no weights are lost, and all files without this suffix belong to one
run.

A disk error does not end a run: the previous file stays, a warning is logged, and the file is
written again when it is next due. A run ends with an error only if its last attempt at some file
failed.

Source: darknet examples/rnn.c (train_char_rnn), src/utils.c (basecfg). darknet notices a missing
folder at batch 100. minidark creates the folder and tests it before the first batch.
"""

from __future__ import annotations

import contextlib
import errno
import logging
import math
import os
import re
from collections.abc import Callable, Sequence
from pathlib import Path
from types import TracebackType
from typing import Self

from minidark.errors import DataError, DivergedError, MinidarkError, SaveError, bare
from minidark.files import disk
from minidark.files.disk import write_atomically
from minidark.files.locks import holding
from minidark.network import Network
from minidark.network.nonfinite import check_finite
from minidark.training.checkpoint import Checkpoint
from minidark.training.events import Events
from minidark.training.records import Records, is_logged
from minidark.training.report import StepReport
from minidark.training.run import Follower
from minidark.training.train import Training
from minidark.weights import made_with
from minidark.weights.darknet import save_weights
from minidark.weights.run_folder import BACKUP, BEST, FINAL, base_name

log = logging.getLogger(__name__)

BEFORE = ".before"
LONGEST_ENDING = f"_{2**31 - 1}.weights{BEFORE}.999.json"  # longest suffix of a run's files
SAVE_EVERY = 100
KEEP_EVERY = 10_000


class Backups(Follower):
    """Saves `net` into `folder` as reports arrive.

    With `training`, the training of this network, it also writes checkpoints, the log and
    `run.json` (`records` has their contents), and with `tensorboard` the files for TensorBoard.
    command: the command line of the run. resumed: the checkpoint that the run resumes from.
    overrides: the `--set` values. own_cfg: save the network's cfg in the folder as BASE.cfg and
    record that as the cfg.

    As a context manager it locks the folder against other runs. On exit it raises SaveError if the
    last attempt at any file failed. Raises MinidarkError if the folder is not writable or is in
    use.

    A new run renames an earlier run's weights. If it starts from weights, it renames each file only
    when it replaces it, so an earlier best stays until this run beats it.
    """

    def __init__(
        self,
        net: Network,
        folder: Path | str,
        cfg: Path | str,
        save_every: int = SAVE_EVERY,
        *,
        training: Training | None = None,
        command: Sequence[str] = (),
        resumed: Checkpoint | None = None,
        overrides: Sequence[str] = (),
        tensorboard: bool = False,
        own_cfg: bool = False,
    ):
        self.net, self.folder, self.cfg = net, Path(folder), cfg
        self.base, self.save_every = base_name(cfg), save_every
        self.training, self.resumed = training, resumed
        self.command, self.overrides = command, overrides
        self.tensorboard, self.own_cfg = tensorboard, own_cfg
        self.reads_samples = training is not None
        self.records: Records | None = None  # set by `__enter__` if there is a training
        self.events: Events | None = None
        self._failed: dict[Path, SaveError] = {}  # files whose last attempt failed
        self._locks = contextlib.ExitStack()
        self.former: list[Path] = []  # an earlier run's weights, until renamed
        self.aside = BEFORE  # suffix for their new names
        self.one_by_one = False  # rename each file only when this run replaces it
        self._probe()

    def __enter__(self) -> Self:
        try:
            self._locks.enter_context(holding(self.folder))
        except OSError as error:
            raise self._unwritable(error) from error
        try:
            if self.training:
                self._start_records(self.training)
        except BaseException:
            self._locks.close()
            if self.events:
                self.events.close()
            raise
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        with self._locks:
            if isinstance(error, DivergedError):
                self.diverged(error)
            elif isinstance(error, DataError) and self.net.learner.optimizer.updates:
                self.stop()  # the text changed during the run; save the progress so far
        if self.events:
            self.events.close()
        if self._failed and error is None:
            raise SaveError("; ".join(map(str, self._failed.values())))

    def _start_records(self, training: Training) -> None:
        """Start the log, `run.json` and TensorBoard files."""
        cfg, since = self.cfg, self.resumed
        if self.own_cfg:
            cfg = self.path(".cfg")
            self.net.save_cfg(cfg)
        if self.tensorboard:
            so_far = (since.batch, since.symbols, since.seconds) if since else ()
            self.events = Events(self.folder, *so_far)
        self.one_by_one = math.isfinite(training.validation.lowest)
        self.former = [] if since else self._existing_weights()
        self.aside = self._next_aside()
        self.records = Records(
            training, self.folder, self.base, cfg, self.command, since, self.overrides
        )

    def path(self, ending: str) -> Path:
        return self.folder / f"{self.base}{ending}"

    def after(self, report: StepReport) -> None:
        """Write the files that are due after this batch, the checkpoint last: a resumed run does
        not repeat this batch."""
        records = self.records
        if records and is_logged(
            report
        ):  # an attempt without a write would clear an earlier failure
            self.attempt(records.log.path, lambda _: records.add(report))
        if (events := self.events) and is_logged(report):
            self.attempt(events.path, lambda _: events.add(report))
        if report.best:
            self.save(BEST)
        if report.batch % self.save_every == 0:
            self.save(BACKUP)
        if report.batch % KEEP_EVERY == 0:
            self.save(f"_{report.batch}.weights")
        if report.last:
            self.save(FINAL)
        if records and self.saves(report):
            self._save_run(records)

    def saves(self, report: StepReport) -> bool:
        """Whether the checkpoint is due after this batch."""
        return report.last or report.batch % self.save_every == 0

    def diverged(self, error: DivergedError) -> None:
        """Write the divergence to the log."""
        if records := self.records:
            self.attempt(records.log.path, lambda _: records.add_diverged(error))

    def stop(self) -> None:
        """Save the state that an interrupted run needs to resume."""
        self.save(BACKUP)
        records = self.records
        if records and records.training.can_be_saved:
            self._save_run(records)

    def save(self, ending: str) -> Path:
        """Save the weights. Raises DivergedError if they contain NaN or infinity; the file stays
        unchanged."""
        check_finite(self.net)
        path = self.path(ending)
        self.attempt(path, self._write)
        return path

    def _save_run(self, records: Records) -> None:
        """Sync the log before the checkpoint: a resumed run does not repeat its lines."""
        self.attempt(records.log.path, lambda _: records.log.sync())
        self.attempt(records.checkpoint, lambda _: records.save())

    def attempt(self, path: Path, write: Callable[[Path], object]) -> None:
        """Call `write(path)`. Logs a SaveError as a warning; `__exit__` raises it unless a later
        attempt succeeds."""
        try:
            write(path)
        except SaveError as error:
            self._failed[path] = error
            log.warning("%s; the run continues", error)
        else:
            self._failed.pop(path, None)

    def _existing_weights(self, ending: str = "") -> list[Path]:
        """This run's weight files in the folder whose names end in this regular expression."""
        names = rf"{re.escape(self.base)}(\.backup|_(best|final|\d+)\.weights){ending}"
        return sorted(p for p in self.folder.iterdir() if re.fullmatch(names, p.name))

    def _next_aside(self) -> str:
        """The first `.before` suffix that no weight file in the folder has."""
        before = self._existing_weights(rf"{re.escape(BEFORE)}(\.\d+)?(\.json)?")
        endings = (path.name.removesuffix(".json").rpartition(BEFORE)[2] for path in before)
        last = max((int(ending[1:] or 1) for ending in endings), default=0)
        return f"{BEFORE}.{last + 1}" if last else BEFORE

    def _set_aside(self, replaced: Path) -> None:
        """Rename the earlier run's weights and their records, or only `replaced` if `one_by_one`. A
        file that cannot be renamed stays."""
        chosen = [p for p in self.former if p == replaced or not self.one_by_one]
        for path in chosen:
            self.former.remove(path)
            before = Path(f"{path}{self.aside}")
            try:
                disk.SYSTEM.replace(path, before)
                with contextlib.suppress(FileNotFoundError):
                    disk.SYSTEM.replace(made_with.beside(path), made_with.beside(before))
            except OSError as reason:
                log.warning("%s: cannot be renamed: %s", path, reason.strerror)

    def _write(self, path: Path) -> None:
        self._set_aside(path)
        with self.net.learner.averaged():
            saved = save_weights(self.net, path)
        made_with.write(path, self.net, self.cfg, saved)

    def _probe(self) -> None:
        """Create the folder and write a test file into it, before training starts."""
        probe = self.path(LONGEST_ENDING)
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            write_atomically(probe, [b"minidark"])
            probe.unlink()
            for ending in (BACKUP, BEST, FINAL, ".ckpt"):
                for path in (self.path(ending), made_with.beside(self.path(ending))):
                    if path.is_dir():
                        raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR))
        except (OSError, ValueError, SaveError) as error:
            reason = error.__cause__ or error
            if getattr(reason, "errno", None) == errno.ENAMETOOLONG:
                raise MinidarkError(
                    f"{self.folder}: names such as {bare(self.base)}{LONGEST_ENDING} are too long; "
                    "give the cfg or the folder a shorter name"
                ) from error
            raise self._unwritable(reason) from error

    def _unwritable(self, reason: BaseException) -> MinidarkError:
        return MinidarkError(
            f"{self.folder}: cannot write: {getattr(reason, 'strerror', None) or reason}"
        )
