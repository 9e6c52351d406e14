"""The pages, and what stands in their fences."""

from __future__ import annotations

import importlib.util
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType

ROOT = Path(__file__).parent.parent.parent
FOLDERS = ("docs", "texts", "weights")
PAGES = sorted([*ROOT.glob("*.md"), *(page for f in FOLDERS for page in (ROOT / f).glob("*.md"))])
FENCE = re.compile(r"^```(?P<info>[^\n`]*)\n(?P<text>.*?)^```$", re.MULTILINE | re.DOTALL)


def extension(name: str) -> ModuleType:
    """A module of docs/_ext, where Sphinx finds it by its bare name."""
    spec = importlib.util.spec_from_file_location(name, ROOT / "docs" / "_ext" / f"{name}.py")
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@dataclass(frozen=True, slots=True)
class Fence:
    """A block of code. `info` is what stands behind its first backquotes."""

    info: str
    text: str
    line: int  # of the page, where its text begins

    @property
    def language(self) -> str:
        return self.info.split()[0] if self.info else ""


def fences(page: str) -> list[Fence]:
    """All of a page's text, in order."""
    return [
        Fence(found["info"].strip(), found["text"], page.count("\n", 0, found.start("text")) + 1)
        for found in FENCE.finditer(page)
    ]


def prose(page: str) -> str:
    """A page's text without its fences."""
    return FENCE.sub("", page)


def examples(page: str) -> Iterator[tuple[Fence, Fence | None]]:
    """Each fence marked as Python, with the output that the page says it has, if it says so."""
    blocks = fences(page)
    for block, after in zip(blocks, [*blocks[1:], None], strict=False):
        if block.language == "python":
            yield block, after if after and after.language == "output" else None


def missing_tests(named: Iterable[str]) -> list[str]:
    """Those of "tests/PATH.py::test_NAME" that no file defines."""
    return [each for each in named if not is_test(each)]


def is_test(named: str) -> bool:
    matched = re.fullmatch(r"(tests/[a-z_/0-9]+\.py)::(test_[a-z_0-9]+)", named)
    if not matched or not (ROOT / matched[1]).is_file():
        return False
    return f"\ndef {matched[2]}(" in (ROOT / matched[1]).read_text(encoding="utf-8")
