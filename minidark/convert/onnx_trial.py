"""Runs an ONNX model in onnxruntime, for the comparison with the network that was read from it.

The model gets only the nodes and weights that its outputs need. If it takes and gives states, they
are carried from call to call. A model of a fixed T without states, or one that gives only its last
step, runs on windows from a zero state. Where the number of streams is fixed, each stream of the
comparison runs alone, repeated in all of the model's streams.
"""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from onnx import TensorProto

from minidark.backend import Array
from minidark.convert.found import Trial
from minidark.convert.onnx_values import FEATURES, LAST, LAYERS, Features, LastStates, Traced
from minidark.convert.onnx_walk import Walk
from minidark.convert.workers import run_worker
from minidark.errors import MinidarkError

STEPS = 50  # of a window, if the model gives only its last step and allows any T
SECONDS = 120  # limit for all calls


@dataclass(slots=True)
class Caller:
    """How to call a model. x: its input of symbols. output: the name of its output, and features
    what that is."""

    walk: Walk
    x: Any
    output: str
    features: Features

    def trial(self) -> Trial:
        if self.features.last:
            return Trial(self.run, self.steps or STEPS)
        return Trial(self.run, None if self.after else self.steps)

    @property
    def labels(self) -> list[str]:
        """The labels of the axes of x, without the features."""
        value = self.walk.values[self.x.name]
        assert isinstance(value, Traced)
        return [label for axis in value.axes for label in axis if label != FEATURES]

    @property
    def time(self) -> str:
        """The label of the time axis, or "" if each call is one step. Without recurrent layers,
        any axis is one."""
        axis = self.walk.time
        if axis is None:
            axis = tuple(self.labels[:1])
        return axis[0] if axis else ""

    @property
    def steps(self) -> int | None:
        """T, if the model allows no other."""
        return self.walk.sizes.known.get(self.time) if self.time else 1

    @property
    def streams(self) -> str:
        """The label of the axis of streams, or "" if their number is fixed."""
        known = self.walk.sizes.known
        return next((n for n in self.labels if n != self.time and n not in known), "")

    @property
    def after(self) -> dict[str, str]:
        """For each state input, the output that continues it. Empty if one has none."""
        outputs = {
            value.parts: name
            for name in self.walk.graph.outputs
            if isinstance(value := self.walk.values.get(name), LastStates)
            and value.axes[-1] == LAST and (LAYERS,) not in value.axes[1:]
        }  # fmt: skip
        rows: dict[str, dict[int, tuple[str, str]]] = {}
        for (name, row), state in self.walk.states.items():
            rows.setdefault(name, {})[row] = state
        pairs = {
            name: outputs.get(tuple(states[row] for row in sorted(states)), "")
            for name, states in rows.items()
        }
        return pairs if all(pairs.values()) else {}

    def run(self, symbols: Array) -> Array:
        """The outputs for symbols (T, S), as `Trial` has them. Raises MinidarkError."""
        streams = symbols.shape[1]
        parts = [symbols] if self.streams else np.split(symbols, streams, axis=1)
        runs = [self._pieces(part) for part in parts]
        after = {} if self.features.last else self.after
        plan = {
            "x": self.x.name,
            "outputs": [self.output, *after.values()],
            "after": [*after],
            "width": self._width,
            "dtype": {TensorProto.INT32: "int32", TensorProto.INT64: "int64"}.get(
                self.x.type.tensor_type.elem_type, "float32"
            ),
            "calls": [len(run) for run in runs],
            "states": self._state_shapes(parts[0].shape[1]),
        }
        calls = [self._laid_out(piece) for run in runs for piece in run]
        try:
            model = self.walk.graph.runnable([self.output, *after.values()])
            files = {"model.onnx": model, "plan.json": json.dumps(plan).encode()}
            _, found = run_worker("onnx_worker.py", files, calls, "outputs.npz", limit=SECONDS)
        except MinidarkError as error:
            raise type(error)(f"{self.walk.graph.path}: {error}") from error
        outputs, left = [], iter(found)
        for part, run in zip(parts, runs, strict=True):
            whole = np.concatenate([self._rows(next(left), piece.shape) for piece in run])
            outputs.append(whole[: 1 if self.features.last else len(part)])
        return np.concatenate(outputs, axis=1)

    @property
    def _width(self) -> int:
        """The number of symbols, if the model takes one-hot rows; otherwise 0."""
        if not isinstance(self.walk.values[self.x.name], Features):
            return 0
        return int(self.walk.result.sections[0].pairs["inputs"].value)

    def _pieces(self, symbols: Array) -> list[Array]:
        """The symbols (T, S) of each call. The last one may be filled up."""
        total, steps = len(symbols), self.steps
        if self.features.last or not self.after:
            return [symbols]
        if not steps:
            return np.split(symbols, [total // 3])
        filled = np.pad(symbols, ((0, -total % steps), (0, 0)))
        return np.split(filled, len(filled) // steps)

    def _lengths(self, labels: Sequence[str], shape: tuple[int, ...]) -> list[int]:
        """The lengths of axes in a call with T x S symbols."""
        own = {self.time: shape[0], self.streams: shape[1]}
        return [own.get(label, self.walk.sizes.known.get(label, 1)) for label in labels]

    def _laid_out(self, symbols: Array) -> Array:
        """The symbols (T, S) with the axes of x, without the features."""
        labels, lengths = self.labels, self._lengths(self.labels, symbols.shape)
        if self.streams and self.time in labels[labels.index(self.streams) :]:
            symbols = symbols.T
        free = {self.time, self.streams}
        own = [n if label in free else 1 for label, n in zip(labels, lengths, strict=True)]
        return np.array(np.broadcast_to(symbols.reshape(own), lengths))

    def _rows(self, output: Array, shape: tuple[int, ...]) -> Array:
        """An output of the model for T x S symbols as (T, S, O)."""
        labels = [label for axis in self.features.axes for label in axis]
        lengths = self._lengths(labels, shape)
        at = labels.index(FEATURES)
        lengths[at] = output.size // math.prod(n for i, n in enumerate(lengths) if i != at)
        output = output.reshape(lengths)
        order = [self.time, self.streams, FEATURES]
        for label in [label for label in labels if label not in order]:
            output = output.take(0, labels.index(label))
            labels.remove(label)
        output = output.transpose([labels.index(label) for label in order if label in labels])
        absent = tuple(i for i, label in enumerate(order) if label not in labels)
        return np.expand_dims(output, absent)

    def _state_shapes(self, streams: int) -> dict[str, list[int]]:
        """The shape of each state input, for a run of so many streams."""
        known, result = self.walk.sizes.known, self.walk.result
        if not self.streams:
            streams = math.prod(self._lengths([n for n in self.labels if n != self.time], (1, 1)))
        widths = {
            name: int(section.pairs["output"].value)
            for name, section in zip(result.names, result.sections[1:], strict=True)
            if "output" in section.pairs
        }
        shapes = {}
        for value in self.walk.graph.inputs:
            rows = {r: layer for (n, r), (layer, _) in self.walk.states.items() if n == value.name}
            if rows:
                width = widths[next(iter(rows.values()))]
                rank = len(value.type.tensor_type.shape.dim) or 3
                guess = [streams, width] if rank == 2 else [len(rows), streams, width]
                shapes[value.name] = [
                    known.get(f"{value.name}.{i}", n) for i, n in enumerate(guess)
                ]
        return shapes
