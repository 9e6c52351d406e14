"""For who has a GPU: pytest -m gpu. What the stand-in cannot show, on the real thing."""

from __future__ import annotations

import functools
import os
import shutil
import subprocess
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest

from minidark import BackendError, Network, load_network
from minidark.backend import Array, Backend, get_backend, numpy_kernels
from minidark.network.parser import build_network
from minidark.training.parallel.gpus import NcclRanks, PinnedRanks, transport
from minidark.training.parallel.ranks import Ranks
from tests.conftest import dependent
from tests.golden_cases import GOLDEN, arrays, names
from tests.gpu_proof import sequences
from tests.gpu_proof.test_counts import EVERY_LAYER, I, S, ids
from tests.gpu_proof.test_kernels import CASES, SIZES, Draws, cases, wide
from tests.helpers import planned

pytestmark = pytest.mark.gpu

TOLERANCE = {"float32": 2e-5, "float64": 1e-11}


def backend(dtype: str = "float32") -> Backend:
    try:
        return get_backend("cuda", dtype)
    except BackendError as error:
        pytest.skip(str(error))


def make(sections: tuple[str, ...], on: Backend) -> Network:
    return build_network(planned(*sections), 3, on)


def every_array(kernels: ModuleType, name: str, case: Any, put: Any, get: Any) -> Iterator[Any]:
    """What a kernel was given and what it returned, of which there are arrays or numbers."""
    keywords = case[-1] if isinstance(case[-1], dict) else {}
    arguments = case[:-1] if keywords else case
    given = [put(a.copy()) if isinstance(a, np.ndarray) else a for a in arguments]
    result = getattr(kernels, name)(*given, **keywords)
    for value in (*given, *(result if isinstance(result, tuple) else (result,))):
        if value is not None:
            yield get(value)


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("name", CASES)
def test_a_kernel_computes_what_numpys_does(
    name: str, dtype: str, size: tuple[int, int, int]
) -> None:
    check_cases(name, dtype, numpy_kernels, cases(name, size, dtype))


@pytest.mark.parametrize("size", [*sequences.SIZES, (20, 300, 128)])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("name", sequences.CASES)
def test_a_sequence_is_its_steps(name: str, dtype: str, size: tuple[int, int, int]) -> None:
    given = sequences.CASES[name](Draws(size, dtype))
    check_cases(name, dtype, sequences, given, growing=name.startswith(("rnn", "elman")))


def check_cases(
    name: str, dtype: str, reference: ModuleType, given: Iterable[Any], growing: bool = False
) -> None:
    """growing: as the states of a linear [rnn] do; then to the tolerance of the largest."""
    on = backend(dtype)

    def get(value: Any) -> Any:
        return on.asnumpy(value) if on.holds(value) else value

    for case in given:
        with np.errstate(all="ignore"):
            wanted = list(every_array(reference, name, case, wide, lambda value: value))
        found = list(every_array(on.kernels, name, case, on.xp.asarray, get))
        for ours, numpys in zip(found, wanted, strict=True):
            if not isinstance(numpys, str):
                most = np.abs(numpys).max() if growing else 1
                relative, absolute = TOLERANCE[dtype], TOLERANCE[dtype] * most
                np.testing.assert_allclose(ours, numpys, rtol=relative, atol=absolute)


