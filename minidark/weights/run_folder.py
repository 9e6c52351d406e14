"""The folder of a training run, as a name for its network: `run.json` and the run's weights."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

from minidark.cfg.source import RUN, read_run_record
from minidark.errors import CfgError, WeightsError, bare

BEST, FINAL, BACKUP = "_best.weights", "_final.weights", ".backup"  # endings of weight files
WEIGHTS = re.compile(r"(.+?)(\.backup|_(best|final|[0-9]+)\.weights)")


@dataclass(frozen=True, slots=True)
class RunFolder:
    """The files of a run's network. `record` is the path of run.json, which stands for the cfg;
    `cfg` is the name of the cfg that the run was started with; `separator` is that of its pairs,
    None for a text; `columns` and `fields` name their parts in tables, as on a command line."""

    record: Path
    weights: Path
    cfg: str
    separator: str | None
    columns: str | None = None
    fields: str | None = None


def base_name(cfg: Path | str) -> str:
    """BASE in the names of a run's files: the cfg's file name up to its first dot."""
    return Path(cfg).name.split(".")[0] or "net"


def find_run(folder: Path | str, final: bool = False) -> RunFolder:
    """The run in a folder: its best weights, else the final ones, else its backup; `final`: only
    the final ones. Raises CfgError without a record of a run, WeightsError without weights or with
    those of several runs."""
    folder = Path(folder)
    record = folder / RUN
    if not record.exists():
        expected = "expected a cfg, or the --backup folder of `train`"
        raise CfgError(f"a folder without {RUN}; {expected}", folder)
    run = read_run_record(record)
    base = base_name(run["cfg"])
    _check_alone(folder, base)
    endings = (FINAL,) if final else (BEST, FINAL, BACKUP)
    paths = [folder / f"{base}{ending}" for ending in endings]
    weights = next((path for path in paths if path.exists()), None)
    if weights is None:
        hint = "this run has not ended; omit --final" if final else "this run has not saved yet"
        raise WeightsError(f"{folder}: no {bare(paths[0].name)}; {hint}")
    read = (run.get(name) for name in ("separator", "columns", "fields"))
    return RunFolder(record, weights, run["cfg"], *read)


def _check_alone(folder: Path, base: str) -> None:
    """Raise WeightsError if the folder contains weights of other runs than BASE's."""
    found = {match[1] for p in folder.iterdir() if (match := WEIGHTS.fullmatch(p.name))}
    if others := sorted(found - {base}):
        names = ", ".join(bare(name) for name in [base, *others][:5])
        raise WeightsError(
            f"{folder}: contains the weights of several runs ({names}); expected those of one: "
            f"name the weights, such as {folder / f'{bare(base)}{BEST}'}"
        )
