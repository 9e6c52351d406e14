"""The cfgs that are shipped train as they stand."""

from __future__ import annotations

import math
import pydoc_data.topics
from itertools import pairwise
from pathlib import Path

import pytest

import minidark
from minidark.files import shipped
from tests.shipped_cfgs import each_shipped_cfg, shipped_cfg

FOR_PAIRS = ("sentiment",)
MOST_ROWS = 20_000  # in a pass over a text; most pairs are shorter than time_steps
CFGS = shipped.names("cfg", ".cfg")


def trained(cfg: Path, folder: Path, batches: int) -> tuple[list[float], list[float]]:
    """Of a run over Python's documentation, as the demo's: the losses, and each as a share of what
    guessing among all symbols costs."""
    text = folder / "data.txt"
    text.write_text(
        "\n\n".join(map(pydoc_data.topics.topics.__getitem__, pydoc_data.topics.topics))
    )
    net = minidark.load_network(cfg, seed=1, strict=True)
    if net.options.rows > MOST_ROWS:
        pairs = minidark.Pairs(classified(text.read_text(), folder / "pairs.tsv"))
        steps = [*minidark.train(net, pairs, batches, seed=1, valid_fraction=0)]
        return [step.loss for step in steps], [step.loss / steps[0].loss for step in steps]
    with minidark.Text([text], net.inputs) as data:
        steps = [*minidark.train(net, data, batches, seed=1, valid_fraction=0)]
    guessed = math.log(net.outputs) * net.options.rows * net.options.subdivisions
    symbols = [b - a for a, b in pairwise([0, *(step.symbols for step in steps)])]
    shares = [step.loss * n / guessed for step, n in zip(steps, symbols, strict=True)]
    return [step.loss for step in steps], shares


def classified(text: str, path: Path) -> Path:
    """The lines of a text, also in capitals, as pairs with a class: whether they end a sentence."""
    lines = [line.strip() for line in (text + text.upper()).split("\n") if line.strip()]
    classes = ["end" if line.endswith(".") else "more" for line in lines]
    path.write_text("".join(f"{a}\t{b}\n" for a, b in zip(lines, classes, strict=True)))
    return path


@each_shipped_cfg
def test_a_shipped_cfg_has_no_doubts_and_trains(
    name: str, units: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    batches = 60 if name in FOR_PAIRS else 8  # few symbols count in each
    _, shares = trained(shipped.find_cfg(shipped_cfg(name, units)), tmp_path, batches)
    assert shares[0] == pytest.approx(1, rel=0.06)
    assert shares[-1] < shares[0]


@pytest.mark.long
@pytest.mark.timeout(600)
@pytest.mark.parametrize("name", [name for name in CFGS if name not in FOR_PAIRS])
def test_a_shipped_cfg_learns_words(name: str, tmp_path: Path) -> None:
    """Single letters alone are worth 3.1 nats a character, pairs of them 2.4."""
    losses, _ = trained(shipped.find_cfg(name), tmp_path, 400)
    assert sum(losses[-20:]) / 20 < 2.3
