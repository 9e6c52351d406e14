"""For who has a GPU: pytest -m gpu. What the stand-in cannot show, on the real thing."""

from __future__ import annotations

from collections.abc import Iterator
from types import ModuleType
from typing import Any

import numpy as np
import pytest

from minidark import BackendError, Network, load_network
from minidark.backend import Array, Backend, get_backend, numpy_kernels
from minidark.cfg.parser import build_network
from tests.golden_cases import GOLDEN, arrays, names
from tests.gpu_proof.test_counts import EVERY_LAYER, I, S, ids
from tests.gpu_proof.test_kernels import CASES, SIZES, cases, wide
from tests.helpers import planned

pytestmark = pytest.mark.gpu

TOLERANCE = {"float32": 2e-5, "float64": 1e-11}


def backend(dtype: str = "float32") -> Backend:
    try:
        return get_backend("cuda", dtype)
    except BackendError as error:
        pytest.skip(str(error))


def make(sections: tuple[str, ...], on: Backend) -> Network:
    return build_network(planned(*sections), None, 3, on)


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
    on = backend(dtype)

    def get(value: Any) -> Any:
        return on.asnumpy(value) if on.holds(value) else value

    for case in cases(name, size, dtype):
        with np.errstate(all="ignore"):
            wanted = list(every_array(numpy_kernels, name, case, wide, lambda value: value))
        found = list(every_array(on.kernels, name, case, on.xp.asarray, get))
        for ours, numpys in zip(found, wanted, strict=True):
            np.testing.assert_allclose(ours, numpys, rtol=TOLERANCE[dtype], atol=TOLERANCE[dtype])


# cupy says that it is to go, as it cannot see every wait. What it sees is worth having meanwhile.
@pytest.mark.filterwarnings("ignore:cupyx.allow_synchronize:UserWarning")
@pytest.mark.parametrize("sections", EVERY_LAYER, ids=" | ".join)
def test_training_agrees_with_the_cpus_and_does_not_wait(sections: tuple[str, ...]) -> None:
    on = backend()
    import cupyx

    net, cpu = make(sections, on), make(sections, get_backend("cpu"))
    net.train_batch(*ids(9))  # compiles
    cpu.train_batch(*ids(9))
    for seed in range(3):
        with cupyx.allow_synchronize(False):
            cost = net.train_batch(*ids(seed))
        assert float(cost) == pytest.approx(float(cpu.train_batch(*ids(seed))), rel=1e-4)
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


def test_the_same_run_gives_the_same_bits() -> None:
    on = backend()

    def trained() -> list[Array]:
        net = make(EVERY_LAYER[1], on)
        for seed in range(5):
            net.train_batch(*ids(seed))
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
