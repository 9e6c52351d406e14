"""The log, `run.json` and the checkpoint that a run leaves in its folder."""

from __future__ import annotations

import errno
import hashlib
import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from minidark import DivergedError, MinidarkError, Network, Text, train
from minidark.data.tokens import TokenText
from minidark.errors import SaveError
from minidark.files import disk
from minidark.inference.generate import generate
from minidark.training.backups import Backups
from minidark.training.checkpoint import Checkpoint, newest_sound
from minidark.training.records import Records, log_line, read_run, sampled
from minidark.training.report import StepReport
from minidark.training.train import Training
from tests.faults import failing
from tests.helpers import network

NET = ("net inputs=4 batch=2 time_steps=5", "connected output=4 activation=linear", "softmax")


@pytest.fixture
def text(tmp_path: Path) -> Iterator[Text]:
    (tmp_path / "text").write_bytes(bytes([0, 1, 2, 3] * 500))
    with Text(tmp_path / "text", 4) as opened:
        yield opened


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "run").mkdir()
    return tmp_path / "run"


def start(text: Text, batches: int = 100, **keywords: Any) -> Training:
    return train(network(*NET, dtype="float32"), text, batches, valid_fraction=0.1, **keywords)


def follow(training: Training, records: Records, upto: int) -> None:
    for report in training:
        records.add(report)
        if report.batch == upto:
            return


def logged(folder: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (folder / "log.jsonl").read_text().splitlines()]


def batches(folder: Path) -> list[int]:
    return [line["batch"] for line in logged(folder)]


def without_times(folder: Path) -> list[dict[str, Any]]:
    return [{**line, "seconds": 0} for line in logged(folder)]


def test_the_log_has_every_tenth_batch_validations_and_the_last(text: Text, folder: Path) -> None:
    training = start(text, batches=205)
    follow(training, Records(training, folder, "a", "a.cfg"), 205)
    assert batches(folder) == [*range(10, 201, 10), 205]
    assert [line["batch"] for line in logged(folder) if "valid_loss" in line] == [200, 205]
    assert [*logged(folder)[0]] == [
        "batch", "loss", "average", "rate", "symbols", "epochs", "gradient_norms", "seconds",
    ]  # fmt: skip
    assert [line["batch"] for line in logged(folder) if "last" in line] == [205]


def test_a_line_has_the_figures_of_its_report() -> None:
    report = StepReport(
        batch=7, last=False, loss=1.25, average=1.5, rate=0.01, symbols=70, seconds=1.23456,
        epochs=0.5, valid_loss=1.75, valid_symbols=200, best=True,
        gradient_norms={"0.gru": 0.5, "1.connected": np.inf}, sample="To be",
    )  # fmt: skip
    assert log_line(report) == {
        "batch": 7, "loss": 1.25, "average": 1.5, "rate": 0.01, "symbols": 70, "epochs": 0.5,
        "valid_loss": 1.75, "valid_symbols": 200, "best": True,
        "gradient_norms": {"0.gru": 0.5, "1.connected": None}, "sample": "To be",
        "seconds": 1.235,
    }  # fmt: skip


def test_a_sample_is_drawn_every_500th_batch_and_after_the_last(tmp_path: Path) -> None:
    net = network("net inputs=100 batch=2 time_steps=5", "gru output=5", "conn output=100", "soft")
    training = training_of(net, tmp_path)
    text = generate(net, b"\n\n", 200, srand=500).decode().strip()
    for batch, last, expected in [(499, False, None), (500, False, text), (500, True, text)]:
        assert sampled(report_of(batch, last), training).sample == expected
    assert sampled(report_of(7, True), training).sample not in (None, text)
    net.parameters()[-1].value[...] = np.nan
    assert sampled(report_of(500, False), training).sample is None


def test_none_is_drawn_of_symbols_that_are_no_bytes(tmp_path: Path) -> None:
    net = network("net inputs=257 batch=2 time_steps=5", "connected output=257", "softmax")
    (tmp_path / "tokens").write_text("256 1 2 " * 9)
    training = train(net, TokenText(tmp_path / "tokens", net.inputs), 9, valid_fraction=0)
    assert sampled(report_of(500, True), training).sample is None


