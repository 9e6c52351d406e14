"""`minidark convert`: dialects, named weights, models, cfgs, and what is refused."""

from __future__ import annotations

import json
import struct
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from minidark import Network, load_network
from minidark.convert import MODELS
from minidark.errors import BackendError
from minidark.files.shipped import find_cfg, names
from minidark.weights.arrays import saved_arrays
from minidark.weights.darknet import save_weights
from tests.cli.running import NORMED, assert_refused, assert_wrong_usage, output, run
from tests.golden_cases import GOLDEN
from tests.golden_cases import names as golden
from tests.helpers import cfg, randomize
from tests.shipped_cfgs import each_shipped_cfg, shipped_cfg


def make(path: str | Path = "a.cfg") -> Network:
    net = load_network(path)
    randomize(net.layers, 1)
    net.seen = 300
    return net


@pytest.fixture(autouse=True)
def files(folder: Path) -> None:
    """a.cfg, and a.weights of it that have seen 300 rows."""
    (folder / "a.cfg").write_text(NORMED)
    make().save_weights("a.weights")


# --- dialects -------------------------------------------------------------------------------


def there_and_back(case: Path, first: str, second: str) -> None:
    """Both files, converted to the other dialect and back, are the bytes they were."""
    args = ["--cfg", str(case / "net.cfg"), "--dialect"]
    assert output("convert", str(case / "net.weights"), "there.weights", *args, first) == b""
    assert output("convert", "there.weights", "back.weights", *args, second) == b""
    original = (case / "net.weights").read_bytes()
    there, back = Path("there.weights").read_bytes(), Path("back.weights").read_bytes()
    assert back == original
    assert there[:20] == struct.pack("<3i", 0, 2, 5 if first == "alexey" else 0) + original[12:20]


RECURRENT = [n for n in golden("*", "net.weights") if n.startswith(("gru", "lstm", "rnn", "mixed"))]


@pytest.mark.parametrize("name", RECURRENT)
def test_converted_there_and_back_a_file_is_the_same_bytes(name: str) -> None:
    there_and_back(GOLDEN / name, "alexey", "pjreddie")


TANH = "AlexeyAB's darknet ignores [gru] tanh=1 and uses logistic candidates"
RESET = "no darknet has [gru] reset_after=1; each resets before the product"
ELMAN = "no darknet has [rnn] elman=1; each expects a third sublayer, output"
DIVIDED = (
    "batch norm divides by {} here, but by {} in darknets that read this file; in minidark, set "
    "[net] batchnorm={}"
)
ROOTS = ("sqrt(variance) + 1e-6", "sqrt(variance + 1e-05)")


@pytest.mark.parametrize(
    ("layer", "options", "warnings"),
    [
        ("gru tanh=1", "--dialect alexey", [TANH]),
        ("gru tanh=1", "", []),
        ("gru tanh=0", "--dialect alexey", []),
        ("gru reset_after=1", "", [RESET]),
        ("gru tanh=1 reset_after=1", "--dialect alexey", [TANH, RESET]),
        ("rnn elman=1", "", [ELMAN]),
        ("rnn elman=1", "--dialect alexey", [ELMAN]),
        ("rnn", "", []),
        ("gru batch_normalize=1", "--dialect alexey", [DIVIDED.format(*ROOTS, "cpu")]),
        ("gru batch_normalize=1", "", []),
        ("gru batch_normalize=1", "--set net.batchnorm=gpu", [DIVIDED.format(*ROOTS[::-1], "gpu")]),
        ("gru batch_normalize=1", "--set net.batchnorm=gpu --dialect alexey", []),
    ],
)
def test_what_another_darknet_takes_for_something_else_is_told(
    layer: str, options: str, warnings: list[str]
) -> None:
    Path("b.cfg").write_text(cfg("net inputs=5", f"{layer} output=5"))
    load_network("b.cfg").save_weights("b.weights")
    line = ["convert", "b.weights", "out.weights", "--cfg", "b.cfg", *options.split()]
    said = [text for text in run(*line).stderr.splitlines() if "warning" in text]
    for text, wanted in zip(said, warnings, strict=True):
        assert text.startswith(f"minidark: warning: out.weights: {wanted}")


def test_a_file_with_tied_layers_is_told_to_be_for_no_darknet() -> None:
    Path("b.cfg").write_text(cfg("net inputs=5", "connected activation=linear", "connected tied=0"))
    load_network("b.cfg").save_weights("b.weights")
    result = run("convert", "b.weights", "out.weights", "--cfg", "b.cfg")
    assert "out.weights: no darknet has [connected] tied" in result.stderr
    assert Path("out.weights").stat().st_size == 20 + 4 * (1 + 5 + 5)


