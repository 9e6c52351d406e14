"""A cfg in YAML.

    [net]                    net:
    inputs=256                 inputs: 256
    batch=16                   batch: 16
    [gru]                    layers:
    output=320               - gru: {output: 320, tanh: 1}
    tanh=1                   - softmax
    [softmax]

Both sides give the same sections, so keys, defaults, checks and messages are the same. An error has
the YAML's line. Values keep the cfg's grammar (`010` is ten, `.5` a half). In addition, YAML allows
true and false for 1 and 0, and [1, 2] for `1,2`.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import yaml

from minidark.cfg.comments import Comments
from minidark.cfg.sections import MOST_SECTIONS, Pair, Section, without_blanks
from minidark.errors import CfgError, bare, echo, nearest
from minidark.files import yaml_lines
from minidark.files.yaml_lines import Items, Mapping, Node, Scalar

NET, LAYERS = ("net", "network"), "layers"
FLAGS = {"true": "1", "True": "1", "false": "0", "False": "0"}
KEY = r"[^\[=#;\0 \t\r\n][^=#;\0 \t\r\n]*"  # valid in a cfg
OFF = re.compile(r" ?(?P<key>\w+)(?P<sign>[=:]) ?(?P<value>\S*)\s*(?P<rest>#.*)?")  # commented out
WIDEST = 100  # most columns of a layer in one line


def parse_yaml(data: bytes, path: Path | str | None = None) -> list[Section]:
    """The sections of a cfg in YAML. Raises CfgError with a line."""
    return _YamlCfg(path).sections(yaml_lines.load(data, path))


@dataclass(frozen=True, slots=True)
class _YamlCfg:
    path: Path | str | None

    def sections(self, tree: Node) -> list[Section]:
        if not isinstance(tree, Mapping):
            raise self._wrong("expected a mapping: `net: {...}` and `layers: [...]`", tree)
        for key in tree:
            if key not in (*NET, LAYERS):
                hint = nearest(key, (*NET, LAYERS))
                message = f"unknown key {echo(key)}; a cfg in YAML has net and layers{hint}"
                raise CfgError(message, self.path, tree.lines[key])
        net = [self._section(key, tree.lines[key], tree[key]) for key in tree if key in NET]
        if len(net) != 1 or LAYERS not in tree:
            raise self._wrong("a cfg in YAML has one `net` and one `layers`", tree)
        layers = tree[LAYERS]
        if not isinstance(layers, Items):
            line = tree.lines[LAYERS]
            raise CfgError("layers is a list: a line `- gru: {...}` for each", self.path, line)
        if len(layers) >= MOST_SECTIONS:
            raise self._wrong(f"more than {MOST_SECTIONS:,} sections; not a cfg", layers)
        return [*net, *map(self._layer, layers)]

    def _layer(self, item: Node) -> Section:
        if isinstance(item, Scalar):
            return self._section(item, item.line, Scalar.of("", item.line))
        if not isinstance(item, Mapping) or len(item) != 1:
            raise self._wrong("expected one layer: `- gru: {output: 64}` or `- softmax`", item)
        ((type_, keys),) = item.items()
        return self._section(type_, item.lines[type_], keys)

    def _section(self, type_: str, line: int, keys: Node) -> Section:
        if not re.fullmatch(r"[^\[\]#;\0 \t\r\n]+", type_):
            raise CfgError(f"{echo(str(type_))} is not the name of a section", self.path, line)
        section = Section(str(type_), line)
        if keys == "":
            return section
        if not isinstance(keys, Mapping):
            raise self._wrong(f"{bare(type_)} has a mapping of keys, {{key: value}}", keys)
        for key, value in keys.items():
            pair = self._pair(key, keys.lines[key], value)
            section.pairs[pair.key] = pair
        return section

    def _pair(self, key: str, line: int, value: Node) -> Pair:
        parts = value if isinstance(value, Items) else [value]
        if not parts or not all(isinstance(part, Scalar) for part in parts):
            raise CfgError(f"{bare(key)} is neither a value nor a list", self.path, line)
        text = without_blanks(",".join(map(_text, parts)))
        if not text:
            raise CfgError(f"{bare(key)} has no value", self.path, line)
        if not re.fullmatch(KEY, key) or re.search(r"[#;\0\r\n]", text):
            message = f"{bare(key)}: {echo(text)} is not valid in a cfg"
            raise CfgError(message, self.path, line)
        return Pair(str(key), text, line)

    def _wrong(self, message: str, node: Node) -> CfgError:
        return CfgError(message, self.path, node.line)


def _text(scalar: Scalar) -> str:
    return FLAGS.get(scalar, str(scalar)) if scalar.plain else str(scalar)


def format_yaml(sections: Sequence[Section], comments: Comments | None = None) -> str:
    """Sections as YAML: [net] with one key per line, each layer in one line if it fits and has no
    comments between or after its keys. Keys that are commented out stay in their section, in
    YAML's spelling."""
    comments = comments or Comments()
    net, *layers = sections
    following = [*(section.line for section in layers), float("inf")]
    lines = _before(net.line, comments)
    lines += _block(net, f"{_scalar(net.type)}:", "  ", comments, following[0])
    lines.append(f"{LAYERS}:" if layers else f"{LAYERS}: []")
    for layer, next_line in zip(layers, following[1:], strict=True):
        lines += _before(layer.line, comments)
        inside = comments.within(layer.line, _own_lines(layer))
        one, head = f"- {_flow(layer)}", f"- {_scalar(layer.type)}:"
        block = [*_block(layer, head, "    ", comments, next_line)]
        single = len(block) == len(layer.pairs) + 1 and not inside and len(one) <= WIDEST
        lines += [one + block[0].removeprefix(head)] if single else block
    return "\n".join([*lines, *_before(float("inf"), comments)]) + "\n"


