"""`train --explain`: its figures are those of the run, and it leaves no trace."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import pytest

from minidark import Text, load_network, train
from minidark.cli.output.explained import duration, sparkline
from minidark.training import explain
from minidark.training.report import StepReport
from minidark.training.train import Training
from minidark.training.validation import validations
from tests.cli.running import output, run
from tests.helpers import cfg

LAYERS = ("gru output=6 tanh=1", "connected output=256 activation=linear", "softmax")
NET = "net inputs=256 batch=8 subdivisions=2 time_steps=5 learning_rate=.01 burn_in=4 power=1"
TEXT = b"The quick brown fox jumps over the lazy dog.\n" * 200


@pytest.fixture(autouse=True)
def files(folder: Path) -> None:
    (folder / "a.cfg").write_text(cfg(f"{NET} max_batches=300 policy=cosine adam=1", *LAYERS))
    (folder / "text.txt").write_bytes(TEXT)


def explained(*args: str) -> dict[str, Any]:
    shown: dict[str, Any] = json.loads(
        output("train", "a.cfg", "text.txt", "--seed", "1", "--explain", "--json", *args)
    )
    return shown


def test_sizes_are_the_networks_and_the_texts() -> None:
    facts = explained()
    net = load_network("a.cfg")
    parameters = sum(p.value.size for p in net.parameters())
    assert facts["parameters"] == parameters == 6 * 256 * 3 + 6 * 6 * 3 + 36 + 7 * 256
    assert facts["parameter_bytes"] == 4 * 4 * parameters  # beside a gradient two of Adam's
    assert facts["pass_bytes"] == 4 * (4 * 6 + 4 * 5 * (5 * 6 + 256))
    assert (facts["streams"], facts["time_steps"], facts["subdivisions"]) == (4, 5, 2)
    assert facts["characters_per_batch"] == 40
    assert facts["characters"] + int(0.05 * len(TEXT)) == len(TEXT)
    assert facts["epochs"] == pytest.approx(300 * 40 / facts["characters"])


def test_rates_and_validations_are_those_of_the_run() -> None:
    facts = explained("--batches", "210")
    net = load_network("a.cfg", seed=1, overrides=["net.max_batches=210"])
    with Text("text.txt", 256) as text:
        reports = [*train(net, text, 210, seed=1)]
    rates = {report.batch: report.rate for report in reports}
    assert facts["rates"] == {str(b): rates[b] for b in (1, 4, 106, 210)}
    assert facts["curve"][0] == rates[1]
    assert facts["curve"][-1] == rates[210]
    assert len(facts["curve"]) == explain.POINTS
    made = [report for report in reports if report.valid_loss is not None]
    assert facts["validations"] == len(made)
    assert facts["characters_validated"] == made[0].valid_symbols


@pytest.mark.parametrize(
    ("batches", "characters", "scored", "wanted"),
    [(300, 40, 300, 3), (301, 40, 300, 4), (300, 40, 0, 0), (1000, 40, 1000, 4), (99, 40, 300, 1),
     (0, 40, 300, 0)],
)  # fmt: skip
def test_validations_are_due_every_hundredth_batch_or_later(
    batches: int, characters: int, scored: int, wanted: int
) -> None:
    assert validations(batches, characters, scored) == wanted


def test_times_are_made_of_batches_and_validations() -> None:
    facts = explained()
    assert 0 < facts["seconds_per_batch"] < 10
    assert 0 < facts["seconds_per_validation"] < 60
    assert facts["seconds_training"] == pytest.approx(300 * facts["seconds_per_batch"])
    assert facts["seconds"] == pytest.approx(
        facts["seconds_training"] + facts["validations"] * facts["seconds_per_validation"]
    )
    assert facts["characters_per_second"] == pytest.approx(40 / facts["seconds_per_batch"])


@pytest.mark.parametrize(
    ("takes", "wanted"),
    [
        ([0.9, 0.1, 0.4, 0.2], [0.1, 0.4, 0.2]),  # the first, whose buffers are new, does not count
        ([4.0, 4.0, 4.0, 4.0], [4.0, 4.0]),
        ([11.0, 1.0, 1.0, 1.0], [11.0]),
    ],
)
def test_three_batches_are_timed_and_fewer_of_what_takes_long(
    takes: list[float], wanted: list[float], monkeypatch: pytest.MonkeyPatch
) -> None:
    now, left = [0.0], iter(takes)
    learn = Training._batch

    def learned(*args: Any) -> Any:
        now[0] += next(left)
        return learn(*args)

    with Text("text.txt", 256) as text:
        training = train(load_network("a.cfg"), text, 300, valid_fraction=0)
        monkeypatch.setattr("time.perf_counter", lambda: now[0])
        monkeypatch.setattr(Training, "_batch", learned)
        times, diverged = explain._seconds_of_batches(training, 40)
    assert times == pytest.approx(wanted)
    assert diverged is None


def test_what_takes_long_is_told_before(monkeypatch: pytest.MonkeyPatch) -> None:
    line = ["train", "a.cfg", "text.txt", "--explain", "--seed", "1"]
    assert run(*line).stderr == ""
    monkeypatch.setattr(explain, "NUMPY_RATE", 1e4)
    said = "minidark: timing a few batches, which takes a while with 6,544 parameters\n"
    assert run(*line).stderr == said


NORMED = (
    "net inputs=256 batch=16 time_steps=50 learning_rate=.1 max_batches=500",
    *3 * ("gru batch_normalize=1 output=10",),
    "connected output=256 activation=leaky",
    "softmax",
)


@pytest.mark.slow
def test_it_trains_the_batches_of_the_run(monkeypatch: pytest.MonkeyPatch) -> None:
    """Weights, streams, seed, groups of streams: with others it told of a divergence that the run
    does not have."""
    losses: list[float] = []
    step = Training.__next__

    def noted(training: Training) -> StepReport:
        report = step(training)
        losses.append(report.loss)
        return report

    Path("a.cfg").write_text(cfg(*NORMED))
    monkeypatch.setattr(Training, "__next__", noted)
    for way in (["--seed", "3"], ["--seed", "3", "--shards", "2"]):
        line = ["train", "a.cfg", "text.txt", "--batches", "4", *way]
        result = run(*line, "--explain", "--json")
        facts = json.loads(result.stdout)
        assert (result.stderr, facts["diverged"], facts["timed_batches"]) == ("", None, 3)
        shown = losses.copy()
        losses.clear()
        run(*line)
        assert shown == losses
        losses.clear()


@pytest.mark.parametrize(("rate", "scale", "batch"), [(0.1, 1e30, 1), (1e36, 1, 2)])
def test_it_tells_all_of_a_run_that_diverges_in_its_first_batches(
    rate: float, scale: float, batch: int
) -> None:
    net = f"net inputs=256 batch=4 time_steps=5 learning_rate={rate:g} max_batches=300"
    rnn = f"rnn output=6 activation=relu input_scale={scale:g}"
    Path("a.cfg").write_text(cfg(net, rnn, "connected output=256 activation=relu", "cost"))
    result = run("train", "a.cfg", "text.txt", "--seed", "1", "--explain", "--json")
    assert result.exit_code == 0
    facts = json.loads(result.stdout)
    assert facts["diverged"].startswith(f"batch {batch}: the loss is ")
    assert result.stderr == f"minidark: warning: {facts['diverged']}\n"
    assert facts["timed_batches"] == 1
    assert (facts["batches"], facts["rates"]["1"]) == (300, rate)
    assert facts["seconds_per_batch"] > 0
    assert facts["seconds_per_validation"] > 0
    assert run("train", "a.cfg", "text.txt", "--seed", "1").exit_code == 5


def hashes(folder: Path) -> dict[str, str]:
    return {
        str(p.relative_to(folder)): hashlib.sha256(p.read_bytes()).hexdigest()
        for p in folder.rglob("*")
        if p.is_file()
    }


def test_it_leaves_no_file_and_changes_none(folder: Path) -> None:
    before = hashes(folder)
    explained()
    assert hashes(folder) == before
    run("train", "a.cfg", "text.txt", "--batches", "12")
    before = hashes(folder)
    facts = explained("--weights", "backup/a_final.weights")
    assert (facts["batches"], facts["batches_seen"]) == (288, 12)
    assert next(iter(facts["rates"])) == "13"
    assert hashes(folder) == before


def test_of_a_run_that_goes_on_it_tells_what_is_left() -> None:
    line = ["train", "a.cfg", "text.txt", "--set", "net.policy=constant"]
    run(*line, "--batches", "12", "--seed", "7")
    more = [*line, "--resume", "auto", "--batches"]
    facts = json.loads(run(*more, "20", "--explain", "--json").stdout)
    assert (facts["batches"], facts["batches_seen"]) == (8, 12)
    over = run(*more, "12", "--explain")
    assert (over.exit_code, over.stdout) == (0, "")
    assert "this run is finished after 12 batches" in over.stderr


def test_it_is_told_in_eight_lines() -> None:
    shown = output("train", "a.cfg", "text.txt", "--explain").decode()
    lines = shown.splitlines()
    assert len(lines) == 8
    assert lines[2] == "a batch     40 characters: 4 streams of 5 steps, 2 passes"
    assert lines[3].startswith("the run     300 batches, 1.40 epochs of 8,550 characters")
    assert "0.0025 at 1, 0.01 at 4" in lines[5]


def test_a_rate_that_grows_beyond_numbers_is_null_in_json() -> None:
    facts = explained("--set", "net.policy=exp", "--set", "net.gamma=1e300")
    assert facts["rates"]["300"] is None
    assert facts["curve"][-1] is None


@pytest.mark.parametrize(
    ("seconds", "said"),
    [(0, "0 s"), (0.2, "1 s"), (59.4, "59 s"), (125, "2 min 5 s"), (120, "2 min"),
     (3840, "1 h 4 min"), (266_400, "3 d 2 h")],
)  # fmt: skip
def test_a_duration_is_told_in_two_units_at_most(seconds: float, said: str) -> None:
    assert duration(seconds) == said


def test_a_sparkline_is_as_high_as_its_values() -> None:
    assert sparkline([0, 1, 2, 7], True) == "▁▂▃█"
    assert sparkline([0, 7], False) == ".@"
    assert sparkline([0, 0], True) == "▁▁"
    assert sparkline([1, float("inf")], True) == "██"


def test_of_pairs_it_tells_what_the_run_does() -> None:
    """Batches of different lengths, whose mean it takes."""
    lines = [f"{n}\t{'ab' * (n % 9 + 1)}\n" for n in range(3000)]
    Path("pairs.tsv").write_text("".join(lines))
    options = ["--pairs", "--seed", "1", "--batches", "250", "--valid-fraction", ".2"]
    shape = ["--set", "net.time_steps=40", "--set", "gru.output=2"]
    line = ["train", "a.cfg", "pairs.tsv", *options, *shape]
    facts = json.loads(output(*line, "--explain", "--json"))
    shown = output(*line, "--explain").decode()
    result = run(*line)
    assert result.exit_code == 0, result.stderr
    log = [json.loads(text) for text in Path("backup/log.jsonl").read_text().splitlines()]
    validated = [entry for entry in log if "valid_loss" in entry]
    assert facts["pairs"] is True
    assert facts["epochs"] == pytest.approx(log[-1]["epochs"], rel=0.05)
    assert facts["validations"] == len(validated)
    assert facts["characters_validated"] == validated[0]["valid_symbols"]
    assert facts["seconds_per_validation"] > 0
    assert (
        f"about {facts['characters_per_batch']} characters of targets: 4 pairs of up to 40 steps"
        in (shown)
    )
    assert f"epochs of {facts['characters']:,} characters of targets\n" in shown
