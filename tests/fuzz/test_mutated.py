"""Mutated cfgs and weight files: only MinidarkErrors come out, soon, and without much memory."""

from __future__ import annotations

import itertools
import logging
import sys
import time
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path

import pytest

from tests.fuzz.mutation import corpus, mutations
from tests.fuzz.targets import TARGETS

LONGEST = 1.0  # seconds of this process for one input
MOST_MEMORY = 200 * 2**20  # bytes more than before, for all inputs together
SEED = 20261125


@pytest.fixture(autouse=True)
def unheard(caplog: pytest.LogCaptureFixture) -> None:
    """Doubts are many, and nobody reads them."""
    caplog.set_level(logging.ERROR, "minidark")


FAST = ("cfg", "weights")  # readers that take a fraction of a millisecond
EXTRAS = {"onnx": "the extra onnx is not installed"}


def each_kind(*kinds: str) -> list[object]:
    return [
        pytest.param(
            kind,
            marks=pytest.mark.skipif(
                kind in EXTRAS and find_spec(kind) is None, reason=EXTRAS.get(kind, "")
            ),
        )
        for kind in kinds
    ]


kinds = pytest.mark.parametrize("kind", FAST)
slower_kinds = pytest.mark.parametrize("kind", each_kind(*(k for k in TARGETS if k not in FAST)))


@pytest.mark.parametrize(
    ("kind", "path"),
    [
        pytest.param(kind, path, id=path.name)
        for kind in TARGETS
        if kind not in EXTRAS or find_spec(kind)
        for path in corpus(kind)
    ],
)
def test_what_was_found_once(kind: str, path: Path) -> None:
    run(kind, path.read_bytes())


@kinds
def test_mutated_files(kind: str) -> None:
    hammer(kind, 10_000, SEED)


@slower_kinds
def test_mutated_files_of_other_forms(kind: str) -> None:
    hammer(kind, 600 if kind == "yaml" else 3000, SEED)


@pytest.mark.long
@pytest.mark.timeout(1800)
@slower_kinds
def test_a_hundred_thousand_mutated_files(kind: str) -> None:
    hammer(kind, 100_000, SEED + 1)


@pytest.mark.long
@pytest.mark.timeout(1800)
@kinds
def test_a_million_mutated_files(kind: str) -> None:
    hammer(kind, 1_000_000, SEED + 1)


def hammer(kind: str, count: int, seed: int) -> None:
    before = memory()
    for data in itertools.islice(mutations(kind, seed), count):
        run(kind, data)
    assert memory() - before < MOST_MEMORY


def run(kind: str, data: bytes) -> None:
    """Once, against the clock."""
    began = time.process_time()
    try:
        TARGETS[kind](data)
        assert time.process_time() - began < LONGEST
    except BaseException as error:
        error.add_note(f"keep this in tests/corpus/{kind}: {data[:2000]!r}")
        raise


def most_resident() -> Callable[[], int]:
    """The most memory this process has had so far, in bytes, where the platform tells."""
    try:
        import resource
    except ImportError:
        return lambda: 0
    unit = 1 if sys.platform == "darwin" else 1024
    return lambda: unit * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss


memory = most_resident()