# cupy says that it is to go, as it cannot see every wait. What it sees is worth having meanwhile.
@pytest.mark.filterwarnings("ignore:cupyx.allow_synchronize:UserWarning")
@pytest.mark.parametrize("steps", [6, 10])  # fewer than are taken whole, and more
@pytest.mark.parametrize("sections", EVERY_LAYER, ids=" | ".join)
def test_training_agrees_with_the_cpus_and_does_not_wait(
    sections: tuple[str, ...], steps: int
) -> None:
    on = backend()
    import cupyx

    net, cpu = make(sections, on), make(sections, get_backend("cpu"))
    net.train_batch(*ids(9, steps))  # compiles
    cpu.train_batch(*ids(9, steps))
    for seed in range(3):
        with cupyx.allow_synchronize(False):
            cost = net.train_batch(*ids(seed, steps))
        assert float(cost) == pytest.approx(float(cpu.train_batch(*ids(seed, steps))), rel=1e-4)
    for ours, theirs in zip(net.parameters(), cpu.parameters(), strict=True):
        np.testing.assert_allclose(on.asnumpy(ours.value), theirs.value, rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("name", names("grad_*", "golden.npz"))
def test_gradients_are_autograds(name: str) -> None:
    on, golden = backend("float64"), arrays(name)
    net = load_network(
        GOLDEN / name / "net.cfg", GOLDEN / name / "start.weights", dtype="float64", device="cuda"
    )
    cost = net.accumulate(golden["x0"], golden["truth0"])
    assert float(cost) == pytest.approx(float(golden["cost0"]), rel=1e-9)
    gradient = np.concatenate([on.asnumpy(p.grad).reshape(-1) for p in net.parameters()])
    recorded = ~np.isnan(golden["updates0"])
    np.testing.assert_allclose(
        -gradient[recorded], golden["updates0"][recorded], rtol=1e-8, atol=1e-11
    )


@pytest.mark.parametrize("steps", [6, 10])
def test_the_same_run_gives_the_same_bits(steps: int) -> None:
    on = backend()

    def trained() -> list[Array]:
        net = make(EVERY_LAYER[1], on)
        for seed in range(5):
            net.train_batch(*ids(seed, steps))
        return [on.asnumpy(p.value) for p in net.parameters()]

    for first, second in zip(trained(), trained(), strict=True):
        np.testing.assert_array_equal(first, second)


def test_draws_fall_as_on_the_cpu() -> None:
    on = backend()
    p = np.random.default_rng(0).dirichlet(np.full(I, 0.2), 5000).astype(np.float32)
    starts = np.random.default_rng(1).random(len(p), np.float32)

    def drawn(place: Backend) -> Array:
        found = place.asids(np.zeros(len(p), np.intp))
        place.kernels.draw(place.asarray(p), place.xp.asarray(starts), found)
        return place.asnumpy(found)

    np.testing.assert_array_equal(drawn(on), drawn(get_backend("cpu")))


def test_weights_move_between_the_memories(tmp_path: Any) -> None:
    net, cpu = make(EVERY_LAYER[5], backend()), make(EVERY_LAYER[5], get_backend("cpu"))
    for one in (net, cpu):
        one.save_weights(tmp_path / one.backend.name)
    assert (tmp_path / "cuda").read_bytes() == (tmp_path / "cpu").read_bytes()
    x = ids(1)[0]
    y = net.predict(x)
    assert y.shape == (len(x), S, I)
    np.testing.assert_allclose(net.backend.asnumpy(y), cpu.predict(x), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("kind", [PinnedRanks, NcclRanks])
def test_a_rank_by_itself_sums_and_broadcasts(kind: type[PinnedRanks]) -> None:
    """Which for NCCL is to send to itself: its calls, if not its way."""
    on = backend()
    if kind is NcclRanks and transport(on) != "NCCL":
        pytest.skip("cupy finds no NCCL")
    made = kind(Ranks(), on.xp)
    numbers = np.random.default_rng(0).normal(size=100_000).astype(np.float32)
    buffer = on.asarray(numbers)
    if isinstance(made, NcclRanks):
        made._in_time(functools.partial(made._add, buffer, 0, made.ready()), "itself")
    else:
        made.sum(buffer)
        buffer += buffer
    np.testing.assert_array_equal(on.asnumpy(buffer), numbers + numbers)
    made.broadcast(buffer)
    made.barrier()
    np.testing.assert_array_equal(on.asnumpy(buffer), numbers + numbers)


def test_ranks_that_share_a_gpu_leave_the_bytes_of_one(tmp_path: Any) -> None:
    backend()
    beside = Path(sys.executable).with_name("mpiexec")
    mpiexec = str(beside) if beside.exists() else shutil.which("mpiexec")
    if not mpiexec:
        pytest.skip("there is no mpiexec")
    text = tmp_path / "text"
    text.write_bytes(dependent(40_000))
    options = "--device cuda --shards 4 --seed 1 --valid-fraction 0 --batches 3 --rank-timeout 30"
    command = [sys.executable, "-m", "minidark", "train", "gru", str(text), *options.split()]
    environment = {**os.environ, "CUDA_VISIBLE_DEVICES": "0"}

    def trained(ranks: int) -> bytes:
        before = [mpiexec, "-n", str(ranks)] if ranks > 1 else []
        line = [*before, *command, "--backup", str(tmp_path / str(ranks))]
        subprocess.run(line, check=True, timeout=90, env=environment)
        return (tmp_path / str(ranks) / "gru_final.weights").read_bytes()

    one = trained(1)
    assert [trained(ranks) == one for ranks in (2, 4)] == [True, True]
