"""Sections to a network: each `parse_*` turns typed options into a layer.

A new layer is one file in `minidark.layers`, one dataclass in `cfg.options`, one parse function
and one row in LAYER_TYPES.

Source: darknet src/parser.c (parse_network_cfg, parse_gru, ...).
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypedDict

import numpy as np
import numpy.typing as npt

from minidark.backend import Backend, get_backend
from minidark.cfg import options as o
from minidark.cfg.fit import changes_that_fit
from minidark.cfg.sections import Pair, Section, Warn, read_cfg, without_blanks
from minidark.cfg.sizes import check_memory
from minidark.errors import OVERRIDDEN, CfgError, WeightsError, echo, nearest, place
from minidark.glibc_rand import GlibcRand
from minidark.layers import (
    Layer,
    make_activation_layer,
    make_batchnorm_layer,
    make_connected_layer,
    make_cost_layer,
    make_dropout_layer,
    make_gru_layer,
    make_logistic_layer,
    make_lstm_layer,
    make_rnn_layer,
    make_softmax_layer,
)
from minidark.layers.affine import UNDRAWN
from minidark.network import Network
from minidark.weights import load_weights

log = logging.getLogger(__name__)

NET_TYPES = ("net", "network")
IMAGE_TYPES = frozenset({
    "convolutional", "conv", "deconvolutional", "deconv", "local", "maxpool", "max", "avgpool",
    "avg", "crop", "crnn", "conv_lstm", "upsample", "reorg", "route", "shortcut", "sam",
    "scale_channels", "region", "yolo", "Gaussian_yolo", "detection", "iseg", "normalization",
    "lrn", "l2norm",
})  # fmt: skip


class Place(TypedDict):
    """Where a layer stands: what every factory takes. `batch` is rows, as in C."""

    batch: int
    inputs: int
    steps: int
    name: str
    backend: Backend


@dataclass(frozen=True, slots=True)
class Params:
    """What a layer gets besides its options: its place, and where draws come from."""

    place: Place
    rand: GlibcRand  # C's, for initial weights
    rng: np.random.Generator  # for dropout


def parse_gru(options: o.GruOptions, params: Params) -> Layer:
    return make_gru_layer(
        **params.place,
        outputs=options.output,
        batch_normalize=options.batch_normalize,
        tanh=options.tanh,
        init=options.init,
        update_bias=options.update_bias,
        rand=params.rand,
    )


def parse_lstm(options: o.LstmOptions, params: Params) -> Layer:
    return make_lstm_layer(
        **params.place,
        outputs=options.output,
        batch_normalize=options.batch_normalize,
        init=options.init,
        forget_bias=options.forget_bias,
        rand=params.rand,
    )


def parse_rnn(options: o.RnnOptions, params: Params) -> Layer:
    return make_rnn_layer(
        **params.place,
        outputs=options.output,
        activation=options.activation,
        batch_normalize=options.batch_normalize,
        hidden=options.hidden,
        shortcut=options.shortcut,
        self_activation=(None, "logistic", "loggy")[options.logistic],
        init=options.init,
        rand=params.rand,
    )


def parse_connected(options: o.ConnectedOptions, params: Params) -> Layer:
    return make_connected_layer(
        **params.place,
        outputs=options.output,
        activation=options.activation,
        batch_normalize=options.batch_normalize,
        rand=params.rand,
    )


def parse_softmax(options: o.SoftmaxOptions, params: Params) -> Layer:
    return make_softmax_layer(
        **params.place,
        groups=options.groups,
        temperature=options.temperature,
        noloss=options.noloss,
    )


def parse_dropout(options: o.DropoutOptions, params: Params) -> Layer:
    return make_dropout_layer(**params.place, probability=options.probability, rng=params.rng)


def parse_activation(options: o.ActivationOptions, params: Params) -> Layer:
    return make_activation_layer(**params.place, activation=options.activation)


def parse_batchnorm(options: o.BatchnormOptions, params: Params) -> Layer:
    return make_batchnorm_layer(**params.place)


def parse_logistic(options: o.LogisticOptions, params: Params) -> Layer:
    return make_logistic_layer(**params.place)


def parse_cost(options: o.CostOptions, params: Params) -> Layer:
    return make_cost_layer(**params.place, cost_type=options.type, scale=options.scale)


LAYER_TYPES: dict[str, tuple[type[o.LayerOptions], Callable[[Any, Params], Layer]]] = {
    "gru": (o.GruOptions, parse_gru),
    "lstm": (o.LstmOptions, parse_lstm),
    "rnn": (o.RnnOptions, parse_rnn),
    "connected": (o.ConnectedOptions, parse_connected),
    "conn": (o.ConnectedOptions, parse_connected),
    "softmax": (o.SoftmaxOptions, parse_softmax),
    "soft": (o.SoftmaxOptions, parse_softmax),
    "dropout": (o.DropoutOptions, parse_dropout),
    "activation": (o.ActivationOptions, parse_activation),
    "batchnorm": (o.BatchnormOptions, parse_batchnorm),
    "logistic": (o.LogisticOptions, parse_logistic),
    "cost": (o.CostOptions, parse_cost),
}


def parse_network_cfg(
    path: Path | str,
    *,
    batch: int | None = None,
    time_steps: int | None = None,
    seed: int = 0,
    device: str = "cpu",
    dtype: npt.DTypeLike = "float32",
    kernels: str = "auto",
    strict: bool = False,
    overrides: Sequence[str] = (),
    draw: bool = True,
) -> Network:
    """The network of a cfg file, with darknet's initial weights after srand(seed).

    batch=B: B streams, and subdivisions 1. time_steps: in place of the cfg's. kernels: "numpy",
    "fast" (compiled, the extra of that name), or "auto", fast where it is installed. strict:
    doubts, such as unknown keys, are errors. overrides: "section.key=value", for every section of
    that type. draw=False leaves zero the weights that a weight file is to fill, which takes less
    time. Doubts go to the log once each. Raises CfgError.
    """
    backend = get_backend(device, dtype, kernels)
    warn = _Doubts(path, strict)
    sections = read_cfg(path, warn)
    for override in overrides:
        _override(sections, override)
    if batch is not None:
        _override(sections, f"net.batch={batch}")
        _override(sections, "net.subdivisions=1")
    if time_steps is not None:
        _override(sections, f"net.time_steps={time_steps}")
    return build_network(sections, path, warn, seed, backend, draw)


def load_network(
    cfg: Path | str,
    weights: Path | str | None = None,
    *,
    batch: int | None = None,
    time_steps: int | None = None,
    seed: int = 0,
    weights_order: str | None = None,
    device: str = "cpu",
    dtype: npt.DTypeLike = "float32",
    kernels: str = "auto",
    strict: bool = False,
    overrides: Sequence[str] = (),
) -> Network:
    """`parse_network_cfg`, then `load_weights` where a weight file is given."""
    net = parse_network_cfg(
        cfg,
        batch=batch,
        time_steps=time_steps,
        seed=seed,
        device=device,
        dtype=dtype,
        kernels=kernels,
        strict=strict,
        overrides=overrides,
        draw=weights is None,
    )
    if weights is not None:
        try:
            load_weights(net, weights, weights_order=weights_order)
        except WeightsError as error:
            raise _with_a_change_that_fits(error, net) from error
    return net


def _with_a_change_that_fits(error: WeightsError, net: Network) -> WeightsError:
    """The error, and where only the length is wrong, what would fit."""
    if error.payload is None:
        return error
    fits = changes_that_fit(net.sections, error.payload)
    would = f"this would fit: {', or '.join(fits[:3])}"
    hint = would if fits else "is it the cfg they were made with?"
    return WeightsError(f"{error}; {hint}", error.payload)


def build_network(
    sections: Sequence[Section],
    path: Path | str | None,
    warn: Warn,
    seed: int,
    backend: Backend,
    draw: bool = True,
) -> Network:
    """The network of a list of sections; `path` is for messages, `draw` parse_network_cfg's."""
    net_options = _parse_net(sections, path, warn)
    rand, rng = GlibcRand(seed), np.random.default_rng(seed % 2**64)
    inputs = net_options.row_inputs
    layers: list[Layer] = []
    layer_options: list[o.LayerOptions] = []
    for index, section in enumerate(sections[1:]):
        options_type, parse = _layer_type(section, path)
        options = o.read_options(options_type, section, path, warn)
        place = Place(
            batch=net_options.rows,
            inputs=inputs,
            steps=net_options.time_steps,
            name=f"{index}.{CANONICAL.get(section.type, section.type)}",
            backend=backend,
        )
        drawn = draw or options.dontload
        params = Params(place, rand if drawn else UNDRAWN, rng)
        try:
            check_memory(section.type, options, inputs, backend.dtype.itemsize)
            layers.append(parse(options, params))
        except CfgError as error:
            raise _placed(error, section, path) from None
        if not drawn:
            rand.skip(sum(p.value.size for p in layers[-1].parameters() if p.kind == "weights"))
        layer_options.append(options)
        inputs = layers[-1].outputs
        _doubt_layer(options, section, layers, warn)
    _doubt_frozen_layers(net_options, layer_options, sections, warn)
    if not layers:
        raise CfgError("no layers: only [net] stands in this cfg", path)
    return Network(layers, net_options, layer_options, sections=sections, rng=rng, backend=backend)


