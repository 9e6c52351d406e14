"""Checks that a model and a network compute the same, by running the model in its own program.

The model is one that was written from the network, or one from which the network was read. The same
symbols go through the model, in two calls with the state carried over, and through the network in
float64. A model that takes only T steps, or gives only its last output, runs on windows of symbols,
each from a zero state. The check compares the largest absolute difference of the outputs. For
outputs beyond 1, which are not probabilities, it takes the relative difference.

The allowed difference depends on the network: a chaotic network amplifies each rounding error until
the outputs have nothing in common, although the written model is correct. So the network also runs
several times in float32, each time with different rounding. At each step the model may differ from
float64 by FACTOR times the largest difference of these runs up to that step. A wrong model differs
from the first steps on, where float32 is still accurate.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence

import numpy as np

from minidark.backend import Array
from minidark.convert.fold import in_float64
from minidark.convert.found import Found
from minidark.errors import CfgError, MinidarkError
from minidark.layers.base import one_hot
from minidark.network import Network

log = logging.getLogger(__name__)

SYMBOLS = 1000
LEAST = 1e-6  # the smallest allowance: another program's tanh rounds differently
FACTOR = 10  # correct models differed at most 4 times as much as the float32 runs
RUNS, ROUNDING = 6, 2.0**-21  # float32 runs, and the relative change of inputs in all but the first
STEPS, NUMBERS = 100, 1 << 24  # most time steps and numbers at once, because rows may be wide
NOTABLE = 1e-4  # a difference that is logged
NO_COUNTERPART = {  # layers that no other format can express yet, and what can be done
    "attention": "its memory of earlier steps has no counterpart in this format yet; .weights, "
    ".safetensors and .npz have all layers",
}
Proven = tuple[bytes, list[Array]]  # a file's bytes, and its outputs for each call
Write = Callable[[Network, Sequence[Array]], Proven]


def drawn_symbols(inputs: int) -> Array:
    """Fixed random symbols (SYMBOLS,), the default for a check without a text."""
    return np.random.default_rng(0).integers(0, inputs, SYMBOLS)


def written(
    net: Network, write: Write, symbols: Array, tolerance: float | None = None
) -> tuple[bytes, float | None]:
    """Write a model and check it on symbols (T,).

    Returns its bytes, and the largest difference between its outputs and the float64 network's:
    None if its own program is not installed and the format does not need it. Raises MinidarkError
    if the difference exceeds `tolerance` (None: the difference that rounding explains), and the
    errors of `write`.

    write(net, calls): the bytes, and the outputs (T, 1, O) for inputs (T, 1, I), from zero state.
    """
    if net.layers[0].gives_ids:
        raise MinidarkError(
            f"{net.layers[0].name} cannot be stored in this format, so the meaning of its symbols "
            "would be lost; .safetensors and .npz store its pairs"
        )
    for layer in net.layers:
        if layer.type in NO_COUNTERPART:
            raise MinidarkError(f"{layer.name}: {NO_COUNTERPART[layer.type]}")
    wanted = in_float64(net).twin(1).forward(symbols[:, None])
    lost = _lost(net, symbols[:, None], wanted)
    pieces = [part for part in np.split(symbols, [len(symbols) // 3]) if len(part)]
    data, outputs = write(net, [one_hot(p[:, None], net.inputs, net.backend) for p in pieces])
    if not outputs:
        return data, None
    differences = _differences(np.concatenate(outputs), wanted)
    return data, _largest(differences, lost, tolerance, "the written model")


def compared(net: Network, found: Found, tolerance: float | None = None) -> float | None:
    """Compare a network with the model that it was read from, over at least SYMBOLS random symbols.

    Returns the largest difference; None if the reader has no way to run the model. Raises
    MinidarkError if the difference exceeds `tolerance` (None: the difference that rounding
    explains), and BackendError if the model's own program is not installed.
    """
    if not (trial := found.trial):
        return None
    windows = -(-SYMBOLS // trial.steps) if trial.steps else 1
    steps = trial.steps or SYMBOLS
    rng = np.random.default_rng(0)
    symbols = rng.integers(0, net.inputs, (steps, windows))
    wanted = in_float64(net).twin(windows).forward(symbols)
    lost = _lost(net, symbols, wanted)
    outputs = found.as_probabilities(trial.run(symbols).astype(np.float64))
    if found.last_only:
        wanted, lost = wanted[-1:], lost[-1:]
    return _largest(_differences(outputs, wanted), lost, tolerance, f"{found.path}: the model")


def check_chain(net: Network, program: str) -> None:
    """Raise CfgError for a layer that does not read only the previous one, or that shares weights:
    not every format that minidark writes can represent it."""
    for layer in net.layers:
        if layer.reads is not None or layer.shares is not None:
            does = "shares weights" if layer.reads is None else "reads other layers"
            raise CfgError(
                f"layer {layer.name} {does}; minidark writes only plain chains of layers for "
                f"{program}; .onnx holds this network"
            )


def _largest(differences: Array, lost: Array, tolerance: float | None, model: str) -> float:
    """The largest difference. Raises MinidarkError if one exceeds what rounding, or `tolerance`,
    allows. differences, lost: (T,)."""
    most = np.maximum(lost, LEAST) * FACTOR if tolerance is None else np.full(len(lost), tolerance)
    _check(differences, most, model)
    difference = float(differences.max())
    if difference > NOTABLE:
        log.info(
            "this network amplifies rounding errors: over these characters, minidark's own float32 "
            "outputs differ from float64 by %.2g",
            lost[-1],
        )
    return difference


def _check(differences: Array, most: Array, model: str) -> None:
    """Raise MinidarkError for the first step with a difference above its limit, or NaN. The arrays
    are (T,)."""
    beyond = np.flatnonzero(~(differences <= most))
    if beyond.size:
        step = beyond[0]
        raise MinidarkError(
            f"{model} differs from predict by {differences[step]:.2g} at character "
            f"{step + 1:,} of {len(most):,}, where the limit is {most[step]:.2g}; no file was "
            "saved; --tolerance sets another limit"
        )


def _lost(net: Network, symbols: Array, wanted: Array) -> Array:
    """The largest difference of the float32 runs from `wanted` (T, S, O) up to each step: (T,).

    symbols: (T, S). The runs are streams of one network, which is faster than one run after
    another.
    """
    steps, streams = symbols.shape
    rng, twin = np.random.default_rng(0), net.twin(RUNS * streams)
    off = ROUNDING * rng.uniform(-1, 1, (steps, RUNS, streams, 1))
    off[:, 0] = 0
    off = off.reshape(steps, RUNS * streams, 1)
    lost = []
    most_steps = max(1, min(STEPS, NUMBERS // (RUNS * streams * net.inputs)))
    for at in range(0, steps, most_steps):
        part = slice(at, at + most_steps)
        x = one_hot(np.tile(symbols[part], (1, RUNS)), net.inputs, net.backend)
        y = twin.forward(x * (1 + off[part]).astype(x.dtype))
        if not np.isfinite(y).all():
            raise MinidarkError(
                f"predict returns NaN or infinity within {steps:,} characters, so a model cannot "
                "be compared with it; no file was saved"
            )
        lost.append(_differences(y, np.tile(wanted[part], (1, RUNS, 1))))
    most: Array = np.maximum.accumulate(np.concatenate(lost))
    return most


def _differences(outputs: Array, wanted: Array) -> Array:
    """The largest difference of each step, (T,), of outputs (T, S, O)."""
    if outputs.shape != wanted.shape:
        return np.full(len(wanted), np.inf)
    difference = np.abs(outputs.astype(np.float64) - wanted) / np.maximum(1, np.abs(wanted))
    steps: Array = difference.max(axis=(1, 2))
    return steps
