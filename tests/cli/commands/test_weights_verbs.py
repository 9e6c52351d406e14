"""The commands over weight files: average, partial, denormalize, statistics, ops, info."""

from __future__ import annotations

import json
import math
import struct
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from minidark import Network, load_network, load_weights
from tests.cli.running import NORMED, assert_refused, assert_wrong_usage, output, run
from tests.helpers import cfg, randomize

GRU, LSTM, LAST = 3 * 6 * (20 + 6 + 2 * 4), 4 * 5 * (6 + 5 + 2), 20 * (5 + 4)


def make(seed: int, seen: int = 0) -> Network:
    net = load_network("a.cfg", dtype="float64")
    randomize(net.layers, seed)
    net.seen = seen
    return net


@pytest.fixture(autouse=True)
def files(folder: Path) -> None:
    """a.cfg, and three files of weights of it that have seen 100, 200 and 300 rows."""
    (folder / "a.cfg").write_text(NORMED)
    for n in (1, 2, 3):
        make(n, 100 * n).save_weights(f"{n}.weights")


def floats(path: str) -> list[float]:
    return np.frombuffer(Path(path).read_bytes()[20:], "<f4").tolist()


def strict_json(data: bytes) -> Any:
    """JSON as the standard has it: without NaN and Infinity."""

    def refuse(name: str) -> None:
        raise AssertionError(f"{name} is not JSON")

    return json.loads(data, parse_constant=refuse)


# --- average ------------------------------------------------------------------------------


def test_average_writes_the_mean_of_every_number() -> None:
    assert output("average", "a.cfg", "mean.weights", "1.weights", "2.weights", "3.weights") == b""
    wanted = np.mean([floats(f"{n}.weights") for n in (1, 2, 3)], axis=0).astype(np.float32)
    assert floats("mean.weights") == wanted.tolist()
    assert Path("mean.weights").read_bytes()[:20] == struct.pack("<3iQ", 0, 2, 0, 300)


def test_the_average_of_one_is_that_file() -> None:
    output("average", "a.cfg", "mean.weights", "2.weights")
    assert Path("mean.weights").read_bytes() == Path("2.weights").read_bytes()


def test_average_needs_weights() -> None:
    assert_wrong_usage(run("average", "a.cfg", "x"), "Missing argument 'WEIGHTS...'.")
    missing = "none: cannot read: No such file or directory"
    assert_refused(run("average", "a.cfg", "x", "1.weights", "none"), 4, missing)
    assert not Path("x").exists()


def test_average_writes_over_no_file_that_it_was_given() -> None:
    before = Path("1.weights").read_bytes()
    said = "1.weights is an input of this command; write to another file"
    assert_wrong_usage(run("average", "a.cfg", "1.weights", "2.weights", "1.weights"), said)
    said = "1.weights already exists, and 2.weights is the only weight file: OUT comes first"
    assert_wrong_usage(run("average", "a.cfg", "1.weights", "2.weights"), said)
    assert Path("1.weights").read_bytes() == before


# --- join ---------------------------------------------------------------------------------


def test_join_writes_a_network_and_its_cfg() -> None:
    Path("b.cfg").write_text(cfg("net inputs=20", "gru output=6", "connected output=20 "
                                 "activation=linear", "softmax"))  # fmt: skip
    nets = []
    for name in ("x", "y"):
        nets.append(load_network("b.cfg", seed=ord(name)))
        nets[-1].save_weights(f"{name}.weights")
    words = ("join", "b.cfg", "both.weights", "x.weights", "y.weights")
    assert output(*words, "--set", "softmax.temperature=2") == b""
    both = load_network("both.cfg", "both.weights")
    assert [layer.outputs for layer in both.layers] == [12, 20, 20]
    logs = [np.log(net.predict(np.arange(20))) for net in nets]
    mean = np.exp(sum(logs) / 4)
    mean /= mean.sum(axis=1, keepdims=True)
    np.testing.assert_allclose(both.predict(np.arange(20)), mean, rtol=1e-5)
    Path("both.weights").unlink()
    assert output(*words, "--out-cfg", "other.cfg") == b""
    assert "temperature" in Path("both.cfg").read_text()
    assert "temperature" not in Path("other.cfg").read_text()


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ("1.weights 2.weights 3.weights", "1.weights already exists; OUT and its cfg must be "
         "new files"),
        ("1.weights 2.weights", "2.weights is a single network; OUT comes first, then two or more"),
        ("b.weights 1.weights 2.weights",
         "b.cfg already exists; OUT and its cfg must be new files"),
        ("c.weights 1.weights 2.weights --out-cfg a.cfg",
         "a.cfg already exists; OUT and its cfg must be new files"),
        ("/dev/stdout 1.weights 2.weights", "/dev/stdout already exists; OUT and its cfg must be "
         "new files"),
    ],
)  # fmt: skip
def test_join_writes_over_none_of_what_there_is(words: str, message: str) -> None:
    Path("b.cfg").write_text("of another network")
    before = {path.name: path.read_bytes() for path in Path().iterdir()}
    assert_wrong_usage(run("join", "a.cfg", *words.split()), message)
    assert {path.name: path.read_bytes() for path in Path().iterdir()} == before


