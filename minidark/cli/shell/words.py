"""Completion of commands, options, choices, files by suffix, and keys of `--set`.

Each press of Tab starts a new process, and importing a command and numpy would take too long. So
click completes stand-ins from completions.json, which `cli.shell.table` writes.
"""

from __future__ import annotations

import functools
import json
import os
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import click

from minidark.cli.command import shared_options
from minidark.files import shipped

TABLE = Path(__file__).with_name("completions.json")

CFGS = (".cfg", ".yaml", ".yml")
WEIGHTS = (".weights", ".safetensors", ".backup")

Completer = Callable[[click.Context, click.Parameter, str], list[str]]


def stand_in(name: str) -> click.Command | None:
    """A command with the parameters of the real one and no effect; None if the table does not have
    it."""
    entry = _table()["commands"].get(name)
    if entry is None:
        return None
    params = [*(_parameter(name, **one) for one in entry), *shared_options()]
    return click.Command(name, params=params, context_settings={"ignore_unknown_options": True})


def help_line(name: str) -> str:
    """The line of a command in `minidark --help`."""
    line: str = _table()["lines"].get(name, "")
    return line


@functools.cache
def _table() -> dict[str, Any]:
    table: dict[str, Any] = json.loads(TABLE.read_text())
    return table


def _parameter(
    command: str, opts: list[str], choices: list[str] | None = None, **rest: Any
) -> click.Parameter:
    """An option or argument; `rest` are more arguments for click."""
    kind = click.Choice(choices) if choices else None
    name = max(opts, key=len).lstrip("-")
    completer = COMPLETERS.get(f"{command}.{name}") or COMPLETERS.get(name)
    if opts[0].startswith("-"):
        completer = completer or (None if choices else nothing)
        return click.Option(opts, type=kind, shell_complete=completer, **rest)
    completer = completer or (None if choices else files)
    return click.Argument(opts, type=kind, required=False, shell_complete=completer, **rest)


# --- completers ---------------------------------------------------------------------------


def completer(
    words: Callable[[], Iterable[str]] = tuple, endings: tuple[str, ...] | None = None
) -> Completer:
    """Complete words, then files with these `endings`; None completes no files."""

    def complete(ctx: click.Context, param: click.Parameter, begun: str) -> list[str]:
        matches = [word for word in words() if word.startswith(begun)]
        return matches if endings is None else matches + _files(begun, endings)

    return complete


nothing = completer()  # for numbers and text
files = completer(endings=("",))
folders = completer(endings=())
cfgs = completer(lambda: shipped.names("cfg", ".cfg"), CFGS)
weights = completer(endings=WEIGHTS)
networks = completer(lambda: shipped.names("cfg", ".cfg"), (*CFGS, *WEIGHTS))
checkpoints = completer(lambda: ["auto"], (".ckpt", ".prev"))
keys = completer(lambda: (f"{key}=" for key in _table()["keys"]))
verbs = completer(lambda: _table()["verbs"])


def darknets(ctx: click.Context, param: click.Parameter, begun: str) -> list[str]:
    """Complete a verb, then a cfg, then weights, after `rnn`."""
    before = len(ctx.params.get(param.name or "") or ())
    return (verbs, cfgs, weights)[min(before, 2)](ctx, param, begun)


def weights_or_data(ctx: click.Context, param: click.Parameter, begun: str) -> list[str]:
    """Complete weights; any file if the first argument stands for CFG and WEIGHTS."""
    cfg = ctx.params.get("cfg") or ""
    is_run = not shipped.is_name(cfg) and os.path.isdir(os.path.expanduser(cfg))
    return (files if is_run or cfg.endswith(WEIGHTS) else weights)(ctx, param, begun)


# Commands in which the folder of a run, or weights with a record, stands for CFG and WEIGHTS.
WITH_NETWORK = ("generate", "play", "valid", "predict", "score", "info", "vec", "look")


COMPLETERS: dict[str, Completer] = {
    "cfg": cfgs,
    "weights": weights,
    "backup": folders,
    "resume": checkpoints,
    "set": keys,
    "tokens": files,
    "check-copy": files,
    "out-cfg": cfgs,
    "output": files,
    "convert.source": weights,
    "convert.out": weights,
    "rnn.arguments": darknets,
    **dict.fromkeys((f"{name}.cfg" for name in WITH_NETWORK), networks),
    **dict.fromkeys((f"{name}.weights" for name in ("valid", "look", "score")), weights_or_data),
}


def _files(begun: str, endings: tuple[str, ...]) -> list[str]:
    """Folders, and files with these suffixes, whose paths start with `begun`."""
    _, _, start = begun.rpartition("/")
    stem = begun[: len(begun) - len(start)]
    try:
        entries = sorted(os.scandir(os.path.expanduser(stem) or "."), key=lambda entry: entry.name)
    except OSError:
        return []
    return [
        f"{stem}{entry.name}{'/' if entry.is_dir() else ''}"
        for entry in entries
        if entry.name.startswith(start)
        and (start or not entry.name.startswith("."))
        and (entry.is_dir() or entry.name.endswith(endings))
    ]
