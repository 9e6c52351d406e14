"""An ensemble as one network.

Networks trained from different seeds make different mistakes, so their averaged prediction beats
their average score, and usually the best of them. The joined network has the same layers, each as
wide as all the networks side by side. Weights between different networks are zero, and a last
`[connected]` averages the inputs of their softmaxes. Every command works with it; it costs as much
as a network of that width.

minidark's own. Source: Hansen and Salamon 1990, "Neural network ensembles". Logarithms of
probabilities are averaged, as in Hinton 1999, "Products of experts".
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
from minidark.weights.darknet import LoadOptions, load_weights

# Layers without a width of their own that do not mix features of different networks.
APART = frozenset({"bytepairs", "dropout", "activation", "logistic", "batchnorm", "shortcut"})
BEHIND = frozenset({"softmax", "cost"})  # layers allowed after the mean


def join(net: Network, paths: Sequence[Path | str], **reading: Unpack[LoadOptions]) -> Network:
    """Join the networks of these weight files, all of `net`'s cfg, into one network.

    `net` is left with the last file's weights. `seen` is the largest of the files. reading: options
    of `load_weights`.

    Raises CfgError if the network does not end in a linear [connected] without batch norm, with or
    without a [softmax] after it, if an earlier layer mixes the networks, or if the weight files
    leave out a layer. Raises WeightsError if a file cannot be read or files cannot be joined.
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
    pairs, batchnorms = [], set()
    for number, path in enumerate(paths):
        load_weights(net, path, **reading)
        joined.settle_batchnorm(net.batchnorm)
        batchnorms.add(net.batchnorm)
        if len(batchnorms) > 1:
            raise WeightsError(
                f"{path}: its batch norm divides otherwise than that of {paths[0]}; --set "
                "net.batchnorm=cpu (or gpu) --allow-other-cfg takes all alike"
            )
        joined.seen = max(joined.seen, net.seen)
        pairs.append(byte_pairs(net).pairs)
        if pairs[-1] != pairs[0]:
            raise WeightsError(f"{path}: its byte pairs differ from those of {paths[0]}")
        for i, (whole, part) in enumerate(zip(joined.layers, net.layers, strict=True)):
            for target, source in zip(whole.arrays(), part.arrays(), strict=True):
                _put(target, source, number, len(paths), mean=i == last)
    return joined


def _last(net: Network) -> int:
    """The index of the layer that averages. Raises CfgError as `join` does."""
    last = max((i for i, layer in enumerate(net.layers) if layer.parameters()), default=0)
    layer, wide = net.layers[last], False
    if layer.shares is not None:
        raise CfgError(
            f"{layer.name}: the layer that averages joined networks has weights of its own, so it "
            "cannot be tied"
        )
    if (
        not isinstance(layer, ConnectedLayer)
        or layer.activation.name != "linear"
        or layer.normalized
    ):
        raise CfgError(
            f"{layer.name}: to join networks, the last layer with weights must be a [connected] "
            "with activation=linear, without batch_normalize"
        )
    for options, other in zip(net.layer_options[:last], net.layers[:last], strict=True):
        wide |= options.has_width
        apart = options.has_width or other.type in APART
        if not apart or (other.type == "batchnorm" and not wide):
            raise CfgError(f"{other.name}: a [{other.type}] here would mix the joined networks")
    for other in net.layers[last + 1 :]:
        if other.type not in BEHIND:
            raise CfgError(f"{other.name}: a [{other.type}] cannot follow the averaging layer")
    for options, other in zip(net.layer_options, net.layers, strict=True):
        if options.dontload or options.dontsave or options.dontloadscales:
            raise CfgError(f"{other.name}: the weight files leave out arrays of this layer")
    return last


def _widths(layer: Layer) -> dict[str, int]:
    hidden = getattr(layer, "hidden", None)
    return {"output": layer.outputs} | ({"hidden": hidden} if hidden else {})


def _put(whole: Stored, part: Stored, number: int, count: int, mean: bool) -> None:
    """Put an array (O, I) of one of `count` networks into its block of (count O, count I), or of
    (count O, I) in layers whose input all networks share. mean: add 1 / count of it instead."""
    source, target = part.value, whole.value
    if part.kind == "pairs":
        target[...] = source
        return
    place = tuple(
        slice(number * own, (number + 1) * own) if size == count * own else slice(None)
        for size, own in zip(target.shape, source.shape, strict=True)
    )
    target[place] += source / count if mean else source
