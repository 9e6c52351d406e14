"""Compiles kernels and decides when stored machine code is still valid.

numba's cache only checks whether a function's own file has changed. But a kernel's machine code
also contains functions from other files and the form of the tile, which depends on the target
processor. So stored kernels carry a stamp of all sources of this package, the tile's form, and the
versions of numba and llvmlite. A kernel's code contains the values of its globals, so they may only
come from this package or numpy.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from inspect import signature
from pathlib import Path
from typing import Any, NamedTuple

import llvmlite
import llvmlite.binding as llvm
import numba
from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.core.ccallback import CFunc
from numba.core.registry import cpu_target

from minidark.backend.compiled.store import KernelCache, warn_once

FUSED_MULTIPLY_ADD = """
define <16 x float> @probe(<16 x float> %a, <16 x float> %b, <16 x float> %c) {
    %sum = call <16 x float> @llvm.fma.v16f32(<16 x float> %a, <16 x float> %b, <16 x float> %c)
    ret <16 x float> %sum
}
declare <16 x float> @llvm.fma.v16f32(<16 x float>, <16 x float>, <16 x float>)
"""

# Floats in a vector and vectors in a line of a panel, by the registers in the probe's code. 6 rows
# of accumulators, a line, a factor and, without fusing, a product must fit into the registers.
REGISTERS = {"zmm": (16, 4), "ymm": (8, 2), "xmm": (4, 2)}  # 32 of AVX-512, 16 of AVX, 16 of SSE
OTHERS = (4, 4)  # ARM has 32 of 128 bits


# Intel's processors with AVX512-BF16. With it they multiply half as many numbers as in
# float32 (measured on Emerald Rapids only); AMD's multiply twice as many.
SLOW_HALF = frozenset({
    "cooperlake", "sapphirerapids", "emeraldrapids", "graniterapids", "graniterapids-d",
    "diamondrapids",
})  # fmt: skip


class Form(NamedTuple):
    """What the kernels use of a processor."""

    width: int  # floats in a vector
    vectors: int  # in a line of a panel
    fused: bool  # multiplies and adds in one operation
    half: bool  # multiplies bfloat16 faster than float32
    matrix: bool  # has a unit for whole matrices of them (`matrix_unit`)


def form(triple: str, cpu: str, features: str) -> Form:
    """The form for a target in LLVM's sense.

    A processor's name does not determine its features, so LLVM compiles a probe (about 5 ms). half
    and matrix are read from the list of features, because LLVM ends the process if it cannot
    compile a probe.
    """
    target = llvm.Target.from_triple(triple).create_target_machine(cpu=cpu, features=features)
    assembly = target.emit_assembly(llvm.parse_assembly(FUSED_MULTIPLY_ADD))
    width, vectors = next((REGISTERS[name] for name in REGISTERS if name in assembly), OTHERS)
    fused = "fmaf" not in assembly  # fmaf: the C library's, one call per float
    has = {*features.split(",")} if width == 16 else set()
    matrix = has >= {"+amx-tile", "+amx-bf16"}
    half = matrix or ("+avx512bf16" in has and cpu not in SLOW_HALF)
    return Form(width, vectors, fused, half, matrix)


# numba's target may differ from this processor: see NUMBA_CPU_NAME, NUMBA_CPU_FEATURES and
# NUMBA_ENABLE_AVX.
TARGET: tuple[str, str, str] = cpu_target.target_context.codegen().magic_tuple()
FORM = form(*TARGET)
WIDTH, VECTORS, FUSED, HALF, MATRIX = FORM
PANEL = WIDTH * VECTORS

# The compiler may not regroup or fuse operations unless a kernel asks for it, so that results do
# not depend on inlining. NaN and infinity keep their meaning, because they reveal a diverged run.
EXACT = frozenset({"nsz"})


def _stamp() -> str:
    compiler = f"numba {numba.__version__}, llvmlite {llvmlite.__version__}"
    digest = hashlib.sha256(f"{compiler}, {FORM}".encode())
    for source in sorted(Path(__file__).parent.glob("*.py")):
        digest.update(source.read_bytes())
    return digest.hexdigest()


STAMP = _stamp()


def kernel(
    *, parallel: bool = False, inline: str = "never", fastmath: frozenset[str] | bool = EXACT
) -> Callable[[Callable[..., Any]], Any]:
    """Compile a function on its first call, and store the result on disk if possible."""
    options: dict[str, Any] = {
        "nogil": True,
        "error_model": "numpy",
        "parallel": parallel,
        "inline": inline,
        "fastmath": set(fastmath) if isinstance(fastmath, frozenset) else fastmath,
    }

    def compile_(function: Callable[..., Any]) -> Any:
        dispatcher = numba.njit(**options)(function)
        if cache := _cache(function, provide_externals):
            dispatcher._cache = cache
        template = dispatcher.get_call_template

        def without_literals(args: Any, kws: Any) -> Any:
            return template(tuple(map(types.unliteral, args)), kws)

        # Without this, numba compiles a kernel again for each constant that another kernel passes.
        dispatcher.get_call_template = without_literals
        return dispatcher

    return compile_


def _cache(
    function: Callable[..., Any], before_loading: Callable[[], None] = lambda: None
) -> KernelCache | None:
    """The kernel's cache on disk, or None if no folder is writable."""
    try:
        return KernelCache(function, STAMP, before_loading)
    except (RuntimeError, OSError):
        warn_once(
            "compiled kernels cannot be kept on disk, so every process compiles them again; "
            "set NUMBA_CACHE_DIR to a writable folder"
        )
        return None


