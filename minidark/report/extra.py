"""The libraries of the extra `report`, imported on first use."""

from __future__ import annotations

from importlib import import_module
from types import ModuleType

from minidark.errors import BackendError


def needed(module: str) -> ModuleType:
    """Import a module of the extra. Raises BackendError if it is not installed."""
    try:
        return import_module(module)
    except ImportError as error:
        raise BackendError("needs jinja2: pip install 'minidark[report]'") from error
