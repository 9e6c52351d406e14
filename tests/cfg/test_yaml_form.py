"""A cfg in YAML is the cfg: the same sections, checks and messages, at YAML's lines."""

from __future__ import annotations

import logging
import re
from pathlib import Path

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from minidark import CfgError, load_network, parse_network_cfg
from minidark.cfg.forms import parse_cfg, rewritten
from minidark.cfg.plan import plan_cfg
from minidark.cfg.presets import PRESETS
from minidark.cfg.reference import commented
from minidark.cfg.sections import Pair, Section, format_sections
from minidark.files.shipped import folder
from tests.fuzz.mutation import corpus
from tests.helpers import cfg
from tests.selection import examples

TEXT = b"""\
# two lines
; above all
[net]
inputs = 4          # symbols
policy=steps
steps=1,20  ; batches
scales=.1, .5
max_batches=0010

[gru]
output=3
# what the candidate is
tanh=1

[dropout]
[softmax]  # the end
# and after it
"""
YAML = """\
# two lines
# above all
net:
  inputs: 4  # symbols
  policy: steps
  steps: [1, 20]  # batches
  scales: [.1, .5]
  max_batches: 0010
layers:
- gru:
    output: 3
    # what the candidate is
    tanh: 1
- dropout
- softmax  # the end
# and after it
"""


def unheard(message: str, line: int) -> None:
    del message, line


def meaning(sections: list[Section]) -> list[object]:
    return [(s.type, [(p.key, p.value) for p in s.pairs.values()]) for s in sections]


def converted(data: bytes, source: str, out: str) -> str:
    return rewritten(parse_cfg(data, source, unheard), data, source, out)


def test_cfg_text_becomes_yaml_with_its_comments_and_back() -> None:
    assert converted(TEXT, "a.cfg", "a.yaml") == YAML
    back = converted(YAML.encode(), "a.yaml", "b.cfg")
    assert meaning(parse_cfg(back.encode(), "b.cfg", unheard)) == meaning(
        parse_cfg(TEXT, "a.cfg", unheard)
    )
    for comment in ("# two lines", "# symbols", "# batches", "# what the cand", "# the end"):
        assert comment in back
    assert converted(back.encode(), "b.cfg", "b.yml") == YAML


FILES = [*folder("cfg").glob("*.cfg"), *corpus("cfg")]


@pytest.mark.parametrize("path", FILES, ids=[path.name for path in FILES])
def test_every_shipped_cfg_there_and_back_is_the_same_plan(path: Path) -> None:
    data = path.read_bytes()
    try:
        plan = plan_cfg(data, warn=unheard)
    except CfgError:
        pytest.skip("kept for being wrong")
    there = converted(data, "a.cfg", "a.yaml")
    back = converted(there.encode(), "a.yaml", "b.cfg")
    for text, name in ((there, "a.yaml"), (back, "b.cfg")):
        again = plan_cfg(text.encode(), name, warn=unheard)
        assert (again.net, [la.options for la in again.layers]) == (
            plan.net,
            [la.options for la in plan.layers],
        )


WORD = st.text(
    st.characters(exclude_categories=["Cs"], exclude_characters=" \t\r\n\0#;[]="), min_size=1
)
VALUE = st.one_of(
    WORD,
    st.lists(WORD, min_size=2, max_size=4).map(",".join),
    st.sampled_from(["1,2", "1,,2", ",", "true", "null", "~", "-", "---", "...", "a: b", "{",
                     "!x", "=", "&a", "*a", '"', "'", "\\", "0x1", "1e3", "-.5", "@", "`", "%", "?",
                     "|"]),
).map(lambda text: text.replace(" ", ""))  # fmt: skip


