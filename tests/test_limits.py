"""The package stays easy to read: few files at the top, short modules and short functions."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

import minidark

PACKAGE = Path(minidark.__file__).parent
FILES, MODULE, BODY, PARAMETERS = 8, 400, 60, 12  # files at the top; lines, lines, parameters
CONTRACT = {"load_network"}  # its parameters are promised


def functions(path: Path) -> Iterator[ast.FunctionDef]:
    tree = ast.parse(path.read_text(encoding="utf-8"))
    yield from (node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef))


def body_lines(function: ast.FunctionDef) -> int:
    """Without the docstring."""
    body = function.body[1:] if ast.get_docstring(function) else function.body
    return (body[-1].end_lineno or 0) - body[0].lineno + 1 if body else 0


def is_command(function: ast.FunctionDef) -> bool:
    """Whether click calls it, with an argument for each option."""
    return any("click.command" in ast.unparse(decorator) for decorator in function.decorator_list)


def parameters(function: ast.FunctionDef) -> int:
    given = function.args
    return len([*given.posonlyargs, *given.args, *given.kwonlyargs])


def test_the_top_of_the_package_has_few_files() -> None:
    files = [path.name for path in PACKAGE.iterdir() if path.is_file()]
    assert len(files) <= FILES, sorted(files)


@pytest.mark.parametrize(
    "folder", sorted(p.name for p in PACKAGE.iterdir() if p.is_dir() and p.name[0] != "_")
)
def test_modules_and_functions_are_short(folder: str) -> None:
    too_long = []
    for path in sorted(PACKAGE.joinpath(folder).rglob("*.py")):
        name, lines = path.relative_to(PACKAGE), len(path.read_text(encoding="utf-8").splitlines())
        if lines > MODULE:
            too_long.append(f"{name}: {lines} lines")
        for function in functions(path):
            place = f"{name}:{function.lineno} {function.name}"
            if (lines := body_lines(function)) > BODY:
                too_long.append(f"{place}: a body of {lines} lines")
            free = is_command(function) or function.name in CONTRACT
            if not free and (count := parameters(function)) > PARAMETERS:
                too_long.append(f"{place}: {count} parameters")
    assert not too_long
