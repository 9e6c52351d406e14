"""`train --resume`: finds the checkpoint, and checks the command line against it."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import click

from minidark.cli.command import typed
from minidark.cli.options.compute import Compute
from minidark.errors import echo
from minidark.training.checkpoint import Checkpoint, newest_sound

AUTO = "auto"
STARTING = ("weights", "clear")  # options that start a new run
# Options that cannot change when a run resumes.
FIXED = (
    "seed", "valid_fraction", "clip_norm", "shards", "tokenized", "pairs", "separator", "skip_bad",
    "columns", "fields",
)  # fmt: skip


def find(resume: str, newest: Path) -> tuple[Path, Checkpoint]:
    """The path of the checkpoint of --resume, and the checkpoint. "auto" is the one at `newest`, or
    the previous one if that is damaged.

    Raises WeightsError, and UsageError for an option that starts a new run, that differs from the
    start of this run, or that extends a finished learning-rate schedule.
    """
    if not resume:
        raise click.UsageError("--resume needs auto or a file name")
    for name in STARTING:
        if typed(name) and current(name):
            raise click.UsageError(
                f"--{name} starts a new run and --resume continues one; use one of them"
            )
    path, checkpoint = (
        newest_sound(newest) if resume == AUTO else (Path(resume), Checkpoint.read(resume))
    )
    for name in FIXED:
        was = getattr(checkpoint, name)
        if typed(name) and current(name) != was:
            option = f"--{name.replace('_', '-')}"
            now = current(name)
            was, now = (echo(v) if isinstance(v, str) else v for v in (was, now))
            if was is None:
                raise click.UsageError(f"{path}: this run was started without {option}")
            raise click.UsageError(f"{path}: this run was started with {option} {was}, not {now}")
    more = current("batches") not in (None, checkpoint.batches)
    if more and checkpoint.falls and checkpoint.batch >= checkpoint.batches:
        raise click.UsageError(
            f"{path}: this run is finished: its learning-rate schedule ended at batch "
            f"{checkpoint.batches}; to train further, start a new run with --weights FILE --clear"
        )
    return path, checkpoint


def computed_as(compute: Compute, checkpoint: Checkpoint) -> Compute:
    """Replace "auto" for device and kernels, and an omitted precision, by the checkpoint's."""
    chosen: dict[str, Any] = {}
    if compute.device == "auto":
        chosen["device"] = checkpoint.computing.get("device")
    if compute.kernels == "auto" and checkpoint.computing.get("device") == "cpu":
        chosen["kernels"] = checkpoint.computing.get("kernels")
    if not typed("precision"):
        chosen["precision"] = checkpoint.precision
    return dataclasses.replace(compute, **chosen)


def current(name: str) -> Any:
    return click.get_current_context().params[name]
