"""Options for the device, the kernels, the precision and the number of threads."""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeVar

import click

from minidark.backend import BF16, DEVICES, KERNELS, NUMPY_RATE, PRECISIONS
from minidark.backend.threads import set_threads
from minidark.cli.options.numbers import count
from minidark.network import Network

Callback = TypeVar("Callback", bound=Callable[..., Any])

# Seconds with numpy's kernels. The fast kernels halve this time, and compiling them for the first
# time takes about as long as they save.
WORTH_COMPILING = 20


@dataclass(frozen=True, slots=True)
class Compute:
    """The values of --device, --kernels and --precision."""

    device: str
    kernels: str
    precision: str = "float32"

    @property
    def loading(self) -> dict[str, str]:
        """Arguments of `load_network`. With float32, "auto" is numpy until the length of the run is
        known."""
        waits = self.kernels == "auto" and self.precision != BF16
        return {
            "device": self.device,
            "kernels": "numpy" if waits else self.kernels,
            "precision": self.precision,
        }

    def settle(self, net: Network, multiply_adds: float) -> None:
        """With "auto", use the fast kernels if the run is long enough to pay for compiling them."""
        if self.kernels == "auto" and multiply_adds > NUMPY_RATE * WORTH_COMPILING:
            net.backend.use_kernels("auto")


def compute_options(device: str) -> Callable[[Callback], Callback]:
    """Adds --device (default: `device`), --kernels, --precision and --threads; the command gets
    `compute`."""

    def decorate(command: Callback) -> Callback:
        @click.option(
            "--device",
            type=click.Choice(DEVICES),
            default=device,
            show_default=True,
            help="Device to compute on. auto uses a GPU if one works, else the CPU.",
        )
        @click.option(
            "--kernels",
            type=click.Choice(KERNELS),
            default="auto",
            show_default=True,
            help="Implementation of the layers. fast is compiled, and needs the extra fast. auto "
            "uses it for long runs.",
        )
        @click.option(
            "--precision",
            type=click.Choice(PRECISIONS),
            default="float32",
            show_default=True,
            help="Precision of matrix products. bf16 rounds their operands to bfloat16: faster, "
            "with other results than float32. It needs the fast kernels, and "
            "AMD's AVX512-BF16 or Intel's AMX.",
        )
        @click.option(
            "--threads",
            type=count(),
            metavar="N",
            help="Number of threads to compute with [one for each processor].",
        )
        @functools.wraps(command)
        def wrapped(
            *args: Any,
            device: str,
            kernels: str,
            precision: str,
            threads: int | None,
            **kwargs: Any,
        ) -> Any:
            if threads is not None:
                set_threads(threads)
            return command(*args, compute=Compute(device, kernels, precision), **kwargs)

        return wrapped  # type: ignore[return-value]

    return decorate
