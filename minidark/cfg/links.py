"""Which layers a layer reads: the one before it, or those that its keys name.

`linked` finds them and checks them; it also gives the layer its width, which may be theirs.

Source: darknet src/parser.c (parse_route, parse_shortcut), which reads any number that is named.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from minidark.cfg import options as o
from minidark.cfg.keys import LARGEST_INT
from minidark.cfg.sections import Section
from minidark.cfg.sizes import Size
from minidark.errors import WrongLayerError

NAMING = {"layers", "from", "tied"}  # keys that name layers


@dataclass(frozen=True, slots=True)
class PlannedLayer:
    """inputs: numbers in each row that it reads, of all its `reads` together. reads: the numbers of
    the layers that it reads; -1 is the network's input. tied: the layer whose weights it shares."""

    section: Section
    options: o.LayerOptions
    inputs: int
    size: Size
    reads: tuple[int, ...]
    tied: int | None = None


def line_of(section: Section, *keys: str) -> int:
    """The line of the first of these keys that is present, or of the section."""
    return next((section.pairs[key].line for key in keys if key in section.pairs), section.line)


def linked(
    section: Section,
    options: o.LayerOptions,
    below: Sequence[PlannedLayer],
    inputs: int,
    path: Path | str | None = None,
) -> PlannedLayer:
    """The layer after the layers `below`, in a network of `inputs`. Raises WrongLayerError, at its
    line, if a key names a layer that it cannot use."""
    number = len(below)
    for key, named in options.named():
        if complaint := _unusable(named, below):
            raise _wrong(section, path, f"{key}={named} {complaint}")
    options = options.counted_from(number)
    names = [number + named for _, named in options.named()]
    others = [below[name] for name in names]
    before = below[-1].size.outputs if below else inputs
    if isinstance(options, o.RouteOptions):
        width = sum(other.size.outputs for other in others)
        if not others or width > LARGEST_INT:
            raise _wrong(section, path, _not_joined(width))
        return PlannedLayer(section, options, width, options.size(width), (*names,))
    if isinstance(options, o.ShortcutOptions):
        if complaint := _not_added(section, before, others):
            raise _wrong(section, path, complaint)
        size = options.size(2 * before)
        return PlannedLayer(section, options, 2 * before, size, (number - 1, *names))
    layer = plain(section, options, number, before)
    if isinstance(options, o.ConnectedOptions) and others:
        if complaint := _not_tied(section, options, before, *others):
            raise _wrong(section, path, complaint)
        options = dataclasses.replace(options, output=others[0].inputs)
        size = options.size(before)
        layer = dataclasses.replace(layer, options=options, size=size, tied=names[0])
    return layer


def plain(section: Section, options: o.LayerOptions, number: int, before: int) -> PlannedLayer:
    """A layer that reads only the previous one, of `before` outputs."""
    return PlannedLayer(section, options, before, options.size(before), (number - 1,))


def _wrong(section: Section, path: Path | str | None, message: str) -> WrongLayerError:
    """The error at the line of the key that the message begins with."""
    return WrongLayerError(message, path, line_of(section, message.partition("=")[0]))


def _unusable(named: int, below: Sequence[PlannedLayer]) -> str | None:
    """What is wrong with a layer that the layer after `below` names."""
    number = len(below)
    at = named if named >= 0 else number + named
    if not number:
        return "names a layer, but this is the first one; a layer reads those before it"
    if not 0 <= at < number:
        return (
            f"is not before layer {number}, which reads layers 0 to {number - 1}, or -{number} to "
            "-1 counted from itself"
        )
    if below[at].options.gives_symbols:
        return f"is [{below[at].section.type}]; only the next layer reads its symbols"
    return None


def _not_joined(width: int) -> str:
    if not width:
        return "[route] needs layers=N, or several: layers=-1,-3"
    return f"layers={width} numbers side by side, beyond {LARGEST_INT}, darknet's largest int"


def _not_added(section: Section, before: int, others: Sequence[PlannedLayer]) -> str | None:
    if not others:
        return "[shortcut] needs from=N, the layer to add: from=-2"
    if before == others[0].size.outputs:
        return None
    return (
        f"from={section.pairs['from'].value} is {others[0].size.outputs} wide, and the layer "
        f"before this one {before}; [shortcut] adds equal widths"
    )


def _not_tied(
    section: Section, options: o.ConnectedOptions, before: int, other: PlannedLayer
) -> str | None:
    """Why the layer cannot use the weights of another; it begins with the key."""
    name, theirs = f"tied={section.pairs['tied'].value}", other.options
    if not _shares(theirs):
        return (
            f"{name} is not a [connected] with activation=linear, and without batch_normalize and "
            "tied; only such weights are shared"
        )
    if before != other.size.outputs:
        return f"{name} is {other.size.outputs} wide, and the input of this layer {before}"
    if "output" in section.pairs and options.output != other.inputs:
        return f"output={options.output}, but {name} reads {other.inputs}; remove output"
    if options.batch_normalize:
        return f"batch_normalize=1, but {name}: batch norm needs weights of its own"
    return None


def _shares(options: o.LayerOptions) -> bool:
    """Whether another layer may be tied to this one."""
    if not isinstance(options, o.ConnectedOptions):
        return False
    linear = options.activation == "linear" and not options.batch_normalize
    return linear and options.tied is None
