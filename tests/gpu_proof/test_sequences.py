"""The CUDA kernels over whole sequences, run on the CPU, against numpy's steps in float64."""

from __future__ import annotations

import numpy as np
import pytest

import tests.fakecp as fakecp
from minidark.backend import get_backend
from tests.gpu_proof import sequences
from tests.gpu_proof.sequences import CASES, SIZES
from tests.gpu_proof.test_counts import NET, READ_OUT, ids, make
from tests.gpu_proof.test_kernels import TOLERANCE, Draws, device_kernels, order, run, wide
from tests.stand_in import host, needs_compiler, put_in_place

pytestmark = [needs_compiler, pytest.mark.slow]

__all__ = ["order"]  # a fixture


def test_every_sequence_has_a_case(monkeypatch: pytest.MonkeyPatch) -> None:
    names = dir(device_kernels(monkeypatch, "float32"))
    assert set(CASES) == {name for name in names if "_sequence" in name and name[0] != "_"}


@pytest.mark.usefixtures("order")
@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("name", CASES)
def test_a_sequence_is_its_steps(
    name: str, dtype: str, size: tuple[int, int, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    check(name, dtype, size, monkeypatch)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("name", CASES)
def test_so_is_one_of_as_many_units_as_a_block_has_threads(
    name: str, dtype: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    kernels = device_kernels(monkeypatch, dtype)
    check(name, dtype, (1, 1, kernels.UNITS[dtype]), monkeypatch)
    with pytest.raises(ValueError, match="more units than threads"):
        check(name, dtype, (1, 1, kernels.UNITS[dtype] + 1), monkeypatch)


def check(
    name: str, dtype: str, size: tuple[int, int, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    kernels = device_kernels(monkeypatch, dtype)
    for case in CASES[name](Draws(size, dtype)):
        wanted = run(sequences, name, case, wide)
        found = run(kernels, name, case, fakecp.ndarray)
        tolerance = 2 * TOLERANCE[dtype]
        for ours, numpys in zip(found, wanted, strict=True):
            if isinstance(ours, np.ndarray):
                np.testing.assert_allclose(ours, numpys, rtol=tolerance, atol=tolerance)


@pytest.mark.parametrize("layer", [
    "gru output=8 tanh=1", "gru output=8 tanh=1 reset_after=1", "lstm output=8", "rnn output=8",
    "rnn output=8 activation=tanh elman=1",
])  # fmt: skip
def test_a_stream_has_the_same_bits_whichever_share_a_block_with_it(
    layer: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    put_in_place(monkeypatch)
    trained = []
    for processors in (1, 2, 4):
        monkeypatch.setitem(fakecp.cuda.Device.attributes, "MultiProcessorCount", processors)
        get_backend("cuda").kernels._processors.cache_clear()
        net = make(NET, layer, *READ_OUT)
        net.train_batch(*ids(0, 10))
        trained.append([host(p.value) for p in net.parameters()])
    for others in trained[1:]:
        for ours, first in zip(others, trained[0], strict=True):
            np.testing.assert_array_equal(ours, first)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_the_widest_cell_that_is_taken_whole_fits(
    dtype: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    put_in_place(monkeypatch, dtype)
    on = get_backend("cuda", dtype)
    assert 0 < on.widest <= on.kernels.UNITS[dtype]
