"""The table cells and the page of a comparison."""

from __future__ import annotations

import shlex
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from minidark.errors import number_of
from minidark.report.charts import COLOURS, COUNTED, LN2, MARKED, POINTS, Chart, Line, bounded
from minidark.report.pages import write_page
from minidark.report.run import MADE_ON
from minidark.report.training import hash_label
from minidark.training.compare import Outcome
from minidark.training.report import StepReport

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
    charts = [_chart(names, outcomes)] if any(outcome.reports for outcome in outcomes) else []
    write_page(
        path,
        "comparison",
        title=_title(names, labels),
        verdict=verdict(facts),
        summary=_summary(facts),
        facts=facts,
        best=best(facts),
        columns=COLUMNS,
        cells=cells,
        colours=COLOURS,
        charts=charts,
        data=[chart.to_json() for chart in charts],
        words=command,
        made_on=MADE_ON,
        hash_label=hash_label,
        quoted=shlex.quote,
    )


def best(facts: dict[str, Any]) -> dict[str, Any] | None:
    """The cfg with the fewest bits per character; None if no run has any."""
    return next(iter(_ranked(facts)), None)


def _ranked(facts: dict[str, Any]) -> list[dict[str, Any]]:
    measured = [cfg for cfg in facts["cfgs"] if cfg["bits_per_character"] is not None]
    return sorted(measured, key=lambda cfg: cfg["bits_per_character"])


def verdict(facts: dict[str, Any]) -> str:
    """The result in one sentence: the best cfg, by how much, and whether that may be chance."""
    ranked = _ranked(facts)
    if not ranked:
        return "no cfg has a validation loss"
    first = f"best: {ranked[0]['label']} with {_bits(ranked[0])} bits per character"
    if len(ranked) == 1:
        return first
    gap = ranked[1]["bits_per_character"] - ranked[0]["bits_per_character"]
    spread = [cfg["bits_deviation"] for cfg in ranked[:2] if cfg["bits_deviation"] is not None]
    if not spread:
        doubt = "; each ran with one seed, and more --seeds show the spread"
    elif gap <= max(spread):
        doubt = "; the seeds differ as much"
    else:
        doubt = ""
    return f"{first}, {gap:.3f} below {ranked[1]['label']}{doubt}"


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
        f"parameters, {budget}, and {number_of(seeds, 'seed')}."
    )


def _chart(names: Sequence[str], outcomes: Sequence[Outcome]) -> Chart:
    """Validation losses and training averages by characters and by time, a line for each run."""
    kinds = {"validation": _validations, "training": _averages}
    if not all(len(_validations(outcome.reports)) > 1 for outcome in outcomes):
        kinds = {"training": _averages, "validation": _validations}
    present = {kind: of for kind, of in kinds.items() if any(of(o.reports) for o in outcomes)}
    ordered = sorted(outcomes, key=lambda o: names.index(o.name))
    lines = [
        Line(
            f"{o.name}, seed {o.seed}",
            [[report.symbols for report, _ in points], [round(r.seconds, 3) for r, _ in points]],
            [bounded(nats / LN2) for _, nats in points],
            names.index(o.name),
            kind,
            smooth=of is _averages,
            dots=of is _validations and len(points) <= MARKED,
        )
        for kind, of in enumerate(present.values())
        for o in ordered
        if (points := of(o.reports))
    ]
    shown, *_ = present
    descriptions = [
        f"{o.name}, seed {o.seed}: from {points[0][1] / LN2:.3f} to {points[-1][1] / LN2:.3f}."
        for o in ordered
        if (points := present[shown](o.reports))
    ]
    return Chart(
        "Curves",
        "Validation: the loss on held-out text. Training: an exponential moving average (0.9 old, "
        f"0.1 new). One line for each seed. Seconds include validations. {COUNTED}",
        f"The {shown} loss, in bits per character. {' '.join(descriptions)}",
        ["characters", "seconds"],
        ["bits per character"] * len(present),
        lines,
        kinds=[*present],
        tools=True,
        whole=True,
    )


def _validations(reports: Sequence[StepReport]) -> list[tuple[StepReport, float]]:
    points = [(r, r.valid_loss) for r in reports if r.valid_loss is not None]
    return points[:: 1 + len(points) // POINTS]


def _averages(reports: Sequence[StepReport]) -> list[tuple[StepReport, float]]:
    return [(r, r.average) for r in reports[:: 1 + len(reports) // POINTS]]
