"""`minidark info`."""

from __future__ import annotations

from typing import Any

import click
from rich.table import Table

from minidark.cli.options.cfg_options import CfgChoice, showing_network_options
from minidark.cli.output.stdout import say, say_json
from minidark.cli.output.tables import add_figures, array_table, print_table
from minidark.errors import WeightsError, number_of
from minidark.files.archives import is_archive
from minidark.layers.base import Layer
from minidark.network import Network
from minidark.network.fitting import with_a_change_that_fits
from minidark.weights.arrays import array_statistics, saved_arrays
from minidark.weights.darknet import load_weights
from minidark.weights.header import HEADER_BYTES, ORDERS, Header, Named


@click.command()
@click.argument("cfg")
@click.argument("weights", required=False)
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
@showing_network_options
def info(cfg: str, weights: str | None, as_json: bool, choice: CfgChoice) -> None:
    """Show the layers of a network and the arrays of a weight file.

    \b
    minidark info rnn
    minidark info backup/
    minidark info cfg/gru.cfg backup/gru_final.weights
    minidark info lstm --json
    """
    choice = choice.with_nonfinite()
    weights = cfg if weights is None and is_archive(cfg) else weights
    net = choice.empty(cfg)
    facts = network_facts(net)
    if weights:
        header = fill(net, weights, choice)
        facts["weights"] = header_facts(header, choice.reading["weights_order"])
        facts["arrays"] = array_statistics(net)
    if as_json:
        say_json(facts)
    else:
        show(facts)


def fill(net: Network, weights: str, choice: CfgChoice) -> Header | Named:
    """Load weights like `load_network`, and return the header of the file."""
    try:
        return load_weights(net, weights, **choice.reading)
    except WeightsError as error:
        raise with_a_change_that_fits(error, net, weights) from error


def network_facts(net: Network) -> dict[str, Any]:
    layers = [layer_facts(index, layer) for index, layer in enumerate(net.layers)]
    return {
        "layers": layers,
        "parameters": sum(layer["parameters"] for layer in layers),
        "weight_file_bytes": HEADER_BYTES + 4 * sum(a.value.size for a in saved_arrays(net)),
        "multiply_adds": sum(layer["multiply_adds"] for layer in layers),
        "streams": net.streams,
        "time_steps": net.options.time_steps,
        "subdivisions": net.options.subdivisions,
    }


def layer_facts(index: int, layer: Layer) -> dict[str, Any]:
    return {
        "layer": index,
        "type": layer.type,
        "inputs": layer.inputs,
        "outputs": layer.outputs,
        "parameters": sum(p.value.size for p in layer.parameters()),
        "stored": sum(a.value.size for a in layer.stored_arrays()),
        "multiply_adds": layer.work(),
    }


def header_facts(header: Header | Named, asked_order: str | None) -> dict[str, Any]:
    return {
        "version": str(header),
        "program": header.program,
        "order": asked_order or header.order,
        "transposed": header.transposed,
        "seen": header.seen,
    }


def show(facts: dict[str, Any]) -> None:
    table = Table("layer", "type", box=None, pad_edge=False)
    add_figures(table, "inputs", "outputs", "parameters", "multiply-adds per character")
    keys = ("inputs", "outputs", "parameters", "multiply_adds")
    for layer in facts["layers"]:
        table.add_row(str(layer["layer"]), layer["type"], *(f"{layer[k]:,}" for k in keys))
    totals = (f"{facts[k]:,}" for k in ("parameters", "multiply_adds"))
    table.add_row("", "total", "", "", *totals)
    print_table(table)
    streams, steps = number_of(facts["streams"], "stream"), number_of(facts["time_steps"], "step")
    passes = number_of(facts["subdivisions"], "pass")
    say(
        f"\nweight file: {facts['weight_file_bytes']:,} bytes.  A batch: {streams} of {steps}, "
        f"{passes}."
    )
    if "weights" in facts:
        w = facts["weights"]
        contents = (
            f"version {w['version']} ({w['program']}), {w['order']}'s order of arrays"
            if w["order"] in ORDERS
            else f"{w['program']}, arrays by name"
        )
        say(f"these weights: {contents}, {w['seen']:,} rows seen.\n")
        print_table(array_table(facts["arrays"]))
