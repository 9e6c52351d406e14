"""Sections to networks: what is built, what is refused, what is doubted."""

from __future__ import annotations

import logging
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from minidark import CfgError, Network, load_network, parse_network_cfg
from minidark.cfg.check import check_cfg
from minidark.cfg.sections import ignore_doubt, parse_sections, read_cfg
from minidark.errors import BackendError
from minidark.layers import Layer
from minidark.layers.cost import CostOfDifference
from minidark.layers.dropout import DropoutLayer
from minidark.layers.gru import GruLayer
from minidark.layers.rnn import RnnLayer
from minidark.layers.softmax import SoftmaxLayer
from tests.golden_cases import GOLDEN
from tests.helpers import cfg, values

Write = Callable[..., Path]

TAIL = ("connected output=9 activation=linear", "softmax")


@pytest.fixture
def write(tmp_path: Path) -> Write:
    """Sections, each in one line, to a cfg: the first stands on line 1, each pair on its own."""

    def to_file(*sections: str) -> Path:
        path = tmp_path / "a.cfg"
        path.write_text(cfg(*sections))
        return path

    return to_file


@pytest.fixture
def doubts(caplog: pytest.LogCaptureFixture) -> Callable[[], list[str]]:
    """What was logged as a warning so far, path cut off."""
    caplog.set_level(logging.WARNING, "minidark")

    def told() -> list[str]:
        return [re.sub(r"^.*a\.cfg:?", "", r.getMessage()) for r in caplog.records]

    return told


def described(net: Network) -> list[tuple[str, str, int, int]]:
    return [(layer.type, layer.name, layer.inputs, layer.outputs) for layer in net.layers]


def test_every_layer_gets_its_place_its_width_and_its_name(write: Write) -> None:
    net = parse_network_cfg(
        write(
            "net inputs=9 batch=6 subdivisions=2 time_steps=5",
            "gru output=8 tanh=1",
            "lstm output=7",
            "rnn output=6 hidden=6",
            "dropout probability=.25",
            "batchnorm",
            "activation activation=relu",
            *TAIL,
            "logistic",
            "cost type=L1 scale=3",
        )
    )
    assert described(net) == [
        ("gru", "0.gru", 9, 8),
        ("lstm", "1.lstm", 8, 7),
        ("rnn", "2.rnn", 7, 6),
        ("dropout", "3.dropout", 6, 6),
        ("batchnorm", "4.batchnorm", 6, 6),
        ("activation", "5.activation", 6, 6),
        ("connected", "6.connected", 6, 9),
        ("softmax", "7.softmax", 9, 9),
        ("logistic", "8.logistic", 9, 9),
        ("cost", "9.cost", 9, 9),
    ]
    assert {layer.streams for layer in net.layers} == {net.streams} == {3}


def layer_of(write: Write, section: str) -> Layer:
    return parse_network_cfg(write("net inputs=4", section)).layers[0]


def test_the_values_of_a_section_reach_its_layer(write: Write) -> None:
    gru = layer_of(write, "gru output=4 update_bias=-2 init=orthogonal")
    assert isinstance(gru, GruLayer)
    np.testing.assert_array_equal(gru.sublayers["uz"].biases, [-2] * 4)
    np.testing.assert_array_equal(gru.sublayers["wz"].biases, [0] * 4)
    square = gru.sublayers["wh"].weights
    np.testing.assert_allclose(square @ square.T, np.eye(4), atol=1e-6)

    softmax = layer_of(write, "softmax groups=2 temperature=.5 noloss=1")
    assert isinstance(softmax, SoftmaxLayer)
    assert (softmax.groups, softmax.temperature, softmax.has_cost) == (2, 0.5, False)

    dropout = layer_of(write, "dropout probability=.25")
    assert isinstance(dropout, DropoutLayer)
    assert dropout.probability == 0.25

    cost = layer_of(write, "cost scale=3")
    assert isinstance(cost, CostOfDifference)
    assert cost.scale == 3


