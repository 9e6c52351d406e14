"""Which steps an attention sees, and how a long pass is cut into blocks.

Bounds are in the host's memory.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from minidark.backend import Array

Ids = npt.NDArray[np.intp]

WHOLE = 1 << 16  # scores of a stream's pass that are computed at once; above, in blocks of steps
BLOCK_STEPS = 256
BLOCK_SCORES = 1 << 24  # scores of a block, of all streams


@dataclass(frozen=True, slots=True)
class Window:
    """The rows that each step of a pass sees: from `low` to `last`, (T, S) each, in the host's
    memory. The rows are the remembered inputs, the oldest first, then the pass's own."""

    past: int  # number of remembered rows
    low: Ids
    last: Ids
    ends: Ids  # (S,): see `AttentionLayer.ends`

    @property
    def rows(self) -> int:
        """Rows that some step sees, counted from the first."""
        return int(self.last.max()) + 1

    @property
    def added(self) -> Ids:
        """Steps of the pass that later steps of each stream can see, (S,)."""
        return np.minimum(self.ends + 1, len(self.last))

    def blocks(self, streams_and_heads: int, memory: int) -> Iterator[tuple[slice, slice]]:
        """Steps that are computed at once, and the rows that they see."""
        steps, size = len(self.last), len(self.last)
        if steps * self.rows > WHOLE:
            widest = min(self.rows, memory + BLOCK_STEPS)
            size = min(BLOCK_STEPS, max(1, BLOCK_SCORES // (streams_and_heads * widest)))
        for at in range(0, steps, size):
            part = slice(at, min(at + size, steps))
            yield part, slice(int(self.low[part].min()), int(self.last[part].max()) + 1)

    def sees(self, steps: slice, rows: slice) -> npt.NDArray[np.bool_]:
        """Which of the rows these steps see: (S, 1, T, K), or (1, 1, T, K) if streams are alike."""
        low, last = self.low[steps], self.last[steps]
        if (low == low[:, :1]).all() and (last == last[:, :1]).all():
            low, last = low[:, :1], last[:, :1]
        at = np.arange(rows.start, rows.stop)
        seen = (at >= low[:, :, None]) & (at <= last[:, :, None])
        return seen.transpose(1, 0, 2)[:, None]


@dataclass(slots=True)
class Block:
    steps: slice
    rows: slice
    weights: Array | None  # (S, heads, T, K); None: backward computes them once more
