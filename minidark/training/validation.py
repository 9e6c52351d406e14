"""When a run validates, and whether the cost still falls."""

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
VALIDATE_SHARE = 10  # training symbols for each validation symbol, so that it costs little


def validations(batches: int, symbols: int, validated: int) -> int:
    """How many a run of so many batches makes, by `Validation.is_due`: each batch has so many
    symbols, each validation so many. There is one at its end."""
    if not validated or not batches:
        return 0
    rounds = math.ceil(VALIDATE_SHARE * validated / (VALIDATE_EVERY * symbols))
    return math.ceil(batches / (VALIDATE_EVERY * max(1, rounds)))


class Validation:
    """When to validate, and whether it still falls."""

    def __init__(self, net: Network, feed: Feed, ranks: Ranks):
        self.net, self.feed, self.ranks = net, feed, ranks
        self.off = False
        self.warned = False  # of one that came to nothing
        self.lowest = math.inf
        self.fruitless = 0  # validations since the lowest
        self.unvalidated = 0  # symbols trained on since the last
        self.batches = 0

    def begin(self) -> None:
        """The best of the run is to be better than what it begins with."""
        if self.feed.validated and (found := self._validated()):
            self.lowest = found.loss

    def is_due(self, symbols: int, last: bool) -> bool:
        """Whether the batch that comes, of so many symbols, is one to validate after."""
        in_turn = (self.batches + 1) % VALIDATE_EVERY == 0
        enough = self.unvalidated + symbols >= VALIDATE_SHARE * self.feed.validated
        return self.feed.validated > 0 and not self.off and (last or (in_turn and enough))

    def after(self, symbols: int, due: bool) -> Validated | None:
        """The validation, if one is due after this batch and comes to a number."""
        self.unvalidated += symbols
        self.batches += 1
        if not due:
            return None
        self.unvalidated = 0
        found = self._validated()
        if found is None:
            return None
        if found.loss < self.lowest:
            self.lowest, self.fruitless = found.loss, 0
        else:
            self.fruitless += 1
        return found

    def _validated(self) -> Validated | None:
        """None where the cost is no number because batch norm's statistics lag behind weights that
        train well. Raises DivergedError for any other cause."""
        found = self._measured()
        if math.isfinite(found.loss) or not is_lagging(self.net):
            check_cost(found.loss, "validation cost", self.net)
            return found
        if self.ranks.leads and not self.warned:
            log.warning(
                "batch %d: the validation cost is %s: %s; the run continues, and such a "
                "validation does not count",
                self.net.batches_seen, found.loss, LAGGING,
            )  # fmt: skip
        self.warned = True
        return None

    def _measured(self) -> Validated:
        """By the rank that leads; the others wait, and are told."""
        found = np.full(2, math.nan)
        if self.ranks.leads:
            with np.errstate(all="ignore"), self.net.learner.averaged():
                measured = self.feed.validate(self.net)
            found[:] = measured.loss, math.nan if measured.exact is None else measured.exact
        self.ranks.broadcast(found)
        loss, exact = found.tolist()
        return Validated(loss, None if math.isnan(exact) else exact)


def check_cost(cost: float, what: str, net: Network) -> None:
    if not math.isfinite(cost):
        name = first_not_finite(net)
        where = f", and NaN or infinity is first in {name}" if name else ""
        raise DivergedError(
            f"batch {net.batches_seen}: the {what} is {cost}{where}; "
            "try a lower learning_rate, or --clip-norm 1"
        )
