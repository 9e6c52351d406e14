"""Weights by name, with their cfg: the same network comes back, and nothing else is taken."""

from __future__ import annotations

import io
import json
from pathlib import Path

import numpy as np
import pytest

from minidark import CfgError, Network, WeightsError, load_network, load_weights
from minidark.backend import Array
from minidark.files.archives import SUFFIXES, open_archive, packed
from minidark.files.shipped import find_cfg
from minidark.weights.darknet import save_weights
from tests.cli.running import assert_refused, output, run
from tests.helpers import cfg, randomize
from tests.shipped_cfgs import each_shipped_cfg, shipped_cfg

EVERY_LAYER = cfg(
    "net inputs=5 batch=2 time_steps=3",
    "gru output=4 tanh=1 batch_normalize=1",
    "lstm output=3",
    "rnn output=3 hidden=4 activation=tanh batch_normalize=1",
    "batchnorm",
    "dropout",
    "connected output=6 activation=leaky batch_normalize=1",
    "activation activation=tanh",
    "softmax groups=2",
)
forms = pytest.mark.parametrize("suffix", SUFFIXES)


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("a.cfg").write_text(EVERY_LAYER)


def make(path: str | Path = "a.cfg", seen: int = 2**40) -> Network:
    net = load_network(path, seed=1)
    randomize(net.layers, 2)
    net.seen = seen
    return net


def stored(net: Network) -> dict[str, Array]:
    return {a.name: a.value.copy() for layer in net.layers for a in layer.arrays()}


def assert_same(a: Network, b: Network) -> None:
    assert a.seen == b.seen
    ours, theirs = stored(a), stored(b)
    assert ours.keys() == theirs.keys()
    for name, array in ours.items():
        np.testing.assert_array_equal(array, theirs[name], err_msg=name)


@forms
@each_shipped_cfg
def test_there_and_back_is_the_same_network(name: str, units: int, suffix: str) -> None:
    there_and_back(shipped_cfg(name, units), suffix)


@forms
def test_so_are_rolling_statistics_and_biases_that_darknets_form_lacks(suffix: str) -> None:
    there_and_back("a.cfg", suffix)


def there_and_back(name: str, suffix: str) -> None:
    """Written by name and read, as one file with its cfg and beside it, it is the same network."""
    net = make(find_cfg(name))
    net.save_weights(f"w{suffix}")
    assert_same(load_network(f"w{suffix}"), net)
    assert_same(load_network(find_cfg(name), f"w{suffix}"), net)
    net.save_weights("first.weights")
    load_network(f"w{suffix}").save_weights("second.weights")
    assert Path("first.weights").read_bytes() == Path("second.weights").read_bytes()


@forms
def test_names_are_those_of_parameters_and_notes_are_cfg_and_seen(suffix: str) -> None:
    net = make(seen=7)
    net.save_weights(f"w{suffix}")
    archive = open_archive(io.BytesIO(Path(f"w{suffix}").read_bytes()), f"w{suffix}")
    assert {p.name for p in net.parameters()} <= archive.shapes.keys() == stored(net).keys()
    assert "0.gru.uz.rolling_mean" in archive.shapes
    assert archive.notes["seen"] == "7"
    assert archive.notes["cfg"].startswith("[net]\ninputs=5\nbatch=2\n")


@forms
def test_commands_take_it_as_weights_and_as_both(suffix: str) -> None:
    path = f"w{suffix}"
    text = cfg("net inputs=256", "gru output=4 tanh=1", "connected output=256", "softmax")
    Path("b.cfg").write_text(text)
    make("b.cfg").save_weights("w.weights")
    make("b.cfg").save_weights(path)
    sampling = ["--srand", "1", "--len", "20"]
    wanted = output("generate", "b.cfg", "w.weights", *sampling)
    assert output("generate", "b.cfg", path, *sampling) == wanted
    assert output("generate", path, *sampling) == wanted
    assert output("rnn", "generate", "b.cfg", path, "-srand", "1", "-len", "20")
    told = json.loads(output("info", path, "--json"))["weights"]
    assert (told["seen"], told["order"]) == (2**40, "named")
    assert f"these weights: a {suffix}, arrays by name, " in output("info", path).decode()
    text_in = b"some text"
    assert output("valid", path, path, stdin=text_in) == output(
        "valid", "b.cfg", "w.weights", stdin=text_in
    )


@forms
def test_part_of_it_is_loaded_with_cutoff_and_start(suffix: str) -> None:
    net = make()
    net.save_weights(f"w{suffix}")
    other = load_network("a.cfg", seed=9)
    before = stored(other)
    load_weights(other, f"w{suffix}", start=1, cutoff=3)
    for name, array in stored(other).items():
        inside = name.startswith(("1.", "2."))
        np.testing.assert_array_equal(array, (stored(net) if inside else before)[name])
    save_weights(net, f"part{suffix}", cutoff=2)
    load_weights(other, f"part{suffix}", cutoff=2)
    with pytest.raises(WeightsError, match=r"no array 2\.rnn\.input\.biases"):
        load_weights(other, f"part{suffix}")


