"""The weight files that a training run leaves in its folder, with darknet's names.

    BASE.backup          every 100 batches
    BASE_N.weights       every 10,000
    BASE_best.weights    at each lowest validation cost
    BASE_final.weights   at the end
    BASE.ckpt            with each BASE.backup, and at the end; `records` keeps it, and the log

BASE is the cfg's name up to its first dot. Beside each stands FILE.json (`made_with`).

Source: darknet examples/rnn.c (train_char_rnn), src/utils.c (basecfg). darknet finds out that the
folder is missing at batch 100; here it is made and tried before the first.
"""

from __future__ import annotations

from pathlib import Path

from minidark import made_with
from minidark.errors import MinidarkError
from minidark.files import write_atomically
from minidark.network import Network
from minidark.records import Records
from minidark.train import StepReport
from minidark.weights import save_weights

SAVE_EVERY = 100
KEEP_EVERY = 10_000


def base_name(cfg: Path | str) -> str:
    """BASE."""
    return Path(cfg).name.split(".")[0] or "net"


class Backups:
    """Saves `net` into `folder` as its reports come in. Raises MinidarkError.

    `records`, once it is set, keeps checkpoints and the log as well.
    """

    def __init__(
        self, net: Network, folder: Path | str, cfg: Path | str, save_every: int = SAVE_EVERY
    ):
        self.records: Records | None = None
        self.net, self.folder, self.cfg = net, Path(folder), cfg
        self.base = base_name(cfg)
        self.save_every = save_every
        self._probe()

    def path(self, ending: str) -> Path:
        return self.folder / f"{self.base}{ending}"

    def after(self, report: StepReport) -> None:
        """Write what is due after this batch; the checkpoint last, since a run that goes on from
        it does not come by here again."""
        if self.records:
            self.records.add(report)
        if report.best:
            self.save("_best.weights")
        if report.batch % self.save_every == 0:
            self.save(".backup")
        if report.batch % KEEP_EVERY == 0:
            self.save(f"_{report.batch}.weights")
        if report.last:
            self.save("_final.weights")
        if self.records and (report.last or report.batch % self.save_every == 0):
            self.records.save()

    def stop(self) -> None:
        """Write what a run that ends early is to be gone on with."""
        self.save(".backup")
        if self.records and self.records.training.whole:
            self.records.save()

    def save(self, ending: str) -> Path:
        """Raises DivergedError for weights that are of no use; the file stays what it was."""
        self.net.check_finite()
        path = self.path(ending)
        digest = save_weights(self.net, path)
        made_with.write(path, self.net, self.cfg, digest)
        return path

    def _probe(self) -> None:
        """Make the folder and write a file into it, before any work is done."""
        probe = self.path(".probe")
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            write_atomically(probe, [b"minidark"])
            probe.unlink()
            for ending in (".backup", "_best.weights", "_final.weights", ".ckpt"):
                for path in (self.path(ending), made_with.beside(self.path(ending))):
                    if path.is_dir():
                        raise MinidarkError(f"{path}: Is a directory")
        except (OSError, MinidarkError) as error:
            said = getattr(error, "strerror", None) or str(error).rpartition(": ")[2]
            raise MinidarkError(f"{self.folder}: cannot write: {said}") from error
