"""The text of a cfg: of its file, of an archive, or of the `run.json` of a training run.

`run.json` records every value of a run's cfg, with the `--set` values applied. So a path to it is
accepted wherever the path of a cfg is.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from minidark.cfg.keys import keys_of
from minidark.cfg.net_options import NetOptions
from minidark.cfg.options import LAYER_TYPES
from minidark.cfg.sections import Pair, Section, format_sections, read_cfg
from minidark.errors import CfgError
from minidark.files import schema
from minidark.files.disk import open_regular
from minidark.files.schema import Anything, ListOf, Optional, Record, String, Value

RUN = "run.json"
LARGEST_RUN = 1 << 24  # bytes
SHORT = String(longest=1000, utf8=True)
NAMES = Optional(String(utf8=True))  # of the source and the target
CFG_VALUES = ListOf(Record({"section": SHORT}, others=Value()), least=2)
NETWORK = Record(  # keys of run.json that say which network was trained
    {
        "cfg": String(path=True),
        "cfg_values": CFG_VALUES,
        "separator": Optional(SHORT),
        "columns": NAMES,
        "fields": NAMES,
    },
    others=Anything(),
    absent=frozenset({"separator", "columns", "fields"}),
)


def is_run_record(path: Path | str) -> bool:
    """Whether the path is that of a run's record, by its name."""
    return Path(path).name == RUN


def read_run_record(path: Path | str) -> dict[str, Any]:
    """The contents of a `run.json`, checked against NETWORK. Raises CfgError."""
    with open_regular(path, lambda message: CfgError(message, path)) as file:
        data = file.read(LARGEST_RUN)
    try:
        run = schema.parse(data)
        message = schema.mistake(run, NETWORK)
    except ValueError as error:
        message = str(error)
    if message:
        raise CfgError(f"damaged, or not the record of a run: {message}", path)
    result: dict[str, Any] = run
    return result


def read_source(path: Path | str) -> bytes:
    """The text of a cfg, as `read_cfg` returns it; of a `run.json`, the recorded one. Raises
    CfgError."""
    if not is_run_record(path):
        return read_cfg(path)
    return recorded_text(read_run_record(path)["cfg_values"]).encode(errors="surrogatepass")


def recorded_text(values: Sequence[dict[str, Any]]) -> str:
    """Cfg text of the values that `same_run.cfg_values` recorded, without those that are
    defaults."""
    return format_sections([_section(dict(one)) for one in values])


def _section(values: dict[str, Any]) -> Section:
    type_ = values.pop("section")
    kind = NetOptions if type_ == "net" else LAYER_TYPES.get(type_)
    known = keys_of(kind) if kind else {}
    pairs = {}
    for key, value in values.items():
        plain = tuple(value) if isinstance(value, list) else value
        if value is not None and not (key in known and plain == known[key].default):
            pairs[key] = Pair(key, _text(plain), 0)
    return Section(type_, 0, pairs)


def _text(value: object) -> str:
    if isinstance(value, tuple):
        return ",".join(map(_text, value))
    return str(int(value)) if isinstance(value, bool) else str(value)
