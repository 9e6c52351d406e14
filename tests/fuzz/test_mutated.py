"""Mutated files of every form that is read: only MinidarkErrors come out, soon, without much memory
and without another file being opened."""

from __future__ import annotations

import itertools
import logging
from importlib.util import find_spec
from pathlib import Path

import pytest

from tests import selection
from tests.fuzz.loop import Loop
from tests.fuzz.mutation import corpus, mutations
from tests.fuzz.survivor import survive
from tests.fuzz.targets import TARGETS
from tests.selection import examples

SEED = 20261125
NEEDS = {"onnx": "onnx", "keras": "h5py", "h5": "h5py", "pt": "torch"}
CRASHING = ("keras", "h5", "pt")  # readers in C that minidark runs in processes of their own
# How many files: in `make test-all`, and in `make test-long`.
SHORT = {"cfg": 10_000, "weights": 10_000, "safetensors": 3000, "npz": 3000, "onnx": 2000}
LONG = {
    "cfg": 1_000_000, "weights": 1_000_000,
    "keras": 100_000, "checkpoint": 100_000, "pt": 50_000, "h5": 20_000,  # 2 to 4 ms each
}  # fmt: skip
FEW, MANY = 600, 200_000  # of the other kinds


@pytest.fixture(autouse=True)
def folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Doubts are many, and nobody reads them."""
    monkeypatch.chdir(tmp_path)
    caplog.set_level(logging.ERROR, "minidark")


def require(kind: str) -> None:
    if kind in NEEDS and not find_spec(NEEDS[kind]):
        pytest.skip(f"{NEEDS[kind]} is not installed")


@pytest.mark.parametrize(
    ("kind", "path"),
    [pytest.param(kind, path, id=path.name) for kind in TARGETS for path in corpus(kind)],
)
def test_what_was_found_once(kind: str, path: Path) -> None:
    require(kind)
    Loop(kind).run(path.read_bytes())


SECONDS_TO_START = [pytest.param(k, marks=pytest.mark.slow) if k == "pt" else k for k in TARGETS]


@pytest.mark.parametrize("kind", SECONDS_TO_START)
def test_mutated_files(kind: str) -> None:
    hammer(kind, examples(SHORT.get(kind, FEW)), SEED)


@pytest.mark.long
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("kind", TARGETS)
def test_a_great_many_mutated_files(kind: str) -> None:
    hammer(kind, LONG.get(kind, MANY) // (10 if selection.short else 1), SEED + 1)


def hammer(kind: str, count: int, seed: int) -> None:
    require(kind)
    if kind in CRASHING:
        print("ended the process:", survive(kind, seed, count))
        return
    loop = Loop(kind)
    for data in itertools.islice(mutations(kind, seed), count):
        loop.run(data)
    loop.end()
