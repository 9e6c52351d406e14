"""A batch before the first, on a network that is thrown away.

The compiled kernels are made, or read from where the machine keeps them, at their first call: tens
of seconds or tenths, which are no part of what a run takes.
"""

from __future__ import annotations

import numpy as np

from minidark.inference.generate import can_generate
from minidark.network import Network
from minidark.network.parser import rebuilt
from minidark.training.feeds import Feed

FEW = 4096  # symbols of a validation


def rehearse(net: Network, feed: Feed, streams: int) -> None:
    """Call all that a run of `net` will: batches of so many streams, validations and samples, in
    their own sizes, by which kernels are chosen, too. Nothing where kernels are not compiled, or no
    cfg tells how to make a network like it."""
    if not (net.backend.fast and net.sections):
        return
    net.backend.announce_compiling(layer.type for layer in net.layers)
    other = rebuilt(net)
    if other.layers[0].gives_ids:  # what the symbols are, for a sample
        for array, learned in zip(other.layers[0].arrays(), net.layers[0].arrays(), strict=True):
            array.value[...] = learned.value
    part = other.shard(slice(0, streams))
    place = feed.place()
    passes = [feed.next() for _ in range(net.options.subdivisions)]
    feed.move(place)
    with np.errstate(all="ignore"):  # of weights that are zero
        if feed.validated:
            feed.validate(other, FEW)
        if can_generate(other):  # those of which samples are shown
            feed.sample(other, 0, length=2)
        for given in passes:  # last: a rate that is too high leaves no numbers
            x, truth = (np.ascontiguousarray(ids[:, :streams]) for ids in (given.x, given.truth))
            part.train_batch(x, truth, measure=True, rows=net.options.rows)
