"""The layers of a Keras model as minidark's, with their arrays.

    GRU                 [gru] reset_after=1; 0 for reset_after=False. Gates z, r, h
    LSTM                [lstm]: gates i, f, g, o
    SimpleRNN           [rnn] elman=1
    Embedding           [connected], linear: the product of one-hot rows with a matrix
    Dense               [connected]
    BatchNormalization  [batchnorm], its variance adjusted so that the divisor equals Keras's
    activations         [activation], or the activation of the [connected] before it
    Softmax             [softmax]

Layers that change nothing outside training are left out.

Source: https://keras.io/api/layers.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from minidark.backend import Array
from minidark.convert.found import Found
from minidark.convert.gates import KERAS, Packed, unpack
from minidark.convert.keras import ACTIVATIONS as NAMES
from minidark.convert.keras_wiring import Chain, Part
from minidark.errors import WeightsError, bare, echo
from minidark.layers.batchnorm import CPU, Divisor

log = logging.getLogger(__name__)

ACTIVATIONS = {theirs: name for name, theirs in NAMES.items()}  # darknet's, by Keras's
SELU = "darknet's selu has rounded constants, so its values differ from the fifth digit on"
LEAKS = {0.0: "relu", 0.1: "leaky", 0.01: "relie"}  # by the slope below zero
PASSED_OVER = {
    "ActivityRegularization", "AlphaDropout", "Dropout", "GaussianDropout", "GaussianNoise",
    "Identity", "SpatialDropout1D",
}  # fmt: skip
READ = "GRU, LSTM, SimpleRNN, Embedding, Dense, BatchNormalization and activations"
NO_NORM = "minidark normalizes only over rows, as BatchNormalization does"
NO_MASK = "it leaves out steps; minidark's layers run over all of them"
NO_CODE = "its Python code would have to run, and minidark runs nothing from a file"
IDS = "minidark's symbols are ids; save the model that begins with ids"
REASONS = {
    "Bidirectional": "it also runs backward; minidark's layers run only forward",
    "Lambda": NO_CODE, "Masking": NO_MASK, "StringLookup": IDS, "TextVectorization": IDS,
    "LayerNormalization": NO_NORM, "GroupNormalization": NO_NORM, "UnitNormalization": NO_NORM,
    "RMSNormalization": NO_NORM,
}  # fmt: skip
Arrays = Mapping[str, list[Array]]  # by `Part.group`


def read_layers(chain: Chain, arrays: Arrays) -> Found:
    """The network of a chain. Raises WeightsError for a layer without a counterpart."""
    found = Found.begin(chain.path)
    layers = _Layers(found, chain, arrays)
    for part in chain.parts:
        layers.take(part)
    if half := sorted({name for part in chain.parts if "16" in (name := _policy(part))}):
        log.info("%s: computes in %s, but minidark in float32", chain.path, bare(half[0]))
    if not any(section.pairs.get("output") for section in found.sections):
        raise WeightsError(f"{chain.path}: no GRU, LSTM, SimpleRNN or Dense in this model")
    if not found.logarithms:
        found.end_in_softmax()
    found.last_only = chain.last_only
    return found


def _policy(part: Part) -> str:
    """The name of a layer's dtype policy, such as "mixed_float16"."""
    policy = part.config.get("dtype")
    return str(policy["config"]["name"] if isinstance(policy, dict) else policy)


