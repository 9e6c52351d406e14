"""glibc's `srand` and `rand`, with fast bulk draws and jumps.

darknet draws its initial weights and its samples from C's `rand()`. Reproducing them on every
platform needs the same generator, and it must be fast: three `[rnn]` layers of 1024 take eight
million draws before the first character.

glibc's default generator is additive: r[i] = r[i-3] + r[i-31] modulo 2**32, and each draw is r[i]
>> 1. Since this is linear, "n draws later" is a fixed linear map of the last 31 values: the n-th
power of the matrix of one draw. A jump is one such power (`skip`). Bulk draws run 256 generators,
evenly spaced along the sequence, side by side (`draw`).

Source: glibc stdlib/random_r.c (`__srandom_r`, `__random_r`, TYPE_3).
"""

from __future__ import annotations

import functools
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

RAND_MAX = 2**31 - 1
DEGREE, LAG = 31, 3
DISCARDED = 310  # draws that srand discards
LANES = 256
SEQUENTIAL = 1024  # below this many draws, a single generator is faster

Words = npt.NDArray[np.uint32]


class GlibcRand:
    """The generator after `srand(seed)`; seed 0 is seed 1, as in glibc.

    Any integer is taken modulo 2**32, as C's conversion to `unsigned` does.
    """

    def __init__(self, seed: int = 1):
        self.state = _advance(_seeded(seed), DISCARDED)  # the last 31 values, oldest first
        self._ahead: list[int] = []  # drawn for rand(), not yet returned

    def rand(self) -> int:
        """One draw, 0 to RAND_MAX."""
        if not self._ahead:
            self._ahead = self.draw(256).tolist()[::-1]
        return self._ahead.pop()

    def draw(self, n: int) -> Words:
        """The next n draws, each 0 to RAND_MAX."""
        ahead = self._take_ahead(n)
        n -= len(ahead)
        values = _sequence(self.state, n) if n < SEQUENTIAL else _lanes(self.state, n)
        self.state = np.concatenate([self.state, values[-DEGREE:]])[-DEGREE:]
        return np.concatenate([ahead, values >> np.uint32(1)])

    @staticmethod
    def draw_together(rands: Sequence[GlibcRand], n: int) -> Words:
        """The next n draws of each generator, (n, R), in the time that one takes per step. Must not
        follow `rand`, which draws ahead."""
        assert not any(rand._ahead for rand in rands)
        states = np.stack([rand.state for rand in rands], axis=1)
        values = _sequence(states, n)
        states = np.concatenate([states, values[-DEGREE:]])[-DEGREE:]
        for rand, state in zip(rands, states.T, strict=True):
            rand.state = np.ascontiguousarray(state)
        return values >> np.uint32(1)

    def skip(self, n: int) -> None:
        """Skip n draws in a few dozen small steps."""
        self.state = _advance(self.state, n - len(self._take_ahead(n)))

    def uniform(self, n: int) -> npt.NDArray[np.float32]:
        """n draws from -1 to 1 as darknet's `rand_uniform(-1, 1)` computes them, in float32."""
        draws = self.draw(n).astype(np.float32)
        draws /= np.float32(RAND_MAX)
        draws *= np.float32(2)
        draws -= np.float32(1)
        return draws

    def _take_ahead(self, n: int) -> Words:
        taken = [self._ahead.pop() for _ in range(min(n, len(self._ahead)))]
        return np.array(taken, dtype=np.uint32)


def _seeded(seed: int) -> Words:
    """The 31 initial values of srand: a Lehmer generator in C's signed arithmetic."""
    value = seed % 2**32 or 1
    if value >= 2**31:
        value -= 2**32
    values = [value]
    for _ in range(DEGREE - 1):
        high, low = int(value / 127773), value - int(value / 127773) * 127773
        value = 16807 * low - 2836 * high
        if value < 0:
            value += RAND_MAX
        values.append(value)
    # glibc's first step adds values 0 and 3 into index 3, the oldest of the ring.
    return np.array([v % 2**32 for v in values[LAG:] + values[:LAG]], dtype=np.uint32)


def _sequence(state: Words, n: int) -> Words:
    """The next n values (not yet shifted), computed in order along the first axis."""
    values = np.empty((DEGREE + n, *state.shape[1:]), dtype=np.uint32)
    values[:DEGREE] = state
    for i in range(DEGREE, DEGREE + n, LAG):  # three at a time: r[i-3] is the most recent operand
        stop = min(i + LAG, DEGREE + n)
        values[i:stop] = values[i - LAG : stop - LAG] + values[i - DEGREE : stop - DEGREE]
    return values[DEGREE:]


def _lanes(state: Words, n: int) -> Words:
    """The next n values from LANES generators, each for its own stretch."""
    stretch = -(-n // LANES)
    lanes = np.empty((DEGREE + stretch, LANES), dtype=np.uint32)
    lanes[:DEGREE, 0] = state
    filled, jump = 1, _jump_matrix(stretch)
    while filled < LANES:  # doubling: lane k + filled stands filled stretches after lane k
        lanes[:DEGREE, filled : 2 * filled] = jump @ lanes[:DEGREE, :filled]
        filled, jump = 2 * filled, jump @ jump
    for i in range(DEGREE, DEGREE + stretch):
        np.add(lanes[i - LAG], lanes[i - DEGREE], out=lanes[i])
    return np.ascontiguousarray(lanes[DEGREE:].T).reshape(-1)[:n]


def _advance(state: Words, n: int) -> Words:
    """The 31 values n draws later."""
    return _jump_matrix(n) @ state


@functools.cache
def _jump_matrix(n: int) -> Words:
    """The matrix that advances 31 values by n draws, modulo 2**32."""
    one = np.eye(DEGREE, k=1, dtype=np.uint32)  # all values move up by one, and
    one[-1, [0, DEGREE - LAG]] = 1  # the sum of two is appended
    return np.linalg.matrix_power(one, n)
