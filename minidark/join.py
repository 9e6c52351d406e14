"""Several networks as one: what they know together.

Networks of one cfg that were trained from other seeds err in other places, so the mean of what they
expect is better than any of it. Here the mean is a network again, in the same few layers: as wide
as all of them side by side, with zeros where one would hear of another, and a last `[connected]`
that takes the mean of what goes into their softmaxes. So whatever works with a network works with
it, at the price of a network so wide.

minidark's own. Source: Hansen and Salamon 1990, "Neural network ensembles"; the mean of logarithms
and not of probabilities, as Hinton 1999, "Products of experts".
"""

from __future__ import annotations

import copy
from collections.abc import Sequence
from pathlib import Path
from typing import Unpack

from minidark.bytepairs import byte_pairs
from minidark.cfg.parser import build_network
from minidark.cfg.plan import plan_network
from minidark.cfg.sections import Pair
from minidark.errors import CfgError, WeightsError
from minidark.layers import Layer
from minidark.layers.base import Stored
from minidark.layers.connected import ConnectedLayer
from minidark.layers.rnn import RnnLayer
from minidark.network import Network
from minidark.weights import Reading, load_weights

WIDE = frozenset({"gru", "lstm", "rnn", "connected"})  # layers of a width of their own, and those
APART = WIDE | {"bytepairs", "dropout", "activation", "logistic", "batchnorm"}  # that keep theirs


def join(net: Network, paths: Sequence[Path | str], **reading: Unpack[Reading]) -> Network:
    """The network of all these weight files of `net`'s cfg, which is left with the last of them.
    `seen` is the largest. reading: as for `load_weights`.

    Raises CfgError for a network that does not end in a linear [connected] without batch norm, and
    perhaps a [softmax], or has a layer before it that mixes what should stay apart; WeightsError.
    """
    if not paths:
        raise WeightsError("no weight files to join")
    last = _last(net)
    sections = copy.deepcopy(net.sections)
    for section, layer in zip(sections[1:], net.layers[:last], strict=False):
        for key, width in _widths(layer).items():
            line = section.pairs[key].line if key in section.pairs else section.line
            section.pairs[key] = Pair(key, str(width * len(paths)), line)
    plan = plan_network(sections, None, lambda message, line: None)
    joined = build_network(plan, None, 0, net.backend, draw=False)
    arrays = [array for layer in joined.layers for array in layer.arrays()]
    for array in arrays:
        array.value[...] = 0
    pairs = []
    for number, path in enumerate(paths):
        load_weights(net, path, **reading)
        joined.seen = max(joined.seen, net.seen)
        pairs.append(byte_pairs(net).pairs)
        if pairs[-1] != pairs[0]:
            raise WeightsError(f"{path}: has other byte pairs than {paths[0]}")
        theirs = (array for layer in net.layers for array in layer.arrays())
        for whole, part in zip(arrays, theirs, strict=True):
            _put(whole, part, number, len(paths))
    return joined


def _last(net: Network) -> int:
    """The number of the layer that takes the mean."""
    last = max((i for i, layer in enumerate(net.layers) if layer.parameters()), default=0)
    layer = net.layers[last]
    if (
        not isinstance(layer, ConnectedLayer)
        or layer.activation.name != "linear"
        or layer.normalized
    ):
        raise CfgError(
            f"{layer.name}: networks are joined by a last [connected] of activation=linear, "
            "without batch_normalize"
        )
    for other in net.layers[:last]:
        if other.type not in APART:
            raise CfgError(f"{other.name}: a [{other.type}] in between cannot keep networks apart")
    return last


def _widths(layer: Layer) -> dict[str, int]:
    if layer.type not in WIDE:
        return {}
    hidden = {"hidden": layer.hidden} if isinstance(layer, RnnLayer) else {}
    return {"output": layer.outputs, **hidden}


def _put(whole: Stored, part: Stored, number: int, count: int) -> None:
    """The array of one of `count` networks in its place: (O, I) in (count O, count I) or
    (count O, I). What has no place of its own, the outputs of the last layer, gets its share."""
    here, there = part.value, whole.value
    if part.kind == "pairs":
        there[...] = here
        return
    place = tuple(
        slice(number * own, (number + 1) * own) if size == count * own else slice(None)
        for size, own in zip(there.shape, here.shape, strict=True)
    )
    shared = there.shape[0] == here.shape[0]
    there[place] += here / count if shared else here
