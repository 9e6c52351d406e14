"""A batch before the first one, on a network that is then discarded.

Kernels are compiled, or loaded from the cache, at their first call. This takes tenths of seconds to
tens of seconds, which should not count as training time.
"""

from __future__ import annotations

import numpy as np

from minidark.inference.generate import can_generate
from minidark.network import Network
from minidark.network.parser import rebuilt
from minidark.training.feeds import Feed

FEW = 4096  # symbols to validate


def rehearse(net: Network, feed: Feed, streams: int) -> None:
    """Call everything that a run of `net` calls: batches of this many streams, validations and
    samples, in their real sizes, because the size selects the kernel. Does nothing if kernels
    are not compiled, or if the network was not made from a cfg."""
    if not (net.backend.fast and net.sections):
        return
    other = rebuilt(net)
    if other.layers[0].gives_ids:  # a sample needs the byte pairs
        for array, learned in zip(other.layers[0].arrays(), net.layers[0].arrays(), strict=True):
            array.value[...] = learned.value
    part = other.shard(slice(0, streams))
    place = feed.place()
    passes = [feed.next() for _ in range(net.options.subdivisions)]
    feed.move(place)
    with np.errstate(all="ignore"):  # weights may be zero
        if feed.validated:
            feed.validate(other, FEW)
        if can_generate(other):  # only these networks show samples
            feed.sample(other, 0, length=2)
        for one_pass in passes:  # last, because a high learning rate may produce NaN
            x, truth = (
                np.ascontiguousarray(ids[:, :streams]) for ids in (one_pass.x, one_pass.truth)
            )
            part.train_batch(x, truth, measure=True, rows=net.options.rows)