@pytest.mark.parametrize("name", ["alexey_gru", "alexey_gru_square", "alexey_lstm_batchnorm"])
def test_an_alexey_file_there_and_back_is_the_same_bytes(name: str) -> None:
    there_and_back(GOLDEN / name, "pjreddie", "alexey")


@pytest.mark.parametrize("dialect", ["pjreddie", "alexey"])
@pytest.mark.parametrize("name", ["header_transposed", "header_v01_int32_seen", "alexey_lstm"])
def test_a_converted_network_is_the_same_network(name: str, dialect: str) -> None:
    case = GOLDEN / name
    source, path = case / "net.weights", str(case / "net.cfg")
    output("convert", str(source), "new.weights", "--cfg", path, "--dialect", dialect)
    old, new = load_network(path, source), load_network(path, "new.weights")
    assert old.seen == new.seen
    for a, b in zip(old.parameters(), new.parameters(), strict=True):
        np.testing.assert_array_equal(a.value, b.value, err_msg=a.name)


def test_the_order_of_the_file_that_is_read_can_be_overruled() -> None:
    save_weights(make(), "alexey.weights", "alexey")
    data = Path("alexey.weights").read_bytes()
    Path("mislabelled.weights").write_bytes(struct.pack("<3i", 0, 2, 0) + data[12:])
    args = ["--cfg", "a.cfg", "--weights-order", "alexey"]
    output("convert", "mislabelled.weights", "right.weights", *args)
    assert Path("right.weights").read_bytes() == Path("a.weights").read_bytes()


# --- weights by name ------------------------------------------------------------------------


@each_shipped_cfg
def test_weights_through_every_named_form_are_the_same_bytes(name: str, units: int) -> None:
    weights_through_every_named_form(shipped_cfg(name, units))


def test_those_of_normalised_layers_are_too() -> None:
    weights_through_every_named_form("a.cfg")


def weights_through_every_named_form(name: str) -> None:
    """There and back, the bytes are the same."""
    make(find_cfg(name)).save_weights("first.weights")
    output("convert", "first.weights", "b.safetensors", "--cfg", name)
    output("convert", "b.safetensors", "c.npz")
    output("convert", "c.npz", "d.weights", "--out-cfg", "d.cfg")
    assert Path("d.weights").read_bytes() == Path("first.weights").read_bytes()
    assert make("d.cfg").options == make(find_cfg(name)).options


def test_a_cfg_that_would_be_lost_is_told() -> None:
    output("convert", "a.weights", "b.npz", "--cfg", "a.cfg")
    said = "minidark: b.weights does not contain the cfg; --out-cfg FILE writes it\n"
    assert run("convert", "b.npz", "b.weights").stderr.endswith(f"\n{said}")


PLAIN = {  # what is written: what of it is told
    "b.weights": "arrays", "b.safetensors": "arrays", "b.npz": "arrays", "b.yaml": "sections",
}  # fmt: skip


@pytest.mark.parametrize(("out", "what"), PLAIN.items())
def test_what_is_written_is_told_in_a_line_or_an_object(out: str, what: str) -> None:
    source = "a.cfg" if what == "sections" else "a.weights"
    line = ["convert", source, out, *(["--cfg", "a.cfg"] if what == "arrays" else [])]
    count = 6 if what == "sections" else len([*saved_arrays(make())])
    result = run(*line)
    assert result.stdout == ""
    assert result.stderr == f"minidark: wrote {out}: {count} {what}, from {source}\n"
    assert run(*line, "--quiet").stderr == ""
    result = run(*line, "--json")
    assert json.loads(result.stdout) == {"out": out, "in": source, what: count}
    assert result.stderr == ""
    if out == "b.npz":  # the file's own word for it
        assert len({*np.load(out).files} - {"cfg", "layers", "seen"}) == count


def test_set_overrules_what_a_file_carries() -> None:
    output("convert", "a.weights", "b.npz", "--cfg", "a.cfg")
    output("convert", "b.npz", "c.npz", "--set", "dropout.probability=.25")
    assert make("c.npz").layer_options[1].probability == 0.25  # type: ignore[attr-defined]


# --- cfgs -----------------------------------------------------------------------------------


@pytest.mark.parametrize("name", names("cfg", ".cfg"))
def test_a_cfg_through_yaml_is_the_same_network(name: str) -> None:
    assert output("convert", name, "b.yaml") == b""
    output("convert", "b.yaml", "c.cfg", "--strict")
    ours, there, back = (json.loads(output("info", n, "--json")) for n in (name, "b.yaml", "c.cfg"))
    assert ours == there == back


