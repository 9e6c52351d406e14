"""The words for keys: none without, and a commented cfg that says what it comments."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from minidark.cfg import reference
from minidark.cfg.keys import keys_of
from minidark.cfg.plan import Plan, plan_cfg
from minidark.cfg.presets import PRESETS
from minidark.cfg.sections import ignore_doubt, parse_sections

PAGE = Path(__file__).parent.parent.parent / "docs" / "cfg.md"


def plan(text: str) -> Plan:
    return plan_cfg(text.encode())


def meaning(text: str) -> list[object]:
    there = plan(text)
    return [there.net, *(layer.options for layer in there.layers)]


@pytest.mark.parametrize("name", reference.section_types())
def test_every_section_and_key_says_what_it_does(name: str) -> None:
    kind = reference.section_types()[name]
    assert str(kind.__doc__).endswith(".")
    assert not str(kind.__doc__).startswith(f"{kind.__name__}(")  # what dataclass would write
    for key in keys_of(kind).values():
        assert re.fullmatch(r"[^\n]{4,90}", key.says), key.name
        assert "|" not in key.says  # it would end the cell of a table


def test_own_keys_are_those_that_darknet_lacks() -> None:
    own = {k.name for kind in reference.section_types().values() for k in keys_of(kind).values()
           if k.own}  # fmt: skip
    layers = {"init", "input_scale", "update_bias", "forget_bias", "dropconnect", "reset_after",
              "elman", "tied", "smoothing", "dropout"}  # fmt: skip
    attention = {"over", "heads", "keys", "memory", "separator", "query", "key", "value"}
    assert own == layers | attention | {"batchnorm", "clip_norm", "average"}


@pytest.mark.parametrize("name", PRESETS)
def test_comments_change_nothing_and_name_every_key(name: str) -> None:
    text = PRESETS[name].text
    shown = reference.commented(text, ["A heading."])
    assert meaning(shown) == meaning(text)
    for section in parse_sections(text.encode(), None, ignore_doubt):
        kind = reference.section_types()[section.type]
        for key in keys_of(kind).values():
            assert not key.works or re.search(rf"(?m)^#?{key.name}=", shown)


@pytest.mark.parametrize("name", PRESETS)
def test_a_key_behind_a_hash_stands_at_its_default(name: str) -> None:
    shown = reference.commented(PRESETS[name].text)
    at_work = re.sub(r"(?m)^#(\w+=[^\s#]+)", r"\1", shown)
    assert at_work.count("\n") == shown.count("\n")
    assert at_work != shown
    wanted = meaning(shown)
    assert meaning(at_work) == wanted


def test_a_value_is_written_as_a_cfg_has_it() -> None:
    values = [True, 0.5, 1e-7, 3, (1, 20), (), None, "tanh"]
    assert [*map(reference.written, values)] == ["1", "0.5", "1e-07", "3", "1,20", "", "", "tanh"]


def test_the_tables_of_the_docs_are_those_of_the_code() -> None:
    text = PAGE.read_text(encoding="utf-8")
    assert reference.with_tables(text) == text, "python -m minidark.cfg.reference docs/cfg.md"
    for name in reference.section_types():
        assert f"### `[{name}]`" in text
