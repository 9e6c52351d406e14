"""The stored arrays of a network: which ones a weight file contains, and their statistics.

This package knows no layer type: each layer lists its arrays (`Layer.stored_arrays`).
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from minidark.backend import Array, Backend
from minidark.cfg.sections import Section
from minidark.errors import WeightsError, bare
from minidark.layers.base import NORM_KINDS, PJREDDIE, Stored
from minidark.weights.made_with import HasLayers

MOST_SEEN = 2**63 - 1


class HasArrays(HasLayers, Protocol):
    """The part of a network that weight files use."""

    seen: int
    backend: Backend
    sections: list[Section]


def saved_arrays(net: HasArrays, order: str = PJREDDIE, cutoff: int | None = None) -> list[Stored]:
    """Arrays of the layers 0..cutoff-1 (None: all) in a file being written."""
    layers = zip(net.layers[:cutoff], net.layer_options[:cutoff], strict=True)
    return [
        array
        for layer, options in layers
        if not options.dontsave
        for array in layer.stored_arrays(order)
    ]


def read_arrays(net: HasArrays, order: str, start: int, last: int) -> list[Stored]:
    """Arrays of the layers start..last-1 in a file being read."""
    layers = zip(net.layers[start:last], net.layer_options[start:last], strict=True)
    return [
        array
        for layer, options in layers
        if not options.dontload
        for array in layer.stored_arrays(order)
        if not (options.dontloadscales and array.kind in NORM_KINDS)
    ]


def end_of_layers(net: HasArrays, path: Path | str, start: int, cutoff: int | None) -> int:
    """End index of the requested layers. Raises WeightsError if it is out of range."""
    last = len(net.layers) if cutoff is None else cutoff
    if not 0 <= start <= last <= len(net.layers):
        raise WeightsError(
            f"{path}: requested layers {start} to {last}, but the network has {len(net.layers)}"
        )
    for cut in (start, last):
        check_cut(net, path, cut)
    return last


def check_cut(net: HasLayers, path: Path | str, cut: int) -> None:
    """Raise WeightsError if a layer from number `cut` on needs a layer below it, other than as its
    previous one: weights of one part alone would not mean anything there."""
    for number, layer in enumerate(net.layers[cut:], start=cut):
        needed = [n for n in layer.reads or () if n != number - 1]
        needed += [] if layer.shares is None else [layer.shares]
        for other in needed:
            if other < cut:
                what = "shares weights with" if other == layer.shares else "reads"
                raise WeightsError(
                    f"{path}: a cut at layer {cut} parts {layer.name} from "
                    f"{net.layers[other].name}, which it {what}; cut below or above both"
                )


def check_finite(
    values: Iterable[tuple[str, Array]], path: Path | str, file: Array | None = None
) -> None:
    """Raise WeightsError with the first array that contains NaN or infinity. file: all numbers of
    the file, to count in them instead of in the array."""
    for name, array in values:
        finite = np.isfinite(array)
        if not finite.all():
            index = np.argwhere(~finite)[0].tolist()
            where = " in this array" if file is None else ""
            count = int((~finite if file is None else ~np.isfinite(file)).sum())
            raise WeightsError(
                f"{path}: {bare(name)}{index} is {array[tuple(index)]}, one of {count:,}{where} "
                "that are NaN or infinite; --allow-nonfinite loads them anyway"
            )


def seen_note(text: str, path: Path | str) -> int:
    """The number of rows in a file's note `seen`. Raises WeightsError."""
    if not re.fullmatch("[0-9]{1,19}", text, re.ASCII) or int(text) > MOST_SEEN:
        raise WeightsError(f"{path}: its note `seen` is not a number of rows; the file is damaged")
    return int(text)


def array_statistics(net: HasArrays) -> list[dict[str, Any]]:
    """For each stored array: name, shape, mean, spread (standard deviation), mean square, least,
    most, and how many numbers are NaN or infinite. The other figures use the finite numbers
    only."""
    return [
        _statistics(a.name, net.backend.asnumpy(a.value))
        for layer in net.layers
        for a in layer.arrays()
    ]


def _statistics(name: str, values: Array) -> dict[str, Any]:
    finite = values[np.isfinite(values)].astype(np.float64)
    figures: dict[str, Any] = dict.fromkeys(("mean", "spread", "mean_square", "least", "most"))
    if finite.size:
        figures = {
            "mean": float(finite.mean()),
            "spread": float(finite.std()),
            "mean_square": float(np.square(finite).mean()),
            "least": float(finite.min()),
            "most": float(finite.max()),
        }
    return {
        "name": name,
        "shape": list(values.shape),
        **figures,
        "not_finite": int(values.size - finite.size),
    }
