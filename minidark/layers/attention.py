"""Attention: each step takes a weighted mean of the values of steps that it sees.

    q = query(x),  k = key(x),  v = value(x)      a sublayer that is left out is the identity
    p[t, j] = softmax over j of q[t] . k[j] / sqrt(D)
    c[t] = sum over j of p[t, j] v[j]             of each head; the heads' means side by side
    y = output(c)                                 without output, y = c

D is a head's width of queries and keys. With over=past, step t sees the last `memory` steps of its
stream, itself included. With over=source the stream's first separator ends its source: step t sees
the source's steps up to t, at most the last `memory` of them, and no step after the separator.

A stream remembers inputs, not keys, so that a parameter gets its true gradient from remembered
steps too. The remembered inputs themselves get none. They are a ring: step number n is in slot
n mod memory. Passes may cut a stream anywhere.

A bias of key adds the same number to all scores of a step, so its gradient is zero.

minidark's own; no darknet has it. Source: Luong, Pham and Manning 2015, arXiv:1508.04025 (over the
source); Merity 2019, arXiv:1911.11423 (one attention in a recurrent network); Vaswani et al. 2017,
arXiv:1706.03762 (the scale 1 / sqrt(D)).
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from dataclasses import dataclass
from typing import Any, Unpack

import numpy as np
import numpy.typing as npt

from minidark.backend import Array
from minidark.cfg.options import AttentionOptions
from minidark.errors import CfgError, MinidarkError
from minidark.glibc_rand import GlibcRand
from minidark.layers.affine import Affine, AffinePass, PackedLayer, one_order
from minidark.layers.attention_step import AttentionStep, Taken, softmax
from minidark.layers.attention_window import Block, Ids, Window
from minidark.layers.base import Layer, Place
from minidark.layers.initialize import initialize

PARTS = ("query", "key", "value", "output")
KEPT_SCORES = 1 << 24  # of a pass; if there are more, backward computes them once more


@dataclass(slots=True)
class AttentionSaved:
    """One pass over T steps, which see R rows."""

    x: Array  # (T, S, I)
    rows: Array  # (R, S, I)
    queries: Array  # (T, S, heads D)
    keys: Array  # (R, S, heads D)
    values: Array  # (R, S, heads E)
    context: Array  # (T, S, heads E)
    y: Array  # (T, S, O)
    window: Window
    blocks: list[Block]
    passes: dict[str, AffinePass]


class AttentionLayer(PackedLayer):
    """`forward`: (T, S, inputs) to (T, S, outputs).

    keys: a head's width (None: inputs / heads). output: width of the sublayer `output`; 0 leaves it
    out. without: the other sublayers that are left out. separator: the symbol that ends a source;
    None is over=past. The states are the remembered inputs (S, memory, I), the number of steps read
    (S, 1), which from 2 memory - 1 falls back to memory, and, over a source, whether its separator
    has come (S, 1). Raises CfgError for widths that do not fit.
    """

    type = "attention"
    reads_ids = False
    without_gradient = frozenset({"memory", "count", "passed"})
    created = PARTS
    file_orders = one_order(*PARTS)

    def __init__(
        self,
        batch: int,
        inputs: int,
        heads: int = 1,
        keys: int | None = None,
        output: int = 0,
        memory: int = 256,
        separator: int | None = None,
        *,
        without: Collection[str] = (),
        rand: GlibcRand | None = None,
        **place: Unpack[Place],
    ):
        options = AttentionOptions(
            heads=heads,
            keys=keys,
            output=output,
            query="query" not in without,
            key="key" not in without,
            value="value" not in without,
        )
        if message := options.misfit(inputs):
            raise CfgError(message)
        super().__init__(batch, inputs, options.size(inputs).outputs, **place)
        self.heads, self.memory, self.separator = heads, memory, separator
        self.watches_symbols = separator is not None
        wide = heads * (keys or inputs // heads)
        self.width, self.keys = inputs if "value" in without else wide, wide // heads
        self.scale = self.backend.dtype.type(self.keys**-0.5)
        present = [part for part in PARTS[:3] if part not in without]
        self.reading = present
        self.parts: dict[str, Affine] = {n: self._pack((n,), inputs, wide, False) for n in present}
        if output:
            self.parts["output"] = self._pack(("output",), self.width, output, False)
        initialize(self, rand)
        self.states = {
            "memory": self.backend.zeros(self.streams, memory, inputs),
            "count": self.backend.zeros(self.streams, 1),
        }
        if self.watches_symbols:
            self.states["passed"] = self.backend.zeros(self.streams, 1)
        self._watched: Array | None = None
        self.step: AttentionStep | None = None  # of `frozen`, with its copies of keys and values
        self.taken: Taken | None = None  # by the next `frozen`, from the layer of `take`

    def watch(self, ids: Array) -> None:
        self._watched = ids

    # --- forward --------------------------------------------------------------------------

    def forward(self, x: Array, *, train: bool = False) -> Array:
        run = self._run(x, train)
        if train:
            self.saved = run
        return run.y

    def traced(self, x: Array) -> tuple[Array, dict[str, Array]]:
        """`attention` (T, S, memory): the mean of the heads' weights. Over the past, column d is
        the step d steps back; over a source, column n is step n of the stream (n mod memory)."""
        counts = self.counts()
        run = self._run(x, keep=True)
        xp, window = self.backend.xp, run.window
        shown = np.zeros((*x.shape[:2], self.memory), self.backend.dtype)
        for block in run.blocks:
            weights = self._look(block, run).mean(axis=1)  # (S, T, K)
            seen = np.broadcast_to(window.sees(block.steps, block.rows)[:, 0], weights.shape)
            s, t, k = np.nonzero(seen)
            row, step = k + block.rows.start, t + block.steps.start
            number = counts[s] + row - window.past  # of the row's step in its stream
            column = number % self.memory if self.watches_symbols else step + window.past - row
            shown[step, s, column] = self.backend.asnumpy(weights)[s, t, k]
        return run.y, {"attention": xp.asarray(shown)}

    def _run(self, x: Array, keep: bool) -> AttentionSaved:
        """Run all steps of x (T, S, I), and remember them. keep: for a backward pass."""
        steps, streams = x.shape[:2]
        counts = self.counts()
        window = self._window(steps, counts)
        rows = self._rows(x, window, counts)
        self._remember(x, window, counts)
        passes = {
            name: part.begin(len(x if name in ("query", "output") else rows), streams, train=keep)
            for name, part in self.parts.items()
        }
        queries, keys, values = (
            _project(passes.get(name), seen)
            for name, seen in (("query", x), ("key", rows), ("value", rows))
        )
        context = self.backend.empty(steps, streams, self.width)
        run = AttentionSaved(x, rows, queries, keys, values, context, context, window, [], passes)
        self._attend(run, keep)
        run.y = _project(passes.get("output"), context)
        return run

    def part(self, name: str, x: Array) -> Array:
        """The outputs of a sublayer for x (T, S, ...); x itself if it is left out."""
        steps, streams = x.shape[:2]
        part = self.parts.get(name)
        return _project(part.begin(steps, streams, train=False) if part else None, x)

    def _attend(self, run: AttentionSaved, keep: bool) -> None:
        """Write the context, and list the blocks, with their weights if `keep`."""
        kept = 0
        for steps, rows in run.window.blocks(self.streams * self.heads, self.memory):
            block = Block(steps, rows, None)
            weights = self._look(block, run)
            kept += weights.size
            if keep and kept <= KEPT_SCORES:
                block.weights = weights
            run.blocks.append(block)

    def _look(self, block: Block, run: AttentionSaved) -> Array:
        """Write a block's context, and return its weights (S, heads, T, K)."""
        if block.weights is not None:
            return block.weights
        steps, rows, xp = block.steps, block.rows, self.backend.xp
        if self.backend.fast:
            bounds = (bound[steps] - rows.start for bound in (run.window.low, run.window.last))
            return self.backend.kernels.attend(
                run.queries[steps], run.keys[rows], run.values[rows], *bounds, self.heads,
                self.scale, run.context[steps],
            )  # fmt: skip
        queries, keys = self._by_head(run.queries), self._by_head(run.keys)
        scores = queries[:, :, steps] @ keys[:, :, rows].transpose(0, 1, 3, 2)
        scores *= self.scale
        seen = run.window.sees(steps, rows)
        if not seen.all():
            scores = xp.where(xp.asarray(seen), scores, self.backend.dtype.type(-np.inf))
        weights = softmax(scores, xp)
        values = self._by_head(run.values)[:, :, rows]
        self._by_head(run.context)[:, :, steps] = weights @ values
        return weights

    def _by_head(self, rows: Array) -> Array:
        """(T, S, heads F) as (S, heads, T, F), a view."""
        steps, streams = rows.shape[:2]
        return rows.reshape(steps, streams, self.heads, -1).transpose(1, 2, 0, 3)

    # --- backward -------------------------------------------------------------------------

    def backward(self, dy: Array, *, need_dx: bool = True) -> Array | None:
        s: AttentionSaved = self._take_saved()
        dcontext = self._back(s, "output", s.context, dy)
        dqueries, dkeys, dvalues = (
            self.backend.zeros(*a.shape) for a in (s.queries, s.keys, s.values)
        )
        for block in s.blocks:
            self._look_backward(block, s, dcontext, dqueries, dkeys, dvalues)
        dx = self._back(s, "query", s.x, dqueries, need_dx=need_dx)
        for name, gradient in (("key", dkeys), ("value", dvalues)):
            below = self._back(s, name, s.rows, gradient, s.window.past, need_dx)
            if need_dx and below.size:
                dx[: len(below)] += below
        return dx if need_dx else None

    def _look_backward(
        self, block: Block, s: AttentionSaved, dcontext: Array, dqueries: Array, dkeys: Array,
        dvalues: Array,
    ) -> None:  # fmt: skip
        """Add a block's gradients to dqueries (T, S, heads D), dkeys and dvalues."""
        weights, steps, rows = self._look(block, s), block.steps, block.rows
        given = (s.queries[steps], s.keys[rows], s.values[rows], dcontext[steps])
        into = (dqueries[steps], dkeys[rows], dvalues[rows])
        if self.backend.fast:
            self.backend.kernels.attend_backward(weights, *given, self.scale, *into)
            return
        queries, keys, values, dcontext = map(self._by_head, given)
        dqueries, dkeys, dvalues = map(self._by_head, into)
        dvalues += weights.transpose(0, 1, 3, 2) @ dcontext
        dscores = dcontext @ values.transpose(0, 1, 3, 2)
        dscores -= (dscores * weights).sum(axis=-1, keepdims=True)
        dscores *= weights
        dscores *= self.scale
        dqueries += dscores @ keys
        dkeys += dscores.transpose(0, 1, 3, 2) @ queries

    def _back(
        self, s: AttentionSaved, name: str, x: Array, dy: Array, past: int = 0, need_dx: bool = True
    ) -> Any:
        """Add to the gradients of a sublayer. Returns the gradient of x without its first `past`
        rows; dy's if the sublayer is left out."""
        if name not in s.passes:
            return dy[past:]
        if name == "key":
            dbiases = self.backend.zeros(dy.shape[-1])
        else:
            dbiases = self.backend.kernels.column_sums(dy.reshape(-1, dy.shape[-1]))
        s.passes[name].accumulate(x, dy, dbiases)
        return s.passes[name].backward(dy[past:]) if need_dx and len(dy) > past else dy[:0]

    # --- the memory -----------------------------------------------------------------------

    def counts(self) -> Ids:
        """Steps that each stream has read, (S,) in the host's memory, as in `states`."""
        counts = self.backend.asnumpy(self.states["count"])[:, 0]
        return np.clip(counts, 0, 2 * self.memory - 1).astype(np.intp)

    def passed(self) -> npt.NDArray[np.bool_]:
        """Whether each stream's separator has come, (S,) in the host's memory."""
        if not self.watches_symbols:
            return np.zeros(self.streams, bool)
        return (self.backend.asnumpy(self.states["passed"])[:, 0] > 0) & (self.counts() > 0)

    def set_counts(self, counts: Ids, passed: npt.NDArray[np.bool_]) -> Ids:
        """Write both. Returns the counts: those of 2 memory or more fall back to the same slot."""
        full = counts >= 2 * self.memory
        counts = np.where(full, self.memory + counts % self.memory, counts)
        self.states["count"][:, 0] = self.backend.asarray(counts)
        if self.watches_symbols:
            self.states["passed"][:, 0] = self.backend.asarray(passed)
        return counts

    def slots(self) -> Array:
        """The memory's slots of all streams, (S memory, I), a view."""
        return self.states["memory"].reshape(-1, self.inputs)

    def ends(self, steps: int) -> Ids:
        """The step of this pass at which each stream's source ends, (S,): -1 if it has ended before
        the pass, `steps` if it does not end in it."""
        ends = np.full(self.streams, steps)
        if self._watched is not None:
            ids, self._watched = self.backend.asnumpy(self._watched), None
            if ids.shape != (steps, self.streams):
                raise MinidarkError(
                    f"{self.name}: symbols {ids.shape} for {steps} steps of {self.streams} streams"
                )
            hits = ids == self.separator
            ends = np.where(hits.any(axis=0), hits.argmax(axis=0), steps)
        return np.where(self.passed(), -1, ends)

    def _window(self, steps: int, counts: Ids) -> Window:
        used = np.minimum(counts, self.memory)
        past = int(used.max())
        ends = self.ends(steps)
        last = past + np.minimum(np.arange(steps)[:, None], ends)
        low = np.maximum(last - self.memory + 1, past - used)
        return Window(past, low, last, ends)

    def _rows(self, x: Array, window: Window, counts: Ids) -> Array:
        """The remembered inputs and this pass's, as far as they are seen."""
        if not window.past:
            return x[: window.rows]
        past, streams = window.past, np.arange(self.streams)
        slots = (np.arange(-past, 0)[:, None] + counts) % self.memory  # unused ones are not seen
        rows = self.backend.empty(window.rows, *x.shape[1:])
        rows[:past] = self.slots()[self.backend.asids(streams * self.memory + slots)]
        rows[past:] = x[: window.rows - past]
        return rows

    def _remember(self, x: Array, window: Window, counts: Ids) -> None:
        self.taken = None
        step, added = np.arange(len(x))[:, None], window.added
        t, s = np.nonzero((step < added) & (step >= added - self.memory))
        slots = (counts[s] + t) % self.memory
        rows = x.reshape(-1, self.inputs)[self.backend.asids(t * self.streams + s)]
        self.backend.put_rows(self.slots(), s * self.memory + slots, rows)
        self.set_counts(counts + added, window.ends < len(x))

    def random_states(self, rng: np.random.Generator) -> dict[str, Array]:
        states = super().random_states(rng)
        states["count"] = rng.integers(1, 2 * self.memory, (self.streams, 1)).astype(float)
        if "passed" in states:
            states["passed"] = (states["passed"] > 0).astype(float)
        return states

    def reset_state(self, stream: int | None = None) -> None:
        which = slice(None) if stream is None else stream
        used, self.taken = self._used(), None  # the other slots are zero
        self.states["memory"][which, :used] = 0
        for name in self.states.keys() - {"memory"}:
            self.states[name][which] = 0

    # --- step by step ---------------------------------------------------------------------

    def frozen(self, ids: bool) -> Callable[[Array], Array]:
        self.step = AttentionStep(self)
        return self.step

    def reorder(self, streams: Array) -> None:
        if self.step:
            self.step.reorder(streams)
        else:
            super().reorder(streams)

    def take(self, at: slice, other: Layer, streams: Array) -> None:
        assert isinstance(other, AttentionLayer)
        used, counts = other._used(), np.full(self.streams, -1)
        for name, state in self.states.items():
            if name == "memory":
                state[at, :used] = other.states[name][:, :used][streams]
            else:
                state[at] = other.states[name][streams]
        origin = self.backend.asnumpy(streams)
        if origin.size == self.streams and other.step:
            self.taken = other.step.given(origin, used)
            return
        tags = np.arange(self.streams) if self.taken is None else self.taken[2]
        tags[at] = tags.max() + 1 + origin
        self.taken = counts, {}, tags

    def _used(self) -> int:
        """Slots in use, at most, of a stream."""
        return int(np.minimum(self.counts(), self.memory).max())

    def _beside(self, streams: int, states: dict[str, Array]) -> Any:
        other = super()._beside(streams, states)
        other.step = other._watched = other.taken = None
        return other


def _project(affine: AffinePass | None, x: Array) -> Array:
    """A sublayer's outputs; x itself if it is left out."""
    if affine is None:
        return x
    y = affine.forward(x)
    y += affine.affine.biases
    return y


make_attention_layer = AttentionLayer
