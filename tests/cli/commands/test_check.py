"""`minidark check`: what it prints in each format, and its exit codes."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from minidark import load_network
from minidark.data.text import looks_like_utf16
from tests.cli.running import output, run
from tests.helpers import cfg

NET = "net inputs=256 batch=4 time_steps=3 max_batches=9 learning_rate=.01"
LAYERS = ("gru output=4 tanh=1", "connected output=256 activation=linear", "softmax")


@pytest.fixture(autouse=True)
def files(folder: Path) -> None:
    """A sound cfg with weights, one to doubt and one that is wrong."""
    (folder / "a.cfg").write_text(cfg(NET, *LAYERS))
    (folder / "doubt.cfg").write_text(cfg(NET, "gru output=4", *LAYERS[1:]))
    (folder / "wrong.cfg").write_text(cfg(NET, "gru output=x", "gruu", *LAYERS[1:]))
    load_network("a.cfg", seed=1).save_weights("a.weights")


def test_mistakes_are_3_and_doubts_0_and_with_strict_3() -> None:
    assert [run("check", name).exit_code for name in ("a.cfg", "doubt.cfg", "wrong.cfg")] == [
        0, 0, 3,
    ]  # fmt: skip
    assert run("check", "doubt.cfg", "--strict").exit_code == 3
    assert run("check", "a.cfg", "--strict").exit_code == 0


def test_findings_stand_on_standard_output_and_their_number_on_standard_error() -> None:
    result = run("check", "wrong.cfg")
    assert result.stdout.splitlines() == [
        "wrong.cfg:9: error: output='x' is not an integer [E002 wrong-value]",
        "wrong.cfg:11: error: unknown section [gruu] (did you mean 'gru'?) [E002 wrong-value]",
    ]
    assert result.stderr == "minidark: wrong.cfg: 2 mistakes, no warnings\n"
    assert run("check", "wrong.cfg", "--quiet").stdout == result.stdout
    (line,) = run("check", "doubt.cfg").stdout.splitlines()
    assert line == (
        "doubt.cfg:8: warning: [gru] without tanh=1 has logistic candidates, which are all "
        "positive; add tanh=1, or tanh=0 if intended [W101 logistic-candidate]"
    )


def test_a_gru_that_resets_after_the_product_should_have_tanh(folder: Path) -> None:
    text = (folder / "doubt.cfg").read_text().replace("[gru]", "[gru]\nreset_after=1")
    (folder / "after.cfg").write_text(text)
    (line,) = run("check", "after.cfg").stdout.splitlines()
    assert "; nn.GRU, which reset_after=1 follows, has tanh; add tanh=1" in line


def test_json_is_one_object() -> None:
    shown = json.loads(output("check", "doubt.cfg", "--json"))
    assert shown == json.loads(output("check", "doubt.cfg", "--format", "json"))
    (finding,) = shown["findings"]
    assert (shown["mistakes"], shown["warnings"], shown["cfg"]) == (0, 1, "doubt.cfg")
    assert (finding["file"], finding["line"], finding["code"]) == ("doubt.cfg", 8, "W101")


def test_github_reads_annotations_with_its_escapes(folder: Path) -> None:
    (folder / "a,b:c.cfg").write_text(cfg(NET, "gru output=100%", *LAYERS[1:]))
    result = run("check", "a,b:c.cfg", "--format", "github")
    assert result.stdout == (
        "::error file=a%2Cb%3Ac.cfg,line=9,title=E002 wrong-value::output='100%25' is not an "
        "integer\n"
    )


def test_weights_that_fit_tell_what_they_are() -> None:
    result = run("check", "a.cfg", "a.weights")
    assert result.exit_code == 0
    assert result.stdout == (
        "weights: version 0.2.0 (pjreddie's darknet since June 2017, or minidark), pjreddie's "
        "order of arrays, 0 rows seen\n"
    )
    shown = json.loads(output("check", "a.cfg", "a.weights", "--json"))
    assert (shown["weights"]["order"], shown["weights"]["not_finite"]) == ("pjreddie", 0)


def test_a_doubt_is_told_once_with_weights_too(folder: Path) -> None:
    (folder / "doubt.cfg").write_text((folder / "a.cfg").read_text() + "temprature=1\n")
    result = run("check", "doubt.cfg", "a.weights")
    assert (result.stdout + result.stderr).count("temprature") == 1
    assert run("check", "doubt.cfg", "a.weights", "--strict").exit_code == 3


def test_weights_that_do_not_fit_are_4_and_tell_what_would() -> None:
    result = run("check", "a.cfg", "a.weights", "--set", "gru.output=5")
    assert result.exit_code == 4
    assert "a.weights: error: layer 1.connected.weights is" in result.stdout
    assert "this would fit: output=4 in [gru]" in result.stdout
    missing = run("check", "a.cfg", "none.weights")
    assert missing.exit_code == 4
    assert missing.stdout.startswith("none.weights: error: cannot read: ")


def test_weights_with_nan_are_4_unless_allowed(folder: Path) -> None:
    net = load_network("a.cfg", seed=1)
    next(p for p in net.parameters() if p.name == "0.gru.wz.weights").value[0, :2] = np.nan
    net.save_weights("nan.weights")
    result = run("check", "a.cfg", "nan.weights")
    assert result.exit_code == 4
    assert "2 numbers are NaN or infinite, the first in 0.gru.wz.weights" in result.stdout
    assert run("check", "a.cfg", "nan.weights", "--allow-nonfinite").exit_code == 0


def test_weights_are_not_looked_at_where_the_cfg_is_wrong() -> None:
    result = run("check", "wrong.cfg", "none.weights")
    assert result.exit_code == 3
    assert "none.weights" not in result.stdout


def test_max_batches_is_compared_with_the_text(folder: Path) -> None:
    (folder / "data.txt").write_bytes(b"x" * 50_000)
    assert "W402" in run("check", "a.cfg", "--data", "data.txt").stdout
    assert "W402" not in run("check", "a.cfg", "--set", "net.max_batches=900", "--data",
                             "data.txt").stdout  # fmt: skip


@pytest.mark.parametrize("coding", ["utf-16", "utf-16-le", "utf-16-be"])
def test_a_text_that_looks_like_utf_16_is_a_warning(coding: str) -> None:
    Path("data.txt").write_bytes(("The quick brown fox\n" * 2000).encode(coding))
    result = run("check", "a.cfg", "--data", "data.txt", "--strict")
    assert result.exit_code == 3
    assert "the text looks like UTF-16, but would be read byte by byte" in result.stdout
    assert "[W404 utf-16-text]" in result.stdout


@pytest.mark.parametrize(
    "data", [b"", b"\0", b"\0" * 999, b"\0\1" * 99, b"a\0b" * 999, "한국어".encode() * 99]
)
def test_other_texts_do_not_look_like_utf_16(data: bytes) -> None:
    Path("data.txt").write_bytes(data)
    assert not looks_like_utf16("data.txt")


def test_a_cfg_that_is_missing_is_3() -> None:
    assert run("check", "none.cfg").exit_code == 3


def test_hundreds_of_findings_are_cut(folder: Path) -> None:
    (folder / "many.cfg").write_text("[net]\ninputs=4\n" + "x\n" * 1000)
    lines = run("check", "many.cfg").stdout.splitlines()
    assert len(lines) == 201
    assert lines[-1] == "many.cfg: and 801 more"


def test_a_text_is_told_to_be_no_cfg_by_its_first_line_alone() -> None:
    Path("text.txt").write_text("\n# a remark\nIt was the best of times,\n" * 300)
    result = run("check", "text.txt")
    assert result.exit_code == 3
    said = "text.txt:3: error: 'It was the best of times,' is not key=value [E001 not-a-cfg]\n"
    assert result.stdout == said
