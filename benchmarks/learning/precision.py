"""Whole runs of shipped cfgs with precision bf16 beside float32: the validation loss.

The cfgs of texts need --text, and `translate` needs --multi30k. Both precisions start from the same
seeds. The difference of the mean losses should be at most the standard deviation of float32's
losses, which only seeds make different. With one seed there is no goal.

All validations of all runs stay in `curves.json`, as [batch, nats per character], for
`benchmarks.curves`.
"""

from __future__ import annotations

import json
import shutil
import statistics
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

from benchmarks.learning import translation
from benchmarks.learning.commands import run
from benchmarks.table import Row
from minidark.backend import PRECISIONS

TEXTS = ("gru", "lstm", "bytepairs")
CURVES = "curves.json"
Curve = list[tuple[int, float]]  # batches, and nats per character of validation data


def tasks(
    text: Path | None, multi30k: Path | None, kept: Path, seeds: int
) -> dict[str, Callable[[], Iterator[Row]]]:
    """The tasks by name. They keep weights and curves in `kept`."""
    found: dict[str, Callable[[], Iterator[Row]]] = {}
    if text:
        for cfg in TEXTS:
            found[f"precision-{cfg}"] = partial(_compared, cfg, lambda: [str(text)], kept, seeds)
    if multi30k:
        data = partial(_pairs, multi30k, kept / "data")
        found["precision-translate"] = partial(_compared, translation.CFG, data, kept, seeds)
    return found


def _pairs(folder: Path, kept: Path) -> list[str]:
    data = translation.prepared(folder, kept)
    return [str(data.train), "--pairs", "--valid", str(data.valid)]


def _compared(cfg: str, data: Callable[[], list[str]], kept: Path, seeds: int) -> Iterator[Row]:
    words = data()
    curves = {
        name: [_curve(cfg, words, kept, name, seed) for seed in range(1, seeds + 1)]
        for name in PRECISIONS
    }
    _keep(kept / CURVES, cfg, curves)
    losses = {name: [curve[-1][1] for curve in runs] for name, runs in curves.items()}
    single, half = losses["float32"], losses["bf16"]
    spread = statistics.stdev(single) if seeds > 1 else None
    remark = "; ".join(
        f"{name} " + ", ".join(f"{loss:.4f}" for loss in each) for name, each in losses.items()
    )
    yield Row(f"{cfg}: validation loss, bf16 less float32",
              abs(statistics.mean(half) - statistics.mean(single)), spread, "nats", True,
              remark)  # fmt: skip


def _curve(cfg: str, data: list[str], kept: Path, precision: str, seed: int) -> Curve:
    """The validations of a new run. The last one is of the weights that are saved."""
    folder = kept / cfg / precision / str(seed)
    shutil.rmtree(folder, ignore_errors=True)
    run("train", cfg, *data, "--seed", str(seed), "--precision", precision,
        "--backup", str(folder))  # fmt: skip
    lines = (folder / "log.jsonl").read_text(encoding="utf-8").splitlines()
    entries = [json.loads(line) for line in lines]
    return [(one["batch"], one["valid_loss"]) for one in entries if "valid_loss" in one]


def _keep(path: Path, cfg: str, curves: dict[str, list[Curve]]) -> None:
    found = json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}
    path.write_text(json.dumps(found | {cfg: curves}), encoding="utf-8")
