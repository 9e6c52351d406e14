"""The options of [route] and [shortcut], which join outputs of several layers.

Source: darknet src/parser.c (parse_route, parse_shortcut).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Self

from minidark.cfg.keys import key, name_key
from minidark.cfg.layer_options import ACTIVATIONS, LayerOptions, counted
from minidark.cfg.sizes import Size


@dataclass(frozen=True, slots=True)
class RouteOptions(LayerOptions):
    """The outputs of earlier layers, side by side in the order of `layers`."""

    layers: tuple[int, ...] = key(
        (), None, "their numbers: -1 is the layer before this one, 0 the first of the network"
    )

    def size(self, inputs: int) -> Size:
        return Size(inputs, kept=inputs)

    def named(self) -> Iterator[tuple[str, int]]:
        return (("layers", n) for n in self.layers)

    def counted_from(self, number: int) -> Self:
        return replace(self, layers=tuple(counted(number, n) for n in self.layers))


@dataclass(frozen=True, slots=True)
class ShortcutOptions(LayerOptions):
    """The sum of the previous layer's output and an earlier one's: y = activation(x + from)."""

    from_: int | None = key(None, None, "the earlier layer, numbered as in [route]", name="from")
    activation: str = name_key("linear", ACTIVATIONS, "of the sum")

    def size(self, inputs: int) -> Size:
        return Size(inputs // 2, kept=inputs // 2)

    def named(self) -> Iterator[tuple[str, int]]:
        return iter(() if self.from_ is None else [("from", self.from_)])

    def counted_from(self, number: int) -> Self:
        return self if self.from_ is None else replace(self, from_=counted(number, self.from_))
