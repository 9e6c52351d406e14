"""Files of the site that are made during its build: a page for each command, and the page in which
the shipped network runs.

The pages of commands are written into `docs/commands/`, which git ignores, because Sphinx reads
only files. The live page is a file of the site, `live.html`; the first page shows it in a frame.
"""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

from from_source import command_pages

from minidark import load_network
from minidark.files import shipped
from minidark.report.play import Play

LIVE = "live.html"


def setup(app: Any) -> dict[str, bool]:
    """Sphinx calls this function."""
    app.connect("builder-inited", _write_commands)
    app.connect("build-finished", _write_live)
    return {"parallel_read_safe": True, "parallel_write_safe": True}


def _write_commands(app: Any) -> None:
    """Write a page for each command, and remove the pages of commands that no longer exist."""
    folder = Path(app.srcdir, "commands")
    folder.mkdir(exist_ok=True)
    pages = {folder / f"{name}.md": text for name, text in command_pages()}
    for path in {*folder.glob("*.md")} - {*pages}:
        path.unlink()
    for path, text in pages.items():
        if not path.exists() or path.read_text("utf-8") != text:
            path.write_text(text, "utf-8")


def _write_live(app: Any, error: Exception | None) -> None:
    """Write the page in which the shipped network runs."""
    if error is None and app.builder.format == "html":
        write_live(Path(app.outdir, LIVE))


def write_live(path: Path) -> None:
    """The page of `minidark play`, of the shipped network."""
    # a busy machine is no reason to fail a build, whose warnings are errors
    logging.getLogger("minidark").setLevel(logging.ERROR)
    cfg, weights = shipped.network()
    net = load_network(cfg, weights, batch=1, time_steps=1)
    Play(net, None, None).write(path, "the shipped network", Path(weights).name)
