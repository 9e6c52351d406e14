"""The page of one training run."""

from __future__ import annotations

import shlex
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from minidark.cfg.source import recorded_text
from minidark.data.identity import SAMPLE_BYTES, SAMPLES
from minidark.report.charts import LN2, amount, run_charts
from minidark.report.pages import write_page
from minidark.report.run import MADE_ON, Run, speed
from minidark.report.verdict import state_text, verdict

ROWS = 200


@dataclass(frozen=True, slots=True)
class Live:
    """A page that renews itself. written: seconds since the epoch. every: seconds between reloads.
    silent: seconds without a new page after which the page says so."""

    written: float
    every: int
    silent: int


def write_run_page(
    path: Path | str, run: Run, running: bool = False, live: Live | None = None
) -> None:
    """Write the page of `run`. running: whether a process still trains it. Raises BackendError
    without the extra `report`, and SaveError if the file cannot be written."""
    charts = run_charts(run)
    write_page(
        path,
        "run",
        title=f"{Path(run.network).stem}, a training run",
        run=run,
        verdict=capitalized(verdict(run)),
        state=state_text(run, running),
        kind=run.state.replace(" ", "-"),
        live=live,
        best=run.best,
        validations=rows_of(run),
        count=len(run.validations),
        facts=run.facts,
        last=run.lines[-1] if run.lines else None,
        speed=speed(run.lines[-1]) if run.lines else None,
        charts=charts,
        data=[chart.to_json() for chart in charts],
        cfg=recorded_text(run.facts["cfg_values"]).rstrip(),
        made_on=MADE_ON,
        hash_label=hash_label,
        amount=amount,
        quoted=shlex.quote,
        ln2=LN2,
    )


def capitalized(sentence: str) -> str:
    """The sentence with a capital first letter."""
    return sentence[:1].upper() + sentence[1:]


def rows_of(run: Run) -> list[dict[str, Any]]:
    """Every k-th validation, the best and the last, about ROWS in all."""
    every = run.validations
    step, best = 1 + len(every) // ROWS, run.best
    return [v for n, v in enumerate(every) if n % step == 0 or v is best or v is every[-1]]


def hash_label(file: dict[str, Any]) -> str:
    """The label of a text's hash: of the whole text, or of samples of a large one."""
    if file["size"] <= SAMPLES * SAMPLE_BYTES:
        return "its sha256"
    return f"sha256 of {SAMPLES} samples of {SAMPLE_BYTES:,} bytes"
