"""A baseline for classes: logistic regression on character n-grams, by scikit-learn (the extra
`learning`).

It counts the n-grams of 1 to 4 characters within words and at their edges (char_wb), so it knows
words and their parts but not their order.

Wang and Manning 2012, "Baselines and Bigrams: Simple, Good Sentiment and Topic Classification".
"""

from __future__ import annotations

import logging
import warnings
from collections.abc import Sequence
from importlib.util import find_spec

from minidark.errors import BackendError, DataError, echo

log = logging.getLogger(__name__)

ITERATIONS = 2000


def check_installed() -> None:
    """Raise BackendError without scikit-learn."""
    if find_spec("sklearn") is None:
        raise BackendError(
            "the baseline needs scikit-learn: pip install 'minidark[learning]', or omit --baseline"
        )


def logistic_regression(
    sources: Sequence[str], targets: Sequence[str], others: Sequence[str]
) -> list[str]:
    """The classes of other sources, after training on sources with their targets. Raises DataError
    for targets of one class, BackendError without scikit-learn."""
    check_installed()
    if len({*targets}) < 2:
        raise DataError(
            f"all pairs of the baseline have the target {echo(targets[0])}; it needs two classes "
            "or more"
        )
    from sklearn.feature_extraction.text import CountVectorizer
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline

    model = make_pipeline(
        CountVectorizer(analyzer="char_wb", ngram_range=(1, 4)),
        LogisticRegression(solver="newton-cg", max_iter=ITERATIONS),  # lbfgs takes 60 times longer
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # those that matter are logged below
        model.fit(sources, targets)
    if max(model[-1].n_iter_) >= ITERATIONS:
        log.warning("the baseline did not converge in %s iterations", f"{ITERATIONS:,}")
    return [str(label) for label in model.predict(others)]
