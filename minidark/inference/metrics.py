"""BLEU and chrF of predictions, by sacrebleu (the extra `metrics`).

Figures are those of `sacrebleu targets -i predictions -m bleu chrf`. A signature says how a figure
was computed, so that it can be compared with others.

Post 2018, "A Call for Clarity in Reporting BLEU Scores", arXiv:1804.08771; Popović 2015, "chrF".
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from minidark.errors import BackendError


@dataclass(frozen=True, slots=True)
class Metrics:
    """bleu, chrf: from 0 to 100, over all predictions. lowercase: without regard to case."""

    bleu: float
    chrf: float
    bleu_signature: str
    chrf_signature: str
    lowercase: bool


def metrics(predicted: Sequence[str], targets: Sequence[str], lowercase: bool = False) -> Metrics:
    """BLEU and chrF of predictions against one target each. Raises BackendError without
    sacrebleu."""
    try:
        from sacrebleu.metrics import BLEU, CHRF
    except ImportError as error:
        raise BackendError(
            "BLEU and chrF need sacrebleu: pip install 'minidark[metrics]'"
        ) from error
    bleu, chrf = BLEU(lowercase=lowercase, force=True), CHRF(lowercase=lowercase)
    figures = [metric.corpus_score(predicted, [targets]).score for metric in (bleu, chrf)]
    signatures = [str(metric.get_signature()) for metric in (bleu, chrf)]
    return Metrics(figures[0], figures[1], signatures[0], signatures[1], lowercase)