@st.composite
def sections(draw: st.DrawFn) -> list[Section]:
    names = [draw(st.sampled_from(["net", "network"])), *draw(st.lists(WORD, max_size=4))]
    made = []
    for line, name in enumerate(names, start=1):
        keys = draw(st.dictionaries(WORD, VALUE, max_size=4))
        made.append(Section(name, line, {k: Pair(k, v, line) for k, v in keys.items()}))
    return made


@settings(max_examples=examples(150), deadline=None, derandomize=True)
@given(sections())
@example([Section("net", 1, {"a": Pair("a", "true", 1)}), Section("null", 2)])
def test_sections_of_any_words_survive_yaml(made: list[Section]) -> None:
    text = format_sections(made)
    read = parse_cfg(text.encode(), "a.cfg", unheard)
    there = converted(text.encode(), "a.cfg", "a.yaml")
    assert meaning(parse_cfg(there.encode(), "a.yaml", unheard)) == meaning(read) == meaning(made)
    assert converted(there.encode(), "a.yaml", "b.cfg") == text


def test_yaml_may_say_true_and_false_and_lists() -> None:
    plan = plan_cfg(
        b"layers: [gru: {output: 3, tanh: true}, dropout: {}, softmax: ]\n"
        b"net: {inputs: 4, adam: True, policy: steps, steps: [1, 2], scales: '.1,.2'}\n",
        "a.yaml",
    )
    assert (plan.net.adam, plan.net.steps, plan.net.scales) == (True, (1, 2), (0.1, 0.2))
    assert [la.section.type for la in plan.layers] == ["gru", "dropout", "softmax"]
    assert plan.layers[0].options.tanh is True  # type: ignore[attr-defined]


NET = "net: {inputs: 4}\n"
WRONG = {
    "no YAML": ("", ": no YAML in this file"),
    "a list": ("- net", ":1: expected a mapping: `net: {...}` and `layers: [...]`"),
    "cfg text": ("[net]\ninputs=4\n", ":2: expected '<document start>', but found '<scalar>'"),
    "no layers": (NET, ":1: a cfg in YAML has one `net` and one `layers`"),
    "two nets": (
        NET + "network:\nlayers: []",
        ":1: a cfg in YAML has one `net` and one `layers`",
    ),
    "another key": (
        NET + "layer: []",
        ":2: unknown key 'layer'; a cfg in YAML has net and layers (did you mean 'layers'?)",
    ),
    "layers no list": (
        NET + "layers: {gru: {}}",
        ":2: layers is a list: a line `- gru: {...}` for each",
    ),
    "two layers in an item": (
        NET + "layers:\n- gru: {}\n  softmax: {}",
        ":3: expected one layer: `- gru: {output: 64}` or `- softmax`",
    ),
    "a layer of a list": (
        NET + "layers:\n- gru: [1]",
        ":3: gru has a mapping of keys, {key: value}",
    ),
    "a mapping as value": (
        NET + "layers:\n- gru:\n    output: {a: 1}",
        ":4: output is neither a value nor a list",
    ),
    "no value": (NET + "layers:\n- gru:\n    output:", ":4: output has no value"),
    "not a cfg's value": (
        NET + 'layers:\n- gru:\n    output: "1#2"',
        ":4: output: '1#2' is not valid in a cfg",
    ),
    "an odd section": (NET + 'layers: ["a b"]', ":2: 'a b' is not the name of a section"),
    "an unknown section": (
        NET + "layers:\n- softmax\n- gruu",
        ":4: unknown section [gruu] (did you mean 'gru'?)",
    ),
    "a wrong number": (NET + "layers:\n- gru: {output: 64x}", ":3: output='64x' is not an integer"),
    "octal is ten": (NET + "layers:\n- gru: {output: 0x10}", ":3: output='0x10' is not an integer"),
    "only [net]": (NET + "layers: []", ": no layers: this cfg has only [net]"),
    "an alias": (
        "net: &n {inputs: 4}\nlayers: []",
        ":1: anchors and aliases (& and *) are not supported; write the value out",
    ),
    "many": (NET + "layers:\n" + "- softmax\n" * 1000, ":3: more than 1,000 sections; not a cfg"),
}  # fmt: skip