def test_an_lstm_forgets_by_its_forget_bias(write: Write) -> None:
    parameters = parse_network_cfg(write("net inputs=4", "lstm output=3 forget_bias=2"))
    biases = {p.name: p.value.tolist() for p in parameters.parameters() if p.kind == "biases"}
    assert [name for name, value in biases.items() if value != [0, 0, 0]] == ["0.lstm.uf.biases"]
    assert biases["0.lstm.uf.biases"] == [2, 2, 2]


@pytest.mark.parametrize("section", ["gru", "lstm", "rnn", "rnn elman=1", "connected"])
def test_batch_normalize_adds_its_arrays(write: Write, section: str) -> None:
    plain = layer_of(write, f"{section} output=3")
    normed = layer_of(write, f"{section} output=3 batch_normalize=1")
    kinds = [a.kind for a in normed.stored_arrays()]
    assert [a.kind for a in plain.stored_arrays()] == ["biases", "weights"] * (len(kinds) // 5)
    assert kinds[:5] == ["biases", "weights", "scales", "rolling_mean", "rolling_variance"]


@pytest.mark.parametrize(
    ("pairs", "hidden", "self_activation"),
    [
        ("output=5", 5, "tanh"),
        ("output=5 hidden=5", 5, "tanh"),
        ("output=5 hidden=7", 7, "tanh"),
        ("output=5 logistic=0", 5, "tanh"),
        ("output=5 logistic=1", 5, "logistic"),
        ("output=5 hidden=3 logistic=2", 3, "loggy"),
    ],
)
def test_rnn_takes_alexeys_hidden_and_logistic(
    write: Write, pairs: str, hidden: int, self_activation: str
) -> None:
    layer = layer_of(write, f"rnn activation=tanh {pairs}")
    assert isinstance(layer, RnnLayer)
    assert layer.states["state"].shape == (1, hidden)
    assert layer.sublayers["output"].weights.shape == (5, hidden)
    assert layer.self_activation.name == self_activation
    assert layer.activation.name == "tanh"


def test_darknets_short_names_are_the_long_ones(write: Write) -> None:
    short = parse_network_cfg(write("network inputs=9", "conn output=9 activation=linear", "soft"))
    assert described(short) == [
        ("connected", "0.connected", 9, 9), ("softmax", "1.softmax", 9, 9),
    ]  # fmt: skip
    long = parse_network_cfg(write("net inputs=9", *TAIL))
    for ours, theirs in zip(short.parameters(), long.parameters(), strict=True):
        np.testing.assert_array_equal(ours.value, theirs.value)


# --- what is refused ----------------------------------------------------------------------

IMAGES = (
    "works on images; minidark is for recurrent networks (gru, lstm, rnn, connected, softmax, "
    "dropout, activation, batchnorm, logistic, cost, route, shortcut, attention, bytepairs)"
)


@pytest.mark.parametrize(
    ("sections", "line", "message"),
    [
        (["gru output=8"], 1, "the first section is [gru]; expected [net]"),
        (["gru", "net inputs=4"], 1, "the first section is [gru]; expected [net]"),
        (["net inputs=4", "gru", "net inputs=4"], 6, "a second [net]"),
        (["net inputs=4", "gru", "network"], 6, "a second [network]"),
        (["net inputs=4", "gruu"], 4, "unknown section [gruu] (did you mean 'gru'?)"),
        (["net inputs=4", "Softmax"], 4, "unknown section [Softmax] (did you mean 'softmax'?)"),
        (["net inputs=4", "qqq"], 4, "unknown section [qqq]"),
        (["net inputs=4", "activasion"], 4,
         "unknown section [activasion] (did you mean 'activation'?)"),
        (["net inputs=4", "yolo"], 4,
         f"[yolo] {IMAGES}"),
        (["net inputs=4", "convolutional filters=8"], 4,
         f"[convolutional] {IMAGES}"),
        (["net"], 1, "[net] needs inputs=N, the number of symbols (256 for bytes)"),
        (["net inputs=4 batch=5 subdivisions=2", "gru"], 4,
         "batch=5 is not divisible by subdivisions=2"),
        (["net inputs=4 subdivisions=2 batch=1", "gru"], 3,
         "batch=1 is not divisible by subdivisions=2"),
        (["net inputs=4 policy=steps steps=1,2 scales=.1", "gru"], 4,
         "policy=steps has 2 steps and 1 scales; it needs the same number of both, at least one"),
        (["net inputs=4 policy=steps scales=.1", "gru"], 4,
         "policy=steps has 0 steps and 1 scales; it needs the same number of both, at least one"),
        (["net inputs=4 policy=steps", "gru"], 1,
         "policy=steps has 0 steps and 0 scales; it needs the same number of both, at least one"),
        (["net inputs=4 policy=poly", "gru"], 3, "policy=poly needs max_batches"),
        (["net inputs=4 policy=cosine max_batches=0", "gru"], 3, "policy=cosine needs max_batches"),
        (["net inputs=64x", "gru"], 2, "inputs='64x' is not an integer"),
        (["net inputs=4", "gru tanh=1 output=0"], 6, "output='0' is less than 1"),
        (["net inputs=4", "softmax groups=3"], 5, "groups=3 does not divide 4 inputs"),
        (["net inputs=4", "rnn output=2 elman=1 hidden=3"], 7,
         "hidden=3 conflicts with elman=1; remove one of the two"),
        (["net inputs=4", "rnn shortcut=1 output=2 elman=1"], 5,
         "shortcut=1 conflicts with elman=1; remove one of the two"),
        (["net inputs=4", "rnn output=2 logistic=2 elman=1"], 6,
         "logistic=2 conflicts with elman=1; remove one of the two"),
        (["net inputs=4", "gru init=zero"], 5, "init='zero' is not one of darknet, orthogonal"),
        (["net inputs=4", "cost type=l1"], 5, "type='l1' is not one of sse, smooth, L1"),
    ],
)  # fmt: skip
def test_a_wrong_cfg_is_refused_at_its_line(
    write: Write, sections: list[str], line: int, message: str
) -> None:
    path = write(*sections)
    with pytest.raises(CfgError) as error:
        parse_network_cfg(path)
    assert str(error.value) == f"{path}:{line}: {message}"


KNOWN = (
    "logistic, loggy, relu, elu, selu, relie, ramp, linear, tanh, plse, leaky, stair, hardtan, "
    "lhtan"
)


@pytest.mark.parametrize("section", ["rnn output=3", "connected output=3", "activation"])
def test_an_unknown_activation_is_refused_at_its_line(write: Write, section: str) -> None:
    path = write("net inputs=4", f"{section} activation=reluu")
    line = path.read_text().splitlines().index("activation=reluu") + 1
    with pytest.raises(CfgError) as error:
        parse_network_cfg(path)
    begin, _, names = str(error.value).partition(" is not one of ")
    assert begin == f"{path}:{line}: activation='reluu'"
    assert all(name in names for name in KNOWN.split(", "))


def test_a_cfg_without_layers_is_refused(write: Write) -> None:
    path = write("net inputs=4")
    with pytest.raises(CfgError) as error:
        parse_network_cfg(path)
    assert str(error.value) == f"{path}: no layers: this cfg has only [net]"


@pytest.mark.parametrize(
    ("kwargs", "message"),
    [
        ({"device": "tpu"}, "device 'tpu' is not one of auto, cpu, cuda"),
        ({"dtype": "float16"}, "dtype 'float16' is not one of float32, float64"),
    ],
)
def test_an_unknown_device_or_dtype_is_refused(
    write: Write, kwargs: dict[str, Any], message: str
) -> None:
    with pytest.raises(BackendError) as error:
        parse_network_cfg(write("net inputs=4", "gru"), **kwargs)
    assert str(error.value) == message


# --- what is doubted ----------------------------------------------------------------------

UNKNOWN = "unknown key 'ouput' in [gru] (did you mean 'output'?)"


def test_an_unknown_key_is_logged_once_for_the_whole_file(
    write: Write, doubts: Callable[[], list[str]]
) -> None:
    parse_network_cfg(
        write("net inputs=4", "gru ouput=8", "gru ouput=9", "lstm ouput=9", "gru zzz=1")
    )
    assert doubts() == [
        f"5: {UNKNOWN}",
        f"11: {UNKNOWN.replace('gru', 'lstm')}",
        "14: unknown key 'zzz' in [gru]",
    ]


def test_a_second_file_is_doubted_anew(write: Write, doubts: Callable[[], list[str]]) -> None:
    for _ in range(2):
        parse_network_cfg(write("net inputs=4", "gru ouput=8"))
    assert doubts() == [f"5: {UNKNOWN}"] * 2


DOUBLED = (
    "darknet's C adds both gradients: to train as it does with SGD, double learning_rate and halve "
    "decay"
)


@pytest.mark.parametrize(
    ("sections", "line", "message"),
    [
        (["net inputs=4", "gru ouput=8"], 5, UNKNOWN),
        (["net inputs=4 inputs=5", "gru"], 3,
         "inputs is already set on line 2; the first one counts"),
        (["net inputs=4", "gru numload=1"], 5, "numload has no effect on [gru]"),
        (["net inputs=4", "rnn output=3 hidden=5"], 6,
         "hidden=5 is taken as the width of the state, as AlexeyAB's darknet does; pjreddie's "
         "ignores it and takes output=3"),
        (["net inputs=4", "softmax", "cost"], 6,
         "[cost] has no effect here: the [softmax] before it has its own cost. " + DOUBLED),
        (["net inputs=4", "logistic", "cost"], 6,
         "[cost] has no effect here: the [logistic] before it has its own cost. " + DOUBLED),
        (["net inputs=4", "rnn output=3 logistic=1"], 6,
         "logistic=1 is taken as AlexeyAB's darknet does, for the activation of self; pjreddie's "
         "ignores it"),
        (["net inputs=4 learning_rate_poly_power=4", "softmax"], 3,
         "unknown key 'learning_rate_poly_power' in [net] (did you mean 'power'?)"),
    ],
)  # fmt: skip
def test_a_doubt_is_logged_and_with_strict_refused(
    write: Write, doubts: Callable[[], list[str]], sections: list[str], line: int, message: str
) -> None:
    path = write(*sections)
    parse_network_cfg(path)
    assert doubts() == [f"{line}: {message}"]
    with pytest.raises(CfgError) as error:
        parse_network_cfg(path, strict=True)
    assert str(error.value) == f"{path}:{line}: {message}"


@pytest.mark.parametrize(
    "sections",
    [
        ["net inputs=4", "rnn output=3 hidden=3"],
        ["net inputs=4", "softmax noloss=1", "cost"],
        ["net inputs=4", "cost"],
        ["net inputs=4#ouput=8", "gru dontload=1 stopbackward=1 learning_rate=.1"],
    ],
)
def test_what_is_in_order_raises_no_doubt(
    write: Write, doubts: Callable[[], list[str]], sections: list[str]
) -> None:
    parse_network_cfg(write(*sections), strict=True)
    assert doubts() == []


# --- overrides, batch, time_steps ---------------------------------------------------------


def test_an_override_is_for_every_section_of_its_type(write: Write) -> None:
    path = write("net inputs=4", "gru output=5", "lstm output=5", "gru")
    net = parse_network_cfg(path, overrides=["gru.output=6", " net.learning_rate = .5"])
    assert [layer.outputs for layer in net.layers] == [6, 5, 6]
    assert net.options.learning_rate == 0.5


def test_an_override_of_net_reaches_network_and_the_other_way_round(write: Write) -> None:
    path = write("network inputs=4", "gru")
    assert parse_network_cfg(path, overrides=["net.inputs=7"]).inputs == 7
    path = write("net inputs=4", "gru")
    assert parse_network_cfg(path, overrides=["network.inputs=7"]).inputs == 7


@pytest.mark.parametrize(
    ("written", "named"), [("conn", "connected"), ("connected", "conn"), ("connected", "connected")]
)
def test_an_override_reaches_a_section_by_either_of_its_names(
    write: Write, written: str, named: str
) -> None:
    net = parse_network_cfg(write("net inputs=4", written), overrides=[f"{named}.output=6"])
    assert net.outputs == 6


def test_an_overrides_blanks_are_dropped_as_in_a_cfg(write: Write) -> None:
    path = write("net inputs=4 policy=steps", "gru")
    net = parse_network_cfg(path, overrides=["net.steps = 10, 20", "net. scales=.5,\t.1"])
    assert (net.options.steps, net.options.scales) == ((10, 20), (0.5, 0.1))


def test_the_last_of_two_overrides_counts(write: Write) -> None:
    path = write("net inputs=4", "gru output=5")
    assert parse_network_cfg(path, overrides=["gru.output=6", "gru.output=7"]).outputs == 7


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("gru.output", "override 'gru.output' is not section.key=value"),
        ("output=5", "override 'output=5' is not section.key=value"),
        (".output=5", "override '.output=5' is not section.key=value"),
        ("gru.=5", "override 'gru.=5' is not section.key=value"),
        ("gru.output= ", "override 'gru.output= ' is not section.key=value"),
        ("", "override '' is not section.key=value"),
        ("lstm.output=5", "override 'lstm.output=5': no [lstm] in this cfg"),
    ],
)
def test_a_malformed_override_is_refused(write: Write, override: str, message: str) -> None:
    with pytest.raises(CfgError) as error:
        parse_network_cfg(write("net inputs=4", "gru"), overrides=[override])
    assert str(error.value) == message