def _own_lines(section: Section) -> set[int]:
    return {p.line for p in section.pairs.values()} - {section.line}


def _block(
    section: Section, head: str, indent: str, comments: Comments, next_line: float
) -> Iterator[str]:
    yield head + comments.at(section.line)
    for pair in section.pairs.values():
        yield from (f"{indent}{comment}" for comment in _before(pair.line, comments))
        yield f"{indent}{_scalar(pair.key)}: {_value(pair.value)}{comments.at(pair.line)}"
    last = max([section.line, *_own_lines(section)])
    off = comments.taken(last, next_line, lambda text: OFF.fullmatch(text) is not None)
    yield from (f"{indent}{_spelled(comment)}" for comment in off)


def _before(line: float, comments: Comments) -> list[str]:
    return [_spelled(comment) for comment in comments.before(line)]


def _spelled(comment: str) -> str:
    """A commented-out key in YAML's spelling; other comments unchanged."""
    match = OFF.fullmatch(comment[1:])
    if not match or match["sign"] == ":":
        return comment
    value = match["value"] and f" {_value(match['value'])}"
    return f"#{match['key']}:{value}" + (f"  {match['rest']}" if match["rest"] else "")


def _flow(section: Section) -> str:
    pairs = (f"{_scalar(p.key)}: {_value(p.value)}" for p in section.pairs.values())
    keys = ", ".join(pairs)
    return f"{_scalar(section.type)}: {{{keys}}}" if keys else _scalar(section.type)


def _value(text: str) -> str:
    items = text.split(",")
    if len(items) > 1 and all(_is_plain(item) for item in items):
        return f"[{', '.join(items)}]"
    return _scalar(text)


def _is_plain(text: str) -> bool:
    """Whether YAML reads the text unchanged without quotes."""
    plain = re.fullmatch(r"[-+.]?[A-Za-z0-9_][A-Za-z0-9_.+-]*", text)
    return plain is not None and text not in yaml_lines.PLAIN_VALUES


def _scalar(text: str) -> str:
    return text if _is_plain(text) else f'"{"".join(map(_escaped, text))}"'


def _escaped(c: str) -> str:
    if c in '"\\':
        return f"\\{c}"
    return c if c.isprintable() else f"\\U{ord(c):08x}"


def yaml_comments(data: bytes) -> Comments:
    """Comments of a YAML that was parsed before: text after the last token of a line."""
    comments = Comments()
    text = data.decode("utf-8-sig")
    ends: dict[int, int] = {}
    inside: set[int] = set()  # lines that begin within a token, such as multi-line text
    for token in yaml.scan(text, Loader=yaml.SafeLoader):
        start, end = token.start_mark, token.end_mark
        ends[end.line] = max(ends.get(end.line, 0), end.column)
        inside.update(range(start.line + 1, end.line))
    for number, line in enumerate(re.split("\r\n|[\r\n\x85\u2028\u2029]", text)):
        end = ends.get(number, 0)
        match = re.match(r"\s*#(.*)", line[end:])
        if match and number not in inside:
            comments.add(number + 1, match[1], alone=not end)
    return comments
