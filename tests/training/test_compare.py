"""Comparisons: what is the same for all, and that each run is the one that `train` makes."""

from __future__ import annotations

import dataclasses
import json
import math
import statistics
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import pytest

from minidark import CfgError, DivergedError, Text, load_network, train
from minidark.backend import get_backend
from minidark.cfg.plan import Plan, plan_cfg
from minidark.errors import SaveError
from minidark.files import shipped
from minidark.training.compare import (
    Comparison,
    Outcome,
    candidates,
    comparison_facts,
    scaled,
    spread,
)
from minidark.training.records import Records
from minidark.training.report import StepReport
from minidark.training.train import Training
from tests.helpers import cfg

NET = "net inputs=128 batch=4 time_steps=5 learning_rate=.05 adam=1 policy=cosine max_batches=99"
OUT = ("connected output=128 activation=linear", "softmax")
CFGS = {
    "gru": (NET, "gru output=8 tanh=1", *OUT),
    "lstm": ("net inputs=128 batch=6 subdivisions=2 time_steps=9", "lstm output=4", *OUT),
    "rnn": (NET, "rnn output=5 hidden=7", "dropout", "rnn output=9", *OUT),
}


@pytest.fixture
def paths(tmp_path: Path) -> list[Path]:
    for name, sections in CFGS.items():
        (tmp_path / f"{name}.cfg").write_text(cfg(*sections))
    return [tmp_path / f"{name}.cfg" for name in CFGS]


@pytest.fixture
def text(tmp_path: Path) -> Iterator[Text]:
    (tmp_path / "text.txt").write_bytes(b"To be, or not to be, that is the question:\n" * 60)
    with Text(tmp_path / "text.txt", 128) as opened:
        yield opened


def compared(paths: list[Path], text: Text, **keywords: Any) -> Comparison:
    return Comparison(candidates(paths), text, get_backend(kernels="numpy"), 0.1, **keywords)


def always(*_: object) -> bool:
    return True


def plan_of(*sections: str) -> Plan:
    return plan_cfg(cfg(*sections).encode())


# --- as many parameters -------------------------------------------------------------------


def trained_numbers(path: Path) -> int:
    """Of a real network."""
    return sum(p.value.size for p in load_network(path, kernels="numpy").parameters())


EQUAL_WIDTHS = ("translate", "bytepairs-long")  # a [shortcut] adds, or a tied layer shares


@pytest.mark.parametrize(
    "parameters", [3000, 20_000, pytest.param(150_000, marks=pytest.mark.slow)]
)
@pytest.mark.parametrize("name", sorted({*shipped.names("cfg", ".cfg")} - {*EQUAL_WIDTHS}))
def test_no_neighbouring_width_comes_closer(name: str, parameters: int, tmp_path: Path) -> None:
    """Counted in networks that are made."""
    (found,) = candidates([shipped.find_cfg(name)], parameters=parameters)
    net = found.network(0, get_backend(kernels="numpy"), 10)
    counted = sum(p.value.size for p in net.parameters())
    assert counted == found.plan.trained
    for more in (-1, 1):
        wide = tmp_path / "wide.cfg"
        net.save_cfg(wide)
        widths = [str(width) for width in found.widths]
        lines = wide.read_text().splitlines()
        other = [
            f"output={int(line[7:]) + more}" if line[7:] in widths and int(line[7:]) > 1 else line
            for line in lines
        ]
        wide.write_text("\n".join(other))
        assert abs(counted - parameters) <= abs(trained_numbers(wide) - parameters)


def test_widths_that_a_shortcut_adds_cannot_differ() -> None:
    with pytest.raises(CfgError, match=r"cannot be scaled to 3,000 parameters.*\[shortcut\] adds"):
        candidates([shipped.find_cfg("translate")], parameters=3000)


