"""The characters of UTF-8 text whose bytes are the symbols of a network."""

from __future__ import annotations

import codecs

import numpy as np
import numpy.typing as npt


def characters(text: bytes) -> tuple[list[str], npt.NDArray[np.intp]]:
    """The C characters of a text, and the index of the last byte of each (C,).

    A byte that is not valid UTF-8 is a character by itself, U+DC80 and up, as Python's
    `surrogateescape` has it.
    """
    decoded = [*text.decode("utf-8", "surrogateescape")]
    sizes = [len(one.encode("utf-8", "surrogateescape")) for one in decoded]
    return decoded, np.cumsum(sizes, dtype=np.intp) - 1


def whole_characters(text: bytes) -> bytes:
    """A text that was cut, without the beginning of the character at the cut."""
    decoder = codecs.getincrementaldecoder("utf-8")("surrogateescape")
    decoder.decode(text)
    pending, _ = decoder.getstate()
    return text[: len(text) - len(pending)]
