"""What a section's values may be, and what they are where nothing is said."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest

from minidark.cfg import options as o
from minidark.cfg.keys import read_options
from minidark.cfg.sections import parse_sections
from minidark.errors import CfgError

Doubts = list[tuple[str, int]]


def read(cls: type[Any], *pairs: str) -> tuple[Any, Doubts]:
    """The options of a section whose first key stands on line 2."""
    doubts: Doubts = []

    def hear(message: str, line: int) -> None:
        doubts.append((message, line))

    text = "\n".join(["[gru]", *pairs])
    (section,) = parse_sections(text.encode(), "a.cfg", hear)
    return read_options(cls, section, "a.cfg", hear), doubts


NET_DEFAULTS = {
    "batch": 1, "subdivisions": 1, "time_steps": 1, "learning_rate": 0.001, "momentum": 0.9,
    "decay": 0.0001, "max_batches": 0, "adam": False, "B1": 0.9, "B2": 0.999, "eps": 1e-7,
    "policy": "constant", "step": 1, "scale": 1.0, "gamma": 1.0, "power": 4.0, "burn_in": 0,
    "clip_norm": 0.0, "steps": (), "scales": (), "inputs": 0, "height": 0, "width": 0,
    "channels": 0, "average": 0.0, "batchnorm": None,
}  # fmt: skip
LAYER_DEFAULTS = {
    "learning_rate": 1.0, "stopbackward": False, "dontload": False, "dontsave": False,
    "dontloadscales": False, "onlyforward": False, "truth": False, "smooth": 0.0, "numload": 0,
}  # fmt: skip
DEFAULTS: list[tuple[type[Any], dict[str, Any]]] = [
    (o.GruOptions, {"output": 1, "batch_normalize": False, "tanh": False, "init": "darknet",
                    "update_bias": 0.0, "input_scale": 1.0, "dropconnect": 0.0,
                    "reset_after": False}),
    (o.LstmOptions, {"output": 1, "batch_normalize": False, "init": "darknet",
                     "forget_bias": 0.0, "input_scale": 1.0, "dropconnect": 0.0}),
    (o.RnnOptions, {"output": 1, "hidden": None, "activation": "logistic", "shortcut": False,
                    "batch_normalize": False, "logistic": 0, "elman": False,
                    "init": "darknet", "input_scale": 1.0, "dropconnect": 0.0}),
    (o.ConnectedOptions, {"output": 1, "activation": "logistic", "batch_normalize": False,
                          "tied": None, "input_scale": 1.0}),
    (o.SoftmaxOptions, {"groups": 1, "temperature": 1.0, "noloss": False,
                       "smoothing": 0.0}),
    (o.DropoutOptions, {"probability": 0.5}),
    (o.ActivationOptions, {"activation": "linear"}),
    (o.BatchnormOptions, {}),
    (o.LogisticOptions, {}),
    (o.CostOptions, {"type": "sse", "scale": 1.0}),
    (o.RouteOptions, {"layers": ()}),
    (o.ShortcutOptions, {"from_": None, "activation": "linear"}),
    (o.BytepairsOptions, {"dropout": 0.0}),
]  # fmt: skip


def test_net_has_darknets_defaults() -> None:
    assert dataclasses.asdict(read(o.NetOptions)[0]) == NET_DEFAULTS


@pytest.mark.parametrize(("cls", "defaults"), DEFAULTS)
def test_every_layer_has_darknets_defaults(cls: type[Any], defaults: dict[str, Any]) -> None:
    options, doubts = read(cls)
    assert dataclasses.asdict(options) == LAYER_DEFAULTS | defaults
    assert doubts == []


@pytest.mark.parametrize(
    ("cls", "pair", "value"),
    [
        (o.NetOptions, "batch=64", 64),
        (o.NetOptions, "batch=+64", 64),
        (o.NetOptions, "batch=0064", 64),
        (o.NetOptions, "batch=2147483647", 2**31 - 1),
        (o.NetOptions, "learning_rate=.5", 0.5),
        (o.NetOptions, "learning_rate=5.", 5.0),
        (o.NetOptions, "learning_rate=1e-3", 0.001),
        (o.NetOptions, "learning_rate=+2.5E+2", 250.0),
        (o.NetOptions, "learning_rate=1e-400", None),
        (o.NetOptions, "learning_rate=0", 0.0),
        (o.NetOptions, "gamma=-1.5", -1.5),
        (o.NetOptions, "momentum=1", 1.0),
        (o.NetOptions, "adam=1", True),
        (o.NetOptions, "adam=0", False),
        (o.NetOptions, "policy=cosine", "cosine"),
        (o.NetOptions, "steps=10, 200,3000", (10, 200, 3000)),
        (o.NetOptions, "scales=.1,2,1e-2", (0.1, 2.0, 0.01)),
        (o.RnnOptions, "hidden=12", 12),
        (o.NetOptions, f"batch={'0' * 5000}12", 12),
        (o.GruOptions, "update_bias=-00", -0.0),
        (o.RnnOptions, "logistic=2", 2),
        (o.CostOptions, "type=L1", "L1"),
        (o.GruOptions, "update_bias=-1", -1.0),
        (o.DropoutOptions, "probability=0", 0.0),
    ],
)
def test_a_value_is_read(cls: type[Any], pair: str, value: Any) -> None:
    options, doubts = read(cls, pair)
    got = getattr(options, pair.partition("=")[0])
    assert got == (0.0 if value is None else value)
    assert type(got) is type(0.0 if value is None else value)
    assert doubts == []


@pytest.mark.parametrize(
    "text",
    ["64x", "abc", "1_000", "٦٤", "６４", "1e3", "64.0", "0x40", "--1", "+", "nan", "inf"],  # noqa: RUF001
)  # fmt: skip
def test_what_is_no_integer_is_refused(text: str) -> None:
    with pytest.raises(CfgError) as error:
        read(o.NetOptions, "", f"batch={text}")
    assert str(error.value) == f"a.cfg:3: batch='{text}' is not an integer"


@pytest.mark.parametrize("text", ["2147483648", "-2147483648", "99999999999", "9" * 4400])
def test_what_c_has_no_int_for_is_refused_in_a_short_line(text: str) -> None:
    with pytest.raises(CfgError) as error:
        read(o.NetOptions, "", f"batch={text}")
    said = f"'{text}'" if len(text) < 20 else f"'{text[:36]}..."
    assert str(error.value) == f"a.cfg:3: batch={said} is beyond 2147483647, darknet's largest int"


@pytest.mark.parametrize(
    "text", ["64x", "abc", "1_0.0", "٦٤", "nan", "inf", "-inf", "infinity", "1e400", "1e9999", ".",
             "e5", "1.2.3", "1,5", "0x1p3", "1e", "--1"],
)  # fmt: skip
def test_what_is_no_finite_number_is_refused(text: str) -> None:
    with pytest.raises(CfgError) as error:
        read(o.NetOptions, f"learning_rate={text}")
    assert str(error.value) == f"a.cfg:2: learning_rate='{text}' is not a number"


@pytest.mark.parametrize(("key", "kind"), [("decay", "a number"), ("adam", "0 or 1")])
def test_thousands_of_digits_are_refused_in_a_short_line(key: str, kind: str) -> None:
    with pytest.raises(CfgError) as error:
        read(o.NetOptions, f"{key}={'9' * 4400}")
    assert str(error.value) == f"a.cfg:2: {key}='{'9' * 36}... is not {kind}"


@pytest.mark.parametrize("text", ["2", "-1", "true", "yes", "1.0", "01"])
def test_a_flag_is_0_or_1(text: str) -> None:
    with pytest.raises(CfgError) as error:
        read(o.NetOptions, f"adam={text}")
    assert str(error.value) == f"a.cfg:2: adam='{text}' is not 0 or 1"


@pytest.mark.parametrize(
    ("cls", "pair", "complaint"),
    [
        (o.NetOptions, "batch=0", "batch='0' is less than 1"),
        (o.NetOptions, "batch=-4", "batch='-4' is less than 1"),
        (o.NetOptions, "subdivisions=0", "subdivisions='0' is less than 1"),
        (o.NetOptions, "time_steps=0", "time_steps='0' is less than 1"),
        (o.NetOptions, "inputs=-1", "inputs='-1' is less than 0"),
        (o.NetOptions, "max_batches=-1", "max_batches='-1' is less than 0"),
        (o.NetOptions, "burn_in=-1", "burn_in='-1' is less than 0"),
        (o.NetOptions, "step=0", "step='0' is less than 1"),
        (o.NetOptions, "learning_rate=-.1", "learning_rate='-.1' is less than 0"),
        (o.NetOptions, "momentum=1.1", "momentum='1.1' is more than 1"),
        (o.NetOptions, "decay=-1", "decay='-1' is less than 0"),
        (o.NetOptions, "B1=1", "B1='1' is not less than 1"),
        (o.NetOptions, "B2=1.5", "B2='1.5' is not less than 1"),
        (o.NetOptions, "eps=0", "eps='0' is not above 0"),
        (o.NetOptions, "clip_norm=-1", "clip_norm='-1' is less than 0"),
        (o.NetOptions, "steps=20,10", "steps='20,10' is not in ascending order"),
        (o.NetOptions, "steps=10,10", "steps='10,10' is not in ascending order"),
        (o.NetOptions, "steps=10,x", "steps='x' is not an integer"),
        (o.NetOptions, "steps=10,", "steps='' is not an integer"),
        (o.NetOptions, "scales=.1,,.1", "scales='' is not a number"),
        (
            o.NetOptions,
            "policy=stepz",
            "policy='stepz' is not one of constant, step, steps, exp, poly, sigmoid, random, "
            "cosine (did you mean 'step'?)",
        ),
        (
            o.NetOptions,
            "policy=Q",
            "policy='Q' is not one of constant, step, steps, exp, poly, sigmoid, random, cosine",
        ),
        (o.GruOptions, "output=0", "output='0' is less than 1"),
        (o.GruOptions, "output=64x", "output='64x' is not an integer"),
        (o.GruOptions, "learning_rate=-1", "learning_rate='-1' is less than 0"),
        (o.RnnOptions, "hidden=0", "hidden='0' is less than 1"),
        (o.RnnOptions, "logistic=3", "logistic='3' is more than 2"),
        (o.SoftmaxOptions, "groups=0", "groups='0' is less than 1"),
        (o.SoftmaxOptions, "temperature=0", "temperature='0' is less than 1e-06"),
        (o.DropoutOptions, "probability=1", "probability='1' is not less than 1"),
        (o.DropoutOptions, "probability=-.1", "probability='-.1' is less than 0"),
        (o.CostOptions, "scale=-1", "scale='-1' is less than 0"),
    ],
)  # fmt: skip
def test_a_value_out_of_range_is_refused_at_its_line(
    cls: type[Any], pair: str, complaint: str
) -> None:
    with pytest.raises(CfgError) as error:
        read(cls, "", "", pair)
    assert str(error.value) == f"a.cfg:4: {complaint}"


@pytest.mark.parametrize(
    ("pair", "message"),
    [
        ("ouput=8", "unknown key 'ouput' in [gru] (did you mean 'output'?)"),
        ("Tanh=1", "unknown key 'Tanh' in [gru] (did you mean 'tanh'?)"),
        ("hidden=8", "unknown key 'hidden' in [gru]"),
        ("zzzz=not even a number", "unknown key 'zzzz' in [gru]"),
    ],
)
def test_an_unknown_key_is_a_doubt_with_the_nearest_known_one(pair: str, message: str) -> None:
    options, doubts = read(o.GruOptions, "output=5", pair)
    assert doubts == [(message, 3)]
    assert options == o.GruOptions(output=5)


@pytest.mark.parametrize("key", ["onlyforward", "truth", "smooth", "numload"])
def test_a_key_without_effect_is_a_doubt_and_is_checked_all_the_same(key: str) -> None:
    options, doubts = read(o.GruOptions, f"{key}=1")
    assert doubts == [(f"{key} has no effect on [gru]", 2)]
    assert getattr(options, key) == 1
    with pytest.raises(CfgError, match=f"^a.cfg:2: {key}='x' is not "):
        read(o.GruOptions, f"{key}=x")


def test_streams_and_rows_follow_from_batch_subdivisions_and_time_steps() -> None:
    net = o.NetOptions(batch=12, subdivisions=3, time_steps=5)
    assert (net.streams, net.rows) == (4, 20)


@pytest.mark.parametrize(
    ("pairs", "inputs"),
    [
        ({"inputs": 7}, 7),
        ({"height": 2, "width": 3, "channels": 5}, 30),
        ({"inputs": 7, "height": 2, "width": 3, "channels": 5}, 7),
        ({"height": 2, "width": 3}, 0),
    ],
)
def test_inputs_are_given_or_are_height_times_width_times_channels(
    pairs: dict[str, int], inputs: int
) -> None:
    assert o.NetOptions(**pairs).row_inputs == inputs  # type: ignore[arg-type]
