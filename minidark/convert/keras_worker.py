"""Builds a Keras model, saves it, loads it again and runs it: python keras_worker.py FOLDER.

It reads plan.json, arrays.npz and calls.npz in FOLDER and writes model.keras and outputs.npz there.
"""

from __future__ import annotations

import importlib.util
import json
import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

BACKENDS = ("torch", "jax", "tensorflow")  # Keras's numpy backend needs jax, too


def choose_backend() -> None:
    """Use KERAS_BACKEND if it is set, else the first installed one."""
    installed = [name for name in BACKENDS if importlib.util.find_spec(name)]
    if importlib.util.find_spec("keras") is None or not installed:
        print("Keras needs the extra `keras`: pip install 'minidark[keras]'", file=sys.stderr)
        sys.exit(3)
    os.environ.setdefault("KERAS_BACKEND", installed[0])


choose_backend()
import keras  # noqa: E402
from keras import layers, ops  # noqa: E402


def plse(x: Any) -> Any:
    inside = ops.clip(x, -4, 4)
    return inside * 0.125 + 0.5 + (x - inside) * 0.01


def stair(x: Any) -> Any:
    whole, half = ops.floor(x), ops.floor(x * 0.5)
    return half + (whole - half * 2) * (x - whole)


def lhtan(x: Any) -> Any:
    inside = ops.clip(x, 0, 1)
    return inside + (x - inside) * 0.001


ACTIVATIONS = {
    "logistic": ops.sigmoid,
    "loggy": lambda x: ops.tanh(x * 0.5),
    "relu": ops.relu,
    "elu": ops.elu,
    "selu": lambda x: (ops.relu(x) + ops.expm1(ops.minimum(x, 0)) * 1.6732) * 1.0507,
    "relie": lambda x: ops.leaky_relu(x, 0.01),
    "ramp": lambda x: ops.relu(x) + x * 0.1,
    "linear": lambda x: x,
    "tanh": ops.tanh,
    "plse": plse,
    "leaky": lambda x: ops.leaky_relu(x, 0.1),
    "stair": stair,
    "hardtan": lambda x: ops.clip(x, -1, 1),
    "lhtan": lhtan,
}


def softmax(x: Any, groups: int, temperature: float) -> Any:
    x = x / temperature if temperature != 1 else x
    if groups == 1:
        return layers.Softmax()(x)
    width = x.shape[-1]
    x = layers.TimeDistributed(layers.Reshape((groups, width // groups)))(x)
    return layers.TimeDistributed(layers.Reshape((width,)))(layers.Softmax()(x))


def recurrent(step: dict[str, Any]) -> Any:
    keys = {"return_sequences": True, "return_state": True, "name": step["name"]}
    if step["type"] == "lstm":
        return layers.LSTM(step["outputs"], **keys)
    if step["type"] == "rnn":
        return layers.SimpleRNN(step["outputs"], activation=step["activation"], **keys)
    activation = "tanh" if step["tanh"] else "sigmoid"
    keys |= {"activation": activation, "reset_after": step["reset_after"]}
    return layers.GRU(step["outputs"], **keys)


def build(plan: dict[str, Any], arrays: dict[str, Any]) -> Any:
    """Build the functional model. Inputs: x and the states; outputs: y and the new states."""
    y = x = keras.Input((None, plan["inputs"]), name="x")
    before, after = [], []
    for step in plan["layers"]:
        kind = step["type"]
        own = [arrays[name] for name in step["arrays"]]
        if kind in ("gru", "lstm", "rnn"):
            names = [f"{step['name']}_{state}" for state in step["states"]]
            states = [keras.Input((step["outputs"],), name=name) for name in names]
            layer = recurrent(step)
            y, *new = layer(y, initial_state=states)
            before += states
            after += new
            layer.set_weights(own)
        elif kind == "connected":
            layer = layers.Dense(step["outputs"], name=step["name"])
            y = ACTIVATIONS[step["activation"]](layer(y))
            layer.set_weights(own)
        elif kind == "batchnorm":
            layer = layers.BatchNormalization(epsilon=step["epsilon"], name=step["name"])
            y = layer(y)
            layer.set_weights(own)
        elif kind == "activation":
            y = ACTIVATIONS[step["activation"]](y)
        else:
            y = softmax(y, step["groups"], step["temperature"])
    y = layers.Identity(name="y")(y)
    return keras.Model([x, *before] if before else x, [y, *after] if after else y)


def outputs(model: Any, calls: Any) -> Iterator[Any]:
    """Each call's outputs (T, S, O), with states carried over. Keras puts streams first."""
    _, *inputs = model.inputs
    keys = calls.files
    streams = calls[keys[0]].shape[1] if keys else 1
    states = [np.zeros((streams, state.shape[-1]), np.float32) for state in inputs]
    for key in keys:
        x = calls[key].transpose(1, 0, 2)
        result = model([x, *states] if states else x)
        parts = result if isinstance(result, list) else [result]
        y, *states = map(ops.convert_to_numpy, parts)
        yield y.transpose(1, 0, 2)


def main(folder: Path) -> None:
    plan = json.loads((folder / "plan.json").read_text())
    with np.load(folder / "arrays.npz") as arrays:
        build(plan, dict(arrays)).save(folder / "model.keras")
    model = keras.models.load_model(folder / "model.keras")
    with np.load(folder / "calls.npz") as calls:
        np.savez(folder / "outputs.npz", *outputs(model, calls))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
