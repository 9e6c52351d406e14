"""The benchmark of training: that its profile measures every part, not what it measures."""

from __future__ import annotations

import pytest

pytest.importorskip("torch", reason="the benchmark has PyTorch's networks")
pytest.importorskip("numba", reason="the profile is of the fast kernels")

from benchmarks.shapes import Shape
from benchmarks.training import PARTS, profile_rows
from minidark.backend import compiled

pytestmark = pytest.mark.slow
SMALL = Shape(1, 64, 8, 16)


def test_the_profile_has_a_share_of_each_part_and_restores_the_kernels() -> None:
    kernels = {name: getattr(compiled, name) for names in PARTS.values() for name in names}
    rows = list(profile_rows(SMALL, 3))
    assert [row.work for row in rows[:-1]] == [f"{SMALL} {part}" for part in PARTS]
    assert all(0 < row.measured < 100 for row in rows[:-1])
    assert sum(row.measured for row in rows) == pytest.approx(100)
    assert rows[1].remark.startswith("products alone")
    assert kernels == {name: getattr(compiled, name) for name in kernels}
