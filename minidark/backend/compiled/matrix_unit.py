"""Products of pairs of bfloat16 in the matrix unit of Intel's server processors (AMX).

    C[r, n] += sum over k of A[r, k] * B[k, n]        r < R <= 16 rows, n < PANEL columns

The unit has eight registers of up to 16 lines of 64 bytes each, and a process must ask for it. One
instruction multiplies 16 lines of 16 pairs of A with 16 lines of 16 pairs of B, and adds to 16
lines of 16 floats of C. That is 16 times as much as an instruction of AVX-512 for float32, in about
as many cycles as A has lines. AVX512-BF16 has only half of the speed of float32 on these
processors. On AMD's it has twice.

The sums of the even and of the odd k within 32 are separate, so the last bits differ from those of
`tile`. Each element of C is computed alone: neither the number of threads nor the division of rows
into blocks changes it.

Source: Intel 64 and IA-32 Architectures Software Developer's Manual, TDPBF16PS.
"""

from __future__ import annotations

import ctypes
import sys
from typing import Any

import numpy as np
from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

from minidark.backend.compiled.address import row_at
from minidark.backend.compiled.kernel import MATRIX, PANEL, kernel
from minidark.backend.memory import LINE_BYTES

HEIGHT = 16  # lines of a register
UNITS = LINE_BYTES // 4  # pairs in a line
SETTINGS = 64  # bytes: the number of lines of each register, and their bytes
A, B, A_REST, B_REST = 4, 5, 6, 7  # numbers of registers; 0 to 3 hold C, a panel wide
ARCH_PRCTL, REQUEST_PERMISSION, TILE_DATA = 158, 0x1023, 18  # Linux's numbers on x86-64
VOID, BYTE, INDEX = ir.VoidType(), ir.IntType(8), ir.IntType(64)
POINTER = BYTE.as_pointer()


def request() -> bool:
    """Ask Linux to let this process use the unit, in all threads. It refuses if a thread has an
    alternate signal stack that could not hold the registers, and from then on such small stacks."""
    if sys.platform != "linux":
        return False
    return bool(ctypes.CDLL(None).syscall(ARCH_PRCTL, REQUEST_PERMISSION, TILE_DATA) == 0)


def _emit(builder: Any, name: str, *arguments: Any) -> None:
    kind = ir.FunctionType(VOID, [argument.type for argument in arguments])
    function = cgutils.get_or_insert_function(builder.module, kind, f"llvm.x86.{name}")
    builder.call(function, arguments)


@intrinsic
def _load_settings(typingctx: Any, address: Any) -> Any:
    """Configure the registers, and set them to zero."""

    def codegen(context: Any, builder: Any, signature: Any, values: Any) -> Any:
        if MATRIX:
            _emit(builder, "ldtilecfg", builder.inttoptr(values[0], POINTER))
        return context.get_dummy_value()

    return types.void(types.int64), codegen


@intrinsic
def _release(typingctx: Any) -> Any:
    """Give the registers back. Until then the system saves them whenever it changes threads."""

    def codegen(context: Any, builder: Any, signature: Any, values: Any) -> Any:
        if MATRIX:
            _emit(builder, "tilerelease")
        return context.get_dummy_value()

    return types.void(), codegen


@intrinsic
def _add_block(typingctx: Any, c: Any, c_row: Any, a: Any, a_row: Any, b: Any, units: Any) -> Any:
    """Add to a block of c, with as many rows as the registers have lines. c, a and b are addresses;
    the strides are in bytes; units of 16 at a time, then the rest."""

    def codegen(context: Any, builder: Any, signature: Any, values: Any) -> Any:
        if MATRIX:
            _emit_block(builder, *values)
        return context.get_dummy_value()

    return types.void(*[types.int64] * 6), codegen


