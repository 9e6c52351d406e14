"""Escapes such as \\n in the texts of options, for --escapes."""

from __future__ import annotations

import re

import click

PLAIN = {"n": b"\n", "r": b"\r", "t": b"\t", "0": b"\0", "\\": b"\\"}
ESCAPE = re.compile(r"\\(x[0-9a-fA-F]{2}|u[0-9a-fA-F]{4}|.?)", re.DOTALL)
KNOWN = r"\n, \r, \t, \0, \\, \xHH (a byte) and \uHHHH"


def encoded(text: str, escapes: bool) -> bytes:
    """The bytes of an option's text; with `escapes`, each escape is the bytes that it stands for.
    Raises UsageError for an unknown escape."""
    if not escapes:
        return text.encode("utf-8", "surrogateescape")
    parts, at = [], 0
    for match in ESCAPE.finditer(text):
        parts += [text[at : match.start()].encode("utf-8", "surrogateescape"), _bytes_of(match[1])]
        at = match.end()
    return b"".join([*parts, text[at:].encode("utf-8", "surrogateescape")])


def _bytes_of(name: str) -> bytes:
    """The bytes of an escape without its backslash."""
    if name in PLAIN:
        return PLAIN[name]
    if len(name) == 3:
        return bytes.fromhex(name[1:])
    character = chr(int(name[1:], 16)) if len(name) == 5 else "\ud800"
    try:
        return character.encode()
    except UnicodeEncodeError:  # half of a UTF-16 character, or no known escape
        raise click.UsageError(f"\\{name} is not an escape; use {KNOWN}") from None
