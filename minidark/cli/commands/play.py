"""`minidark play`."""

from __future__ import annotations

import logging
from pathlib import Path

import click

from minidark.cli.options.cfg_options import CfgChoice, network_options
from minidark.cli.output.outputs import PAGE, check_output, force_option
from minidark.cli.output.stdout import say_json
from minidark.errors import CfgError
from minidark.files import shipped
from minidark.files.archives import is_archive
from minidark.report.extra import needed
from minidark.report.network_packing import BITS
from minidark.report.play import Play, as_decimal
from minidark.report.run import trained_on_pairs

log = logging.getLogger(__name__)


@click.command()
@click.argument("cfg", required=False)
@click.argument("weights", required=False)
@click.option("-o", "--output", default="play.html", show_default=True, metavar="FILE",
              help="Page to write.")  # fmt: skip
@click.option("--bits", type=click.Choice([*map(str, BITS)]), help="Bits of a weight [the fewest "
              "with a mean error of a probability below 0.001].")  # fmt: skip
@click.option("--tokens", metavar="FILE", help="Names of the symbols, as for `generate`.")
@click.option("--json", "as_json", is_flag=True, help="Print the figures as one JSON object.")
@force_option
@network_options
def play(
    cfg: str | None,
    weights: str | None,
    output: str,
    bits: str | None,
    tokens: str | None,
    as_json: bool,
    force: bool,
    choice: CfgChoice,
) -> None:
    """Write a page in which the network runs: type, and it continues.

    \b
    minidark play                                          (the shipped network)
    minidark play backup/
    minidark play rnn backup/rnn_best.weights -o rnn.html
    minidark play rnn my.weights --bits 32

    The page is a single file for any browser, without a server or an internet connection. It
    shows the most likely next characters, tints the text by surprise or by a unit, and has
    sliders for temperature, top-k and random seed. It needs the extra `report`.
    """
    if cfg is None:
        cfg, weights = shipped.network()
    elif weights is None and not is_archive(cfg):
        raise click.UsageError("the weights are missing: minidark play CFG WEIGHTS")
    needed("jinja2")  # before any work
    check_output(output, choice.path(cfg), weights, tokens, form=PAGE, force=force)
    if trained_on_pairs(weights or cfg):
        raise CfgError("was trained on pairs; a page cannot run such a network yet")
    net = choice.load(cfg, weights, batch=1, time_steps=1)
    page = Play(net, None if bits is None else int(bits), tokens)
    size = page.write(output, choice.title(cfg, net), Path(weights or cfg).name)
    figures = {**page.figures(), "page": output, "page_bytes": size}
    log.info(
        "wrote %s: %s bytes; weights of %d bits, mean error of a probability %s",
        output, f"{size:,}", page.bits, as_decimal(page.error),
    )  # fmt: skip
    if as_json:
        say_json(figures)
