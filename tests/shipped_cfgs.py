"""The shipped cfgs as tests read them: with 16 units in `make test`, as wide as they are in
`make test-all`."""

from __future__ import annotations

import re
import shutil
from pathlib import Path

import pytest

from minidark import load_network
from minidark.files.shipped import find_cfg, folder, names

NARROW, FULL = 16, 0
RECURRENT_WIDTH = re.compile(r"^(\[(?:gru|lstm|rnn)\].*\noutput=)\d+\b", re.MULTILINE)
EVERY_WIDTH = re.compile(r"^(output=)\d+\b", re.MULTILINE)

each_shipped_cfg = pytest.mark.parametrize(
    ("name", "units"),
    [
        pytest.param(name, units, id=f"{name}{suffix}", marks=marks)
        for name in names("cfg", ".cfg")
        for units, suffix, marks in ((NARROW, "", ()), (FULL, " at full width", pytest.mark.slow))
    ],
)


WIDTHS = [NARROW, pytest.param(FULL, marks=pytest.mark.slow)]


def narrowed(text: str, units: int) -> str:
    """A cfg whose recurrent layers have so many units, or for FULL as many as they had. If a
    [shortcut] adds outputs, all layers have."""
    if units == FULL:
        return text
    widths = EVERY_WIDTH if "[shortcut]" in text else RECURRENT_WIDTH
    found, count = widths.subn(rf"\g<1>{units}", text)
    assert count
    return found


def shipped_cfg(name: str, units: int) -> str:
    """The bare name for FULL, or else a file in the working folder whose recurrent layers have so
    many units."""
    if units == FULL:
        return name
    Path("narrow.cfg").write_text(narrowed(find_cfg(name).read_text(), units))
    return "narrow.cfg"


@pytest.fixture(
    params=[
        pytest.param(NARROW, id="narrow"),
        pytest.param(FULL, id="full width", marks=pytest.mark.slow),
    ]
)
def shipped_files(
    request: pytest.FixtureRequest,
    tmp_path_factory: pytest.TempPathFactory,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The bare names of what is shipped name narrow networks, and then those that are shipped."""
    if request.param == FULL:
        return
    home = tmp_path_factory.mktemp("shipped")
    for kind in ("cfg", "weights"):
        (home / kind).mkdir()
    for name in names("cfg", ".cfg"):
        text = narrowed(find_cfg(name).read_text(), request.param)
        (home / "cfg" / f"{name}.cfg").write_text(text)
    for name in names("weights", ".weights"):
        net = load_network(home / "cfg" / f"{name}.cfg", seed=1)
        net.save_weights(home / "weights" / f"{name}.weights")
    shutil.copytree(folder("texts"), home / "texts")
    monkeypatch.setattr("minidark.files.shipped.folder", lambda kind: home / kind)
