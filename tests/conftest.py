"""Fixtures that any test module may ask for."""

from __future__ import annotations

import logging
import os
import re
import signal
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import settings

from minidark import Text
from minidark.backend import threads
from tests import selection, stand_in
from tests.helpers import PLACE
from tests.report.browser import browser

BLAS_THREADS = threads.blas_threads()
# Results of numpy's products may depend on the number of threads, and that on what else runs here.
os.environ[threads.WATCH_VARIABLE] = "off"
WriteText = Callable[[bytes], Path]

# As behind `&`, or `nohup`: those that tests start and send signals to would inherit it.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)
if hasattr(signal, "SIGHUP") and signal.getsignal(signal.SIGHUP) is signal.SIG_IGN:
    signal.signal(signal.SIGHUP, signal.SIG_DFL)


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
    """--threads, or MINIDARK_THREADS, hold for the whole process."""
    yield
    if threads._count is not None:
        threads.set_threads(BLAS_THREADS)
        threads._count = None
        threads.forget_watches()


@pytest.fixture
def write_text(tmp_path: Path) -> WriteText:
    """Bytes to a file of its own; its path."""

    def write(data: bytes) -> Path:
        path = tmp_path / f"text{len(list(tmp_path.iterdir()))}.txt"
        path.write_bytes(data)
        return path

    return write


@pytest.fixture(scope="session")
def chromium() -> Iterator[Any]:
    """A browser, one for all pages."""
    with browser() as launched:
        yield launched


@pytest.fixture(autouse=True)
def _no_cupy(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """A GPU that happens to be there is for the tests that are marked for it."""
    if request.node.get_closest_marker("gpu") is None:
        monkeypatch.setitem(sys.modules, "cupy", None)


WHOLLY_SLOW = re.compile(r"^pytestmark = (\[\s*.*\b)?pytest\.mark\.slow\b", re.MULTILINE)


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--short", action="store_true", help="a tenth of the mutated files")


def pytest_configure(config: pytest.Config) -> None:
    selection.short = config.getoption("--short")
    selection.full = "not slow" not in config.option.markexpr
    if not selection.full:
        settings.register_profile("short", max_examples=selection.examples(100))
        settings.load_profile("short")


def pytest_ignore_collect(collection_path: Path) -> bool | None:
    """Importing a module of slow tests may take seconds (PyTorch), and all would be deselected."""
    if selection.full or not collection_path.match("test_*.py"):
        return None
    return WHOLLY_SLOW.search(collection_path.read_text("utf-8")) is not None or None


LONG_ON_STAND_IN = {"test_gradients.py", "test_train.py"}  # thousands of passes


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if item.path.name in LONG_ON_STAND_IN and "stand-in" in item.name:
            item.add_marker(pytest.mark.long)
        if "chromium" in getattr(item, "fixturenames", ()):
            item.add_marker(pytest.mark.slow)


STAND_IN = pytest.param("stand-in", marks=[stand_in.needs_compiler, pytest.mark.slow])


@pytest.fixture(params=["cpu", STAND_IN])
def each_backend(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """Runs a test twice: with networks on the CPU, and on the stand-in for a GPU."""
    if request.param == "stand-in":
        monkeypatch.setattr(PLACE, "device", "cuda")
        monkeypatch.setattr(PLACE, "begin", lambda dtype: stand_in.put_in_place(monkeypatch, dtype))
        monkeypatch.setattr(PLACE, "held", stand_in.host)
    return str(request.param)


def dependent(count: int) -> bytes:
    """So many of eight symbols, each of which depends on the one before it."""
    steps = np.random.default_rng(0).integers(1, 3, count)
    return (np.cumsum(steps) % 8).astype(np.uint8).tobytes()


@pytest.fixture
def text(write_text: WriteText) -> Iterator[Text]:
    """4,000 of eight symbols."""
    with Text([write_text(dependent(4000))], 8) as opened:
        yield opened
