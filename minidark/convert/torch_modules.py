"""The modules of a PyTorch state dict: which arrays belong together, and what they may be.

X.weight_ih_l0, X.weight_hh_l0, ...   nn.LSTM, nn.GRU or nn.RNN: weight_hh has 4 H, 3 H or H rows
X.weight_ih, X.weight_hh, ...         nn.LSTMCell, nn.GRUCell or nn.RNNCell
X.weight, X.bias                      nn.Linear
X.weight                              nn.Embedding or nn.Linear
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from minidark.backend import Array
from minidark.convert.found import Found
from minidark.convert.gates import TORCH, Packed, unpack
from minidark.convert.torch_order import EMBEDDING, LINEAR, Reading, matrix_readings
from minidark.errors import WeightsError, bare, echo

SECTIONS = {1: "rnn", 3: "gru", 4: "lstm"}  # by the number of gates
KINDS = {"rnn": "nn.RNN", "gru": "nn.GRU", "lstm": "nn.LSTM"}
KNOWN = "nn.Embedding, nn.Linear, nn.GRU, nn.LSTM or nn.RNN"
WRAPPERS = ("module.", "_orig_mod.")  # of nn.DataParallel and torch.compile
RECURRENT = re.compile(r"(weight|bias)_(ih|hh|hr)(_l[0-9]+)?(_reverse)?")
FIRST = ("weight", "weight_ih", "weight_ih_l0")  # what torch registers first in a module
BIDIRECTIONAL = "is bidirectional: minidark's layers read only forward"
PROJECTED = "has a projection (proj_size), and minidark's layers have none"
LAYER_NORM = "normalizes each row (nn.LayerNorm or the like), and minidark has no such layer"
BATCH_NORM = "normalizes (nn.BatchNorm), and a state dict does not record over which axis and how"

Arrays = dict[str, Array]


@dataclass(slots=True)
class Module:
    """The arrays of a module by their own names, such as "weight", and what it may be."""

    readings: list[Reading]
    arrays: Arrays

    def add_to(self, model: Found, reading: Reading) -> None:
        """Append its layers to a model."""
        model.set_inputs(reading.inputs)
        if reading.is_recurrent:
            self._add_recurrent(model, reading)
            return
        weights = self.arrays["weight"]
        zero = np.zeros(reading.outputs, np.float32)
        arrays = {
            "weights": weights.T if reading.kind == EMBEDDING else weights,
            "biases": self.arrays.get("bias", zero),
        }
        model.add("connected", arrays, output=reading.outputs, activation="linear")
        model.came_from(reading.kind)

    def _add_recurrent(self, model: Found, reading: Reading) -> None:
        for layer in range(reading.layers):
            end = "" if reading.is_cell else f"_l{layer}"
            u, w = (self.arrays[f"weight_{side}{end}"] for side in ("ih", "hh"))
            biases = (self.arrays.get(f"bias_{side}{end}") for side in ("ih", "hh"))
            add_recurrent(model, SECTIONS[len(w) // w.shape[1]], Packed(u, w, *biases))
            model.came_from(reading.kind)


def add_recurrent(model: Found, section: str, packed: Packed, activation: str = "tanh") -> None:
    """Append one layer of nn.GRU, nn.LSTM or nn.RNN to a model."""
    outputs = packed.w.shape[1]
    if section == "rnn":
        zero = np.zeros(outputs, np.float32)
        u_biases, w_biases = (
            zero if biases is None else biases for biases in (packed.u_biases, packed.w_biases)
        )
        arrays = {
            "input.weights": packed.u, "input.biases": u_biases,
            "self.weights": packed.w, "self.biases": w_biases,
        }  # fmt: skip
        model.add("rnn", arrays, output=outputs, activation=activation, elman=1)
        return
    keys = {"tanh": 1, "reset_after": 1} if section == "gru" else {}
    model.add(section, unpack(TORCH[section], packed), output=outputs, **keys)


def modules_of(arrays: Mapping[str, Array], path: Path | str) -> tuple[dict[str, Module], bool]:
    """The modules by prefix, in the order of the dict, and whether that is the registration order.

    torch registers a module's weights first; another program may have sorted the names.
    """
    groups: dict[str, Arrays] = {}
    is_registered = True
    for name, array in without_wrappers(arrays).items():
        prefix = name[: name.rfind(".") + 1]
        own = name.removeprefix(prefix)
        is_registered &= prefix in groups or own in FIRST
        groups.setdefault(prefix, {})[own] = array
    modules = {prefix: _module(prefix, own, path) for prefix, own in groups.items()}
    _tie(modules)
    return modules, is_registered


def without_wrappers(arrays: Mapping[str, Array]) -> Mapping[str, Array]:
    """The arrays without the prefixes that nn.DataParallel and torch.compile add to all names."""
    for wrapper in WRAPPERS * 2:
        if arrays and all(name.startswith(wrapper) for name in arrays):
            arrays = {name.removeprefix(wrapper): array for name, array in arrays.items()}
    return arrays


def _module(prefix: str, own: Arrays, path: Path | str) -> Module:
    if any(map(RECURRENT.fullmatch, own)):
        return _recurrent(prefix, own, path)
    weights = own.get("weight")
    if weights is None or weights.ndim != 2 or own.keys() - {"weight", "bias"}:
        raise WeightsError(f"{path}: {_reason(prefix, own)}")
    rows, columns = weights.shape
    if "bias" in own and own["bias"].shape != (rows,):
        raise WeightsError(f"{path}: {bare(prefix)}bias does not fit {bare(prefix)}weight")
    return Module(matrix_readings(prefix, rows, columns, "bias" in own), own)


def _reason(prefix: str, own: Arrays) -> str:
    """Why a module has no counterpart, from the names and axes of its arrays."""
    label = echo(prefix.rstrip(".") or next(iter(own)))
    weights = own.get("weight")
    if "running_mean" in own:
        return f"{label} {BATCH_NORM}"
    if weights is not None and weights.ndim > 2:
        return f"{label} is a convolution (nn.Conv), and minidark has none for sequences"
    if weights is not None and weights.ndim == 1 and not own.keys() - {"weight", "bias"}:
        return f"{label} {LAYER_NORM}"
    if "in_proj_weight" in own:
        return f"{bare(prefix)}in_proj_weight is not an array of {KNOWN}, but of attention"
    if own.keys() == {"bias"}:
        return (
            f"{bare(prefix)}weight is missing; if it is tied to another array, save a copy of "
            "that under its name"
        )
    odd = next(name for name in own if name not in ("weight", "bias") or own[name].ndim != 2)
    return f"{bare(prefix + odd)} is not an array of {KNOWN}"


def _recurrent(prefix: str, own: Arrays, path: Path | str) -> Module:
    """The module of arrays weight_ih, weight_hh and, in pairs, biases of each layer."""
    label = echo(prefix.rstrip(".") or next(iter(own)))
    if any(name.endswith("_reverse") for name in own):
        raise WeightsError(f"{path}: {label} {BIDIRECTIONAL}")
    if any("_hr" in name for name in own):
        raise WeightsError(f"{path}: {label} {PROJECTED}")
    cell = "weight_hh" in own
    layers = 1 if cell else sum(name.startswith("weight_hh_l") for name in own)
    ends = [""] if cell else [f"_l{layer}" for layer in range(layers)]
    with_biases = any(name.startswith("bias") for name in own)
    parts = ("weight_ih", "weight_hh", "bias_ih", "bias_hh")[: 4 if with_biases else 2]
    expected = {part + end for end in ends for part in parts} or {"weight_hh_l0"}
    if odd := own.keys() - expected or expected - own.keys():
        is_extra = own.keys() >= expected
        problem = f"is not an array of {KNOWN}" if is_extra else "is missing"
        raise WeightsError(f"{path}: {bare(prefix + min(odd))} {problem}")
    rows, outputs = _axes(own, f"weight_hh{ends[0]}", prefix, path)
    _, inputs = _axes(own, f"weight_ih{ends[0]}", prefix, path)
    if not outputs or rows % outputs or rows // outputs not in SECTIONS:
        raise WeightsError(
            f"{path}: {bare(prefix)}weight_hh{ends[0]} is {rows} x {outputs}; nn.RNN has H x H, "
            "nn.GRU 3 H x H and nn.LSTM 4 H x H"
        )
    for end in ends:
        columns = {"ih": inputs if end == ends[0] else outputs, "hh": outputs}
        for part in parts:
            kind, side = part.split("_")
            shape = (rows, columns[side]) if kind == "weight" else (rows,)
            if own[part + end].shape != shape:
                expected_shape = " x ".join(map(str, shape))
                raise WeightsError(
                    f"{path}: {bare(prefix)}{part}{end} does not fit weight_hh{ends[0]}; expected "
                    f"{expected_shape}"
                )
    kind = KINDS[SECTIONS[rows // outputs]] + ("Cell" if cell else "")
    return Module([Reading(prefix, kind, inputs, outputs, layers)], own)


def _axes(own: Arrays, name: str, prefix: str, path: Path | str) -> tuple[int, int]:
    if own[name].ndim != 2:
        raise WeightsError(f"{path}: {bare(prefix + name)} is not a matrix")
    rows, columns = own[name].shape
    return rows, columns


def _tie(modules: Mapping[str, Module]) -> None:
    """Of two equal matrices, one is the embedding and the other the head: tied weights."""
    equal: dict[tuple[tuple[int, ...], bytes], list[Module]] = {}
    for module in modules.values():
        if not module.readings[0].is_recurrent:
            weights = module.arrays["weight"]
            digest = hashlib.sha256(np.ascontiguousarray(weights).tobytes()).digest()
            equal.setdefault((weights.shape, digest), []).append(module)
    for pair in equal.values():
        if len(pair) != 2:
            continue
        embedding, head = sorted(pair, key=lambda module: "bias" in module.arrays)
        if "bias" in embedding.arrays:
            continue
        rows, columns = embedding.arrays["weight"].shape
        name = embedding.readings[0].name
        embedding.readings = [Reading(name, EMBEDDING, rows, columns)]
        head.readings = [Reading(head.readings[0].name, LINEAR, columns, rows, is_last=True)]
