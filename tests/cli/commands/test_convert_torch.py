"""`minidark convert` of models that PyTorch saved; torch runs in processes of its own."""

from __future__ import annotations

import json
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from minidark import load_network
from tests.cli.running import output, run

torch = pytest.importorskip("torch", reason="PyTorch is not installed")

from tests.convert.torch_models import MODELS, TorchModel  # noqa: E402

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("folder")]


def model(name: str) -> tuple[TorchModel, Any]:
    return MODELS[name], MODELS[name].module()


def check_files(name: str, cfg: str, weights: str) -> None:
    """The network in these files computes what the model does."""
    mine, module = model(name)
    symbols = np.random.default_rng(3).integers(0, mine.inputs, (100, 1))
    net = load_network(cfg, weights, batch=1)
    theirs = mine.expected(module, symbols)
    np.testing.assert_allclose(net.predict(symbols), theirs, rtol=0, atol=1e-5)


def test_a_program_becomes_a_cfg_and_weights_that_generate() -> None:
    mine, module = model("word_language_model LSTM")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch's about its own modules
        torch.export.save(torch.export.export(module, mine.example()), "a.pt2")
    result = run("convert", "a.pt2", "b.weights", "--out-cfg", "b.cfg")
    assert result.exit_code == 0
    assert "a.pt2: largest difference from its own program " in result.stderr
    check_files("word_language_model LSTM", "b.cfg", "b.weights")
    assert output("generate", "b.cfg", "b.weights", "--len", "20", "--seed", "\1\2")


@pytest.mark.parametrize("suffix", ["pt", "safetensors"])
def test_a_state_dict_becomes_a_cfg_and_weights(suffix: str) -> None:
    _, module = model("gru of two layers")
    if suffix == "pt":
        torch.save({"model": module.state_dict(), "epoch": 3}, "a.pt")
    else:
        arrays = {name: array.numpy() for name, array in module.state_dict().items()}
        pytest.importorskip("safetensors.numpy").save_file(arrays, "a.safetensors")
    result = run("convert", f"a.{suffix}", "b.weights", "--out-cfg", "b.cfg")
    assert result.exit_code == 0
    assert f"a.{suffix}: largest difference from its own program " in result.stderr
    check_files("gru of two layers", "b.cfg", "b.weights")


RELU = """[net]
inputs=9
[connected]
output=5
activation=linear
[rnn]
output=8
elman=1
activation=relu
[connected]
output=9
activation=linear
[softmax]
"""


@pytest.mark.parametrize("suffix", ["pt", "safetensors"])
def test_a_cfg_says_that_an_rnn_computes_relu(suffix: str) -> None:
    _, module = model("rnn relu")
    Path("a.cfg").write_text(RELU)
    if suffix == "pt":
        torch.save(module.state_dict(), "a.pt")
    else:
        arrays = {name: array.numpy() for name, array in module.state_dict().items()}
        pytest.importorskip("safetensors.numpy").save_file(arrays, "a.safetensors")
    output("convert", f"a.{suffix}", "b.weights", "--cfg", "a.cfg")
    check_files("rnn relu", "a.cfg", "b.weights")


def test_without_torch_a_program_is_read_but_not_compared(monkeypatch: pytest.MonkeyPatch) -> None:
    from minidark.convert import torch_run
    from minidark.errors import BackendError
    from tests.convert import pt2

    def missing(*args: Any) -> None:
        raise BackendError("PyTorch is not installed: pip install torch")

    monkeypatch.setattr(torch_run, "run_worker", missing)
    Path("a.pt2").write_bytes(pt2.gru())
    result = run("convert", "a.pt2", "b.weights", "--out-cfg", "b.cfg")
    assert result.exit_code == 0
    said = "a.pt2: not compared with its own program: PyTorch is not installed: pip install torch"
    assert said in result.stderr
    assert Path("b.weights").exists()


