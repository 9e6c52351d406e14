"""`minidark doctor`: the parts of the environment that determine what works, and how fast.

The output names no machine and no person: paths in the home folder start with ~.
"""

from __future__ import annotations

import os
import platform
import sys
import tempfile
from collections.abc import Callable
from importlib import import_module
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any, NamedTuple

import click
import numpy as np

import minidark
from minidark._version import __version__
from minidark.backend import get_backend
from minidark.backend.threads import BLAS_VARIABLES, thread_count
from minidark.cfg.options import LAYER_TYPES
from minidark.cli.output.stdout import say, say_json
from minidark.errors import BackendError, MinidarkError, SaveError
from minidark.files import shipped
from minidark.files.disk import write_atomically
from minidark.network.parser import load_network

CORE = ("numpy", "click", "pyyaml", "rich", "safetensors")
EXTRAS = {  # extra: its distributions, and its purpose
    "fast": (("numba", "threadpoolctl"), "kernels compiled for this processor, and --threads"),
    "cuda12": (("cupy-cuda12x",), "--device cuda with CUDA 12"),
    "cuda13": (("cupy-cuda13x",), "--device cuda with CUDA 13"),
    "onnx": (("onnx", "onnxruntime"), "convert to .onnx"),
    "keras": (("keras", "jax"), "convert to .keras"),
    "report": (("jinja2", "matplotlib"), "pages: look, report, compare"),
    "metrics": (("sacrebleu",), "score: BLEU and chrF"),
    "tensorboard": (("tensorboard",), "train --tensorboard"),
    "mpi": (("mpi4py", "mpich"), "train with mpiexec"),
}
TORCH_PURPOSE = "convert from .pt, and verify the .py that convert writes"

FAILED = 1

Facts = dict[str, Any]


class Row(NamedTuple):
    """A line of the output. works: the line starts with "ok"."""

    works: bool
    name: str
    text: str


Part = tuple[Facts, list[Row]]  # for --json, and for the table


@click.command()
@click.option("--backup", default="backup", show_default=True, metavar="DIR",
              help="Folder to test for writing.")  # fmt: skip
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
def doctor(backup: str, as_json: bool) -> None:
    """Show what is installed, what works and what is missing.

    \b
    minidark doctor
    minidark doctor --backup runs/books
    minidark doctor --json

    For a missing package, the output has the command that installs it. The command leaves no files,
    and its output names no machine and no person. Exits with 1 if training would fail: the shipped
    files are missing, or DIR is not writable.
    """
    parts = {name: examine(backup) for name, examine in PARTS.items()}
    ok = all(row.works for name in REQUIRED for row in parts[name][1])
    if as_json:
        say_json({**{name: facts for name, (facts, _) in parts.items()}, "ok": ok})
    else:
        for row in (row for name in SHOWN for row in parts[name][1]):
            say(f"{'ok' if row.works else '--':4}{row.name:13}{row.text}")
    raise SystemExit(0 if ok else FAILED)


def _versions(backup: str) -> Part:
    core = {name: _version(name) for name in CORE}
    facts = {
        "minidark": __version__,
        "installed_in": shortened(Path(minidark.__file__).parent),
        "python": f"{platform.python_implementation()} {platform.python_version()}",
        "system": f"{platform.system()} {platform.machine()}",
        **core,
    }
    text = ", ".join(f"{name} {number or 'missing'}" for name, number in core.items())
    return facts, [
        Row(True, "minidark", "{minidark} in {installed_in}, {python}, {system}".format(**facts)),
        Row(all(core.values()), "core", text),
    ]


def _extras(backup: str) -> Part:
    facts, rows = {}, []
    for extra, (names, purpose) in EXTRAS.items():
        packages = {name: _version(name) for name in names}
        installed = all(packages.values())
        facts[extra] = {"gives": purpose, "installed": installed, "packages": packages}
        versions = ", ".join(f"{name} {number}" for name, number in packages.items())
        how = f" ({versions})" if installed else f": pip install 'minidark[{extra}]'"
        rows.append(Row(installed, extra, purpose + how))
    return facts, rows


def _torch(backup: str) -> Part:
    """PyTorch is not an extra of minidark: the user chooses a build, such as the one for CPUs."""
    number = _version("torch")
    how = f" (torch {number})" if number else ": pip install torch"
    return {"version": number}, [Row(bool(number), "PyTorch", TORCH_PURPOSE + how)]


def _version(name: str) -> str | None:
    try:
        return version(name)
    except PackageNotFoundError:
        return None


def _blas(backup: str) -> Part:
    library, number, blas_threads = _blas_library()
    variables = {name: os.environ[name] for name in BLAS_VARIABLES if name in os.environ}
    facts = {
        "library": library,
        "version": number,
        "blas_threads": blas_threads,
        "threads": thread_count(),
        "processors": os.cpu_count(),
        "set": variables,
    }
    text = f"{library or 'unknown'} {number or ''}".strip()
    text += f"; {_threads(thread_count())} for the fast kernels"
    if blas_threads is not None:
        text += f", {_threads(blas_threads)} for numpy's products"
    if variables:
        text += f" ({', '.join(f'{name}={value}' for name, value in variables.items())})"
    return facts, [Row(True, "BLAS", text)]


