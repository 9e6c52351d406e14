"""Step-by-step inference with constant parameters."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from minidark.backend import Array, Backend
from minidark.layers.base import Layer, is_ids, one_hot
from minidark.network.graph import Graph


def show_symbols(watching: Iterable[Layer], x: Array) -> None:
    """Pass the symbols of a pass to the layers that watch them. x: a network's input, ids (T, S) or
    rows (T, S, I), whose symbol is the largest number."""
    for layer in watching:
        if layer.watches_symbols:
            layer.watch(x if is_ids(x) else x.argmax(axis=-1))


class Frozen:
    """One inference step of all streams: ids (S,) in the backend's memory to the outputs (S, O),
    which the next step may overwrite. Ids are not checked, to keep a step cheap."""

    def __init__(self, layers: Sequence[Layer], graph: Graph, backend: Backend):
        self.layers, self.graph, self.backend = layers, graph, backend
        self.reads_ids = layers[0].reads_ids
        self.watching = [layer for layer in layers if layer.watches_symbols]
        self.steps, ids = [], self.reads_ids
        for layer in layers:
            self.steps.append(layer.frozen(ids))
            ids = ids and layer.gives_ids

    def __call__(self, ids: Array) -> Array:
        show_symbols(self.watching, ids[None])
        x = ids if self.reads_ids else one_hot(ids, self.layers[0].inputs, self.backend)
        if not self.graph.is_chain:
            return self.graph.forward(x, lambda i, x: self.steps[i](x))
        for step in self.steps:
            x = step(x)
        return x

    def reorder(self, streams: Array) -> None:
        """Give stream s the state of stream `streams[s]`: ids (S,) in the backend's memory. A
        stream's state may be copied several times, or dropped."""
        for layer in self.layers:
            layer.reorder(streams)