def test_none_is_drawn_from_outputs_that_are_no_probabilities(tmp_path: Path) -> None:
    net = network("net inputs=100 batch=2 time_steps=5", "connected output=100", "logistic")
    assert sampled(report_of(500, True), training_of(net, tmp_path)).sample is None


def training_of(net: Network, folder: Path) -> Training:
    (folder / "text").write_bytes(b"To be or not" * 9)
    with Text(folder / "text", net.inputs) as text:
        return train(net, text, 9, valid_fraction=0)


def report_of(batch: int, last: bool) -> StepReport:
    return StepReport(
        batch=batch, last=last, loss=1, average=1, rate=1, symbols=1, seconds=1, epochs=1
    )


def test_the_line_of_a_batch_that_diverged_is_cut_off_by_a_run_that_goes_on(
    text: Text, folder: Path
) -> None:
    training = start(text)
    records = Records(training, folder, "a", "a.cfg")
    follow(training, records, 20)
    records.save()
    training.net.parameters()[0].value[...] = np.nan
    with pytest.raises(DivergedError) as raised:
        follow(training, records, 30)
    records.add_diverged(raised.value)
    assert logged(folder)[2:] == [{"batch": 21, "diverged": str(raised.value)}]
    since = Checkpoint.read(folder / "a.ckpt")
    again = start(text, resume=since)
    Records(again, folder, "a", "a.cfg", resumed=since)
    assert batches(folder) == [10, 20]


@pytest.mark.parametrize(
    "torn", [b"", b'{"batch": 50, "lo', b"\xff\n", b"[]\n", b'{"batch": 1e9}\n']
)
def test_a_run_that_goes_on_cuts_off_what_comes_again(
    text: Text, folder: Path, tmp_path: Path, torn: bytes
) -> None:
    whole = start(text)
    follow(whole, Records(whole, folder, "a", "a.cfg"), 100)
    expected = without_times(folder)

    training = start(text)
    records = Records(training, folder, "a", "a.cfg")
    follow(training, records, 25)
    records.save()
    follow(training, records, 47)
    with open(folder / "log.jsonl", "ab") as file:
        file.write(torn)

    since = Checkpoint.read(folder / "a.ckpt")
    training = start(text, resume=since)
    records = Records(training, folder, "a", "a.cfg", resumed=since)
    assert batches(folder) == [10, 20]
    follow(training, records, 100)
    assert without_times(folder) == expected


def test_a_run_that_begins_replaces_the_log_of_another(text: Text, folder: Path) -> None:
    first = start(text)
    records = Records(first, folder, "a", "a.cfg")
    follow(first, records, 50)
    records.save()
    second = start(text)
    follow(second, Records(second, folder, "b", "b.cfg"), 20)
    assert batches(folder) == [10, 20]
    since = Checkpoint.read(folder / "a.ckpt")
    again = start(text, resume=since)
    follow(again, Records(again, folder, "a", "a.cfg", resumed=since), 70)
    assert batches(folder) == [60, 70]  # what stood there was the second's


def test_run_json_tells_what_was_run(text: Text, folder: Path, tmp_path: Path) -> None:
    training = start(text, seed=5, patience=9)
    Records(training, folder, "a", "cfg/a.cfg", ["minidark", "train"])
    run = read_run(folder)
    assert (run["command"], run["cfg"]) == (["minidark", "train"], "cfg/a.cfg")
    assert (run["seed"], run["valid_fraction"], run["batches"], run["patience"]) == (5, 0.1, 100, 9)
    (file,) = run["text"]
    sampled = hashlib.sha256((tmp_path / "text").read_bytes()).hexdigest()
    assert (file["size"], file["sampled"]) == (2000, sampled)
    assert [s["section"] for s in run["cfg_values"]] == ["net", "connected", "softmax"]
    assert (run["device"], run["dtype"], run["numpy"]) == ("cpu", "float32", np.__version__)
    assert run["resumed"] == []
    assert (run["parameters"], run["in_nats"]) == (4 * 4 + 4, True)


