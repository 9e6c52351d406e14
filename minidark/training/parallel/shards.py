"""Trains one network with groups of its streams.

The S streams are split into G groups, a power of two. Each group runs its own passes forward and
backward, from its own states to its own gradient. The G gradients are then added by a binary tree,
independent of the ranks that computed them,

    ((0 + 1) + (2 + 3)) + ((4 + 5) + (6 + 7))

so that any number of ranks that divides G gives byte-identical results. Each rank has G / R
consecutive groups for the whole run. It adds their gradients, which form one subtree, and
`Ranks.sum` adds the rest of the tree.

A layer's sum starts as soon as the last group's backward pass has left the layer, on a thread of
its own, while the layers below are computed.

Other results of a pass are added the same way: the cost, the rows, and the rolling statistics of
batch norm, of which each group updates a copy and the mean is kept. The masks of [dropout] and
`dropconnect` are drawn for each group and batch. The network's arrays hold the states of all
streams; those of a group are views.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor

import numpy as np

from minidark.backend import Array, Scalar
from minidark.data.text import Ids
from minidark.errors import CfgError, MinidarkError
from minidark.layers.base import Layer
from minidark.network.graph import ignore_done
from minidark.network.network import Network
from minidark.training.feeds import Pass
from minidark.training.parallel.gpus import reaching
from minidark.training.parallel.ranks import Ranks

DRAWS = 3  # makes the random seed of a group's generator unique


class Shards:
    """`net` in `groups` groups, of which this rank runs some; `own` is the slice of their streams.

    Raises CfgError if the streams cannot be split into the groups, MinidarkError if the groups
    cannot be split among the ranks.
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
        self.gathered = True  # whether this rank has the current states of all streams

    @property
    def ranks(self) -> Ranks:
        """The ranks for this backend. Created at the first use, after `check_alike`: all ranks must
        take part."""
        if self._reaching is None:
            self._reaching = reaching(self._ranks, self.net.backend)
        return self._reaching

    def learn(self, passes: Sequence[Pass], measure: bool) -> float:
        """Train one batch of all groups and update; `passes` has the streams `own`. Returns the
        summed cost. After a cost of NaN or infinity the weights stay unchanged."""
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
        except BaseException:  # a pending sum would block the exit
            self.summing.shutdown(wait=False, cancel_futures=True)
            raise
        net.learner.learn(int(rows), net.options.rows * len(passes), cost, measure)
        return cost

    def _together(self, figures: Sequence[tuple[Scalar, int]]) -> Array:
        """Cost and rows (2,) of this rank's groups. Waits for the GPU."""
        costs, tree = self.net.backend.asfloats([cost for cost, _ in figures]), Tree()
        for cost, (_, rows) in zip(costs, figures, strict=True):
            tree.add(np.array([cost, rows], np.float64))
        return tree.top

    def gather(self) -> None:
        """Collect the states of all streams on this rank, for a checkpoint."""
        self.gathered = True
        if self.ranks.size == 1:
            return
        for layer in self.net.layers:
            for state in layer.states.values():
                width = state.size // len(state)
                own = slice(self.own.start * width, self.own.stop * width)
                self.ranks.gather(state.reshape(-1), own)

    def _begin_sum(self, buffer: Array) -> Future[None]:
        """Start a sum over all ranks, in the background and after the previous sums."""
        return self.summing.submit(self.ranks.sum, buffer, self.ranks.ready())

    def _accumulate(
        self, number: int, passes: Sequence[Pass], done: Callable[[int], None] = ignore_done
    ) -> tuple[Scalar, int]:
        """Put the group's gradients into the parameters; returns its cost and rows. done: called
        with the number of each layer whose gradients are complete."""
        group, costs = self.groups[number], []
        before = group.accumulated
        self._seed_layers(number, group)
        at = number * self.each - self.own.start
        columns = slice(at, at + self.each)
        for one_pass in passes:
            if one_pass.fresh:
                group.reset_state()
            x, truth = (
                np.ascontiguousarray(ids[:, columns]) for ids in (one_pass.x, one_pass.truth)
            )
            if _counts(truth):
                whole = done if one_pass is passes[-1] else ignore_done
                costs.append(group.accumulate(x, truth, done=whole))
        return sum(costs, 0.0), group.accumulated - before

    def _seed_layers(self, number: int, group: Network) -> None:
        rng = np.random.default_rng([self.seed % 2**64, DRAWS, number, self.net.batches_seen])
        for layer in group.layers:
            layer.draw_from(rng)


