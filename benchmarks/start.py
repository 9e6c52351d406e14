"""Startup time of commands, and the cost of a text of 10 GB against one of 10 MB.

Each command runs in its own process, as a user runs it; the fastest of several runs counts. The
texts are sparse files in a temporary folder, so 10 GB take no disk space. They are read with the
same calls as other files.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from benchmarks.table import Row, machine, show

ROOT = Path(__file__).parent.parent
LARGE, SMALL = 10**10, 10**7  # bytes
MINIDARK = (sys.executable, "-m", "minidark")
RUNS = 10


def rows(runs: int = RUNS) -> list[Row]:
    return [*start_rows(runs), *text_rows(runs)]


def start_rows(runs: int) -> list[Row]:
    """The rows of startup times. The remark has the times of Python and of importing numpy."""
    bare = best([sys.executable, "-c", "pass"], runs)
    numpy = best([sys.executable, "-c", "import numpy"], runs)
    remark = f"python alone {bare:.3f} s, with numpy {numpy:.3f} s"
    sample = ("generate", "--len", "1", "--srand", "1")
    return [
        Row("minidark --version", best([*MINIDARK, "--version"], runs), 0.15, "s", True, remark),
        Row("minidark generate --len 1", best([*MINIDARK, *sample], runs), 0.35, "s", True, remark),
    ]


def best(command: list[str], runs: int) -> float:
    """The seconds of a command's fastest run."""
    return min(_seconds(command) for _ in range(runs))


def _seconds(command: list[str]) -> float:
    began = time.perf_counter()
    subprocess.run(command, check=True, capture_output=True, cwd=ROOT)
    return time.perf_counter() - began


def text_rows(runs: int) -> list[Row]:
    """The rows of the large and the small text, run alternately: one batch, several times; then
    three batches and a validation, once."""
    if not hasattr(os, "wait4"):
        return []  # Windows has no such count of resident memory and no such sparse files
    with tempfile.TemporaryDirectory() as folder:
        texts = [sparse(Path(folder, f"{size}.txt"), size) for size in (SMALL, LARGE)]
        alone = ("--batches", "1", "--valid-fraction", "0")
        short = [[timed(text, *alone)[0] for text in texts] for _ in range(runs)]
        whole = [timed(text, "--batches", "3") for text in texts]
    firsts = [tuple(map(min, zip(*times, strict=True))) for times in zip(*short, strict=True)]
    (small_line, small_batch, *_), (line, batch, *_) = firsts
    ((*_, small_end), small_resident), ((*_, end), resident) = whole
    return [
        Row("train on 10 GB: first line", line, 1, "s", True, f"of 10 MB {small_line:.3f} s"),
        Row("train on 10 GB: first batch", batch, 1, "s", True, f"of 10 MB {small_batch:.3f} s"),
        Row("train on 10 GB: resident, to 10 MB", resident / small_resident, 1.05, "x", True,
            f"{resident / 1e6:.1f} MB; of 10 MB {small_resident / 1e6:.1f} MB"),
        Row("train on 10 GB: 3 batches and a validation, to 10 MB", end / small_end,
            remark=f"{end:.2f} s; of 10 MB {small_end:.2f} s"),
    ]  # fmt: skip


def sparse(path: Path, size: int) -> Path:
    with path.open("wb") as file:
        file.truncate(size)
    return path


# Runs as a separate small process, because a child process inherits its parent's peak memory.
WATCH = """
import os, sys
child = os.spawnv(os.P_NOWAIT, sys.argv[1], sys.argv[1:])
_, status, usage = os.wait4(child, 0)
print(usage.ru_maxrss)
sys.exit(os.waitstatus_to_exitcode(status))
"""


def timed(text: Path, *options: str) -> tuple[list[float], int]:
    """The times of the lines on standard error, in seconds, and the peak resident memory in
    bytes."""
    command = [*MINIDARK, "train", "rnn", str(text), "--seed", "1", *options]
    began = time.perf_counter()
    with subprocess.Popen(
        [sys.executable, "-c", WATCH, *command, "--backup", tempfile.mkdtemp(dir=text.parent)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        cwd=ROOT,
    ) as process:
        assert process.stderr
        assert process.stdout
        times = [time.perf_counter() - began for _ in process.stderr]
        resident = process.stdout.read()
    if process.returncode:
        raise subprocess.CalledProcessError(process.returncode, command)
    return times, int(resident) * (1 if sys.platform == "darwin" else 1024)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=RUNS)
    show(f"Start: {machine()}", rows(parser.parse_args().runs))


if __name__ == "__main__":
    main()
