"""Reads a training run from its folder: `run.json` and the log.

The run may still be in progress, so an incomplete last line of the log is ignored.
"""

from __future__ import annotations

import itertools
import math
import shlex
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from minidark.cfg.described import title_of_record
from minidark.errors import DataError
from minidark.training.records import read_log, read_run, read_whole_run
from minidark.weights.run_folder import base_name

NUMBERS = ("batch", "loss", "average", "rate", "symbols", "epochs", "seconds")
MADE_ON = (
    "device", "kernels", "dtype", "precision", "threads", "machine", "minidark", "numpy", "python",
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Run:
    """A run's run.json (`facts`) and log (`lines`). If the run diverged, `diverged` is the message
    of the last line, which is not in `lines`."""

    folder: Path
    facts: dict[str, Any]
    lines: list[dict[str, Any]]
    diverged: str | None

    @property
    def in_nats(self) -> bool:
        """Whether costs are nats per character."""
        return bool(self.facts["in_nats"])

    @property
    def network(self) -> str:
        """The cfg's name for people; of a shipped one, with a description."""
        return title_of_record(self.facts["cfg"], self.facts["cfg_values"])

    @property
    def validations(self) -> list[dict[str, Any]]:
        return [line for line in self.lines if "valid_loss" in line]

    @property
    def best(self) -> dict[str, Any] | None:
        """The line of the lowest validation."""
        return min(self.validations, key=lambda line: line["valid_loss"], default=None)

    @property
    def samples(self) -> list[dict[str, Any]]:
        return [line for line in self.lines if "sample" in line]

    @property
    def layers(self) -> list[str]:
        """Names of the layers with parameters."""
        return list(dict.fromkeys(name for line in self.lines for name in line["gradient_norms"]))

    @property
    def resumed_at(self) -> list[int]:
        """The batches after which the run was resumed."""
        return [again["batch"] for again in self.facts["resumed"]]

    @property
    def state(self) -> str:
        if self.diverged:
            return "diverged"
        return "finished" if self.lines and self.lines[-1].get("last") else "not finished"

    @property
    def speeds(self) -> list[tuple[float, float]]:
        """For each line of the log, its seconds, and the characters per second since the previous
        line, including validations."""
        return [
            (line["seconds"], (line["symbols"] - before["symbols"]) / elapsed)
            for before, line in itertools.pairwise(self.lines)
            if (elapsed := line["seconds"] - before["seconds"]) > 0
        ]

    @property
    def command(self) -> list[str]:
        """The command that repeats the run, as words, including the seed."""
        words = [str(word) for word in self.facts["command"]]
        has_seed = any(word == "--seed" or word.startswith("--seed=") for word in words)
        return words if has_seed else [*words, "--seed", str(self.facts["seed"])]

    def column(self, key: str) -> list[float]:
        return [line[key] for line in self.lines]


def read_run_folder(folder: Path) -> Run:
    """Read the run in a folder. Raises DataError; if the log is damaged, it names the line."""
    if folder.exists() and not folder.is_dir():
        raise DataError(f"{folder}: a file; expected a run's folder, the --backup of `train`")
    if not folder.is_dir():
        raise DataError(f"{folder}: no such folder; expected the --backup folder of `train`")
    if not (folder / "run.json").exists():
        raise DataError(f"{folder}: no run.json; expected the --backup folder of `train`")
    facts = _plain(read_whole_run(folder))
    log = folder / "log.jsonl"
    lines = [*map(_plain, read_log(log))] if log.exists() else []
    diverged = lines.pop()["diverged"] if lines and "diverged" in lines[-1] else None
    return Run(folder, facts, lines, diverged)


def trained_on_pairs(weights: Path | str) -> bool:
    """Whether `run.json` beside a run's weight file says that the run was trained with --pairs."""
    run, path = read_run(Path(weights).parent), Path(weights)
    base = base_name(str(run.get("cfg", "")))
    return run.get("separator") is not None and path.name.startswith((f"{base}_", f"{base}."))


def figures(run: Run) -> dict[str, Any]:
    """All numbers of the page, for JSON. Costs in nats are also in bits."""
    last, best = run.lines[-1] if run.lines else {}, run.best
    facts = {key: run.facts[key] for key in ("cfg", "seed", "batches", "parameters", "in_nats")}
    return {
        "state": run.state,
        "diverged": run.diverged,
        **facts,
        "batch": last.get("batch", 0),
        "symbols": last.get("symbols", 0),
        "epochs": last.get("epochs", 0),
        "seconds": last.get("seconds", 0),
        "characters_per_second": speed(last),
        "average": last.get("average"),
        "best": best and {"batch": best["batch"], **costs(best["valid_loss"], run.in_nats)},
        "validations": [
            {"batch": v["batch"], "seconds": v["seconds"], **costs(v["valid_loss"], run.in_nats)}
            for v in run.validations
        ],
        "resumed_after": run.resumed_at,
        "command": shlex.join(run.command),
        "log": {
            **{key: run.column(key) for key in NUMBERS},
            "gradient_norms": {
                name: [line["gradient_norms"].get(name) for line in run.lines]
                for name in run.layers
            },
        },
        "samples": [{"batch": s["batch"], "text": s["sample"]} for s in run.samples],
    }


def costs(cost: float, in_nats: bool) -> dict[str, float]:
    """A validation loss, as nats and bits, or as the cfg's cost."""
    return {"nats": cost, "bits": cost / math.log(2)} if in_nats else {"cost": cost}


def speed(line: dict[str, Any]) -> float | None:
    """Characters per second from the beginning to this line."""
    return line["symbols"] / line["seconds"] if line and line["seconds"] > 0 else None


def _plain(value: Any) -> Any:
    """Escape text that UTF-8 cannot encode, such as file names in a command."""
    if isinstance(value, str):
        return value.encode(errors="backslashreplace").decode()
    if isinstance(value, dict):
        return {_plain(key): _plain(v) for key, v in value.items()}
    return [*map(_plain, value)] if isinstance(value, Sequence) else value
