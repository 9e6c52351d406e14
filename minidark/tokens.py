"""Texts of tokens: integers in place of bytes, and names to print them by.

A tokenized text is integers between blanks; a token file has one name a line, line n (from 0)
naming token n. darknet prints a name with a blank after it, and <NEWLINE> as a line break.

Source: darknet examples/rnn.c (read_tokenized_data, read_tokens, print_symbol).
"""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np

from minidark.errors import DataError, MinidarkError, echo
from minidark.files import named, open_regular
from minidark.text import Ids, Symbols

NEWLINE = b"<NEWLINE>"


class TokenText(Symbols):
    """The tokens of a file, held in memory. Raises DataError at the first that is none."""

    def __init__(self, path: Path | str, inputs: int):
        with open_regular(path, named(path, DataError)) as file:
            words = file.read().split()
        if not words:
            raise DataError(f"{path}: empty; a tokenized text is integers between blanks")
        ids = [_token(word, number, path, inputs) for number, word in enumerate(words)]
        self.ids = np.array(ids, dtype=np.intp)
        self.inputs = inputs
        self.size = len(ids)

    def read(self, start: int, stop: int) -> Ids:
        return self.ids[start:stop]


def _token(word: bytes, number: int, path: Path | str, inputs: int) -> int:
    text = word.decode(errors="replace")
    if not re.fullmatch("[0-9]{1,9}", text):
        raise DataError(f"{path}: token {number} is {echo(text)}, not an integer")
    if int(text) >= inputs:
        raise DataError(f"{path}: token {number} is {text}; this network's are 0 to {inputs - 1}")
    return int(text)


def read_token_names(path: Path | str, outputs: int) -> list[bytes]:
    """What each token prints as: its name and a blank. Raises DataError for too few names."""
    with open_regular(path, named(path, DataError)) as file:
        names = file.read().splitlines()
    if len(names) < outputs:
        raise DataError(f"{path}: {len(names)} names; this network has {outputs} tokens")
    return [(b"\n" if name == NEWLINE else name) + b" " for name in names]


def byte_names(outputs: int = 256) -> list[bytes]:
    """What each symbol prints as where there are no names: itself."""
    if outputs > 256:
        raise MinidarkError(f"{outputs} symbols are more than a byte has; name them by tokens")
    return [bytes([symbol]) for symbol in range(outputs)]
