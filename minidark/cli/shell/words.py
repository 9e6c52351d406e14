"""What a shell may complete: commands, options, choices, files by their endings, `--set` keys.

A shell asks anew at each press of Tab and cannot wait until a command's module and numpy are there.
So what the commands take stands in completions.json, written by

    python -m minidark.cli.shell.words

which a test compares with the commands themselves; from it come stand-ins that click completes.
"""

from __future__ import annotations

import functools
import json
import os
from collections.abc import Callable
from dataclasses import fields
from pathlib import Path
from typing import Any

import click
from click.shell_completion import CompletionItem

from minidark.files import shipped

TABLE = Path(__file__).with_name("completions.json")

CFGS = (".cfg", ".yaml", ".yml")
WEIGHTS = (".weights", ".safetensors", ".backup")

Completer = Callable[[click.Context, click.Parameter, str], list[CompletionItem]]


def stand_in(name: str) -> click.Command | None:
    """A command that takes what the real one takes and does nothing; None for one that is not in
    the table."""
    entry = _table()["commands"].get(name)
    if entry is None:
        return None
    params = [_parameter(name, **one) for one in entry]
    return click.Command(name, params=params, context_settings={"ignore_unknown_options": True})


@functools.cache
def _table() -> dict[str, Any]:
    table: dict[str, Any] = json.loads(TABLE.read_text())
    return table


def _parameter(
    command: str,
    opts: list[str],
    *,
    option: bool,
    nargs: int = 1,
    flag: bool = False,
    multiple: bool = False,
    choices: list[str] | None = None,
    help: str = "",
) -> click.Parameter:
    kind = click.Choice(choices) if choices else None
    name = max(opts, key=len).lstrip("-")
    completer = COMPLETERS.get(
        f"{command}.{name}", COMPLETERS.get(name, None if choices else files)
    )
    if not option:
        return click.Argument(
            opts, type=kind, nargs=nargs, required=False, shell_complete=completer
        )
    if flag:
        return click.Option(opts, is_flag=True, help=help)
    if not choices and name not in COMPLETERS:
        completer = nothing
    return click.Option(
        opts, type=kind, nargs=nargs, multiple=multiple, help=help, shell_complete=completer
    )


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


# --- the table ----------------------------------------------------------------------------


def table() -> dict[str, Any]:
    """What completions.json should hold, from the commands themselves."""
    from minidark.cfg.options import LAYER_TYPES, NetOptions
    from minidark.cli import COMMANDS, load
    from minidark.cli.commands.rnn import VERBS

    types: dict[str, type[Any]] = {"net": NetOptions, **LAYER_TYPES}
    return {
        "commands": {
            name: [_fields(p) for p in load(name).params if not getattr(p, "hidden", False)]
            for name in COMMANDS
        },
        "keys": [f"{t}.{f.name}" for t, options in types.items() for f in fields(options)],
        "verbs": list(VERBS),
    }


def _fields(param: click.Parameter) -> dict[str, Any]:
    """The arguments of `_parameter` that differ from their defaults."""
    entry: dict[str, Any] = {"opts": param.opts, "option": isinstance(param, click.Option)}
    if param.nargs != 1:
        entry["nargs"] = param.nargs
    if isinstance(param.type, click.Choice):
        entry["choices"] = list(param.type.choices)
    if isinstance(param, click.Option):
        given = {"flag": param.is_flag, "multiple": param.multiple, "help": param.help}
        entry |= {name: value for name, value in given.items() if value}
    return entry


def written() -> str:
    """The table as text, a line for each parameter."""
    parts = [
        f" {json.dumps(name)}: [\n  " + ",\n  ".join(map(json.dumps, entry)) + "\n ]"
        for name, entry in table()["commands"].items()
    ]
    rest = {name: value for name, value in table().items() if name != "commands"}
    keys = ",\n".join(f"{json.dumps(name)}: {json.dumps(value)}" for name, value in rest.items())
    return '{"commands": {\n' + ",\n".join(parts) + "\n}, " + keys + "}\n"


if __name__ == "__main__":
    TABLE.write_text(written())
