"""Decides when a run validates, and tracks the lowest cost."""

from __future__ import annotations

import logging
import math

import numpy as np

from minidark.errors import DivergedError
from minidark.network import Network
from minidark.network.nonfinite import LAGGING, first_not_finite, is_lagging
from minidark.training.feeds import Feed, Validated
from minidark.training.parallel.ranks import Ranks

log = logging.getLogger(__name__)

VALIDATE_EVERY = 100  # batches, and
VALIDATE_SHARE = (
    10  # training symbols for each validation symbol, so that validations take little time
)


def validations(batches: int, symbols: int, validated: int) -> int:
    """Number of validations in a run of this many batches, by the rule of `Validation.is_due`.
    `symbols` is per batch, `validated` per validation. The last batch validates."""
    if not validated or not batches:
        return 0
    rounds = math.ceil(VALIDATE_SHARE * validated / (VALIDATE_EVERY * symbols))
    return math.ceil(batches / (VALIDATE_EVERY * max(1, rounds)))


class Validation:
    """Validates when due, and counts validations without a new lowest cost."""

    def __init__(self, net: Network, feed: Feed, ranks: Ranks):
        self.net, self.feed, self.ranks = net, feed, ranks
        self.off = False
        self.warned = False  # of a validation that gave NaN
        self.lowest = math.inf
        self.fruitless = 0  # validations since the lowest
        self.unvalidated = 0  # symbols trained on since the last validation
        self.batches = 0

    def begin(self) -> None:
        """Validate the initial weights, which `_best` must beat."""
        if self.feed.validated and (result := self._validated()):
            self.lowest = result.loss

    def is_due(self, symbols: int, last: bool) -> bool:
        """Whether to validate after the coming batch, which has this many symbols."""
        in_turn = (self.batches + 1) % VALIDATE_EVERY == 0
        enough = self.unvalidated + symbols >= VALIDATE_SHARE * self.feed.validated
        return self.feed.validated > 0 and not self.off and (last or (in_turn and enough))

    def after(self, symbols: int, due: bool) -> Validated | None:
        """Count a batch. Returns its validation if one is due and its cost is finite."""
        self.unvalidated += symbols
        self.batches += 1
        if not due:
            return None
        self.unvalidated = 0
        result = self._validated()
        if result is None:
            return None
        if result.loss < self.lowest:
            self.lowest, self.fruitless = result.loss, 0
        else:
            self.fruitless += 1
        return result

    def _validated(self) -> Validated | None:
        """None if the cost is not finite only because batch norm's rolling statistics lag behind
        the weights. Raises DivergedError for any other cause."""
        result = self._measured()
        if math.isfinite(result.loss) or not is_lagging(self.net):
            check_cost(result.loss, "validation cost", self.net)
            return result
        if self.ranks.leads and not self.warned:
            log.warning(
                "batch %d: the validation cost is %s: %s; the run continues, and this "
                "validation does not count",
                self.net.batches_seen, result.loss, LAGGING,
            )  # fmt: skip
        self.warned = True
        return None

    def _measured(self) -> Validated:
        """Computed by the leading rank and broadcast to the others."""
        figures = np.full(2, math.nan)
        if self.ranks.leads:
            with np.errstate(all="ignore"), self.net.learner.averaged():
                measured = self.feed.validate(self.net)
            figures[:] = measured.loss, math.nan if measured.exact is None else measured.exact
        self.ranks.broadcast(figures)
        loss, exact = figures.tolist()
        return Validated(loss, None if math.isnan(exact) else exact)


def check_cost(cost: float, what: str, net: Network) -> None:
    if not math.isfinite(cost):
        name = first_not_finite(net)
        where = f"; {name} is the first with NaN or infinity" if name else ""
        raise DivergedError(
            f"batch {net.batches_seen}: the {what} is {cost}{where}; "
            "try a lower learning_rate, or --clip-norm 1"
        )
