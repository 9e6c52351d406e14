"""A layer between a save and the system, in which any call can fail or be the last."""

from __future__ import annotations

import dataclasses
import itertools
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

from minidark.files.disk import System

Watch = Callable[[int, str], object]  # called with the number of a call, from 1, and its name

ERRNOS = ("ENOSPC", "EIO", "EDQUOT", "EACCES")


def watched(before: Watch, after: Watch = lambda number, name: None) -> System:
    """The system's calls, each with something before it and after it."""
    numbers = itertools.count(1)

    def wrapped(name: str, call: Callable[..., Any]) -> Callable[..., Any]:
        def calling(*args: Any, **kwargs: Any) -> Any:
            number = next(numbers)
            try:
                before(number, name)
            except OSError:
                if name == "close":  # which gives the descriptor back even where it fails
                    call(*args, **kwargs)
                raise
            result = call(*args, **kwargs)
            after(number, name)
            return result

        return calling

    system = System()
    names = [f.name for f in dataclasses.fields(System)]
    return System(**{name: wrapped(name, getattr(system, name)) for name in names})


def failing(fails: Callable[[int, str], bool], code: int) -> System:
    """A system whose calls that `fails` chooses end in this errno."""

    def before(number: int, name: str) -> None:
        if fails(number, name):
            raise OSError(code, os.strerror(code))

    return watched(before)


def temporaries(folder: Path) -> list[str]:
    return [path.name for path in folder.iterdir() if path.name.endswith(".tmp")]