class External:
    """A function of 64-bit integers that kernels call through a symbol of this process.

    It is compiled only once. An ordinary kernel is compiled into each kernel that calls it.
    """

    def __init__(self, function: Callable[..., Any]):
        self.function = function
        self.signature = types.void(*[types.int64] * len(signature(function).parameters))
        self.symbol = f"minidark_{function.__name__.strip('_')}"
        self.provided = False
        self.callback: Any = None  # holds the machine code
        _externals.append(self)

    def provide(self) -> None:
        """Compile the function or load it from disk, and make it known to the linker."""
        if self.provided:
            return
        self.provided = True  # set first, because kernels that it calls request it, too
        options = {"nopython": True, "nogil": True, "error_model": "numpy", "fastmath": set(EXACT)}
        parameters, result = self.signature.args, self.signature.return_type
        callback: Any = CFunc(self.function, (parameters, result), {}, options)
        if cache := _cache(self.function):
            callback._cache = cache
        try:
            callback.compile()
        except BaseException:
            self.provided = False
            raise
        llvm.add_symbol(self.symbol, callback.address)
        self.callback = callback

    @property
    def call(self) -> tuple[Any, Callable[..., Any]]:
        """The return value of an intrinsic for this function: its signature and call emitter."""
        self.provide()
        return self.signature, self._emit

    def _emit(self, context: Any, builder: Any, signature: Any, values: Any) -> Any:
        type_ = ir.FunctionType(ir.VoidType(), [ir.IntType(64)] * len(values))
        builder.call(cgutils.get_or_insert_function(builder.module, type_, self.symbol), values)
        return context.get_dummy_value()


_externals: list[External] = []


def provide_externals() -> None:
    """Provide the symbols that machine code from disk refers to.

    It may link `threads._fork`, which needs numba's threads. numba only starts them for a kernel
    that is itself parallel (up to 0.62) or was compiled together with one (0.68). Without them,
    loading another kernel crashed the process.
    """
    numba.get_num_threads()  # starts numba's threads
    for one in _externals:
        one.provide()


def is_kept(dispatcher: Any) -> bool:
    """Whether the kernel is stored on disk in its current form, for numba's target and operands of
    float32. Those of bfloat16 are uint32, and need a form of their own."""
    cache = dispatcher._cache
    kept = cache.stored_forms(TARGET) if isinstance(cache, KernelCache) else []
    return any(types.uint32 not in [getattr(a, "dtype", None) for a in taken] for taken in kept)
