"""PyTorch's models as `torch.onnx.export` writes them: right, or refused with the reason.

Each network is compared with its PyTorch module over 1,000 symbols, and some, by `compared`, with
the file in onnxruntime. "script" is dynamo=False with free T and S; "dynamo" is dynamo=True with
fixed ones.
"""

from __future__ import annotations

import io
import warnings
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

from minidark import MinidarkError
from minidark.convert.proof import compared

pytestmark = pytest.mark.slow
torch = pytest.importorskip("torch", reason="PyTorch is not installed")
for extra in ("onnx", "onnxruntime", "onnxscript"):
    pytest.importorskip(extra, reason=f"{extra} is not installed")

from minidark.convert.onnx_chain import read_model  # noqa: E402
from tests.convert.nets import worker_here  # noqa: E402
from tests.convert.torch_models import MODELS, RIGHT, SYMBOLS, TorchModel  # noqa: E402

BOTH = "bidirectional: minidark's layers read only forward"
STEP = "it is part of a recurrent step in basic operators"
PARTS = "the model is no chain: its paths part"
NORM = "it normalizes between layers"
ELSE = "minidark reads only"

REFUSED = {  # by both exporters; all other models are right
    "softmax over the streams": "it is over other axes than the last alone",
    "a slope darknet lacks": "darknet has none with alpha 0.3",
    "gelu": ELSE,
    "bidirectional gru": BOTH,
    "bidirectional lstm": BOTH,
    "bidirectional rnn": BOTH,
    "proj_size": "with a projection (proj_size) has no counterpart",
    "LayerNorm": NORM,
    "BatchNorm1d": NORM,
    "Conv1d": "minidark has no convolution",
    "residual": PARTS,
    "side by side": PARTS,
    "attention": "its lengths are computed",
    "a gru of its own": STEP,
    "a cell in a loop": STEP,
    "a learned first state": "its states begin with other numbers than zero",
    "mean over time": ELSE,
}
DYNAMO = {  # dynamo=True writes nn.RNN step by step, and lengths as constants
    "bidirectional rnn": PARTS,
    "attention": "it joins or splits other axes than time and streams",
}
NOT_EXPORTED = {"proj_size"}  # by dynamo=False: PyTorch itself refuses
LIKE_OTHERS = {  # dynamo=True takes seconds, and these have nothing that others lack
    "lstm of three layers", "gru of three layers", "gru without biases", "lstm without biases",
    "zero states of an lstm", "one-hot lstm", "head without biases, one-hot", "two linears",
    "relu between linears", "linear in between", "leaky", "head registered first",
    "registered in another order", "numbered modules", "bidirectional lstm", "sigmoid",
    "word_language_model GRU", "char-rnn.pytorch gru", "last state of a gru", "values",
    "an lstm alone", "tanh after the gru", "gelu", "transposed by hand",
}  # fmt: skip
CASES = [(name, "script") for name in MODELS if name not in NOT_EXPORTED] + [
    (name, "dynamo") for name in MODELS if name not in LIKE_OTHERS
]
RUN = {  # in onnxruntime too: one model for each way to call it
    "gru", "lstm batch first", "no axis of streams", "rows joined", "one-hot gru", "values", "rnn",
    "lstm with states", "two modules with states", "char-rnn.pytorch lstm", "two cells",
    "log-softmax", "word_language_model tied", "last step", "last state of an lstm",
    "no recurrence",
}  # fmt: skip


def reason(name: str, exporter: str) -> str:
    own = DYNAMO if exporter == "dynamo" else {}
    return own.get(name, REFUSED.get(name, RIGHT))


def exported(model: TorchModel, module: Any, dynamo: bool) -> bytes:
    arguments, data = model.example(steps=4), io.BytesIO()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        if dynamo:
            program = torch.onnx.export(module, arguments, dynamo=True, verbose=False)
            program.save(data)
            return data.getvalue()
        free = {f"state{i}": {state.ndim - 2: "S"} for i, state in enumerate(states(arguments[1:]))}
        x = {0: "S"} if model.layout == "S" else {model.time_axis: "T"}
        if model.layout in ("TS", "ST"):
            x[1 - (model.time_axis or 0)] = "S"
        torch.onnx.export(
            module, arguments, data, dynamo=False, input_names=["x", *free],
            dynamic_axes={"x": x} | free,
        )  # fmt: skip
    return data.getvalue()


def states(arguments: Any) -> Iterator[Any]:
    """The tensors in nested tuples and lists."""
    for argument in arguments:
        if isinstance(argument, tuple | list):
            yield from states(argument)
        else:
            yield argument


@pytest.mark.parametrize(("name", "exporter"), CASES)
def test_a_model_of_pytorch_is_right_or_refused_with_the_reason(name: str, exporter: str) -> None:
    model = MODELS[name]
    module = model.module()
    data = exported(model, module, exporter == "dynamo")
    outcome = reason(name, exporter)
    if outcome != RIGHT:
        with pytest.raises(MinidarkError) as error:
            read_model(data, "a.onnx").network()
        assert outcome in str(error.value)
        return
    found = read_model(data, "a.onnx")
    net = found.network()
    assert found.last_only == model.last
    shape = (7, 143) if model.last else (SYMBOLS, 1)
    symbols = np.random.default_rng(5).integers(0, model.inputs, shape)
    ours = net.twin(shape[1]).forward(symbols)
    theirs = model.expected(module, symbols)
    np.testing.assert_allclose(ours[-len(theirs) :], theirs, rtol=1e-5, atol=1e-5)
    if name in RUN:
        with worker_here():
            difference = compared(net, found)
        assert difference is not None
        assert difference < 1e-5


def test_the_outcomes_are_counted() -> None:
    outcomes = [reason(name, exporter) for name, exporter in CASES]
    right = outcomes.count(RIGHT)
    assert (right, len(outcomes) - right) == (108, 31)
