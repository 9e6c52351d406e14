"""Charts of training runs: their numbers, which `templates/chart.js` draws, and a description in
words for screen readers.

The page draws them, so that it can show values at the pointer, switch to a logarithmic scale and
smooth a curve. A chart has at most POINTS points a line and LAYERS lines, so that any log is drawn
soon.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from minidark.errors import cut, visible
from minidark.report.run import Run

LONGEST_NAME = 40  # characters
MARKED = 60  # up to so many points have a dot each
POINTS = 1000  # limit for a line
LAYERS = 30  # limit of lines; more cannot be distinguished
MARKS = 100  # limit of vertical lines where a run was resumed
COLOURS, DASHES = 6, 3  # `--series-0` and so on of base.css; whole, dashed and dotted
UNITS = ((3600, "hours"), (60, "minutes"), (1, "seconds"))  # each from two units on
LN2 = math.log(2)
COUNTED = "A character is a byte, of which a Korean letter has three, or a token."


@dataclass(frozen=True, slots=True)
class Line:
    """A line of a chart. `x` has a list for each of the chart's `x`; a missing y is None.
    kind: index into the chart's `y`; None: shown with each of them."""

    name: str
    x: list[list[float]]
    y: list[float | None]
    number: int = 0  # of its colour and dashes
    kind: int | None = None
    smooth: bool = True  # whether the reader's smoothing applies
    dots: bool = False


@dataclass(frozen=True, slots=True)
class Chart:
    """x, y: names of the axes; several of them are the reader's choice. marks: positions of
    vertical lines on the first x axis, where a run was resumed."""

    title: str
    caption: str
    label: str
    x: list[str]
    y: list[str]
    lines: list[Line]
    kinds: list[str] = field(default_factory=list)  # names of the choice of `y`
    zero: bool = False  # the vertical axis begins at zero
    log: bool = False
    tools: bool = False  # switches for a logarithmic scale and smoothing
    whole: bool = False  # the first x axis counts
    marks: list[int] = field(default_factory=list)

    def to_json(self) -> dict[str, Any]:
        shown = asdict(self)
        shown["lines"] = [
            {**line, "name": short(line["name"]), "colour": line["number"] % COLOURS,
             "dash": line["number"] % DASHES if len(self.lines) > 2 else 0}
            for line in shown["lines"]
        ]  # fmt: skip
        return {**shown, "label": visible(self.label)}


def run_charts(run: Run) -> list[Chart]:
    """The charts of a run, the loss first; empty before the first line of its log."""
    if not run.lines:
        return []
    charts = [loss_chart(run)]
    charts += [gradient_chart(run)] if run.layers else []
    charts += [speed_chart(run)] if run.speeds else []
    return [*charts, rate_chart(run)]


def loss_chart(run: Run) -> Chart:
    """The training average and the validation loss, in bits or in units of the cost."""
    lines, validations = thinned(run.lines), thinned(run.validations)
    drawn = [Line("training average", *_columns(run, lines, "average"))]
    sentences = [_course(run, "The training average", lines, "average")]
    if validations:
        columns = _columns(run, validations, "valid_loss")
        drawn.append(Line("validation loss", *columns, 1, dots=len(validations) <= MARKED))
        sentences.append(_course(run, "The validation loss", validations, "valid_loss"))
    return Chart(
        "Loss",
        "Training average: an exponential moving average (0.9 old, 0.1 new). Validation loss: on "
        f"held-out text.{f' {COUNTED}' if run.in_nats else ''}",
        " ".join(sentences),
        ["batch"],
        ["bits per character" if run.in_nats else "cost"],
        drawn,
        tools=True,
        whole=True,
        marks=_marks(run),
    )


