"""One network, trained by groups of its streams.

The S streams are dealt into G groups, a power of two, and each group's passes go forward and
backward by themselves: from their own states to a gradient of their own. The G gradients are then
added by a binary tree, whichever rank each was computed on,

    ((0 + 1) + (2 + 3)) + ((4 + 5) + (6 + 7))

so that any number of ranks that divides G comes to the same bytes. A rank has G / R groups in a row
for the whole run; it adds theirs, which is one subtree, and `Ranks.sum` the rest of the tree.

A layer's sum is begun as soon as the last group has come down through it, on a thread of its own,
while the layers below are computed.

What a pass changes besides goes the same way: the cost, the rows, and the rolling statistics of
batch norm, of which each group moves a copy and the mean is kept. What is left out at random, by
[dropout] or `dropconnect`, is drawn for each group and batch. The states of all streams lie in the
network's own arrays; a group's are views.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor

import numpy as np

from minidark.backend import Array, Scalar
from minidark.data.text import Ids
from minidark.errors import CfgError, MinidarkError
from minidark.layers.base import Layer
from minidark.network.network import Network, unheard
from minidark.training.feeds import Pass
from minidark.training.parallel.gpus import reaching
from minidark.training.parallel.ranks import Ranks

DRAWS = 3  # in the seed of a group's generator, so that no other draws are these


class Shards:
    """`net` in so many `groups`, those of this rank; `own` is which of the streams they have.

    Raises CfgError for groups that the streams cannot be dealt into, MinidarkError for ranks that
    the groups cannot.
    """

    def __init__(self, net: Network, groups: int, ranks: Ranks, seed: int):
        self.net, self.seed, self._ranks = net, seed, ranks
        self._reaching: Ranks | None = None
        self.own = own_streams(net, groups, ranks)
        self.count, self.each = groups, net.streams // groups
        self.groups = {
            number: net.shard(slice(number * self.each, (number + 1) * self.each))
            for number in ranks.share(groups)
        }
        self.summing = ThreadPoolExecutor(1, "sums")  # while the layers below are computed
        self.gathered = True  # whether all states are what their ranks have

    @property
    def ranks(self) -> Ranks:
        """For this backend. Made at its first use, when all are known to be alike: that takes all
        of them."""
        if self._reaching is None:
            self._reaching = reaching(self._ranks, self.net.backend)
        return self._reaching

    def learn(self, passes: Sequence[Pass], measure: bool) -> float:
        """A batch of all groups, of whose passes these are the part of `own`, and its update; the
        summed cost. After a cost of NaN or infinity the weights stay."""
        net, self.gathered = self.net, self.ranks.size == 1
        *others, last = self.groups
        try:
            sums = Sums(net.layers, self._begin_sum)
            figures = []
            for number in others:
                figures.append(self._accumulate(number, passes))
                sums.add_group()
            figures.append(self._accumulate(last, passes, sums.done))
            cost, rows = sums.finish(self._together(figures), self.count).tolist()
        except BaseException:  # a sum that waits for ranks would be waited for at the end
            self.summing.shutdown(wait=False, cancel_futures=True)
            raise
        net.learner.learn(int(rows), net.options.rows * len(passes), cost, measure)
        return cost

    def _together(self, figures: Sequence[tuple[Scalar, int]]) -> Array:
        """The cost and the rows (2,) of this rank's groups. A GPU is waited for here."""
        costs, tree = self.net.backend.asfloats([cost for cost, _ in figures]), Tree()
        for cost, (_, rows) in zip(costs, figures, strict=True):
            tree.add(np.array([cost, rows], np.float64))
        return tree.top

    def gather(self) -> None:
        """Let this rank have the states of all streams, as a checkpoint does."""
        self.gathered = True
        if self.ranks.size == 1:
            return
        for layer in self.net.layers:
            for state in layer.states.values():
                width = state.shape[1]
                own = slice(self.own.start * width, self.own.stop * width)
                self.ranks.gather(state.reshape(-1), own)

    def _begin_sum(self, buffer: Array) -> Future[None]:
        """Over all ranks, beside what is computed meanwhile and behind the sums before it."""
        return self.summing.submit(self.ranks.sum, buffer, self.ranks.ready())

    def _accumulate(
        self, number: int, passes: Sequence[Pass], done: Callable[[int], None] = unheard
    ) -> tuple[Scalar, int]:
        """Let the network's gradients be the group's; its cost and rows. done: called with the
        number of each layer whose gradients are whole."""
        group, costs = self.groups[number], []
        before = group.accumulated
        self._seed_layers(number, group)
        at = number * self.each - self.own.start
        columns = slice(at, at + self.each)
        for given in passes:
            if given.fresh:
                group.reset_state()
            x, truth = (np.ascontiguousarray(ids[:, columns]) for ids in (given.x, given.truth))
            if _counts(truth):
                whole = done if given is passes[-1] else unheard
                costs.append(group.accumulate(x, truth, done=whole))
        return sum(costs, 0.0), group.accumulated - before

    def _seed_layers(self, number: int, group: Network) -> None:
        rng = np.random.default_rng([self.seed % 2**64, DRAWS, number, self.net.batches_seen])
        for layer in group.layers:
            layer.draw_from(rng)


