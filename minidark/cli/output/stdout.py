"""The only module that writes to standard output.

If writing fails, for instance on a full disk, the result is an `OutputError`: one line and exit
code 1. A reader that closes the pipe, as `head` does, causes no error. After both, nothing more is
written, not even by Python's flush at exit.
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
    """Turn an OSError of any write, including click's help, into an OutputError."""
    try:
        yield
    except BrokenPipeError:
        raise
    except OSError as error:
        discard_output()
        reason = error.strerror or error
        raise OutputError(f"standard output: cannot write: {reason}") from error


def say(text: str = "", end: str = "\n") -> None:
    """Write text, with control characters escaped; names may contain them."""
    say_styled(visible(text) + end)


def say_styled(text: str) -> None:
    """Write text that contains escape sequences for the terminal."""
    with checked():
        click.echo(text, nl=False)


def say_json(value: Any, ascii_only: bool = True) -> None:
    """Write a line of JSON."""
    say_styled(json_text(value, ascii_only) + "\n")


def json_text(value: Any, ascii_only: bool = True) -> str:
    """JSON with all control characters escaped."""
    text = json.dumps(value, ensure_ascii=ascii_only)
    return CONTROL.sub(lambda match: f"\\u{ord(match[0]):04x}", text)


def write(parts: Iterable[bytes]) -> None:
    """Write and flush each part as it arrives."""
    for part in parts:
        with checked():
            sys.stdout.buffer.write(part)
            sys.stdout.buffer.flush()


def flush() -> None:
    """Flush. Raises OutputError; a closed pipe is not an error."""
    try:
        with checked():
            sys.stdout.flush()
    except BrokenPipeError:
        discard_output()


def discard_output() -> None:
    """Discard all later output, also at exit."""
    discard(sys.stdout)


def discard(stream: Any) -> None:
    """Redirect a stream of the process to the null device."""
    with contextlib.suppress(OSError, ValueError):
        nowhere = os.open(os.devnull, os.O_WRONLY)
        try:
            os.dup2(nowhere, stream.fileno())
        finally:
            os.close(nowhere)


def whole_characters(parts: Iterable[bytes]) -> Iterator[bytes]:
    """Regroup the bytes so that no UTF-8 character is split; a terminal would show a split one as
    invalid. Invalid bytes pass unchanged."""
    decoder = codecs.getincrementaldecoder("utf-8")("surrogateescape")
    for part in parts:
        if text := decoder.decode(part):
            yield text.encode("utf-8", "surrogateescape")
    if rest := decoder.decode(b"", final=True):
        yield rest.encode("utf-8", "surrogateescape")
