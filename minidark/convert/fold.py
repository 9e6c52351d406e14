"""Networks made from networks: batch norm folded into weights, a float64 copy, an average.

Source: darknet examples/darknet.c (denormalize_net, average, partial). darknet's denormalize reads
uninitialized pointers of a GRU, and its average skips recurrent layers.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Unpack

import numpy as np
import numpy.typing as npt

from minidark.backend import Array, Backend, get_backend
from minidark.data.bytepairs import byte_pairs
from minidark.errors import WeightsError
from minidark.layers.affine import PackedLayer, Sublayer
from minidark.layers.batchnorm import Divisor
from minidark.network import Network
from minidark.network.parser import copy_arrays, rebuilt
from minidark.weights.darknet import LoadOptions, load_weights

log = logging.getLogger(__name__)

Floats = npt.NDArray[np.float64]


def denormalize(net: Network) -> Network:
    """An equivalent network for inference, without batch norm in its sublayers.

    Weights become W f and biases b - mean f, with f = scale / divisor(variance). A `[batchnorm]`
    layer is copied unchanged.
    """
    sections = net.sections
    changes: dict[int, dict[str, object]] = {
        number: {"batch_normalize": 0}
        for number, section in enumerate(sections)
        if "batch_normalize" in section.pairs
    }
    if not any(section.type == "batchnorm" for section in sections):
        changes[0] = {"batchnorm": None}  # it no longer has an effect
    folded = rebuilt(net, changes)
    folded.seen = net.seen
    for old, new in zip(net.layers, folded.layers, strict=True):
        if isinstance(old, PackedLayer) and isinstance(new, PackedLayer):
            for name, sublayer in old.sublayers.items():
                _fold(sublayer, new.sublayers[name], net.backend)
        else:
            for a, b in zip(old.arrays(), new.arrays(), strict=True):
                b.value[...] = a.value
    return folded


def in_float64(net: Network) -> Network:
    """A float64 copy on the CPU with numpy's kernels, which are the reference."""
    backend = get_backend("cpu", "float64", kernels="numpy")
    wide = rebuilt(net, backend=backend)
    copy_arrays(net, wide)
    return wide


def _fold(old: Sublayer, new: Sublayer, backend: Backend) -> None:
    if not old.batch_norm:
        new.weights[...], new.biases[...] = old.weights, old.biases
        return
    factor, shift = norm_as_affine(old.norm, old.batch_norm.divisor, backend)
    new.weights[...] = backend.asarray(backend.asnumpy(old.weights) * factor[:, None])
    new.biases[...] = backend.asarray(backend.asnumpy(old.biases) + shift)


def norm_as_affine(
    arrays: Iterable[Array], divisor: Divisor, backend: Backend
) -> tuple[Floats, Floats]:
    """Batch norm in inference as y = factor v + shift, both (F,). arrays: scales, rolling mean and
    rolling variance, (F,) each."""
    scales, mean, variance = (backend.asnumpy(array).astype(np.float64) for array in arrays)
    factor = scales / divisor.of(variance)
    return factor, -mean * factor


def average(net: Network, paths: Sequence[Path | str], **reading: Unpack[LoadOptions]) -> None:
    """Fill every array of `net`, including rolling statistics, with its mean over weight files.

    `seen` becomes the largest of the files. reading: options of `load_weights`. Raises
    WeightsError.
    """
    if not paths:
        raise WeightsError("no weight files to average")
    arrays = [a for layer in net.layers for a in layer.arrays()]
    sums = [np.zeros(a.value.shape, np.float64) for a in arrays]
    seen, pairs, batchnorms = 0, [], []
    for path in paths:
        load_weights(net, path, **reading)
        batchnorms.append(net.batchnorm)
        seen = max(seen, net.seen)
        for total, array in zip(sums, arrays, strict=True):
            total += net.backend.asnumpy(array.value)
        pairs.append(byte_pairs(net).pairs)
        if pairs[-1] != pairs[0]:
            raise WeightsError(f"{path}: its byte pairs differ from those of {paths[0]}")
    for total, array in zip(sums, arrays, strict=True):
        array.value[...] = net.backend.asarray(total / len(paths))
    net.seen = seen
    if len({*batchnorms}) > 1:
        net.settle_batchnorm(batchnorms[0])
        log.warning(
            "the batch norm of these weights divides in both ways; their mean divides as that of "
            "%s; --set net.batchnorm=cpu (or gpu) --allow-other-cfg takes all alike", paths[0],
        )  # fmt: skip
