"""Detects swapped file arguments by their names, before any file is read. An error from the wrong
reader would not help the user."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import click

from minidark.cfg.source import is_run_record
from minidark.convert import CFGS, DARKNET, MODELS, WEIGHTS
from minidark.files import shipped
from minidark.files.archives import is_archive

AN_EXAMPLE = "rnn"  # a shipped cfg, for messages


def check_order(arguments: Mapping[str, Any]) -> None:
    """Raise UsageError if an argument names a file that belongs to another argument. `arguments`
    maps parameter names to values."""
    cfgs, weights, texts = (
        [word for name in names for word in _words(arguments.get(name))]
        for names in (("cfg", "cfgs"), ("weights",), ("data", "text", "pairs"))
    )
    for at, cfg in enumerate(cfgs, start=1):
        _check_cfg(cfg, weights, [*cfgs[at:], *texts])
    for file in weights:
        _check_no_model(file)
    for text in texts:
        if _ends(text, DARKNET):
            raise click.UsageError(f"{text} is a weight file, not a text")


def check_missing(arguments: Mapping[str, Any], missing: str | None, usage: str) -> None:
    """Raise UsageError if the missing argument is really the cfg, and not the one that click
    reports, or if one file is both cfg and weights. `usage` is the command with its arguments."""
    check_order(arguments)
    (cfg,) = _words(arguments.get("cfg")) or [""]
    if is_archive(cfg) and missing == "weights":
        raise click.UsageError(f"{cfg} contains weights and cfg: name it twice, {usage}")
    if _is_other(cfg):
        raise click.UsageError(
            f"{cfg} is not a cfg, by its name, and the cfg comes first: {usage}; "
            f"CFG may be a shipped one, such as {AN_EXAMPLE}"
        )


def _check_cfg(cfg: str, weights: list[str], others: list[str]) -> None:
    _check_no_model(cfg)
    behind = [file for file in (*weights, *others) if is_cfg(file)]
    if _ends(cfg, DARKNET):
        if weights and behind:
            message = f"{cfg} is a weight file and {behind[0]} is a cfg: the cfg comes first"
        else:
            message = f"{cfg} is a weight file: put its cfg before it"
        raise click.UsageError(message)
    if behind and _is_other(cfg):
        raise click.UsageError(f"{behind[0]} is a cfg and {cfg} is not: the cfg comes first")
    if is_archive(cfg) and weights and not _ends(weights[0], WEIGHTS):
        raise click.UsageError(
            f"{weights[0]} is not a weight file; {cfg} contains weights and cfg: "
            "name it twice, one after the other"
        )


def _check_no_model(file: str) -> None:
    if _ends(file, tuple(MODELS)):
        raise click.UsageError(
            f"{file} is a model of another program; convert it with "
            f"`minidark convert {file} NAME.safetensors`"
        )


def is_cfg(name: str) -> bool:
    """Whether it has the suffix of a cfg, or is the bare name of a shipped cfg and not a file."""
    return _ends(name, CFGS) or (shipped.is_name(name) and not os.path.isfile(name))


def _is_other(name: str) -> bool:
    """Whether it is a file that cannot be a cfg."""
    known = _ends(name, (*CFGS, *WEIGHTS)) or shipped.is_name(name) or is_run_record(name)
    return not known and (bool(Path(name).suffix) or os.path.isfile(name))


def _words(value: object) -> list[str]:
    words = [value] if isinstance(value, str) else value if isinstance(value, tuple) else ()
    return [word for word in words if isinstance(word, str)]


def _ends(name: str, endings: tuple[str, ...]) -> bool:
    return name.lower().endswith(endings)
