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

import math
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor

import numpy as np

from minidark.backend import Array
from minidark.errors import CfgError, MinidarkError
from minidark.feeds import Pass
from minidark.layers.base import Layer
from minidark.network import Network, unheard
from minidark.parallel.gpus import reaching
from minidark.parallel.ranks import Ranks
from minidark.text import Ids

DRAWS = 3  # in the seed of a group's generator, so that no other draws are these


class Shards:
    """`net` in so many `groups`, those of this rank; `own` is which of the streams they have.

    Raises CfgError for groups that the streams cannot be dealt into, MinidarkError for ranks that
    the groups cannot.
    """

    def __init__(self, net: Network, groups: int, ranks: Ranks, seed: int):
        self.net, self.ranks, self.seed = net, reaching(ranks, net.backend), seed
        self.own = own_streams(net, groups, ranks)
        each = net.streams // groups
        self.groups = {
            number: net.shard(slice(number * each, (number + 1) * each))
            for number in ranks.share(groups)
        }
        self.count, self.streams = groups, each
        self.behind = ThreadPoolExecutor(1, "sums")  # while the layers below are computed
        self.gathered = True  # whether all states are what their ranks have

    def learn(self, passes: Sequence[Pass], measure: bool) -> float:
        """A batch of all groups, of whose passes these are the part of `own`, and its update; the
        summed cost. After a cost of NaN or infinity the weights stay."""
        net, self.gathered = self.net, self.ranks.size == 1
        *others, last = self.groups
        figures, sums = Tree(), [LayerSum(layer) for layer in net.layers]
        for number in others:
            figures.add(self._accumulate(number, passes))
            for one in sums:
                one.add()
        coming = list(sums)
        sent: list[Future[None]] = []

        def done(layer: int) -> None:
            """Those above it are, too."""
            while len(coming) > layer:
                one = coming.pop()
                one.add()
                if one.tree.waiting:
                    sent.append(self._summed(one.tree.top))

        figures.add(self._accumulate(last, passes, done))
        done(0)
        sent.append(self._summed(figures.top))
        for future in sent:
            future.result()
        for one in sums:
            one.put(self.count)
        cost, rows = figures.top.tolist()
        net.accumulated = int(rows)
        net.seen += net.options.rows * len(passes)
        if math.isfinite(cost):
            net.update(measure)
        return cost

    def gather(self) -> None:
        """Let this rank have the states of all streams, as a checkpoint does."""
        for layer in self.net.layers:
            for state in layer.states.values() if self.ranks.size > 1 else ():
                width = state.shape[1]
                own = slice(self.own.start * width, self.own.stop * width)
                self.ranks.gather(state.reshape(-1), own)
        self.gathered = True

    def _summed(self, buffer: Array) -> Future[None]:
        """Over all ranks, behind what is computed meanwhile, and behind those before it: the order
        of sums is the same on all ranks."""
        return self.behind.submit(self.ranks.sum, buffer)

    def _accumulate(
        self, number: int, passes: Sequence[Pass], done: Callable[[int], None] = unheard
    ) -> Array:
        """Let the network's gradients be the group's; its cost and rows (2,). done: called with the
        number of each layer whose gradients are whole."""
        group = self.groups[number]
        group.accumulated, cost = 0, 0.0
        self._seed_layers(number, group)
        at = number * self.streams - self.own.start
        columns = slice(at, at + self.streams)
        for given in passes:
            if given.fresh:
                group.reset_state()
            x, truth = (np.ascontiguousarray(ids[:, columns]) for ids in (given.x, given.truth))
            if _counts(truth):
                whole = done if given is passes[-1] else unheard
                cost += float(group.accumulate(x, truth, done=whole))
        return np.array([cost, group.accumulated], np.float64)

    def _seed_layers(self, number: int, group: Network) -> None:
        rng = np.random.default_rng([self.seed % 2**64, DRAWS, number, self.net.batches_seen])
        for layer in group.layers:
            if layer.rng:
                layer.rng = rng


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