def _blas_library() -> tuple[str | None, str | None, int | None]:
    """Name, version and threads of the loaded library. Without threadpoolctl, those of the library
    that numpy was built with."""
    try:
        loaded = import_module("threadpoolctl").threadpool_info()
    except ImportError:
        built = np.show_config(mode="dicts")
        blas = (built or {}).get("Build Dependencies", {}).get("blas", {})
        return blas.get("name"), blas.get("version"), None
    library: Facts = next((lib for lib in loaded if lib.get("user_api") == "blas"), {})
    return library.get("internal_api"), library.get("version"), library.get("num_threads")


def _threads(count: int) -> str:
    return f"{count} thread{'' if count == 1 else 's'}"


def _cuda(backup: str) -> Part:
    """Multiply two small matrices on the GPU, which fails if anything is wrong."""
    why = _error(lambda: get_backend("cuda"))
    return {"works": not why, "why": why}, [Row(not why, "cuda", why or "works")]


def _error(work: Callable[[], object]) -> str | None:
    """The message of the MinidarkError that `work` raises."""
    try:
        work()
    except MinidarkError as error:
        return nameless(str(error))
    return None


def _kernels(backup: str) -> Part:
    """Which layers have compiled kernels: each kind is compiled once on a machine."""
    facts: Facts = {"fast": False, "kept": False, "compiled": [], "to_compile": [], "why": None}
    try:
        kernels = get_backend("cpu", kernels="fast").kernels
    except BackendError as error:
        why = nameless(str(error))
        return {**facts, "why": why}, [Row(False, "kernels", why)]
    types = [name for name in LAYER_TYPES if name in kernels.PROBES]
    compiled = [name for name in types if kernels.are_kept([name])]
    left = [name for name in types if name not in compiled]
    facts |= {"fast": True, "kept": not left, "compiled": compiled, "to_compile": left}
    texts = [f"compiled for {_sections(compiled)}"] if compiled else []
    texts += [f"the first long run compiles {_sections(left)}"] if left else []
    return facts, [Row(True, "kernels", f"fast: {'; '.join(texts)}")]


def _sections(types: list[str]) -> str:
    return " ".join(f"[{name}]" for name in types)


def _files(backup: str) -> Part:
    """Whether a run could write to its folder, which may not exist yet; removes its test file."""
    folder, why = Path(backup), None
    parent = next((p for p in (folder, *folder.absolute().parents) if p.exists()), folder)
    name, tried_in = shortened(folder), shortened(parent)
    try:
        with tempfile.TemporaryDirectory(prefix=".minidark.", dir=parent) as made:
            write_atomically(Path(made, "probe"), [b"minidark"])
    except (OSError, SaveError) as error:
        reason = error.__cause__ or error
        why = getattr(reason, "strerror", None) or str(reason)
    text = f"{tried_in}: cannot write: {why}" if why else f"{name} is writable"
    facts = {"folder": name, "tried_in": tried_in, "writable": not why, "why": why}
    return facts, [Row(not why, "backup", text)]


def _shipped(backup: str) -> Part:
    """Whether the shipped files exist: the default network loads."""

    def load() -> None:
        weights = shipped.folder("weights") / "rnn.weights"
        load_network(shipped.find_cfg("rnn"), weights, kernels="numpy")

    why = _error(load)
    return {"loads": not why, "why": why}, [Row(not why, "shipped", why or "rnn loads")]


def _terminal(backup: str) -> Part:
    is_terminal = sys.stderr.isatty()
    facts = {
        "stdout_is_a_terminal": sys.stdout.isatty(),
        "stderr_is_a_terminal": is_terminal,
        "encoding": getattr(sys.stdout, "encoding", None),
        "colour": is_terminal and "NO_COLOR" not in os.environ,
        "TERM": os.environ.get("TERM"),
    }
    text = f"standard error {'is a terminal' if is_terminal else 'is not a terminal'}, "
    text += f"encoding {facts['encoding']}, {'colours' if facts['colour'] else 'no colours'}"
    return facts, [Row(True, "terminal", text)]


PARTS: dict[str, Callable[[str], Part]] = {
    "versions": _versions,
    "extras": _extras,
    "torch": _torch,
    "blas": _blas,
    "cuda": _cuda,
    "kernels": _kernels,
    "files": _files,
    "shipped": _shipped,
    "terminal": _terminal,
}
SHOWN = (
    "versions", "extras", "torch", "blas", "kernels", "cuda", "files", "shipped", "terminal",
)  # fmt: skip
REQUIRED = ("files", "shipped")  # training needs these


def shortened(path: Path) -> str:
    """The absolute path, with ~ for the home folder."""
    whole = path.absolute()
    try:
        return str(Path("~") / whole.relative_to(Path.home()))
    except (ValueError, RuntimeError):  # not in the home folder; no home folder
        return str(whole)


def nameless(text: str) -> str:
    """A message with ~ for the home folder."""
    home = os.path.expanduser("~")
    return text.replace(home, "~") if len(home) > 1 else text
