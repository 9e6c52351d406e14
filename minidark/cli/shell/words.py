"""What a shell may complete: commands, options, choices, files by their endings, `--set` keys.

A shell asks anew at each press of Tab and cannot wait for a command's module and numpy. So click
completes stand-ins, made from completions.json, which `cli.shell.table` writes.
"""

from __future__ import annotations

import functools
import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click
from click.shell_completion import CompletionItem

from minidark.cli.command import shared_options
from minidark.files import shipped

TABLE = Path(__file__).with_name("completions.json")

CFGS = (".cfg", ".yaml", ".yml")
WEIGHTS = (".weights", ".safetensors", ".backup")

Completer = Callable[[click.Context, click.Parameter, str], list[CompletionItem]]


def stand_in(name: str) -> click.Command | None:
    """A command with the parameters of the real one and no effect; None if it is not in the
    table."""
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
    """An option or argument by its names; `rest` goes to click."""
    kind = click.Choice(choices) if choices else None
    name = max(opts, key=len).lstrip("-")
    completer = COMPLETERS.get(f"{command}.{name}") or COMPLETERS.get(name)
    if opts[0].startswith("-"):
        completer = completer or (None if choices else nothing)
        return click.Option(opts, type=kind, shell_complete=completer, **rest)
    completer = completer or (None if choices else files)
    return click.Argument(opts, type=kind, required=False, shell_complete=completer, **rest)


# --- completers ---------------------------------------------------------------------------


def nothing(ctx: click.Context, param: click.Parameter, begun: str) -> list[CompletionItem]:
    """For numbers and text."""
    return []


def files(ctx: click.Context, param: click.Parameter, begun: str) -> list[CompletionItem]:
    return _files(begun, ("",))


def folders(ctx: click.Context, param: click.Parameter, begun: str) -> list[CompletionItem]:
    return [item for item in _files(begun, ()) if item.value.endswith("/")]


def cfgs(ctx: click.Context, param: click.Parameter, begun: str) -> list[CompletionItem]:
    """Files, and the bare names of those that are shipped."""
    names = [name for name in shipped.names("cfg", ".cfg") if name.startswith(begun)]
    return [CompletionItem(name) for name in names] + _files(begun, CFGS)


def weights(ctx: click.Context, param: click.Parameter, begun: str) -> list[CompletionItem]:
    return _files(begun, WEIGHTS)


def checkpoints(ctx: click.Context, param: click.Parameter, begun: str) -> list[CompletionItem]:
    auto = [CompletionItem("auto")] if "auto".startswith(begun) else []
    return auto + _files(begun, (".ckpt", ".prev"))


def keys(ctx: click.Context, param: click.Parameter, begun: str) -> list[CompletionItem]:
    """section.key= of every section and key that a cfg may have."""
    return [CompletionItem(f"{key}=") for key in _table()["keys"] if key.startswith(begun)]


def darknets(ctx: click.Context, param: click.Parameter, begun: str) -> list[CompletionItem]:
    """After `rnn`: a verb, a cfg, weights."""
    before = len(ctx.params.get(param.name or "") or ())
    if before == 0:
        verbs = [verb for verb in _table()["verbs"] if verb.startswith(begun)]
        return [CompletionItem(verb) for verb in verbs]
    return cfgs(ctx, param, begun) if before == 1 else weights(ctx, param, begun)


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
}


def _files(begun: str, endings: tuple[str, ...]) -> list[CompletionItem]:
    """Files of these endings, and folders, whose names go on from `begun`."""
    _, _, start = begun.rpartition("/")
    stem = begun[: len(begun) - len(start)]
    try:
        entries = sorted(os.scandir(os.path.expanduser(stem) or "."), key=lambda entry: entry.name)
    except OSError:
        return []
    found = []
    for entry in entries:
        if not entry.name.startswith(start) or (entry.name.startswith(".") and not start):
            continue
        if entry.is_dir():
            found.append(CompletionItem(f"{stem}{entry.name}/"))
        elif entry.name.endswith(endings):
            found.append(CompletionItem(f"{stem}{entry.name}"))
    return found