def test_an_override_is_checked_like_the_cfg_itself(
    write: Write, doubts: Callable[[], list[str]]
) -> None:
    path = write("net inputs=4", "gru")
    with pytest.raises(CfgError, match="output='64x' is not an integer"):
        parse_network_cfg(path, overrides=["gru.output=64x"])
    with pytest.raises(CfgError, match=r"a\.cfg as overridden: unknown key 'ouput'"):
        parse_network_cfg(path, overrides=["gru.ouput=64x"])
    parse_network_cfg(path, overrides=["gru.smooth=1"])
    assert doubts() == [" as overridden: smooth has no effect on [gru]"]


def test_batch_and_time_steps_take_the_place_of_the_cfgs(write: Write) -> None:
    path = write("net inputs=4 batch=6 subdivisions=3 time_steps=7", "gru")
    plain = parse_network_cfg(path).options
    assert (plain.streams, plain.subdivisions, plain.time_steps) == (2, 3, 7)
    given = parse_network_cfg(path, batch=5, time_steps=1)
    assert (given.streams, given.options.subdivisions, given.options.time_steps) == (5, 1, 1)
    assert given.predict(np.zeros((3, 5), int)).shape == (3, 5, 1)


# --- seeds, weights, cfgs written back ----------------------------------------------------


