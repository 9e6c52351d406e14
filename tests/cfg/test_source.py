"""The cfg that `run.json` records: the text of it makes the same network."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from minidark import CfgError, parse_network_cfg
from minidark.cfg.source import RUN, read_source, recorded_text
from minidark.files.shipped import find_cfg, names
from minidark.network import Network
from minidark.training.same_run import cfg_values
from tests.helpers import cfg, network

UNUSUAL = cfg(
    "net height=2 width=2 channels=5 batch=6 subdivisions=2 time_steps=3 learning_rate=1e-9 "
    "policy=steps steps=10,20 scales=.5,.25 batchnorm=gpu average=.999 B1=.5 adam=1 burn_in=3",
    "gru output=6 tanh=1 reset_after=1 dontload=1 init=orthogonal update_bias=-.5",
    "rnn output=5 hidden=7 activation=leaky logistic=1 shortcut=1 batch_normalize=1",
    "attention heads=1 keys=5 output=20 over=source separator=3 memory=4 value=0",
    "connected output=20 activation=tanh stopbackward=1",
    "route layers=-1,1",
    "connected output=20 activation=linear",
    "softmax temperature=1.5 smoothing=.125 groups=1",
)


def record(folder: Path, values: object, **others: object) -> Path:
    (folder / RUN).write_text(json.dumps({"cfg": "a.cfg", "cfg_values": values, **others}))
    return folder / RUN


def recorded(folder: Path, path: Path, strict: bool = True) -> tuple[Network, Network]:
    """A cfg's network, and that of a record of its values."""
    first = parse_network_cfg(path, draw=False)
    values = json.loads(json.dumps(cfg_values(first)))
    return first, parse_network_cfg(record(folder, values), draw=False, strict=strict)


@pytest.mark.parametrize("name", names("cfg", ".cfg"))
def test_a_shipped_cfg_is_rebuilt_from_its_values(name: str, tmp_path: Path) -> None:
    first, second = recorded(tmp_path, find_cfg(name))
    assert second.layer_options == first.layer_options
    assert cfg_values(second) == cfg_values(first)


def test_unusual_values_are_rebuilt(tmp_path: Path) -> None:
    (tmp_path / "a.cfg").write_text(UNUSUAL)
    first, second = recorded(tmp_path, tmp_path / "a.cfg", strict=False)
    assert second.options == first.options
    assert second.layer_options == first.layer_options
    assert [(x.inputs, x.outputs) for x in second.layers] == [
        (x.inputs, x.outputs) for x in first.layers
    ]


def test_the_text_has_what_is_no_default() -> None:
    values: list[dict[str, Any]] = [
        {"section": "net", "batch": 1, "inputs": 5, "adam": True, "steps": [], "batchnorm": None},
        {"section": "connected", "output": 5, "activation": "linear", "dontsave": False},
    ]
    assert recorded_text(values) == (
        "[net]\ninputs=5\nadam=1\n\n[connected]\noutput=5\nactivation=linear\n"
    )


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "damaged, or not the record of a run: it is not JSON"),
        ("[" * 600, "damaged, or not the record of a run: it is not"),
        ("{}", "damaged, or not the record of a run: cfg is missing"),
        ('{"cfg": "a.cfg", "cfg_values": 3}', "cfg_values is 3; expected a list"),
        ('{"cfg": "a\\u0000", "cfg_values": []}', "expected the name of a file"),
        (
            '{"cfg": "a", "cfg_values": [{"section": "net", "inputs": 4}, {"section": "yolo"}]}',
            "[yolo] works on images",
        ),
        (
            '{"cfg": "a", "cfg_values": [{"section": "net", "inputs": 1.5}, {"section": "gru"}]}',
            "is not an integer",
        ),
    ],
)
def test_a_damaged_record_is_an_error_of_one_line(text: str, message: str, tmp_path: Path) -> None:
    (tmp_path / RUN).write_text(text)
    with pytest.raises(CfgError) as caught:
        parse_network_cfg(tmp_path / RUN)
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


def test_other_files_are_read_as_before(tmp_path: Path) -> None:
    (tmp_path / "a.cfg").write_text("[net]\n")
    assert read_source(tmp_path / "a.cfg") == b"[net]\n"


@pytest.mark.parametrize(("dropout", "recorded"), [("0", None), (".25", 0.25)])
def test_byte_pairs_without_dropout_are_recorded_as_before_there_was_any(
    dropout: str, recorded: float | None
) -> None:
    """So that older checkpoints can be resumed."""
    layers = "gru output=3", "connected output=259 activation=linear", "softmax"
    net = network("net inputs=259", f"bytepairs dropout={dropout}", *layers)
    assert cfg_values(net)[1].get("dropout") == recorded
