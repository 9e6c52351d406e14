"""`[net] batchnorm`: who settles it, and that it goes wherever the weights go."""

from __future__ import annotations

import json
import logging
import math
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest

from minidark import Network, WeightsError, load_network, load_weights
from minidark.backend import Array
from minidark.cfg.difference import difference
from minidark.convert.fold import average, denormalize
from minidark.inference.exact import ExactNetwork
from minidark.layers.base import ALEXEY, PJREDDIE
from minidark.weights import made_with
from minidark.weights.darknet import save_weights
from minidark.weights.header import Header
from tests.cli.running import output, run
from tests.golden_cases import GOLDEN, arrays
from tests.helpers import cfg, planned, randomize

LAYERS = (
    "gru output=4 tanh=1 batch_normalize=1",
    "batchnorm",
    "connected output=6 activation=linear",
    "softmax",
)
NET = "net inputs=6 batch=2 time_steps=4 max_batches=4 learning_rate=.01"
IDS = [0, 5, 3, 3, 1, 2, 4]


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """plain.cfg without the key, cpu.cfg and gpu.cfg with it, and the same weights in both
    dialects, whose variances the two divisors tell apart."""
    monkeypatch.chdir(tmp_path)
    Path("plain.cfg").write_text(cfg(NET, *LAYERS))
    for name in ("cpu", "gpu"):
        Path(f"{name}.cfg").write_text(cfg(f"{NET} batchnorm={name}", *LAYERS))
    net = load_network("plain.cfg")
    randomize(net.layers)
    for layer in net.layers:
        for array in layer.arrays():
            array.value[...] *= 1e-4 if array.kind == "rolling_variance" else 1
            array.value[...] *= array.name != "1.batchnorm.biases"  # pjreddie's file has none
    save_weights(net, "pjreddie.weights", PJREDDIE)
    save_weights(net, "alexey.weights", ALEXEY)
    Path("text.txt").write_bytes(bytes(IDS) * 60)
    return tmp_path


def loaded(cfg: str, weights: str) -> Network:
    return load_network(cfg, weights, batch=1, time_steps=1)


def predicted(cfg: str, weights: str) -> Array:
    return loaded(cfg, weights).predict(IDS)


def differ(a: Array, b: Array) -> bool:
    return float(np.abs(a - b).max()) > 1e-3


def test_the_header_settles_it_unless_the_cfg_does(caplog: pytest.LogCaptureFixture) -> None:
    cpu, gpu = (predicted(f"{name}.cfg", "pjreddie.weights") for name in ("cpu", "gpu"))
    assert differ(cpu, gpu)
    with caplog.at_level(logging.INFO, "minidark"):
        np.testing.assert_array_equal(predicted("plain.cfg", "pjreddie.weights"), cpu)
        assert "batch norm" not in caplog.text
        np.testing.assert_array_equal(predicted("plain.cfg", "alexey.weights"), gpu)
    (said,) = (line for line in caplog.messages if "batch norm" in line)
    assert said == (
        "alexey.weights: batch norm divides by sqrt(variance + 1e-05), as in [net] batchnorm=gpu"
    )
    np.testing.assert_array_equal(predicted("cpu.cfg", "alexey.weights"), cpu)


@pytest.mark.parametrize(
    ("version", "wanted"),
    [((0, 1, 0), "cpu"), ((0, 2, 0), "cpu"), ((0, 2, 5), "gpu"), ((0, 1001, 0), "cpu"),
     ((1, 0, 0), "cpu")],
)  # fmt: skip
def test_only_versions_that_alexeys_alone_writes_divide_so(
    version: tuple[int, int, int], wanted: str
) -> None:
    assert Header(*version, seen=0, size=20).batchnorm == wanted


@pytest.mark.parametrize("name", ["alexey_lstm_batchnorm", "alexey_gru_square"])
def test_alexeys_outputs_are_met_as_closely_as_others(name: str) -> None:
    folder, golden = GOLDEN / name, arrays(name)
    y = load_network(folder / "net.cfg", folder / "net.weights").predict(golden["x"])
    np.testing.assert_allclose(y, golden["y"], rtol=1e-5, atol=2e-6)


