"""Draws of symbols from the probabilities of many streams."""

from __future__ import annotations

import numpy as np

from minidark.backend import Array
from minidark.backend.compiled.kernel import kernel
from minidark.backend.compiled.scalar import f
from minidark.backend.compiled.threads import share, spread

LEAST = np.float64(1e-4)  # numpy_kernels.LEAST; importing it would silently freeze its value here
COMPARED = 4  # sequential elementary operations per probability


def draw(p: Array, starts: Array, ids: Array) -> None:
    spread(_draw_shared, len(p), COMPARED * p.size, p, starts, ids)


@kernel()
def _draw_shared(p, starts, ids, shares):
    share(_draw, (p, starts, ids), shares)


@kernel()
def _draw(p, starts, ids, lo, hi):
    for s in range(lo, hi):
        row, total, last = p[s], f(0), p.shape[1] - 1
        for o in range(last + 1):
            if not np.float64(row[o]) < LEAST:
                total += row[o]
        if not np.isfinite(total):
            ids[s] = -1
            continue
        ids[s] = last
        if total == f(0):
            continue
        left, scale = starts[s], np.float32(1 / np.float64(total))
        for o in range(last + 1):
            if not np.float64(row[o]) < LEAST:
                left -= row[o] * scale
            if left <= f(0):
                ids[s] = o
                break
