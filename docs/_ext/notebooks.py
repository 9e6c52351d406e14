"""Makes pages of the notebooks, and stores their outputs.

    python docs/_ext/notebooks.py

runs each notebook in a temporary folder and writes the outputs into the notebook. Sphinx reads a
notebook as Markdown. Building the site runs no code.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

FOLDER = Path(__file__).parent.parent / "notebooks"

# A separate process keeps a kernel's sockets and its libraries' warnings out of the caller.
EXECUTE = """
import sys, warnings
warnings.simplefilter("ignore")
import nbclient, nbformat
notebook = nbformat.read(sys.argv[1], as_version=4)
how = {"timeout": 300, "kernel_name": "python3", "record_timing": False}
nbclient.NotebookClient(notebook, **how).execute()
print(nbformat.writes(notebook))
"""


def setup(app: Any) -> dict[str, bool]:
    """Sphinx calls this function."""
    app.connect("source-read", _as_markdown, priority=400)  # before markers are replaced
    return {"parallel_read_safe": True}


def _as_markdown(app: Any, name: str, text: list[str]) -> None:
    if Path(app.env.doc2path(name)).suffix == ".ipynb":
        text[0] = markdown(json.loads(text[0]))


def markdown(notebook: dict[str, Any]) -> str:
    """The cells in order, as MyST Markdown."""
    return "\n\n".join(part for cell in notebook["cells"] for part in _cell(cell)) + "\n"


def _cell(cell: dict[str, Any]) -> Iterator[str]:
    source = "".join(cell["source"])
    if cell["cell_type"] == "markdown":
        yield source
        return
    yield f"```python\n{source}\n```"
    for output in cell["outputs"]:
        yield from _output(output)


def _output(output: dict[str, Any]) -> Iterator[str]:
    """The richest available form of a cell's output. A search does not find outputs."""
    data = output.get("data", {"text/plain": output.get("text", "")})
    if "image/png" in data:
        source = f"data:image/png;base64,{''.join(data['image/png'].split())}"
        picture = f'<img alt="What this code draws" src="{source}">'
        yield f"```{{raw}} html\n{UNINDEXED}\n\n{picture}\n```"
    elif "text/html" in data:
        yield f"```{{raw}} html\n{UNINDEXED}\n\n{''.join(data['text/html'])}\n```"
    else:
        yield f"```{{code-block}} text\n{UNINDEXED}\n\n{''.join(data['text/plain']).rstrip()}\n```"


UNINDEXED = ":class: no-search"


def executed(path: Path, folder: Path) -> dict[str, Any]:
    """Runs the notebook in `folder` and returns it with its outputs. Raises RuntimeError with the
    error of a cell."""
    command = [sys.executable, "-c", EXECUTE, str(path)]
    done = subprocess.run(command, capture_output=True, text=True, cwd=folder, check=False)
    if done.returncode:
        raise RuntimeError(done.stderr[-3000:])
    notebook: dict[str, Any] = json.loads(done.stdout)
    return notebook


def main() -> None:
    for path in sorted(FOLDER.glob("*.ipynb")):
        before = json.loads(path.read_text("utf-8"))["metadata"]
        with tempfile.TemporaryDirectory() as folder:
            notebook = executed(path, Path(folder))
        notebook["metadata"] = before  # the kernel's metadata contains this Python's version
        text = json.dumps(notebook, indent=1, ensure_ascii=False)
        path.write_text(f"{text}\n", encoding="utf-8")


if __name__ == "__main__":
    main()