class Sums:
    """What the groups of a batch come to, layer by layer. All ranks add in one order: the highest
    layer first, as soon as the last group has come down through it, and at the end the figures.

    begin: starts the sum of a buffer over all ranks.
    """

    def __init__(self, layers: Sequence[Layer], begin: Callable[[Array], Future[None]]):
        self.layers, self.begin = [LayerSum(layer) for layer in layers], begin
        self.above = len(self.layers)  # the lowest of those that are done, and below it the others
        self.begun: list[Future[None]] = []

    def add_group(self) -> None:
        """All layers have the gradients of a group that is not the rank's last."""
        for layer in self.layers:
            layer.add()

    def done(self, number: int) -> None:
        """The layer of that number has those of the last group, and so have all above it."""
        while self.above > number:
            self.above -= 1
            layer = self.layers[self.above]
            layer.add()
            if layer.tree.waiting:
                self.begun.append(self.begin(layer.tree.top))

    def finish(self, figures: Array, groups: int) -> Array:
        """Let all layers have their sums of so many groups; and the figures' sum."""
        self.done(0)
        self.begun.append(self.begin(figures))
        for sum_ in self.begun:
            sum_.result()
        for layer in self.layers:
            layer.put(groups)
        return figures


class LayerSum:
    """What the groups of a batch change in a layer, in a flat buffer: its gradients, and its
    rolling statistics."""

    def __init__(self, layer: Layer):
        self.xp = layer.backend.xp
        self.gradients = [p.grad for p in layer.parameters()]
        self.rolling = [a.value for a in layer.arrays() if a.kind.startswith("rolling")]
        self.before = [array.copy() for array in self.rolling]
        self.tree = Tree()

    def add(self) -> None:
        """Take them out of the layer, and leave what the next group begins with: gradients of zero,
        and the statistics of before."""
        arrays = [array.reshape(-1) for array in (*self.gradients, *self.rolling)]
        if arrays:
            self.tree.add(self.xp.concatenate(arrays))
        for gradient in self.gradients:
            gradient[...] = 0
        for array, before in zip(self.rolling, self.before, strict=True):
            array[...] = before

    def put(self, groups: int) -> None:
        """Let the layer have the sum, and of statistics the mean, of so many groups."""
        at = 0
        for array in (*self.gradients, *self.rolling):
            array[...] = self.tree.top[at : at + array.size].reshape(array.shape)
            at += array.size
        for array in self.rolling:
            array /= groups


class Tree:
    """Adds arrays up, two and two, and those sums two and two. Takes 2**k of them, writes into
    them, and holds one of each height at a time."""

    def __init__(self) -> None:
        self.waiting: list[tuple[int, Array]] = []  # height and sum, lowest last

    def add(self, array: Array) -> None:
        height = 0
        while self.waiting and self.waiting[-1][0] == height:
            _, lower = self.waiting.pop()
            lower += array
            array, height = lower, height + 1
        self.waiting.append((height, array))

    @property
    def top(self) -> Array:
        ((_, total),) = self.waiting
        return total


def own_streams(net: Network, groups: int, ranks: Ranks) -> slice:
    """Which streams are this rank's; raises as `Shards` does."""
    if not _power_of_two(groups) or net.streams % groups:
        raise CfgError(
            f"{net.streams} streams (batch / subdivisions) cannot be dealt into {groups} shards: "
            "that is to be a power of two that divides them"
        )
    if not _power_of_two(ranks.size) or groups % ranks.size:
        raise MinidarkError(
            f"{groups} shards cannot be dealt to {ranks.size} ranks: start 1 rank, or another "
            "power of two that divides them"
        )
    mine = ranks.share(net.streams)
    return slice(mine.start, mine.stop)


def _power_of_two(number: int) -> bool:
    return number > 0 and number & (number - 1) == 0


def _counts(truth: Ids) -> bool:
    """Whether any row has a truth; of the last pairs of an epoch, a group may have none."""
    return bool((truth >= 0).any())