# --- partial ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("layers", "count"),
    [(1, GRU), (2, GRU), (3, GRU + LSTM), (4, GRU + LSTM + LAST), (5, GRU + LSTM + LAST)],
)
def test_partial_keeps_the_first_layers_and_counts_anew(layers: int, count: int) -> None:
    assert output("partial", "a.cfg", "2.weights", "part.weights", str(layers)) == b""
    whole, part = Path("2.weights").read_bytes(), Path("part.weights").read_bytes()
    assert part == struct.pack("<3iQ", 0, 2, 0, 0) + whole[20 : 20 + 4 * count]
    assert load_weights(load_network("a.cfg"), "part.weights", cutoff=layers).seen == 0


@pytest.mark.parametrize(("layers", "code"), [("0", 2), ("-1", 2), ("two", 2), ("6", 4)])
def test_layers_that_are_not_there_cannot_be_kept(layers: str, code: int) -> None:
    result = run("partial", "a.cfg", "2.weights", "part.weights", "--", layers)
    assert result.exit_code == code
    said = "6 layers are too many; the network has 5" if code == 4 else layers
    assert said in result.stderr
    assert not Path("part.weights").exists()


# --- denormalize --------------------------------------------------------------------------


def test_denormalize_writes_weights_and_a_cfg_that_predict_the_same() -> None:
    out = output("denormalize", "a.cfg", "2.weights", "flat.weights", "--out-cfg", "flat.cfg")
    assert out == b""
    flat = load_network("flat.cfg", "flat.weights", strict=True)
    assert {a.kind for layer in flat.layers for a in layer.stored_arrays()} == {"biases", "weights"}
    assert flat.seen == 200
    x = np.random.default_rng(0).integers(0, 20, (9, 2))
    wanted = load_network("a.cfg", "2.weights", dtype="float64").predict(x)
    np.testing.assert_allclose(flat.predict(x), wanted, rtol=1e-5, atol=1e-6)


def test_without_out_cfg_the_weights_fit_the_cfg_with_batch_normalize_0() -> None:
    output("denormalize", "a.cfg", "2.weights", "flat.weights")
    assert sorted(p.name for p in Path().iterdir()) == [
        "1.weights", "2.weights", "3.weights", "a.cfg", "flat.weights",
    ]  # fmt: skip
    off = [f"{kind}.batch_normalize=0" for kind in ("gru", "connected")]
    load_network("a.cfg", "flat.weights", overrides=off)


# --- statistics ---------------------------------------------------------------------------


def test_statistics_are_of_every_array_in_the_file() -> None:
    rows = strict_json(output("statistics", "a.cfg", "2.weights", "--json"))
    arrays = [a for layer in make(2).layers for a in layer.arrays()]
    assert [row["name"] for row in rows] == [a.name for a in arrays]
    for row, array in zip(rows, arrays, strict=True):
        value = array.value.astype(np.float32).astype(np.float64)
        assert row["shape"] == list(value.shape)
        assert row["mean"] == pytest.approx(value.mean(), abs=1e-9)
        assert row["spread"] == pytest.approx(value.std(), abs=1e-9)
        assert row["mean_square"] == pytest.approx((value**2).mean(), abs=1e-9)
        assert (row["least"], row["most"]) == (value.min(), value.max())
        assert row["not_finite"] == 0


def test_statistics_print_a_row_for_each_array() -> None:
    lines = output("statistics", "a.cfg", "2.weights").decode().splitlines()
    rows = strict_json(output("statistics", "a.cfg", "2.weights", "--json"))
    assert len(lines) == 1 + len(rows)
    for line, row in zip(lines[1:], rows, strict=True):
        figures = [row[key] for key in ("mean", "spread", "mean_square", "least", "most")]
        shape = "x".join(map(str, row["shape"]))
        cells = [row["name"], shape, *(f"{figure:.3g}" for figure in figures)]
        assert line.replace(" x ", "x").split() == cells


