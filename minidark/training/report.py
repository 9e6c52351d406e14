"""What a training run tells of each batch."""

from __future__ import annotations

from dataclasses import dataclass, field

from minidark.network.html_table import html_table

SHOWN = ("batch", "loss", "average", "rate", "epochs", "valid_loss")  # in a notebook


@dataclass(frozen=True, slots=True)
class StepReport:
    """One batch. Costs are nats per symbol for a softmax. Symbols are those with a truth: of a
    pair the target and its end mark."""

    batch: int  # whole batches seen, over all runs of these weights
    last: bool
    loss: float  # mean over this batch's rows
    average: float  # .9 average + .1 loss
    rate: float  # of the update that this batch ended in
    symbols: int  # trained on in this run
    seconds: float  # since this run began, validation included, compiling kernels not
    epochs: float  # symbols over the size of the training part
    valid_loss: float | None = None  # where this batch ended in a validation
    valid_symbols: int | None = None  # that it is the mean of; fewer than were kept out, of many
    valid_exact: float | None = None  # of pairs, the share that is predicted whole
    best: bool = False  # that validation was the lowest of this run
    # Of each layer's mean gradient before clipping, by the layer's name; of every tenth batch, of
    # the last and of those that end in a validation.
    gradient_norms: dict[str, float] | None = None
    sample: str | None = None  # of text after this batch, for whoever draws one
    # Seconds of this batch alone, its validation included.
    took: float = field(default=0.0, compare=False)

    def _repr_html_(self) -> str:
        """The figures as a table, for notebooks."""
        shown = {name: _rounded(getattr(self, name)) for name in SHOWN}
        return html_table("", list(shown), [list(shown.values())])


def _rounded(figure: float | None) -> str | int:
    if figure is None:
        return "-"
    return figure if isinstance(figure, int) else f"{figure:.4g}"
