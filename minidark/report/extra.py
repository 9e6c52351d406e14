"""The libraries of the extra `report`, imported on first use."""

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
CHOICE = "MPLBACKEND"  # notebooks set this to a backend that may not be installed here


def needed(module: str) -> ModuleType:
    """Import a module of the extra. Raises BackendError if it is not installed or unusable."""
    try:
        with without_noise(), _own_backend():
            return import_module(module)
    except ImportError as error:
        raise BackendError("needs jinja2 and matplotlib: pip install 'minidark[report]'") from error
    except Exception as error:  # bad settings make matplotlib raise errors of any type
        reason = str(error).strip().partition("\n")[0] or type(error).__name__
        raise BackendError(f"{module} cannot be used here: {reason}") from error


@contextlib.contextmanager
def without_noise() -> Iterator[None]:
    """Silence matplotlib's messages about fonts and folders. They do not matter: figures contain
    text, which the browser draws with its own fonts."""
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
    """Set an environment variable for the duration of a `with` block."""
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
    """Import matplotlib with the svg backend, then restore the environment's choice if it is valid,
    because the process may be a notebook's."""
    chosen = os.environ.get(CHOICE)
    if PLOTTING in sys.modules or chosen is None:
        yield
        return
    with environment(CHOICE, "svg"):
        yield
    if plotting := sys.modules.get(PLOTTING):
        with contextlib.suppress(ValueError):
            plotting.rcParams["backend"] = chosen
