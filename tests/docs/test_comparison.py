"""docs/gru-lstm-rnn.md: what it says of sizes is what its cfgs come to."""

from __future__ import annotations

from pathlib import Path

import pytest

from minidark.backend import get_backend
from minidark.training.compare import Candidate, candidates

DOCS = Path(__file__).parents[2] / "docs"
DOC = (DOCS / "gru-lstm-rnn.md").read_text(encoding="utf-8")
PATHS = [DOCS / "gru-lstm-rnn" / f"{name}.cfg" for name in ("gru", "lstm", "rnn")]


@pytest.mark.parametrize("candidate", candidates(PATHS, parameters=150_000), ids=lambda c: c.name)
def test_as_many_parameters_are_those_of_its_table(candidate: Candidate) -> None:
    net = candidate.network(0, get_backend(kernels="numpy"), 1)
    (width,) = candidate.widths
    parameters = sum(p.value.size for p in net.parameters())
    work = sum(layer.work() for layer in net.layers)
    memory = candidate.needed_bytes(4) / 2**20
    row = f"| {candidate.name.upper()} | {width} | {parameters:,} | {work:,} | {memory:.1f} MiB |"
    assert row in DOC


@pytest.mark.parametrize("path", PATHS, ids=lambda path: path.stem)
def test_of_one_width_they_are_those_of_its_text(path: Path) -> None:
    (candidate,) = candidates([path])
    assert candidate.widths == [128]
    assert f"{candidate.plan.trained:,} ({candidate.name.upper()})" in " ".join(DOC.split())
