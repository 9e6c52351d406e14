"""The table cells and the page of a comparison."""

from __future__ import annotations

import math
import shlex
from collections.abc import Callable, Iterable, Sequence
from itertools import groupby
from pathlib import Path
from typing import TYPE_CHECKING, Any

from minidark.report.curves import SIZE, axes_of
from minidark.report.figures import SERIES, figure_svg, literal
from minidark.report.pages import write_page
from minidark.report.run import MADE_ON
from minidark.report.training import hash_label
from minidark.training.compare import Outcome
from minidark.training.report import StepReport

if TYPE_CHECKING:
    from markupsafe import Markup
    from matplotlib.figure import Figure

COLUMNS = (
    "bits per character", "parameters", "widths", "memory", "chars/s", "batches", "seconds",
)  # fmt: skip
MIB = 2**20


def cells(cfg: dict[str, Any]) -> list[str]:
    """The table row of one cfg of `comparison_facts`, in the order of COLUMNS."""
    runs = cfg["runs"]
    return [
        _bits(cfg),
        f"{cfg['parameters']:,}",
        ", ".join(map(str, cfg["widths"])),
        f"{cfg['memory_bytes'] / MIB:.1f} MiB",
        f"{cfg['characters_per_second']:,.0f}" if runs else "-",
        _distinct(f"{r['batches']:,}" for r in runs),
        _distinct(f"{r['seconds']:.1f}" for r in runs),
    ]


def _bits(cfg: dict[str, Any]) -> str:
    """The mean, the standard deviation, and the number of diverged runs, which are not included."""
    mean, deviation = cfg["bits_per_character"], cfg["bits_deviation"]
    diverged = sum(r["diverged"] is not None for r in cfg["runs"])
    parts = [] if mean is None else [f"{mean:.3f}"]
    parts += [] if deviation is None else [f"± {deviation:.3f}"]
    parts += [f"({diverged} diverged)"] if diverged else []
    return " ".join(parts) or "-"


def _distinct(values: Iterable[str]) -> str:
    """The distinct values, separated by commas."""
    return ", ".join(dict.fromkeys(values)) or "-"


def write_comparison_page(
    path: Path | str, facts: dict[str, Any], outcomes: Sequence[Outcome], command: Sequence[str]
) -> None:
    """Write the page of `comparison_facts`. Raises BackendError without the extra `report`, and
    SaveError if the file cannot be written."""
    names = [cfg["name"] for cfg in facts["cfgs"]]
    labels = [cfg["label"] for cfg in facts["cfgs"]]
    write_page(
        path,
        "comparison",
        title=_title(names, labels),
        summary=_summary(facts),
        facts=facts,
        columns=COLUMNS,
        cells=cells,
        figures=[_curves(names, outcomes, *how) for how in AGAINST if _drawable(outcomes)],
        words=command,
        made_on=MADE_ON,
        hash_label=hash_label,
        quoted=shlex.quote,
    )


def _title(names: Sequence[str], labels: Sequence[str]) -> str:
    """ "a, b and c", or "gru: two GRUs of 256; lstm: one LSTM of 288" if shipped cfgs are among
    them."""
    return "; ".join(labels) if labels != names else f"{', '.join(names[:-1])} and {names[-1]}"


def _summary(facts: dict[str, Any]) -> str:
    seeds = len({run["seed"] for cfg in facts["cfgs"] for run in cfg["runs"]})
    budget = (
        f"as many batches as each trains in {facts['seconds']:g} seconds"
        if facts["seconds"]
        else "the same number of batches"
    )
    return (
        "Each cfg trained on the same text, with the same streams, about the same number of "
        f"parameters, {budget}, and {seeds} seed{'' if seeds == 1 else 's'}."
    )


AGAINST: tuple[tuple[str, str, Callable[[StepReport], float], bool], ...] = (
    ("By characters", "characters trained on", lambda report: report.symbols, True),
    ("By time", "seconds, including validations", lambda report: report.seconds, False),
)


def _drawable(outcomes: Sequence[Outcome]) -> bool:
    return any(outcome.reports for outcome in outcomes)


def _curves(
    names: Sequence[str],
    outcomes: Sequence[Outcome],
    title: str,
    x_label: str,
    x: Callable[[StepReport], float],
    counts: bool,
) -> dict[str, Any]:
    """A line for each run: its validation losses, or its training averages if a run has fewer
    than two validations."""
    validated = all(sum(r.valid_loss is not None for r in o.reports) > 1 for o in outcomes)

    def points(outcome: Outcome) -> list[tuple[float, float]]:
        costs = ((x(r), r.valid_loss if validated else r.average) for r in outcome.reports)
        return [(at, cost / math.log(2)) for at, cost in costs if cost is not None]

    def draw(figure: Figure) -> None:
        axes = axes_of(figure, x_label, "bits per character", counts)
        for name, runs in groupby(
            sorted(outcomes, key=lambda o: names.index(o.name)), key=lambda o: o.name
        ):
            colour = SERIES[names.index(name) % len(SERIES)]
            style = ("-", "--", ":")[names.index(name) % 3]
            for number, run in enumerate(runs):
                axes.plot(
                    *zip(*points(run), strict=True),
                    color=colour,
                    linestyle=style,
                    linewidth=1.2,
                    marker="o" if validated else None,
                    markersize=3,
                    label=None if number else literal(name),
                )
        axes.legend()

    what = "Validation loss" if validated else "Training average"
    descriptions = [
        f"{o.name}, seed {o.seed}: from {values[0][1]:.3f} to {values[-1][1]:.3f}."
        for o in outcomes
        if (values := points(o))
    ]
    svg: Markup = figure_svg(draw, f"{what}, bits per character. {' '.join(descriptions)}", *SIZE)
    return {"title": title, "svg": svg, "caption": f"{what}, one line for each seed."}
