"""What a network is, in a few words: "one GRU of 320", "two LSTMs of 256 over byte pairs".

The names of shipped cfgs are short, and `rnn` is a GRU. So a shipped cfg is named to people with
its description.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import groupby
from pathlib import Path
from typing import Any

from minidark.cfg.plan import Plan, plan_cfg
from minidark.cfg.sections import ignore_doubt
from minidark.cfg.source import recorded_text
from minidark.errors import CfgError
from minidark.files import shipped

NOUNS = {"gru": "GRU", "lstm": "LSTM", "rnn": "plain RNN"}
NUMBERS = ("no", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine")


def described(layers: Iterable[tuple[str, int]], normalizes: bool = False) -> str:
    """Describes layers by type and width, from the first to the last; "" without a recurrent
    layer. normalizes: with batch norm."""
    layers = [*layers]
    recurrent = [layer for layer in layers if layer[0] in NOUNS]
    parts = [_some(*layer, len([*same])) for layer, same in groupby(recurrent)]
    if not parts:
        return ""
    extras = {
        " with batch norm": normalizes,
        " with attention": any(type_ == "attention" for type_, _ in layers),
        " over byte pairs": any(type_ == "bytepairs" for type_, _ in layers),
    }
    return _listed(parts) + "".join(text for text, is_so in extras.items() if is_so)


def title(cfg: Path | str, layers: Iterable[tuple[str, int]], normalizes: bool = False) -> str:
    """The name of a cfg for people: "rnn: one GRU of 320" of a shipped one, else the file's
    name."""
    name = shipped.bare_name(cfg)
    description = described(layers, normalizes) if name else ""
    return f"{name}: {description}" if description else Path(cfg).name


def title_of_plan(cfg: Path | str, plan: Plan) -> str:
    """`title` with the layers of a plan."""
    layers = [(layer.section.type, layer.size.outputs) for layer in plan.layers]
    return title(cfg, layers, plan.normalizes)


def title_of_record(cfg: Path | str, values: Sequence[dict[str, Any]]) -> str:
    """`title` with the layers that a run recorded (`same_run.cfg_values`)."""
    try:
        plan = plan_cfg(recorded_text(values).encode(errors="replace"), warn=ignore_doubt)
    except CfgError:  # of a version with other sections
        return title(cfg, ())
    return title_of_plan(cfg, plan)


def _some(type_: str, width: int, count: int) -> str:
    number = NUMBERS[count] if count < len(NUMBERS) else str(count)
    return f"{number} {NOUNS[type_]}{'s' if count > 1 else ''} of {width:,}"


def _listed(parts: Sequence[str]) -> str:
    *first, last = parts
    return f"{', '.join(first)} and {last}" if first else last
