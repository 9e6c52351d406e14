"""Step-by-step inference with constant parameters."""

from __future__ import annotations

from collections.abc import Sequence

from minidark.backend import Array, Backend
from minidark.layers.base import Layer, one_hot
from minidark.network.graph import Graph


class Frozen:
    """One inference step of all streams: ids (S,) in the backend's memory to the outputs (S, O),
    which the next step may overwrite. Ids are not checked, to keep a step cheap."""

    def __init__(self, layers: Sequence[Layer], graph: Graph, backend: Backend):
        self.layers, self.graph, self.backend = layers, graph, backend
        self.reads_ids = layers[0].reads_ids
        self.steps, ids = [], self.reads_ids
        for layer in layers:
            self.steps.append(layer.frozen(ids))
            ids = ids and layer.gives_ids

    def __call__(self, ids: Array) -> Array:
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
            for state in layer.states.values():
                state[...] = state[streams]
