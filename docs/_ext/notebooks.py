"""The notebooks as pages of the site, and the command that stores what they give:

    python docs/_ext/notebooks.py

runs each as it stands, in a folder that is thrown away, and writes its outputs into it. Sphinx then
reads a notebook as the Markdown that it is made of; nothing is run when the site is built.
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

# In a process of its own: a kernel's sockets and its libraries' warnings stay out of the caller's.
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
    """Called by Sphinx."""
    app.connect("source-read", _as_markdown, priority=400)  # before what fills in pages
    return {"parallel_read_safe": True}


def _as_markdown(app: Any, name: str, text: list[str]) -> None:
    if Path(app.env.doc2path(name)).suffix == ".ipynb":
        text[0] = markdown(json.loads(text[0]))


def markdown(notebook: dict[str, Any]) -> str:
    """Its cells, one after another, as MyST reads them."""
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
    """The richest form that there is of what a cell gave."""
    data = output.get("data", {"text/plain": output.get("text", "")})
    if "image/png" in data:
        source = f"data:image/png;base64,{''.join(data['image/png'].split())}"
        yield f'```{{raw}} html\n<img alt="What this code draws" src="{source}">\n```'
    elif "text/html" in data:
        yield f"```{{raw}} html\n{''.join(data['text/html'])}\n```"
    else:
        yield f"```text\n{''.join(data['text/plain']).rstrip()}\n```"


def executed(path: Path, folder: Path) -> dict[str, Any]:
    """The notebook with what it gave in `folder`. Raises RuntimeError with what a cell raised."""
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
        notebook["metadata"] = before  # the kernel's has the version of this Python
        text = json.dumps(notebook, indent=1, ensure_ascii=False)
        path.write_text(f"{text}\n", encoding="utf-8")


if __name__ == "__main__":
    main()
