"""The options of [attention], which no darknet has."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from minidark.cfg.keys import AT_LEAST_0, AT_LEAST_1, key, name_key
from minidark.cfg.layer_options import LayerOptions
from minidark.cfg.sizes import Size, sublayers

OVER_PAST, OVER_SOURCE = "past", "source"
TAB = 9


def _sublayer(says: str) -> Any:
    return key(True, None, says, own=True)


@dataclass(frozen=True, slots=True)
class AttentionOptions(LayerOptions):
    """Looks back: a mean of earlier steps' values, weighted by query times key (minidark's own)."""

    is_recurrent = True
    over: str = name_key(
        OVER_PAST,
        (OVER_PAST, OVER_SOURCE),
        "past: sees itself and earlier steps; source: those up to the first separator",
        own=True,
    )
    heads: int = key(1, AT_LEAST_1, "attentions side by side", own=True)
    keys: int | None = key(
        None, AT_LEAST_1, "width of a head; inputs / heads, unless given", own=True
    )
    output: int = key(0, AT_LEAST_0, "width of the sublayer output; 0 leaves it out")
    memory: int = key(256, AT_LEAST_1, "steps that are seen at most, itself included", own=True)
    separator: int = key(
        TAB, AT_LEAST_0, "of over=source: the symbol that ends a source; 9 is a tab", own=True
    )
    query: bool = _sublayer("0 leaves this sublayer out: the inputs are the queries")
    value: bool = _sublayer("0 leaves this sublayer out: the inputs, split, are the values")
    # The last one, because it hides the function of this name from the lines below it.
    key: bool = _sublayer("0 leaves this sublayer out: the inputs are the keys")

    def size(self, inputs: int) -> Size:
        wide = self.heads * (self.keys or max(1, inputs // self.heads))
        width = wide if self.value else inputs  # of all heads' values
        shapes = [(inputs, wide)] * (self.query + self.key + self.value)
        shapes += [(width, self.output)] * bool(self.output)
        source = self.over == OVER_SOURCE  # then how many rows are keys depends on the text
        kept = wide * (self.query + (0 if source else self.key + self.value)) + width + self.output
        state = self.memory * inputs + 1 + source
        return sublayers(self.output or width, False, *shapes, state=state, kept=kept)

    def misfit(self, inputs: int) -> str | None:
        if inputs % self.heads and (self.keys is None or not self.value):
            return f"heads={self.heads} does not divide {inputs} inputs"
        wide = self.heads * (self.keys or inputs // self.heads)
        if wide == inputs or (self.query and self.key):
            return None
        missing = "key" if self.query else "query"
        return (
            f"keys={self.keys} of {self.heads} heads are {wide} wide; without {missing} they must "
            f"be as wide as the {inputs} inputs"
        )
