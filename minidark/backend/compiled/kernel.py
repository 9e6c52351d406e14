"""How kernels are compiled, and how long what was compiled is kept.

numba keeps machine code beside the sources and asks only whether the file of a function changed.
But the code of one kernel holds what it calls from other files, and the width of the tile, which is
this processor's: so what is kept is stamped with all sources of this package and that width. A
global of a kernel is frozen into its code: none may come from another package but numpy's.
"""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any

import llvmlite.binding as llvm
import numba

log = logging.getLogger(__name__)


def _vectors() -> tuple[int, int]:
    """Floats in a vector and vectors in a line of a panel, such that 6 rows of accumulators, a line
    and a factor fit the registers: 32 of 512 bits, 32 of 128 (ARM), or 16 of 256."""
    if llvm.get_host_cpu_features().get("avx512f"):
        return 16, 4
    return (4, 4) if llvm.get_default_triple().startswith(("aarch64", "arm64")) else (8, 2)


WIDTH, VECTORS = _vectors()
PANEL = WIDTH * VECTORS

# Nothing is regrouped or fused but what a kernel asks for, so that the bytes of a result do not
# depend on what the compiler inlines where; NaN and infinity keep their meaning, because a run that
# diverges is found by them.
EXACT = frozenset({"nsz"})


def _stamp() -> str:
    digest = hashlib.sha256(f"{WIDTH} {VECTORS}".encode())
    for source in sorted(Path(__file__).parent.glob("*.py")):
        digest.update(source.read_bytes())
    return digest.hexdigest()


STAMP = _stamp()


def kernel(
    *, parallel: bool = False, inline: str = "never", fastmath: frozenset[str] | bool = EXACT
) -> Callable[[Callable[..., Any]], Any]:
    """Compile a function at its first call, and keep it where this machine lets us."""
    options: dict[str, Any] = {
        "nogil": True,
        "error_model": "numpy",
        "parallel": parallel,
        "inline": inline,
        "fastmath": set(fastmath) if isinstance(fastmath, frozenset) else fastmath,
    }

    def compile_(function: Callable[..., Any]) -> Any:
        try:
            dispatcher = numba.njit(cache=True, **options)(function)
            kept = dispatcher._cache._cache_file
            kept._source_stamp = (kept._source_stamp, STAMP)
        except (RuntimeError, AttributeError):  # no folder can be written into; another numba
            _tell_once()
            return numba.njit(**options)(function)
        return dispatcher

    return compile_


_told: list[bool] = []


def _tell_once() -> None:
    if not _told:
        _told.append(True)
        log.warning(
            "the compiled kernels cannot be kept and are compiled anew by every process; "
            "set NUMBA_CACHE_DIR to a folder that can be written into"
        )


def is_kept(dispatcher: Any) -> bool:
    """Whether this machine holds the kernel compiled, as it is now."""
    try:
        return bool(dispatcher._cache._cache_file._load_index())
    except (OSError, AttributeError):
        return False
