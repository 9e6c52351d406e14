"""The libraries of the extra `report`, imported when they are needed."""

from __future__ import annotations

import contextlib
import logging
import os
import sys
import warnings
from collections.abc import Iterator
from importlib import import_module
from types import ModuleType

from minidark.errors import BackendError

PLOTTING = "matplotlib"
CHOICE = "MPLBACKEND"  # a notebook's kernel exports its own, which need not be installed here


def needed(module: str) -> ModuleType:
    """A module of the extra. Raises BackendError where it is not installed or cannot be used."""
    try:
        with without_noise(), _own_backend():
            return import_module(module)
    except ImportError as error:
        raise BackendError("needs jinja2 and matplotlib: pip install 'minidark[report]'") from error
    except Exception as error:  # matplotlib raises what it likes at the settings that it finds
        reason = str(error).strip().partition("\n")[0] or type(error).__name__
        raise BackendError(f"{module} cannot be used here: {reason}") from error


@contextlib.contextmanager
def without_noise() -> Iterator[None]:
    """Without what matplotlib tells of fonts and folders: a page's reader has fonts of their own,
    and a figure holds letters, not glyphs."""
    logger = logging.getLogger(PLOTTING)
    level = logger.level
    logger.setLevel(logging.CRITICAL)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logger.setLevel(level)


@contextlib.contextmanager
def environment(name: str, value: str) -> Iterator[None]:
    """With another value of a variable."""
    before = os.environ.get(name)
    os.environ[name] = value
    try:
        yield
    finally:
        del os.environ[name]
        if before is not None:
            os.environ[name] = before


@contextlib.contextmanager
def _own_backend() -> Iterator[None]:
    """While matplotlib is imported, its backend is ours. What the environment chose counts again
    behind that, where it is one: the process may be a notebook's."""
    chosen = os.environ.get(CHOICE)
    if PLOTTING in sys.modules or chosen is None:
        yield
        return
    with environment(CHOICE, "svg"):
        yield
    if plotting := sys.modules.get(PLOTTING):
        with contextlib.suppress(ValueError):
            plotting.rcParams["backend"] = chosen
