"""Every PyTorch model of `torch_models`, as a state dict and as a program of torch.export.

A model that can be represented computes the same in minidark as in PyTorch, over 1,000 symbols with
the state carried over. Every other is refused with the true reason.
"""

from __future__ import annotations

import importlib
import io
import warnings
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from minidark import Network, WeightsError
from minidark.backend import Array
from minidark.convert import workers
from minidark.convert.found import Found
from minidark.convert.proof import compared

torch = pytest.importorskip("torch", reason="PyTorch is not installed")

from minidark.convert.torch_program import read_program  # noqa: E402
from minidark.convert.torch_state import from_state  # noqa: E402
from tests.convert.torch_models import ASSUMED, MODELS, RIGHT, SYMBOLS, TorchModel  # noqa: E402

pytestmark = pytest.mark.slow

CLOSE = 1e-5  # of probabilities; float32 rounds differently in each program
WINDOW = 50  # steps of a model that gives only its last output


@pytest.fixture(autouse=True)
def in_this_process(monkeypatch: pytest.MonkeyPatch) -> None:
    """Runs torch's workers here, because each would import torch anew."""

    def run(script: str, folder: str, limit: float | None = None) -> None:
        worker = importlib.import_module(f"minidark.convert.{script.removesuffix('.py')}")
        worker.main(Path(folder))

    monkeypatch.setattr(workers, "_run", run)


def symbols_of(model: TorchModel) -> Array:
    """(T, S): 1,000 symbols, in windows if only the last output of each is known."""
    shape = (WINDOW, SYMBOLS // WINDOW) if model.last else (SYMBOLS, 1)
    return np.random.default_rng(5).integers(0, model.inputs, shape)


def check_same(net: Network, model: TorchModel, module: Any) -> None:
    symbols = symbols_of(model)
    mine = net.twin(symbols.shape[1]).forward(symbols)
    if model.layout == "T":  # which takes one stream
        assert symbols.shape[1] == 1
    theirs = model.expected(module, symbols)
    np.testing.assert_allclose(mine[-1:] if model.last else mine, theirs, rtol=CLOSE, atol=CLOSE)


def state_of(module: Any) -> dict[str, Any]:
    return {name: array.float().numpy() for name, array in module.state_dict().items()}


@pytest.mark.parametrize("name", MODELS)
def test_a_state_dict_is_the_same_network_or_refused(
    name: str, caplog: pytest.LogCaptureFixture
) -> None:
    model = MODELS[name]
    module = model.module()
    caplog.set_level("INFO")
    if model.state not in (RIGHT, ASSUMED):
        with pytest.raises(WeightsError) as error:
            from_state(state_of(module), "a.pt")
        assert model.state in str(error.value)
        return
    found = from_state(state_of(module), "a.pt")
    assert "a state dict does not record activations and residual connections" in caplog.text
    assert ("assumed tanh" in caplog.text) == any(s.type == "rnn" for s in found.sections)
    net = found.network()
    difference = compared(net, found)
    assert difference is not None
    assert difference < CLOSE
    if model.state == RIGHT:
        check_same(net, model, module)


def exported(model: TorchModel, module: Any, **keys: Any) -> bytes:
    """The bytes of torch.export.save."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch's about its own modules
        program = torch.export.export(module, model.example(), **keys)
        data = io.BytesIO()
        torch.export.save(program, data)
    return data.getvalue()


def check_program(data: bytes, model: TorchModel, module: Any) -> Found:
    found = read_program(data, "a.pt2")
    net = found.network()
    check_same(net, model, module)
    difference = compared(net, found)
    assert difference is not None
    assert difference < CLOSE
    assert found.last_only == model.last
    return found


@pytest.mark.parametrize("name", MODELS)
def test_a_program_is_the_same_network_or_refused(name: str) -> None:
    model = MODELS[name]
    module = model.module()
    data = exported(model, module)
    if model.program == RIGHT:
        check_program(data, model, module)
        return
    with pytest.raises(WeightsError) as error:
        read_program(data, "a.pt2")
    assert model.program in str(error.value)


FREE = {  # the axes of forward's arguments that may have any length
    "no recurrence": ({0: "T"},),
    "zero states of an lstm": ({0: "S"},),
    "rows joined": ({0: "S"},),
    "char-rnn.pytorch gru": ({0: "S"}, {1: "S"}),
    "word_language_model GRU": ({1: "S"}, {1: "S"}),
    "lstm cell": ({0: "S"}, [({0: "S"}, {0: "S"})]),
}


@pytest.mark.parametrize("name", FREE)
def test_a_program_of_any_size_is_the_same_network(name: str) -> None:
    """PyTorch 2.13 fixes T in each recurrent module, but not S."""
    model, dims = MODELS[name], {"S": torch.export.Dim("S"), "T": torch.export.Dim("T")}

    def shapes(value: Any) -> Any:
        if isinstance(value, dict):
            return {axis: dims[dim] for axis, dim in value.items()}
        return type(value)(map(shapes, value))

    module = model.module()
    data = exported(model, module, dynamic_shapes=shapes(FREE[name]))
    check_program(data, model, module)


def test_how_many_models_come_over() -> None:
    states = Counter(m.state if m.state in (RIGHT, ASSUMED) else "refused" for m in MODELS.values())
    programs = Counter(m.program if m.program == RIGHT else "refused" for m in MODELS.values())
    print("state dicts", dict(states), "programs", dict(programs))
    assert states == {RIGHT: 52, ASSUMED: 12, "refused": 18}
    assert programs == {RIGHT: 63, "refused": 19}
