"""BLEU and chrF against loops over their definitions, and against the command sacrebleu."""

from __future__ import annotations

import json
import math
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest

from minidark import BackendError
from minidark.inference.metrics import metrics

sacrebleu = pytest.importorskip("sacrebleu", reason="sacrebleu is missing; extra 'metrics'")

TARGETS = ["A man in an orange hat is here", "Two dogs run over the green grass in the sun",
           "People stand outside", "the man with the hat of the man"]  # fmt: skip
PREDICTED = ["A man with an orange hat is there", "two dogs run on the green grass in the sun",
             "People are standing", "The man of the hat"]  # fmt: skip


def grams(units: list[str] | str, n: int) -> Counter[tuple[str, ...]]:
    return Counter(tuple(units[at : at + n]) for at in range(len(units) - n + 1))


def bleu_by_hand(predicted: list[str], targets: list[str]) -> float:
    """Papineni et al. 2002, of words between blanks; each order occurs."""
    matches, counts = [0] * 4, [0] * 4
    for p, t in zip(predicted, targets, strict=True):
        for n in range(1, 5):
            a, b = grams(p.split(), n), grams(t.split(), n)
            matches[n - 1] += (a & b).total()
            counts[n - 1] += a.total()
    logs = sum(math.log(m / c) for m, c in zip(matches, counts, strict=True)) / 4
    ours, theirs = (sum(len(line.split()) for line in lines) for lines in (predicted, targets))
    return 100 * math.exp(logs + min(0, 1 - theirs / ours))


def chrf_by_hand(predicted: list[str], targets: list[str]) -> float:
    """F2 of character n-grams up to six, without blanks, over all lines."""
    scores = []
    for n in range(1, 7):
        match = ours = theirs = 0
        for p, t in zip(predicted, targets, strict=True):
            a, b = grams(p.replace(" ", ""), n), grams(t.replace(" ", ""), n)
            match, ours, theirs = match + (a & b).total(), ours + a.total(), theirs + b.total()
        scores.append((match / ours, match / theirs))
    precision, recall = (sum(s[side] for s in scores) / 6 for side in (0, 1))
    return 100 * 5 * precision * recall / (4 * precision + recall)


@pytest.mark.parametrize("lowercase", [False, True])
def test_figures_are_those_of_their_definitions(lowercase: bool) -> None:
    found = metrics(PREDICTED, TARGETS, lowercase)
    predicted, targets = (
        [line.lower() if lowercase else line for line in lines] for lines in (PREDICTED, TARGETS)
    )
    assert found.bleu == pytest.approx(bleu_by_hand(predicted, targets), rel=1e-9)
    assert found.chrf == pytest.approx(chrf_by_hand(predicted, targets), rel=1e-9)
    assert found.lowercase == lowercase
    assert f"case:{'lc' if lowercase else 'mixed'}|" in found.bleu_signature
    assert f"case:{'lc' if lowercase else 'mixed'}|" in found.chrf_signature
    assert found.bleu != metrics(PREDICTED, TARGETS, not lowercase).bleu


@pytest.mark.slow
@pytest.mark.parametrize("lowercase", [False, True])
def test_figures_are_those_of_the_command(tmp_path: Path, lowercase: bool) -> None:
    predicted = [*PREDICTED, "", "It's 3.5 %, isn't it?", "Größe, e.g. \u201cdas\u201d."]
    targets = [*TARGETS, "Nothing", "It is 3.5%, is it not?", "Größe \u2013 \u201cdas\u201d!"]
    for name, lines in (("predicted", predicted), ("targets", targets)):
        (tmp_path / name).write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")
    command = [sys.executable, "-m", "sacrebleu", "targets", "-i", "predicted", "-m", "bleu",
               "chrf", "-w", "10", *(["-lc", "--chrf-lowercase"] if lowercase else [])]  # fmt: skip
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, check=True)
    bleu, chrf = json.loads(done.stdout)
    found = metrics(predicted, targets, lowercase)
    assert found.bleu == pytest.approx(bleu["score"], abs=1e-8)
    assert found.chrf == pytest.approx(chrf["score"], abs=1e-8)
    assert found.bleu_signature == bleu["signature"]
    assert found.chrf_signature == chrf["signature"]


def test_without_sacrebleu_it_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in sys.modules if name.partition(".")[0] == "sacrebleu"]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "sacrebleu", None)
    with pytest.raises(BackendError) as error:
        metrics(PREDICTED, TARGETS)
    message = "BLEU and chrF need sacrebleu: pip install 'minidark[metrics]'"
    assert str(error.value) == message
