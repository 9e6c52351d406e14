"""CUDA C on the CPU: g++ compiles it behind shim.h, ctypes calls it.

What a kernel gets is copied between guards: it may not write outside its arrays, reads NaN there,
and leaves alone what it declares `const`. Numbers must have the size that it declares.
"""

from __future__ import annotations

import ctypes
import functools
import hashlib
import re
import shutil
import subprocess
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

SHIM = Path(__file__).with_name("shim.h")
COMPILER = shutil.which("g++")
GUARD = 64  # numbers before and behind each array
MARK = {"f": np.nan, "i": -(2**40)}
C_DTYPES = {"float": "float32", "double": "float64", "long long": "int64"}
C_NAMES = {dtype: name for name, dtype in C_DTYPES.items()}
KERNEL = re.compile(r"__global__ void (\w+)\(([^)]*)\)")
DEVICE = re.compile(r"__device__ \w+ (\w+)\(")
BARRIERS = ("__syncthreads", "__shfl_xor_sync")


@dataclass(frozen=True)
class Declared:
    """A parameter of a kernel."""

    dtype: np.dtype[Any]
    pointer: bool
    const: bool


@functools.cache
def compiled(source: str, real: str) -> Library:
    return Library(source, real)


class Library:
    """The kernels of a source, by name."""

    def __init__(self, source: str, real: str):
        self.declared = {
            name: [_declared(text, real) for text in parameters.split(",")]
            for name, parameters in KERNEL.findall(source)
        }
        self.barriers = _with_barriers(source)
        calls = "\n".join(map(self._call, self.declared))
        program = f'#include "{SHIM}"\n{source}\n{calls}\n'
        self.library = ctypes.CDLL(str(_built(program, real)))

    def _call(self, name: str) -> str:
        """A C function that runs a kernel over a grid, its arguments by pointers as CUDA's."""
        types = [f"{C_NAMES[d.dtype.name]}{'*' if d.pointer else ''}" for d in self.declared[name]]
        casts = [f"*({type_}*)a[{i}]" for i, type_ in enumerate(types)]
        barriers = str(name in self.barriers).lower()
        return (
            f'extern "C" int run_{name}(const int64_t* grid, const int64_t* block, bool reverse, '
            f"void** a) {{ return run_grid(grid, block, reverse, {barriers}, "
            f"[&] {{ {name}({', '.join(casts)}); }}); }}"
        )

    def run(
        self,
        name: str,
        grid: Sequence[int],
        block: Sequence[int],
        arguments: Sequence[Any],
        reverse: bool = False,
    ) -> None:
        """Launch a kernel on numpy arrays, which are written in place, and numpy scalars."""
        declared = self.declared[name]
        if len(arguments) != len(declared):
            raise TypeError(f"{name} takes {len(declared)} arguments; {len(arguments)} given")
        guarded = [_Guarded(name, a, d) for a, d in zip(arguments, declared, strict=True)]
        _check_apart(name, guarded)
        pointers = (ctypes.c_void_p * len(guarded))(*(g.address for g in guarded))
        sizes = [(ctypes.c_int64 * 2)(*(*size, 1)[:2]) for size in (grid, block)]
        if getattr(self.library, f"run_{name}")(*sizes, ctypes.c_bool(reverse), pointers):
            raise RuntimeError(f"{name}: a barrier was reached by only a part of its threads")
        for g in guarded:
            g.finish()


class _Guarded:
    """One argument between its guards, and afterwards back in its place."""

    def __init__(self, kernel: str, given: Any, declared: Declared):
        self.kernel, self.given, self.declared = kernel, given, declared
        dtype = getattr(given, "dtype", None)
        if declared.pointer != isinstance(given, np.ndarray) or dtype != declared.dtype:
            raise TypeError(f"{kernel}: {type(given)} of {dtype} is given for {declared}")
        mark = MARK[declared.dtype.kind]
        self.room = np.full(given.size + 2 * GUARD, mark, declared.dtype)
        self.inside = self.room[GUARD : GUARD + given.size]
        self.inside[...] = given.reshape(-1)
        self.pointer = ctypes.c_void_p(self.inside.ctypes.data)
        self.address = ctypes.addressof(self.pointer) if declared.pointer else self.pointer.value

    def finish(self) -> None:
        mark = np.full(GUARD, MARK[self.declared.dtype.kind], self.declared.dtype)
        for guard in (self.room[:GUARD], self.room[GUARD + self.inside.size :]):
            if not np.array_equal(guard, mark, equal_nan=mark.dtype.kind == "f"):
                raise RuntimeError(f"{self.kernel} writes outside of an array")
        if self.declared.pointer and not self.declared.const:
            self.given[...] = self.inside.reshape(self.given.shape)


def _check_apart(name: str, guarded: Sequence[_Guarded]) -> None:
    """An array that is written may not overlap another: the copies would not see each other."""
    arrays = [g for g in guarded if g.declared.pointer]
    for i, a in enumerate(arrays):
        for b in arrays[i + 1 :]:
            written = not (a.declared.const and b.declared.const)
            if written and np.may_share_memory(a.given, b.given):
                raise RuntimeError(f"{name}: two arrays overlap, and one of them is written")


def _declared(text: str, real: str) -> Declared:
    match = re.fullmatch(r"\s*(const )?(real|float|long long)(\*?) \w+\s*", text)
    assert match, f"a parameter that the shim does not know: {text}"
    dtype = np.dtype(C_DTYPES[real if match[2] == "real" else match[2]])
    return Declared(dtype, match[3] == "*", bool(match[1]))


def _with_barriers(source: str) -> set[str]:
    """The functions that meet barriers, by themselves or through what they call."""
    starts = [(m.start(), m[1]) for r in (KERNEL, DEVICE) for m in r.finditer(source)]
    starts.sort()
    ends = [at for at, _ in starts[1:]] + [len(source)]
    bodies = {name: source[at:end] for (at, name), end in zip(starts, ends, strict=True)}
    found: set[str] = set()
    while True:
        calls = [*BARRIERS, *found]
        more = {n for n, text in bodies.items() if any(f"{c}(" in text for c in calls)}
        if more <= found:
            return found
        found |= more


def _built(program: str, real: str) -> Path:
    """A shared library, compiled once for each text."""
    assert COMPILER, "g++ is missing"
    key = hashlib.sha256((SHIM.read_text() + program + real).encode()).hexdigest()[:16]
    built = Path(tempfile.gettempdir()) / f"minidark-shim-{key}.so"
    if not built.exists():
        with tempfile.TemporaryDirectory() as folder:
            text, made = Path(folder) / "kernels.cpp", Path(folder) / built.name
            text.write_text(program)
            flags = ["-O1", "-std=c++17", "-ffp-contract=off", "-shared", "-fPIC", f"-Dreal={real}"]
            subprocess.run([COMPILER, *flags, str(text), "-o", str(made)], check=True)
            shutil.copy(made, f"{built}.{key}")
            Path(f"{built}.{key}").replace(built)
    return built
