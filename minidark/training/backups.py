"""The weight files that a training run leaves in its folder, with darknet's names.

    BASE.backup          every 100 batches
    BASE_N.weights       every 10,000
    BASE_best.weights    at each lowest validation cost
    BASE_final.weights   at the end
    BASE.ckpt            with each BASE.backup, and at the end; `records` keeps it, and the log

BASE is the cfg's name up to its first dot. Beside each stands FILE.json (`made_with`). Weights that
an earlier run left in the folder are renamed when this one saves for the first time: to
FILE.before, those of the next run to FILE.before.2, and so on. So no weights are lost, and those
without such an ending belong to one run.

A disk that fails does not end a run: what was there before stays, a warning says so, and the file
is written when it is due again. Only a run whose last attempt at one of its files failed ends in
an error.

Source: darknet examples/rnn.c (train_char_rnn), src/utils.c (basecfg). darknet finds out that the
folder is missing at batch 100; here it is made and tried before the first.
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

log = logging.getLogger(__name__)

BEFORE = ".before"
LONGEST_ENDING = f"_{2**31 - 1}.weights{BEFORE}.999.json"  # of the names that a run gives
SAVE_EVERY = 100
KEEP_EVERY = 10_000


def base_name(cfg: Path | str) -> str:
    """BASE: the cfg's name up to its first dot."""
    return Path(cfg).name.split(".")[0] or "net"


