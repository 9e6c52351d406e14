"""Documentation of the cfg language, generated from the dataclasses of `cfg.options`.

    commented(sections)   a cfg with every key of its sections, explained
    tables()              Markdown of all sections and keys, as in docs/cfg.md

`python -m minidark.cfg.reference docs/cfg.md` updates the tables in that file.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from minidark.cfg import options as o
from minidark.cfg.keys import Key, keys_of
from minidark.cfg.plan import CANONICAL
from minidark.cfg.sections import Section, ignore_doubt, parse_sections
from minidark.files.disk import write_atomically

BEGIN, END = "<!-- keys: begin -->", "<!-- keys: end -->"
SHARED = frozenset(keys_of(o.LayerOptions))
COLUMN = 26  # first column of comments

Options = type[o.NetOptions | o.LayerOptions]


def section_types() -> dict[str, Options]:
    """All section names, in their long form, [net] first."""
    layers = {name: kind for name, kind in o.LAYER_TYPES.items() if name not in CANONICAL}
    return {"net": o.NetOptions, **layers}


def own_keys(kind: Options) -> list[Key]:
    """The keys of a section without the keys that all layers share."""
    shared = SHARED if kind is not o.NetOptions else frozenset()
    return [key for name, key in keys_of(kind).items() if name not in shared]


def written(value: Any) -> str:
    """A value in cfg syntax; empty for None."""
    if value is None or value == ():
        return ""
    if isinstance(value, tuple):
        return ",".join(map(written, value))
    if isinstance(value, bool):
        return str(int(value))
    return f"{value:g}" if isinstance(value, float) else str(value)


# --- a cfg with comments ------------------------------------------------------------------


def commented(text: str, heading: Sequence[str] = ()) -> str:
    """Cfg text with all keys of each section: existing ones first, then the others at their
    defaults, commented out. A later section of the same type gets no comments. The text must be
    valid."""
    sections = parse_sections(text.encode(), None, ignore_doubt)
    lines = [f"# {line}".rstrip() for line in heading]
    explained: set[Options] = set()
    for section in sections:
        type_ = CANONICAL.get(section.type, section.type)
        kind = section_types()[type_]
        lines += ["", *_section(section, kind, brief=kind in explained)]
        explained.add(kind)
    lines += ["", "# Every layer's section may also have:", "#"]
    lines += [_off(key) for key in keys_of(o.LayerOptions).values() if _works(key)]
    return "\n".join(lines).lstrip("\n") + "\n"


def _section(section: Section, kind: Options, brief: bool) -> list[str]:
    keys = keys_of(kind)
    existing = [
        f"{pair.key}={pair.value}" if brief else _on(pair.key, pair.value, keys[pair.key])
        for pair in section.pairs.values()
    ]
    if brief:
        return [f"[{section.type}]", *existing]
    others = [_off(key) for key in own_keys(kind) if key.name not in section.pairs]
    return [f"[{section.type}]".ljust(COLUMN) + f"# {kind.__doc__}".rstrip(), *existing, *others]


def _works(key: Key) -> bool:
    return key.works


def _on(name: str, value: str, key: Key) -> str:
    default = written(key.default)
    other = f" [{default}]" if default and default != value else ""
    return f"{name}={value}".ljust(COLUMN) + f"# {_says(key)}{other}"


def _off(key: Key) -> str:
    return f"#{key.name}={written(key.default)}".ljust(COLUMN) + f"# {_says(key)}"


def _says(key: Key) -> str:
    return f"{key.says} (minidark's own)" if key.own else key.says


# --- tables -------------------------------------------------------------------------------


def tables() -> str:
    """A table for [net], for each layer and for the keys that all layers share, under headings."""
    blocks = []
    for name, kind in section_types().items():
        short = [s for s, long in CANONICAL.items() if long == name]
        title = " or ".join(f"`[{n}]`" for n in (name, *short))
        blocks.append(_table(title, str(kind.__doc__), own_keys(kind)))
    shared = keys_of(o.LayerOptions).values()
    blocks.append(_table("Every layer", "Keys that any layer's section may have.", shared))
    return "\n".join(blocks)


def _table(title: str, says: str, keys: Iterable[Key]) -> str:
    rows = [
        f"| `{key.name}`{' ◆' if key.own else ''} | {_default(key)} | {key.says} |" for key in keys
    ]
    head = ["| key | default | what |", "|---|---|---|"] if rows else ["No keys of its own."]
    return "\n".join([f"### {title}", "", says, "", *head, *rows, ""])


def _default(key: Key) -> str:
    default = written(key.default)
    return f"`{default}`" if default else "none"


def with_tables(text: str) -> str:
    """The Markdown, with the tables between its two marks updated."""
    before, _, rest = text.partition(BEGIN)
    _, _, after = rest.partition(END)
    return f"{before}{BEGIN}\n\n{tables()}\n{END}{after}"


if __name__ == "__main__":
    page = Path(sys.argv[1])
    write_atomically(page, [with_tables(page.read_text(encoding="utf-8")).encode()])