class _Layers:
    """Adds one layer of a chain after the other to a network."""

    def __init__(self, found: Found, chain: Chain, arrays: Arrays):
        self.found, self.chain, self.arrays = found, chain, arrays
        self.is_first = True
        self.taken: set[str] = set()
        self.takes: dict[str, Callable[[Part], None]] = {
            "GRU": self._gru, "LSTM": self._lstm, "SimpleRNN": self._simple_rnn,
            "Dense": self._dense, "Embedding": self._embedding, "OneHot": self._one_hot,
            "CategoryEncoding": self._one_hot, "BatchNormalization": self._batchnorm,
            "Softmax": self._softmax, "LogSoftmax": self._softmax,
            "Activation": lambda part: self._activate(part, part.config["activation"]),
            "ReLU": self._relu, "LeakyReLU": self._relu, "LeakyRelu": self._relu,
            "ELU": self._elu, "Elu": self._elu,
            "Relu": lambda part: self._activate(part, "relu"),
            "Sigmoid": lambda part: self._activate(part, "sigmoid"),
            "Tanh": lambda part: self._activate(part, "tanh"),
        }  # fmt: skip

    def take(self, part: Part) -> None:
        if self.found.logarithms:
            raise self._refused(part, "it reads logarithms of a softmax")
        if part.kind in self.takes:
            self.takes[part.kind](part)
        elif part.kind not in PASSED_OVER:
            raise self._refused(part, REASONS.get(part.kind, f"minidark reads only {READ}"))
        self.is_first = False

    # --- layers with arrays -------------------------------------------------

    def _gru(self, part: Part) -> None:
        tanh = self._gated(part, "tanh", "sigmoid") == "tanh"
        arrays = self._arrays(part)
        rows = [biases.ndim == 2 for biases in arrays[2:]]
        reset_after = part.config.get("reset_after", rows != [False])  # early Keras 2 has none
        if rows and rows != [reset_after]:
            raise self._refused(part, "its biases are those of the other reset_after")
        self._add_gates("gru", arrays, tanh=int(tanh), reset_after=int(reset_after))

    def _lstm(self, part: Part) -> None:
        self._gated(part, "tanh")
        self._add_gates("lstm", self._arrays(part))

    def _simple_rnn(self, part: Part) -> None:
        activation = self._recurrent(part)
        if activation not in ACTIVATIONS:
            raise self._refused(part, f"darknet has no activation {echo(activation)}")
        self._add_gates("rnn", self._arrays(part), activation=ACTIVATIONS[activation], elman=1)

    def _add_gates(self, type_: str, arrays: list[Array], **keys: object) -> None:
        inputs, (outputs, _) = len(arrays[0]), arrays[1].shape
        self.found.set_inputs(inputs)
        self.found.add(type_, arrays_of(type_, arrays), output=outputs, **keys)

    def _gated(self, part: Part, *allowed: str) -> str:
        """The activation of a layer with gates."""
        activation, own = self._recurrent(part), part.config["recurrent_activation"]
        if own != "sigmoid" or activation not in allowed:
            names = f"{echo(own)} and {echo(activation)}"
            raise self._refused(part, f"its activations are {names}; minidark has 'sigmoid' and "
                                      f"{' or '.join(map(repr, allowed))}")  # fmt: skip
        return activation

    def _recurrent(self, part: Part) -> str:
        """The activation of a recurrent layer, which must run forward."""
        if part.config.get("go_backwards"):
            raise self._refused(part, "it runs backward; minidark's layers run only forward")
        if part.config.get("time_major"):
            raise self._refused(part, "it has time first; save it with time_major=False")
        return str(part.config["activation"])

    def _dense(self, part: Part) -> None:
        self._add_connected(part)
        self._activate(part, part.config.get("activation"))

    def _embedding(self, part: Part) -> None:
        if part.config.get("mask_zero"):
            raise self._refused(part, f"mask_zero=True: {NO_MASK}")
        if not self.is_first:
            raise self._refused(part, "its ids are not the model's input")
        self._add_connected(part)
        self.found.came_from("Embedding")

    def _add_connected(self, part: Part) -> None:
        arrays = arrays_of("connected", self._arrays(part))
        outputs, inputs = arrays["weights"].shape
        self.found.set_inputs(inputs)
        self.found.add("connected", arrays, output=outputs, activation="linear")

    def _batchnorm(self, part: Part) -> None:
        config = part.config
        if config.get("renorm") or not self._is_features(part, config.get("axis", -1)):
            raise self._refused(part, "minidark has no renorm, and reads only axis=-1")
        scales_given, biases_given = config.get("scale", True), config.get("center", True)
        *given, mean, variance = self._arrays(part)
        scales = given.pop(0) if scales_given else np.ones_like(mean)
        biases = given.pop(0) if biases_given else np.zeros_like(mean)
        epsilon = float(config.get("epsilon", 1e-3))
        self.found.set_inputs(len(mean))
        self.found.add("batchnorm", batchnorm([scales, biases, mean, variance], epsilon, CPU))

    def _arrays(self, part: Part) -> list[Array]:
        """A layer's arrays as float32. Raises WeightsError."""
        place = f"{self.chain.path}: {echo(part.name)}"
        if part.group in self.taken:  # reuse could grow the network to many times the file's size
            raise WeightsError(f"{place}: its arrays are used twice")
        self.taken.add(part.group)
        arrays = self.arrays.get(part.group, [])
        if odd := {array.dtype.name for array in arrays} - {"float32", "float16"}:
            raise WeightsError(f"{place} is {min(odd)}; expected float32")
        if len(arrays) != (wanted := sum(amounts(part))):
            raise WeightsError(
                f"{place} has {len(arrays)} arrays, and its config {wanted}; it may share its "
                "arrays with another layer"
            )
        return [array.astype(np.float32, copy=False) for array in arrays]

    @staticmethod
    def _is_features(part: Part, axis: Any) -> bool:
        """Whether an axis is the last one. Keras 2 writes a list of one."""
        return axis in (-1, [-1]) or axis in ([1, [1]] if part.is_one_step else [2, [2]])

    # --- layers without -----------------------------------------------------

    def _one_hot(self, part: Part) -> None:
        config = part.config
        symbols = config.get("num_classes", config.get("num_tokens"))
        plain = config.get("axis", -1) == -1 and config.get("output_mode", "one_hot") == "one_hot"
        if not (self.is_first and plain and isinstance(symbols, int)) or config.get("sparse"):
            raise self._refused(part, "minidark reads only one_hot of the model's input, axis=-1")
        self.found.set_inputs(symbols)

    def _softmax(self, part: Part) -> None:
        if not self._is_features(part, axis := part.config.get("axis", -1)):
            raise self._refused(part, f"its axis is {echo(axis)}, and only -1 is read")
        self._activate(part, "softmax" if part.kind == "Softmax" else "log_softmax")

    def _relu(self, part: Part) -> None:
        """ReLU and LeakyReLU, which Keras 2 gives an alpha."""
        config = part.config
        slope = config.get(
            "negative_slope", config.get("alpha", 0.3 if "Leaky" in part.kind else 0)
        )
        if config.get("max_value") is not None or config.get("threshold"):
            raise self._refused(part, "darknet's relu has no max_value and no threshold")
        if (leak := round(float(slope), 6)) not in LEAKS:
            raise self._refused(part, f"darknet has no negative_slope {echo(leak)}")
        self.found.activate(LEAKS[leak])

    def _elu(self, part: Part) -> None:
        if (alpha := part.config.get("alpha", 1)) != 1:
            raise self._refused(part, f"darknet's elu has alpha 1, not {echo(alpha)}")
        self.found.activate("elu")

    def _activate(self, part: Part, activation: Any) -> None:
        name = str(activation or "linear")
        if name in ("softmax", "log_softmax"):
            self.found.add("softmax")
            self.found.logarithms = name == "log_softmax"
        elif name not in ACTIVATIONS:
            reason = SELU if name == "selu" else f"activation {echo(activation)} has no counterpart"
            raise self._refused(part, reason)
        elif name != "linear":
            self.found.activate(ACTIVATIONS[name])

    def _refused(self, part: Part, why: str) -> WeightsError:
        return self.chain.refused(part.kind, part.name, why)


