"""Detects swapped file arguments by their names, before any file is read: the error of the wrong
reader would not help."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import click

from minidark.convert import CFGS, DARKNET, MODELS, WEIGHTS
from minidark.files import shipped
from minidark.files.archives import is_archive

AN_EXAMPLE = "rnn"  # of what is shipped


def check_order(given: Mapping[str, Any]) -> None:
    """Raise UsageError if an argument names a file that belongs to another argument; `given` maps
    the command's parameter names to values."""
    cfgs, weights, texts = (
        [word for name in names for word in _words(given.get(name))]
        for names in (("cfg", "cfgs"), ("weights",), ("data", "text", "pairs"))
    )
    for at, cfg in enumerate(cfgs, start=1):
        _check_cfg(cfg, weights, [*cfgs[at:], *texts])
    for file in weights:
        _check_no_model(file)
    for text in texts:
        if _ends(text, DARKNET):
            raise click.UsageError(f"{text} is a weight file, and no text to read")


def check_missing(given: Mapping[str, Any], missing: str | None, usage: str) -> None:
    """Raise UsageError if the cfg is missing, and not the argument that click reports, or if one
    file is both cfg and weights; `usage` is the command with its arguments."""
    check_order(given)
    (cfg,) = _words(given.get("cfg")) or [""]
    if is_archive(cfg) and missing == "weights":
        raise click.UsageError(f"{cfg} holds weights and their cfg: give it for both, {usage}")
    if _is_other(cfg):
        raise click.UsageError(
            f"{cfg} is no cfg, by its name, and the cfg comes first: {usage}, "
            f"where CFG may be one that is shipped, as {AN_EXAMPLE} is"
        )


def _check_cfg(cfg: str, weights: list[str], others: list[str]) -> None:
    _check_no_model(cfg)
    behind = [file for file in (*weights, *others) if _is_cfg(file)]
    if _ends(cfg, DARKNET):
        if weights and behind:
            said = f"{cfg} is a weight file and {behind[0]} a cfg: the cfg comes first"
        else:
            said = f"{cfg} is a weight file: the cfg that it was made with comes first"
        raise click.UsageError(said)
    if behind and _is_other(cfg):
        raise click.UsageError(f"{behind[0]} is a cfg and {cfg} is not: the cfg comes first")
    if is_archive(cfg) and weights and not _ends(weights[0], WEIGHTS):
        raise click.UsageError(
            f"{weights[0]} stands where weights are wanted; {cfg} holds them and their cfg: "
            "give it for both, one after the other"
        )


def _check_no_model(file: str) -> None:
    if _ends(file, tuple(MODELS)):
        raise click.UsageError(
            f"{file} is a model of another program; `minidark convert {file} NAME.safetensors` "
            "makes it one of minidark's"
        )


def _is_cfg(name: str) -> bool:
    """By its suffix, or as the bare name of a shipped cfg, unless a file has that name."""
    return _ends(name, CFGS) or (shipped.is_name(name) and not os.path.isfile(name))


def _is_other(name: str) -> bool:
    """Whether it is a file that cannot be a cfg."""
    known = _ends(name, (*CFGS, *WEIGHTS)) or shipped.is_name(name)
    return not known and (bool(Path(name).suffix) or os.path.isfile(name))


def _words(value: object) -> list[str]:
    words = [value] if isinstance(value, str) else value if isinstance(value, tuple) else ()
    return [word for word in words if isinstance(word, str)]


def _ends(name: str, endings: tuple[str, ...]) -> bool:
    return name.lower().endswith(endings)