def test_run_json_keeps_its_beginning_and_adds_each_time_it_goes_on(
    text: Text, folder: Path
) -> None:
    training = start(text, seed=5)
    records = Records(training, folder, "a", "a.cfg", ["first"])
    for batch, command in [(10, "second"), (20, "third")]:
        follow(training, records, batch)
        records.save()
        since = Checkpoint.read(folder / "a.ckpt")
        training = start(text, 100 + batch, resume=since)
        records = Records(training, folder, "a", "a.cfg", [command], since)
    run = read_run(folder)
    assert (run["command"], run["seed"], run["batches"]) == (["first"], 5, 120)
    assert [(r["batch"], r["command"]) for r in run["resumed"]] == [
        (10, ["second"]), (20, ["third"]),
    ]  # fmt: skip


@pytest.mark.parametrize("data", [b"", b"{", b"[]", b'{"resumed": 1}', b"\xff", b"[" * 100_000])
def test_a_run_json_that_is_none_is_nothing(folder: Path, data: bytes) -> None:
    (folder / "run.json").write_bytes(data)
    assert read_run(folder) == {}


def test_a_damaged_checkpoint_does_not_take_the_place_of_the_sound_one_before(
    text: Text, folder: Path
) -> None:
    training = start(text)
    records = Records(training, folder, "a", "a.cfg")
    for batch in (10, 20):
        follow(training, records, batch)
        records.save()
    newest, before = folder / "a.ckpt", folder / "a.ckpt.prev"
    newest.write_bytes(newest.read_bytes()[:-1])

    _, since = newest_sound(newest)
    training = start(text, resume=since)
    records = Records(training, folder, "a", "a.cfg", resumed=since)
    for batch, kept in [(30, 10), (40, 30)]:
        follow(training, records, batch)
        records.save()
        assert (Checkpoint.read(newest).batch, Checkpoint.read(before).batch) == (batch, kept)


def test_weights_that_are_of_no_use_replace_no_checkpoint(text: Text, folder: Path) -> None:
    training = start(text)
    records = Records(training, folder, "a", "a.cfg")
    follow(training, records, 10)
    records.save()
    good = (folder / "a.ckpt").read_bytes()
    training.net.parameters()[0].value[...] = np.inf
    with pytest.raises(DivergedError, match=r"0\.connected\.biases contains NaN or infinity"):
        records.save()
    assert (folder / "a.ckpt").read_bytes() == good
    assert not (folder / "a.ckpt.prev").exists()


def test_a_line_that_does_not_fit_on_the_disk_comes_whole_with_the_next(
    text: Text, folder: Path
) -> None:
    resource = pytest.importorskip("resource", reason="this platform has no limits on files")
    training = start(text)
    records = Records(training, folder, "a", "a.cfg")
    follow(training, records, 19)
    report = next(training)
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    size = (folder / "log.jsonl").stat().st_size
    resource.setrlimit(resource.RLIMIT_FSIZE, (size + 20, hard))
    try:
        with pytest.raises(SaveError, match=r"log\.jsonl: cannot write: File too large$"):
            records.add(report)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert batches(folder) == [10]
    follow(training, records, 30)
    assert batches(folder) == [10, 20, 30]


def test_a_batch_without_a_line_is_no_success_of_the_log(
    text: Text, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    training = start(text)
    full = failing(lambda number, name: name == "write", errno.ENOSPC)

    def run() -> None:
        with Backups(training.net, folder, "a.cfg", training=training) as backups:
            monkeypatch.setattr(disk, "SYSTEM", full)
            for _ in range(12):
                backups.after(next(training))

    with pytest.raises(SaveError, match=rf"log\.jsonl: cannot write: {os.strerror(errno.ENOSPC)}$"):
        run()


def test_a_log_that_cannot_be_written_is_one_error(text: Text, folder: Path) -> None:
    (folder / "log.jsonl").mkdir()
    with pytest.raises(MinidarkError, match=r"log\.jsonl: cannot write: Is a directory"):
        Records(start(text), folder, "a", "a.cfg")


def test_run_json_tells_what_was_set_over_the_cfg(text: Text, folder: Path) -> None:
    Records(start(text), folder, "a", "a.cfg", overrides=["net.momentum=.5"])
    assert read_run(folder)["overrides"] == ["net.momentum=.5"]
