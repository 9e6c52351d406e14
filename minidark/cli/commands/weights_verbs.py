"""Commands for weight files: join, and darknet's average, partial, denormalize, statistics and ops.

Source: darknet examples/darknet.c (average, partial, denormalize_net, statistics_net, operations).
"""

from __future__ import annotations

import os

import click

from minidark.cli.options.cfg_options import (
    CfgChoice,
    cfg_options,
    showing_options,
    weightless_options,
)
from minidark.cli.output.outputs import CFG, check_output, force_option
from minidark.cli.output.stdout import say, say_json
from minidark.cli.output.tables import array_table, print_table
from minidark.convert.fold import average as average_into
from minidark.convert.fold import denormalize as folded
from minidark.convert.join import join as joined
from minidark.errors import WeightsError
from minidark.weights.arrays import array_statistics
from minidark.weights.darknet import save_weights

as_json_option = click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")


@click.command()
@click.argument("cfg")
@click.argument("out")
@click.argument("weights", nargs=-1, required=True)
@force_option
@cfg_options
def average(cfg: str, out: str, weights: tuple[str, ...], force: bool, choice: CfgChoice) -> None:
    """Write the mean of several weight files of one cfg.

    \b
    minidark average rnn mean.weights backup/rnn_10000.weights backup/rnn_20000.weights

    It works like darknet's average, and also averages recurrent layers and rolling statistics.
    """
    check_output(out, choice.path(cfg), *weights, force=force)
    if len(weights) == 1 and os.path.lexists(out) and not force:
        raise click.UsageError(
            f"{out} already exists, and {weights[0]} is the only weight file: OUT comes first"
        )
    net = choice.load(cfg)
    average_into(net, weights, **choice.reading)
    net.save_weights(out)


@click.command()
@click.argument("cfg")
@click.argument("out")
@click.argument("weights", nargs=-1, required=True)
@click.option(
    "--out-cfg", metavar="FILE", help="File for the wider cfg [OUT with the suffix .cfg]."
)
@force_option
@cfg_options
def join(
    cfg: str,
    out: str,
    weights: tuple[str, ...],
    out_cfg: str | None,
    force: bool,
    choice: CfgChoice,
) -> None:
    """Join networks trained from different seeds into an ensemble.

    \b
    minidark join gru both.weights one/gru_final.weights two/gru_final.weights

    The result is one network. It averages the predictions of all networks, which is usually better
    than the best of them. All networks must have the same cfg. OUT needs a cfg that is as wide as
    all of them together; --out-cfg names it.
    """
    if len(weights) < 2:
        raise click.UsageError(
            f"{weights[0]} is a single network; OUT comes first, then two or more"
        )
    out_cfg = out_cfg or os.path.splitext(out)[0] + ".cfg"
    for path in (out, out_cfg):  # the user may have forgotten OUT, and this may be a network
        if os.path.lexists(path) and not force:
            raise click.UsageError(f"{path} already exists; OUT and its cfg must be new files")
    check_output(out, choice.path(cfg), *weights, force=force)
    check_output(out_cfg, out, choice.path(cfg), *weights, form=CFG, force=force)
    net = joined(choice.load(cfg), weights, **choice.reading)
    net.save_weights(out)
    net.save_cfg(out_cfg)


@click.command()
@click.argument("cfg")
@click.argument("weights")
@click.argument("out")
@click.argument("layers", type=click.IntRange(1))
@force_option
@cfg_options
def partial(cfg: str, weights: str, out: str, layers: int, force: bool, choice: CfgChoice) -> None:
    """Write the first LAYERS layers of a weight file.

    \b
    minidark partial gru backup/gru_final.weights first-two.weights 2

    Other networks can start from these layers: `seen` is reset to zero.
    """
    check_output(out, choice.path(cfg), weights, force=force)
    net = choice.load(cfg, weights)
    if layers > len(net.layers):
        raise WeightsError(f"{layers} layers are too many; the network has {len(net.layers)}")
    net.seen = 0
    save_weights(net, out, cutoff=layers)


@click.command()
@click.argument("cfg")
@click.argument("weights")
@click.argument("out")
@click.option("--out-cfg", metavar="FILE", help="Write the cfg without batch norm to this file.")
@force_option
@cfg_options
def denormalize(
    cfg: str, weights: str, out: str, out_cfg: str | None, force: bool, choice: CfgChoice
) -> None:
    """Fold batch norm into weights, with the same predictions.

    \b
    minidark denormalize gru-batchnorm my.weights folded.weights --out-cfg folded.cfg

    Batch norm becomes part of weights and biases. OUT has fewer arrays, and needs a cfg with
    batch_normalize=0. --out-cfg writes this cfg.
    """
    check_output(out, choice.path(cfg), weights, force=force)
    check_output(out_cfg, out, choice.path(cfg), weights, form=CFG, force=force)
    net = folded(choice.load(cfg, weights))
    net.save_weights(out)
    if out_cfg:
        net.save_cfg(out_cfg)


@click.command()
@click.argument("cfg")
@click.argument("weights")
@as_json_option
@showing_options
def statistics(cfg: str, weights: str, as_json: bool, choice: CfgChoice) -> None:
    """Show mean, spread and range of each array in a weight file.

    \b
    minidark statistics rnn backup/rnn_final.weights
    """
    net = choice.with_nonfinite().load(cfg, weights)
    rows = array_statistics(net)
    if as_json:
        say_json(rows)
        return
    print_table(array_table(rows))


@click.command()
@click.argument("cfg")
@as_json_option
@weightless_options
def ops(cfg: str, as_json: bool, choice: CfgChoice) -> None:
    """Count the floating-point operations for one character.

    \b
    minidark ops lstm

    The figure is for a forward pass. Each weight counts as two operations, a product and a sum.
    """
    operations = 2 * sum(layer.work() for layer in choice.empty(cfg).layers)
    if as_json:
        say_json({"operations": operations})
        return
    say(f"Floating Point Operations: {operations}")
    say(f"Floating Point Operations: {operations / 1e9:.2f} Bn")
