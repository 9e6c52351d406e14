"""Texts of tokens: integers instead of bytes, with names for printing.

A tokenized text is integers separated by spaces. A token file has one name per line; line n (from
0) names token n. darknet prints a name with a space after it, and <NEWLINE> as a line break.

Finding the n-th token requires reading all before it. So a tokenized text is read once, in pieces,
and kept in memory: one, two or four bytes a token, depending on the network's number of symbols.
Every token is checked before training begins.

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
DIGITS = 9  # most digits of a token
LONGEST = 1 + DIGITS  # with a sign


class TokenText(TextInMemory):
    """The tokens of a file, in memory. Raises DataError at the first invalid one."""

    tokenized = True

    def __init__(self, path: Path | str, inputs: int):
        kind = np.min_scalar_type(inputs - 1)
        pieces = [np.empty(0, kind)]
        with open_regular(path, named(path, DataError)) as file:
            identity = Identity.of(path, file)
            pieces += [ids.astype(kind) for ids in token_blocks(file, path, inputs)]
        super().__init__(np.concatenate(pieces), inputs, identity)
        if not self.size:
            raise DataError(f"{path}: empty; a tokenized text is integers separated by spaces")


def token_blocks(file: BinaryIO, path: Path | str, inputs: int) -> Iterator[Ids]:
    """The tokens of an open file, in pieces: ids (N,). `path` is for messages. Raises DataError at
    the first token that is not below `inputs`."""
    count = 0
    for words in _words(file):
        ids = [_token(word, count + n, path, inputs) for n, word in enumerate(words)]
        count += len(ids)
        if ids:
            yield np.array(ids, np.intp)


def _words(file: BinaryIO) -> Iterator[list[bytes]]:
    """Words between white space, from one piece of the file at a time. A word longer than any token
    may be split."""
    begun = b""  # a word that continues in the next piece
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
    """The printed form of each token: its name and a space. Raises DataError for too few names."""
    with open_regular(path, named(path, DataError)) as file:
        names = file.read().splitlines()
    if len(names) < tokens:
        raise DataError(f"{path}: {len(names)} names; this network has {tokens} tokens")
    return [(b"\n" if name == NEWLINE else name) + b" " for name in names]


def byte_names(outputs: int = 256) -> list[bytes]:
    """The printed form of each byte: the byte itself. All 256 are included, because a seed may
    contain bytes that the network has no output for. Raises DataError for more than 256 outputs."""
    if outputs > 256:
        raise DataError(f"{outputs} symbols do not fit into bytes; name them with a tokens file")
    return [bytes([symbol]) for symbol in range(256)]
