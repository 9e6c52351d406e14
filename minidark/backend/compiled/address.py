"""Rows of float32 at an address, for kernels whose operands are parts of arrays."""

from __future__ import annotations

from typing import Any

from llvmlite import ir
from numba import carray, types
from numba.extending import intrinsic

from minidark.backend.compiled.kernel import kernel


@intrinsic
def _floats_at(typingctx: Any, address: Any) -> Any:
    def codegen(context: Any, builder: Any, signature: Any, values: Any) -> Any:
        return builder.inttoptr(values[0], ir.FloatType().as_pointer())

    return types.CPointer(types.float32)(types.int64), codegen


@kernel(inline="always")
def row_at(address, size):
    """(size,) float32 at an address, without a copy."""
    return carray(_floats_at(address), size)
