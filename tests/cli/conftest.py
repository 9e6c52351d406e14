"""What every test of a command needs: a folder of its own, and the logger as it was."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from pathlib import Path

import pytest

from minidark.backend import threads


@pytest.fixture(autouse=True)
def logger_as_before() -> Iterator[None]:
    """The command line sets up the logger of the whole process."""
    logger = logging.getLogger("minidark")
    handlers, level = logger.handlers, logger.level
    yield
    logger.handlers = handlers
    logger.setLevel(level)


@pytest.fixture(autouse=True)
def threads_as_before() -> Iterator[None]:
    """So are --threads, or MINIDARK_THREADS, for the whole process."""
    yield
    if threads._count is not None:
        threads.set_threads(threads._processors())
        threads._count = None


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where a test runs."""
    monkeypatch.chdir(tmp_path)
    return tmp_path
