"""`train --resume`: which checkpoint, and what of the command line is the checkpoint's to say."""

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
BEGIN = ("weights", "clear")  # options that begin a run
# For good.
KEPT = ("seed", "valid_fraction", "clip_norm", "shards", "tokenized", "pairs", "separator")


def find(resume: str, newest: Path) -> tuple[Path, Checkpoint]:
    """The checkpoint of --resume, and where it lies: that of a file, or with "auto" that in
    `newest`, or the one before it where that is damaged.

    Raises WeightsError, and UsageError for an option of the running command that begins a run, that
    says something else than this one was begun with, or that asks for more of a run than there is.
    """
    if not resume:
        raise click.UsageError("--resume needs auto or the name of a file")
    for name in BEGIN:
        if typed(name) and current(name):
            raise click.UsageError(f"--{name} begins a run, --resume goes on with one; give either")
    path, since = (
        newest_sound(newest) if resume == AUTO else (Path(resume), Checkpoint.read(resume))
    )
    for name in KEPT:
        was = getattr(since, name)
        if typed(name) and current(name) != was:
            option = f"--{name.replace('_', '-')}"
            now = current(name)
            was, now = (echo(v) if isinstance(v, str) else v for v in (was, now))
            raise click.UsageError(f"{path}: begun with {option} {was}, not {now}")
    more = current("batches") not in (None, since.batches)
    if more and since.falls and since.batch >= since.batches:
        raise click.UsageError(
            f"{path}: this run has ended: its rate has fallen to the end at batch {since.batches}; "
            "--weights begins another from its weights"
        )
    return path, since


def computed_as(compute: Compute, since: Checkpoint) -> Compute:
    """Device and kernels: those of the checkpoint, where the choice is left to minidark."""
    chosen: dict[str, Any] = {}
    if compute.device == "auto":
        chosen["device"] = since.computing.get("device")
    if compute.kernels == "auto" and since.computing.get("device") == "cpu":
        chosen["kernels"] = since.computing.get("kernels")
    return dataclasses.replace(compute, **chosen)


def current(name: str) -> Any:
    return click.get_current_context().params[name]
