"""ONNX's own tests of GRU, LSTM and RNN, with the outputs that they expect."""

from __future__ import annotations

import functools
import importlib
from typing import Any

import numpy as np
import pytest

from minidark import WeightsError
from minidark.backend import Array

onnx = pytest.importorskip("onnx", reason="the extra onnx is not installed")

from minidark.convert.onnx_chain import read_model  # noqa: E402

BACKWARD = "backward: minidark's layers read only forward"
BOTH = "bidirectional: minidark's layers read only forward"
RIGHT = "right"
TESTS = {
    "gru_defaults": RIGHT,
    "gru_with_initial_bias": RIGHT,
    "gru_seq_length": RIGHT,
    "gru_batchwise": RIGHT,
    "gru_reverse": BACKWARD,
    "gru_bidirectional": BOTH,
    "lstm_defaults": RIGHT,
    "lstm_with_initial_bias": RIGHT,
    "lstm_batchwise": RIGHT,
    "lstm_with_peepholes": "it has peepholes, and minidark's layers have none",
    "lstm_reverse": BACKWARD,
    "lstm_bidirectional": BOTH,
    "simple_rnn_defaults": RIGHT,
    "simple_rnn_with_initial_bias": RIGHT,
    "rnn_seq_length": RIGHT,
    "simple_rnn_batchwise": RIGHT,
    "simple_rnn_reverse": BACKWARD,
    "simple_rnn_bidirectional": BOTH,
}


@functools.cache
def cases() -> dict[str, Any]:
    """ONNX's test cases by name. Importing their modules makes them."""
    for kind in ("gru", "lstm", "rnn"):
        importlib.import_module(f"onnx.backend.test.case.node.{kind}")
    from onnx.backend.test.case.node import _NodeTestCases

    return {case.name.removeprefix("test_"): case for case in _NodeTestCases}


def node_test(name: str) -> tuple[bytes, Array, dict[str, Array]]:
    """A model whose inputs other than X are weights, X, and the expected outputs."""
    case = cases()[name]
    model, [(inputs, outputs)] = case.model, case.data_sets
    names = [value.name for value in model.graph.input]
    for weight, array in zip(names[1:], inputs[1:], strict=True):
        model.graph.initializer.append(onnx.numpy_helper.from_array(array, weight))
    named = zip((value.name for value in model.graph.output), outputs, strict=True)
    return model.SerializeToString(), inputs[0], dict(named)


@pytest.mark.parametrize("name", TESTS)
def test_onnxs_own_test_of_a_recurrent_node_is_right_or_refused_with_the_reason(name: str) -> None:
    data, x, outputs = node_test(name)
    if TESTS[name] != RIGHT:
        with pytest.raises(WeightsError, match=f"cannot be taken over: {TESTS[name]}$"):
            read_model(data, "a.onnx")
        return
    found = read_model(data, "a.onnx")
    batch_first = "batchwise" in name
    x = x.transpose(1, 0, 2) if batch_first else x  # (T, S, I)
    y = found.network().twin(x.shape[1]).forward(x)
    assert found.last_only == ("Y" not in outputs and len(x) > 1)
    if "Y" in outputs:  # (T, 1, S, H), or (S, T, 1, H) batchwise
        all_steps = outputs["Y"].transpose(1, 2, 0, 3) if batch_first else outputs["Y"]
        np.testing.assert_allclose(y, all_steps[:, 0], rtol=0, atol=1e-6)
    last = outputs["Y_h"].transpose(1, 0, 2) if batch_first else outputs["Y_h"]
    np.testing.assert_allclose(y[-1], last[0], rtol=0, atol=1e-6)


def test_the_outcomes_are_counted() -> None:
    right = [*TESTS.values()].count(RIGHT)
    assert (right, len(TESTS) - right) == (11, 7)
