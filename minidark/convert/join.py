"""Several networks as one: what they know together.

Networks of one cfg that were trained from other seeds err in other places, so the mean of what they
expect is better than they are on the average, and mostly than the best of them. Here the mean is a
network again, in the same few layers: as wide as all of them side by side, with zeros where one
would hear of another, and a last `[connected]` that takes the mean of what goes into their
softmaxes. So whatever works with a network works with it, at the price of a network so wide.

minidark's own. Source: Hansen and Salamon 1990, "Neural network ensembles"; the mean of logarithms
and not of probabilities, as Hinton 1999, "Products of experts".
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Unpack

from minidark.data.bytepairs import byte_pairs
from minidark.errors import CfgError, WeightsError
from minidark.layers import Layer
from minidark.layers.base import Stored
from minidark.layers.connected import ConnectedLayer
from minidark.network import Network
from minidark.network.parser import rebuilt
from minidark.weights.darknet import Reading, load_weights

# Layers that keep networks apart besides those of a width of their own.
APART = frozenset({"bytepairs", "dropout", "activation", "logistic", "batchnorm"})
BEHIND = frozenset({"softmax", "cost"})  # what may come after the mean


def join(net: Network, paths: Sequence[Path | str], **reading: Unpack[Reading]) -> Network:
    """The network of all these weight files of `net`'s cfg, which is left with the last of them.
    `seen` is the largest. reading: as for `load_weights`.

    Raises CfgError for a network that does not end in a linear [connected] without batch norm, and
    perhaps a [softmax], or has a layer before it that mixes what should stay apart, or one that is
    not in the weight files; WeightsError.
    """
    if not paths:
        raise WeightsError("no weight files to join")
    last = _last(net)
    joined = rebuilt(
        net,
        {
            number: {key: width * len(paths) for key, width in _widths(layer).items()}
            for number, layer in enumerate(net.layers[:last], start=1)
            if net.layer_options[number - 1].has_width
        },
    )
    for layer in joined.layers:
        for array in layer.arrays():
            array.value[...] = 0
    pairs, divided = [], set()
    for number, path in enumerate(paths):
        load_weights(net, path, **reading)
        joined.settle_batchnorm(net.batchnorm)
        divided.add(net.batchnorm)
        if len(divided) > 1:
            raise WeightsError(
                f"{path}: its batch norm divides otherwise than that of {paths[0]}; --set "
                "net.batchnorm=cpu (or gpu) --allow-other-cfg takes all alike"
            )
        joined.seen = max(joined.seen, net.seen)
        pairs.append(byte_pairs(net).pairs)
        if pairs[-1] != pairs[0]:
            raise WeightsError(f"{path}: has other byte pairs than {paths[0]}")
        for i, (whole, part) in enumerate(zip(joined.layers, net.layers, strict=True)):
            for there, here in zip(whole.arrays(), part.arrays(), strict=True):
                _put(there, here, number, len(paths), mean=i == last)
    return joined


def _last(net: Network) -> int:
    """The number of the layer that takes the mean; raises CfgError as `join` does."""
    last = max((i for i, layer in enumerate(net.layers) if layer.parameters()), default=0)
    layer, wide = net.layers[last], False
    if (
        not isinstance(layer, ConnectedLayer)
        or layer.activation.name != "linear"
        or layer.normalized
    ):
        raise CfgError(
            f"{layer.name}: networks are joined by a last [connected] of activation=linear, "
            "without batch_normalize"
        )
    for options, other in zip(net.layer_options[:last], net.layers[:last], strict=True):
        wide |= options.has_width
        apart = options.has_width or other.type in APART
        if not apart or (other.type == "batchnorm" and not wide):
            raise CfgError(f"{other.name}: a [{other.type}] there cannot keep networks apart")
    for other in net.layers[last + 1 :]:
        if other.type not in BEHIND:
            raise CfgError(f"{other.name}: a [{other.type}] behind the mean is not that of each")
    for options, other in zip(net.layer_options, net.layers, strict=True):
        if options.dontload or options.dontsave or options.dontloadscales:
            raise CfgError(f"{other.name}: what is not in the weight files cannot be joined")
    return last


def _widths(layer: Layer) -> dict[str, int]:
    hidden = getattr(layer, "hidden", None)
    return {"output": layer.outputs} | ({"hidden": hidden} if hidden else {})


def _put(whole: Stored, part: Stored, number: int, count: int, mean: bool) -> None:
    """The array of one of `count` networks in its place: (O, I) in (count O, count I), or where all
    read the same, in (count O, I). mean: its share of outputs that are all networks'."""
    here, there = part.value, whole.value
    if part.kind == "pairs":
        there[...] = here
        return
    place = tuple(
        slice(number * own, (number + 1) * own) if size == count * own else slice(None)
        for size, own in zip(there.shape, here.shape, strict=True)
    )
    there[place] += here / count if mean else here
