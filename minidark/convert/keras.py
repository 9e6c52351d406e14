"""Writes Keras 3 models, `.keras`; `keras_chain` reads them back.

    model = keras.models.load_model("my.keras")
    y, *states = model([x, *states])

A functional model of stock layers. Inputs are x (S, T, inputs), streams first, then each layer's
states (S, H). Outputs are the prediction, then the new states, which continue a stream in the next
call.

    [gru]        GRU with the cfg's reset_after: gates z, r, h. Its one bias is the sum of
                 darknet's two; with reset_after=1 it has both
    [lstm]       LSTM: gates i, f, g, o, one bias
    [connected]  Dense, and the activation from keras.ops
    [batchnorm]  BatchNormalization, its variance adjusted so that the divisor equals darknet's
    [softmax]    Softmax of x / temperature, over each group
    [rnn]        with elman=1 SimpleRNN; one bias. Otherwise it has no counterpart: SimpleRNN is
                 act(W x + W s), darknet's cell act(W x) + act(W s)

Writing needs keras. It runs in a separate process, so that this one does not import it.

Source: https://keras.io/api/layers/recurrent_layers (GRU, LSTM, SimpleRNN).
"""

from __future__ import annotations

import io
import json
import zipfile
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from minidark.backend import Array
from minidark.cfg.sections import format_sections
from minidark.convert.gates import KERAS, pack
from minidark.convert.proof import Proven, check_chain
from minidark.convert.workers import run_worker
from minidark.errors import CfgError
from minidark.layers import Layer
from minidark.layers.batchnorm import Divisor
from minidark.network import Network

NOTE = "minidark.json"  # in the zip beside Keras's own members: the cfg and `seen`

ACTIVATIONS = {  # of a SimpleRNN: Keras's names of darknet's activations
    "logistic": "sigmoid", "relu": "relu", "elu": "elu", "linear": "linear", "tanh": "tanh",
    "hardtan": "hard_tanh",
}  # fmt: skip


def write(net: Network, calls: Sequence[Array]) -> Proven:
    """The model of a network without batch norm in its sublayers, and the reloaded model's outputs
    for `calls`. Raises CfgError for layers or options without a counterpart."""
    check_chain(net, "Keras")
    plan, arrays = _plan(net)
    packed = io.BytesIO()
    np.savez(packed, **arrays)  # type: ignore[arg-type]
    files = {"plan.json": json.dumps(plan).encode(), "arrays.npz": packed.getvalue()}
    model, outputs = run_worker("keras_worker.py", files, calls, "model.keras")
    data = io.BytesIO(model)
    with zipfile.ZipFile(data, "a") as archive:
        note = {"cfg": format_sections(net.sections), "seen": str(net.seen)}
        archive.writestr(zipfile.ZipInfo(NOTE), json.dumps(note))
    return data.getvalue(), outputs


def _plan(net: Network) -> tuple[dict[str, Any], dict[str, Array]]:
    """The worker's build plan, layer by layer, and the arrays by name."""
    steps: list[dict[str, Any]] = []
    arrays: dict[str, Array] = {}
    for index, layer in enumerate(net.layers):
        step, own = LAYERS[layer.type](layer)
        if step:
            name = f"{layer.type}_{index}"
            named_arrays = {f"{name}.{i}": array for i, array in enumerate(own)}
            arrays |= named_arrays
            steps.append({"type": layer.type, "name": name, **step, "arrays": [*named_arrays]})
    return {"inputs": net.inputs, "layers": steps}, arrays


Step = tuple[dict[str, Any], list[Array]]  # the worker's description of a layer, and its arrays


def _gru(layer: Any) -> Step:
    keys = {"tanh": layer.tanh, "reset_after": layer.reset_after}
    return {**_recurrent(layer), **keys}, _gates(layer, apart=layer.reset_after)


def _lstm(layer: Any) -> Step:
    return _recurrent(layer), _gates(layer)


def _rnn(layer: Any) -> Step:
    missing = f"layer {layer.name} has no counterpart in Keras"
    if not layer.elman:
        raise CfgError(
            f"{missing}: its SimpleRNN is act(W x + W s), this act(W x) + act(W s); .onnx and .py "
            "have one"
        )
    if (name := layer.activation.name) not in ACTIVATIONS:
        raise CfgError(
            f"{missing}: with elman=1, activation={name} is not one of {', '.join(ACTIVATIONS)}; "
            ".py has all"
        )
    return {**_recurrent(layer), "activation": ACTIVATIONS[name]}, _gates(layer)


def _recurrent(layer: Layer) -> dict[str, Any]:
    return {"outputs": layer.outputs, "states": [*layer.states]}


def _gates(layer: Any, apart: bool = False) -> list[Array]:
    """Kernels (I, G H) and (H, G H), and the biases: summed (G H,), or with `apart` (2, G H)."""
    u, w, *biases = pack(KERAS[layer.type], layer)
    return [u.T, w.T, np.stack(biases) if apart else np.add(*biases)]


def _connected(layer: Any) -> Step:
    step = {"outputs": layer.outputs, "activation": layer.activation.name}
    return step, [layer.affine.weights.T, layer.affine.biases]


def keras_epsilon(divisor: Divisor) -> float:
    """Keras divides by sqrt(variance + epsilon). If darknet adds to the root, return the square."""
    return divisor.inside or divisor.outside**2


def _batchnorm(layer: Any) -> Step:
    stored = {a.kind: a.value for a in layer.arrays()}
    divisor = layer.norm.divisor
    epsilon = keras_epsilon(divisor)
    variance = stored["rolling_variance"]
    if divisor.outside:  # move it into the root, as Keras does
        variance = np.square(divisor.of(variance)) - epsilon
    return {"epsilon": epsilon}, [
        stored["scales"], stored["biases"], stored["rolling_mean"], variance,
    ]  # fmt: skip


def _softmax(layer: Any) -> Step:
    return {"groups": layer.groups, "temperature": layer.temperature}, []


def _nothing(layer: Layer) -> Step:
    return {}, []


LAYERS: dict[str, Callable[[Any], Step]] = {
    "gru": _gru,
    "lstm": _lstm,
    "rnn": _rnn,
    "connected": _connected,
    "batchnorm": _batchnorm,
    "activation": lambda layer: ({"activation": layer.activation.name}, []),
    "logistic": lambda layer: ({"activation": "logistic", "type": "activation"}, []),
    "softmax": _softmax,
    "dropout": _nothing,
    "cost": _nothing,
}
