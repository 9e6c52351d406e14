"""Matrix products of whole sequences: darknet's gemm_nt, gemm_nn and gemm_tn, computed in tiles.

Source: darknet src/gemm.c.
"""

from __future__ import annotations

import numpy as np

from minidark.backend import Array
from minidark.backend.compiled import tile
from minidark.backend.compiled.half import UNIT, aligned, pairs_across, pairs_along
from minidark.backend.compiled.kernel import MATRIX, PANEL, kernel
from minidark.backend.compiled.matrix_unit import HEIGHT
from minidark.backend.compiled.threads import share, spread
from minidark.backend.compiled.tile import ROWS, add_array, add_product, transpose_at
from minidark.backend.memory import empty

BLOCK_ROWS = 96  # this many rows of a, BLOCK_DEPTH deep, stay in the cache during a pass over b
BLOCK_DEPTH = 512
GRADIENT_ROWS, GRADIENT_DEPTH = 48, 256  # of the block of a that is transposed, in 48 KiB
GRADIENT_PART = 512  # rows of b, or units, that are packed at a time, which saves memory
MULTIPLIES = 32  # multiply-adds of a tile in the time of one elementary operation


def panels_of(matrix: Array, half: bool = False) -> Array:
    """Pack a matrix (K, N) into panels, such as weights (O, I) for products with rows of O.

    half: round to bfloat16; the panels are units of pairs. So in all functions with this argument.
    """
    return _panels_of(pairs_across(matrix) if half else matrix, False)


def panels_of_transposed(matrix: Array, half: bool = False, result: Array | None = None) -> Array:
    """Pack a matrix (N, K) into panels, such as weights (O, I) for products with rows of I."""
    return _panels_of(pairs_along(matrix) if half else matrix, True, result)


def _panels_of(matrix: Array, transposed: bool, result: Array | None = None) -> Array:
    columns, depth = matrix.shape if transposed else matrix.shape[::-1]
    if result is None:
        result = empty((tile.panels(columns), depth, PANEL), matrix.dtype)
    spread(_pack, len(result), matrix.size, matrix, result, transposed)
    return result


@kernel()
def _pack(matrix, result, transposed, shares):
    share(_pack_panels, (matrix, result, transposed), shares)


@kernel()
def _pack_panels(matrix, result, transposed, lo, hi):
    if transposed:
        tile.pack_transposed(matrix, result, lo, hi)
    else:
        tile.pack(matrix, result, lo, hi)


def gemm_nt(a: Array, b: Array, half: bool = False) -> Array:
    return _product(a, panels_of_transposed(b, half), len(b))


def gemm_nn(a: Array, b: Array, half: bool = False) -> Array:
    return _product(a, panels_of(b, half), b.shape[1])


def _product(a: Array, b: Array, columns: int) -> Array:
    c = empty((len(a), columns))
    a, work = _whole_rows(a), a.size * columns // MULTIPLIES
    spread(_multiply, len(c), work, _address(a), a.strides[0] // 4, a.shape[1], b, c,
           grain=_grain(b.dtype == UNIT))  # fmt: skip
    return c


@kernel()
def _multiply(a, a_row, depth, b, c, shares):
    share(_multiply_rows, (a, a_row, depth, b, c), shares)


@kernel()
def _multiply_rows(a, a_row, depth, b, c, lo, hi):
    columns = c.shape[1]
    for row in range(lo, hi, BLOCK_ROWS):
        end = min(row + BLOCK_ROWS, hi)
        c[row:end] = 0
        for k in range(0, depth, BLOCK_DEPTH):
            part = min(BLOCK_DEPTH, depth - k)
            add_product(c, 0, columns, a + 4 * k, a_row, b, k, part, row, end)


def gemm_tn(a: Array, b: Array, c: Array, half: bool = False) -> None:
    length = GRADIENT_PART * (2 if half else 1)
    for begin in range(0, len(a), length):
        part = slice(begin, begin + length)
        rows = pairs_across(a[part]) if half else _whole_rows(a[part])
        work = a[part].size * b.shape[1] // MULTIPLIES
        spread(_gradient, len(c), work, _address(rows), rows.strides[0] // 4,
               panels_of(b[part], half), c, grain=_grain(half))  # fmt: skip


@kernel()
def _gradient(a, a_row, b, c, shares):
    share(_gradient_rows, (a, a_row, b, c), shares)


@kernel()
def _gradient_rows(a, a_row, b, c, lo, hi):
    """c[lo:hi] += the transpose of a times b. A block of a is transposed, for the panels of b."""
    depth, inputs = b.shape[1], c.shape[1]
    block = aligned(GRADIENT_ROWS, GRADIENT_DEPTH)
    for k in range(0, depth, GRADIENT_DEPTH):
        part = min(GRADIENT_DEPTH, depth - k)
        for o in range(lo, hi, GRADIENT_ROWS):
            rows = min(GRADIENT_ROWS, hi - o)
            transpose_at(a + 4 * (k * a_row + o), 4 * a_row, part, rows, block.view(np.float32))
            turned = block[:rows, :part].view(b.dtype)
            c_at, b_at = c.ctypes.data + 4 * o * inputs, b.ctypes.data + 4 * k * PANEL
            add_array(c_at, inputs, inputs, turned, b_at, depth * PANEL)


def _grain(half: bool) -> int:
    """Rows that are computed together, which threads should not divide."""
    return HEIGHT if half and MATRIX else ROWS


def _whole_rows(a: Array) -> Array:
    """a if each of its rows is contiguous, as in a slice of columns; else a copy."""
    whole = a.strides[1] == a.itemsize and a.strides[0] >= 0 and a.strides[0] % a.itemsize == 0
    return a if whole and a.flags.aligned else np.ascontiguousarray(a)


def _address(a: Array) -> int:
    return int(a.__array_interface__["data"][0])
