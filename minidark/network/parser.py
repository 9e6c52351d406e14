"""Build a network from cfg sections: each `parse_*` turns typed options into a layer.

To add a layer, write one file in `minidark.layers`, one dataclass in `cfg.options` with its row in
LAYER_TYPES, and one parse function with its row in PARSERS.

Source: darknet src/parser.c (parse_network_cfg, parse_gru, ...).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from minidark.backend import Backend, get_backend
from minidark.cfg import options as o
from minidark.cfg.plan import (
    CANONICAL,
    Doubts,
    Plan,
    check_memory,
    override,
    plan_cfg,
    replan,
)
from minidark.cfg.source import read_source
from minidark.errors import CfgError, WeightsError
from minidark.files.archives import SPARE, is_archive, open_archive
from minidark.files.disk import open_regular
from minidark.files.shipped import find_cfg
from minidark.glibc_rand import GlibcRand
from minidark.layers import (
    Layer,
    make_activation_layer,
    make_attention_layer,
    make_batchnorm_layer,
    make_bytepairs_layer,
    make_connected_layer,
    make_cost_layer,
    make_dropout_layer,
    make_gru_layer,
    make_logistic_layer,
    make_lstm_layer,
    make_rnn_layer,
    make_route_layer,
    make_shortcut_layer,
    make_softmax_layer,
)
from minidark.layers.base import Place
from minidark.layers.connected import ConnectedLayer
from minidark.layers.initialize import UNDRAWN
from minidark.layers.recurrent import CellOptions
from minidark.layers.tied import Tied, TiedLayer
from minidark.network import Network
from minidark.network.fitting import with_a_change_that_fits
from minidark.weights.darknet import load_weights


class Position(Place):
    """A layer's position: the arguments of every factory. `batch` counts rows, as in C."""

    batch: int
    inputs: int


@dataclass(frozen=True, slots=True)
class Params:
    """A layer's arguments besides its options: its position and the random generators."""

    place: Position
    rand: GlibcRand  # C's, for initial weights
    rng: np.random.Generator  # for dropout
    reads: tuple[int, ...]  # numbers of the layers that it reads
    tied: Tied | None = None


def parse_bytepairs(options: o.BytepairsOptions, params: Params) -> Layer:
    return make_bytepairs_layer(**params.place, dropout=options.dropout)


def _cell(options: o.GruOptions | o.LstmOptions | o.RnnOptions, params: Params) -> CellOptions:
    return CellOptions(
        init=options.init,
        input_scale=options.input_scale,
        dropconnect=options.dropconnect,
        rng=params.rng,
        rand=params.rand,
    )


def parse_gru(options: o.GruOptions, params: Params) -> Layer:
    return make_gru_layer(
        **params.place,
        outputs=options.output,
        batch_normalize=options.batch_normalize,
        tanh=options.tanh,
        reset_after=options.reset_after,
        update_bias=options.update_bias,
        **_cell(options, params),
    )


def parse_lstm(options: o.LstmOptions, params: Params) -> Layer:
    return make_lstm_layer(
        **params.place,
        outputs=options.output,
        batch_normalize=options.batch_normalize,
        forget_bias=options.forget_bias,
        **_cell(options, params),
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
        elman=options.elman,
        **_cell(options, params),
    )


def parse_connected(options: o.ConnectedOptions, params: Params) -> Layer:
    if params.tied:
        return TiedLayer(**params.place, tied=params.tied, activation=options.activation)
    return make_connected_layer(
        **params.place,
        outputs=options.output,
        activation=options.activation,
        batch_normalize=options.batch_normalize,
        input_scale=options.input_scale,
        rand=params.rand,
    )


def parse_route(options: o.RouteOptions, params: Params) -> Layer:
    return make_route_layer(**params.place, layers=params.reads)


def parse_shortcut(options: o.ShortcutOptions, params: Params) -> Layer:
    return make_shortcut_layer(**params.place, layers=params.reads, activation=options.activation)


def parse_softmax(options: o.SoftmaxOptions, params: Params) -> Layer:
    return make_softmax_layer(
        **params.place,
        groups=options.groups,
        temperature=options.temperature,
        smoothing=options.smoothing,
        noloss=options.noloss,
    )