def test_the_seed_settles_the_initial_weights(write: Write) -> None:
    path = write("net inputs=4", "gru output=5", *TAIL)
    first, again, other = (values(parse_network_cfg(path, seed=s)) for s in (7, 7, 8))
    for name, value in first.items():
        np.testing.assert_array_equal(value, again[name])
        assert ("weights" in name) == bool((value != other[name]).any())


def test_load_network_fills_the_weights_in() -> None:
    folder = GOLDEN / "gru_tanh"
    net = load_network(folder / "net.cfg", folder / "net.weights")
    bare = load_network(folder / "net.cfg")
    assert (net.seen, bare.seen) == (12345, 0)
    assert all((values(net)[name] != value).any() for name, value in values(bare).items())


@pytest.mark.parametrize(
    "overrides", [[], ["gru.output=6", "net.batch=4", "net.steps=5,6", "cost.type=L1"]]
)
def test_a_saved_cfg_makes_the_same_network(
    write: Write, tmp_path: Path, overrides: list[str]
) -> None:
    path = write(
        "network inputs=4 batch=2 learning_rate=1e-2 steps=1,2 B1=.5;zzz=2",
        "gru output=5 tanh=1#tanh=0",
        "conn output=4 activation=leaky stopbackward=1",
        "cost type=smooth",
    )
    first = parse_network_cfg(path, overrides=overrides, seed=3)
    first.save_cfg(tmp_path / "saved.cfg")
    second = parse_network_cfg(tmp_path / "saved.cfg", seed=3, strict=True)
    assert second.options == first.options
    assert second.layer_options == first.layer_options
    assert described(second) == described(first)
    for name, value in values(first).items():
        np.testing.assert_array_equal(value, values(second)[name])
    second.save_cfg(tmp_path / "again.cfg")
    assert (tmp_path / "again.cfg").read_bytes() == (tmp_path / "saved.cfg").read_bytes()


