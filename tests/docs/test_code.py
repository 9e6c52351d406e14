"""Code in the pages: Python runs and prints what the page says, and what is quoted is there."""

from __future__ import annotations

import contextlib
import importlib
import inspect
import io
import math
import re
import shutil
from functools import reduce
from pathlib import Path
from typing import Any

import pytest

from minidark import backend
from tests.docs.pages import PAGES, ROOT, Fence, examples, fences, prose

NAMES = [page.relative_to(ROOT).as_posix() for page in PAGES]
RUN_ELSEWHERE = {  # by what takes the files of its page, or smaller numbers
    "docs/convert.md": "tests/docs/test_convert.py",
    "docs/from-pytorch-and-keras.md": "tests/docs/test_from_pytorch_and_keras.py",
    "docs/pairs.md": "tests/docs/test_pairs.py",
}
TRAINING = ("README.md", "docs/how-to.md")  # their code trains the shipped network
WITH_PYTHON = [
    pytest.param(name, marks=pytest.mark.slow if name in TRAINING else ())
    for name in NAMES
    if name not in RUN_ELSEWHERE and any(examples((ROOT / name).read_text("utf-8")))
]
LINK = re.compile(r"\[`(?P<name>[\w.]+)`\]\((?:\.\./)?(?P<path>minidark/[\w/]+)\.py\)")
BOTH_WALKS = ("docs/walk.md", "docs/walk.ko.md")


@pytest.fixture
def with_a_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A folder as after a first training, and numpy's kernels, which need no compiling."""
    shutil.copytree(ROOT / "cfg", tmp_path / "cfg")
    (tmp_path / "data.txt").write_bytes((ROOT / "README.md").read_bytes())
    (tmp_path / "backup").mkdir()
    shutil.copy(ROOT / "weights" / "rnn.weights", tmp_path / "backup" / "rnn_final.weights")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(backend, "_fast_works", lambda: False)


def said(block: Fence, names: dict[str, Any], page: str) -> str:
    """What a fence prints. An error in it names the page and the line."""
    code = compile("\n" * (block.line - 1) + block.text, page, "exec")
    with contextlib.redirect_stdout(io.StringIO()) as out:
        exec(code, names)
    return out.getvalue()


@pytest.mark.usefixtures("with_a_run")
@pytest.mark.parametrize("name", WITH_PYTHON)
def test_python_in_a_page_runs_and_prints_what_stands_under_it(name: str) -> None:
    page, names = (ROOT / name).read_text("utf-8"), {"__name__": name}
    for block, output in examples(page):
        printed = said(block, names, name)
        if output:
            assert printed == output.text, f"{name}:{output.line}"


def test_pages_have_python() -> None:
    assert all((ROOT / test).is_file() for test in RUN_ELSEWHERE.values())
    assert {"README.md", "docs/quick-start.md", "docs/how-to.md", *BOTH_WALKS} <= {
        param.values[0] for param in WITH_PYTHON
    }


# --- what the pages say of the source -----------------------------------------------------


@pytest.mark.parametrize("name", NAMES)
def test_a_name_that_links_to_a_file_is_in_that_file(name: str) -> None:
    for link in LINK.finditer((ROOT / name).read_text("utf-8")):
        assert (ROOT / f"{link['path']}.py").is_file()
        assert named(link["name"], link["path"]) is not None


def named(dotted: str, path: str) -> Any:
    """What has that name in the module at a path; the module for a file's own name."""
    module = importlib.import_module(path.removesuffix("/__init__").replace("/", "."))
    if dotted == f"{Path(path).name}.py":
        return module
    return reduce(getattr, dotted.split("."), module)


@pytest.mark.parametrize("name", BOTH_WALKS)
def test_source_that_is_quoted_is_the_source(name: str) -> None:
    page = (ROOT / name).read_text("utf-8")
    homes = {found["name"].split(".")[0]: found["path"] for found in LINK.finditer(page)}
    quoted = [block for block in fences(page) if block.language == "py"]
    assert len(quoted) == 5
    for block in quoted:
        _, dotted = block.info.split()
        source = inspect.getsource(named(dotted, homes[dotted.split(".")[0]]))
        assert dedented(block.text) in dedented(source), f"{name}:{block.line}"


def dedented(code: str) -> str:
    return "\n".join(line.strip() for line in code.strip().splitlines())


# --- the figures of the walk --------------------------------------------------------------

WORKED_OUT = re.compile(r"^    .*?= (?P<work>.*[\d)]) += (?P<result>[-\d., ]+)$", re.MULTILINE)
FIGURE = re.compile(r"(?<![\d.])\d+\.\d{4}(?!\d)")
FUNCTIONS = {"logistic": lambda x: 1 / (1 + math.exp(-x)), "tanh": math.tanh}


@pytest.mark.parametrize("name", BOTH_WALKS)
def test_what_is_worked_out_by_hand_is_right(name: str) -> None:
    lines = [*WORKED_OUT.finditer(prose((ROOT / name).read_text("utf-8")))]
    assert len(lines) == 14
    for line in lines:
        work = line["work"].split(" = ")[-1].strip()
        worked = eval(f"({work},)", FUNCTIONS)
        assert worked == pytest.approx(eval(f"({line['result']},)"), abs=2e-4), line[0]


@pytest.mark.parametrize("name", BOTH_WALKS)
def test_every_figure_of_the_walk_is_one_that_its_code_prints(name: str) -> None:
    page = (ROOT / name).read_text("utf-8")
    outputs = "".join(block.text for block in fences(page) if block.language == "output")
    figures = {*FIGURE.findall(prose(page))}
    assert len(figures) > 15
    # Of the figures worked out by hand, one is in no array: dh of step 0, from which dz follows.
    assert figures - {*FIGURE.findall(outputs)} == {"0.3300"}


def test_both_walks_have_the_same_code() -> None:
    english, korean = (fences((ROOT / name).read_text("utf-8")) for name in BOTH_WALKS)
    assert [(b.info, b.text) for b in english] == [(b.info, b.text) for b in korean]
