"""YAML with lines: what is read, and what is refused at its line."""

from __future__ import annotations

import time

import pytest

from minidark import CfgError
from minidark.files.yaml_lines import LARGEST, Items, Mapping, Scalar, load, resolved

TEXT = b"""\
# a comment
net: {inputs: 256, rate: .005}
layers:
- gru:
    output: 0010   # stays as it is
- dropout
"""


def test_mappings_lists_and_texts_know_their_lines() -> None:
    tree = load(TEXT)
    assert isinstance(tree, Mapping)
    assert tree == {
        "net": {"inputs": "256", "rate": ".005"},
        "layers": [{"gru": {"output": "0010"}}, "dropout"],
    }
    assert (tree.lines, tree["net"].line) == ({"net": 2, "layers": 3}, 2)
    layers = tree["layers"]
    assert isinstance(layers, Items)
    assert [layers[0].line, layers[1].line] == [4, 6]
    assert layers[0]["gru"].lines == {"output": 5}
    assert layers[0]["gru"]["output"].line == 5


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("010", 10),
        ("-3", -3),
        (".5", 0.5),
        ("1e-3", 0.001),
        ("true", True),
        ("False", False),
        ("null", None),
        ("~", None),
        ("yes", "yes"),
        ("12:30", "12:30"),
        ("0x10", "0x10"),
        ("1_000", "1_000"),
        ("2024-01-01", "2024-01-01"),
        (".inf", ".inf"),
        ("1e999", "1e999"),
        ('"010"', "010"),
        ("'true'", "true"),
    ],
)
def test_resolved_takes_no_more_types_than_these(text: str, value: object) -> None:
    scalar = load(text.encode())
    assert isinstance(scalar, Scalar)
    found = resolved(scalar)
    assert (found, type(found)) == (value, type(value))


WRONG = {
    "empty": (b"", ": no YAML in this file"),
    "an alias": (
        b"a: 1\nb: *x",
        ":2: anchors and aliases (& and *) are not supported; write the value out",
    ),
    "an anchor": (
        b"a: &x 1",
        ":1: anchors and aliases (& and *) are not supported; write the value out",
    ),
    "a thousand laughs": (
        b"a: &a [1,1]\nb: &b [*a,*a]",
        ":1: anchors and aliases (& and *) are not supported; write the value out",
    ),
    "a tag": (
        b"a:\n  !!python/object/apply:os.system [ls]",
        ":2: the tag 'tag:yaml.org,2002:python/object/appl... is not supported; use plain values",
    ),
    "two documents": (b"a: 1\n---\nb: 2", ":2: a second document"),
    "a key twice": (b"a: 1\nb: 1\na: 2", ":3: a is already set on line 1"),
    "a list as key": (b"\n{[1]: 2}", ":2: a key that is not text"),
    "a tab": (b"a:\n\t- b", ":2: found character '\\\\t' that cannot start any token"),
    "NUL": (b"a: 1\nb: \0", ":2: character 0x0 is not allowed"),
    "an escape of no character": (
        b'a: 1\nb: "\\UFFFFFFFF"',
        ":2: invalid escape, or a number that is too long",
    ),
    "a version of thousands of digits": (
        b"%YAML 1." + b"9" * 4301 + b"\n---\na: 1",
        ":1: invalid escape, or a number that is too long",
    ),
    "NUL by an escape": (b'a: 1\nb: "x\\0"', ":2: the character U+0000 is not allowed"),
    "half a character": (b'a: 1\nb: "\\uD800"', ":2: the character U+D800 is not allowed"),
    "half a character in a key": (b'a: 1\n"\\uD800": 1', ":2: the character U+D800 is not allowed"),
    "not UTF-8": (b"a: 1\n# \xe9", ":2: byte 0xe9 is not UTF-8; save the file as UTF-8"),
    "deep": (b"[" * 100_000, ":1: more than 16 levels deep"),
    "many": (b"- 1\n" * 60_000, ":20000: more than 20,000 values"),
    "large": (b"#" * (LARGEST + 1), ": larger than 262,144 bytes, the limit for YAML"),
    "a long problem": (
        b"!" + b"a" * 9999 + b"!b x",
        f":1: found undefined tag handle '!{'a' * 68}...",
    ),
}


@pytest.mark.parametrize("name", WRONG)
def test_what_is_not_plain_is_refused_in_one_line_soon(name: str) -> None:
    data, said = WRONG[name]
    began = time.process_time()
    with pytest.raises(CfgError) as error:
        load(data, "a.yaml")
    assert str(error.value) == f"a.yaml{said}"
    assert time.process_time() - began < 10
