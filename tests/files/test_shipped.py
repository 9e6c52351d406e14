"""The cfgs and weights that travel with the package."""

from __future__ import annotations

from pathlib import Path

import pytest

from minidark import CfgError, load_network, parse_network_cfg
from minidark.files.shipped import as_typed, find_cfg, folder, names
from tests.shipped_cfgs import each_shipped_cfg, shipped_cfg

CFGS = names("cfg", ".cfg")
# Others have 256: bytes.
SYMBOLS = {"bytepairs": 2048, "bytepairs-long": 2048, "translate": 3072, "sentiment": 8192}


def test_the_cells_have_a_cfg_each() -> None:
    assert {"rnn", "gru", "lstm"} <= set(CFGS)
    assert len(CFGS) == len([p for p in folder("cfg").iterdir() if p.suffix == ".cfg"])


@each_shipped_cfg
def test_a_shipped_cfg_is_without_doubts_and_trains_on_bytes(
    name: str, units: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    net = parse_network_cfg(find_cfg(shipped_cfg(name, units)), strict=True)
    assert net.inputs == net.outputs == SYMBOLS.get(name.removesuffix(".cfg"), 256)
    assert net.layers[-1].type == "softmax"
    assert net.options.max_batches > 0


def test_the_shipped_weights_fit_the_cfg_of_their_name() -> None:
    found = names("weights", ".weights")
    assert "rnn" in found
    for name in found:
        path = folder("weights") / f"{name}.weights"
        assert load_network(find_cfg(name), path).seen > 0


@pytest.mark.parametrize("name", CFGS)
def test_a_bare_name_is_the_shipped_cfg(name: str) -> None:
    assert find_cfg(name) == folder("cfg") / f"{name}.cfg"


def test_a_file_of_that_name_comes_first(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "gru").write_text("[net]\n")
    assert find_cfg("gru") == Path("gru")
    assert find_cfg("lstm") == folder("cfg") / "lstm.cfg"


@pytest.mark.parametrize("name", ["./gru", "some/gru", "none.cfg", "../cfg/gru"])
def test_a_path_stays_a_path(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert find_cfg(name) == Path(name)


def test_a_bare_name_that_is_not_shipped_is_refused_with_those_that_are(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(CfgError) as error:
        find_cfg("lstn")
    known = ", ".join(CFGS)
    assert str(error.value) == (
        f"lstn: no such cfg; shipped cfgs are {known} (did you mean 'lstm'?)"
    )


@pytest.mark.parametrize("name", ["gru.cfg", "cfg/gru.cfg"])
def test_a_missing_file_of_a_shipped_name_is_told_of_the_bare_name(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(CfgError) as error:
        find_cfg(name)
    said = f"{name}: no such file; use the bare name gru for the shipped cfg"
    assert str(error.value) == said
    Path(name).parent.mkdir(exist_ok=True)
    Path(name).write_text("[net]\n")
    assert find_cfg(name) == Path(name)


def test_a_message_names_what_is_shipped_as_one_types_it() -> None:
    said = f"{find_cfg('gru-batchnorm')}:3: wrong, {find_cfg('gru')} as overridden, cfg/gru.cfg"
    assert as_typed(said) == "gru-batchnorm:3: wrong, gru as overridden, cfg/gru.cfg"


def test_a_folder_does_not_hide_a_shipped_cfg(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "gru").mkdir()
    assert find_cfg("gru") == folder("cfg") / "gru.cfg"


def test_the_names_are_without_ending_and_sorted() -> None:
    assert sorted(CFGS) == CFGS
    assert not any("." in name for name in CFGS)


def test_a_network_of_a_shipped_cfg_by_its_bare_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    net = load_network("rnn")
    assert net.layers[0].type == "gru"
    with pytest.raises(CfgError, match="no such cfg; shipped cfgs are"):
        load_network("rnnn")
