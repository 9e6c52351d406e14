"""Translation of Multi30k's captions, German to English, as BLEU on captions that no training saw.

The folder MULTI30K has multi30k.train.de-en.tsv, multi30k.val.de-en.tsv and one or more
multi30k.test*.de-en.tsv, also with .gz. Training validates on val; choices were made on val alone.
The weights stay in build/learning, where the rows of PyTorch and of prediction find them.

Training runs as a user would run it: `minidark train translate train.tsv --pairs --valid val.tsv`.
"""

from __future__ import annotations

import json
import shutil
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from benchmarks.learning.commands import run
from benchmarks.learning.files import unpacked
from benchmarks.table import Row

CFG = "translate"
LONGER = 4000  # batches
BEAM = "4"
GOALS = {"translation": (37.0, 600.0), "translation-longer": (39.0, 1800.0)}  # BLEU, seconds
AHEAD = 1.5  # BLEU
PREDICTED = 1000  # captions
PREDICT_SECONDS = 5.0


@dataclass(frozen=True, slots=True)
class Data:
    train: Path
    valid: Path
    tests: list[Path]


def tasks(folder: Path, kept: Path, seeds: int) -> dict[str, Callable[[], Iterator[Row]]]:
    """The tasks by name. They keep weights in `kept`."""
    return {
        "translation": lambda: trained("translation", folder, kept, seeds),
        "translation-torch": lambda: in_torch(folder, kept),
        "translation-predict": lambda: predicted(folder, kept),
        "translation-longer": lambda: trained("translation-longer", folder, kept, seeds),
    }


def prepared(folder: Path, kept: Path) -> Data:
    """The data without .gz."""
    plain = unpacked(sorted(folder.glob("multi30k.*.de-en.tsv*")), kept)
    found = {path.name.split(".")[1]: path for path in plain}
    tests = [path for name, path in found.items() if name.startswith("test")]
    return Data(found["train"], found["val"], tests)


def trained(name: str, folder: Path, kept: Path, seeds: int) -> Iterator[Row]:
    """Train `seeds` networks; the BLEU of each test file, and the seconds of the slowest."""
    data, (goal, most) = prepared(folder, kept), GOALS[name]
    options = ("--batches", str(LONGER)) if name.endswith("longer") else ()
    seconds, weights = [], []
    for seed in range(1, seeds + 1):
        backup = kept / name / str(seed)
        shutil.rmtree(backup, ignore_errors=True)
        began = time.perf_counter()
        run("train", CFG, str(data.train), "--pairs", "--valid", str(data.valid), "--seed",
            str(seed), "--backup", str(backup), *options)  # fmt: skip
        seconds.append(time.perf_counter() - began)
        weights.append(final(backup))
    for test in data.tests:
        scores = [bleu(path, test) for path in weights]
        each = ", ".join(f"{score:.2f}" for score in scores)
        remark = f"seeds 1 to {seeds}: {each}" if seeds > 1 else "seed 1"
        yield Row(f"{name}: {test.name.split('.')[1]}", statistics.mean(scores), goal, "BLEU",
                  remark=f"beam {BEAM}; {remark}")  # fmt: skip
    (kept / name / "seconds.json").write_text(json.dumps(seconds))
    yield Row("  trained in", max(seconds), most, "s", less=True)


def final(backup: Path) -> Path:
    return backup / f"{CFG}_final.weights"


def bleu(weights: Path, pairs: Path) -> float:
    """Of the predictions, without regard to case."""
    options = ("--beam", BEAM, "--lowercase", "--json")
    return float(json.loads(run("score", CFG, str(weights), str(pairs), *options))["bleu"])


def in_torch(folder: Path, kept: Path) -> Iterator[Row]:
    """The same network in PyTorch, for as long as ours took, with the same search."""
    data, ours = prepared(folder, kept), kept / "translation"
    seconds, weights = json.loads((ours / "seconds.json").read_text())[0], final(ours / "1")
    theirs = kept / "torch.weights"
    command = [sys.executable, "-m", "benchmarks.learning.torch_translation", CFG, str(weights)]
    command += [str(data.train), str(seconds), str(theirs)]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
    batches = json.loads(done.stdout)["batches"]
    for test in data.tests:
        score, own = bleu(theirs, test), bleu(weights, test)
        remark = f"{own:.2f} against {score:.2f} of PyTorch, {batches:,} batches in {seconds:.0f} s"
        yield Row(f"ahead of PyTorch: {test.name.split('.')[1]}", own - score, AHEAD, "BLEU",
                  remark=remark)  # fmt: skip


def predicted(folder: Path, kept: Path) -> Iterator[Row]:
    """Predict captions with the whole command, in seconds."""
    data, weights = prepared(folder, kept), final(kept / "translation" / "1")
    lines = data.tests[0].read_text(encoding="utf-8").splitlines()[:PREDICTED]
    sources = kept / "sources.txt"
    sources.write_text("".join(line.split("\t")[0] + "\n" for line in lines), encoding="utf-8")
    command = [sys.executable, "-m", "minidark", "predict", CFG, str(weights), "--beam", BEAM]
    times = []
    for _ in range(3):
        began = time.perf_counter()
        with sources.open("rb") as file:
            subprocess.run(command, stdin=file, stdout=subprocess.DEVNULL, check=True)
        times.append(time.perf_counter() - began)
    yield Row(f"{len(lines):,} captions predicted, beam {BEAM}", statistics.median(times),
              PREDICT_SECONDS, "s", less=True, remark="median of three commands")  # fmt: skip
