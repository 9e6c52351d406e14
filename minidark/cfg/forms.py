"""The two forms of a cfg, darknet's text and YAML, selected by the file's suffix.

PyYAML is imported only for YAML files, because that takes longer than reading a cfg.
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
    """The sections of a cfg, in the form of the path. Raises CfgError. If `refuse` returns, reading
    continues after a wrong line of text; a YAML file always stops at the first mistake."""
    if not is_yaml(path):
        return text.parse_sections(data, path, warn, refuse)
    from minidark.cfg import yaml_form

    return yaml_form.parse_yaml(data, path)


def format_cfg(
    sections: Sequence[Section], path: Path | str | None = None, comments: Comments | None = None
) -> str:
    """Sections as text in the form of the path. Raises CfgError for contents that the form does not
    support."""
    if not is_yaml(path):
        return text.format_sections(sections, comments)
    from minidark.cfg import yaml_form

    return yaml_form.format_yaml(sections, comments)


def rewritten(sections: Sequence[Section], data: bytes, source: Path | str, out: Path | str) -> str:
    """The sections that were read from `data` of the path `source`, in the form of the path `out`,
    with comments. Raises CfgError for contents that the form does not support."""
    result = format_cfg(sections, out, _comments(data, source))
    try:
        reread = parse_cfg(result.encode(), out, text.ignore_doubt)
    except CfgError as error:
        raise CfgError(f"cannot be rewritten: {error}", source) from error
    if _meaning(reread) != _meaning(sections):
        raise CfgError("cannot be rewritten: its meaning would change", source)
    return result


def _comments(data: bytes, path: Path | str) -> Comments:
    if not is_yaml(path):
        return text.cfg_comments(data)
    from minidark.cfg import yaml_form

    return yaml_form.yaml_comments(data)


def _meaning(sections: Sequence[Section]) -> list[tuple[str, list[tuple[str, str]]]]:
    return [(s.type, [(p.key, p.value) for p in s.pairs.values()]) for s in sections]
