"""docs/pairs.md: its code runs as it stands there, with fewer pairs and batches."""

from __future__ import annotations

import re
import shutil
from pathlib import Path

import pytest

from minidark.backend import threads
from minidark.cli import COMMANDS

ROOT = Path(__file__).parents[2]
DOC = (ROOT / "docs" / "pairs.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"```python\n(.*?)```", DOC, re.DOTALL)
LESS = {  # what takes minutes, and what takes its place here
    "range(100_000)": "range(0, 100_000, 400)",
    "range(200_000)": "range(300)",
    "batches=net.options.max_batches": "batches=3",
    "batches=400": "batches=3",
    "lexicon.splitlines()": "lexicon.splitlines()[::60]",
}
NEEDED = ("num2words", "korean_romanizer", "vaderSentiment")


@pytest.mark.slow
@pytest.mark.parametrize("number", range(len(NEEDED)))
def test_the_code_of_each_task_runs(
    number: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip(NEEDED[number], reason=f"{NEEDED[number]} is missing; extra 'learning'")
    code = BLOCKS[number]
    assert NEEDED[number] in code
    for much, less in LESS.items():
        code = code.replace(much, less)
    assert code != BLOCKS[number]
    monkeypatch.setattr(threads, "_count", 1)  # two would wait for one another on a busy machine
    monkeypatch.chdir(tmp_path)
    shutil.copytree(ROOT / "cfg", "cfg")
    exec(compile(code, "docs/pairs.md", "exec"), {})
    assert capsys.readouterr().out.strip()


def test_every_block_is_run_and_every_command_is_one() -> None:
    assert len(BLOCKS) == len(NEEDED)
    named = set(re.findall(r"^minidark (\w+)", DOC, re.MULTILINE))
    assert named == {"train", "predict", "score"} <= {*COMMANDS}
