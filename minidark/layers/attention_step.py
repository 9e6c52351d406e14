"""One inference step of an attention. Keys and values of remembered inputs are computed once.

They are stored by slot, as the layer's memory is. A stream whose count is not the one of the last
step was changed from outside, by a pass or a reset: its rows are computed again.

Streams with the same tag remember the same. In a beam search, the streams of one source do so after
the first reordering, and the later ones need not copy their memories.
"""

from __future__ import annotations

from collections.abc import Callable
from types import ModuleType
from typing import TYPE_CHECKING, Any

import numpy as np

from minidark.backend import Array
from minidark.layers.attention_window import Ids

if TYPE_CHECKING:
    from minidark.layers.attention import AttentionLayer

LEAST_SLOTS = 16
Taken = tuple[Ids, dict[str, Array], Ids]  # counts, stored rows and tags of all streams


class AttentionStep:
    """Maps x (S, I) to (S, O), and moves the layer's states."""

    def __init__(self, layer: AttentionLayer):
        self.layer, self.xp = layer, layer.backend.xp
        self.put_rows = layer.backend.put_rows
        self.counts: Ids = np.full(layer.streams, -1)  # for which `stored` is valid
        self.stored: dict[str, Array] = {}  # outputs of key and value by slot, (S, slots, heads D)
        self.tags: Ids = np.arange(layer.streams)
        if layer.taken:
            self.counts, self.stored, self.tags = layer.taken
        self.next_tag = int(self.tags.max()) + 1
        self.begun = False
        self.packed: dict[str, Callable[[Array], Array]] = {}  # query and output, packed once
        if layer.backend.fast:
            make, packs = layer.backend.kernels.AffineStep, _packs_of(layer)
            self.packed = {
                name: make(part.weights, part.biases, layer.streams, False, packs.get(name))
                for name, part in layer.parts.items()
                if name in ("query", "output")
            }

    def __call__(self, x: Array) -> Array:
        layer = self.layer
        counts = layer.counts()
        self._catch_up(counts)
        ends = layer.ends(1)
        adding = np.flatnonzero(ends >= 0)
        slots = counts[adding] % layer.memory
        self.counts = counts + (ends >= 0)
        self._store(x, adding, slots)
        self.counts = layer.set_counts(self.counts, ends < 1)
        return self._look(x)

    def reorder(self, streams: Array) -> None:
        """Like `Layer.reorder`. Copies only used slots of streams that remember something else."""
        layer, origin = self.layer, self.layer.backend.asnumpy(streams)
        counts = layer.counts()
        self._tag(np.flatnonzero(counts != self.counts))
        self.begun = True
        to = np.flatnonzero(self.tags != self.tags[origin])
        used = int(np.minimum(counts, layer.memory).max())
        if to.size and used:
            since = layer.backend.asids(origin[to])
            for rows in (layer.states["memory"], *self.stored.values()):
                filled = rows[:, :used]
                self.put_rows(filled, to, filled[since])
        layer.set_counts(counts[origin], layer.passed()[origin])
        self.counts, self.tags = self.counts[origin], self.tags[origin]

    def given(self, streams: Ids, used: int) -> Taken:
        """Its part of `AttentionLayer.take` for these streams."""
        at = self.layer.backend.asids(streams)
        stored = {name: rows[:, :used][at] for name, rows in self.stored.items()}
        return self.counts[streams], stored, self.tags[streams]

    def _tag(self, streams: Ids) -> None:
        """These streams remember something new."""
        self.tags[streams] = np.arange(self.next_tag, self.next_tag + streams.size)
        self.next_tag += streams.size

    def _catch_up(self, counts: Ids) -> None:
        """Compute the stored rows of streams that were changed from outside."""
        streams, asids = np.flatnonzero(counts != self.counts), self.layer.backend.asids
        if self.begun:  # else they have the tags that were taken over
            self._tag(streams)
        self.begun = True
        used = int(np.max(np.minimum(counts[streams], self.layer.memory), initial=0))
        if not used:
            return
        _, first, which = np.unique(self.tags[streams], return_index=True, return_inverse=True)
        rows = self.layer.states["memory"][:, :used][asids(streams[first])]
        for name, stored in self._stored(used).items():
            new = self.layer.part(name, rows)[asids(which)]
            self.put_rows(stored[:, :used], streams, new)

    def _store(self, x: Array, streams: Ids, slots: Ids) -> None:
        """Remember x of these streams."""
        if not streams.size:
            return
        self._tag(streams)
        everyone = streams.size == self.layer.streams
        rows = x if everyone else x[self.layer.backend.asids(streams)]
        self.put_rows(self.layer.slots(), streams * self.layer.memory + slots, rows)
        for name, stored in self._stored(int(slots.max()) + 1).items():
            flat = stored.reshape(-1, stored.shape[2])
            new = self.layer.part(name, rows[None])[0]
            self.put_rows(flat, streams * stored.shape[1] + slots, new)

    def _stored(self, slots: int) -> dict[str, Array]:
        """The stored rows, with room for so many slots."""
        layer = self.layer
        for name in ("key", "value"):
            old = self.stored.get(name)
            room = 0 if old is None else old.shape[1]
            if name in layer.parts and room < slots:
                more = min(layer.memory, max(LEAST_SLOTS, 2 * room, slots))
                width = layer.parts[name].features
                self.stored[name] = layer.backend.zeros(layer.streams, more, width)
                if old is not None:
                    self.stored[name][:, :room] = old
        return self.stored

    def _part(self, name: str, x: Array) -> Array:
        """The outputs of query or output for x (S, ...)."""
        packed = self.packed.get(name)
        return packed(x) if packed else self.layer.part(name, x[None])[0]

    def _look(self, x: Array) -> Array:
        layer, xp, streams = self.layer, self.xp, len(x)
        used = np.minimum(self.counts, layer.memory)
        most = int(used.max())
        memory = layer.states["memory"]
        queries = self._part("query", x)
        if layer.backend.fast:
            rows = (self.stored.get(name, memory) for name in ("key", "value"))
            context = layer.backend.kernels.attend_step(
                queries, *rows, used, layer.heads, layer.scale
            )
            return self._part("output", context)
        keys, values = (
            self.stored.get(name, memory)[:, :most]
            .reshape(streams, most, layer.heads, -1)
            .transpose(0, 2, 1, 3)
            for name in ("key", "value")
        )  # (S, heads, slots, D)
        scores = (keys @ queries.reshape(streams, layer.heads, -1, 1))[..., 0]
        scores *= layer.scale
        if used.min() < most:
            seen = xp.asarray(np.arange(most) < used[:, None])
            scores = xp.where(seen[:, None], scores, layer.backend.dtype.type(-np.inf))
        weights = softmax(scores, xp)
        context = (weights[:, :, None] @ values).reshape(streams, layer.width)
        return self._part("output", context)


def _packs_of(layer: AttentionLayer) -> dict[str, dict[str, Any]]:
    """The packs of each sublayer, in the layer's; none if it has none."""
    if layer.packs is None:
        return {}
    return {name: layer.packs.setdefault(name, {}) for name in layer.parts}


def softmax(scores: Array, xp: ModuleType) -> Array:
    """The softmax along the last axis. Writes scores."""
    scores -= scores.max(axis=-1, keepdims=True)
    xp.exp(scores, out=scores)
    scores /= scores.sum(axis=-1, keepdims=True)
    return scores
