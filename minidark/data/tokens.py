"""Texts of tokens: integers in place of bytes, and names to print them by.

A tokenized text is integers between blanks; a token file has one name a line, line n (from 0)
naming token n. darknet prints a name with a blank after it, and <NEWLINE> as a line break.

Where the n-th token stands is known only to who has read the n - 1 before it, so a tokenized text
is read once, a piece at a time, and then held in memory: one, two or four bytes a token, by the
network's number of symbols. Every token is checked before training begins.

Source: darknet examples/rnn.c (read_tokenized_data, read_tokens, print_symbol).
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

import numpy as np

from minidark.data.identity import Identity
from minidark.data.text import Ids, TextInMemory
from minidark.errors import DataError, echo
from minidark.files.disk import named, open_regular

NEWLINE = b"<NEWLINE>"
PIECE = 2**20  # bytes
DIGITS = 9  # of the longest token
LONGEST = 1 + DIGITS  # with a sign


class TokenText(TextInMemory):
    """The tokens of a file, held in memory. Raises DataError at the first that is none."""

    tokenized = True

    def __init__(self, path: Path | str, inputs: int):
        kind = np.min_scalar_type(inputs - 1)
        pieces = [np.empty(0, kind)]
        with open_regular(path, named(path, DataError)) as file:
            identity = Identity.of(path, file)
            pieces += [ids.astype(kind) for ids in token_blocks(file, path, inputs)]
        super().__init__(np.concatenate(pieces), inputs, identity)
        if not self.size:
            raise DataError(f"{path}: empty; a tokenized text is integers between blanks")


def token_blocks(file: BinaryIO, path: Path | str, inputs: int) -> Iterator[Ids]:
    """The tokens of an open file, a piece at a time: ids (N,). `path` is for messages. Raises
    DataError at the first that is none of `inputs`."""
    before = 0
    for words in _words(file):
        ids = [_token(word, before + n, path, inputs) for n, word in enumerate(words)]
        before += len(ids)
        if ids:
            yield np.array(ids, np.intp)


def _words(file: BinaryIO) -> Iterator[list[bytes]]:
    """What stands between blanks, a piece of the file at a time; what is too long for a token may
    come in pieces itself."""
    begun = b""  # a word whose end has not been read
    while data := file.read(PIECE):
        words = (begun + data).split()
        begun = b"" if data[-1:].isspace() or len(words[-1]) > LONGEST else words.pop()
        yield words
    yield [begun] if begun else []


def _token(word: bytes, number: int, path: Path | str, inputs: int) -> int:
    text = word.decode(errors="replace")
    if not re.fullmatch(f"[+-]?[0-9]{{1,{DIGITS}}}", text):
        raise DataError(f"{path}: token {number} is {echo(text)}, not an integer")
    if not 0 <= int(text) < inputs:
        raise DataError(f"{path}: token {number} is {text}; this network's are 0 to {inputs - 1}")
    return int(text)


def read_token_names(path: Path | str, tokens: int) -> list[bytes]:
    """What each token prints as: its name and a blank. Raises DataError for too few names."""
    with open_regular(path, named(path, DataError)) as file:
        names = file.read().splitlines()
    if len(names) < tokens:
        raise DataError(f"{path}: {len(names)} names; this network has {tokens} tokens")
    return [(b"\n" if name == NEWLINE else name) + b" " for name in names]


def byte_names(outputs: int = 256) -> list[bytes]:
    """What each byte prints as where there are no names, itself: those that a network has no output
    for may stand in a seed. Raises DataError for more outputs than a byte has values."""
    if outputs > 256:
        raise DataError(f"{outputs} symbols are more than a byte has; name them by tokens")
    return [bytes([symbol]) for symbol in range(256)]