@pytest.mark.parametrize("name", WRONG)
def test_a_wrong_yaml_is_refused_at_its_line(name: str, tmp_path: Path) -> None:
    text, said = WRONG[name]
    path = tmp_path / "a.yaml"
    path.write_text(text)
    with pytest.raises(CfgError) as error:
        parse_network_cfg(path)
    assert str(error.value) == f"{path}{said}"


def test_a_doubt_is_told_at_the_line_and_strict_refuses_it(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = tmp_path / "a.yaml"
    path.write_text(NET + "layers:\n- gru:\n    ouput: 3")
    with caplog.at_level(logging.WARNING, "minidark"):
        parse_network_cfg(path)
    said = f"{path}:4: unknown key 'ouput' in [gru] (did you mean 'output'?)"
    assert caplog.messages == [said]
    with pytest.raises(CfgError) as error:
        parse_network_cfg(path, strict=True)
    assert str(error.value) == said


def test_what_was_made_with_a_cfg_is_at_home_in_its_yaml(tmp_path: Path) -> None:
    """Overrides, weights and the cfg that is written: the form makes no difference."""
    text = cfg("net inputs=4", "gru output=3 tanh=1", "connected output=4", "softmax")
    (tmp_path / "a.cfg").write_text(text)
    (tmp_path / "a.yaml").write_text(converted(text.encode(), "a.cfg", "a.yaml"))
    net = load_network(tmp_path / "a.cfg", seed=3, overrides=["gru.output=5"])
    net.save_weights(tmp_path / "w.weights")
    same = load_network(tmp_path / "a.yaml", tmp_path / "w.weights", overrides=["gru.output=5"])
    assert same.layers[0].outputs == 5
    same.save_cfg(tmp_path / "b.yaml")
    same.save_cfg(tmp_path / "b.cfg")
    assert "- gru: {output: 5, tanh: 1}\n" in (tmp_path / "b.yaml").read_text()
    assert "[gru]\noutput=5\ntanh=1\n" in (tmp_path / "b.cfg").read_text()


@pytest.mark.parametrize("name", PRESETS)
def test_a_key_that_is_commented_out_stays_in_its_section_in_yamls_spelling(name: str) -> None:
    """Taken in again, it says in YAML what it says in the cfg."""
    own, _, _ = commented(PRESETS[name].text).partition("# Every layer's section")
    sections = parse_cfg(own.encode(), "a.cfg", unheard)
    yaml = rewritten(sections, own.encode(), "a.cfg", "a.yaml")
    taken_in = re.sub(r"(?m)^#(\w+=[^ ])", r"\1", own)
    again = re.sub(r"(?m)^( +)#(\w+: [^ ])", r"\1\2", yaml)
    wanted = parse_cfg(taken_in.encode(), "a.cfg", unheard)
    assert meaning(parse_cfg(again.encode(), "a.yaml", unheard)) == meaning(wanted)
    assert len(wanted[0].pairs) > len(sections[0].pairs)
    assert not re.search(r"(?m)^ *#\w+=", yaml)


@pytest.mark.parametrize(
    ("comment", "in_yaml"),
    [
        ("#output=4", "    #output: 4"),
        ("# output=4   # four", "    #output: 4  # four"),
        ("#steps=1,2", "    #steps: [1, 2]"),
        ("#steps=", "    #steps:"),
        ("# where output=4 is better", "# where output=4 is better"),
    ],
)
def test_comments_of_keys_and_others(comment: str, in_yaml: str) -> None:
    data = f"[net]\ninputs=4\n[gru]\noutput=3\n{comment}\n[softmax]\n".encode()
    said = rewritten(parse_cfg(data, "a.cfg", unheard), data, "a.cfg", "a.yaml")
    assert f"\n{in_yaml}\n- softmax\n" in said