def test_set_reaches_the_cfg_that_is_written() -> None:
    output("convert", "a.cfg", "b.yaml", "--set", "gru.output=7")
    assert "- gru: {output: 7, tanh: 1, batch_normalize: 1}\n" in Path("b.yaml").read_text()


def test_a_run_begun_with_a_cfg_goes_on_with_its_yaml_as_in_one_go() -> None:
    text = cfg(
        "net inputs=256 batch=2 time_steps=8 max_batches=4 adam=1",
        "gru output=4 tanh=1",
        "connected output=256 activation=linear",
        "softmax",
    )
    Path("small.cfg").write_text(text)
    Path("text").write_bytes(bytes(range(256)) * 8)
    output("convert", "small.cfg", "small.yaml")
    given = ["text", "--seed", "1", "--kernels", "numpy", "--backup"]
    assert run("train", "small.yaml", *given, "whole").exit_code == 0
    assert run("train", "small.cfg", *given, "parts", "--batches", "2").exit_code == 0
    on = ["text", "--kernels", "numpy", "--backup", "parts", "--resume", "auto", "--batches", "4"]
    assert run("train", "small.yaml", *on).exit_code == 0
    assert run("train", "small.cfg", *given, "again").exit_code == 0
    whole, parts = (Path(name, "small_final.weights") for name in ("whole", "parts"))
    assert whole.read_bytes() == parts.read_bytes()
    first, second = (
        json.loads(Path(name, "run.json").read_text())["cfg_sha256"] for name in ("whole", "again")
    )
    assert first == second
    for name in ("small.cfg", "small.yaml"):  # what it was made with is looked at in both
        output("info", name, str(whole))
        refused = run("info", name, str(whole), "--set", "gru.tanh=0")
        assert refused.exit_code == 4
        assert "made with 'small.yaml', which has [gru] " in refused.stderr


def test_a_wrong_cfg_is_not_rewritten() -> None:
    Path("b.yaml").write_text("net: {inputs: 4}\nlayers:\n- gru: {output: x}\n")
    Path("c.cfg").write_text("what was there")
    assert_refused(run("convert", "b.yaml", "c.cfg"), 3, "b.yaml:3: output='x' is not an integer")
    assert Path("c.cfg").read_text() == "what was there"


# --- models ---------------------------------------------------------------------------------


def test_a_model_is_proven_and_its_difference_told() -> None:
    pytest.importorskip("onnx", reason="the extra onnx is not installed")
    pytest.importorskip("onnxruntime", reason="the extra onnx is not installed")
    said = output("convert", "a.weights", "b.onnx", "--cfg", "a.cfg").decode()
    assert said.startswith("b.onnx: largest difference ")
    assert said.endswith(" over 1,000 characters\n")
    told: dict[str, Any] = json.loads(
        output("convert", "a.weights", "b.onnx", "--cfg", "a.cfg", "--json")
    )
    assert (told["out"], told["characters"]) == ("b.onnx", 1000)
    assert 0 < told["largest_difference"] < 1e-5
    output("convert", "b.onnx", "c.weights", "--out-cfg", "c.cfg")
    output("denormalize", "a.cfg", "a.weights", "d.weights")
    assert Path("c.weights").read_bytes() == Path("d.weights").read_bytes()
    x = np.random.default_rng(0).integers(0, 20, 9)
    wanted = load_network("a.cfg", "a.weights", batch=1).predict(x)
    found = load_network("c.cfg", "c.weights", batch=1).predict(x)
    np.testing.assert_allclose(found, wanted, 1e-4)


def test_a_text_of_ones_own_is_what_it_is_proven_on() -> None:
    pytest.importorskip("onnxruntime", reason="the extra onnx is not installed")
    Path("text").write_bytes(bytes(range(20)))
    args = ["convert", "a.weights", "b.onnx", "--cfg", "a.cfg", "--text"]
    assert output(*args, "text").endswith(b" over 20 characters\n")
    Path("text").write_bytes(b"abc")
    assert run(*args, "text").exit_code == 4


def test_a_model_that_differs_is_an_error_and_no_file_is_left() -> None:
    pytest.importorskip("onnxruntime", reason="the extra onnx is not installed")
    result = run("convert", "a.weights", "b.onnx", "--cfg", "a.cfg", "--tolerance", "1e-12")
    assert result.exit_code == 1
    assert result.stderr.startswith("minidark: error: the written model differs from predict by ")
    assert result.stdout == ""
    assert not Path("b.onnx").exists()


