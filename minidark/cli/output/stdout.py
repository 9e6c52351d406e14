"""Standard output: the one place that writes to it.

A full disk or a descriptor that cannot be written is an `OutputError`, one line and exit code 1. A
reader that goes away, as `head` does, is no error. After either, nothing more is written, not even
what Python would flush at its end.
"""

from __future__ import annotations

import codecs
import contextlib
import json
import os
import sys
from collections.abc import Iterable, Iterator
from typing import Any

import click

from minidark.errors import CONTROL, MinidarkError, visible


class OutputError(MinidarkError):
    """Standard output cannot be written."""


@contextlib.contextmanager
def checked() -> Iterator[None]:
    """Around whatever writes, click's help too: an OSError becomes an OutputError."""
    try:
        yield
    except BrokenPipeError:
        raise
    except OSError as error:
        discard_output()
        reason = error.strerror or error
        raise OutputError(f"standard output: cannot write: {reason}") from error


def say(text: str = "", end: str = "\n") -> None:
    """Lines of words and figures; names in them may hold what a terminal would obey."""
    say_styled(visible(text) + end)


def say_styled(text: str) -> None:
    """Text in which a terminal is to obey what it finds."""
    with checked():
        click.echo(text, nl=False)


def say_json(value: Any, ascii_only: bool = True) -> None:
    """A line of JSON."""
    say_styled(json_text(value, ascii_only) + "\n")


def json_text(value: Any, ascii_only: bool = True) -> str:
    """JSON in which no control character is left that a terminal would obey."""
    text = json.dumps(value, ensure_ascii=ascii_only)
    return CONTROL.sub(lambda found: f"\\u{ord(found[0]):04x}", text)


def write(parts: Iterable[bytes]) -> None:
    """Each as it comes."""
    for part in parts:
        with checked():
            sys.stdout.buffer.write(part)
            sys.stdout.buffer.flush()


def flush() -> None:
    """Bring everything to its reader. Raises OutputError; a reader that went away is no error."""
    try:
        with checked():
            sys.stdout.flush()
    except BrokenPipeError:
        discard_output()


def discard_output() -> None:
    """What is still to be written goes nowhere, at exit too."""
    discard(sys.stdout)


def discard(stream: Any) -> None:
    """Let a stream of the process lead nowhere."""
    with contextlib.suppress(OSError, ValueError):
        nowhere = os.open(os.devnull, os.O_WRONLY)
        try:
            os.dup2(nowhere, stream.fileno())
        finally:
            os.close(nowhere)


def whole_characters(parts: Iterable[bytes]) -> Iterator[bytes]:
    """The same bytes, cut so that no character of UTF-8 comes in two pieces, which a terminal would
    show as two that are none. Bytes that are no UTF-8 pass as they are."""
    decoder = codecs.getincrementaldecoder("utf-8")("surrogateescape")
    for part in parts:
        if text := decoder.decode(part):
            yield text.encode("utf-8", "surrogateescape")
    if rest := decoder.decode(b"", final=True):
        yield rest.encode("utf-8", "surrogateescape")
