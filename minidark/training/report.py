"""The report of a training batch."""

from __future__ import annotations

from dataclasses import dataclass, field

from minidark.network.html_table import html_table

SHOWN = ("batch", "loss", "average", "rate", "epochs", "valid_loss")  # in a notebook


@dataclass(frozen=True, slots=True)
class StepReport:
    """One batch. For a softmax, costs are nats per character. `symbols` count characters with a
    truth: for a pair, the bytes of the target and its end mark."""

    batch: int  # whole batches seen, over all runs of these weights
    last: bool
    loss: float  # mean over this batch's rows
    average: float  # exponential moving average (0.9 old, 0.1 new)
    rate: float  # learning rate of this batch's update
    symbols: int  # trained on in this run
    seconds: float  # since this run began, with validations, without compiling kernels
    epochs: float  # symbols / size of the training part
    valid_loss: float | None = None  # if this batch ended in a validation
    valid_symbols: int | None = None  # symbols in that mean; fewer than held out, if those are many
    valid_exact: float | None = None  # share of pairs that are predicted exactly
    best: bool = False  # whether that validation is the lowest of this run
    # Norm of each layer's mean gradient before clipping, by layer name: for every tenth batch, the
    # last one and those with a validation.
    gradient_norms: dict[str, float] | None = None
    sample: str | None = None  # sample after this batch, if one was drawn
    # Seconds of this batch alone, including its validation.
    took: float = field(default=0.0, compare=False)

    def _repr_html_(self) -> str:
        """The figures as a table, for notebooks."""
        shown = {name: _rounded(getattr(self, name)) for name in SHOWN}
        return html_table("", list(shown), [list(shown.values())])


def _rounded(figure: float | None) -> str | int:
    if figure is None:
        return "-"
    return figure if isinstance(figure, int) else f"{figure:.4g}"
