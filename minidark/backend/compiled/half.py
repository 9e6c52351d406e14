"""Numbers of bfloat16, in pairs: the operands of matrix products with precision "bf16".

A unit of four bytes has two numbers that are neighbours along k, the axis that the product sums
over. The first is in the low half. So a matrix of units has the strides of one of float32 with half
as many k, and the same code packs and multiplies both. The last unit of an odd number of k is
filled with zero.

Numbers are rounded to nearest, to even in a tie, as `numpy` rounds float64 to float32. NaN stays
NaN. The processor's products take subnormal numbers of bfloat16, below 1.2e-38, as zero.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from llvmlite import ir
from numba import types
from numba.extending import intrinsic

from minidark.backend import Array
from minidark.backend.compiled.kernel import kernel
from minidark.backend.compiled.threads import share, spread
from minidark.backend.memory import LINE_BYTES, empty

UNIT = np.uint32
BITS = ir.IntType(32)
LINE = LINE_BYTES // 4  # units in a line of the cache


@intrinsic
def pair(typingctx: Any, first: Any, second: Any) -> Any:
    """The unit of two float32."""

    def codegen(context: Any, builder: Any, signature: Any, values: Any) -> Any:
        low, high = (_rounded(builder, value) for value in values)
        return builder.or_(low, builder.shl(high, ir.Constant(BITS, 16)))

    return types.uint32(types.float32, types.float32), codegen


def _rounded(builder: Any, x: Any) -> Any:
    """The bits of a float32 as a bfloat16, in 32 bits. They are its upper half, after adding almost
    half of the last kept bit: 0x7fff, or 0x8000 if that bit is one, so that ties become even."""
    bits = builder.bitcast(x, BITS)
    sixteen, one = ir.Constant(BITS, 16), ir.Constant(BITS, 1)
    odd = builder.and_(builder.lshr(bits, sixteen), one)
    more = builder.add(builder.add(bits, ir.Constant(BITS, 0x7FFF)), odd)
    quiet = builder.or_(bits, ir.Constant(BITS, 0x400000))  # NaN could become infinity
    return builder.lshr(builder.select(builder.fcmp_unordered("uno", x, x), quiet, more), sixteen)


@intrinsic
def is_half(typingctx: Any, packed: Any) -> Any:
    """1 for an array of units, 0 for one of float32: a constant."""
    constant = ir.Constant(ir.IntType(64), int(packed.dtype == types.uint32))
    return types.int64(packed), lambda *emitting: constant


def pairs_along(matrix: Array) -> Array:
    """(N, K) to units (N, ceil(K / 2)), of neighbours in a row."""
    units = empty((len(matrix), -(-matrix.shape[1] // 2)), UNIT)
    spread(_along, len(units), matrix.size, matrix, units)
    return units


@kernel()
def _along(matrix, units, shares):
    share(_along_rows, (matrix, units), shares)


@kernel()
def _along_rows(matrix, units, lo, hi):
    for n in range(lo, hi):
        pair_row(matrix[n], units[n])


@kernel()
def pair_row(row, units):
    """(K,) to units (ceil(K / 2),)."""
    whole = row.size // 2
    for k in range(whole):
        units[k] = pair(row[2 * k], row[2 * k + 1])
    if row.size % 2:
        units[whole] = pair(row[row.size - 1], np.float32(0))


@kernel()
def aligned(rows, units):
    """Uninitialized units (rows, units). Each row begins at a line of the cache, so that no vector
    or row of a matrix unit's register needs two."""
    row = (units + LINE - 1) // LINE * LINE
    scratch = np.empty((rows + 1) * row, UNIT)
    begin = -scratch.ctypes.data % (4 * LINE) // 4
    return scratch[begin : begin + rows * row].reshape(rows, row)[:, :units]


def pairs_across(matrix: Array) -> Array:
    """(K, N) to units (ceil(K / 2), N), of neighbours in a column."""
    units = empty((-(-len(matrix) // 2), matrix.shape[1]), UNIT)
    spread(_across, len(units), matrix.size, matrix, units)
    return units


@kernel()
def _across(matrix, units, shares):
    share(across_rows, (matrix, units), shares)


@kernel()
def across_rows(matrix, units, lo, hi):
    """Write rows lo to hi of the units, which may be the matrix's own memory if lo is 0."""
    whole = len(matrix) // 2
    for k in range(lo, min(hi, whole)):
        first, second, line = matrix[2 * k], matrix[2 * k + 1], units[k]
        for n in range(line.size):
            line[n] = pair(first[n], second[n])
    if hi > whole:
        first, line = matrix[2 * whole], units[whole]
        for n in range(line.size):
            line[n] = pair(first[n], np.float32(0))
