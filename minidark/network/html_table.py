"""Tables for notebooks: HTML without its own styles, so that it fits any theme."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from html import escape

from minidark.errors import number_of
from minidark.layers.base import Layer


def network_table(layers: Sequence[Layer], size: int, seen: int) -> str:
    """The layers of a network with `size` parameters that has seen so many rows."""
    rows = [
        (layer.name, layer.inputs, layer.outputs, sum(p.value.size for p in layer.parameters()))
        for layer in layers
    ]
    streams = number_of(layers[0].streams, "stream")
    title = f"{size:,} parameters, {streams}, {seen:,} rows seen"
    return html_table(title, ("layer", "inputs", "outputs", "parameters"), rows)


def html_table(title: str, head: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    """Text is left-aligned; numbers are right-aligned with commas between thousands."""
    begin = f"<table><caption>{escape(title)}</caption>" if title else "<table>"
    heads = "".join(f"<th>{escape(name)}</th>" for name in head)
    body = "".join(f"<tr>{''.join(map(_cell, row))}</tr>" for row in rows)
    return f"{begin}<thead><tr>{heads}</tr></thead><tbody>{body}</tbody></table>"


def _cell(value: object) -> str:
    if isinstance(value, int):
        return f'<td style="text-align:right">{value:,}</td>'
    return f'<td style="text-align:left">{escape(str(value))}</td>'