@pytest.mark.parametrize("form", ["settled.safetensors", "settled.npz"])
def test_it_goes_with_the_weights_into_a_file_of_names(form: str) -> None:
    gpu = predicted("gpu.cfg", "pjreddie.weights")
    loaded("plain.cfg", "alexey.weights").save_weights(form)
    np.testing.assert_array_equal(predicted(form, form), gpu)
    np.testing.assert_array_equal(predicted("plain.cfg", form), gpu)
    with pytest.raises(WeightsError, match="batchnorm=gpu where this cfg has"):
        loaded("cpu.cfg", form)


def test_and_with_the_cfg() -> None:
    loaded("plain.cfg", "alexey.weights").save_cfg("settled.cfg")
    assert "batchnorm=gpu" in Path("settled.cfg").read_text()
    loaded("plain.cfg", "pjreddie.weights").save_cfg("settled.cfg")
    assert "batchnorm" not in Path("settled.cfg").read_text().replace("[batchnorm]", "")


def test_and_with_a_run_that_begins_with_them_and_one_that_goes_on() -> None:
    """Its weights have pjreddie's header, and the record beside them."""
    line = ["train", "plain.cfg", "text.txt", "--valid-fraction", "0", "--seed", "1"]
    begin = [*line, "--weights", "alexey.weights"]
    assert run(*begin, "--batches", "4", "--backup", "whole").exit_code == 0
    assert run(*begin, "--batches", "2", "--backup", "parts").exit_code == 0
    again = run(*line, "--resume", "auto", "--batches", "4", "--backup", "parts")
    assert again.exit_code == 0, again.stderr
    whole, parts = (Path(name, "plain_final.weights") for name in ("whole", "parts"))
    assert whole.read_bytes() == parts.read_bytes()
    assert json.loads(Path("whole/run.json").read_text())["cfg_values"][0]["batchnorm"] == "gpu"
    trained = predicted("plain.cfg", str(whole))
    np.testing.assert_array_equal(trained, predicted("gpu.cfg", str(whole)))
    refused = run("generate", "cpu.cfg", str(whole), "--seed", "\x01")
    assert refused.exit_code == 4
    assert "batchnorm=gpu where this cfg has" in refused.stderr
    other = run(*line[:1], "cpu.cfg", *line[2:], "--resume", "parts/plain.ckpt", "--batches", "9")
    assert other.exit_code == 3
    assert "[net] batchnorm='cpu', and batchnorm='gpu' in the checkpoint" in other.stderr


def test_a_network_that_is_loaded_again_follows_each_file() -> None:
    net = loaded("plain.cfg", "alexey.weights")
    load_weights(net, "pjreddie.weights")
    np.testing.assert_array_equal(net.predict(IDS), predicted("cpu.cfg", "pjreddie.weights"))


def test_weights_that_do_not_load_settle_nothing() -> None:
    net = loaded("plain.cfg", "pjreddie.weights")
    Path("short.weights").write_bytes(Path("alexey.weights").read_bytes()[:-4])
    with pytest.raises(WeightsError):
        load_weights(net, "short.weights")
    assert net.batchnorm == "cpu"


def test_weights_that_divide_otherwise_are_not_joined_and_their_mean_divides_as_the_first() -> None:
    words = ["plain.cfg", "out.weights", "pjreddie.weights", "alexey.weights"]
    refused = run("join", *words, "--out-cfg", "out.cfg")
    assert refused.exit_code == 4
    assert "its batch norm divides otherwise than that of pjreddie.weights" in refused.stderr
    net = loaded("plain.cfg", "pjreddie.weights")
    for first, second, name in (("pjreddie", "alexey", "cpu"), ("alexey", "pjreddie", "gpu")):
        average(net, [f"{first}.weights", f"{second}.weights"])
        assert net.batchnorm == name
    assert "warning: the batch norm of these weights divides" in run("average", *words).stderr


