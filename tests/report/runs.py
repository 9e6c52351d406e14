"""Folders of training runs, real ones and ones written by hand."""

from __future__ import annotations

import functools
import json
import math
import tempfile
from pathlib import Path
from typing import Any

from minidark import Text, train
from minidark.training.backups import Backups
from minidark.training.checkpoint import Checkpoint
from minidark.training.run import follow
from tests.helpers import network

NET = "net inputs=128 batch=4 time_steps=4 learning_rate=.01 adam=1 policy=cosine max_batches=800"
LAYERS = ("gru output=6 tanh=1", "connected output=128 activation=linear", "softmax")
WORDS = b"To be, or not to be, that is the question:\n" * 60


def trained(
    folder: Path, batches: int = 600, layers: tuple[str, ...] = LAYERS, **keywords: Any
) -> Path:
    """The folder of a run that was made as `train` makes it; gone on with where it has one."""
    text = folder.parent / "text.txt"
    text.write_bytes(WORDS)
    checkpoint = folder / "a.ckpt"
    since = Checkpoint.read(checkpoint) if checkpoint.exists() else None
    net = network(NET, *layers, dtype="float32")
    with Text(text, 128) as opened:
        training = train(net, opened, batches, seed=5, resume=since, **keywords)
        command = ["minidark", "train", "a.cfg", "my text.txt"]
        with Backups(
            net, folder, "a.cfg", training=training, command=command, resumed=since
        ) as backups:
            follow(training, [backups])
    return folder


def written(folder: Path, lines: list[dict[str, Any]], **facts: Any) -> Path:
    """A folder with such a log, and the run.json of a real run but for `facts`."""
    folder.mkdir(parents=True)
    (folder / "run.json").write_text(json.dumps({**_facts(), **facts}))
    (folder / "log.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    return folder


@functools.cache
def _facts() -> dict[str, Any]:
    with tempfile.TemporaryDirectory() as place:
        folder = trained(Path(place, "run"), batches=1, valid_fraction=0)
        facts: dict[str, Any] = json.loads((folder / "run.json").read_text())
    return facts


def line(batch: int, **others: Any) -> dict[str, Any]:
    """Of a log, with figures that can be told apart."""
    cost = 1 + 3 / math.sqrt(batch)
    return {
        "batch": batch, "loss": cost * 1.1, "average": cost, "rate": 0.01, "symbols": batch * 32,
        "epochs": batch / 80, "gradient_norms": {"0.gru": 0.5, "1.connected": 0.25},
        "seconds": batch / 100, **others,
    }  # fmt: skip


def logged(folder: Path) -> list[dict[str, Any]]:
    return [json.loads(one) for one in (folder / "log.jsonl").read_text().splitlines()]
