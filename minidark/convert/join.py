"""An ensemble as one network.

Networks trained from different seeds make different mistakes, so their averaged prediction beats
their average score, and usually the best of them. The joined network has the same layers, each as
wide as all the networks side by side, and an [attention] has the heads of all. Weights between
different networks are zero, and a last `[connected]` averages the inputs of their softmaxes. If it
is tied in the networks, it gets weights of its own. Every command works with the joined network; it
costs as much as a network of that width.

minidark's own. Source: Hansen and Salamon 1990, "Neural network ensembles". Logarithms of
probabilities are averaged, as in Hinton 1999, "Products of experts".
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Unpack

import numpy as np

from minidark.data.bytepairs import byte_pairs
from minidark.data.text import Ids
from minidark.errors import CfgError, WeightsError
from minidark.layers import Layer
from minidark.layers.affine import PackedLayer
from minidark.layers.attention import PARTS, AttentionLayer
from minidark.layers.base import Stored
from minidark.layers.connected import ConnectedLayer
from minidark.layers.tied import TiedLayer
from minidark.network import Network
from minidark.network.graph import INPUT
from minidark.network.parser import rebuilt
from minidark.weights.darknet import LoadOptions, load_weights

# Layers without parameters that treat each feature alone.
SINGLY = frozenset({"bytepairs", "dropout", "activation", "logistic", "batchnorm", "route"})
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
    places = _Places(net, len(paths), last)
    joined = rebuilt(
        net, {i + 1: _widths(layer, len(paths), i == last) for i, layer in enumerate(net.layers)}
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
            for target, source in zip(whole.arrays(), _arrays(part, i == last), strict=True):
                if source.kind == "pairs":
                    target.value[...] = source.value
                    continue
                share = len(paths) if i == last else 1
                target.value[places.of(part, i, source, number)] += source.value / share
    return joined


def _last(net: Network) -> int:
    """The index of the layer that averages. Raises CfgError as `join` does."""
    last = max((i for i, layer in enumerate(net.layers) if layer.parameters()), default=0)
    layer = net.layers[last]
    if (
        not isinstance(layer, ConnectedLayer | TiedLayer)
        or layer.activation.name != "linear"
        or layer.normalized
    ):
        raise CfgError(
            f"{layer.name}: to join networks, the last layer with weights must be a [connected] "
            "with activation=linear, without batch_normalize"
        )
    for other in net.layers[last + 1 :]:
        if other.type not in BEHIND:
            raise CfgError(f"{other.name}: a [{other.type}] cannot follow the averaging layer")
    for options, other in zip(net.layer_options, net.layers, strict=True):
        if options.dontload or options.dontsave or options.dontloadscales:
            raise CfgError(f"{other.name}: the weight files leave out arrays of this layer")
    return last


def _widths(layer: Layer, count: int, averages: bool) -> dict[str, object]:
    """The cfg values of a layer of the joined network that differ."""
    if averages:
        return {"tied": None, "output": layer.outputs} if layer.shares is not None else {}
    if isinstance(layer, AttentionLayer):
        output = layer.outputs * count if "output" in layer.parts else 0
        heads, keys = layer.heads, layer.keys
        return {"heads": heads * count, "keys": keys, "output": output}
    if not isinstance(layer, PackedLayer):
        return {}
    hidden = getattr(layer, "hidden", None)
    return {"output": layer.outputs * count} | ({"hidden": hidden * count} if hidden else {})


class _Places:
    """Where each of `count` networks is within the joined network: the numbers of its features
    among those that layers read (`inputs`) and write (`outputs`), (count, F), by layer. Features
    that all networks share, such as the symbols, have the same numbers for all."""

    def __init__(self, net: Network, count: int, last: int):
        self.count, self.last = count, last
        shared = np.tile(np.arange(net.inputs), (count, 1))
        self.inputs: list[Ids] = []
        self.outputs, self.widths = {INPUT: shared}, {INPUT: net.inputs}
        for i, layer in enumerate(net.layers[: last + 1]):
            reads = net.graph.reads[i]
            begins = np.cumsum([0, *(self.widths[j] for j in reads)])
            parts = [self.outputs[j] + at for j, at in zip(reads, begins, strict=False)]
            self.inputs.append(np.concatenate(parts, axis=1))
            if i < last:
                self._add(i, layer, int(begins[-1]))

    def _add(self, i: int, layer: Layer, width: int) -> None:
        """Set where the outputs of a layer are, which reads so many features of the joined network.
        Raises CfgError if the layer would mix the networks."""
        inputs, mixes = self.inputs[i], False
        if isinstance(layer, PackedLayer) and not isinstance(layer, TiedLayer):
            if isinstance(layer, AttentionLayer) and not layer.parts.keys() >= {*PARTS[:3]}:
                # Heads read the inputs themselves, in equal parts.
                mixes = (inputs != self._blocks(layer.inputs)).any()
            self.outputs[i] = self._blocks(layer.outputs)
            self.widths[i] = self.count * layer.outputs
        elif layer.type == "shortcut":
            one, other = inputs[:, : layer.outputs], inputs[:, layer.outputs :]
            self.outputs[i], self.widths[i] = one, width // 2
            mixes = (other - width // 2 != one).any()
        else:
            self.outputs[i], self.widths[i] = inputs, width
            # Networks have their own means and scales of a feature, even of one that they share.
            shares = np.unique(inputs).size < inputs.size
            mixes = layer.type not in SINGLY or (layer.type == "batchnorm" and shares)
        if mixes:
            raise CfgError(f"{layer.name}: a [{layer.type}] here would mix the joined networks")

    def _blocks(self, width: int) -> Ids:
        return np.arange(self.count * width).reshape(self.count, width)

    def of(self, layer: Layer, i: int, array: Stored, number: int) -> tuple[Ids, ...]:
        """The indices of an array (O, I) or (O,) of one network within the joined network's."""
        own = [np.arange(size) + number * size for size in array.value.shape]
        if not isinstance(layer, PackedLayer):
            return (self.inputs[i][number],)
        if i == self.last:
            own[0] = np.arange(layer.outputs)
        if len(own) == 2 and array.name in layer.reading_weights():
            own[1] = self.inputs[i][number]
        return np.ix_(*own)


def _arrays(layer: Layer, averages: bool) -> Sequence[Stored]:
    """The arrays of a layer, with those that it shares if it averages."""
    if averages and isinstance(layer, TiedLayer):
        return layer.sublayers[""].arrays
    return layer.arrays()
