"""docs/parity.md: what it claims is held by tests that exist, and it leaves nothing out."""

from __future__ import annotations

import re
from pathlib import Path

from minidark.cfg import options
from minidark.cfg.keys import keys_of
from minidark.cfg.options import LAYER_TYPES
from minidark.cfg.plan import NET_TYPES
from minidark.cli.commands.rnn import SWITCHES, VALUES, VERBS
from tests.docs.pages import missing_tests

ROOT = Path(__file__).parents[2]
DOC = (ROOT / "docs" / "parity.md").read_text(encoding="utf-8")
ROWS = [
    line
    for above, line in zip(["", *DOC.splitlines()], DOC.splitlines(), strict=False)
    if line.startswith("|") and above.startswith("|") and not line.startswith("|---")
]
TESTS = sorted(set(re.findall(r"`(tests/[^`]*)`", "\n".join(ROWS))))
OURS = {  # minidark's
    "init", "input_scale", "update_bias", "forget_bias", "dropconnect", "clip_norm", "average",
    "batchnorm", "reset_after", "elman", "tied", "smoothing", "over", "heads", "keys", "memory",
    "separator", "query", "key", "value", "dropout",
}  # fmt: skip


def test_there_are_rows() -> None:
    assert len(ROWS) > 80


def test_a_test_that_is_named_exists() -> None:
    assert missing_tests(TESTS) == []


def test_every_row_names_a_test() -> None:
    assert [row for row in ROWS if not names_a_test(row)] == []


def names_a_test(row: str) -> bool:
    first, second, held_by = row.strip("|").split(" | ")
    return all((first.strip(), second.strip(), re.search(r"`tests/[^`]*`", held_by)))


def first_cells() -> set[str]:
    """What stands between backquotes in the first column."""
    return {code for row in ROWS for code in re.findall(r"`([^`]*)`", row.split(" | ")[0])}


def test_every_verb_and_flag_has_a_row() -> None:
    words = {word for code in first_cells() for word in code.split()}
    assert {*VERBS, *VALUES, *SWITCHES} <= words


def test_every_section_has_a_row() -> None:
    assert {f"[{name}]" for name in (*LAYER_TYPES, *NET_TYPES)} <= first_cells()


def test_every_key_has_a_row() -> None:
    types: list[type[options.NetOptions | options.LayerOptions]] = [options.NetOptions]
    types += [*LAYER_TYPES.values()]
    keys = {name for kind in types for name in keys_of(kind)}
    assert keys - OURS <= first_cells()