def parse_dropout(options: o.DropoutOptions, params: Params) -> Layer:
    return make_dropout_layer(**params.place, probability=options.probability, rng=params.rng)


def parse_activation(options: o.ActivationOptions, params: Params) -> Layer:
    return make_activation_layer(**params.place, activation=options.activation)


def parse_attention(options: o.AttentionOptions, params: Params) -> Layer:
    return make_attention_layer(
        **params.place,
        heads=options.heads,
        keys=options.keys,
        output=options.output,
        memory=options.memory,
        separator=options.separator if options.over == o.OVER_SOURCE else None,
        without=[name for name in ("query", "key", "value") if not getattr(options, name)],
        rand=params.rand,
    )


def parse_batchnorm(options: o.BatchnormOptions, params: Params) -> Layer:
    return make_batchnorm_layer(**params.place)


def parse_logistic(options: o.LogisticOptions, params: Params) -> Layer:
    return make_logistic_layer(**params.place)


def parse_cost(options: o.CostOptions, params: Params) -> Layer:
    return make_cost_layer(**params.place, cost_type=options.type, scale=options.scale)


PARSERS: dict[type[o.LayerOptions], Callable[[Any, Params], Layer]] = {
    o.BytepairsOptions: parse_bytepairs,
    o.GruOptions: parse_gru,
    o.LstmOptions: parse_lstm,
    o.RnnOptions: parse_rnn,
    o.ConnectedOptions: parse_connected,
    o.SoftmaxOptions: parse_softmax,
    o.DropoutOptions: parse_dropout,
    o.ActivationOptions: parse_activation,
    o.AttentionOptions: parse_attention,
    o.BatchnormOptions: parse_batchnorm,
    o.LogisticOptions: parse_logistic,
    o.CostOptions: parse_cost,
    o.RouteOptions: parse_route,
    o.ShortcutOptions: parse_shortcut,
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
    precision: str = "float32",
    strict: bool = False,
    overrides: Sequence[str] = (),
    draw: bool = True,
) -> Network:
    """The network of a cfg file, or of a shipped cfg by its bare name ("gru"), with darknet's
    initial weights after srand(seed).

    batch=B: B streams, and subdivisions 1. time_steps: replaces the cfg's. kernels: "numpy",
    "fast" (compiled, from the extra of that name), or "auto" (fast if installed). precision:
    "float32", or "bf16" to round the operands of matrix products to bfloat16, which needs the fast
    kernels and AMD's AVX512-BF16 or Intel's AMX. strict: raise warnings, such as unknown keys, as
    errors. overrides: "section.key=value", for every section of that type. draw=False saves time:
    weights that a weight file will fill stay zero. Each warning is logged once. Raises CfgError,
    and BackendError for an unavailable device, unavailable kernels or an unavailable precision.
    """
    backend = get_backend(device, dtype, kernels, precision)
    path = find_cfg(path)
    given = [*overrides]
    if batch is not None:
        given += [f"net.batch={batch}", "net.subdivisions=1"]
    if time_steps is not None:
        given += [f"net.time_steps={time_steps}"]
    plan = plan_cfg(
        read_source(path),
        path,
        warn=Doubts(path, strict),
        overrides=given,
        itemsize=backend.dtype.itemsize,
    )
    if is_archive(path) and not overrides:
        _check_carried(plan, path)
    return build_network(plan, seed, backend, draw)


