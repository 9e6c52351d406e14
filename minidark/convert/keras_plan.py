"""How to build a Keras model again that was read, to run it beside the network.

The plan has known classes with known arguments that are numbers and names, and nothing else from
the file. `keras_trial_worker` calls these classes itself, so that Keras deserializes nothing.
Models within models remain, because Keras finds the arrays in a file by this structure.
"""

from __future__ import annotations

import io
import json
from collections.abc import Iterator
from typing import Any

import numpy as np

from minidark.backend import Array
from minidark.convert.found import Found, Trial
from minidark.convert.keras_wiring import INPUT, MODELS, Chain, sources
from minidark.convert.workers import read_arrays
from minidark.errors import WeightsError

FORM = "model that this Keras can build"
LONGEST = 300  # seconds allowed for a trial
WINDOW = 50  # steps, or calls of fixed steps, of a model that gives only its last
TAKE_IDS = ("Embedding", "OneHot", "CategoryEncoding")  # first layers whose inputs are ids
CELL = "units activation recurrent_activation use_bias reset_after"
RUN = "return_sequences return_state stateful unroll"
ARGUMENTS = {  # of each class: the others matter only in training, or must have their defaults
    "GRU": f"{CELL} {RUN}", "LSTM": f"{CELL} {RUN}", "SimpleRNN": f"{CELL} {RUN}",
    "GRUCell": CELL, "LSTMCell": CELL, "SimpleRNNCell": CELL, "RNN": RUN,
    "Dense": "units activation use_bias", "Embedding": "input_dim output_dim",
    "BatchNormalization": "axis epsilon center scale", "Activation": "activation",
    "Softmax": "axis", "LogSoftmax": "axis", "ReLU": "negative_slope max_value threshold",
    "LeakyReLU": "negative_slope alpha", "LeakyRelu": "negative_slope", "ELU": "alpha",
    "Elu": "alpha", "OneHot": "num_classes", "CategoryEncoding": "num_tokens output_mode",
}  # fmt: skip


def trial(config: dict[str, Any], chain: Chain, found: Found, file: str, data: bytes) -> Trial:
    """How to run a model in Keras. file: the name under which Keras loads its weights, `data`."""
    takes_ids = chain.parts[0].kind in TAKE_IDS
    symbols = int(found.sections[0].pairs["inputs"].value)
    is_flat = len(chain.shape) == (1 if takes_ids else 2)  # without an axis of time
    streams, fixed, *_ = [*chain.shape, None, None]
    steps = _size(fixed, chain) if not is_flat else 1
    is_stateful = any(part.config.get("stateful") for part in chain.parts)
    plan = json.dumps({
        "model": _model(config, chain), "file": file, "symbols": symbols, "takes_ids": takes_ids,
        "streams": _size(streams, chain), "steps": steps, "is_flat": is_flat,
        "is_stateful": is_stateful, "states": chain.states, "last_only": chain.last_only,
    })  # fmt: skip

    def run(symbols: Array) -> Array:
        packed = io.BytesIO()
        np.savez(packed, plan=plan, symbols=symbols, weights=np.frombuffer(data, np.uint8))
        arrays = read_arrays(
            "keras_trial_worker.py", "trial.npz", packed.getvalue(), chain.path, FORM, LONGEST
        )
        return arrays["outputs"]

    if chain.last_only and (is_stateful or not steps):
        steps = WINDOW * (steps or 1)
    elif is_stateful or _gives_states(chain):
        steps = None  # states are carried over
    return Trial(run, steps)


def _gives_states(chain: Chain) -> bool:
    """Whether the model takes states, and gives their new values."""
    taking = {name for name, _ in chain.states}
    giving = [part.config.get("return_state") for part in chain.parts if part.top in taking]
    return bool(giving) and all(giving)


def _model(model: dict[str, Any], chain: Chain) -> dict[str, Any]:
    """A model's inputs, layers and output. A Sequential's inputs are those of its first layer."""
    config = model["config"]
    inputs: dict[str, Any] = {}
    layers: list[dict[str, Any]] = []
    for layer in config["layers"]:
        name = str(layer["config"]["name"])
        if layer["class_name"] == INPUT:
            inputs[name] = [_size(n, chain) for n in layer["config"].get("batch_shape")
                            or layer["config"]["batch_input_shape"]]  # fmt: skip
        else:
            reads = sources(layer.get("inbound_nodes") or [])
            layers.append({**_layer(layer, chain), "name": name, "reads": reads})
    last = layers[-1]["name"]
    outputs = sources(config.get("output_layers", [last, 0, 0]))
    output = 0 if (last, 0) in outputs else 1
    return {"inputs": inputs, "layers": layers, "output": [last, output], "kind": _kind(model)}


def _layer(layer: dict[str, Any], chain: Chain) -> dict[str, Any]:
    """The class of a layer, its arguments, and the layers within it.

    Frozen layers matter, because the older layout lists their arrays last.
    """
    kind, config = layer["class_name"], layer["config"]
    is_trained = bool(config.get("trainable", True))
    if kind in MODELS:
        return {**_model(layer, chain), "is_trained": is_trained}
    plan: dict[str, Any] = {"kind": kind, "arguments": dict(_arguments(kind, config, chain))}
    plan["is_trained"] = is_trained
    if kind == "TimeDistributed":
        plan["layer"] = _layer(config["layer"], chain)
    elif kind == "RNN":
        cell = config["cell"]
        plan["is_stack"] = cell["class_name"] == "StackedRNNCells"
        cells = cell["config"]["cells"] if plan["is_stack"] else [cell]
        plan["cells"] = [_layer(one, chain) for one in cells]
    return plan


def _kind(model: dict[str, Any]) -> str:
    return "Sequential" if model["class_name"] == "Sequential" else "Functional"


def _arguments(kind: str, config: dict[str, Any], chain: Chain) -> Iterator[tuple[str, Any]]:
    """A layer's arguments, by name. Raises WeightsError unless they are numbers and names."""
    for key in ARGUMENTS.get(kind, "").split():
        if key in config:
            value = config[key]
            value = value[0] if isinstance(value, list) else value  # Keras 2's list of one axis
            if value is not None and not isinstance(value, int | float | str):
                raise chain.refused(kind, config.get("name", ""), f"its {key} is no number or name")
            yield key, value


def _size(number: Any, chain: Chain) -> int | None:
    """A size on an axis; None for any."""
    if number is not None and not isinstance(number, int):
        raise WeightsError(f"{chain.path}: an input has an axis whose size is no number")
    return number
