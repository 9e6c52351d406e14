"""How kernels are compiled, and how long what was compiled is kept.

numba keeps machine code beside the sources and asks only whether the file of a function changed.
But the code of one kernel holds what it calls from other files, and the form of the tile, which
follows the processor that numba compiles for: so what is kept is stamped with all sources of this
package, that form, and the versions of numba and llvmlite, whose helpers the code calls. A global
of a kernel is frozen into its code: none may come from another package but numpy's.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from inspect import signature
from pathlib import Path
from typing import Any

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

# By the registers in its code: floats in a vector, and vectors in a line of a panel, such that 6
# rows of accumulators, a line and a factor fit, and a product where it is not fused.
REGISTERS = {"zmm": (16, 4), "ymm": (8, 2), "xmm": (4, 2)}  # 32 of AVX-512, 16 of AVX, 16 of SSE
OTHERS = (4, 4)  # ARM has 32 of 128 bits


def form(triple: str, cpu: str, features: str) -> tuple[int, int, bool]:
    """WIDTH, VECTORS and FUSED for what LLVM calls a target.

    A processor's name alone does not tell its features, so LLVM compiles a probe (some 5 ms).
    """
    target = llvm.Target.from_triple(triple).create_target_machine(cpu=cpu, features=features)
    assembly = target.emit_assembly(llvm.parse_assembly(FUSED_MULTIPLY_ADD))
    width, vectors = next((REGISTERS[name] for name in REGISTERS if name in assembly), OTHERS)
    return width, vectors, "fmaf" not in assembly  # the C library's, called for each float


# Of numba's target, which NUMBA_CPU_NAME, NUMBA_CPU_FEATURES and NUMBA_ENABLE_AVX may make another
# processor than this one.
WIDTH, VECTORS, FUSED = form(*cpu_target.target_context.codegen().magic_tuple())
PANEL = WIDTH * VECTORS

# Nothing is regrouped or fused but what a kernel asks for, so that the bytes of a result do not
# depend on what the compiler inlines where; NaN and infinity keep their meaning, because a run that
# diverges is found by them.
EXACT = frozenset({"nsz"})


def _stamp() -> str:
    compiler = f"numba {numba.__version__}, llvmlite {llvmlite.__version__}"
    digest = hashlib.sha256(f"{compiler}, tile {WIDTH} {VECTORS} {FUSED}".encode())
    for source in sorted(Path(__file__).parent.glob("*.py")):
        digest.update(source.read_bytes())
    return digest.hexdigest()


STAMP = _stamp()


def kernel(
    *, parallel: bool = False, inline: str = "never", fastmath: frozenset[str] | bool = EXACT
) -> Callable[[Callable[..., Any]], Any]:
    """Compile a function at its first call, and keep it on disk where that is possible."""
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

        # numba would compile a kernel once more for each constant that another kernel passes.
        dispatcher.get_call_template = without_literals
        return dispatcher

    return compile_


def _cache(
    function: Callable[..., Any], before_loading: Callable[[], None] = lambda: None
) -> KernelCache | None:
    """None where no folder can be written to."""
    try:
        return KernelCache(function, STAMP, before_loading)
    except (RuntimeError, OSError):
        warn_once(
            "the compiled kernels cannot be kept and are compiled anew by every process; "
            "set NUMBA_CACHE_DIR to a folder that can be written into"
        )
        return None


class External:
    """A function of 64-bit integers that kernels call by a symbol of this process. It is compiled
    once; a kernel that others call as usual is compiled again into each of them."""

    def __init__(self, function: Callable[..., Any]):
        self.function = function
        self.signature = types.void(*[types.int64] * len(signature(function).parameters))
        self.symbol = f"minidark_{function.__name__.strip('_')}"
        self.provided = False
        self.callback: Any = None  # holds the machine code
        _externals.append(self)

    def provide(self) -> None:
        """Compile it, or read it from disk, and let the linker find it."""
        if self.provided:
            return
        self.provided = True  # at once: kernels that it calls ask for it, too
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
        """What an intrinsic returns that stands for it: the signature, and what emits the call."""
        self.provide()
        return self.signature, self._emit

    def _emit(self, context: Any, builder: Any, signature: Any, values: Any) -> Any:
        type_ = ir.FunctionType(ir.VoidType(), [ir.IntType(64)] * len(values))
        builder.call(cgutils.get_or_insert_function(builder.module, type_, self.symbol), values)
        return context.get_dummy_value()


_externals: list[External] = []


def provide_externals() -> None:
    """Make ready what machine code from disk refers to.

    It may link `threads._fork`, which needs numba's threads. numba starts them only for a kernel
    that is parallel itself (up to 0.62), or that was compiled beside one (0.68); loading any other
    ended the process.
    """
    numba.get_num_threads()  # starts them
    for one in _externals:
        one.provide()


def is_kept(dispatcher: Any) -> bool:
    """Whether this machine holds the kernel compiled, as it is now."""
    cache = dispatcher._cache
    return isinstance(cache, KernelCache) and cache.holds_any()
