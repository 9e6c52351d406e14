"""Standard output, piece by piece: text as it is sampled, lines as they are computed."""

from __future__ import annotations

import codecs
import os
import sys
from collections.abc import Iterable, Iterator

import click

from minidark.errors import visible


def say(text: str) -> None:
    """Lines of words and figures; names in them may hold what a terminal would obey."""
    click.echo(visible(text))


def write(parts: Iterable[bytes]) -> None:
    """Each as it comes."""
    for part in parts:
        sys.stdout.buffer.write(part)
        sys.stdout.buffer.flush()


def discard_output() -> None:
    """Nobody reads on: what is still to be written goes nowhere, at exit too."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def whole_characters(parts: Iterable[bytes]) -> Iterator[bytes]:
    """The same bytes, cut so that no character of UTF-8 comes in two pieces, which a terminal would
    show as two that are none. Bytes that are no UTF-8 pass as they are."""
    decoder = codecs.getincrementaldecoder("utf-8")("surrogateescape")
    for part in parts:
        if text := decoder.decode(part):
            yield text.encode("utf-8", "surrogateescape")
    if rest := decoder.decode(b"", final=True):
        yield rest.encode("utf-8", "surrogateescape")