def rate_chart(run: Run) -> Chart:
    """The learning rate."""
    lines = thinned(run.lines)
    return Chart(
        "Learning rate",
        "The rate of each batch's last update, before a layer's own scale.",
        _course(run, "The learning rate", lines, "rate"),
        ["batch"],
        ["learning rate"],
        [Line("learning rate", *_columns(run, lines, "rate"))],
        zero=True,
        whole=True,
    )


def gradient_chart(run: Run) -> Chart:
    """The norm of each layer's mean gradient, on a logarithmic scale."""
    lines, layers = thinned(run.lines), run.layers[:LAYERS]
    batches = [line["batch"] for line in lines]
    norms = {name: [line["gradient_norms"].get(name) for line in lines] for name in layers}
    sentences = [
        f"The gradient norm of {short(name)} goes from {values[0]:.3g} to {values[-1]:.3g}."
        for name in layers
        if (values := [norm for norm in norms[name] if norm is not None])
    ]
    count = len(run.layers)
    left_out = [] if count <= LAYERS else [f"The chart shows the first {LAYERS} of {count:,}."]
    return Chart(
        "Gradients",
        " ".join(["The norm of each layer's mean gradient before clipping.", *left_out]),
        " ".join([*sentences, *left_out]),
        ["batch"],
        ["gradient norm"],
        [Line(name, [batches], [*map(bounded, norms[name])], k) for k, name in enumerate(layers)],
        log=True,
        whole=True,
    )


def speed_chart(run: Run) -> Chart:
    """Characters per second, over time."""
    speeds = run.speeds[:: 1 + len(run.speeds) // POINTS]
    size, unit = next((u for u in UNITS if speeds[-1][0] >= 2 * u[0]), UNITS[-1])
    figures = [one for _, one in speeds]
    slowest, fastest = amount(min(figures)), amount(max(figures))
    x, y = [bounded(at / size) or 0.0 for at, _ in speeds], [*map(bounded, figures)]
    return Chart(
        "Speed",
        "Between two lines of the log, including validations.",
        f"Between {slowest} and {fastest} characters per second.",
        [unit],
        ["characters per second"],
        [Line("characters per second", [x], y)],
        zero=True,
    )


def amount(figure: float, digits: int = 0) -> str:
    """A figure with thousands separators; a huge one in powers of ten."""
    return f"{figure:,.{digits}f}" if abs(figure) < 1e15 else f"{figure:.3g}"


def bounded(figure: float | None) -> float | None:
    """A figure for a chart, to six digits. NaN and infinity are gaps: None."""
    return float(f"{figure:.6g}") if figure is not None and math.isfinite(figure) else None


def short(name: str) -> str:
    """A name for a legend: control characters escaped, a long name cut."""
    return cut(visible(name), LONGEST_NAME)


def thinned(lines: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """Every k-th line and the last, about POINTS in all."""
    sample = [*lines[:: 1 + len(lines) // POINTS]]
    return sample if not lines or sample[-1] is lines[-1] else [*sample, lines[-1]]


def _columns(
    run: Run, lines: Sequence[dict[str, Any]], key: str
) -> tuple[list[list[float]], list[float | None]]:
    return [[line["batch"] for line in lines]], [bounded(_shown(run, line, key)) for line in lines]


def _shown(run: Run, line: dict[str, Any], key: str) -> float:
    """A figure of the log; costs in nats as bits."""
    figure: float = line[key]
    return figure / LN2 if run.in_nats and key != "rate" else figure


def _course(run: Run, what: str, lines: Sequence[dict[str, Any]], key: str) -> str:
    first, last = lines[0], lines[-1]
    least = min(lines, key=lambda line: line[key])
    values = [f"{_shown(run, one, key):.4g}" for one in (first, last, least)]
    return (
        f"{what} goes from {values[0]} at batch {first['batch']:,} to {values[1]} at "
        f"batch {last['batch']:,}; the lowest is {values[2]} at batch {least['batch']:,}."
    )


def _marks(run: Run) -> list[int]:
    return run.resumed_at[:: 1 + len(run.resumed_at) // MARKS]
