"""docs/notebooks: stored with what they gave, they run as they stand."""

from __future__ import annotations

import importlib.util
import json
import platform
import re
from pathlib import Path
from typing import Any

import pytest

from tests.docs.pages import ROOT, extension

pytestmark = pytest.mark.slow

FOLDER = ROOT / "docs" / "notebooks"
NOTEBOOKS = extension("notebooks")
NAMES = ("char-gru", "gates")

Cell = dict[str, Any]

MISSING = [
    name for name in ("nbclient", "ipykernel", "matplotlib") if not importlib.util.find_spec(name)
]
RUNS = pytest.mark.skipif(bool(MISSING), reason=f"{', '.join(MISSING)}: not installed")


def run(name: str, folder: Path) -> list[Cell]:
    """The code cells of a notebook that has run in `folder`, to the outputs that are stored."""
    cells = code(NOTEBOOKS.executed(FOLDER / f"{name}.ipynb", folder))
    assert kinds(cells) == kinds(code(stored(name)))
    return cells


def stored(name: str) -> dict[str, Any]:
    notebook: dict[str, Any] = json.loads((FOLDER / f"{name}.ipynb").read_text("utf-8"))
    return notebook


def code(notebook: dict[str, Any]) -> list[Cell]:
    return [cell for cell in notebook["cells"] if cell["cell_type"] == "code"]


def outputs(cells: list[Cell]) -> list[dict[str, Any]]:
    """One after another."""
    return [output for cell in cells for output in cell["outputs"]]


def said(cells: list[Cell]) -> str:
    """What stands on a page of it: text and tables."""
    given = outputs(cells)
    assert not [o for o in given if o["output_type"] == "error" or o.get("name") == "stderr"]
    parts = [o.get("text", "") for o in given]
    parts += [o["data"].get(kind, "") for o in given if "data" in o
              for kind in ("text/plain", "text/html")]  # fmt: skip
    return "\n".join("".join(part) for part in parts)


def pictures(cells: list[Cell]) -> int:
    return sum("image/png" in o.get("data", {}) for o in outputs(cells))


def kinds(cells: list[Cell]) -> list[list[str]]:
    """Of each cell's outputs, what they are."""
    return [[kind for o in cell["outputs"] for kind in o.get("data", {o["output_type"]: 0})]
            for cell in cells]  # fmt: skip


@pytest.mark.parametrize("name", NAMES)
def test_it_is_stored_with_what_it_gave_and_small(name: str) -> None:
    path = FOLDER / f"{name}.ipynb"
    notebook = stored(name)
    cells = code(notebook)
    assert path.stat().st_size < 300_000
    assert len(cells) >= 5
    assert [cell["execution_count"] for cell in cells] == [*range(1, len(cells) + 1)]
    assert pictures(cells) >= 1
    assert said(cells)
    assert len({cell["id"] for cell in notebook["cells"]}) == len(notebook["cells"])


@pytest.mark.parametrize("name", NAMES)
def test_what_is_stored_names_no_machine_and_no_folder(name: str) -> None:
    text = re.sub(r'"image/png": "[^"]*"', "", (FOLDER / f"{name}.ipynb").read_text("utf-8"))
    assert not re.findall(r"(?<![\w.<])/(?:home|root|tmp|usr|work|Users)/|[A-Z]:\\\\", text)
    assert not re.search(rf"\b{re.escape(platform.node())}\b", text)
    assert set(stored(name)["metadata"]["language_info"]) == {"name"}


@pytest.mark.parametrize("name", NAMES)
def test_it_says_what_it_needs(name: str) -> None:
    first = "".join(stored(name)["cells"][0]["source"])
    assert "matplotlib: `pip install '.[report]'`" in first


def test_a_cell_and_what_it_gave_are_a_page() -> None:
    page = NOTEBOOKS.markdown({"cells": [
        {"cell_type": "markdown", "source": ["# A title\n", "and text"]},
        {"cell_type": "code", "source": ["1 + 1"], "outputs": [
            {"output_type": "stream", "text": ["two\n"]},
            {"data": {"text/plain": ["<Table>"], "text/html": ["<table></table>"]}},
            {"data": {"text/plain": ["<Figure>"], "image/png": "AA\nBB"}},
        ]},
    ]})  # fmt: skip
    assert page == (
        "# A title\nand text\n\n```python\n1 + 1\n```\n\n"
        "```{code-block} text\n:class: no-search\n\ntwo\n```\n\n"
        "```{raw} html\n:class: no-search\n\n<table></table>\n```\n\n"
        "```{raw} html\n:class: no-search\n\n"
        '<img alt="What this code draws" src="data:image/png;base64,AABB">\n```\n'
    )


def test_every_notebook_is_tested() -> None:
    assert sorted(path.stem for path in FOLDER.glob("*.ipynb")) == sorted(NAMES)


@RUNS
@pytest.mark.long
@pytest.mark.timeout(600)
def test_a_character_gru_learns(tmp_path: Path) -> None:
    cells = run("char-gru", tmp_path)
    page = said(cells)
    bits = re.search(r"([0-9.]+) bits per character", page)
    assert bits
    assert 1.5 < float(bits[1]) < 2.8  # 8 for one that knows nothing
    assert "600 of 600 batches" in page
    assert "<td" in page
    assert pictures(cells) == 1
    assert (tmp_path / "small.weights").stat().st_size > 4 * 128 * 256


@RUNS
@pytest.mark.long
@pytest.mark.timeout(600)
def test_gates_are_read(tmp_path: Path) -> None:
    cells = run("gates", tmp_path)
    page = said(cells)
    found = dict(re.findall(r"(column|inside quotes): unit \d+, correlation (-?[0-9.]+)", page))
    assert abs(float(found["column"])) > 0.5
    assert set(found) == {"column", "inside quotes"}
    assert re.search(r"unit \d+ keeps half of its state for \d+ characters", page)
    assert pictures(cells) == 4
