"""Text on a terminal, with each character tinted by its bits.

There are five steps of one hue, from no background to a dark one. The last step is also bold and
underlined, so the order is visible without distinguishing colours. Without 256 colours, or with
NO_COLOR, underline, bold and reverse replace the tints. rich detects the abilities of the terminal.
"""

from __future__ import annotations

import codecs
import re
from collections.abc import Iterable, Iterator
from itertools import groupby

import numpy as np
import numpy.typing as npt
from rich.color import ColorSystem
from rich.console import Console
from rich.style import Style

from minidark.data.text import Ids

STEPS = (1.0, 2.0, 4.0, 8.0)  # bits at which the next style begins
TINTS = tuple(
    map(
        Style.parse,
        ("", "#000000 on #fde0c5", "#000000 on #f8b37f", "#000000 on #d9772b",
         "bold underline #ffffff on #8f3d05"),
    )
)  # fmt: skip
PLAIN = tuple(map(Style.parse, ("", "", "underline", "bold underline", "bold underline reverse")))
COLORS = {"truecolor": ColorSystem.TRUECOLOR, "256": ColorSystem.EIGHT_BIT}

NOT_SHOWN = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\udc80-\udcff]")  # control characters


class Tint:
    """Tints characters for a terminal. `on` is False without a terminal; the caller should then
    write the text unchanged."""

    def __init__(self, console: Console):
        system = console.color_system
        self.on = system is not None
        colored = system in COLORS and not console.no_color
        self.styles = TINTS if colored else PLAIN
        self.system = COLORS[system] if colored and system else ColorSystem.STANDARD
        self._decoder = codecs.getincrementaldecoder("utf-8")("surrogateescape")
        self._bits = 0.0  # of the bytes of an incomplete character

    def legend(self) -> str:
        bounds = [f"below {STEPS[0]:g} bit", *(f"{step:g} and more" for step in STEPS)]
        shown = (self._render(f" {bound} ", step) for step, bound in enumerate(bounds))
        return " ".join(shown)

    def text(self, symbols: Ids, bits: npt.NDArray[np.float64]) -> str:
        """The tinted characters that these bytes complete, each with the bits of all its bytes."""
        steps = self._characters(zip(symbols.tolist(), bits.tolist(), strict=True))
        runs = groupby(steps, key=lambda pair: pair[1])
        return "".join(self._render("".join(c for c, _ in run), step) for step, run in runs)

    def rest(self) -> str:
        """The bytes of an incomplete character at the end of the text."""
        characters = self._decoder.decode(b"", final=True)
        return self._render(characters, self._step()) if characters else ""

    def _step(self) -> int:
        return int(np.searchsorted(STEPS, self._bits, side="right"))

    def _characters(self, pairs: Iterable[tuple[int, float]]) -> Iterator[tuple[str, int]]:
        for symbol, bits in pairs:
            self._bits += bits
            if characters := self._decoder.decode(bytes([symbol])):
                step, self._bits = self._step(), 0.0
                yield from ((character, step) for character in characters)

    def _render(self, text: str, step: int) -> str:
        shown = NOT_SHOWN.sub(lambda match: f"\\x{ord(match[0]) & 0xFF:02x}", text)
        style = self.styles[step]
        if not style:
            return shown
        lines = shown.split("\n")  # a line break has no width to tint, so a sign marks it
        marked = [line + "\N{DOWNWARDS ARROW WITH CORNER LEFTWARDS}" for line in lines[:-1]]
        rendered = (
            style.render(line, color_system=self.system) if line else ""
            for line in [*marked, lines[-1]]
        )
        return "\n".join(rendered)
