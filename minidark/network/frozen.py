"""Inference step by step, while the parameters stay as they are."""

from __future__ import annotations

from collections.abc import Sequence

from minidark.backend import Array, Backend
from minidark.layers.base import Layer, one_hot


class Frozen:
    """A step of inference of all streams: ids (S,) in the backend's memory to the outputs (S, O),
    which the next step may write over. The ids are not checked, each costs too little for that.
    """

    def __init__(self, layers: Sequence[Layer], backend: Backend):
        self.layers, self.backend = layers, backend
        self.reads_ids = layers[0].reads_ids
        self.steps, ids = [], self.reads_ids
        for layer in layers:
            self.steps.append(layer.frozen(ids))
            ids = ids and layer.gives_ids

    def __call__(self, ids: Array) -> Array:
        x = ids if self.reads_ids else one_hot(ids, self.layers[0].inputs, self.backend)
        for step in self.steps:
            x = step(x)
        return x

    def reorder(self, streams: Array) -> None:
        """Give stream s the state that stream `streams[s]` has: ids (S,) in the backend's memory.
        A stream may go to several places, or to none."""
        for layer in self.layers:
            for state in layer.states.values():
                state[...] = state[streams]
