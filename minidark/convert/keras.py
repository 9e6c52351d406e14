"""Keras 3: `.keras`, out and back.

    model = keras.models.load_model("my.keras")
    y, *states = model([x, *states])

A functional model of stock layers: inputs x (S, T, inputs), streams first, then each layer's states
(S, H); outputs the prediction, then the states after it. So a stream goes on from call to call.

    [gru]        GRU with reset_after=False: gates z, r, h, one bias, the sum of darknet's two
    [lstm]       LSTM: gates i, f, g, o, one bias
    [connected]  Dense, and the activation out of keras.ops
    [batchnorm]  BatchNormalization, its variance such that the divisor is darknet's
    [softmax]    Softmax, over each of the groups, of x / temperature
    [rnn]        has no counterpart: SimpleRNN is act(W x + W s), darknet's cell act(W x) + act(W s)

Writing takes keras, in a process of its own, so that nothing of it is imported here; reading takes
h5py alone, likewise, and runs nothing of what is in the file.

Source: https://keras.io/api/layers/recurrent_layers (GRU, LSTM).
"""

from __future__ import annotations

import io
import json
import zipfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from minidark.backend import Array
from minidark.cfg.sections import format_sections
from minidark.convert.found import LARGEST, Found, carried
from minidark.convert.proof import Proven
from minidark.convert.workers import read_arrays, run_worker
from minidark.errors import CfgError, MinidarkError, WeightsError, bare
from minidark.files import zips
from minidark.files.archives import LARGEST_JSON, MALFORMED
from minidark.files.disk import named, open_regular
from minidark.layers import Layer
from minidark.layers.batchnorm import Divisor
from minidark.network import Network

FORM = "Keras 3 model"
WEIGHTS = "model.weights.h5"
NOTE = "minidark.json"  # in the zip beside Keras's own members: the cfg and `seen`
MOST_UNPACKED = 2  # times the file's size: Keras packs nothing
LONGEST = 60  # seconds that it may take to unpack it, on a machine that is busy

LISTED = ("Functional", "Sequential")  # kinds of model whose config lists their layers
GATES = {  # sublayers in the order of Keras's gates
    "gru": (("uz", "ur", "uh"), ("wz", "wr", "wh")),
    "lstm": (("ui", "uf", "ug", "uo"), ("wi", "wf", "wg", "wo")),
}


# --- out ------------------------------------------------------------------------------------


def write(net: Network, calls: Sequence[Array]) -> Proven:
    """The model of a network without batch norm in its sublayers, and what Keras makes of `calls`
    with it, loaded again. Raises CfgError for what has no counterpart."""
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
    """What the worker builds, layer by layer, and the arrays by name."""
    steps: list[dict[str, Any]] = []
    arrays: dict[str, Array] = {}
    for index, layer in enumerate(net.layers):
        if layer.type not in LAYERS:
            raise CfgError(
                f"layer {layer.name} has no counterpart in Keras: its SimpleRNN is act(W x + W s), "
                "this act(W x) + act(W s); .onnx and .py have one"
            )
        step, own = LAYERS[layer.type](layer)
        if step:
            name = f"{layer.type}_{index}"
            named_arrays = {f"{name}.{i}": array for i, array in enumerate(own)}
            arrays |= named_arrays
            steps.append({"type": layer.type, "name": name, **step, "arrays": [*named_arrays]})
    return {"inputs": net.inputs, "layers": steps}, arrays


Step = tuple[dict[str, Any], list[Array]]  # what the worker is told, and the layer's arrays


def _gru(layer: Any) -> Step:
    return {**_recurrent(layer), "tanh": layer.tanh}, _gates(layer)


def _lstm(layer: Any) -> Step:
    return _recurrent(layer), _gates(layer)


def _recurrent(layer: Layer) -> dict[str, Any]:
    return {"outputs": layer.outputs, "states": [*layer.states]}