def test_all_come_to_the_first_ones_count(paths: list[Path]) -> None:
    paths[0].write_text(cfg(NET, "gru output=60 tanh=1", *OUT))
    first, *others = candidates(paths)
    assert (first.widths, first.plan.trained) == ([60], trained_numbers(paths[0]))
    for other in others:
        assert other.plan.trained == pytest.approx(first.plan.trained, rel=0.02)


def test_widths_keep_their_proportions_and_hidden_is_one() -> None:
    sections = (NET, "rnn output=50 hidden=70", "gru output=90", *OUT)
    plan = scaled(plan_of(*sections), None, 100_000)
    (output, hidden, second) = (
        int(plan.sections[at].pairs[key].value)
        for at, key in [(1, "output"), (1, "hidden"), (2, "output")]
    )
    assert output / hidden == pytest.approx(50 / 70, rel=0.02)
    assert output / second == pytest.approx(50 / 90, rel=0.02)
    assert plan.trained == pytest.approx(100_000, rel=0.02)


def test_a_last_layer_keeps_as_many_outputs_as_there_are_symbols() -> None:
    plan = scaled(plan_of(NET, "gru output=9", "lstm output=128", "softmax"), None, 90_000)
    assert plan.sections[2].pairs["output"].value == "128"
    assert plan.trained == pytest.approx(90_000, rel=0.02)


@pytest.mark.parametrize(
    ("sections", "parameters", "message"),
    [
        ((NET, *OUT), 9, "no recurrent width to scale from 16,512 towards 9 parameters"),
        ((NET, "gru output=128", "softmax"), 9, "no recurrent width to scale"),
        (CFGS["gru"], 10**15, "parameters need widths beyond 1,048,576"),
        (CFGS["gru"], 10**12, "GiB to train"),
    ],
)
def test_what_cannot_be_scaled_is_an_error(
    sections: tuple[str, ...], parameters: int, message: str
) -> None:
    with pytest.raises(CfgError, match=f"^a.cfg.*{message}"):
        scaled(plan_of(*sections), "a.cfg", parameters)


# --- all else alike -----------------------------------------------------------------------


def test_all_have_the_first_ones_streams_and_their_own_rest(paths: list[Path]) -> None:
    nets = [c.network(3, get_backend(kernels="numpy"), 70) for c in candidates(paths)]
    for net in nets:
        o = net.options
        assert (o.batch, o.subdivisions, o.time_steps, o.max_batches) == (4, 1, 5, 70)
    assert [net.options.learning_rate for net in nets] == [0.05, 0.001, 0.05]
    assert [net.options.adam for net in nets] == [True, False, True]


def test_with_a_seed_all_read_the_same_symbols(
    paths: list[Path], text: Text, monkeypatch: pytest.MonkeyPatch
) -> None:
    read: dict[tuple[str, int], list[Any]] = {}
    key = ("", 0)
    original = Text.read

    def watched(self: Text, start: int, stop: int) -> Any:
        read.setdefault(key, []).append((start, stop))
        return original(self, start, stop)

    def follow(candidate: Any, seed: int, report: StepReport) -> bool:
        nonlocal key
        following = iter([(n, s) for s in (1, 2) for n in CFGS])
        for now in following:
            if now == key and report.last:
                key = next(following, ("", 0))
                break
        return True

    key = ("gru", 1)
    monkeypatch.setattr(Text, "read", watched)
    assert len([*compared(paths, text).runs([1, 2], [30] * 3, follow)]) == 6
    for seed in (1, 2):
        assert read["gru", seed] == read["lstm", seed] == read["rnn", seed]
    assert read["gru", 1] != read["gru", 2]


def test_an_outcome_is_what_train_gives(paths: list[Path], text: Text) -> None:
    outcomes = [*compared(paths[:1], text).runs([7], [40], always)]
    net = load_network(paths[0], seed=7, overrides=["net.max_batches=40"], kernels="numpy")
    reports = [*train(net, text, 40, seed=7, valid_fraction=0.1)]
    (outcome,) = outcomes
    assert reports[-1].valid_loss is not None
    assert outcome.last_bits == outcome.bits == reports[-1].valid_loss / math.log(2)
    assert (outcome.batches, outcome.symbols) == (40, 40 * 20)
    assert [r.loss for r in outcome.reports] == [r.loss for r in reports[9::10]]
    assert outcome.sample


