"""The recurrent products of a GRU's sequence, forward and backward, in tiles and without gates. The
rest of a sequence's time is the cost of the gates."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numba import prange

from benchmarks.shapes import Shape
from minidark.backend.compiled.kernel import kernel
from minidark.backend.compiled.products import panels_of, panels_of_transposed
from minidark.backend.compiled.threads import begin
from minidark.backend.compiled.tile import add_product
from minidark.backend.threads import thread_count


def forward_and_backward(shape: Shape) -> Callable[[], None]:
    rng, h = np.random.default_rng(0), shape.width
    gates, states = (
        rng.normal(0, 0.05, (shape.steps, shape.streams, n)).astype(np.float32) for n in (3 * h, h)
    )
    wzr, wh = (rng.normal(0, 0.05, (n, h)).astype(np.float32) for n in (2 * h, h))

    def run() -> None:
        for wzr_packed, wh_packed, back in (
            (panels_of_transposed(wzr), panels_of_transposed(wh), False),
            (panels_of(wzr), panels_of(wh), True),
        ):
            _products(gates, states, wzr_packed, wh_packed, back, thread_count())

    return run


@kernel(parallel=True)
def _products(gates: Any, states: Any, wzr: Any, wh: Any, back: Any, threads: Any) -> None:
    for thread in prange(threads):
        streams = gates.shape[1]
        lo, hi = begin(streams, thread, threads, 1), begin(streams, thread + 1, threads, 1)
        _of_streams(gates, states, wzr, wh, back, lo, hi)


@kernel()
def _of_streams(gates: Any, states: Any, wzr: Any, wh: Any, back: Any, lo: Any, hi: Any) -> None:
    steps, _, h = states.shape
    for t in range(steps):
        if back:
            at = gates[t].ctypes.data
            add_product(states[t], 0, h, at + 8 * h, 3 * h, wh, 0, h, lo, hi)
            add_product(states[t], 0, h, at, 3 * h, wzr, 0, 2 * h, lo, hi)
        else:
            at = states[t].ctypes.data
            add_product(gates[t], 0, 2 * h, at, h, wzr, 0, h, lo, hi)
            add_product(gates[t], 2 * h, h, at, h, wh, 0, h, lo, hi)