def _gates(layer: Any) -> list[Array]:
    """Kernels (I, G H) and (H, G H), and one bias."""
    u, w = ([layer.sublayers[name] for name in names] for names in GATES[layer.type])
    kernels = [np.concatenate([part.weights for part in parts]).T for parts in (u, w)]
    return [*kernels, np.concatenate([a.biases + b.biases for a, b in zip(u, w, strict=True)])]


def _connected(layer: Any) -> Step:
    step = {"outputs": layer.outputs, "activation": layer.activation.name}
    return step, [layer.affine.weights.T, layer.affine.biases]


def keras_epsilon(divisor: Divisor) -> float:
    """Keras divides by sqrt(variance + epsilon): of a divisor that adds to the root, the square."""
    return divisor.inside or divisor.outside**2


def _batchnorm(layer: Any) -> Step:
    stored = {a.kind: a.value for a in layer.arrays()}
    divisor = layer.norm.divisor
    epsilon = keras_epsilon(divisor)
    variance = stored["rolling_variance"]
    if divisor.outside:  # in the root, as Keras has it
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
    "connected": _connected,
    "batchnorm": _batchnorm,
    "activation": lambda layer: ({"activation": layer.activation.name}, []),
    "logistic": lambda layer: ({"activation": "logistic", "type": "activation"}, []),
    "softmax": _softmax,
    "dropout": _nothing,
    "cost": _nothing,
}


# --- back ---------------------------------------------------------------------------------------


def read(path: Path | str) -> Found:
    """What is in a model. Raises WeightsError, BackendError where there is no h5py, SaveError where
    the folder for temporary files is full."""
    with open_regular(path, named(path, WeightsError)) as file:
        return read_model(file, path)


def read_model(file: BinaryIO, path: Path | str) -> Found:
    """`read` of an open file. A model that `write` wrote brings its cfg; another's layers are told
    by its config. Nothing in the file is run."""
    from minidark.convert.keras_chain import Layers

    try:
        with zips.open_zip(file, MOST_UNPACKED) as archive:
            config = json.loads(_member(archive, "config.json", LARGEST_JSON))
            layers = _layers(config, path)
            note = _note(archive)
            weights = _member(archive, WEIGHTS, LARGEST)
        arrays = read_arrays("keras_state_worker.py", WEIGHTS, weights, path, FORM, LONGEST)
        model = Layers(layers, arrays, path, config["config"].get("output_layers"))
        return model.fill(carried(path, note["cfg"], note["seen"])) if note else model.found()
    except MinidarkError:
        raise
    except zips.PackedError as error:
        raise WeightsError(f"{path}: {error}") from error
    except (*zips.DAMAGED, *MALFORMED) as error:
        raise WeightsError(f"{path}: not a {FORM}, or damaged") from error


def _layers(config: dict[str, Any], path: Path | str) -> list[Any]:
    """The layers of a model's config. Raises WeightsError for a model that has none there."""
    if (kind := config["class_name"]) not in LISTED:
        said = (
            "is a class of your own, whose call may do more than its layers; save "
            "keras.Model(model.inputs, model.outputs)"
            if "layers" in config["config"]
            else "is a subclassed model: the order of its layers is in its Python code, not in the "
            "file; build it with keras.Sequential or keras.Model(inputs, outputs)"
        )
        raise WeightsError(f"{path}: {bare(str(kind))} {said}")
    layers: list[Any] = config["config"]["layers"]
    return layers


def _note(archive: zipfile.ZipFile) -> dict[str, str]:
    """What `write` left in it; nothing in a model of another."""
    if NOTE not in archive.namelist():
        return {}
    note: dict[str, str] = json.loads(_member(archive, NOTE, LARGEST_JSON))
    return note


def _member(archive: zipfile.ZipFile, name: str, most: int) -> bytes:
    """A member of the zip, refused by the size that it is said to have."""
    if archive.getinfo(name).file_size > most:
        raise ValueError
    return archive.read(name)
