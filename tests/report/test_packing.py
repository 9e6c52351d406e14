"""Packing, against an unpacking that is written once more here and knows only the docstring."""

from __future__ import annotations

import base64
import zlib

import numpy as np
import numpy.typing as npt
import pytest

from minidark.inference.trace import LayerTrace, trace
from minidark.report.packing import Packed, Scale, pack
from tests.helpers import network, randomize

T = 40
LAYERS = ["gru output=5 tanh=1", "gru output=5", "lstm output=4", "rnn output=6 activation=tanh",
          "rnn output=3 hidden=4 activation=relu shortcut=1",
          "rnn output=5 activation=tanh elman=1"]  # fmt: skip


def traced(section: str) -> LayerTrace:
    net = network("net inputs=20", section, "connected output=20", "softmax")
    randomize(net.layers, seed=2)
    return trace(net, np.random.default_rng(1).integers(0, 20, T)).layers[0]


def raw(packed: Packed, units: int) -> npt.NDArray[np.uint8]:
    """(units, T), as a reader finds them."""
    data = zlib.decompress(base64.b64decode(packed.data))
    return np.frombuffer(data, dtype=np.uint8).reshape(units, T)


def squashed(x: float) -> float:
    return max(-1.0, min(1.0, x * (27 + x * x) / (27 + 9 * x * x)))


def unpacked(layer: LayerTrace, packed: dict[str, Packed]) -> dict[str, list[list[float]]]:
    """By loops over units and time."""
    units = next(iter(layer.values.values())).shape[1]
    read: dict[str, list[list[float]]] = {}
    for name, one in packed.items():
        scale, rows = one.scale, raw(one, units)
        size = (scale.high - scale.low) / scale.steps
        read[name] = []
        for unit in range(units):
            before, out = 0.0, []
            for t in range(T):
                v = {other: read[other][unit][t] for other in read if other != name}
                expected: float | None = None
                match layer.type, name:
                    case "gru", "h":
                        expected = v["z"] * before + (1 - v["z"]) * v["c"]
                    case "lstm", "c":
                        expected = v["f"] * before + v["i"] * v["g"]
                    case "lstm", "h":
                        expected = v["o"] * squashed(v["c"])
                    case "rnn", "s" if "input" in v:
                        expected = v["input"] + v["self"]
                level = int(rows[unit, t])
                if expected is not None:
                    near = int(np.floor((expected - scale.low) / size + 0.5))
                    level = (level + max(0, min(scale.steps, near))) % (scale.steps + 1)
                before = scale.low + level * size
                out.append(before)
            read[name].append(out)
    return read


@pytest.mark.parametrize("section", LAYERS)
@pytest.mark.parametrize("steps", [254, 30, 6])
def test_what_comes_back_is_within_half_a_step(section: str, steps: int) -> None:
    layer = traced(section)
    packed = pack(layer, steps)
    back = unpacked(layer, packed)
    assert list(back) == list(layer.values)
    for name, values in layer.values.items():
        half = packed[name].scale.step / 2
        assert np.abs(np.array(back[name]).T - values).max() <= half * (1 + 1e-9)


def test_a_state_costs_little_beside_its_gates() -> None:
    packed = pack(traced("gru output=5 tanh=1"), 254)
    left_over = raw(packed["h"], 5).astype(int)[:, 1:]  # the state before the first is not there
    assert np.isin(left_over, [0, 1, 2, 253, 254]).all()
    assert np.unique(raw(packed["z"], 5)).size > 50


@pytest.mark.parametrize(
    ("name", "values", "low", "high"),
    [
        ("z", [0.2, 0.7], 0, 1),
        ("c", [-0.2, 0.7], -1, 1),
        ("c", [0.2, 0.7], 0, 1),  # a logistic candidate
        ("c", [-3.5, 2], -3.5, 3.5),  # an LSTM's cell
        ("s", [0.0, 12], 0, 12),  # relu
    ],
)
def test_the_scale_is_that_of_the_values(
    name: str, values: list[float], low: float, high: float
) -> None:
    scale = Scale.of(name, np.array([values]), 10)
    assert (scale.low, scale.high) == (low, high)
    assert scale.values(np.array([0, 5, 10])).tolist() == [low, (low + high) / 2, high]
    assert scale.levels(np.array([low, high])).tolist() == [0, 10]


def test_the_same_trace_gives_the_same_bytes() -> None:
    layer = traced("lstm output=4")
    assert pack(layer, 254) == pack(layer, 254)