CANONICAL = {"conn": "connected", "soft": "softmax", "network": "net"}


def _placed(error: CfgError, section: Section, path: Path | str | None) -> CfgError:
    """A factory's complaint, at the line of the key that it begins with."""
    pair = section.pairs.get(str(error).partition("=")[0])
    return CfgError(str(error), path, pair.line if pair else section.line)


class _Doubts:
    """Hears of doubts: logs each kind once per file, or raises them where `strict`."""

    def __init__(self, path: Path | str, strict: bool):
        self.path, self.strict = path, strict
        self.heard: set[str] = set()

    def __call__(self, message: str, line: int) -> None:
        if self.strict:
            raise CfgError(message, self.path, line)
        if message not in self.heard:
            self.heard.add(message)
            log.warning("%s%s", place(self.path, line), message)


def _parse_net(sections: Sequence[Section], path: Path | str | None, warn: Warn) -> o.NetOptions:
    first = sections[0]
    if first.type not in NET_TYPES:
        raise CfgError(f"the first section is [{first.type}]; expected [net]", path, first.line)
    net = o.read_options(o.NetOptions, first, path, warn)

    def refuse(message: str, *keys: str) -> None:
        lines = [first.pairs[key].line for key in keys if key in first.pairs]
        raise CfgError(message, path, lines[0] if lines else first.line)

    if net.batch % net.subdivisions:
        refuse(
            f"batch={net.batch} is not divisible by subdivisions={net.subdivisions}",
            "subdivisions",
            "batch",
        )
    if not net.row_inputs:
        refuse("[net] needs inputs=N, the number of symbols (256 for bytes)")
    if net.policy == "steps" and (not net.steps or len(net.steps) != len(net.scales)):
        refuse(
            f"policy=steps has {len(net.steps)} steps and {len(net.scales)} scales; "
            "it needs as many of each, and one at least",
            "steps",
            "scales",
        )
    if net.policy in ("poly", "cosine") and not net.max_batches:
        refuse(f"policy={net.policy} needs max_batches", "policy")
    return net


