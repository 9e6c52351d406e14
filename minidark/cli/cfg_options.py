"""What every command that takes a cfg shares: its argument, its options, and the loading."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import click

from minidark.cfg.parser import load_network
from minidark.cfg.plan import Doubts, Plan, plan_cfg
from minidark.cfg.sections import read_cfg
from minidark.cli.order import check_order
from minidark.errors import CfgError, OverrideError, bare
from minidark.network import Network
from minidark.shipped import find_cfg
from minidark.weights import ORDERS, Reading

Command = TypeVar("Command", bound=Callable[..., Any])


@dataclass(frozen=True, slots=True)
class CfgChoice:
    """How to read the cfg that was named, and the weights beside it."""

    strict: bool
    overrides: tuple[str, ...]
    reading: Reading

    def load(self, cfg: str, weights: str | None = None, **kwargs: Any) -> Network:
        """With numpy's kernels unless asked for others: a command that is soon over would spend
        more time on importing the compiled ones than on its work."""
        return load_network(
            find_cfg(cfg),
            weights,
            strict=self.strict,
            overrides=self.overrides,
            **self.reading,
            **{"kernels": "numpy", **kwargs},
        )

    def plan(self, cfg: str) -> Plan:
        """What the cfg asks for, before any array is made."""
        path = find_cfg(cfg)
        warn = Doubts(path, self.strict)
        return plan_cfg(read_cfg(path), path, warn=warn, overrides=self.overrides)

    def with_nonfinite(self) -> CfgChoice:
        """As with --allow-nonfinite: for what only shows a file."""
        return dataclasses.replace(self, reading={**self.reading, "allow_nonfinite": True})

    def overruled(self, override: str) -> CfgChoice:
        return dataclasses.replace(self, overrides=(*self.overrides, override))

    def path(self, cfg: str) -> Path:
        return find_cfg(cfg)


def cfg_options(command: Command) -> Command:
    """Adds --strict, --set and how to read weights; the command gets them as `choice`."""

    @click.option("--strict", is_flag=True, help="Refuse what the cfg would only be warned of.")
    @click.option(
        "--set",
        "overrides",
        multiple=True,
        metavar="SECTION.KEY=VALUE",
        help="Overrule the cfg: gru.output=64 in every [gru], 1.output=64 in layer 1 alone, as "
        "info counts. May be given again.",
    )
    @click.option(
        "--weights-order",
        type=click.Choice(ORDERS),
        help="Order of arrays in the weight file; by its header, unless given.",
    )
    @click.option("--allow-nonfinite", is_flag=True, help="Take weights that hold NaN or infinity.")
    @click.option(
        "--allow-other-cfg",
        is_flag=True,
        help="Take weights that were made with a cfg of other layers.",
    )
    @functools.wraps(command)
    def wrapped(
        *args: Any,
        strict: bool,
        overrides: tuple[str, ...],
        weights_order: str | None,
        allow_nonfinite: bool,
        allow_other_cfg: bool,
        **kwargs: Any,
    ) -> Any:
        check_order(kwargs)
        reading = Reading(
            weights_order=weights_order,
            allow_nonfinite=allow_nonfinite,
            allow_other_cfg=allow_other_cfg,
        )
        try:
            return command(*args, choice=CfgChoice(strict, overrides, reading), **kwargs)
        except OverrideError as error:
            raise CfgError(f"--set {bare(error.text)}{error.said}") from error
        except CfgError as error:  # found out only when the network was used
            cfg = kwargs.get("cfg")
            raise error if error.path or not cfg else CfgError(str(error), find_cfg(cfg)) from error

    return wrapped  # type: ignore[return-value]
