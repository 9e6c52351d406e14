"""The CUDA source through NVIDIA's own compiler, for every GPU from 2016 to now."""

from __future__ import annotations

import re
from types import ModuleType

import pytest

from minidark.backend import get_backend
from tests.fakecp.shim import KERNEL
from tests.gpu_proof.nvrtc import ARCHITECTURES, library, ptx
from tests.stand_in import needs_compiler, put_in_place

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(
        library() is None, reason="no NVRTC: pip install 'minidark[gpu-proof]' brings it"
    ),
    needs_compiler,  # of the stand-in, through which the options are read
]


@pytest.fixture
def kernels(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    put_in_place(monkeypatch)
    return get_backend("cuda").kernels


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_the_kernels_compile_and_compute_in_float32(kernels: ModuleType, architecture: int) -> None:
    source = kernels.SOURCE.read_text()
    options = (*kernels.options("float32"), "--std=c++17")  # which cupy adds
    text = ptx(source, options, architecture)
    assert re.findall(r"\.entry (\w+)", text) == [name for name, _ in KERNEL.findall(source)]
    assert not re.findall(r"\.f64", text)


@pytest.mark.parametrize("architecture", [60, 120])
def test_they_compile_in_float64(kernels: ModuleType, architecture: int) -> None:
    text = ptx(kernels.SOURCE.read_text(), kernels.options("float64"), architecture)
    assert ".f64" in text


def test_sums_of_products_are_not_fused(kernels: ModuleType) -> None:
    source = kernels.SOURCE.read_text()
    body = r"\.entry sgd_step\(.*?\n}"  # without C's functions, whose own code fuses on purpose
    for option, fused in (("--fmad=false", False), ("--fmad=true", True)):
        options = (option, *kernels.options("float32")[1:])
        (text,) = re.findall(body, ptx(source, options, 80), re.DOTALL)
        assert ("fma." in text) == fused
    assert "--fmad=false" in kernels.options("float32")


def test_a_double_and_a_misspelling_are_found(kernels: ModuleType) -> None:
    source, options = kernels.SOURCE.read_text(), kernels.options("float32")
    assert ".f64" in ptx(source.replace("real(0.5)", "0.5"), options, 80)
    with pytest.raises(RuntimeError, match='identifier "tanq" is undefined'):
        ptx(source.replace("tanh(", "tanq("), options, 80)