def test_a_run_that_is_kept_can_be_repeated_by_its_command(
    paths: list[Path], text: Text, tmp_path: Path
) -> None:
    comparison = compared(paths, text, folder=tmp_path / "runs", patience=5)
    assert len([*comparison.runs([2], [20] * 3, always)]) == 3
    for name in CFGS:
        folder = tmp_path / "runs" / f"{name}-seed2"
        kept = json.loads((folder / "run.json").read_text())
        words = kept["command"]
        given = dict(zip(words[4::2], words[5::2], strict=True))
        assert words[:4] == ["minidark", "train", str(folder / f"{name}.cfg"), text_path(text)]
        assert given == {
            "--backup": str(folder), "--batches": "20", "--seed": "2", "--valid-fraction": "0.1",
            "--patience": "5", "--device": "cpu", "--kernels": "numpy",
        }  # fmt: skip
        net = load_network(words[2], seed=2, kernels="numpy")
        for _ in train(net, text, 20, seed=2, valid_fraction=0.1, patience=5):
            pass
        net.save_weights(tmp_path / "again.weights")
        final = folder / f"{name}_final.weights"
        assert final.read_bytes() == (tmp_path / "again.weights").read_bytes()


def text_path(text: Text) -> str:
    return text.identity().files[0].path


def test_where_it_is_stopped_what_is_finished_stays(paths: list[Path], text: Text) -> None:
    def follow(candidate: Any, seed: int, report: StepReport) -> bool:
        return (candidate.name, seed, report.batch) != ("lstm", 2, 7)

    outcomes = [*compared(paths, text).runs([1, 2], [10] * 3, follow)]
    assert [(o.name, o.seed) for o in outcomes] == [
        ("gru", 1), ("lstm", 1), ("rnn", 1), ("gru", 2),
    ]  # fmt: skip


def test_one_that_diverges_is_an_outcome(paths: list[Path], text: Text, tmp_path: Path) -> None:
    net = "net inputs=128 batch=4 time_steps=5 learning_rate=1e38"
    paths[0].write_text(cfg(net, *CFGS["gru"][1:]))
    comparison = compared(paths, text, folder=tmp_path / "runs")
    outcomes = [*comparison.runs([1], [30] * 3, always)]
    assert [o.diverged is None for o in outcomes] == [False, True, True]
    assert (outcomes[0].bits, outcomes[0].last_bits, outcomes[0].sample) == (None, None, None)
    last = (tmp_path / "runs" / "gru-seed1" / "log.jsonl").read_text().splitlines()[-1]
    assert json.loads(last)["diverged"] == outcomes[0].diverged


