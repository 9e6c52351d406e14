"""Matrix products from one tile: a few rows of C, one panel wide, in registers.

    C[r, n] += sum over k of A[r, k] * B[k, n]        r < R <= 6 rows, n < PANEL columns

B is packed in panels, (panels, K, PANEL). For increasing k, the tile reads contiguous lines, for
any K, and uses each line for R rows. So a product of about five rows or more nearly reaches the
peak of a core, where a general BLAS spends half its time on packing and on waiting for threads. The
recurrent products of a training pass are of this kind. Their weights are the same in every step and
are packed once per pass.

The tile is written in LLVM's intermediate language, because plain loops do not keep the
accumulators in registers. Each element of C is summed separately in the order of k. So results do
not depend on the number of threads, the division of rows into tiles, or the vector width.

Processors with fused multiply-add (ARM, and x86-64 since Haswell) round each product and addition
once. Other x86-64 processors round the product first, then the sum, so the last bits of their
results differ. The C library could fuse in software, but needs a call for each float.

The operands are float32, or pairs of bfloat16 in units of the same size (`half.py`). Of these, an
instruction multiplies twice as many on AMD's processors; on Intel's, `matrix_unit` takes the place
of the tile. C and the sums are float32 in all cases.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

from minidark.backend.compiled.address import row_at
from minidark.backend.compiled.half import aligned, is_half, pair_row
from minidark.backend.compiled.kernel import (
    FUSED,
    HALF,
    MATRIX,
    PANEL,
    VECTORS,
    WIDTH,
    External,
    kernel,
)
from minidark.backend.compiled.matrix_unit import add_units

ROWS = 6


@intrinsic
def add_tile(
    typingctx: Any,
    rows: Any,
    half: Any,
    c: Any,
    c_row: Any,
    a: Any,
    a_row: Any,
    b: Any,
    depth: Any,
) -> Any:
    """Add a tile of 1 to ROWS rows to c. c, a and b are addresses; strides of rows, and depth, are
    in units of four bytes. half: the units of a and b are pairs of bfloat16.

    The code is emitted where it is called, so the caller's fixed strides become constants.
    """

    def codegen(context: Any, builder: Any, signature: Any, values: Any) -> Any:
        rows, half, *rest = values
        number = builder.add(rows, builder.mul(half, ir.Constant(rows.type, ROWS)))
        done = builder.append_basic_block("tiles_done")
        cases = builder.switch(number, done)
        for case in range(2 * ROWS if HALF else ROWS):
            block = builder.append_basic_block("rows")
            cases.add_case(ir.Constant(rows.type, case + 1), block)
            builder.position_at_end(block)
            _emit_tile(builder, case % ROWS + 1, _add_products if case >= ROWS else _add, *rest)
            builder.branch(done)
        builder.position_at_end(done)
        return context.get_dummy_value()

    parameters = (rows, half, c, c_row, a, a_row, b, depth)
    return types.void(*[types.int64] * len(parameters)), codegen


def _emit_tile(
    builder: Any,
    rows: int,
    multiply_add: Any,
    c: Any,
    c_row: Any,
    a: Any,
    a_row: Any,
    b: Any,
    depth: Any,
) -> None:
    float_, index = ir.FloatType(), ir.IntType(64)
    vector = ir.VectorType(float_, WIDTH)
    undefined = ir.Constant(vector, ir.Undefined)
    lanes = ir.Constant(ir.VectorType(ir.IntType(32), WIDTH), [0] * WIDTH)

    def at(array: Any, stride: Any, number: int) -> Any:
        return builder.gep(array, [builder.mul(stride, ir.Constant(index, number))])

    def vector_at(line: Any, v: int) -> Any:
        start = builder.gep(line, [ir.Constant(index, v * WIDTH)])
        return builder.bitcast(start, vector.as_pointer())

    c, a, b = (builder.inttoptr(address, float_.as_pointer()) for address in (c, a, b))
    a_rows = [at(a, a_row, r) for r in range(rows)]
    before = builder.block
    loop = builder.append_basic_block("tile")
    after = builder.append_basic_block("tile_done")
    builder.branch(loop)

    builder.position_at_end(loop)
    k, b_at = (builder.phi(index) for _ in range(2))  # b_at: k lines
    sums = [[builder.phi(vector) for _ in range(VECTORS)] for _ in range(rows)]
    line = builder.gep(b, [b_at])
    columns = [builder.load(vector_at(line, v), align=4) for v in range(VECTORS)]
    new_sums = []
    for r in range(rows):
        factor = builder.load(builder.gep(a_rows[r], [k]))
        first = builder.insert_element(undefined, factor, ir.Constant(ir.IntType(32), 0))
        factors = builder.shuffle_vector(first, undefined, lanes)
        new_sums.append(
            [multiply_add(builder, factors, columns[v], sums[r][v]) for v in range(VECTORS)]
        )
    k_next = builder.add(k, ir.Constant(index, 1))
    b_next = builder.add(b_at, ir.Constant(index, PANEL))
    for number, following in ((k, k_next), (b_at, b_next)):
        number.add_incoming(ir.Constant(index, 0), before)
        number.add_incoming(following, loop)
    zeros = ir.Constant(vector, [0.0] * WIDTH)
    for r in range(rows):
        for v in range(VECTORS):
            sums[r][v].add_incoming(zeros, before)
            sums[r][v].add_incoming(new_sums[r][v], loop)
    builder.cbranch(builder.icmp_signed("<", k_next, depth), loop, after)

    builder.position_at_end(after)
    for r in range(rows):
        for v in range(VECTORS):
            place = vector_at(at(c, c_row, r), v)
            old = builder.load(place, align=4)
            builder.store(builder.fadd(old, new_sums[r][v]), place, align=4)


def _add(builder: Any, a: Any, b: Any, c: Any) -> Any:
    """a * b + c for vectors."""
    if not FUSED:
        return builder.fadd(builder.fmul(a, b), c)
    signature = ir.FunctionType(c.type, [c.type] * 3)
    name = f"llvm.fma.v{WIDTH}f32"
    fma = cgutils.get_or_insert_function(builder.module, signature, name)
    return builder.call(fma, [a, b, c])


def _add_products(builder: Any, a: Any, b: Any, c: Any) -> Any:
    """a * b + c, where the lanes of a and b are pairs of bfloat16, whose two products are added."""
    pairs = ir.VectorType(ir.IntType(32), WIDTH)
    signature = ir.FunctionType(c.type, [c.type, pairs, pairs])
    name = "llvm.x86.avx512bf16.dpbf16ps.512"
    dot = cgutils.get_or_insert_function(builder.module, signature, name)
    return builder.call(dot, [c, builder.bitcast(a, pairs), builder.bitcast(b, pairs)])


@kernel(inline="always")
def add_part(rows, columns, half, c, c_row, a, a_row, b, depth, edge):
    """Like `add_tile`, for a c with fewer columns. edge (ROWS, PANEL) is scratch space."""
    if columns == PANEL:
        add_tile(rows, half, c, c_row, a, a_row, b, depth)
        return
    edge[:rows] = 0
    add_tile(rows, half, edge.ctypes.data, PANEL, a, a_row, b, depth)
    for r in range(rows):
        row = row_at(c + 4 * r * c_row, columns)
        for n in range(columns):
            row[n] += edge[r, n]


@External
def _product(c, c_row, columns, a, a_row, b, b_panel, depth, rows, half):
    """c (rows, columns) += a (rows, depth) times the panels at b, of units if half.

    c, a and b are addresses. The strides c_row, a_row and b_panel are in units of four bytes.
    """
    if half:
        pairs = aligned(rows, (depth + 1) // 2)
        for r in range(rows):
            pair_row(row_at(a + 4 * r * a_row, depth), pairs[r])
        add_array(c, c_row, columns, pairs, b, b_panel)
    else:
        _add_tiles(c, c_row, columns, a, a_row, b, b_panel, depth, rows, False)


@kernel()  # not inline: the caller keeps the memory of a, of which only the address is used here
def add_array(c, c_row, columns, a, b, b_panel):
    """c (rows, columns) += a (rows, k) times the panels at b. c and b are addresses, a an array of
    float32 or units; the strides are in units of four bytes."""
    (rows, depth), a_at, a_row, half = a.shape, a.ctypes.data, a.strides[0] // 4, is_half(a)
    if half and MATRIX:
        add_units(c, c_row, columns, a_at, a_row, b, b_panel, depth, rows)
    else:
        _add_tiles(c, c_row, columns, a_at, a_row, b, b_panel, depth, rows, half)


@kernel(inline="always")
def _add_tiles(c, c_row, columns, a, a_row, b, b_panel, depth, rows, half):
    """The tiles have nearly the same height, so that no tile of a single row remains."""
    edge = np.empty((ROWS, PANEL), np.float32)
    tiles = (rows + ROWS - 1) // ROWS
    for p in range((columns + PANEL - 1) // PANEL):
        width = min(PANEL, columns - p * PANEL)
        row = 0
        for tile in range(tiles):
            count = (rows - row + tiles - tile - 1) // (tiles - tile)
            c_at, a_at = c + 4 * (row * c_row + p * PANEL), a + 4 * row * a_row
            b_at = b + 4 * p * b_panel
            add_part(count, width, half, c_at, c_row, a_at, a_row, b_at, depth, edge)
            row += count


@intrinsic
def _call_product(
    typingctx: Any,
    c: Any,
    c_row: Any,
    columns: Any,
    a: Any,
    a_row: Any,
    b: Any,
    b_panel: Any,
    depth: Any,
    rows: Any,
    half: Any,
) -> Any:
    return _product.call


@kernel(inline="always")
def add_strided(c, c_row, columns, a, a_row, b, b_panel, depth, rows, half):
    """c (rows, columns) += a (rows, depth) times the panels at b, of units if half. c, a and b are
    addresses; the strides are in units of four bytes."""
    _call_product(c, c_row, columns, a, a_row, b, b_panel, depth, rows, half)


@kernel()
def add_product(c, c_begin, columns, a, a_row, packed, k_begin, depth, lo, hi):
    """c[lo:hi, c_begin:][:columns] += a[lo:hi, :depth] times `packed` from k_begin on.

    c is a C-contiguous matrix. a is the address of float32, and a_row its row stride in floats. If
    `packed` has units, a is rounded as they are, and k_begin is even.
    """
    c_row, b_panel, half = c.shape[1], packed.shape[1] * PANEL, is_half(packed)
    c_at = c.ctypes.data + 4 * (lo * c_row + c_begin)
    b_at = packed.ctypes.data + 4 * (k_begin >> half) * PANEL
    a_at = a + 4 * lo * a_row
    _call_product(c_at, c_row, columns, a_at, a_row, b_at, b_panel, depth, hi - lo, half)


@intrinsic
def transpose_block(
    typingctx: Any, target: Any, target_row: Any, source: Any, source_row: Any
) -> Any:
    """Write the transpose of a square block of WIDTH rows and columns of units. target and source
    are addresses; the strides of rows are in bytes.

    All rows are in registers. In round d = 1, 2, 4 ..., rows n and n + d exchange every other group
    of d lanes. Loops that move one unit at a time take three times as long, because they wait for
    each line of memory.
    """

    def codegen(context: Any, builder: Any, signature: Any, values: Any) -> Any:
        target, target_row, source, source_row = values
        index, lane = ir.IntType(64), ir.IntType(32)
        vector, order = ir.VectorType(lane, WIDTH), ir.VectorType(lane, WIDTH)

        def at(block: Any, stride: Any, number: int) -> Any:
            address = builder.add(block, builder.mul(stride, ir.Constant(index, number)))
            return builder.inttoptr(address, vector.as_pointer())

        rows = [builder.load(at(source, source_row, n), align=4) for n in range(WIDTH)]
        distance = 1
        while distance < WIDTH:
            for n in (n for n in range(WIDTH) if not n & distance):
                first, second = rows[n], rows[n + distance]
                low = [k if not k & distance else WIDTH + k - distance for k in range(WIDTH)]
                high = [k + distance if not k & distance else WIDTH + k for k in range(WIDTH)]
                rows[n], rows[n + distance] = (
                    builder.shuffle_vector(first, second, ir.Constant(order, lanes))
                    for lanes in (low, high)
                )
            distance *= 2
        for n in range(WIDTH):
            builder.store(rows[n], at(target, target_row, n), align=4)
        return context.get_dummy_value()

    return types.void(*[types.int64] * 4), codegen


@kernel()
def pack(matrix, packed, lo, hi):
    """Pack a matrix (K, N) into panels lo to hi of packed (panels, K, PANEL). Columns beyond N
    are zero."""
    depth, columns = matrix.shape
    for p in range(lo, hi):
        begin = p * PANEL
        width = min(PANEL, columns - begin)
        for k in range(depth):
            line = packed[p, k]
            for n in range(width):
                line[n] = matrix[k, begin + n]
            line[width:] = 0


@kernel()
def pack_transposed(matrix, packed, lo, hi):
    """Pack the transpose of a matrix (N, K) into panels lo to hi of packed (panels, K, PANEL).
    Columns beyond N are zero."""
    for p in range(lo, hi):
        rows, panel = matrix[p * PANEL : (p + 1) * PANEL], packed[p].view(np.float32)
        count, depth = rows.shape
        panel[:, count:] = 0
        if rows.strides[1] == 4:
            transpose_at(rows.ctypes.data, rows.strides[0], count, depth, panel)
        else:
            for n in range(count):
                for k in range(depth):
                    packed[p, k, n] = rows[n, k]


@kernel()
def transpose_at(source, row, rows, columns, result):
    """Write the transpose of (rows, columns) floats at an address into the first columns rows of
    the result. row: bytes from one row to the next."""
    whole_n, whole_k, result_row = rows - rows % WIDTH, columns - columns % WIDTH, result.strides[0]
    for n in range(0, whole_n, WIDTH):
        for k in range(0, whole_k, WIDTH):
            target = result[k, n:].ctypes.data
            transpose_block(target, result_row, source + n * row + 4 * k, row)
    for n in range(rows):
        line = row_at(source + n * row, columns)
        for k in range(whole_k if n < whole_n else 0, columns):
            result[k, n] = line[k]


def panels(columns: int) -> int:
    return -(-columns // PANEL)
