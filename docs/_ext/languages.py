"""Marks the content of a translated page with its language: `lang="ko"` for `walk.ko.md`."""

from __future__ import annotations

import re
from typing import Any


def setup(app: Any) -> dict[str, bool]:
    """Sphinx calls this function."""
    app.connect("html-page-context", _mark_language)
    return {"parallel_read_safe": True, "parallel_write_safe": True}


def _mark_language(
    app: Any, name: str, template: str, context: dict[str, Any], doctree: Any
) -> None:
    """Wraps the body of `PAGE.xx` in an element with `lang="xx"`."""
    language = re.search(r"\.([a-z]{2})$", name)
    if language and "body" in context:
        context["body"] = f'<div lang="{language[1]}">\n{context["body"]}\n</div>'
