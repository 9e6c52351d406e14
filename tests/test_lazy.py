"""What `import minidark` and the commands load, and what the public names are."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

import minidark
from minidark import _HOMES

HEAVY = {"mpi4py", "cupy", "numba", "onnx", "onnxruntime", "matplotlib", "torch", "scipy"}


def loaded(statements: str) -> set[str]:
    """The outermost modules that are there after statements in a fresh interpreter."""
    code = f"import sys\n{statements}\nprint(*{{name.partition('.')[0] for name in sys.modules}})"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return set(done.stdout.splitlines()[-1].split())


def command(*words: str) -> str:
    """Statements that run a command and go on after it."""
    return (
        f"from minidark.cli import cli\n"
        f"try: cli({list(words)!r}, prog_name='minidark')\n"
        f"except SystemExit as end: assert not end.code, end.code"
    )


@pytest.mark.parametrize(
    "statements",
    ["import minidark\nminidark.train, minidark.generate, minidark.layers.make_gru_layer",
     "from minidark import *\nNetwork, Text, layers.make_gru_layer, __version__",
     command("generate", "--len", "1", "--quiet"), command("info", "rnn"), command("ops", "rnn")],
)  # fmt: skip
def test_numpy_is_loaded_and_nothing_heavier(statements: str) -> None:
    modules = loaded(statements)
    assert "numpy" in modules
    assert not modules & HEAVY


@pytest.mark.parametrize(
    "statements", ["import minidark", command("--version"), command("--help"), command("-h")]
)
def test_what_needs_no_arrays_does_not_load_numpy(statements: str) -> None:
    assert not loaded(statements) & {*HEAVY, "numpy", "rich", "yaml", "safetensors"}


@pytest.mark.parametrize(
    "first",
    ["import minidark.training.train, minidark.inference.generate",
     "from minidark.training.train import Training",
     "import minidark\nminidark.train, minidark.generate\nimport minidark.inference.generate as g",
     "from minidark.inference.generate import sample\nfrom minidark import train, generate"],
)  # fmt: skip
def test_a_function_is_not_hidden_by_the_module_of_its_name(first: str) -> None:
    found = "(minidark.train.__name__, minidark.generate.__module__)"
    wanted = ("train", "minidark.inference.generate")
    loaded(f"{first}\nimport minidark\nassert {found} == {wanted}")


def test_what_is_loaded_is_what_types_are_checked_against() -> None:
    tree = ast.parse(Path(minidark.__file__).read_text())
    imported = {
        alias.asname: node.module
        for node in ast.walk(tree)
        if isinstance(node, ast.ImportFrom) and node.module not in ("typing", "importlib")
        for alias in node.names
        if alias.asname
    }
    assert imported.pop("layers") == "minidark"
    assert imported.pop("__version__") == "minidark._version"
    assert imported == _HOMES
    for name, home in _HOMES.items():
        assert getattr(minidark, name) is getattr(sys.modules[home], name)


def test_dir_lists_the_public_names_before_they_are_used() -> None:
    wanted = {*_HOMES, "layers", "__version__"}
    loaded(f"import minidark\nassert {wanted!r} <= set(dir(minidark))")


def test_a_module_is_reached_through_the_package_and_another_name_is_an_error() -> None:
    loaded("import minidark\nminidark.weights.save_weights, minidark.errors.CfgError")
    for name in ("trian", "_train", "__wrapped__"):
        with pytest.raises(AttributeError, match=f"module 'minidark' has no attribute '{name}'"):
            getattr(minidark, name)
    assert not hasattr(minidark, "numpy")
