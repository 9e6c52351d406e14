"""`minidark init`: a cfg that trains as it stands, and a file that is not written over."""

from __future__ import annotations

import json
import pydoc_data.topics
from pathlib import Path

import pytest

import minidark
from minidark.cfg.presets import PRESETS
from minidark.files import shipped
from tests.cli.running import assert_wrong_usage, output, run
from tests.shipped_cfgs import FULL, WIDTHS, narrowed

TOPICS = "\n\n".join(text for _, text in sorted(pydoc_data.topics.topics.items()))


def losses(
    preset: str, folder: Path, batches: int, *overrides: str, units: int = FULL
) -> list[float]:
    """Of training on Python's documentation, from the file that `init` writes."""
    output("init", "--preset", preset, "-o", "my.cfg")
    Path("my.cfg").write_text(narrowed(Path("my.cfg").read_text(), units))
    (folder / "data.txt").write_text(TOPICS)
    net = minidark.load_network("my.cfg", seed=1, strict=True, overrides=overrides)
    with minidark.Text(["data.txt"], net.inputs) as text:
        return [step.loss for step in minidark.train(net, text, batches, seed=1, valid_fraction=0)]


@pytest.mark.parametrize("units", WIDTHS)
@pytest.mark.parametrize("preset", PRESETS)
def test_every_preset_trains_as_it_stands(preset: str, units: int, folder: Path) -> None:
    few = 2 if preset == "large" else 3
    found = losses(preset, folder, few, "net.burn_in=0", "net.batch=8", units=units)
    assert len(found) == few
    assert found[-1] < found[0] == pytest.approx(5.55, rel=0.06)  # log 256: nothing known yet


@pytest.mark.long
@pytest.mark.timeout(900)
@pytest.mark.parametrize("preset", PRESETS)
def test_every_preset_learns_more_than_letters(preset: str, folder: Path) -> None:
    """Single letters alone are worth 3.1 nats a character."""
    found = losses(preset, folder, 400)
    assert sum(found[-20:]) / 20 < 2.5


def test_every_preset_passes_check_without_a_doubt(folder: Path) -> None:
    for preset in PRESETS:
        (folder / "my.cfg").write_bytes(output("init", "--preset", preset))
        output("check", "my.cfg", "--strict")


TWINS = {  # preset: the shipped cfg that it names or describes, and how they differ
    "small": ("rnn", ["clip_norm"]), "lstm": ("lstm", []), "rnn-vanilla": ("rnn-vanilla", []),
    "darknet": ("gru-batchnorm", []),
}  # fmt: skip


@pytest.mark.parametrize("preset", TWINS)
def test_a_preset_is_the_shipped_cfg_that_it_seems(preset: str) -> None:
    twin, differs = TWINS[preset]
    output("init", "--preset", preset, "-o", "my.cfg")
    found = json.loads(output("diff", twin, "my.cfg", "--json"))
    assert [change["key"] for change in found["net"]] == differs
    assert found["layers"] == []


def test_no_preset_bears_the_name_of_another_network() -> None:
    assert {*PRESETS} & {*shipped.names("cfg", ".cfg")} == {"lstm", "rnn-vanilla"}


def test_it_goes_to_standard_output_or_to_a_file() -> None:
    shown = output("init", "--preset", "tiny")
    assert output("init", "--preset", "tiny", "-o", "my.cfg") == b""
    assert Path("my.cfg").read_bytes() == shown
    assert b"[gru]" in shown


def test_a_file_that_is_there_is_written_over_only_by_force() -> None:
    Path("my.cfg").write_text("mine")
    refused = run("init", "-o", "my.cfg")
    assert_wrong_usage(refused, "my.cfg already exists; --force overwrites it")
    assert Path("my.cfg").read_text() == "mine"
    output("init", "-o", "my.cfg", "--force")
    assert Path("my.cfg").read_bytes() == output("init")


def test_an_unknown_preset_is_told_which_there_are() -> None:
    result = run("init", "--preset", "lstn")
    assert result.exit_code == 2
    assert all(f"'{name}'" in result.stderr for name in PRESETS)


def test_the_help_lists_the_presets() -> None:
    shown = output("init", "--help").decode()
    assert all(f"{name}  " in shown and preset.says in shown for name, preset in PRESETS.items())


def test_a_name_alone_is_told_how_to_be_written() -> None:
    said = "init takes no argument; use `minidark init -o my.cfg`"
    assert_wrong_usage(run("init", "my.cfg"), said)
    assert not Path("my.cfg").exists()
