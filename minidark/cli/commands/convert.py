"""`minidark convert`."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping
from pathlib import Path

import click

from minidark import convert as forms
from minidark.backend import Array
from minidark.cfg.forms import rewritten
from minidark.cfg.plan import Doubts, plan_cfg
from minidark.cfg.sections import read_cfg
from minidark.cli.command import typed
from minidark.cli.options.cfg_options import CfgChoice, cfg_options
from minidark.cli.options.network_files import NetworkFiles, final_option, is_folder
from minidark.cli.options.numbers import Number
from minidark.cli.output.outputs import (
    CFG,
    check_cfg_output,
    check_output,
    check_place,
    force_option,
)
from minidark.cli.output.stdout import say, say_json
from minidark.convert.fold import denormalize
from minidark.convert.found import Found, fill
from minidark.convert.proof import SYMBOLS, compared, drawn_symbols, written
from minidark.convert.torch_names import is_state
from minidark.data.text import Text
from minidark.errors import BackendError
from minidark.files.archives import is_archive
from minidark.files.disk import write_atomically
from minidark.layers.base import ALEXEY
from minidark.layers.batchnorm import CPU, DIVISORS, GPU
from minidark.layers.gru import GruLayer
from minidark.layers.rnn import RnnLayer
from minidark.network import Network
from minidark.weights.arrays import saved_arrays
from minidark.weights.darknet import save_weights
from minidark.weights.header import ORDERS
from minidark.weights.made_with import beside

log = logging.getLogger(__name__)

NOTHING: Mapping[str, object] = {}


@click.command()
@click.argument("source", metavar="IN")
@click.argument("out")
@click.option(
    "--cfg", metavar="CFG", help="The cfg that IN was made with, if IN does not contain it."
)
@click.option("--out-cfg", metavar="FILE", help="Write the cfg of OUT to this file.")
@click.option("--dialect", type=click.Choice(ORDERS), default=ORDERS[0], show_default=True,
              help="Order of arrays in a .weights file that is written.")  # fmt: skip
@click.option("--text", "text", metavar="FILE",
              help="Text whose first 1,000 characters verify a model that is written "
              "[random characters].")  # fmt: skip
@click.option("--tolerance", type=Number(0, min_open=True), metavar="X",
              help="Largest allowed difference between a model, read or written, and the network "
              "[10 times the rounding error of float32].")  # fmt: skip
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
@force_option
@final_option
@cfg_options
def convert(
    source: str,
    out: str,
    cfg: str | None,
    out_cfg: str | None,
    dialect: str,
    text: str | None,
    tolerance: float | None,
    as_json: bool,
    force: bool,
    final: bool,
    choice: CfgChoice,
) -> None:
    """Convert a network to another file format.

    \b
    minidark convert my.weights my.safetensors --cfg rnn      (which contains its cfg)
    minidark convert backup/ my.npz                           (the network of a run)
    minidark convert my.safetensors my.onnx                   (verified by running it)
    minidark convert my.weights theirs.weights --cfg rnn --dialect alexey
    minidark convert theirs.onnx my.weights --out-cfg my.cfg
    minidark convert my.cfg my.yaml                           (and back)

    The suffixes of IN and OUT select the formats. Weight formats are .weights, .backup,
    .safetensors and .npz. Model formats are .onnx and .keras (read and written), .h5 of Keras
    (read), .py for PyTorch (written), and PyTorch's .pt2 of torch.export and its state dicts in
    .pt, .pth or .safetensors (read).

    A model that is written has batch norm folded into its weights. The command runs it on 1,000
    characters, and prints the largest difference from minidark's own outputs in float64. If
    rounding does not explain the difference, this is an error, and no file remains.
    """
    files = _files(source, cfg, final)
    source, cfg, choice = str(files.weights), files.cfg, choice.of(files)
    kinds = [_kind(path) for path in (source, out)]
    cfgs = [cfg, source if kinds[0] == "cfg" else None]
    inputs = [source, text, *(choice.path(name) for name in cfgs if name)]
    if kinds[1] == "cfg":
        check_place(out, *inputs)
    else:
        check_output(out, *inputs, force=force)
    check_output(out_cfg, out, *inputs, form=CFG, force=force)
    if "cfg" in kinds:
        if kinds != ["cfg", "cfg"]:
            raise click.UsageError("a cfg converts only to .cfg or .yaml, and only from a cfg")
        sections = _rewrite_cfg(source, out, choice, force)
        _tell_written(out, source, {"sections": sections}, as_json)
        return
    model = forms.MODELS.get(_suffix(out))
    if model and not model.writes:
        is_keras = _suffix(out) in (".h5", ".hdf5")
        instead = "Keras, write .keras" if is_keras else "PyTorch, write .py"
        raise click.UsageError(f"{out}: {_suffix(out)} files are only read; for {instead}")
    net, model_read = _load(source, cfg, choice, tolerance)
    if model:
        net = denormalize(net)
        _write_model(net, out, source, model, text, tolerance, model_read, as_json)
    else:
        if _suffix(out) in forms.DARKNET:
            for loss in _losses(net, dialect):
                log.warning("%s: %s", out, loss)
        save_weights(net, out, dialect)
        amounts = {"arrays": len(saved_arrays(net, dialect))}
        _tell_written(out, source, amounts, as_json, model_read)
    if out_cfg:
        net.save_cfg(out_cfg)
    elif cfg is None and _suffix(out) in forms.DARKNET:
        log.info("%s does not contain the cfg; --out-cfg FILE writes it", out)


def _files(source: str, cfg: str | None, final: bool) -> NetworkFiles:
    """IN and --cfg as weights and cfg. IN may be the folder of a run, or weights that have a record
    of their cfg."""
    if is_folder(source) and cfg is not None:
        message = f"{source} is the folder of a run, which records its cfg; omit --cfg"
        raise click.UsageError(message)
    recorded = cfg is None and _suffix(source) in forms.DARKNET and beside(source).exists()
    if is_folder(source) or recorded or (final and typed("final")):
        return NetworkFiles.of(source, source, final)
    return NetworkFiles(cfg, source)


def _suffix(path: str) -> str:
    return Path(path).suffix.lower()


def _kind(path: str) -> str:
    suffix = _suffix(path) or ".cfg"  # the bare name of a shipped cfg
    tables = {"cfg": forms.CFGS, "weights": forms.WEIGHTS, "model": forms.MODELS}
    for kind, suffixes in tables.items():
        if suffix in suffixes:
            return kind
    known = ", ".join(s for suffixes in tables.values() for s in suffixes)
    raise click.UsageError(f"{path}: unknown suffix; use one of {known}")


def _tell_written(
    out: str,
    source: str,
    amounts: dict[str, int],
    as_json: bool,
    model_read: Mapping[str, object] = NOTHING,
) -> None:
    """Report the contents of a written file that needs no verification."""
    if as_json:
        say_json({"out": out, "in": source, **amounts, **model_read})
        return
    ((what, number),) = amounts.items()
    log.info("wrote %s: %d %s, from %s", out, number, what, source)


def _rewrite_cfg(source: str, out: str, choice: CfgChoice, force: bool) -> int:
    """Check a cfg and write it with its comments; returns the number of sections."""
    path = choice.path(source)
    data = read_cfg(path)
    plan = plan_cfg(data, path, warn=Doubts(path, choice.strict), overrides=choice.overrides)
    text = rewritten(plan.sections, data, path, out).encode()
    check_cfg_output(out, text, force)
    write_atomically(out, [text])
    return len(plan.sections)


def _load(
    source: str, cfg: str | None, choice: CfgChoice, tolerance: float | None
) -> tuple[Network, Mapping[str, object]]:
    """The network, and what --json reports of the model that it was read from."""
    model = forms.MODELS.get(_suffix(source))
    if model and not model.reads:
        raise click.UsageError(f"{source}: {_suffix(source)} files are only written, not read")
    if not model and not is_state(source):
        if cfg is None and not is_archive(source):
            raise click.UsageError(f"{source} does not contain its cfg; add --cfg CFG")
        return choice.load(cfg or source, source), NOTHING
    theirs = (model or forms.STATE_DICT).read(source)
    allowed = bool(choice.reading["allow_nonfinite"])
    if cfg is None:
        net = theirs.network(allowed)
        difference = _tell_read(net, theirs, tolerance)
        return net, {"layers": theirs.understood(), "difference_of_in": difference}
    net = choice.load(cfg)
    fill(net, theirs.arrays_for(net), source, allowed)
    if not choice.reading["allow_other_cfg"]:
        theirs.check_cfg(net)
    net.seen = theirs.seen
    return net, NOTHING


def _tell_read(net: Network, theirs: Found, tolerance: float | None) -> float | None:
    """Log the architecture of a model that was read, and compare the network with the model.
    Returns the largest difference; None if nothing was compared."""
    log.info("%s: %s", theirs.path, theirs.understood())
    try:
        difference = compared(net, theirs, tolerance)
    except BackendError as error:
        log.warning("%s: not compared with its own program: %s", theirs.path, error)
        return None
    if difference is not None:
        log.info(
            "%s: largest difference from its own program %.2g over %s symbols",
            theirs.path, difference, f"{SYMBOLS:,}",
        )  # fmt: skip
    return difference


def _write_model(
    net: Network,
    out: str,
    source: str,
    model: forms.Model,
    text: str | None,
    tolerance: float | None,
    model_read: Mapping[str, object],
    as_json: bool,
) -> None:
    symbols = _symbols(net, text)
    data, difference = written(net, model.write, symbols, tolerance)
    write_atomically(out, [data])
    if as_json:
        told = {"characters": len(symbols), "largest_difference": difference}
        say_json({"out": out, "in": source, **told, **model_read})
    elif difference is not None:
        say(f"{out}: largest difference {difference:.2g} over {len(symbols):,} characters")
    else:  # unverified; the reason was logged
        log.info("wrote %s", out)


def _losses(net: Network, dialect: str) -> Iterator[str]:
    """Warnings of information that the file loses: darknets of this dialect, or minidark without
    the cfg, would interpret it differently."""
    if dialect == ALEXEY and any(isinstance(x, GruLayer) and x.tanh for x in net.layers):
        yield (
            "AlexeyAB's darknet ignores [gru] tanh=1 and uses logistic candidates, so this "
            "network makes other predictions there"
        )
    if any(isinstance(x, GruLayer) and x.reset_after for x in net.layers):
        yield (
            "no darknet has [gru] reset_after=1; each resets before the product, so this network "
            "makes other predictions there"
        )
    if any(isinstance(x, RnnLayer) and x.elman for x in net.layers):
        yield (
            "no darknet has [rnn] elman=1; each expects a third sublayer, output, and would put "
            "this file's numbers in the wrong arrays"
        )
    if any(x.shares is not None for x in net.layers):
        yield "no darknet has [connected] tied, so none reads the file with the right layers"
    read_as = GPU.name if dialect == ALEXEY else CPU.name
    if any(layer.norms for layer in net.layers) and net.batchnorm != read_as:
        yield (
            f"batch norm divides by {DIVISORS[net.batchnorm]} here, but by {DIVISORS[read_as]} in "
            f"darknets that read this file; in minidark, set [net] batchnorm={net.batchnorm}"
        )


def _symbols(net: Network, path: str | None) -> Array:
    if path is None:
        return drawn_symbols(net.inputs)
    with Text([path], net.inputs) as text:
        return text.read(0, min(SYMBOLS, text.size))
