"""What TensorBoard is told, read back by TensorBoard's own reader."""

from __future__ import annotations

import dataclasses
import errno
import json
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from minidark import BackendError, Text, train
from minidark.errors import SaveError
from minidark.training.backups import Backups
from minidark.training.checkpoint import Checkpoint
from minidark.training.events import Events
from minidark.training.records import sampled
from tests.helpers import network

pytest.importorskip("tensorboard", reason="needs the extra tensorboard")

LAYERS = ("gru output=4", "connected output=100 activation=linear", "softmax")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "run"


def run(folder: Path, upto: int, batches: int = 520, resume: bool = False) -> None:
    """Train with all records, from the beginning or from the checkpoint, and end after `upto`."""
    text = folder.parent / "text"
    text.write_bytes(bytes([*range(32, 90)]) * 40)
    net = network("net inputs=100 batch=2 time_steps=5", *LAYERS, dtype="float32")
    since = Checkpoint.read(folder / "a.ckpt") if resume else None
    with Text(text, 100) as opened:
        training = train(net, opened, batches, valid_fraction=0.1, resume=since)
        with Backups(
            net, folder, "a.cfg", training=training, resumed=since, tensorboard=True
        ) as backups:
            for report in training:
                backups.after(sampled(report, training))
                if report.batch == upto:
                    break


def read(folder: Path) -> Any:
    accumulator = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
    events = accumulator.EventAccumulator(str(folder / "tensorboard"))
    events.Reload()
    return events


def scalars(events: Any, tag: str) -> dict[int, float]:
    found = {event.step: event.value for event in events.Scalars(tag)}
    assert [*found] == [event.step for event in events.Scalars(tag)]  # none comes twice
    return found


TAGS: dict[str, Callable[[dict[str, Any]], float | None]] = {  # by a line of the log
    "loss/batch": lambda line: line["loss"],
    "loss/average": lambda line: line["average"],
    "loss/validation": lambda line: line.get("valid_loss"),
    "rate": lambda line: line["rate"],
    "gradient_norm/0.gru": lambda line: line["gradient_norms"]["0.gru"],
    "gradient_norm/1.connected": lambda line: line["gradient_norms"]["1.connected"],
}


def assert_as_logged(folder: Path) -> Any:
    lines = [json.loads(line) for line in (folder / "log.jsonl").read_text().splitlines()]
    events = read(folder)
    for tag, figure in TAGS.items():
        wanted = {x["batch"]: figure(x) for x in lines if figure(x) is not None}
        assert scalars(events, tag) == pytest.approx(wanted, rel=1e-6), tag
    samples = {x["batch"]: x["sample"] for x in lines if "sample" in x}
    shown = {
        event.step: event.tensor_proto.string_val[0].decode() for event in events.Tensors("sample")
    }
    assert samples
    assert shown.keys() == samples.keys()
    for batch, text in shown.items():
        unindented = [line.removeprefix("    ") for line in text.splitlines()]
        assert unindented == samples[batch].splitlines()
    return events


def test_it_is_what_the_log_says(folder: Path) -> None:
    run(folder, 520)
    events = assert_as_logged(folder)
    assert [*scalars(events, "rate")] == [*range(10, 521, 10)]
    metadata = events.SummaryMetadata("sample")
    assert metadata.plugin_data.plugin_name == "text"


def test_speed_is_that_since_the_line_before(folder: Path) -> None:
    run(folder, 30)
    lines = [json.loads(line) for line in (folder / "log.jsonl").read_text().splitlines()]
    found = scalars(read(folder), "characters_per_second")
    elapsed = lines[2]["seconds"] - lines[1]["seconds"]  # to a millisecond
    assert 100 / (elapsed + 0.001) <= found[30] * 1.0001
    assert elapsed <= 0.001 or found[30] <= 1.0001 * 100 / (elapsed - 0.001)


def test_the_first_speed_of_a_run_that_goes_on_is_of_what_came_since(folder: Path) -> None:
    run(folder, 20)
    events = Events(folder, 20, symbols=1000, seconds=50.0)
    report = dataclasses.replace(next(train_reports(folder)), symbols=1010, seconds=52.0)
    events.add(report)
    events.close()
    assert read(folder).Scalars("characters_per_second")[-1].value == 5


def test_a_run_that_goes_on_forgets_what_comes_again(folder: Path) -> None:
    run(folder, 150)  # the checkpoint is of batch 100
    assert max(scalars(read(folder), "rate")) == 150
    run(folder, 520, resume=True)
    assert_as_logged(folder)
    assert len([*(folder / "tensorboard").iterdir()]) == 2


def test_a_run_that_begins_takes_the_place_of_another(folder: Path) -> None:
    run(folder, 40)
    (folder / "tensorboard" / "mine").write_text("stays")
    run(folder, 20)
    assert [*scalars(read(folder), "rate")] == [10, 20]
    assert (folder / "tensorboard" / "mine").read_text() == "stays"
    assert len([*(folder / "tensorboard").iterdir()]) == 2


def test_what_did_not_get_onto_the_disk_comes_with_the_next(folder: Path) -> None:
    resource = pytest.importorskip("resource", reason="this platform has no limits on files")
    run(folder, 20)
    events = Events(folder, 20)
    report = next(train_reports(folder))
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (events.path.stat().st_size + 20, hard))
    try:
        with pytest.raises(SaveError, match=f"cannot write: {os.strerror(errno.EFBIG)}$"):
            events.add(report)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    events.add(report)
    events.close()
    assert [event.step for event in read(folder).Scalars("rate")] == [10, 20, 21, 21]


def train_reports(folder: Path) -> Any:
    net = network("net inputs=100 batch=2 time_steps=5", *LAYERS, dtype="float32")
    net.seen = 20 * 10
    with Text(folder.parent / "text", 100) as opened:
        yield from train(net, opened, 21, valid_fraction=0)


def test_a_missing_extra_is_one_line(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder.mkdir()
    monkeypatch.setitem(sys.modules, "tensorboard.summary.writer.record_writer", None)
    with pytest.raises(BackendError, match=r"needs tensorboard: pip install 'minidark\[tensorb"):
        Events(folder)
    assert not [*folder.iterdir()]


def test_a_folder_that_cannot_be_made_is_an_error(folder: Path) -> None:
    folder.mkdir()
    (folder / "tensorboard").write_text("a file")
    with pytest.raises(SaveError, match=r"tensorboard.*: cannot write: "):
        Events(folder)
