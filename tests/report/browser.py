"""A real browser for pages: the Chromium that is installed, driven by playwright.

A page that is opened here must say nothing in the console and ask for nothing from anywhere.
"""

from __future__ import annotations

import contextlib
import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

CHROMIUM = next(
    filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None
)


@contextlib.contextmanager
def browser() -> Iterator[Any]:
    """A headless Chromium; skips where there is none, or no playwright."""
    playwright = pytest.importorskip("playwright.sync_api", reason="needs playwright")
    if CHROMIUM is None:
        pytest.skip("needs Chromium")
    sandbox = [] if os.geteuid() else ["--no-sandbox"]  # root has none
    with playwright.sync_playwright() as driver:
        chromium = driver.chromium.launch(executable_path=CHROMIUM, args=sandbox)
        yield chromium
        chromium.close()


@contextlib.contextmanager
def opened(chromium: Any, file: Path, **context: Any) -> Iterator[Any]:
    """A page in a window of its own (`viewport`, `color_scheme`, ...). At the end it must have
    said nothing and asked for nothing but itself."""
    said, asked = [], []
    window = chromium.new_context(**context)
    page = window.new_page()
    page.on("console", lambda message: said.append(message.text))
    page.on("pageerror", lambda error: said.append(str(error)))
    page.on("request", lambda request: asked.append(request.url))
    page.goto(file.absolute().as_uri())
    yield page
    window.close()
    assert not said, said
    outside = {url for url in asked if not url.startswith("data:")}
    assert outside == {file.absolute().as_uri()}
