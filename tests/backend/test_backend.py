"""Which backends there are, and what is said where one is not."""

from __future__ import annotations

import builtins
import inspect
import sys
from collections.abc import Callable
from types import ModuleType, SimpleNamespace
from typing import Any

import numpy as np
import pytest

import tests.fakecp as fakecp
from minidark import BackendError
from minidark.backend import get_backend, numpy_kernels
from tests.stand_in import needs_compiler


def with_cupy(monkeypatch: pytest.MonkeyPatch, cupy: object) -> None:
    monkeypatch.setitem(sys.modules, "cupy", cupy)


def failing(error: Exception) -> Callable[..., Any]:
    def fail(*_: Any, **__: Any) -> Any:
        raise error

    return fail


def said(device: str = "cuda", dtype: str = "float32") -> str:
    with pytest.raises(BackendError) as error:
        get_backend(device, dtype)
    return str(error.value)


def test_without_cupy_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    assert said() == "device 'cuda' needs cupy; pip install 'minidark[cuda12]' brings it"
    assert get_backend("auto").name == "cpu"


def test_without_a_gpu_that_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    with_cupy(monkeypatch, SimpleNamespace(cuda=SimpleNamespace(is_available=lambda: False)))
    assert said() == "device 'cuda': cupy finds no GPU or no driver for one; use 'cpu'"
    assert get_backend("auto").name == "cpu"


def test_a_cupy_that_cannot_multiply_is_found_out(monkeypatch: pytest.MonkeyPatch) -> None:
    reason = "libcublas.so.12: cannot open shared object file\nand a page of advice"
    bare = SimpleNamespace(
        cuda=SimpleNamespace(is_available=lambda: True), ones=failing(ImportError(reason))
    )
    with_cupy(monkeypatch, bare)
    assert said() == (
        "device 'cuda': a product of two small matrices failed (libcublas.so.12: cannot open "
        "shared object file); pip install 'minidark[cuda12]' brings the CUDA libraries that cupy "
        "needs"
    )
    assert get_backend("auto").name == "cpu"


@pytest.mark.slow
@needs_compiler
@pytest.mark.parametrize("device", ["auto", "cuda"])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_where_the_probe_succeeds_cuda_it_is(
    monkeypatch: pytest.MonkeyPatch, device: str, dtype: str
) -> None:
    with_cupy(monkeypatch, fakecp)
    monkeypatch.setattr(fakecp.RULES, "float64", dtype == "float64")
    backend = get_backend(device, dtype)
    assert (backend.name, backend.dtype.name) == ("cuda", dtype)
    array = backend.asarray([[1, 2], [3, 4]])
    assert isinstance(array, fakecp.ndarray)
    np.testing.assert_array_equal(backend.asnumpy(array), [[1, 2], [3, 4]])


def test_the_cpu_needs_no_cupy(monkeypatch: pytest.MonkeyPatch) -> None:
    original = builtins.__import__

    def watched(name: str, *arguments: Any, **keywords: Any) -> ModuleType:
        assert name != "cupy"
        return original(name, *arguments, **keywords)

    monkeypatch.setattr(builtins, "__import__", watched)
    assert get_backend("cpu").name == "cpu"


def test_what_is_no_device_or_dtype_is_refused() -> None:
    assert said("gpu") == "device 'gpu' is not one of auto, cpu, cuda"
    assert said("cpu", "float16") == "dtype 'float16' is not one of float32, float64"


def test_both_tables_of_kernels_have_the_same_functions(monkeypatch: pytest.MonkeyPatch) -> None:
    with_cupy(monkeypatch, fakecp)
    from minidark.backend import cupy_kernels

    found = signatures(cupy_kernels)
    del found["options"]
    assert {n: s for n, s in found.items() if "_sequence" not in n} == signatures(numpy_kernels)


def test_both_take_whole_sequences_alike(monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("numba", reason="the extra fast is not installed")
    from minidark.backend.compiled import gru, lstm, rnn

    with_cupy(monkeypatch, fakecp)
    from minidark.backend import cupy_kernels

    found = {n: s for n, s in signatures(cupy_kernels).items() if "_sequence" in n}
    compiled = signatures(gru) | signatures(lstm) | signatures(rnn)
    assert found == {n: without_half(s) for n, s in compiled.items() if "_sequence" in n}


def without_half(signature: inspect.Signature) -> inspect.Signature:
    """Without the keyword of compiled kernels for precision bf16."""
    parameters = [p for p in signature.parameters.values() if p.name != "half"]
    return signature.replace(parameters=parameters)


def signatures(module: ModuleType) -> dict[str, inspect.Signature]:
    """Of the public functions that it defines."""
    return {
        name: inspect.signature(f)
        for name, f in vars(module).items()
        if inspect.isfunction(f) and f.__module__ == module.__name__ and name[0] != "_"
    }
