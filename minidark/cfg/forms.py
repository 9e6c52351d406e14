"""The two forms of a cfg, darknet's text and YAML, told apart by the suffix of the file.

PyYAML is imported when a YAML is read or written, for it takes longer than to read a cfg.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from minidark.cfg import sections as text
from minidark.cfg.comments import Comments
from minidark.cfg.sections import Refuse, Section, Warn, raise_
from minidark.errors import CfgError

SUFFIXES = (".yaml", ".yml")


def is_yaml(path: Path | str | None) -> bool:
    return path is not None and Path(path).suffix.lower() in SUFFIXES


def parse_cfg(
    data: bytes, path: Path | str | None, warn: Warn, refuse: Refuse = raise_
) -> list[Section]:
    """The sections of a cfg's bytes, in the form that the path tells. Raises CfgError; where
    `refuse` comes back, reading goes on behind a wrong line of text. A YAML has none such."""
    if not is_yaml(path):
        return text.parse_sections(data, path, warn, refuse)
    from minidark.cfg import yaml_form

    return yaml_form.parse_yaml(data, path)


def format_cfg(
    sections: Sequence[Section], path: Path | str | None = None, comments: Comments | None = None
) -> str:
    """Sections as text in the form that the path tells. Raises CfgError for what that form cannot
    hold."""
    if not is_yaml(path):
        return text.format_sections(sections, comments)
    from minidark.cfg import yaml_form

    return yaml_form.format_yaml(sections, comments)


def rewritten(sections: Sequence[Section], data: bytes, source: Path | str, out: Path | str) -> str:
    """The sections that were read from the bytes `data` of the path `source`, in the form of the
    path `out`, with the comments. Raises CfgError for what that form cannot hold."""
    said = format_cfg(sections, out, _comments(data, source))
    try:
        again = parse_cfg(said.encode(), out, text.unheard)
    except CfgError as error:
        raise CfgError(f"cannot be rewritten: {error}", source) from error
    if _meaning(again) != _meaning(sections):
        raise CfgError("cannot be rewritten: it would be another cfg", source)
    return said


def _comments(data: bytes, path: Path | str) -> Comments:
    if not is_yaml(path):
        return text.cfg_comments(data)
    from minidark.cfg import yaml_form

    return yaml_form.yaml_comments(data)


def _meaning(sections: Sequence[Section]) -> list[tuple[str, list[tuple[str, str]]]]:
    return [(s.type, [(p.key, p.value) for p in s.pairs.values()]) for s in sections]