@pytest.mark.parametrize("verb", ["average", "join"])
@pytest.mark.parametrize("name", ["cpu", "gpu"])
def test_weights_that_divide_otherwise_are_taken_alike_as_the_message_says(
    verb: str, name: str
) -> None:
    """Also those that a file beside them tells of."""
    for divides in ("cpu", "gpu"):
        net, path = loaded(f"{divides}.cfg", "pjreddie.weights"), Path(f"{divides}.weights")
        made_with.write(path, net, f"{divides}.cfg", save_weights(net, path))
    refused = run(verb, "plain.cfg", "out.weights", "cpu.weights", "gpu.weights")
    assert f"net.batchnorm={name}"[:-3] in refused.stderr
    assert "--allow-other-cfg takes all alike" in refused.stderr
    alike = ["--force", "--set", f"net.batchnorm={name}", "--allow-other-cfg"]
    done = run(verb, "plain.cfg", "out.weights", "cpu.weights", "gpu.weights", *alike)
    assert (done.exit_code, "divide" in done.stderr) == (0, False)


def test_a_cfg_without_batch_norm_loses_the_key() -> None:
    Path("sub.cfg").write_text(
        cfg("net inputs=3 batch=2 batchnorm=gpu", "gru output=2 batch_normalize=1", "softmax")
    )
    folded = denormalize(load_network("sub.cfg"))
    assert "batchnorm" not in folded.sections[0].pairs


def test_folded_it_is_in_the_weights() -> None:
    net = loaded("plain.cfg", "alexey.weights")
    folded = denormalize(net)
    assert folded.batchnorm == "gpu"  # of its [batchnorm], which stays
    np.testing.assert_allclose(folded.predict(IDS), net.predict(IDS), rtol=2e-5)
    assert differ(folded.predict(IDS), predicted("cpu.cfg", "pjreddie.weights"))


def test_darknets_own_arithmetic_divides_so_to_the_last_bit() -> None:
    """float within the root, double from there on, as normalize_cpu of AlexeyAB's."""
    Path("one.cfg").write_text(
        cfg("net inputs=3 batchnorm=gpu", "connected output=2 batch_normalize=1 activation=linear")
    )
    net = load_network("one.cfg")
    randomize(net.layers)
    values = {a.kind: a.value for a in net.layers[0].arrays()}
    values["rolling_variance"][...] = [3e-6, 0.7]
    for symbol in range(3):
        (y,) = [ExactNetwork(net).predict(symbol)]
        for j in range(2):
            v, mean = values["weights"][j, symbol], values["rolling_mean"][j]
            root = math.sqrt(float(values["rolling_variance"][j] + np.float32(1e-5)))
            normal = np.float32(float(v - mean) / root)
            assert y[j] == np.float32(normal * values["scales"][j]) + values["biases"][j]


@pytest.mark.parametrize(
    "ending", ["onnx", *(pytest.param(e, marks=pytest.mark.slow) for e in ("keras", "py"))]
)
def test_models_of_other_programs_divide_so(ending: str) -> None:
    """Proven by their own program on the way; and what comes back is the same."""
    needed = {"onnx": ("onnxruntime",), "keras": ("keras", "h5py", "torch"), "py": ("torch",)}
    if missing := [name for name in needed[ending] if not find_spec(name)]:
        pytest.skip(f"{missing[0]} is missing")
    model = f"model.{ending}"
    said = output("convert", "alexey.weights", model, "--cfg", "plain.cfg", "--json")
    assert json.loads(said)["largest_difference"] < 1e-4
    if ending != "py":
        output("convert", model, "back.weights", "--out-cfg", "back.cfg", "--quiet")
        wanted = predicted("gpu.cfg", "pjreddie.weights")
        np.testing.assert_allclose(predicted("back.cfg", "back.weights"), wanted, rtol=2e-5)


def test_a_difference_names_it_where_there_is_batch_norm() -> None:
    plain, cpu, gpu = (planned(f"{NET}{key}", *LAYERS) for key in ("", " batchnorm=cpu",
                                                                    " batchnorm=gpu"))  # fmt: skip
    assert not difference(plain, cpu)
    (change,) = difference(cpu, gpu).net
    assert (change.key, change.a, change.b) == ("batchnorm", "cpu", "gpu")
    bare = [planned(f"{NET}{key}", *LAYERS[2:]) for key in ("", " batchnorm=gpu")]
    assert not difference(*bare)
