"""The texts that commands read: bytes, tokens, or the words and characters of a vocabulary."""

from __future__ import annotations

from collections.abc import Sequence

import click

from minidark.data.text import Symbols, Text
from minidark.data.tokens import TokenText
from minidark.data.vocabulary import NamedText, Vocabulary
from minidark.network import Network


def open_text(
    paths: Sequence[str], net: Network, tokenized: bool, tokens: str | None = None
) -> Symbols:
    """The texts, as bytes or tokens. tokens: a file with the names of the symbols."""
    if not (tokenized or tokens):
        return Text(paths, net.inputs)
    if len(paths) > 1:
        raise click.UsageError(f"--{'tokens' if tokens else 'tokenized'} takes one file")
    if tokens:
        return NamedText(paths[0], Vocabulary.read(tokens, net.inputs))
    return TokenText(paths[0], net.inputs)