def test_a_program_that_computes_something_else_leaves_no_file(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The reading is compared with what torch computes, not believed."""
    from minidark.convert import torch_ops
    from minidark.convert.torch_modules import add_recurrent
    from tests.convert import pt2

    def swapped(model: Any, section: str, packed: Any, activation: str = "tanh") -> None:
        add_recurrent(model, section, packed._replace(u=-packed.u), activation)

    monkeypatch.setattr(torch_ops, "add_recurrent", swapped)
    Path("a.pt2").write_bytes(pt2.gru())
    result = run("convert", "a.pt2", "b.weights")
    assert result.exit_code == 1
    assert "a.pt2: the model differs from predict by " in result.stderr.splitlines()[-1]
    assert not Path("b.weights").exists()


def test_a_cfg_that_contradicts_the_model_is_refused() -> None:
    embedding, gru, head = torch.nn.Embedding(5, 3), torch.nn.GRU(3, 4), torch.nn.Linear(4, 5)
    modules = torch.nn.ModuleDict({"embedding": embedding, "gru": gru, "head": head})
    torch.save(modules.state_dict(), "a.pt")
    assert run("convert", "a.pt", "a.weights", "--out-cfg", "a.cfg").exit_code == 0
    weights, text = Path("a.weights").read_bytes(), Path("a.cfg").read_text()
    for right, wrong in (("tanh=1", "tanh=0"), ("reset_after=1", "reset_after=0")):
        Path("b.cfg").write_text(text.replace(right, wrong))
        refused = run("convert", "a.pt", "b.weights", "--cfg", "b.cfg")
        assert refused.exit_code == 4
        assert f"a.pt: 1.gru has {right} in the model, but 0 in the cfg" in refused.stderr
        assert not Path("b.weights").exists()
        other = run("convert", "a.pt", "b.weights", "--cfg", "b.cfg", "--allow-other-cfg")
        assert other.exit_code == 0
        Path("b.weights").unlink()
    Path("b.cfg").write_text(text.replace("activation=linear", "activation=relu", 1))
    assert run("convert", "a.pt", "b.weights", "--cfg", "b.cfg").exit_code == 0
    assert Path("b.weights").read_bytes() == weights


def test_activations_of_a_graph_are_compared_with_the_cfg() -> None:
    _, module = model("gru of two layers")
    mine = MODELS["gru of two layers"]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.export.save(torch.export.export(module, mine.example()), "a.pt2")
    assert run("convert", "a.pt2", "a.weights", "--out-cfg", "a.cfg").exit_code == 0
    wrong = Path("a.cfg").read_text().replace("activation=linear", "activation=relu", 1)
    Path("b.cfg").write_text(wrong)
    refused = run("convert", "a.pt2", "b.weights", "--cfg", "b.cfg")
    assert refused.exit_code == 4
    assert "has activation=linear in the model, but relu in the cfg" in refused.stderr


@pytest.mark.parametrize("out", ["b.weights", "b.py"])
def test_json_has_the_layers_that_were_read_and_their_difference(out: str) -> None:
    embedding, lstm, head = torch.nn.Embedding(5, 3), torch.nn.LSTM(3, 4), torch.nn.Linear(4, 5)
    modules = torch.nn.ModuleDict({"embedding": embedding, "lstm": lstm, "head": head})
    torch.save(modules.state_dict(), "a.pt")
    told = json.loads(output("convert", "a.pt", out, "--json"))
    assert (told["out"], told["in"]) == (out, "a.pt")
    assert told["layers"].startswith("5 inputs, connected 3 (nn.Embedding), lstm 4 ")
    assert 0 <= told["difference_of_in"] < 1e-5


def test_a_state_dict_with_the_suffix_of_a_program_is_told() -> None:
    torch.save(torch.nn.Linear(3, 3).state_dict(), "a.pt2")
    refused = run("convert", "a.pt2", "b.weights")
    assert "not a program of torch.export; name a state dict .pt" in refused.stderr
