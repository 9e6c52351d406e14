"""A PyTorch state dict, `.pt` or `.pth`, back only: of nn.LSTM, nn.Linear and nn.Embedding.

The file is opened by torch with weights_only=True, in a process of its own: its unpickler makes
tensors and containers of them and nothing else. A state dict has no more than names and arrays.
These are taken:

    X.weight_ih_l0, X.weight_hh_l0, ...   nn.LSTM: gates i, f, g, o, both biases apart
    X.weight, X.bias                      nn.Linear: [connected], linear
    X.weight                              nn.Embedding at the beginning, else nn.Linear

in the order that `torch_order` finds, and a [softmax] behind logits. What was assumed is logged,
for activations and residual connections leave no trace. nn.GRU is refused: it resets after the
product with the state.
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
LARGEST_PICKLE = 1 << 20  # bytes: names and shapes, which are unpacked one by one
MOST_UNPACKED = 2  # times the file's size: torch packs nothing
LONGEST = 60  # seconds that it may take to unpack it, on a machine that is busy
OTHERS = {
    3: "nn.GRU resets after the product, darknet's GRU before it: no weights of the one are "
    "weights of the other",
    1: "nn.RNN is act(W x + W s), darknet's [rnn] act(W x) + act(W s)",
}


def read(path: Path | str) -> Found:
    """What is in a state dict. Raises WeightsError, BackendError where there is no torch, SaveError
    where the folder for temporary files is full."""
    return read_state(whole(path), path)


def read_state(data: bytes, path: Path | str) -> Found:
    """`read` of a file's bytes."""
    _check_zip(data, path)
    arrays = read_arrays("torch_state_worker.py", "state.pt", data, path, FORM, LONGEST)
    return from_state(arrays, path)


def _check_zip(data: bytes, path: Path | str) -> None:
    """Raise WeightsError for a zip that unpacks to more than it should. Older files are none."""
    if not data.startswith(b"PK"):
        return
    try:
        with zips.open_zip(io.BytesIO(data), MOST_UNPACKED) as archive:
            pickles = [m.file_size for m in archive.infolist() if m.filename.endswith(".pkl")]
    except zips.PackedError as error:
        said = "its arrays are packed; save net.state_dict() with torch.save"
        raise WeightsError(f"{path}: {said}") from error
    except (*zips.DAMAGED, *MALFORMED) as error:
        raise WeightsError(f"{path}: not a {FORM}, or damaged") from error
    if sum(pickles) > LARGEST_PICKLE:
        raise WeightsError(f"{path}: more than {LARGEST_PICKLE:,} bytes beside its tensors")


def from_state(arrays: dict[str, Array], path: Path | str) -> Found:
    """The layers of named arrays, in the one order that fits. Raises WeightsError."""
    found = Found.begin(path)
    try:
        modules, is_registered = _modules(arrays, path)
        readings = [module.readings for module in modules.values()]
        order = order_of_use(readings, path, is_registered)
        for reading in order:
            modules[reading.name].add_to(found, reading)
    except (LookupError, TypeError, ValueError, ArithmeticError) as error:
        raise WeightsError(f"{path}: its arrays are no chain of LSTM and Linear") from error
    log.info(
        "%s: assumed %s, in this order; activations and residual connections between them leave "
        "no trace in a state dict",
        path, ", ".join(map(str, order)),
    )  # fmt: skip
    found.end_in_softmax()
    return found


Layer = dict[str, Array]  # arrays by the last parts of minidark's names


@dataclass(slots=True)
class Module:
    """What a state dict has under one prefix: the kinds of module that this may be, and for each
    layer of an nn.LSTM its arrays, or those of a matrix."""

    readings: list[Reading]
    layers: list[Layer]

    def add_to(self, found: Found, reading: Reading) -> None:
        found.set_inputs(reading.inputs)
        if reading.kind == LSTM:
            for arrays in self.layers:
                found.add("lstm", arrays, output=reading.outputs)
            return
        (arrays,) = self.layers
        weights = arrays["weights"].T if reading.kind == EMBEDDING else arrays["weights"]
        zero = np.zeros(reading.outputs, np.float32)
        arrays = {"weights": weights, "biases": arrays.get("biases", zero)}
        found.add("connected", arrays, output=reading.outputs, activation="linear")


def _modules(arrays: dict[str, Array], path: Path | str) -> tuple[dict[str, Module], bool]:
    """By their prefixes, in the order of the dict, and whether that is the order of registration:
    torch registers a module's weights first, and another program may have sorted the names."""
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
        raise WeightsError(f"{path}: {bare(name)} is none of nn.LSTM's and nn.Linear's arrays")
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
        raise WeightsError(f"{path}: {name} cannot be taken over: {OTHERS[gates]}")
    if {f"{prefix}weight_ih_l{layer}_reverse", f"{prefix}weight_hr_l{layer}"} & left.keys():
        raise WeightsError(f"{path}: {name} cannot be taken over: it runs both ways, or projects")
    biases = (left.pop(f"{prefix}bias_{kind}_l{layer}", None) for kind in ("ih", "hh"))
    return unpack(TORCH["lstm"], Packed(u, w, *biases))
