"""Builds a Keras model by a plan of `keras_plan`, loads its weights and runs it.

It is a reader for `state_worker`. FOLDER/trial.npz has the plan, the bytes of the weights file and
symbols (T, S). The outputs are (T, S, O), or (1, S, O) of a model that gives only its last step.
All streams begin from zero states.
"""

from __future__ import annotations

import json
import os
import runpy
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

os.environ["OMP_NUM_THREADS"] = "1"  # threads that wait for one another cost most of the time
keras = runpy.run_path(str(Path(__file__).with_name("keras_worker.py")))["keras"]
layers, ops = keras.layers, keras.ops
if keras.backend.backend() == "torch":
    import torch

    torch.set_grad_enabled(False)

SECONDS, MEMORY = 120, 2 << 30  # for `state_worker`: Keras computes one step after another
NO_NOISE = {  # the argument of each layer that has a seed
    "AlphaDropout": "rate", "Dropout": "rate", "GaussianDropout": "rate",
    "SpatialDropout1D": "rate", "GaussianNoise": "stddev",
}  # fmt: skip
OPERATIONS: dict[str, Callable[..., Any]] = {
    "Relu": ops.relu, "Sigmoid": ops.sigmoid, "Tanh": ops.tanh, "Elu": ops.elu,
    "LeakyRelu": ops.leaky_relu, "LogSoftmax": ops.log_softmax, "OneHot": ops.one_hot,
    "GetItem": lambda x: x[:, -1],
}  # fmt: skip


class Builder:
    """Builds the layers of a plan. `recurrent` lists those that have a state."""

    def __init__(self, plan: dict[str, Any]):
        self.plan = plan
        self.recurrent: list[Any] = []

    def whole(self) -> Any:
        """The model. Its inputs: the data, then the states; its outputs: y, then the new states."""
        model, symbols = self.plan["model"], self.plan["symbols"]
        shape = [self.plan["streams"]] + ([] if self.plan["is_flat"] else [self.plan["steps"]])
        takes_ids = self.plan["takes_ids"]
        x = keras.Input(
            batch_shape=shape if takes_ids else [*shape, symbols],
            dtype="int32" if takes_ids else "float32",
        )
        if model["kind"] == "Sequential":
            return keras.Sequential([x, *map(self.layer, model["layers"])])
        return self.functional(model, x, self.plan["states"])

    def functional(self, model: dict[str, Any], data: Any, states: list[Any]) -> Any:
        tensors: dict[str, Any] = {}
        inputs = {}
        for name, shape in model["inputs"].items():
            is_data = name == model["layers"][0]["reads"][0][0]
            inputs[name] = data if is_data and data is not None else keras.Input(batch_shape=shape)
            tensors[name] = [inputs[name]]
        order = [read[0] for layer in model["layers"] for read in layer["reads"]]
        for layer in model["layers"]:
            (name, output), *first = layer["reads"]
            given = [tensors[state][number] for state, number in first]
            keys = {"initial_state": given} if given else {}
            result = self.layer(layer)(tensors[name][output], **keys)
            tensors[layer["name"]] = flat(result)
        after = [tensors[name][number] for name, number in states if number < len(tensors[name])]
        last, number = model["output"]
        used = [inputs[name] for name in dict.fromkeys(order) if name in inputs]
        outputs = [tensors[last][number], *after]
        return keras.Model(used if used[1:] else used[0], outputs if after else outputs[0])

    def layer(self, plan: dict[str, Any]) -> Any:
        if plan["kind"] in OPERATIONS:
            return lambda x: OPERATIONS[plan["kind"]](x, **plan["arguments"])
        made = self.made(plan)
        if not plan["is_trained"]:
            made.trainable = False
        if getattr(made, "stateful", False):
            self.recurrent.append(made)
        return made

    def made(self, plan: dict[str, Any]) -> Any:
        """A layer, or a model of layers."""
        kind = plan["kind"]
        if kind == "Sequential":
            return keras.Sequential([self.layer(one) for one in plan["layers"]])
        if kind == "Functional":
            return self.functional(plan, None, [])
        arguments = plan["arguments"]
        if kind == "TimeDistributed":
            return layers.TimeDistributed(self.layer(plan["layer"]))
        if kind == "RNN":
            cells = [self.layer(cell) for cell in plan["cells"]]
            cell = layers.StackedRNNCells(cells) if plan["is_stack"] else cells[0]
            return layers.RNN(cell, **arguments)
        if kind in NO_NOISE:
            arguments = {NO_NOISE[kind]: 0}  # without a seed, which other versions do not store
        return getattr(layers, kind)(**arguments)


def flat(result: Any) -> list[Any]:
    """The outputs of a layer in order: states may be lists within the list."""
    if not isinstance(result, list | tuple):
        return [result]
    return [one for part in result for one in flat(part)]


def read(folder: Path) -> dict[str, np.ndarray[Any, Any]]:
    with np.load(folder / "trial.npz") as given:
        plan = json.loads(str(given["plan"]))
        symbols, weights = given["symbols"], given["weights"]
    builder = Builder(plan)
    model = builder.whole()
    (folder / plan["file"]).write_bytes(weights.tobytes())
    model.load_weights(folder / plan["file"])
    streams = plan["streams"] or symbols.shape[1]
    parts = []
    for at in range(0, symbols.shape[1], streams):
        part = symbols[:, at : at + streams]
        full = np.pad(part, ((0, 0), (0, streams - part.shape[1])), mode="edge")
        for layer in builder.recurrent:
            layer.reset_state()
        parts.append(outputs(model, plan, full)[:, : part.shape[1]])
    return {"outputs": np.concatenate(parts, axis=1)}


def outputs(model: Any, plan: dict[str, Any], symbols: Any) -> Any:
    """The outputs (T, S, O) for symbols (T, S), or the last of them (1, S, O)."""
    total, streams = symbols.shape
    states = [np.zeros((streams, state.shape[-1]), np.float32) for state in model.inputs[1:]]
    is_carried = plan["is_stateful"] or len(model.outputs) > 1
    steps = plan["steps"] or (max(1, total // 3) if is_carried else total)  # of a call
    found = []
    for at in range(0, total, steps):
        piece = symbols[at : at + steps]
        given = len(piece)
        if plan["steps"]:
            piece = np.pad(piece, ((0, steps - given), (0, 0)), mode="edge")
        x = piece.T if plan["takes_ids"] else np.eye(plan["symbols"], dtype=np.float32)[piece.T]
        x = x[:, 0] if plan["is_flat"] else x
        y, *after = map(ops.convert_to_numpy, flat(model([x, *states] if states else x)))
        states = after or states
        found.append(y[None] if y.ndim == 2 else y.transpose(1, 0, 2)[:given])
    return found[-1] if plan["last_only"] else np.concatenate(found)