class Backups(Follower):
    """Saves `net` into `folder` as its reports come in.

    With a `training`, which is of this network, there are checkpoints, the log and `run.json` as
    well, and with `tensorboard` what TensorBoard shows: `records` says what those files hold, this
    class when they are written. command: how the run was called. resumed: where it continues from.
    overrides: what was set over the cfg. own_cfg: keep the network's cfg in the folder, as
    BASE.cfg, which is then what was trained.

    In a `with`, no other run can have the folder, and the end raises SaveError if the last attempt
    at any file failed. Raises MinidarkError for a folder that cannot be written into or is taken.

    A new run renames the weights of an earlier one. If it begins with weights, it does so one by
    one: a best that is better than any of its own stays.
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
        self.records: Records | None = None  # with a training, and in a `with`
        self.events: Events | None = None
        self._failed: dict[Path, SaveError] = {}  # the files whose last attempt failed
        self._held = contextlib.ExitStack()
        self.former: list[Path] = []  # weights of another run, until they are renamed
        self.aside = BEFORE  # what is added to their names
        self.one_by_one = False  # whether each is renamed only when this run replaces it
        self._probe()

    def __enter__(self) -> Self:
        try:
            self._held.enter_context(holding(self.folder))
        except OSError as error:
            raise self._unwritable(error) from error
        try:
            if self.training:
                self._keep(self.training)
        except BaseException:
            self._held.close()
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
        with self._held:
            if isinstance(error, DivergedError):
                self.diverged(error)
            elif isinstance(error, DataError) and self.net.learner.optimizer.updates:
                self.stop()  # the text changed under the run: what was learned from it is kept
        if self.events:
            self.events.close()
        if self._failed and error is None:
            raise SaveError("; ".join(map(str, self._failed.values())))

    def _keep(self, training: Training) -> None:
        """Begin what is kept beside the weights."""
        cfg, since = self.cfg, self.resumed
        if self.own_cfg:
            cfg = self.path(".cfg")
            self.net.save_cfg(cfg)
        if self.tensorboard:  # before the records, which take the place of another run's
            so_far = (since.batch, since.symbols, since.seconds) if since else ()
            self.events = Events(self.folder, *so_far)
        self.one_by_one = math.isfinite(training.validation.lowest)
        self.former = [] if since else self._weights_there()
        self.aside = self._next_aside()
        self.records = Records(
            training, self.folder, self.base, cfg, self.command, since, self.overrides
        )

    def path(self, ending: str) -> Path:
        return self.folder / f"{self.base}{ending}"

    def after(self, report: StepReport) -> None:
        """Write what is due after this batch; the checkpoint last, since a run that goes on from
        it does not come by here again."""
        records = self.records
        if records and is_logged(report):  # an attempt at nothing would pass for a success
            self.attempt(records.log.path, lambda _: records.add(report))
        if (events := self.events) and is_logged(report):
            self.attempt(events.path, lambda _: events.add(report))
        if report.best:
            self.save("_best.weights")
        if report.batch % self.save_every == 0:
            self.save(".backup")
        if report.batch % KEEP_EVERY == 0:
            self.save(f"_{report.batch}.weights")
        if report.last:
            self.save("_final.weights")
        if records and self.saves(report):
            self._save_run(records)

    def saves(self, report: StepReport) -> bool:
        """Whether the checkpoint is due after this batch."""
        return report.last or report.batch % self.save_every == 0

    def diverged(self, error: DivergedError) -> None:
        """Let the log tell how the run ended."""
        if records := self.records:
            self.attempt(records.log.path, lambda _: records.add_diverged(error))

    def stop(self) -> None:
        """Write what a run that ends early is to be gone on with."""
        self.save(".backup")
        records = self.records
        if records and records.training.can_be_saved:
            self._save_run(records)

    def save(self, ending: str) -> Path:
        """Raises DivergedError for weights that are of no use; the file stays what it was."""
        check_finite(self.net)
        path = self.path(ending)
        self.attempt(path, self._write)
        return path

    def _save_run(self, records: Records) -> None:
        """The log before the checkpoint, behind which nothing in it comes again."""
        self.attempt(records.log.path, lambda _: records.log.sync())
        self.attempt(records.checkpoint, lambda _: records.save())

    def attempt(self, path: Path, write: Callable[[Path], object]) -> None:
        """`write(path)`, where a SaveError is a warning now; see `__exit__`."""
        try:
            write(path)
        except SaveError as error:
            self._failed[path] = error
            log.warning("%s; the run goes on", error)
        else:
            self._failed.pop(path, None)

    def _weights_there(self, ending: str = "") -> list[Path]:
        """The weights in the folder, with this regular expression at the end of their names."""
        names = rf"{re.escape(self.base)}(\.backup|_(best|final|\d+)\.weights){ending}"
        return sorted(p for p in self.folder.iterdir() if re.fullmatch(names, p.name))

    def _next_aside(self) -> str:
        """What no weights in the folder have at the end of their names."""
        before = self._weights_there(rf"{re.escape(BEFORE)}(\.\d+)?(\.json)?")
        endings = (path.name.removesuffix(".json").rpartition(BEFORE)[2] for path in before)
        last = max((int(ending[1:] or 1) for ending in endings), default=0)
        return f"{BEFORE}.{last + 1}" if last else BEFORE

    def _set_aside(self, replaced: Path) -> None:
        """Rename the weights of the run before, with what is kept beside them; `replaced` alone
        where they go one by one. What cannot be renamed stays."""
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
        """Make the folder and write a file into it, before any work is done."""
        probe = self.path(LONGEST_ENDING)
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            write_atomically(probe, [b"minidark"])
            probe.unlink()
            for ending in (".backup", "_best.weights", "_final.weights", ".ckpt"):
                for path in (self.path(ending), made_with.beside(self.path(ending))):
                    if path.is_dir():
                        raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR))
        except (OSError, ValueError, SaveError) as error:
            reason = error.__cause__ or error
            if getattr(reason, "errno", None) == errno.ENAMETOOLONG:
                raise MinidarkError(
                    f"{self.folder}: no room for names such as {bare(self.base)}{LONGEST_ENDING}; "
                    "give the cfg, or the folder, a shorter name"
                ) from error
            raise self._unwritable(reason) from error

    def _unwritable(self, reason: BaseException) -> MinidarkError:
        return MinidarkError(
            f"{self.folder}: cannot write: {getattr(reason, 'strerror', None) or reason}"
        )
