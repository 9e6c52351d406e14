"""`train --shards`."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.cli.running import assert_refused, assert_wrong_usage, run
from tests.helpers import cfg

NET = cfg(
    "net inputs=256 batch=4 time_steps=5 learning_rate=.1 max_batches=6",
    "gru output=4 tanh=1",
    "connected output=256 activation=linear",
    "softmax",
)
TRAIN = ("train", "a.cfg", "a.txt", "--seed", "1", "--quiet")


@pytest.fixture(autouse=True)
def _there(folder: Path) -> None:
    (folder / "a.cfg").write_text(NET)
    (folder / "a.txt").write_bytes(bytes(range(97, 123)) * 200)


def weights(*options: str) -> bytes:
    assert run(*TRAIN, *options).exit_code == 0
    return Path("backup/a_final.weights").read_bytes()


def test_one_is_what_there_is_without_and_two_are_their_own_rounding() -> None:
    plain = weights()
    assert json.loads(Path("backup/run.json").read_text())["shards"] == 1
    assert weights("--shards", "1") == plain
    two = weights("--shards", "2")
    assert two != plain
    assert json.loads(Path("backup/run.json").read_text())["shards"] == 2
    assert weights("--shards", "2") == two


def test_a_run_goes_on_in_as_many_and_refuses_others() -> None:
    whole = weights("--shards", "2")
    assert run(*TRAIN, "--shards", "2", "--batches", "3").exit_code == 0
    again = ("train", "a.cfg", "a.txt", "--resume", "auto", "--batches", "6", "--quiet")
    assert_wrong_usage(
        run(*again, "--shards", "4"), "backup/a.ckpt: this run was started with --shards 2, not 4"
    )
    assert run(*again).exit_code == 0
    assert Path("backup/a_final.weights").read_bytes() == whole


def test_shards_that_do_not_divide_the_streams_are_the_cfgs_to_change() -> None:
    assert_refused(
        run(*TRAIN, "--shards", "3"),
        3,
        "a.cfg: 4 streams (batch / subdivisions) cannot be split into 3 shards: use a power "
        "of two that divides them",
    )