def test_one_that_diverges_on_a_disk_that_fails_says_so(
    paths: list[Path], text: Text, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    net = "net inputs=128 batch=4 time_steps=5 learning_rate=1e38"
    paths[0].write_text(cfg(net, *CFGS["gru"][1:]))
    monkeypatch.setattr(Records, "add_diverged", full)
    runs = compared(paths, text, folder=tmp_path / "runs").runs([1], [30] * 3, always)
    with pytest.raises(SaveError, match=r"log\.jsonl"):
        next(runs)


def full(records: Records, error: DivergedError) -> None:
    raise SaveError(f"{records.log.path}: cannot write: No space left on device")


def let_batches_take(durations: Iterable[float], monkeypatch: pytest.MonkeyPatch) -> None:
    """One batch after another, of whichever run."""
    left, original = iter(durations), Training.__next__

    def timed(training: Training) -> StepReport:
        return dataclasses.replace(original(training), took=next(left))

    monkeypatch.setattr(Training, "__next__", timed)


def test_seconds_are_as_many_batches_as_fit(
    paths: list[Path], text: Text, monkeypatch: pytest.MonkeyPatch
) -> None:
    shares = [0.5, 0.75, 1.25, 1.5]  # of the middling duration, which the warm-up would raise
    round_ = [middle * share for middle in (0.5, 0.25, 0.125) for share in shares]
    let_batches_take([70] * 12 + 4 * round_, monkeypatch)
    assert compared(paths, text).batches_in(10) == [20, 40, 80]


def test_speed_is_that_of_the_middling_batch_without_validations(
    paths: list[Path], text: Text, monkeypatch: pytest.MonkeyPatch
) -> None:
    let_batches_take([9, 0.25, 0.25, 0.125, 0.5, 700], monkeypatch)
    (outcome,) = compared(paths[:1], text).runs([1], [6], always)
    assert outcome.speed == 20 / 0.25
    assert outcome.seconds == 9 + 0.25 + 0.25 + 0.125 + 0.5


def test_a_cost_that_is_not_bits_is_an_error(paths: list[Path], text: Text) -> None:
    paths[1].write_text(cfg(NET, "lstm output=4", OUT[0], "logistic"))
    comparison = compared(paths, text)
    with pytest.raises(CfgError, match=r"lstm\.cfg: does not end in a plain \[softmax\]"):
        comparison.candidates[1].network(0, comparison.backend, 1)


def test_names_are_each_ones_own(tmp_path: Path) -> None:
    paths = [tmp_path / name for name in ("a/gru.cfg", "b/gru.cfg", "gru-1.cfg", "lstm.cfg")]
    for path in paths:
        path.parent.mkdir(exist_ok=True)
        path.write_text(cfg(*CFGS["gru"]))
    assert [c.name for c in candidates(paths)] == ["gru-2", "gru-3", "gru-1", "lstm"]


# --- what is told -------------------------------------------------------------------------


def test_the_facts_are_means_over_seeds_without_those_that_diverged(
    paths: list[Path], text: Text
) -> None:
    comparison = compared(paths, text)

    def outcome(name: str, seed: int, bits: float | None, speed: float = 1.0) -> Outcome:
        diverged = None if bits else "batch 1: the loss is nan"
        return Outcome(name, seed, 1, 20, 1.0, speed, bits, bits, None, diverged)

    outcomes = [
        outcome("gru", 1, 2.0, 5.0), outcome("gru", 2, 2.5, 7.0), outcome("gru", 3, None, 6.0),
        outcome("lstm", 1, 3.0),
    ]  # fmt: skip
    gru, lstm, rnn = comparison_facts(comparison, outcomes, None)["cfgs"]
    assert (gru["bits_per_character"], gru["bits_deviation"]) == (2.25, statistics.stdev([2, 2.5]))
    assert gru["characters_per_second"] == 6.0
    assert (lstm["bits_per_character"], lstm["bits_deviation"]) == (3.0, None)
    assert (rnn["bits_per_character"], rnn["runs"]) == (None, [])
    assert [r["seed"] for r in gru["runs"]] == [1, 2, 3]
    assert json.dumps(comparison_facts(comparison, outcomes, 2.0), allow_nan=False)


def test_memory_is_at_least_what_the_arrays_take(paths: list[Path], text: Text) -> None:
    comparison = compared(paths, text)
    for candidate in comparison.candidates:
        net = candidate.network(0, comparison.backend, 1)
        adam = 2 if net.options.adam else 1
        arrays = sum(p.value.nbytes * (2 + adam) for p in net.parameters())
        assert arrays < candidate.needed_bytes(4) < 2 * arrays + 4 * 20 * 1000


def test_spread_is_mean_and_standard_deviation() -> None:
    assert spread([1.0]) == (1.0, None)
    assert [*spread([1.0, 2.0, 4.0])] == pytest.approx([7 / 3, 1.5275252])
