"""docs/notebooks: stored without results, they run as they stand, each in a kernel of its own."""

from __future__ import annotations

import importlib.util
import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

FOLDER = Path(__file__).parent.parent / "docs" / "notebooks"
NAMES = ("char-gru", "gates")

MISSING = [
    name for name in ("nbclient", "ipykernel", "matplotlib") if not importlib.util.find_spec(name)
]
RUNS = pytest.mark.skipif(bool(MISSING), reason=f"{', '.join(MISSING)}: not installed")

# In a process of its own: a kernel's sockets and its libraries' warnings stay out of the tests.
EXECUTE = """
import sys, warnings
warnings.simplefilter("ignore")
import nbclient, nbformat
notebook = nbformat.read(sys.argv[1], as_version=4)
nbclient.NotebookClient(notebook, timeout=300, kernel_name="python3").execute()
print(nbformat.writes(notebook))
"""


def executed(name: str, folder: Path) -> list[dict[str, Any]]:
    """The outputs of a notebook that has run in `folder`, one after another."""
    done = subprocess.run(
        [sys.executable, "-c", EXECUTE, str(FOLDER / f"{name}.ipynb")],
        capture_output=True, text=True, cwd=folder,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-3000:]
    cells = json.loads(done.stdout)["cells"]
    return [output for cell in cells for output in cell.get("outputs", ())]


def said(outputs: list[dict[str, Any]]) -> str:
    """What stands on a page of it: text and tables."""
    assert not [o for o in outputs if o["output_type"] == "error" or o.get("name") == "stderr"]
    parts = [o.get("text", "") for o in outputs]
    parts += [o["data"].get(kind, "") for o in outputs if "data" in o
              for kind in ("text/plain", "text/html")]  # fmt: skip
    return "\n".join("".join(part) for part in parts)


def pictures(outputs: list[dict[str, Any]]) -> int:
    return sum("image/png" in o.get("data", {}) for o in outputs)


@pytest.mark.parametrize("name", NAMES)
def test_it_is_stored_without_results_and_small(name: str) -> None:
    path = FOLDER / f"{name}.ipynb"
    notebook = json.loads(path.read_text(encoding="utf-8"))
    assert path.stat().st_size < 200_000
    code = [cell for cell in notebook["cells"] if cell["cell_type"] == "code"]
    assert len(code) >= 5
    assert all(cell["outputs"] == [] and cell["execution_count"] is None for cell in code)
    assert len({cell["id"] for cell in notebook["cells"]}) == len(notebook["cells"])


def test_every_notebook_is_tested() -> None:
    assert sorted(path.stem for path in FOLDER.glob("*.ipynb")) == sorted(NAMES)


@RUNS
@pytest.mark.long
@pytest.mark.timeout(600)
def test_a_character_gru_learns(tmp_path: Path) -> None:
    outputs = executed("char-gru", tmp_path)
    page = said(outputs)
    bits = re.search(r"([0-9.]+) bits per character", page)
    assert bits
    assert 1.5 < float(bits[1]) < 2.8  # 8 for one that knows nothing
    assert "600 of 600 batches" in page
    assert "<td" in page
    assert pictures(outputs) == 1
    assert (tmp_path / "small.weights").stat().st_size > 4 * 128 * 256


@RUNS
@pytest.mark.long
@pytest.mark.timeout(600)
def test_gates_are_read(tmp_path: Path) -> None:
    outputs = executed("gates", tmp_path)
    page = said(outputs)
    found = dict(re.findall(r"(column|inside quotes): unit \d+, correlation (-?[0-9.]+)", page))
    assert abs(float(found["column"])) > 0.5
    assert set(found) == {"column", "inside quotes"}
    assert re.search(r"unit \d+ keeps half of its state for \d+ characters", page)
    assert pictures(outputs) == 4
