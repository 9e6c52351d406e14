"""docs/cfg.md and docs/runs.md: what they name is there."""

from __future__ import annotations

import re
from pathlib import Path

DOCS = Path(__file__).parent.parent / "docs"


def documented(page: str) -> set[str]:
    """What stands between backquotes."""
    return set(re.findall(r"`([^`\n]*)`", (DOCS / page).read_text(encoding="utf-8")))