@forms
def test_layers_with_dontsave_and_dontload_are_absent(suffix: str) -> None:
    Path("b.cfg").write_text(EVERY_LAYER.replace("[lstm]", "[lstm]\ndontsave=1\ndontload=1"))
    make("b.cfg").save_weights(f"w{suffix}")
    net = load_network("b.cfg", f"w{suffix}", seed=3)
    fresh = stored(load_network("b.cfg", seed=3))
    np.testing.assert_array_equal(stored(net)["1.lstm.ui.weights"], fresh["1.lstm.ui.weights"])
    make().save_weights(f"all{suffix}")
    load_network("b.cfg", f"all{suffix}", allow_other_cfg=True)
    with pytest.raises(WeightsError, match=r"no array 1\.lstm"):
        load_network("a.cfg", f"w{suffix}")


@forms
def test_a_layer_that_is_saved_but_not_loaded_is_no_other_cfg(suffix: str) -> None:
    Path("b.cfg").write_text(EVERY_LAYER.replace("[lstm]", "[lstm]\ndontload=1"))
    made = make("b.cfg")
    made.save_weights(f"w{suffix}")
    wanted = stored(made)["2.rnn.input.weights"]
    for cfg_path, start in (("b.cfg", 0), ("b.cfg", 2), (f"w{suffix}", 2)):
        net = load_network(cfg_path, seed=3)
        load_weights(net, f"w{suffix}", start=start)
        np.testing.assert_array_equal(stored(net)["2.rnn.input.weights"], wanted)
    load_network(f"w{suffix}")


# --- what does not fit ----------------------------------------------------------------------

SMALL = cfg("net inputs=3", "gru output=2 tanh=1", "softmax")


def arrays(**changed: Array | None) -> dict[str, Array]:
    Path("b.cfg").write_text(SMALL)
    found: dict[str, Array | None] = {**stored(load_network("b.cfg")), **changed}
    return {name: array for name, array in found.items() if array is not None}


NAN = np.array([0, np.nan], np.float32)
WRONG: dict[str, tuple[dict[str, Array | None], dict[str, str], str]] = {
    "one missing": (
        {"0.gru.uz.weights": None},
        {},
        "no array 0.gru.uz.weights, which this cfg needs; is it the cfg they were made with?",
    ),
    "another shape": (
        {"0.gru.uz.weights": np.zeros((3, 2), np.float32)},
        {},
        "0.gru.uz.weights is 3 x 2, and 2 x 3 in this cfg",
    ),
    "one too many": (
        {"0.gru.uq.weights": np.zeros((3, 2), np.float32)},
        {},
        "0.gru.uq.weights is not an array of this cfg, one of 1; is it the cfg they were made "
        "with?",
    ),
    "not a number": (
        {"0.gru.uz.biases": NAN},
        {},
        "0.gru.uz.biases[1] is nan, one of 1 in this array that are NaN or infinite; "
        "--allow-nonfinite loads them anyway",
    ),
    "no count": (
        {},
        {"seen": "-1"},
        "its note `seen` is not a number of rows; the file is damaged",
    ),
    "another meaning": (
        {},
        {"layers": '["[gru] inputs=3 output=2 batch_normalize=0 tanh=0"]'},
        "made with another cfg, which has [gru] inputs=3 output=2 batch_normalize=0 tanh=0 where "
        "this cfg has [gru] inputs=3 output=2 batch_normalize=0 tanh=1; load it with that cfg, or "
        "use --allow-other-cfg",
    ),
}


@forms
@pytest.mark.parametrize("name", WRONG)
def test_what_does_not_fit_is_refused_and_changes_nothing(name: str, suffix: str) -> None:
    changed, notes, said = WRONG[name]
    path = f"w{suffix}"
    Path(path).write_bytes(packed(path, arrays(**changed), notes))
    net = load_network("b.cfg", seed=5)
    before = stored(net)
    with pytest.raises(WeightsError) as error:
        load_weights(net, path)
    assert str(error.value) == f"{path}: {said}"
    assert net.seen == 0
    for key, array in stored(net).items():
        np.testing.assert_array_equal(array, before[key])
    assert_refused(run("generate", "b.cfg", path), 4, f"{path}: {said}")


@forms
def test_what_may_be_allowed(suffix: str) -> None:
    path = f"w{suffix}"
    Path(path).write_bytes(packed(path, arrays(**{"0.gru.uz.biases": NAN}), {}))
    net = load_network("b.cfg", path, allow_nonfinite=True)
    np.testing.assert_array_equal(stored(net)["0.gru.uz.biases"], NAN)
    notes = {"layers": WRONG["another meaning"][1]["layers"]}
    Path(path).write_bytes(packed(path, arrays(), notes))
    load_network("b.cfg", path, allow_other_cfg=True)


@forms
def test_a_file_without_a_cfg_needs_one(suffix: str) -> None:
    path = f"w{suffix}"
    Path(path).write_bytes(packed(path, arrays(), {}))
    assert load_network("b.cfg", path).seen == 0
    with pytest.raises(CfgError, match="contains no cfg; pass the cfg's own file"):
        load_network(path)
    Path(path).write_bytes(packed(path, arrays(), {"cfg": "[net]\ninputs=x\n"}))
    with pytest.raises(CfgError, match=rf"w\{suffix}:2: inputs='x' is not an integer"):
        load_network(path)
    Path(path).write_bytes(b"junk")
    assert_refused(run("info", path), 3, f"{path}: not a {suffix} file, or damaged")
