"""The libraries of the extra `report`, imported when they are needed."""

from __future__ import annotations

from importlib import import_module
from types import ModuleType

from minidark.errors import BackendError


def needed(module: str) -> ModuleType:
    """A module of the extra. Raises BackendError where it is not installed."""
    try:
        return import_module(module)
    except ImportError as error:
        raise BackendError("needs jinja2 and matplotlib: pip install 'minidark[report]'") from error