def test_logits_of_another_program_get_a_softmax_and_a_line_says_so() -> None:
    """Without one, `generate` would draw from the logits: 2 % where softmax says 70 %."""
    onnx = pytest.importorskip("onnx", reason="the extra onnx is not installed")
    matrix = np.random.default_rng(0).normal(0, 3, (7, 7)).astype(np.float32)
    value, helper = onnx.helper.make_tensor_value_info, onnx.helper
    graph = helper.make_graph(
        [helper.make_node("MatMul", ["x", "m"], ["y"])],
        "g", [value("x", 1, ["T", "S", 7])], [value("y", 1, ["T", "S", 7])],
        [onnx.numpy_helper.from_array(matrix, "m")],
    )  # fmt: skip
    opset = [helper.make_opsetid("", 17)]
    onnx.save(helper.make_model(graph, opset_imports=opset, ir_version=8), "logits.onnx")
    result = run("convert", "logits.onnx", "b.npz")
    assert result.stderr.startswith(
        "minidark: logits.onnx: the last layer outputs logits, one for each symbol; [softmax] is "
        "added after it; --cfg chooses other layers\n"
    )
    p = load_network("b.npz", batch=1).predict(np.arange(7))
    wanted = np.exp(matrix) / np.exp(matrix).sum(axis=1, keepdims=True)
    np.testing.assert_allclose(p, wanted, rtol=1e-5)
    Path("linear.cfg").write_text(
        cfg("net inputs=7 batch=1", "connected output=7 activation=linear")
    )
    result = run("convert", "logits.onnx", "c.npz", "--cfg", "linear.cfg")
    assert "[softmax]" not in result.stderr
    assert run("generate", "b.npz", "--seed", "\x01", "--len", "3").exit_code == 0
    refused = run("generate", "c.npz", "--seed", "\x01", "--len", "3")
    assert refused.exit_code == 3
    assert "0.connected does not output probabilities of symbols; end" in refused.stderr


def test_an_extra_that_is_missing_is_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(sys.modules, "minidark.convert.onnx", raising=False)
    monkeypatch.setitem(sys.modules, "onnx", None)
    said = "ONNX needs the extra `onnx`: pip install 'minidark[onnx]'"
    assert_refused(run("convert", "a.weights", "b.onnx", "--cfg", "a.cfg"), 1, said)
    monkeypatch.delitem(sys.modules, "minidark.convert.onnx_chain", raising=False)
    with pytest.raises(BackendError) as error:
        MODELS[".onnx"].read  # noqa: B018  what it imports is missing
    assert str(error.value) == said
    monkeypatch.delitem(sys.modules, "minidark.convert.onnx", raising=False)


# --- usage ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("args", "said"),
    [
        (("a.weights", "b.npz"), "a.weights does not contain its cfg; add --cfg CFG"),
        (("a.cfg", "b.onnx"), "a cfg converts only to .cfg or .yaml, and only from a cfg"),
        (("a.weights", "b.cfg"), "a cfg converts only to .cfg or .yaml, and only from a cfg"),
        (("b.py", "b.weights"), "b.py: .py files are only written, not read"),
        (
            ("a.weights", "b.pt", "--cfg", "a.cfg"),
            "b.pt: .pt files are only read; for PyTorch, write .py",
        ),
        (
            ("a.weights", "b.h5", "--cfg", "a.cfg"),
            "b.h5: .h5 files are only read; for Keras, write .keras",
        ),
        (
            ("a.weights", "b.tf", "--cfg", "a.cfg"),
            "b.tf: unknown suffix; use one of .cfg, .yaml, .yml, .weights, .backup, "
            ".safetensors, .npz, .onnx, .keras, .h5, .hdf5, .py, .pt, .pth, .pt2",
        ),
    ],
)
def test_wrong_usage_says_what_would_be_right(args: tuple[str, ...], said: str) -> None:
    assert_wrong_usage(run("convert", *args), said)
    assert sorted(p.name for p in Path().iterdir()) == ["a.cfg", "a.weights"]


@pytest.mark.parametrize(
    ("args", "file"),
    [
        (("a.weights", "a.weights", "--cfg", "a.cfg"), "a.weights"),
        (("a.weights", "b.npz", "--cfg", "a.cfg", "--out-cfg", "b.npz"), "b.npz"),
        (("a.weights", "b.npz", "--cfg", "a.cfg", "--out-cfg", "a.cfg"), "a.cfg"),
        (("a.cfg", "a.cfg"), "a.cfg"),
    ],
)
def test_what_is_written_is_none_of_the_files_that_are_read(
    args: tuple[str, ...], file: str
) -> None:
    said = f"{file} is an input of this command; write to another file"
    assert_wrong_usage(run("convert", *args), said)
    assert {path.name for path in Path().iterdir()} == {"a.cfg", "a.weights"}
