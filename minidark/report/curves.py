"""Curves of training runs, each with a text description for screen readers."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from minidark.report.figures import INK, SERIES, figure_svg, literal
from minidark.report.run import Run

if TYPE_CHECKING:
    from markupsafe import Markup
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

SIZE = 5.2, 3.0  # inches: two side by side, or one on a phone
MARKED = 60  # up to so many validations have a dot each
POINTS = 1000  # limit for a curve
LAYERS = 30  # limit of curves; more take minutes to draw and cannot be distinguished
MARKS = 100  # limit of vertical lines where a run was resumed
UNITS = ((3600, "hours"), (60, "minutes"), (1, "seconds"))  # each from two units on


def loss_curve(run: Run) -> Markup:
    """The training average and the validation loss, in nats and bits, or in units of the cost."""
    lines, validations = thinned(run.lines), thinned(run.validations)

    def draw(figure: Figure) -> None:
        axes = axes_of(figure, "batch", "nats per character" if run.in_nats else "cost")
        axes.plot(*_columns(lines, "average"), label="training average", color=SERIES[0])
        if validations:
            axes.plot(
                *_columns(validations, "valid_loss"),
                marker="o" if len(validations) <= MARKED else None,
                markersize=3.5,
                label="validation loss",
                color=SERIES[1],
            )
        if run.in_nats:
            bits_beside(axes)
        _mark_resumed(axes, run.resumed_at)
        axes.legend()

    sentences = [_course("The training average", lines, "average")]
    sentences += [_course("The validation loss", validations, "valid_loss")] if validations else []
    return figure_svg(draw, " ".join(sentences), *SIZE)


def rate_curve(run: Run) -> Markup:
    """The learning rate."""
    lines = thinned(run.lines)

    def draw(figure: Figure) -> None:
        axes = axes_of(figure, "batch", "learning rate")
        axes.plot(*_columns(lines, "rate"), color=SERIES[0])
        axes.set_ylim(bottom=0)
        _mark_resumed(axes, run.resumed_at)

    return figure_svg(draw, _course("The learning rate", lines, "rate"), *SIZE)


def gradient_curve(run: Run) -> Markup:
    """The norm of each layer's mean gradient, on a logarithmic scale."""
    lines, layers = thinned(run.lines), run.layers[:LAYERS]
    left_out = "" if len(run.layers) <= LAYERS else f"the first {LAYERS} of {len(run.layers):,}"
    norms = {name: [line["gradient_norms"].get(name) for line in lines] for name in layers}

    def draw(figure: Figure) -> None:
        axes = axes_of(figure, "batch", "gradient norm")
        batches = [line["batch"] for line in lines]
        for k, name in enumerate(layers):
            style = ("-", "--", ":")[k // len(SERIES) % 3]
            colour = SERIES[k % len(SERIES)]
            # a logarithmic scale cannot show zero, and an infinite norm is stored as None
            y = [norm or math.nan for norm in norms[name]]
            axes.plot(batches, y, label=literal(name), color=colour, linestyle=style, linewidth=1.2)
        axes.set_yscale("log")
        _mark_resumed(axes, run.resumed_at)
        axes.legend(ncols=2, title=left_out or None)

    sentences = [
        f"The gradient norm of {name} goes from {values[0]:.3g} to {values[-1]:.3g}."
        for name in layers
        if (values := [norm for norm in norms[name] if norm is not None])
    ]
    sentences += [f"The figure shows {left_out} layers."] if left_out else []
    return figure_svg(draw, " ".join(sentences), *SIZE)


def speed_curve(run: Run) -> Markup:
    """Characters per second, over time."""
    speeds = run.speeds[:: 1 + len(run.speeds) // POINTS]
    size, unit = next((u for u in UNITS if speeds[-1][0] >= 2 * u[0]), UNITS[-1])

    def draw(figure: Figure) -> None:
        axes = axes_of(figure, unit, "characters per second", counts=False)
        axes.plot([at / size for at, _ in speeds], [one for _, one in speeds], color=SERIES[0])
        axes.set_ylim(bottom=0)
        axes.yaxis.set_major_formatter("{x:,.0f}")

    figures = [one for _, one in speeds]
    label = f"Between {min(figures):,.0f} and {max(figures):,.0f} characters per second."
    return figure_svg(draw, label, *SIZE)


def axes_of(figure: Figure, x: str, y: str, counts: bool = True) -> Axes:
    """The figure's axes. counts: whether the horizontal axis has only whole numbers."""
    axes = figure.add_subplot()
    axes.locator_params(axis="x", nbins=6, integer=counts, min_n_ticks=1)
    axes.xaxis.set_major_formatter("{x:,.10g}")
    axes.set_xlabel(x)
    axes.set_ylabel(y)
    axes.grid(visible=True)
    return axes


def bits_beside(axes: Axes) -> None:
    """Add a scale in bits on the right."""
    scale = (lambda nats: nats / math.log(2), lambda bits: bits * math.log(2))
    axes.secondary_yaxis("right", functions=scale).set_ylabel("bits per character")


def thinned(lines: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """Every k-th line and the last, about POINTS in all."""
    sample = [*lines[:: 1 + len(lines) // POINTS]]
    return sample if not lines or sample[-1] is lines[-1] else [*sample, lines[-1]]


def _columns(lines: Sequence[dict[str, Any]], key: str) -> tuple[list[float], list[float]]:
    return [line["batch"] for line in lines], [line[key] for line in lines]


def _course(what: str, lines: Sequence[dict[str, Any]], key: str) -> str:
    first, last = lines[0], lines[-1]
    least = min(lines, key=lambda line: line[key])
    return (
        f"{what} goes from {first[key]:.4g} at batch {first['batch']:,} to {last[key]:.4g} at "
        f"batch {last['batch']:,}; the lowest is {least[key]:.4g} at batch {least['batch']:,}."
    )


def _mark_resumed(axes: Axes, batches: Sequence[int]) -> None:
    for number, batch in enumerate(batches[:: 1 + len(batches) // MARKS]):
        label = None if number else "resumed"
        axes.axvline(batch, color=INK, linestyle=":", linewidth=1, alpha=0.6, label=label)