def test_a_saved_cfg_keeps_sections_and_pairs_in_order(write: Write, tmp_path: Path) -> None:
    path = write("net inputs=4 batch=2", "gru tanh=1 output=4", "soft")
    parse_network_cfg(path).save_cfg(tmp_path / "saved.cfg")
    assert (tmp_path / "saved.cfg").read_text() == path.read_text()
    sections = parse_sections(read_cfg(tmp_path / "saved.cfg"), None, ignore_doubt)
    assert [s.type for s in sections] == ["net", "gru", "soft"]


def test_adam_over_frozen_layers_with_decay_is_a_doubt(
    write: Write, doubts: Callable[[], list[str]]
) -> None:
    layers = ("gru output=4", "connected output=4 stopbackward=1", "softmax")
    for free in ("decay=0 adam=1", "adam=0"):
        parse_network_cfg(write(f"net inputs=4 {free}", *layers))
    assert doubts() == []
    parse_network_cfg(write("net inputs=4 adam=1", *layers))
    (doubt,) = doubts()
    assert "moves the weights below to zero" in doubt


@pytest.mark.parametrize("first", ["NET", "Net", "gru", "yolo"])
def test_a_first_section_that_is_not_net_is_named_and_not_what_nobody_typed(
    write: Write, first: str
) -> None:
    """A command that runs with one stream sets [net] batch, which answered for it."""
    path = write(f"{first} inputs=4", "softmax")
    hint = " (did you mean 'net'?)" if first.lower() == "net" else ""
    message = f"{path}:1: the first section is [{first}]; expected [net]{hint}"
    for setting in ({"batch": 1, "time_steps": 1}, {"overrides": ["net.batch=2"]}, {}):
        with pytest.raises(CfgError) as error:
            parse_network_cfg(path, **setting)
        assert str(error.value) == message
    (found,) = check_cfg(path.read_bytes(), path, ["net.batch=2"]).findings
    assert message == f"{path}:{found.line}: {found.message}"


def test_a_cfg_of_images_alone_is_told_so_and_not_to_have_no_layers(write: Write) -> None:
    path = write("net inputs=4", "convolutional filters=3", "maxpool")
    found = check_cfg(path.read_bytes(), path).findings
    assert [f.message.partition(";")[0] for f in found] == [
        "[convolutional] works on images", "[maxpool] works on images",
    ]  # fmt: skip
