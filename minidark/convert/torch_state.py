"""A PyTorch state dict, `.pt` or `.pth`, back only: of nn.LSTM and nn.Linear.

The file is opened by torch with weights_only=True, in a process of its own: its unpickler makes
tensors and containers of them and nothing else. A state dict has no more than names and arrays;
what is taken is the usual chain, in the order of the dict:

    X.weight without a bias, at the beginning     nn.Embedding: [connected], linear, without biases
    X.weight_ih_l0, X.weight_hh_l0, ...           nn.LSTM: gates i, f, g, o, both biases apart
    X.weight, X.bias                              nn.Linear: [connected], linear

and a [softmax] behind the last. nn.GRU is refused: it resets after the product with the state.
"""

from __future__ import annotations

import io
import json
import re
from pathlib import Path

import numpy as np

from minidark.backend import Array
from minidark.convert.found import Found, whole
from minidark.convert.workers import run_worker
from minidark.errors import BackendError, MinidarkError, WeightsError, bare

LONGEST = 60  # seconds that it may take to unpack it
GATES = ("i", "f", "g", "o")
OTHERS = {
    3: "nn.GRU resets after the product, darknet's GRU before it: no weights of the one are "
    "weights of the other",
    1: "nn.RNN is act(W x + W s), darknet's [rnn] act(W x) + act(W s)",
}


def read(path: Path | str) -> Found:
    """What is in a state dict. Raises WeightsError, BackendError where there is no torch."""
    data = whole(path)
    try:
        script = "torch_state_worker.py"
        made, _ = run_worker(script, {"state.pt": data}, [], "arrays.npz", limit=LONGEST)
    except BackendError as error:
        raise BackendError(f"{path}: {error}") from error
    except MinidarkError as error:
        raise WeightsError(f"{path}: {error}") from error
    with np.load(io.BytesIO(made)) as arrays:
        names = json.loads(str(arrays["names"]))
        return from_state({name: arrays[str(i)] for i, name in enumerate(names)}, path)


def from_state(arrays: dict[str, Array], path: Path | str) -> Found:
    """The layers of named arrays, in their order. Raises WeightsError."""
    found, left = Found.begin(path), dict(arrays)
    try:
        while left:
            _take(found, left, next(iter(left)), path)
    except (LookupError, TypeError, ValueError, ArithmeticError) as error:
        raise WeightsError(f"{path}: its arrays are no chain of LSTM and Linear") from error
    found.add("softmax")
    return found


def _take(found: Found, left: dict[str, Array], name: str, path: Path | str) -> None:
    if match := re.fullmatch(r"(.*)weight_ih_l([0-9]+)", name):
        _recurrent(found, left, match[1], match[2], path)
        return
    prefix = name.removesuffix("weight")
    weights = left.pop(name)
    biases = left.pop(f"{prefix}bias", None)
    if prefix == name or weights.ndim != 2 or (biases is None and found.names):
        raise WeightsError(f"{path}: {bare(name)} is none of nn.LSTM's and nn.Linear's arrays")
    weights = weights.T if biases is None else weights  # an embedding: a row for each symbol
    biases = np.zeros(len(weights), np.float32) if biases is None else biases
    found.set_inputs(weights.shape[1])
    arrays = {"weights": weights, "biases": biases}
    found.add("connected", arrays, output=len(weights), activation="linear")


def _recurrent(
    found: Found, left: dict[str, Array], prefix: str, layer: str, path: Path | str
) -> None:
    u, w = (left.pop(f"{prefix}weight_{kind}_l{layer}") for kind in ("ih", "hh"))
    name = f"{bare(prefix)}weight_hh_l{layer}"
    gates = len(w) // w.shape[1]
    if gates != len(GATES):
        raise WeightsError(f"{path}: {name} cannot be taken over: {OTHERS[gates]}")
    if {f"{prefix}weight_ih_l{layer}_reverse", f"{prefix}weight_hr_l{layer}"} & left.keys():
        raise WeightsError(f"{path}: {name} cannot be taken over: it runs both ways, or projects")
    arrays = {}
    for side, matrix, kind in (("u", u, "ih"), ("w", w, "hh")):
        biases = left.pop(f"{prefix}bias_{kind}_l{layer}", np.zeros(len(matrix), np.float32))
        for gate, part, bias in zip(GATES, np.split(matrix, 4), np.split(biases, 4), strict=True):
            arrays[f"{side}{gate}.weights"], arrays[f"{side}{gate}.biases"] = part, bias
    found.set_inputs(u.shape[1])
    found.add("lstm", arrays, output=w.shape[1])
