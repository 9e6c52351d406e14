"""Errors, each with a message of one line.

Every error that a caller can cause is a `MinidarkError`. Its message names the place (file and
line, or layer and array), the expected value and the remedy. The command line prints the message
after `minidark: error:`, and maps the class to an exit code (`minidark.cli.exits`).
"""

from __future__ import annotations

import difflib
import functools
import re
from collections.abc import Iterable
from pathlib import Path

OVERRIDDEN = 0  # line number of a key that an override set


class MinidarkError(Exception):
    """Base class of all errors that minidark raises on purpose."""


class CfgError(MinidarkError):
    """A cfg is missing or wrong. Text: `path:line: message`, without unknown parts."""

    def __init__(self, message: str, path: Path | str | None = None, line: int | None = None):
        super().__init__(f"{place(path, line)}{message}")
        self.message, self.path, self.line = message, path, line


class WrongLayerError(CfgError):
    """A layer cannot have this option: an unknown activation, or groups that do not divide its
    inputs."""


class OverrideError(CfgError):
    """An override is not `section.key=value`, or names a section that the cfg does not have.
    `text` is the override, `problem` the rest of the message."""

    def __init__(self, text: str, problem: str):
        super().__init__(f"override {echo(text)}{problem}")
        self.text, self.problem = text, problem


class WeightsError(MinidarkError):
    """A weight file is missing or damaged, or does not fit the network. `payload` is the number of
    bytes after the header, if it does not match the network."""

    def __init__(self, message: str, payload: int | None = None):
        super().__init__(message)
        self.payload = payload


class DataError(MinidarkError):
    """Input arrays or a text are missing, or do not fit the network."""


class BackendError(MinidarkError):
    """The requested device, or a library that it needs, is missing."""


class DivergedError(MinidarkError):
    """The cost became NaN or infinite."""


class SaveError(MinidarkError):
    """A file could not be written or synced to disk. It holds its old or its new bytes, complete;
    the message says which."""


def place(path: Path | str | None, line: int | None) -> str:
    """The prefix "path:line: " of a message, without unknown parts."""
    if path is None:
        return ""
    if line == OVERRIDDEN:
        return f"{path} as overridden: "
    return f"{path}: " if line is None else f"{path}:{line}: "


CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f]")


def visible(text: str) -> str:
    """Escape control characters, which a terminal would obey; keep line breaks and tabs."""
    return CONTROL.sub(lambda match: f"\\x{ord(match[0]):02x}", text)


LONGEST_ECHO = 40  # characters
LONGEST_MESSAGE = 2000  # characters
LONGEST_WORD = 100  # characters, of a path between two slashes
WORD = re.compile(rf"[^\s/:]{{{LONGEST_WORD + 1},}}")


def one_line(text: str) -> str:
    """A message as one readable line: control characters and line breaks escaped, long names and
    numbers cut."""
    return cut(shortened(visible(text).replace("\n", "\\n")), LONGEST_MESSAGE)


def shortened(text: str) -> str:
    """Cut words longer than 100 characters; only names and numbers are that long."""
    return WORD.sub(lambda match: cut(match[0], LONGEST_WORD), text)


def echo(value: object, longest: int = LONGEST_ECHO) -> str:
    """A value for an error message: its repr, cut to 40 characters."""
    try:
        return cut(repr(value), longest)
    except ValueError:  # Python refuses to format integers with more than 4,300 digits
        return "a number with thousands of digits"


def bare(name: str, longest: int = LONGEST_ECHO) -> str:
    """A name for an error message: unquoted, unprintable characters escaped, cut."""
    return cut(repr(str(name))[1:-1], longest)


def number_of(count: int, noun: str) -> str:
    """A count with its noun: "1 stream", "2,500 batches"."""
    ending = "" if count == 1 else "es" if noun.endswith(("ch", "s")) else "s"
    return f"{count:,} {noun}{ending}"


def not_one_of(word: str, known: Iterable[str]) -> str:
    """ "not one of relu, tanh (did you mean 'relu'?)"."""
    return f"not one of {', '.join(known)}{nearest(word, known)}"


def nearest(word: str, known: Iterable[str]) -> str:
    """ " (did you mean 'output'?)", or "" if no known word is similar."""
    return _nearest(word, tuple(known)) if len(word) <= LONGEST_ECHO else ""


@functools.lru_cache(maxsize=256)  # a cfg may repeat a wrong word in every section
def _nearest(word: str, known: tuple[str, ...]) -> str:
    near = difflib.get_close_matches(word, known, n=1)
    return f" (did you mean '{near[0]}'?)" if near else ""


def cut(text: str, longest: int) -> str:
    """At most `longest` characters; a cut text ends in three dots."""
    return text if len(text) <= longest else f"{text[: longest - 3]}..."
