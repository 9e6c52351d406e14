"""The tile compiled for ARM, run in an emulator."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from minidark.backend import Array

kernel: Any = pytest.importorskip(
    "minidark.backend.compiled.kernel", reason="numba is not installed; the extra 'fast' has it"
)
tile: Any = pytest.importorskip("minidark.backend.compiled.tile")
ir: Any = pytest.importorskip("llvmlite.ir")
llvm: Any = pytest.importorskip("llvmlite.binding")

TRIPLE = "aarch64-unknown-linux-gnu"
GCC, EMULATOR = "aarch64-linux-gnu-gcc", "qemu-aarch64"
PARAMETERS = 6  # c, c_row, a, a_row, b, depth

# Reads int64 (rows, columns, depth, c_row, a_row), a, b and c; writes c, until the end
# of its input. Columns that are no whole panel go through `edge`, as in `add_part`.
DRIVER = """
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
typedef void Tile(int64_t, int64_t, int64_t, int64_t, int64_t, int64_t);
Tile tile1, tile2, tile3, tile4, tile5, tile6;
static Tile *tiles[] = {tile1, tile2, tile3, tile4, tile5, tile6};
static float *floats(int64_t count) {
    float *at = malloc(4 * count);
    if (fread(at, 4, count, stdin) != count) exit(1);
    return at;
}
int main(void) {
    int64_t s[5];
    while (fread(s, 8, 5, stdin) == 5) {
        int64_t rows = s[0], columns = s[1], depth = s[2], c_row = s[3];
        float *a = floats(rows * s[4]), *b = floats(depth * PANEL), *c = floats(rows * c_row);
        float edge[ROWS * PANEL] = {0};
        int whole = columns == PANEL;
        tiles[rows - 1]((int64_t)(whole ? c : edge), whole ? c_row : PANEL, (int64_t)a, s[4],
                        (int64_t)b, depth);
        for (int r = 0; r < rows && !whole; r++)
            for (int n = 0; n < columns; n++) c[r * c_row + n] += edge[r * PANEL + n];
        fwrite(c, 4, rows * c_row, stdout);
    }
    return 0;
}
"""


def assembly(monkeypatch: pytest.MonkeyPatch, cpu: str) -> str:
    """tile1 to tile6 for ARM, with numba's optimizations."""
    form = kernel.form(TRIPLE, cpu, "")
    assert form == (4, 4, True, False, False)
    sizes = {"WIDTH": form.width, "VECTORS": form.vectors, "PANEL": form.width * form.vectors}
    for name, value in {**sizes, "FUSED": form.fused}.items():
        monkeypatch.setattr(tile, name, value)
    module = ir.Module()
    module.triple = TRIPLE
    type_ = ir.FunctionType(ir.VoidType(), [ir.IntType(64)] * PARAMETERS)
    for rows in range(1, tile.ROWS + 1):
        function = ir.Function(module, type_, f"tile{rows}")
        builder = ir.IRBuilder(function.append_basic_block())
        tile._emit_tile(builder, rows, tile._add, *function.args)
        builder.ret_void()
    machine = llvm.Target.from_triple(TRIPLE).create_target_machine(cpu=cpu, opt=3, reloc="static")
    parsed = llvm.parse_assembly(str(module))
    options = llvm.create_pipeline_tuning_options(speed_level=3)
    passes = llvm.create_pass_builder(machine, options)
    passes.getModulePassManager().run(parsed, passes)
    text: str = machine.emit_assembly(parsed)
    return text


def inner_loop(code: str, rows: int) -> list[str]:
    """The instructions of a tile's loop, between a label and the branch back to it."""
    body = code.split(f"\ntile{rows}:")[1].split(".Lfunc_end")[0]
    block = r"^(\.LBB\w+):[^\n]*\n((?:(?!\.LBB)[^\n]*\n)*?\s+b\.\w+\s+\1\n)"
    loops = re.findall(block, body, re.M)
    assert len(loops) == 1, body
    return [line.strip() for line in loops[0][1].splitlines()]


@pytest.fixture(autouse=True, scope="module")
def _targets() -> None:
    llvm.initialize_all_targets()
    llvm.initialize_all_asmprinters()


@pytest.mark.long
@pytest.mark.parametrize("cpu", ["cortex-a72", "neoverse-n1"])
@pytest.mark.parametrize("rows", range(1, tile.ROWS + 1))
def test_arm_keeps_accumulators_in_registers(
    rows: int, cpu: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    loop = inner_loop(assembly(monkeypatch, cpu), rows)
    assert not [line for line in loop if line.startswith(("st", "bl")) or "sp" in line], loop
    sums = {line.split()[1] for line in loop if line.startswith("fmla")}
    assert len(sums) == rows * 4, loop


SHAPES = [  # rows, columns, depth
    *((rows, 16, 37) for rows in range(1, 7)),
    (1, 1, 1), (6, 16, 1), (5, 15, 2), (3, 4, 100), (6, 16, 300), (2, 5, 64),
]  # fmt: skip


@pytest.mark.long
@pytest.mark.parametrize("cpu", ["cortex-a72", "neoverse-n1"])
def test_arm_multiplies_as_numpy(cpu: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for program in (GCC, EMULATOR):
        if shutil.which(program) is None:
            pytest.skip(f"{program} is not installed")
    (tmp_path / "tile.s").write_text(assembly(monkeypatch, cpu))
    (tmp_path / "driver.c").write_text(DRIVER)
    subprocess.run(
        [GCC, "-static", "-DROWS=6", "-DPANEL=16", "driver.c", "tile.s", "-o", "run"],
        cwd=tmp_path, check=True, timeout=60,
    )  # fmt: skip
    rng = np.random.default_rng(0)
    given, wanted = [], []
    for rows, columns, depth in SHAPES:
        a_row, c_row = depth + 2, columns + 3
        a, b, c = (
            rng.normal(0, 1, shape).astype("<f4")
            for shape in ((rows, a_row), (depth, 16), (rows, c_row))
        )
        given += [np.array((rows, columns, depth, c_row, a_row), "<i8"), a, b, c]
        product = c.astype(float)
        product[:, :columns] += a[:, :depth].astype(float) @ b[:, :columns].astype(float)
        wanted.append(product)
    result = subprocess.run(
        [EMULATOR, "run"], cwd=tmp_path, check=True, timeout=60, stdout=subprocess.PIPE,
        input=b"".join(array.tobytes() for array in given),
    )  # fmt: skip
    found: Array = np.frombuffer(result.stdout, "<f4")
    assert found.size == sum(product.size for product in wanted)
    for product in wanted:
        part, found = found[: product.size].reshape(product.shape), found[product.size :]
        np.testing.assert_allclose(part, product, rtol=0, atol=1e-6 * np.abs(product).max())