class Sums:
    """Sums over a batch's groups, layer by layer. All ranks add in the same order: from the highest
    layer down, each as soon as the last group has passed it, and finally the figures.

    begin: starts the sum of a buffer over all ranks.
    """

    def __init__(self, layers: Sequence[Layer], begin: Callable[[Array], Future[None]]):
        self.layers, self.begin = [LayerSum(layer) for layer in layers], begin
        self.above = len(self.layers)  # lowest layer that is done
        self.begun: list[Future[None]] = []

    def add_group(self) -> None:
        """Add a group, other than the last, to all layers."""
        for layer in self.layers:
            layer.add()

    def done(self, number: int) -> None:
        """This layer and all above it have the gradients of the last group."""
        while self.above > number:
            self.above -= 1
            layer = self.layers[self.above]
            layer.add()
            if layer.tree.waiting:
                self.begun.append(self.begin(layer.tree.top))

    def finish(self, figures: Array, groups: int) -> Array:
        """Put the sums over all groups into the layers; returns the sum of the figures."""
        self.done(0)
        self.begun.append(self.begin(figures))
        for sum_ in self.begun:
            sum_.result()
        for layer in self.layers:
            layer.put(groups)
        return figures


class LayerSum:
    """Changes that a batch's groups make in a layer, in a flat buffer: gradients and rolling
    statistics."""

    def __init__(self, layer: Layer):
        self.xp = layer.backend.xp
        self.gradients = [p.grad for p in layer.parameters()]
        self.rolling = [a.value for a in layer.arrays() if a.kind.startswith("rolling")]
        self.before = [array.copy() for array in self.rolling]
        self.tree = Tree()

    def add(self) -> None:
        """Move a group's values out of the layer, and reset it for the next group: zero gradients,
        and the previous statistics."""
        arrays = [array.reshape(-1) for array in (*self.gradients, *self.rolling)]
        if arrays:
            self.tree.add(self.xp.concatenate(arrays))
        for gradient in self.gradients:
            gradient[...] = 0
        for array, before in zip(self.rolling, self.before, strict=True):
            array[...] = before

    def put(self, groups: int) -> None:
        """Put the sum of the gradients and the mean of the statistics into the layer."""
        at = 0
        for array in (*self.gradients, *self.rolling):
            array[...] = self.tree.top[at : at + array.size].reshape(array.shape)
            at += array.size
        for array in self.rolling:
            array /= groups


class Tree:
    """Adds 2**k arrays pairwise, then their sums pairwise, and so on. Overwrites the arrays, and
    holds at most one sum per height."""

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
    """The slice of this rank's streams; raises like `Shards`."""
    if not _power_of_two(groups) or net.streams % groups:
        raise CfgError(
            f"{net.streams} streams (batch / subdivisions) cannot be split into {groups} shards: "
            "use a power of two that divides them"
        )
    if not _power_of_two(ranks.size) or groups % ranks.size:
        raise MinidarkError(
            f"{groups} shards cannot be split among {ranks.size} ranks: start 1 rank, or another "
            "power of two that divides them"
        )
    mine = ranks.share(net.streams)
    return slice(mine.start, mine.stop)


def _power_of_two(number: int) -> bool:
    return number > 0 and number & (number - 1) == 0


def _counts(truth: Ids) -> bool:
    """Whether any row has a truth; a group may have none of an epoch's last pairs."""
    return bool((truth >= 0).any())
