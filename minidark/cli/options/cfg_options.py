"""The options of every command that takes a cfg, and how the command loads the network."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import click

from minidark.cfg.described import title
from minidark.cfg.plan import Doubts, Plan, plan_cfg
from minidark.cfg.source import read_source
from minidark.cli.command import typed
from minidark.cli.options.network_files import NetworkFiles, final_option
from minidark.cli.options.order import check_order
from minidark.errors import CfgError, OverrideError, bare
from minidark.files.shipped import find_cfg
from minidark.network import Network
from minidark.network.parser import load_network, parse_network_cfg
from minidark.weights.darknet import LoadOptions
from minidark.weights.header import ORDERS
from minidark.weights.run_folder import RunFolder

Callback = TypeVar("Callback", bound=Callable[..., Any])


@dataclass(frozen=True, slots=True)
class CfgChoice:
    """How to read the cfg and the weights that a command line names."""

    strict: bool
    overrides: tuple[str, ...]
    reading: LoadOptions
    run: RunFolder | None = None  # whose folder stands for the cfg and the weights

    def load(self, cfg: str, weights: str | None = None, **kwargs: Any) -> Network:
        """The default is numpy's kernels: in a short command, importing the compiled kernels would
        take longer than the work."""
        return load_network(
            cfg,
            weights,
            strict=self.strict,
            overrides=self.overrides,
            **self.reading,
            **{"kernels": "numpy", **kwargs},
        )

    def plan(self, cfg: str) -> Plan:
        """The checked cfg, without allocating any array."""
        path = find_cfg(cfg)
        warn = Doubts(path, self.strict)
        return plan_cfg(read_source(path), path, warn=warn, overrides=self.overrides)

    def empty(self, cfg: str, **kwargs: Any) -> Network:
        """The network with zero weights, for commands that do not use them: drawing random weights
        for a large network takes long."""
        return parse_network_cfg(
            cfg,
            strict=self.strict,
            overrides=self.overrides,
            draw=False,
            **{"kernels": "numpy", **kwargs},
        )

    def with_nonfinite(self) -> CfgChoice:
        """This choice with --allow-nonfinite, for commands that only show a file."""
        return dataclasses.replace(self, reading={**self.reading, "allow_nonfinite": True})

    def with_override(self, override: str) -> CfgChoice:
        return dataclasses.replace(self, overrides=(*self.overrides, override))

    def of(self, files: NetworkFiles) -> CfgChoice:
        """This choice for the files; the command line's --set values are applied after theirs."""
        overrides = (*files.overrides, *self.overrides)
        return dataclasses.replace(self, overrides=overrides, run=files.run)

    def path(self, cfg: str) -> Path:
        return find_cfg(cfg)

    def title(self, cfg: str, net: Network) -> str:
        """The cfg's name for people; of a shipped one, with a description of the network."""
        normalizes = any(layer.norms for layer in net.layers)
        layers = [(layer.type, layer.outputs) for layer in net.layers]
        return title(self.run.cfg if self.run else find_cfg(cfg), layers, normalizes)

    def separator(self, option: str) -> str:
        """The value of --separator; if it was omitted, that of the run whose folder stands for the
        network."""
        recorded = None if typed("separator") or self.run is None else self.run.separator
        return recorded or option


strict_option = click.option(
    "--strict", is_flag=True, help="Treat warnings about the cfg as errors."
)
set_option = click.option(
    "--set",
    "overrides",
    multiple=True,
    metavar="SECTION.KEY=VALUE",
    help="Override a key of the cfg: gru.output=64 in every [gru], 1.output=64 only in layer 1, "
    "with the layer numbers of info. Repeatable.",
)
READING: dict[str, dict[str, Any]] = {  # how to read weights
    "weights_order": {
        "type": click.Choice(ORDERS),
        "help": "Order of arrays in the weight file [from its header].",
    },
    "allow_nonfinite": {"is_flag": True, "help": "Accept weights that contain NaN or infinity."},
    "allow_other_cfg": {
        "is_flag": True,
        "help": "Accept weights that were made with different layers.",
    },
}
EVERYWHERE = {"weights_order"}  # all commands accept it, even those without weights


def _cfg_options(*reading: str) -> Callable[[Callback], Callback]:
    """Adds --strict, --set and the named options of READING; the command gets them as `choice`."""

    def decorate(command: Callback) -> Callback:
        @functools.wraps(command)
        def wrapped(*args: Any, strict: bool, overrides: tuple[str, ...], **kwargs: Any) -> Any:
            how = LoadOptions(
                weights_order=kwargs.pop("weights_order"),
                allow_nonfinite=kwargs.pop("allow_nonfinite", False),
                allow_other_cfg=kwargs.pop("allow_other_cfg", False),
            )
            choice = CfgChoice(strict, overrides, how)
            if {"final", "weights"} <= kwargs.keys():
                files = NetworkFiles.of(kwargs["cfg"], kwargs["weights"], kwargs.pop("final"))
                kwargs |= {"cfg": files.cfg, "weights": files.weights}
                choice = choice.of(files)
            check_order(kwargs)
            try:
                return command(*args, choice=choice, **kwargs)
            except OverrideError as error:
                raise CfgError(f"--set {bare(error.text)}{error.problem}") from error
            except CfgError as error:  # from a use of the network, so without a path
                cfg = kwargs.get("cfg")
                if error.path or not cfg:
                    raise
                raise CfgError(str(error), find_cfg(cfg)) from error

        for name, option in reversed(READING.items()):
            if name in {*reading, *EVERYWHERE}:
                flag = f"--{name.replace('_', '-')}"
                wrapped = click.option(flag, **option, hidden=name not in reading)(wrapped)
        return strict_option(set_option(wrapped))  # type: ignore[return-value]

    return decorate


def _network_options(*reading: str) -> Callable[[Callback], Callback]:
    """Adds --final too: the folder of a run stands for the arguments CFG and WEIGHTS."""

    def decorate(command: Callback) -> Callback:
        return final_option(_cfg_options(*reading)(command))

    return decorate


SHOWING = ("weights_order", "allow_other_cfg")  # for commands that show a file
cfg_options = _cfg_options(*READING)
network_options = _network_options(*READING)
showing_options = _cfg_options(*SHOWING)
showing_network_options = _network_options(*SHOWING)
weightless_options = _cfg_options()