def amounts(part: Part) -> tuple[int, int]:
    """How many arrays a layer has: trained ones, and statistics."""
    config = part.config
    if part.kind == "BatchNormalization":
        return bool(config.get("scale", True)) + bool(config.get("center", True)), 2
    if part.kind == "Embedding":
        return 1, 0
    weights = {"GRU": 2, "LSTM": 2, "SimpleRNN": 2, "Dense": 1}.get(part.kind, 0)
    return weights + bool(weights and config.get("use_bias", True)), 0


def arrays_of(type_: str, arrays: list[Array]) -> dict[str, Array]:
    """The arrays of a layer of this type under minidark's names.

    [connected]: kernel (I, O) and biases (O,). Recurrent layers: kernel (I, G H), recurrent kernel
    (H, G H) and biases (G H,), or (2, G H) with reset_after. Missing biases become zero.
    """
    if type_ == "connected":
        kernel, *biases = arrays
        zero = np.zeros(kernel.shape[1], np.float32)
        return {"weights": kernel.T, "biases": biases[0] if biases else zero}
    kernel, recurrent, *biases = arrays
    if biases and biases[0].ndim == 2:
        biases = [*biases[0]]
    return unpack(KERAS[type_], Packed(kernel.T, recurrent.T, *biases))


def batchnorm(arrays: list[Array], epsilon: float, divisor: Divisor) -> dict[str, Array]:
    """A [batchnorm]'s arrays: scales, biases, mean and variance (F,).

    Keras divides by sqrt(variance + epsilon). The variance is adjusted to give the same divisor.
    """
    scales, biases, mean, variance = arrays
    if divisor.outside:
        root = np.sqrt(variance.astype(np.float64) + epsilon)
        variance = np.square(np.maximum(root - divisor.outside, 0)).astype(np.float32)
    else:
        variance = np.maximum(variance + np.float32(epsilon - divisor.inside), 0)
    kinds = ("scales", "biases", "rolling_mean", "rolling_variance")
    return dict(zip(kinds, (scales, biases, mean, variance), strict=True))
