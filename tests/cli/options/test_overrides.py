"""`--set`: on every command that takes a cfg, for a type of section or for one layer, on record."""

from __future__ import annotations

import json
from pathlib import Path

import click
import numpy as np
import pytest

from minidark import load_network
from minidark.cli import COMMANDS, cli
from tests.cli.running import assert_refused, output, run
from tests.helpers import cfg

NO_CFG = {"init", "doctor", "run", "look", "report", "compare", "completion", "demo"}


@pytest.fixture(autouse=True)
def files(folder: Path) -> None:
    (folder / "a.cfg").write_text(cfg(
        "net inputs=256 batch=2 time_steps=4 max_batches=3", "gru output=4 tanh=1",
        "gru output=5 tanh=1", "connected output=256 activation=linear", "softmax",
    ))  # fmt: skip
    (folder / "text.txt").write_bytes(b"Some text, over and over. " * 50)


def outputs(*overrides: str) -> list[int]:
    args = [word for text in overrides for word in ("--set", text)]
    layers = json.loads(output("info", "a.cfg", "--json", *args))["layers"]
    return [layer["outputs"] for layer in layers]


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_that_takes_a_cfg_has_it(name: str) -> None:
    _, command, _ = cli.resolve_command(click.Context(cli), [name])
    assert command is not None
    names = {param.name for param in command.params}
    takes_a_cfg = bool(names & {"cfg", "cfgs", "a"}) or name == "rnn"
    assert takes_a_cfg or name in NO_CFG
    if takes_a_cfg:
        assert {"overrides", "strict", "weights_order"} <= names


WEIGHTLESS = {"compare", "diff", "gradcheck", "ops"}
SHOWING = {"info", "statistics"}


@pytest.mark.parametrize("name", sorted(COMMANDS.keys() - NO_CFG | {"look", "compare"}))
def test_a_command_shows_the_options_that_do_something_in_it(name: str) -> None:
    said = run(name, "--help").stdout
    assert ("--weights-order" in said) == (name not in WEIGHTLESS)
    assert ("--allow-other-cfg" in said) == (name not in WEIGHTLESS)
    assert ("--allow-nonfinite" in said) == (name not in WEIGHTLESS | SHOWING)


def test_weights_order_is_taken_without_weights_so_that_one_line_of_options_fits_all() -> None:
    assert output("ops", "a.cfg", "--weights-order", "alexey") == output("ops", "a.cfg")
    refused = run("ops", "a.cfg", "--allow-nonfinite")
    assert refused.exit_code == 2
    assert "No such option" in refused.stderr  # how the rest of it looks differs between clicks


def test_ops_counts_without_numbers(folder: Path) -> None:
    """Of what carries weights they are not read."""
    net = load_network("a.cfg", seed=1)
    net.save_weights("a.npz")
    counted = output("ops", "a.cfg")
    for parameter in net.parameters():
        parameter.value[:] = np.nan
    net.save_weights("a.npz")
    assert output("ops", "a.npz") == counted


def test_a_section_is_every_section_of_that_type_and_a_number_is_one_layer() -> None:
    assert outputs() == [4, 5, 256, 256]
    assert outputs("gru.output=7") == [7, 7, 256, 256]
    assert outputs("1.output=7") == [4, 7, 256, 256]
    assert outputs("gru.output=7", "0.output=8") == [8, 7, 256, 256]
    assert outputs("0.output=8", "gru.output=7") == [7, 7, 256, 256]  # the last one counts


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("4.output=3", "--set 4.output=3: no layer 4; this cfg's are 0 to 3"),
        ("99999999999999999999.output=3", "--set 99999999999999999999.output=3: no layer "
         "99999999999999999999; this cfg's are 0 to 3"),
        ("gruu.output=3", "--set gruu.output=3: no [gruu] in this cfg (did you mean 'gru'?)"),
        ("lstm.output=3", "--set lstm.output=3: no [lstm] in this cfg"),
        ("gru.output", "--set gru.output is not section.key=value"),
        ("gru.output=x", "a.cfg as overridden: output='x' is not an integer"),
    ],
)  # fmt: skip
def test_what_cannot_be_set_is_refused(text: str, said: str) -> None:
    assert_refused(run("info", "a.cfg", "--set", text), 3, said)


def test_a_key_that_is_not_known_is_warned_of_with_the_nearest() -> None:
    result = run("info", "a.cfg", "--set", "1.ouput=3")
    assert "a.cfg as overridden: unknown key 'ouput' in [gru] (did you mean 'output'?)" in (
        result.stderr
    )


def test_it_stands_in_run_json_and_batches_alone_does_not() -> None:
    run("train", "a.cfg", "text.txt", "--batches", "2", "--set", "1.output=3", "--set",
        "net.learning_rate=.5")  # fmt: skip
    recorded = json.loads(Path("backup/run.json").read_text())
    assert recorded["overrides"] == ["1.output=3", "net.learning_rate=.5"]
    assert recorded["cfg_values"][2]["output"] == 3
