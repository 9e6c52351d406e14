"""Options of other programs that are keys of a cfg here: the `--set` that does the same."""

from __future__ import annotations

import itertools
from collections.abc import Sequence

from minidark.cfg.sections import ignore_doubt, parse_sections
from minidark.cfg.source import read_source
from minidark.errors import CfgError
from minidark.files import shipped

KEYS = {  # option: key
    **dict.fromkeys(("learning-rate", "lr"), "net.learning_rate"),
    "batch-size": "net.batch",
    **dict.fromkeys(("time-steps", "seq-len", "seq-length", "sequence-length"), "net.time_steps"),
    **dict.fromkeys(("decay", "weight-decay"), "net.decay"),
    "momentum": "net.momentum",
    "dropout": "dropout.probability",
}
WIDTHS = ("hidden", "hidden-size", "units", "width", "rnn-size")
DEPTHS = ("layers", "num-layers", "n-layers")


def how_to_set(option: str, words: Sequence[str]) -> str:
    """The end of a message about the unknown option, "" if it is none of these. `words` is the
    command line, with the cfg and perhaps a value for the option."""
    name = option.lstrip("-")
    if name in DEPTHS:
        return (
            ", because the cfg has a section for each layer; `minidark init --preset large` shows "
            "a cfg with two"
        )
    key = f"{_recurrent(words)}.output" if name in WIDTHS else KEYS.get(name)
    return (
        f", because it is a key of the cfg: use --set {key}={_value(option, words)}" if key else ""
    )


def _value(option: str, words: Sequence[str]) -> str:
    """The value that was typed for the option, or a letter in its place."""
    after = dict(itertools.pairwise(words)).get(option, "-")
    joined = [word.partition("=")[2] for word in words if word.startswith(f"{option}=")]
    typed = joined[0] if joined else "" if after.startswith("-") else after
    return typed or "X"


def _recurrent(words: Sequence[str]) -> str:
    """The type of the first recurrent layer in the cfg that is named, "gru" if none can be read."""
    for word in words:
        if shipped.is_name(word) or word.endswith(".cfg"):
            try:
                sections = parse_sections(read_source(shipped.find_cfg(word)), word, ignore_doubt)
            except CfgError:
                continue
            kinds = [s.type for s in sections if s.type in ("gru", "lstm", "rnn")]
            return next(iter(kinds), "gru")
    return "gru"
