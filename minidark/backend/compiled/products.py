"""Matrix products of whole sequences: darknet's gemm_nt, gemm_nn and gemm_tn, computed in tiles.

Source: darknet src/gemm.c.
"""

from __future__ import annotations

import numpy as np

from minidark.backend import Array
from minidark.backend.compiled import tile
from minidark.backend.compiled.half import aligned, is_half, pairs_across, pairs_along
from minidark.backend.compiled.kernel import MATRIX, PANEL, kernel
from minidark.backend.compiled.matrix_unit import LINES
from minidark.backend.compiled.threads import share, spread
from minidark.backend.compiled.tile import ROWS, add_pairs, add_part, add_product, transpose
from minidark.backend.memory import empty

BLOCK_ROWS = 96  # this many rows of a, BLOCK_DEPTH deep, stay in the cache during a pass over b
BLOCK_DEPTH = 512
GRADIENT_DEPTH = 64  # this many rows of b stay in the cache during a pass over a's columns
BLOCK_UNITS = 256  # the matrix unit takes deeper blocks, because it spends less time on them
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
    spread(_multiply, len(c), work, _address(a), a.strides[0] // 4, a.shape[1], b, c, grain=ROWS)
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
    work = a.size * b.shape[1] // MULTIPLIES
    if half and MATRIX:
        spread(_gradient_of_pairs, len(c), work, pairs_across(a), panels_of(b, half), c,
               grain=LINES)  # fmt: skip
        return
    a, b = (pairs_across(a), pairs_across(b)) if half else (_whole_rows(a), b)
    if b.shape[1] % PANEL:
        b, b_k = _panels_of(np.ascontiguousarray(b), False), PANEL
    else:  # rows are already whole lines of panels
        b, b_k = np.ascontiguousarray(b)[None], b.shape[1]
    spread(_gradient, len(c), work, _address(a), a.strides[0] // 4, b, c, b_k,
           grain=ROWS)  # fmt: skip


@kernel()
def _gradient(a, a_row, b, c, b_k, shares):
    share(_gradient_rows, (a, a_row, b, c, b_k), shares)


@kernel()
def _gradient_rows(a, a_row, b, c, b_k, lo, hi):
    rows, inputs, half = b.shape[1], c.shape[1], is_half(b)
    panel = PANEL if b_k > PANEL else rows * PANEL  # from one panel of b to the next
    edge = np.empty((ROWS, PANEL), np.float32)
    for k in range(0, rows, GRADIENT_DEPTH):
        depth = min(GRADIENT_DEPTH, rows - k)
        for o in range(lo, hi, ROWS):
            count = min(ROWS, hi - o)
            a_at = a + 4 * (k * a_row + o)
            for p in range((inputs + PANEL - 1) // PANEL):
                b_at = b.ctypes.data + 4 * (p * panel + k * b_k)
                c_at = c.ctypes.data + 4 * (o * inputs + p * PANEL)
                width = min(PANEL, inputs - p * PANEL)
                add_part(count, width, half, c_at, inputs, a_at, 1, a_row, b_at, b_k, depth, edge)


@kernel()
def _gradient_of_pairs(a, b, c, shares):
    share(_gradient_blocks, (a, b, c), shares)


@kernel()
def _gradient_blocks(a, b, c, lo, hi):
    """c[lo:hi] += the transpose of a (K, O) times panels b, for the matrix unit."""
    depth, inputs = b.shape[1], c.shape[1]
    block = aligned(LINES, BLOCK_UNITS)
    for k in range(0, depth, BLOCK_UNITS):
        part = min(BLOCK_UNITS, depth - k)
        for o in range(lo, hi, LINES):
            rows = min(LINES, hi - o)
            transpose(a[k : k + part, o : o + rows], block)
            c_at, b_at = c[o].ctypes.data, b[0, k].ctypes.data
            add_pairs(c_at, inputs, inputs, block[:rows, :part], b_at, depth * PANEL)


def _whole_rows(a: Array) -> Array:
    """a if each of its rows is contiguous, as in a slice of columns; else a copy."""
    whole = a.strides[1] == a.itemsize and a.strides[0] >= 0 and a.strides[0] % a.itemsize == 0
    return a if whole and a.flags.aligned else np.ascontiguousarray(a)


def _address(a: Array) -> int:
    return int(a.__array_interface__["data"][0])
