"""Packs a network for a page in which it runs: the weights as text, and what each layer computes.

1. Layers that do nothing in inference are left out. Batch norm becomes a product and a sum.
2. With 8 or 16 bits, a weight is an integer times the scale of its row, which is the row's largest
   absolute weight divided by 127 or 32,767. With 32 bits it stays a float32. Biases, which are few,
   always do.
3. The first bytes of all numbers come first, then all second bytes, and so on, which compresses
   better. The bytes are deflated (zlib's format), in base64.

The reader is `templates/network.js`. It multiplies integers and scales in the same way, so the page
runs the network of `rounded`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt

from minidark.convert.fold import denormalize, norm_as_affine
from minidark.errors import CfgError
from minidark.layers.affine import Affine, PackedLayer
from minidark.layers.base import Layer
from minidark.layers.batchnorm_layer import BatchnormLayer
from minidark.network import Network
from minidark.network.parser import copy_arrays, rebuilt
from minidark.report.packing import deflated

Floats = npt.NDArray[np.float32]
BITS = (8, 16, 32)
INTEGERS: dict[int, type[np.signedinteger[Any]]] = {8: np.int8, 16: np.int16}
WITHOUT_EFFECT = frozenset({"bytepairs", "dropout", "cost"})  # in inference
# What a layer computes besides its arrays, by type. `LAYERS` in network.js has the same types.
OPTIONS: dict[str, Callable[[Any], dict[str, Any]]] = {
    "gru": lambda layer: {"tanh": layer.tanh, "reset_after": layer.reset_after},
    "lstm": lambda layer: {},
    "rnn": lambda layer: {
        "activation": layer.activation.name,
        "self_activation": layer.self_activation.name,
        "hidden": layer.hidden,
        "shortcut": layer.shortcut,
        "elman": layer.elman,
    },
    "connected": lambda layer: {"activation": layer.activation.name},
    "activation": lambda layer: {"activation": layer.activation.name},
    "logistic": lambda layer: {"activation": layer.activation.name},
    "batchnorm": lambda layer: _norm(layer),
    "softmax": lambda layer: {"groups": layer.groups, "temperature": layer.temperature},
}


def check_packable(net: Network) -> None:
    """Raise CfgError if a page cannot run the network."""
    for layer in net.layers:
        if layer.type not in {*OPTIONS, *WITHOUT_EFFECT}:
            raise CfgError(f"a page cannot run [{layer.type}] yet; {_known()}")
        if layer.shares is not None:
            raise CfgError(f"a page cannot run tied= of {layer.name} yet; {_known()}")
    if not net.graph.is_chain:
        raise CfgError(f"a page cannot run layers that read several others yet; {_known()}")


def _known() -> str:
    *first, last = (f"[{name}]" for name in sorted({*OPTIONS, *WITHOUT_EFFECT}))
    return f"it can run {', '.join(first)} and {last}"


def rounded(net: Network, bits: int) -> Network:
    """A copy without batch norm in its sublayers, with the weights that a page of `bits` has."""
    if any(isinstance(layer, PackedLayer) and layer.normalized for layer in net.layers):
        copy = denormalize(net)
    else:
        copy = rebuilt(net)
        copy_arrays(net, copy)
    for affine in _affines(copy):
        stored, scales = rounded_rows(affine.weights, bits)
        affine.weights[...] = stored if scales is None else stored * scales[:, None]
    return copy


def packed(net: Network, bits: int) -> list[dict[str, Any]]:
    """The layers of a network from `rounded`, of the same bits, for JSON."""
    return [
        {
            "type": layer.type,
            "name": layer.name,
            "inputs": layer.inputs,
            "outputs": layer.outputs,
            "affines": [_packed_affine(affine, bits) for affine in _affines_of(layer)],
            **OPTIONS[layer.type](layer),
        }
        for layer in net.layers
        if layer.type not in WITHOUT_EFFECT
    ]


def rounded_rows(
    weights: Floats, bits: int
) -> tuple[npt.NDArray[np.signedinteger[Any] | np.float32], Floats | None]:
    """Weights (R, I) as integers (R, I) and the scale of each row (R,); with 32 bits, the weights
    themselves and None. Rounding twice changes nothing: the largest weight of a row keeps its
    integer."""
    if bits not in INTEGERS:
        return weights, None
    most = 2 ** (bits - 1) - 1
    largest = np.abs(weights).max(axis=1)
    scales = np.where(largest > 0, largest / np.float32(most), np.float32(1)).astype(np.float32)
    nearest = np.rint(weights.astype(np.float64) / scales[:, None])
    return np.clip(nearest, -most, most).astype(INTEGERS[bits]), scales


def _packed_affine(affine: Affine, bits: int) -> dict[str, Any]:
    stored, scales = rounded_rows(affine.weights, bits)
    return {
        "rows": affine.features,
        "columns": affine.inputs,
        "bits": bits,
        "weights": packed_numbers(stored),
        "scales": None if scales is None else packed_numbers(scales),
        "biases": packed_numbers(affine.biases),
    }


def packed_numbers(numbers: npt.NDArray[Any]) -> str:
    """An array as text, byte by byte as described above, with the lowest byte first."""
    little = np.ascontiguousarray(numbers, numbers.dtype.newbyteorder("<"))
    planes = little.reshape(-1, 1).view(np.uint8).T
    return deflated(planes.tobytes())


def _norm(layer: BatchnormLayer) -> dict[str, Any]:
    """A [batchnorm] as y = factor x + shift, both packed."""
    norm = layer.norm
    arrays = (norm.scales, norm.rolling_mean, norm.rolling_variance)
    factor, shift = norm_as_affine(arrays, norm.divisor, layer.backend)
    shift = shift + layer.biases.value
    return {
        "factor": packed_numbers(factor.astype(np.float32)),
        "shift": packed_numbers(shift.astype(np.float32)),
    }


def _affines(net: Network) -> list[Affine]:
    return [affine for layer in net.layers for affine in _affines_of(layer)]


def _affines_of(layer: Layer) -> tuple[Affine, ...]:
    return layer.affines if isinstance(layer, PackedLayer) else ()
