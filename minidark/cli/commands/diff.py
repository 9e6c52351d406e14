"""`minidark diff`."""

from __future__ import annotations

import dataclasses
from typing import Any

import click

from minidark.cfg.difference import Change, Difference, LayerChange, difference
from minidark.cfg.keys import keys_of
from minidark.cfg.reference import section_types, written
from minidark.cli.options.cfg_options import CfgChoice, weightless_options
from minidark.cli.output.stdout import say, say_json

DIFFERENT = 1  # exit code with --exit-code, as in git


@click.command()
@click.argument("a")
@click.argument("b", required=False)
@click.option("--exit-code", is_flag=True, help="Exit with 1 if the networks differ.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
@weightless_options
def diff(a: str, b: str | None, exit_code: bool, as_json: bool, choice: CfgChoice) -> None:
    """Show how two networks differ.

    \b
    minidark diff rnn my.cfg
    minidark diff old.cfg new.cfg --exit-code
    minidark diff rnn --set gru.output=512 --set net.adam=0

    The command compares the meaning of the cfgs, not their text: it fills in defaults and ignores
    keys without effect. If both cfgs describe the same network, nothing is printed. --set changes
    only B; if B is omitted, A is compared with A as changed by --set. Exits with 0; with
    --exit-code, exits with 1 if there are differences.
    """
    if not (b or choice.overrides):
        raise click.UsageError("diff needs two cfgs, A and B, or A and --set")
    before = dataclasses.replace(choice, overrides=())
    changes = difference(before.plan(a), choice.plan(b or a))
    if as_json:
        facts = {"a": a, "b": b or a, "same": not changes, **dataclasses.asdict(changes)}
        say_json(facts)
    elif changes:
        say("\n".join(_lines(changes, a, b or f"{a} as overridden")))
    raise SystemExit(DIFFERENT if exit_code and changes else 0)


def _lines(changes: Difference, a: str, b: str) -> list[str]:
    lines = [f"--- {a}", f"+++ {b}"]
    lines += [f"[net] {_change(change)}" for change in changes.net]
    for layer in changes.layers:
        lines += _layer(layer)
    before, after = changes.parameters
    if before != after:
        lines.append(f"parameters: {before:,} -> {after:,} ({after - before:+,})")
    return lines


def _layer(layer: LayerChange) -> list[str]:
    name = f"[{layer.type}]"
    if layer.a is None:
        return [f"+ {layer.b} {name} {_values(layer)}".rstrip()]
    if layer.b is None:
        return [f"- {layer.a} {name} {_values(layer)}".rstrip()]
    number = f"{layer.a}" if layer.a == layer.b else f"{layer.a} -> {layer.b}"
    known = keys_of(section_types()[layer.type])
    lines = []
    for change in layer.changes:
        lines.append(f"  {number} {name} {_change(change)}")
        if change.key in known and known[change.key].own:  # users of darknet do not know it
            lines.append(f"      ({known[change.key].says})")
    return lines


def _values(layer: LayerChange) -> str:
    """The values of the layer that are not defaults."""
    known = keys_of(section_types()[layer.type])
    values = layer.values.items()
    return " ".join(f"{k}={written(v)}" for k, v in values if _is_changed(known, k, v))


def _is_changed(known: dict[str, Any], key: str, value: Any) -> bool:
    return key in known and key != "hidden" and value != known[key].default


def _change(change: Change) -> str:
    return f"{change.key}: {_value(change.a)} -> {_value(change.b)}"


def _value(value: Any) -> str:
    return "none" if value is None else written(value) or "none"