def test_numbers_that_are_none_are_counted_and_left_out() -> None:
    net = make(2)
    first, *_, last = net.parameters()
    first.value[...] = [math.nan, math.inf, -math.inf, 2, 4, 6]
    last.value[...] = math.nan
    net.save_weights("odd.weights")
    rows = strict_json(output("statistics", "a.cfg", "odd.weights", "--json"))
    by_name = {row["name"]: row for row in rows}
    assert (by_name[first.name]["mean"], by_name[first.name]["not_finite"]) == (4, 3)
    assert (by_name[last.name]["mean"], by_name[last.name]["not_finite"]) == (None, 20)
    lines = output("statistics", "a.cfg", "odd.weights").decode().splitlines()
    (line,) = (line for line in lines if line.startswith(f"{last.name} "))
    assert line.split()[-6:] == ["-"] * 5 + ["20"]


# --- ops ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("layers", "weights"),
    [
        (("gru output=8",), 3 * 8 * (20 + 8)),
        (("lstm output=8",), 4 * 8 * (20 + 8)),
        (("rnn output=8",), 8 * 20 + 8 * 8 + 8 * 8),
        (("rnn output=8 hidden=5",), 5 * 20 + 5 * 5 + 8 * 5),
        (("connected output=8", "softmax"), 8 * 20),
        (("gru output=8 batch_normalize=1", "connected output=5"), 3 * 8 * 28 + 40),
    ],
)
def test_ops_are_two_for_each_weight(layers: tuple[str, ...], weights: int) -> None:
    Path("b.cfg").write_text(cfg("net inputs=20 batch=3 time_steps=7", *layers))
    lines = output("ops", "b.cfg").decode().splitlines()
    assert lines == [
        f"Floating Point Operations: {2 * weights}",
        f"Floating Point Operations: {2 * weights / 1e9:.2f} Bn",
    ]
    assert strict_json(output("ops", "b.cfg", "--json")) == {"operations": 2 * weights}


# --- info ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("version", "program"),
    [
        ((0, 2, 0), "pjreddie's darknet since June 2017, or minidark"),
        ((0, 2, 5), "AlexeyAB's darknet or hank-ai's"),
        ((0, 1, 0), "a darknet before June 2017, or an older one of AlexeyAB's"),
        ((0, 1001, 0), "an old darknet, transposed"),
        ((1001, 0, 0), "an old darknet, transposed"),
        ((1, 0, 0), "unknown to minidark"),
        ((0, 2, 3), "unknown to minidark"),
    ],
)
def test_info_tells_which_program_wrote_a_file(version: tuple[int, int, int], program: str) -> None:
    wide = 10 * version[0] + version[1] >= 2 and max(version) < 1000
    data = Path("1.weights").read_bytes()
    Path("x.weights").write_bytes(struct.pack("<3iQ" if wide else "<3iI", *version, 5) + data[20:])
    facts = strict_json(output("info", "a.cfg", "x.weights", "--json"))["weights"]
    told = ".".join(map(str, version))
    assert (facts["version"], facts["program"]) == (told, program)
    shown = output("info", "a.cfg", "x.weights").decode()
    assert f"these weights: version {told} ({program}), " in shown


def test_info_has_the_statistics_of_every_array() -> None:
    facts = strict_json(output("info", "a.cfg", "2.weights", "--json"))
    assert facts["arrays"] == strict_json(output("statistics", "a.cfg", "2.weights", "--json"))
    assert "arrays" not in strict_json(output("info", "a.cfg", "--json"))
    shown = output("info", "a.cfg", "2.weights").decode()
    assert shown.endswith(output("statistics", "a.cfg", "2.weights").decode())


HINTED = [
    ["info", "b.cfg", "1.weights"],
    ["statistics", "b.cfg", "1.weights"],
    ["partial", "b.cfg", "1.weights", "x", "1"],
    ["denormalize", "b.cfg", "1.weights", "x"],
]


@pytest.mark.parametrize("args", HINTED, ids=[args[0] for args in HINTED])
def test_weights_that_do_not_fit_are_told_what_would(args: list[str]) -> None:
    Path("b.cfg").write_text(NORMED.replace("output=6", "output=9"))
    result = run(*args)
    assert (result.exit_code, result.stdout) == (4, "")
    (line,) = result.stderr.splitlines()
    assert line.startswith("minidark: error: 1.weights: layer ")
    hint = line.partition("; this would fit: ")[2]
    assert "output=6 in [gru]" in hint.split(", or ")


# --- what darknet has and minidark has not -------------------------------------------------


@pytest.mark.parametrize("verb", ["reset", "rescale", "speed", "oneoff", "visualize", "detector"])
def test_darknets_other_verbs_are_no_commands(verb: str) -> None:
    result = run(verb, "a.cfg", "1.weights")
    assert (result.exit_code, result.stdout) == (2, "")
    assert f"No such command '{verb}'" in result.stderr
