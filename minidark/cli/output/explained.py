"""The output of `train --explain`: size, time and learning rates of a run."""

from __future__ import annotations

import math
import sys

from minidark.cli.output.stdout import say, say_json
from minidark.errors import number_of
from minidark.training.explain import Explained

BARS = {True: "▁▂▃▄▅▆▇█", False: ".:-=+*#@"}  # by whether the encoding of standard output has them
MIB = 2**20


def show(e: Explained, as_json: bool) -> None:
    if as_json:
        say_json(e.to_json())
        return
    rates = ", ".join(f"{rate:.3g} at {batch}" for batch, rate in e.rates.items())
    passes = f", {number_of(e.subdivisions, 'pass')}" if e.subdivisions > 1 else ""
    what, side, about = ("characters", f"{number_of(e.streams, 'stream')} of", "")
    if e.pairs:
        side, about = f"{number_of(e.streams, 'pair')} of up to", "about "
        what = "characters of targets"
    rows = {
        "parameters": f"{e.parameters:,}",
        "memory": f"{e.parameter_bytes / MIB:,.1f} MiB for parameters and updates, "
        f"at least {e.pass_bytes / MIB:,.1f} MiB for a pass",
        "a batch": f"{about}{e.characters_per_batch:,} {what}: {side} "
        f"{number_of(e.time_steps, 'step')}{passes}",
        "the run": f"{number_of(e.batches, 'batch')}{_after(e.batches_seen)}, {e.epochs:.2f} "
        f"epochs of {e.characters:,} {what}",
        "rate": sparkline(e.curve, _has_bars()),
        "": rates,
        "speed": f"{e.characters_per_second:,.0f} {what} per second, "
        f"from {number_of(e.timed_batches, 'batch')}",
        "time": f"{duration(e.seconds)}: training {duration(e.seconds_training)}, "
        f"{number_of(e.validations, 'validation')} {duration(e.seconds - e.seconds_training)}",
    }
    say("\n".join(f"{name:12}{text}" for name, text in rows.items()))


def _after(seen: int) -> str:
    return f" after {seen:,}" if seen else ""


def sparkline(values: list[float], bars: bool) -> str:
    """A bar for each value; the largest value has a full bar."""
    signs = BARS[bars]
    top = max((v for v in values if math.isfinite(v)), default=0.0)
    heights = (min(v / top, 1.0) if top > 0 else 0.0 for v in values)
    return "".join(signs[round(height * (len(signs) - 1))] for height in heights)


def _has_bars() -> bool:
    try:
        BARS[True].encode(sys.stdout.encoding or "ascii")
    except (UnicodeEncodeError, LookupError):
        return False
    return True


def duration(seconds: float) -> str:
    """ "3 s", "2 min 5 s", "1 h 4 min", "3 d 2 h"."""
    units = (("d", 86400), ("h", 3600), ("min", 60), ("s", 1))
    whole = max(round(seconds), 1 if seconds > 0 else 0)
    at = next((i for i, (_, size) in enumerate(units) if whole >= size), len(units) - 1)
    name, size = units[at]
    text = f"{whole // size} {name}"
    if at + 1 < len(units):
        below, unit = units[at + 1]
        rest = whole % size // unit
        text += f" {rest} {below}" if rest else ""
    return text