def _check_carried(plan: Plan, path: Path | str) -> None:
    """Raise CfgError if the cfg in an archive needs far more numbers than the archive has."""
    with open_regular(path, lambda said: CfgError(said, path)) as file:
        shapes = open_archive(file, path).shapes.values()
    needed = sum(la.size.held for la in plan.layers if not la.options.dontsave)
    existing = sum(map(math.prod, shapes))
    if needed > existing + SPARE:
        said = f"its cfg needs {needed:,} numbers, and {existing:,} are in it"
        raise CfgError(said, path)


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
    precision: str = "float32",
    strict: bool = False,
    overrides: Sequence[str] = (),
    allow_nonfinite: bool = False,
    allow_other_cfg: bool = False,
) -> Network:
    """The network of a cfg file, with the weights of a file, or by default with darknet's initial
    weights after srand(seed).

    batch=B: B independent streams; with batch=1, `predict` takes (T, inputs) and ids (T,). The
    other arguments are those of `parse_network_cfg` (cfg, time_steps, seed, device, dtype, kernels,
    precision, strict, overrides) and `load_weights` (weights, weights_order, allow_nonfinite,
    allow_other_cfg). Without `weights`, a `.safetensors` or `.npz` as cfg supplies both.

    Raises CfgError; WeightsError for weights that do not fit, with a change of the cfg that would
    fit them; BackendError as `parse_network_cfg`.
    """
    weights = cfg if weights is None and is_archive(cfg) else weights
    net = parse_network_cfg(
        cfg,
        batch=batch,
        time_steps=time_steps,
        seed=seed,
        device=device,
        dtype=dtype,
        kernels=kernels,
        precision=precision,
        strict=strict,
        overrides=overrides,
        draw=weights is None,
    )
    if weights is not None:
        try:
            load_weights(
                net,
                weights,
                weights_order=weights_order,
                allow_nonfinite=allow_nonfinite,
                allow_other_cfg=allow_other_cfg,
            )
        except WeightsError as error:
            raise with_a_change_that_fits(error, net, weights) from error
    return net


def rebuilt(
    net: Network,
    changes: Mapping[int, Mapping[str, object]] | None = None,
    backend: Backend | None = None,
) -> Network:
    """A copy of a network with changed cfg values and zero weights. changes: a section's number
    ([net] is 0) to its keys; None removes a key. Raises CfgError, also if the network needs more
    memory than the machine has."""
    backend = backend or net.backend
    plan = replan(net.sections, changes)
    check_memory(plan, None, backend.dtype.itemsize)
    return build_network(plan, 0, backend, draw=False)


def set_max_batches(net: Network, batches: int) -> None:
    """Change max_batches of a network's cfg, on which no layer depends, as an override does."""
    override(net.sections, f"net.max_batches={batches}")
    net.options = replace(net.options, max_batches=batches)


def copy_arrays(net: Network, other: Network) -> None:
    """Copy the weights and statistics of `net` to `other`, which has the same layers."""
    for old, new in zip(net.layers, other.layers, strict=True):
        for a, b in zip(old.arrays(), new.arrays(), strict=True):
            b.value[...] = other.backend.asarray(net.backend.asnumpy(a.value))


def _tied(plan: Plan, index: int, layers: Sequence[Layer]) -> Tied | None:
    """What a layer needs to share the weights of one of `layers`, which are built."""
    number = plan.layers[index].tied
    if number is None:
        return None
    stopped = any(below.options.stopbackward for below in plan.layers[number:index])
    owner = layers[number]
    assert isinstance(owner, ConnectedLayer)
    return Tied(owner, number, trains=not stopped)


def build_network(plan: Plan, seed: int, backend: Backend, draw: bool = True) -> Network:
    """The network of a plan; `draw` as for `parse_network_cfg`."""
    rand, rng = GlibcRand(seed), np.random.default_rng(seed % 2**64)
    layers: list[Layer] = []
    for index, planned in enumerate(plan.layers):
        drawn = draw or planned.options.dontload
        type_ = planned.section.type
        place = Position(
            batch=plan.net.rows,
            inputs=planned.inputs,
            steps=plan.net.time_steps,
            name=f"{index}.{CANONICAL.get(type_, type_)}",
            backend=backend,
        )
        draws = rand if drawn else UNDRAWN
        params = Params(place, draws, rng, planned.reads, _tied(plan, index, layers))
        layers.append(PARSERS[type(planned.options)](planned.options, params))
        assert layers[-1].outputs == planned.size.outputs, "options.size is wrong or missing"
        if not drawn:  # so that the next layers get darknet's draws
            rand.skip(sum(p.value.size for p in layers[-1].parameters() if p.kind == "weights"))
    return Network(
        layers,
        plan.net,
        [planned.options for planned in plan.layers],
        sections=plan.sections,
        rng=rng,
        backend=backend,
    )
