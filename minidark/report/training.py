"""The page of one training run."""

from __future__ import annotations

import math
import shlex
from collections.abc import Callable
from pathlib import Path
from typing import Any

from minidark.cfg.source import recorded_text
from minidark.data.identity import SAMPLE_BYTES, SAMPLES
from minidark.report.curves import gradient_curve, loss_curve, rate_curve, speed_curve
from minidark.report.pages import write_page
from minidark.report.run import MADE_ON, Run, speed

ROWS = 200
CURVES = (
    ("Loss", loss_curve, "Training average: an exponential moving average (0.9 old, 0.1 new). "
     "Validation loss: on held-out text."),
    ("Learning rate", rate_curve, "The rate of each batch's last update, before a layer's own "
     "scale."),
    ("Gradients", gradient_curve, "The norm of each layer's mean gradient before clipping."),
    ("Speed", speed_curve, "Between two lines of the log, including validations."),
)  # fmt: skip


def write_run_page(path: Path | str, run: Run) -> None:
    """Write the page of `run`. Raises BackendError without the extra `report`, and SaveError if the
    file cannot be written."""
    write_page(
        path,
        "run",
        title=f"{Path(run.network).stem}, a training run",
        run=run,
        best=run.best,
        validations=rows_of(run),
        count=len(run.validations),
        facts=run.facts,
        last=run.lines[-1] if run.lines else None,
        speed=speed(run.lines[-1]) if run.lines else None,
        figures=[
            {"title": title, "svg": curve(run), "caption": caption}
            for title, curve, caption in CURVES
            if _can_be_drawn(run, curve)
        ],
        cfg=recorded_text(run.facts["cfg_values"]).rstrip(),
        made_on=MADE_ON,
        hash_label=hash_label,
        quoted=shlex.quote,
        ln2=math.log(2),
    )


def rows_of(run: Run) -> list[dict[str, Any]]:
    """Every k-th validation, the best and the last, about ROWS in all."""
    every = run.validations
    step, best = 1 + len(every) // ROWS, run.best
    return [v for n, v in enumerate(every) if n % step == 0 or v is best or v is every[-1]]


def _can_be_drawn(run: Run, curve: Callable[[Run], object]) -> bool:
    if curve is speed_curve:
        return bool(run.speeds)
    return bool(run.lines) and (curve is not gradient_curve or bool(run.layers))


def hash_label(file: dict[str, Any]) -> str:
    """The label of a text's hash: of the whole text, or of samples of a large one."""
    if file["size"] <= SAMPLES * SAMPLE_BYTES:
        return "its sha256"
    return f"sha256 of {SAMPLES} samples of {SAMPLE_BYTES:,} bytes"