def _emit_block(builder: Any, c: Any, c_row: Any, a: Any, a_row: Any, b: Any, units: Any) -> None:
    b_row = ir.Constant(INDEX, 4 * PANEL)

    def number(value: int) -> Any:
        return ir.Constant(INDEX, value)

    def move(name: str, register: int, address: Any, offset: int, stride: Any) -> None:
        place = builder.inttoptr(builder.add(address, number(offset)), POINTER)
        _emit(builder, name, ir.Constant(BYTE, register), place, stride)

    def multiply(a_register: int, b_register: int, a_at: Any, b_at: Any) -> None:
        move("tileloadd64", a_register, a_at, 0, a_row)
        for column in range(PANEL // UNITS):
            move("tileloadd64", b_register, b_at, column * LINE_BYTES, b_row)
            registers = (column, a_register, b_register)
            _emit(builder, "tdpbf16ps", *(ir.Constant(BYTE, r) for r in registers))

    for column in range(PANEL // UNITS):
        move("tileloadd64", column, c, column * LINE_BYTES, c_row)
    whole = builder.lshr(units, number(UNITS.bit_length() - 1))
    with cgutils.for_range(builder, whole) as loop:
        a_at = builder.add(a, builder.mul(loop.index, number(LINE_BYTES)))
        b_at = builder.add(b, builder.mul(loop.index, number(4 * PANEL * UNITS)))
        multiply(A, B, a_at, b_at)
    rest = builder.and_(units, number(UNITS - 1))
    with builder.if_then(builder.icmp_unsigned("!=", rest, number(0))):
        a_at = builder.add(a, builder.mul(whole, number(LINE_BYTES)))
        b_at = builder.add(b, builder.mul(whole, number(4 * PANEL * UNITS)))
        multiply(A_REST, B_REST, a_at, b_at)
    for column in range(PANEL // UNITS):
        move("tilestored64", column, c, column * LINE_BYTES, c_row)


@kernel()  # not inline: the caller keeps the memory of settings, of which only the address is used
def _configure(settings, rows, rest):
    """Registers for blocks of `rows` rows, and for `rest` units after the last 16."""
    settings[0] = 1  # the number of the form of these settings
    for register in range(8):
        lines = rest if register == B_REST else HEIGHT if register == B else rows
        width = 4 * rest if register == A_REST else LINE_BYTES
        settings[48 + register] = lines if rest or register < A_REST else 0
        settings[16 + 2 * register] = width if rest or register < A_REST else 0
    _load_settings(settings.ctypes.data)


@kernel(inline="always")
def add_units(c, c_row, columns, a, a_row, b, b_panel, units, rows):
    """c (rows, columns) += a (rows, units) times the panels at b.

    c, a and b are addresses. The strides of rows and of panels are in units of four bytes."""
    settings, edge = np.zeros(SETTINGS, np.uint8), np.empty((HEIGHT, PANEL), np.float32)
    whole = rows - rows % HEIGHT
    if whole:
        _configure(settings, HEIGHT, units % UNITS)
        _add_rows(c, c_row, columns, a, a_row, b, b_panel, units, 0, whole, HEIGHT, edge)
    if whole < rows:
        height = rows - whole
        _configure(settings, height, units % UNITS)
        _add_rows(c, c_row, columns, a, a_row, b, b_panel, units, whole, rows, height, edge)
    _release()


@kernel(inline="always")
def _add_rows(c, c_row, columns, a, a_row, b, b_panel, units, lo, hi, height, edge):
    for p in range((columns + PANEL - 1) // PANEL):
        width, b_at = min(PANEL, columns - p * PANEL), b + 4 * p * b_panel
        for row in range(lo, hi, height):
            c_at, a_at = c + 4 * (row * c_row + p * PANEL), a + 4 * row * a_row
            if width == PANEL:
                _add_block(c_at, 4 * c_row, a_at, 4 * a_row, b_at, units)
            else:
                _add_edge(c_at, c_row, width, a_at, a_row, b_at, units, height, edge)


@kernel(inline="always")
def _add_edge(c, c_row, columns, a, a_row, b, units, rows, edge):
    """Like `_add_block`, for a c with fewer columns than a panel. edge is scratch space."""
    for r in range(rows):
        row = row_at(c + 4 * r * c_row, columns)
        for n in range(columns):
            edge[r, n] = row[n]
    _add_block(edge.ctypes.data, 4 * PANEL, a, 4 * a_row, b, units)
    for r in range(rows):
        row = row_at(c + 4 * r * c_row, columns)
        for n in range(columns):
            row[n] = edge[r, n]
