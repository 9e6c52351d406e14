"""The commands that `train` names after a run."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path

from minidark.errors import MinidarkError
from minidark.inference.generate import can_generate
from minidark.network import Network
from minidark.weights.run_folder import BEST, FINAL, find_run

STATEFUL = {"gru", "lstm", "rnn"}  # layers that `look` shows
MOST_SYMBOLS = 256  # that `look` shows


def next_commands(
    net: Network,
    folder: str,
    base: str,
    data: Sequence[str],
    *,
    pairs: bool = False,
    valid: Sequence[str] = (),
    tokens: str | None = None,
    tokenized: bool = False,
) -> list[str]:
    """Two commands for the network of a run, as they are typed. base: BASE in the names of its
    files. The others are the options of the run."""
    named = _named(folder, base)
    summary = ["report", f"{folder.rstrip('/')}/"]
    if pairs:
        words = [["predict", named], ["score", named, *valid] if valid else summary]
    elif not (can_generate(net) or (tokens and net.gives_distribution)):
        words = [["info", named], summary]
    else:
        sample = ["generate", named, *(["--tokens", tokens] if tokens else [])]
        shown = _is_shown(net) and not (tokens or tokenized)
        words = [sample, ["look", named, (*valid, *data)[0]] if shown else summary]
    return [shlex.join(["minidark", *line]) for line in words]


def _named(folder: str, base: str) -> str:
    """The word that stands for the network: the folder, or if it contains weights of several runs,
    the best weights."""
    try:
        find_run(folder)
    except MinidarkError:
        paths = [Path(folder, f"{base}{ending}") for ending in (BEST, FINAL)]
        return str(next((path for path in paths if path.exists()), paths[-1]))
    return f"{folder.rstrip('/')}/"


def _is_shown(net: Network) -> bool:
    """Whether `look` can show the network."""
    has_state = any(layer.type in STATEFUL for layer in net.layers)
    return has_state and net.inputs <= MOST_SYMBOLS and find_spec("jinja2") is not None
