"""The layers of a Keras model that was saved, and their arrays, as a cfg's layers.

Of another program a chain of GRU with reset_after=False, LSTM, Dense, activations and Softmax is
taken; whatever has no counterpart in darknet is refused with the reason.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from minidark.backend import Array
from minidark.convert.found import Found
from minidark.convert.keras import GATES, keras_epsilon
from minidark.errors import WeightsError, bare, echo
from minidark.layers.batchnorm import CPU, DIVISORS

ACTIVATIONS = {"sigmoid": "logistic", "tanh": "tanh", "relu": "relu", "elu": "elu"}
LEAKS = {0.1: "leaky", 0.01: "relie"}
PASSED_OVER = {"InputLayer", "Dropout", "Identity"}


class Layers:
    """The layers of a model's config in their order, each with the arrays of its name."""

    def __init__(self, layers: list[Any], arrays: dict[str, Array], path: Path | str):
        """arrays: by the layer's name and a number, "gru_0/1"."""
        self.layers, self.path = layers, path
        self.divisor = CPU
        self.arrays: dict[str, list[Array]] = {}
        for name, array in arrays.items():
            self.arrays.setdefault(name.rpartition("/")[0], []).append(array)

    def fill(self, found: Found) -> Found:
        """A model that `write` wrote: names and sizes are as the cfg says."""
        if pair := found.sections[0].pairs.get("batchnorm"):
            self.divisor = DIVISORS[pair.value]
        for name in found.names:
            index, _, type_ = name.partition(".")
            if (own := f"{type_}_{index}") in self.arrays:
                parts = self._taken(type_, own)
                found.arrays |= {f"{name}.{part}": array for part, array in parts.items()}
        return found

    def found(self) -> Found:
        """Another's: a chain of GRU with reset_after=False, LSTM, Dense, activations, Softmax."""
        found, before = Found.begin(self.path), ""
        for layer in self.layers:
            kind, config, name = layer["class_name"], layer["config"], layer["config"]["name"]
            source = _source(layer)
            if source not in ("", before):
                raise self._refused(kind, name, "the model is no chain: its paths part")
            before = before if kind == "InputLayer" and found.names else name
            if kind in ("GRU", "LSTM"):
                self._recurrent(found, kind, config, name)
            elif kind == "Dense":
                arrays = self._taken("connected", name)
                found.set_inputs(arrays["weights"].shape[1])
                found.add("connected", arrays, output=config["units"], activation="linear")
                self._activate(found, config["activation"], kind, name)
            elif kind == "Activation":
                self._activate(found, config["activation"], kind, name)
            elif kind == "Softmax" and config.get("axis", -1) == -1:
                found.add("softmax")
            elif kind == "LeakyReLU" and (leak := round(config["negative_slope"], 6)) in LEAKS:
                found.activate(LEAKS[leak])
            elif kind not in PASSED_OVER:
                raise self._refused(kind, name, "darknet has no counterpart")
        if not found.names:
            raise WeightsError(f"{self.path}: no GRU, LSTM or Dense in this model")
        return found

    def _recurrent(self, found: Found, kind: str, config: dict[str, Any], name: str) -> None:
        if kind == "GRU" and config.get("reset_after", True):
            raise self._refused(
                kind, name,
                "reset_after=True resets after the product, darknet's GRU before it: no weights of "
                "the one are weights of the other",
            )  # fmt: skip
        if config.get("go_backwards") or not config.get("return_sequences"):
            raise self._refused(kind, name, "it must run forward and return sequences")
        activation = config["activation"]
        gates = config["recurrent_activation"]
        allowed = ("tanh", "sigmoid") if kind == "GRU" else ("tanh",)
        if gates != "sigmoid" or activation not in allowed:
            raise self._refused(kind, name, "its activations have no counterpart")
        arrays = self._taken(kind.lower(), name)
        keys = {"tanh": int(activation == "tanh")} if kind == "GRU" else {}
        first = next(array for part, array in arrays.items() if part.endswith("weights"))
        found.set_inputs(first.shape[1])
        found.add(kind.lower(), arrays, output=config["units"], **keys)

    def _activate(self, found: Found, activation: Any, kind: str, name: str) -> None:
        if activation == "softmax":
            found.add("softmax")
        elif str(activation) in ACTIVATIONS:
            found.activate(ACTIVATIONS[str(activation)])
        elif activation not in ("linear", None):
            raise self._refused(kind, name, f"activation {echo(activation)} has no counterpart")

    def _taken(self, type_: str, name: str) -> dict[str, Array]:
        """A layer's arrays under the last parts of minidark's names. Raises WeightsError."""
        arrays = self.arrays[name]
        if odd := {a.dtype.name for a in arrays} - {"float32"}:
            raise WeightsError(f"{self.path}: {echo(name)} is {min(odd)}; expected float32")
        if type_ in GATES:
            return _ungated(type_, arrays)
        if type_ == "connected":
            kernel, *biases = arrays
            return {
                "weights": kernel.T,
                "biases": biases[0] if biases else np.zeros(kernel.shape[1], np.float32),
            }
        scales, biases_, mean, variance = arrays
        rolling, outside = variance, self.divisor.outside
        if outside:
            root = np.sqrt(variance + keras_epsilon(self.divisor))
            rolling = np.square(np.maximum(root - outside, 0))
        kinds = ("scales", "biases", "rolling_mean", "rolling_variance")
        return dict(zip(kinds, (scales, biases_, mean, rolling), strict=True))

    def _refused(self, kind: str, name: str, why: str) -> WeightsError:
        return WeightsError(f"{self.path}: {bare(kind)} {echo(name)} cannot be taken over: {why}")


def _source(layer: dict[str, Any]) -> str:
    """The layer whose output is this one's input; "" in a Sequential, and for an input."""
    nodes = layer.get("inbound_nodes") or []
    if not nodes:
        return ""
    (given, *_) = nodes[0]["args"]
    while isinstance(given, list):
        given = given[0]
    return str(given["config"]["keras_history"][0])


def _ungated(type_: str, arrays: list[Array]) -> dict[str, Array]:
    """Kernels and one bias as sublayers; the biases of those that read the state are zero."""
    u, w = GATES[type_]
    kernel, recurrent, *biases = arrays
    found = {}
    for names, matrix in ((u, kernel), (w, recurrent)):
        for name, part in zip(names, np.split(matrix, len(names), axis=1), strict=True):
            found[f"{name}.weights"] = part.T
            found[f"{name}.biases"] = np.zeros(part.shape[1], np.float32)
    if biases:
        for name, part in zip(u, np.split(biases[0], len(u)), strict=True):
            found[f"{name}.biases"] = part
    return found
