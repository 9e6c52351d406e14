"""Writes completions.json: the parameters of all commands and the lines of `minidark --help`.

    python -m minidark.cli.shell.table

A test compares the file with the commands themselves.
"""

from __future__ import annotations

import json
from dataclasses import fields
from typing import Any

import click

from minidark.cfg.options import LAYER_TYPES, NetOptions
from minidark.cli import COMMANDS, load
from minidark.cli.command import shared_options
from minidark.cli.commands.rnn import VERBS
from minidark.cli.shell.words import TABLE


def table() -> dict[str, Any]:
    """The content of completions.json, from the commands themselves."""
    commands = {name: load(name) for name in COMMANDS}
    shared = len(shared_options())  # they follow each command's own
    types: dict[str, type[Any]] = {"net": NetOptions, **LAYER_TYPES}
    return {
        "commands": {
            name: [_fields(p) for p in command.params[:-shared] if not getattr(p, "hidden", False)]
            for name, command in commands.items()
        },
        "lines": {name: c.get_short_help_str(limit=1000) for name, c in commands.items()},
        "keys": [f"{t}.{f.name}" for t, options in types.items() for f in fields(options)],
        "verbs": list(VERBS),
    }


def _fields(param: click.Parameter) -> dict[str, Any]:
    """The arguments of `words._parameter` that differ from their defaults."""
    entry: dict[str, Any] = {"opts": param.opts}
    if param.nargs != 1:
        entry["nargs"] = param.nargs
    if isinstance(param.type, click.Choice):
        entry["choices"] = list(param.type.choices)
    if isinstance(param, click.Option):
        names = ("is_flag", "multiple", "help")
        entry |= {name: value for name in names if (value := getattr(param, name))}
    return entry


def written() -> str:
    """The table as text, with one line for each parameter."""
    rest = table()
    parts = [
        f" {json.dumps(name)}: [\n  " + ",\n  ".join(map(json.dumps, entry)) + "\n ]"
        for name, entry in rest.pop("commands").items()
    ]
    keys = ",\n".join(f"{json.dumps(name)}: {json.dumps(value)}" for name, value in rest.items())
    return '{"commands": {\n' + ",\n".join(parts) + "\n}, " + keys + "}\n"


if __name__ == "__main__":
    TABLE.write_text(written())
