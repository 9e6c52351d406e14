"""Reads a PyTorch state dict, `.pt` or `.pth`, of nn.LSTM, nn.Linear and nn.Embedding.

torch opens the file with weights_only=True, in a separate process; its unpickler then creates only
tensors and containers. A state dict contains only names and arrays. Supported are

    X.weight_ih_l0, X.weight_hh_l0, ...   nn.LSTM: gates i, f, g, o, with two separate biases
    X.weight, X.bias                      nn.Linear: [connected], linear
    X.weight                              nn.Embedding if it is first, else nn.Linear

in the order that `torch_order` finds, with a [softmax] added after logits. The assumed order is
logged, because a state dict does not record activations and residual connections. nn.GRU is
refused: it applies the reset gate after the product with the state.
"""

from __future__ import annotations

import io
import logging
import re
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from minidark.backend import Array
from minidark.convert.found import Found, whole
from minidark.convert.gates import TORCH, Packed, unpack
from minidark.convert.torch_order import (
    EMBEDDING,
    LSTM,
    Reading,
    matrix_readings,
    order_of_use,
)
from minidark.convert.workers import read_arrays
from minidark.errors import WeightsError, bare
from minidark.files import zips
from minidark.files.archives import MALFORMED

log = logging.getLogger(__name__)

FORM = "state dict"
LARGEST_PICKLE = 1 << 20  # bytes of names and shapes, which are unpickled one by one
MOST_UNPACKED = 2  # times the file's size: torch does not compress
LONGEST = 60  # seconds allowed for reading, generous for busy machines
OTHERS = {
    3: "nn.GRU resets after the product and darknet's GRU before it, so their weights are not "
    "interchangeable",
    1: "nn.RNN is act(W x + W s), darknet's [rnn] is act(W x) + act(W s)",
}


def read(path: Path | str) -> Found:
    """Read a state dict. Raises WeightsError, BackendError if torch is not installed, and SaveError
    if the folder for temporary files is full."""
    return read_state(whole(path), path)


def read_state(data: bytes, path: Path | str) -> Found:
    """Like `read`, from the file's bytes."""
    _check_zip(data, path)
    arrays = read_arrays("torch_state_worker.py", "state.pt", data, path, FORM, LONGEST)
    return from_state(arrays, path)


def _check_zip(data: bytes, path: Path | str) -> None:
    """Raise WeightsError for a zip with compressed or too much data. Older files are not zips."""
    if not data.startswith(b"PK"):
        return
    try:
        with zips.open_zip(io.BytesIO(data), MOST_UNPACKED) as archive:
            pickles = [m.file_size for m in archive.infolist() if m.filename.endswith(".pkl")]
    except zips.PackedError as error:
        message = "its arrays are compressed; save net.state_dict() with torch.save"
        raise WeightsError(f"{path}: {message}") from error
    except (*zips.DAMAGED, *MALFORMED) as error:
        raise WeightsError(f"{path}: not a {FORM}, or damaged") from error
    if sum(pickles) > LARGEST_PICKLE:
        raise WeightsError(f"{path}: more than {LARGEST_PICKLE:,} bytes besides its tensors")


def from_state(arrays: dict[str, Array], path: Path | str) -> Found:
    """The layers of named arrays, in the only order that fits. Raises WeightsError."""
    model = Found.begin(path)
    try:
        modules, is_registered = _modules(arrays, path)
        readings = [module.readings for module in modules.values()]
        order = order_of_use(readings, path, is_registered)
        for reading in order:
            modules[reading.name].add_to(model, reading)
    except (LookupError, TypeError, ValueError, ArithmeticError) as error:
        raise WeightsError(f"{path}: its arrays do not form a chain of LSTM and Linear") from error
    log.info(
        "%s: assumed %s, in this order; a state dict does not record activations and residual "
        "connections",
        path, ", ".join(map(str, order)),
    )  # fmt: skip
    model.end_in_softmax()
    return model


Layer = dict[str, Array]  # by the last parts of minidark's names


@dataclass(slots=True)
class Module:
    """The arrays under one prefix of a state dict.

    readings: the kinds of module that it may be. layers: the arrays of each layer of an nn.LSTM, or
    those of one matrix.
    """

    readings: list[Reading]
    layers: list[Layer]

    def add_to(self, model: Found, reading: Reading) -> None:
        model.set_inputs(reading.inputs)
        if reading.kind == LSTM:
            for arrays in self.layers:
                model.add("lstm", arrays, output=reading.outputs)
            return
        (arrays,) = self.layers
        weights = arrays["weights"].T if reading.kind == EMBEDDING else arrays["weights"]
        zero = np.zeros(reading.outputs, np.float32)
        arrays = {"weights": weights, "biases": arrays.get("biases", zero)}
        model.add("connected", arrays, output=reading.outputs, activation="linear")


def _modules(arrays: dict[str, Array], path: Path | str) -> tuple[dict[str, Module], bool]:
    """The modules by prefix, in the order of the dict, and whether that is the registration order.

    torch registers a module's weights first; another program may have sorted the names.
    """
    left = dict(arrays)
    modules: dict[str, Module] = {}
    is_registered = True
    while left:
        name = next(iter(left))
        prefix = re.sub(r"(weight|bias)(_[ih]h_l[0-9]+)?$", "", name)
        lstm = f"{prefix}weight_ih_l0"
        is_registered &= name in (lstm, f"{prefix}weight")
        if lstm in left:
            modules[prefix] = _lstm(left, prefix, path)
        else:
            modules[prefix] = _matrix(left, name, prefix, path)
    return modules, is_registered


def _matrix(left: dict[str, Array], name: str, prefix: str, path: Path | str) -> Module:
    weights = left.pop(f"{prefix}weight", None)
    if prefix == name or weights is None or weights.ndim != 2:
        raise WeightsError(f"{path}: {bare(name)} is not an array of nn.LSTM or nn.Linear")
    biases = left.pop(f"{prefix}bias", None)
    layer = {"weights": weights} if biases is None else {"weights": weights, "biases": biases}
    rows, columns = weights.shape
    return Module(matrix_readings(prefix, rows, columns, biases is not None), [layer])


def _lstm(left: dict[str, Array], prefix: str, path: Path | str) -> Module:
    inputs = left[f"{prefix}weight_ih_l0"].shape[1]
    layers: list[Layer] = []
    while f"{prefix}weight_ih_l{len(layers)}" in left:
        layers.append(_lstm_layer(left, prefix, len(layers), path))
    outputs = len(layers[0]["wi.weights"])
    return Module([Reading(prefix, LSTM, inputs, outputs, len(layers))], layers)


def _lstm_layer(left: dict[str, Array], prefix: str, layer: int, path: Path | str) -> Layer:
    u, w = (left.pop(f"{prefix}weight_{kind}_l{layer}") for kind in ("ih", "hh"))
    name = f"{bare(prefix)}weight_hh_l{layer}"
    gates = len(w) // w.shape[1]
    if gates != len(TORCH["lstm"]):
        raise WeightsError(f"{path}: {name} cannot be converted: {OTHERS[gates]}")
    if {f"{prefix}weight_ih_l{layer}_reverse", f"{prefix}weight_hr_l{layer}"} & left.keys():
        message = "the LSTM is bidirectional, or has a projection"
        raise WeightsError(f"{path}: {name} cannot be converted: {message}")
    biases = (left.pop(f"{prefix}bias_{kind}_l{layer}", None) for kind in ("ih", "hh"))
    return unpack(TORCH["lstm"], Packed(u, w, *biases))
