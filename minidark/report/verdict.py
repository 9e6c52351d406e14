"""The result of a run in one sentence: how good, after how much, and whether it still improves."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from minidark.errors import number_of
from minidark.report.charts import LN2, amount
from minidark.report.run import Run

ENOUGH = 4  # validations, for a trend
CLEAR = 0.005  # relative change between two validations that is a trend
RISEN = 0.01  # relative distance to the best from which the loss has risen
FALLING, LEVEL, RISING = "falling", "level", "rising"
MOST_SECONDS = 1e9  # 30 years


def trend(losses: Sequence[float]) -> str | None:
    """The course of the validation loss at the end of a run: "falling", "level", "rising", or None
    with fewer than ENOUGH losses.

    It rises if the last two losses are clearly above the lowest. It falls if the last quarter has
    a clearly lower loss than everything before.
    """
    if len(losses) < ENOUGH:
        return None
    recent = max(2, len(losses) // 4)
    best, earlier = min(losses), min(losses[:-recent])
    scale = abs(best) or 1.0
    if min(losses[-2:]) / scale - best / scale > RISEN:
        return RISING
    return FALLING if (earlier - min(losses[-recent:])) / scale > CLEAR else LEVEL


def verdict(run: Run) -> str:
    """The run in one sentence, without its state: "1.489 bits per character after 2,500 batches,
    2 min 30 s, still falling"."""
    if not run.lines:
        return "No batch has been logged yet; the first line comes after batch 10"
    last, best = run.lines[-1], run.best
    after = f"after {number_of(last['batch'], 'batch')}, {duration(last['seconds'])}"
    if best is None:
        return f"{loss_text(run, last['average'])} in training {after}, not validated"
    loss, now = best["valid_loss"], run.validations[-1]["valid_loss"]
    course = trend([line["valid_loss"] for line in run.validations])
    where = f"at batch {best['batch']:,}"
    if course == RISING:
        return (
            f"{loss_text(run, loss)} {where}, then rising to {loss_text(run, now, unit=False)} "
            f"{after}: the network overfits"
        )
    ending = {FALLING: ", still falling", LEVEL: f", no longer falling; the best {where}"}
    return f"{loss_text(run, loss)} {after}{ending.get(course or '', '')}"


def loss_text(run: Run, loss: float, unit: bool = True) -> str:
    """A loss in bits per character, or in the unit of the cfg's cost."""
    if not run.in_nats:
        return f"cost {amount(loss, 4)}" if unit else amount(loss, 4)
    return f"{amount(loss / LN2, 3)}{' bits per character' if unit else ''}"


def duration(seconds: float) -> str:
    """A time in its two largest units: "45 s", "2 min 30 s", "3 h 12 min", "2 days 4 h"."""
    if not 0 <= seconds < MOST_SECONDS:
        return f"{seconds:.3g} s"
    if seconds < 10:
        return f"{seconds:.1f} s"
    whole = round(seconds)
    days, hours, minutes = whole // 86400, whole // 3600 % 24, whole // 60 % 60
    if days:
        return f"{number_of(days, 'day')} {hours} h"
    if hours:
        return f"{hours} h {minutes} min"
    return f"{minutes} min {whole % 60} s" if minutes else f"{whole} s"


def state_text(run: Run, running: bool) -> str:
    """The state of the run, with its reason."""
    facts: dict[str, Any] = run.facts
    if run.diverged:
        return f"Diverged: {run.diverged}"
    if run.state == "not finished":
        return "Running" if running else "Stopped or killed; continue with --resume auto"
    early = run.lines[-1]["batch"] < facts["batches"]
    return "Finished by early stopping (--patience)" if early else "Finished"