def _layer_type(
    section: Section, path: Path | str | None
) -> tuple[type[o.LayerOptions], Callable[[Any, Params], Layer]]:
    if section.type in LAYER_TYPES:
        return LAYER_TYPES[section.type]
    if section.type in NET_TYPES:
        raise CfgError(f"a second [{section.type}]", path, section.line)
    if section.type in IMAGE_TYPES:
        raise CfgError(
            f"[{section.type}] works on images; minidark is for recurrent networks "
            f"({', '.join(t for t in LAYER_TYPES if t not in CANONICAL)})",
            path,
            section.line,
        )
    hint = nearest(section.type, LAYER_TYPES)
    raise CfgError(f"unknown section [{section.type}]{hint}", path, section.line)


def _doubt_layer(
    options: o.LayerOptions, section: Section, layers: Sequence[Layer], warn: Warn
) -> None:
    """What is allowed, but perhaps not meant."""
    if isinstance(options, o.RnnOptions) and options.hidden not in (None, options.output):
        warn(
            f"hidden={options.hidden} is taken as the width of the state, as AlexeyAB's darknet "
            f"does; pjreddie's ignores it and takes output={options.output}",
            section.pairs["hidden"].line,
        )
    if section.type == "cost" and len(layers) > 1 and layers[-2].has_cost:
        warn(
            f"[cost] adds nothing here: the [{layers[-2].type}] before it has its own cost",
            section.line,
        )


def _doubt_frozen_layers(
    net: o.NetOptions,
    layer_options: Sequence[o.LayerOptions],
    sections: Sequence[Section],
    warn: Warn,
) -> None:
    """Adam makes a full step of whatever gradient there is, be it the decay alone."""
    for options, section in zip(layer_options, sections[1:], strict=True):
        if options.stopbackward and net.adam and net.decay:
            warn(
                "stopbackward with adam=1 leaves the decay as the only gradient, and Adam moves "
                "the weights below to zero at the full rate; set decay=0 in [net]",
                section.pairs["stopbackward"].line,
            )


def _override(sections: Sequence[Section], text: str) -> None:
    """Apply one "section.key=value" to every section of that type."""
    place, equals, value = without_blanks(text).partition("=")
    type_, dot, key = place.partition(".")
    if not (equals and dot and type_ and key and value):
        raise CfgError(f"override {echo(text)} is not section.key=value")
    wanted = CANONICAL.get(type_, type_)
    hit = [s for s in sections if CANONICAL.get(s.type, s.type) == wanted]
    if not hit:
        raise CfgError(f"override {echo(text)}: no [{type_}] in this cfg")
    for section in hit:
        section.pairs[key] = Pair(key, value, OVERRIDDEN)
