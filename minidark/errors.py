"""What can go wrong, said in one line.

Every error that a caller can cause is a `MinidarkError`. Its text names the place (file and
line, or layer and array), what was expected, and what to do; the command line prints it
behind `minidark: error:` and turns its class into an exit code (`minidark.cli.exits`).
"""

from __future__ import annotations

import difflib
import functools
import re
from collections.abc import Iterable
from pathlib import Path

OVERRIDDEN = 0  # the line of a cfg's key that was set from outside the file


class MinidarkError(Exception):
    """Base of all errors raised on purpose."""


class CfgError(MinidarkError):
    """A cfg is missing or wrong. Text: `path:line: message`, as far as both are known."""

    def __init__(self, message: str, path: Path | str | None = None, line: int | None = None):
        super().__init__(f"{place(path, line)}{message}")
        self.message, self.path, self.line = message, path, line


class WrongLayerError(CfgError):
    """A layer is asked for something that it does not have: an activation, or groups that do not
    divide its inputs."""


class OverrideError(CfgError):
    """What was to be set from outside a cfg is no setting, or of no section that the cfg has.
    `text` is what was given, `said` what is wrong with it."""

    def __init__(self, text: str, said: str):
        super().__init__(f"override {echo(text)}{said}")
        self.text, self.said = text, said


class WeightsError(MinidarkError):
    """A weight file is missing, is damaged, or does not fit the network. `payload` is the bytes
    behind the header, where their number is what does not fit."""

    def __init__(self, message: str, payload: int | None = None):
        super().__init__(message)
        self.payload = payload


class DataError(MinidarkError):
    """Input arrays or a text are missing or do not fit the network."""


class BackendError(MinidarkError):
    """The device asked for, or a library it needs, is not there."""


class DivergedError(MinidarkError):
    """The cost became NaN or infinite."""


class SaveError(MinidarkError):
    """A file could not be written, or not brought to the disk. Its old bytes or its new ones are
    there, whole; the text says which."""


def place(path: Path | str | None, line: int | None) -> str:
    """ "path:line: " in front of a message, as far as both are known."""
    if path is None:
        return ""
    if line == OVERRIDDEN:
        return f"{path} as overridden: "
    return f"{path}: " if line is None else f"{path}:{line}: "


CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f]")


def visible(text: str) -> str:
    """With control characters as their codes, but for line breaks and tabs: a terminal would obey
    them."""
    return CONTROL.sub(lambda found: f"\\x{ord(found[0]):02x}", text)


LONGEST_ECHO = 40  # characters
LONGEST_MESSAGE = 2000  # characters
LONGEST_WORD = 100  # characters, of a path between two slashes
WORD = re.compile(rf"[^\s/:]{{{LONGEST_WORD + 1},}}")


def one_line(text: str) -> str:
    """A message as one line that anybody can read: control characters and line breaks as their
    codes, long names and numbers cut."""
    return cut(shortened(visible(text).replace("\n", "\\n")), LONGEST_MESSAGE)


def shortened(text: str) -> str:
    """With words of more than 100 characters cut, which only names and numbers are."""
    return WORD.sub(lambda found: cut(found[0], LONGEST_WORD), text)


def echo(value: object, longest: int = LONGEST_ECHO) -> str:
    """A value as an error message shows it: its repr, cut after 40 characters."""
    try:
        return cut(repr(value), longest)
    except ValueError:  # Python writes no integer of more than 4,300 digits
        return "a number of thousands of digits"


def bare(name: str, longest: int = LONGEST_ECHO) -> str:
    """A name as an error message shows it: without quotes, what cannot be printed escaped, cut."""
    return cut(repr(str(name))[1:-1], longest)


def not_one_of(word: str, known: Iterable[str]) -> str:
    """ "not one of relu, tanh (did you mean 'relu'?)"."""
    return f"not one of {', '.join(known)}{nearest(word, known)}"


def nearest(word: str, known: Iterable[str]) -> str:
    """ " (did you mean 'output'?)", or nothing where no known word is near."""
    return _nearest(word, tuple(known)) if len(word) <= LONGEST_ECHO else ""


@functools.lru_cache(maxsize=256)  # a cfg says the same wrong word in every section
def _nearest(word: str, known: tuple[str, ...]) -> str:
    near = difflib.get_close_matches(word, known, n=1)
    return f" (did you mean '{near[0]}'?)" if near else ""


def cut(text: str, longest: int) -> str:
    """At most so many characters, the last three of which are dots where some are left out."""
    return text if len(text) <= longest else f"{text[: longest - 3]}..."
