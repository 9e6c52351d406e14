"""`minidark doctor`: the surroundings, as far as they decide what works and how fast.

It tells no name of a machine or a person: paths begin with ~ where they lie in the home folder.
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
from typing import Any

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

CORE = ("numpy", "click", "pyyaml", "rich", "safetensors")
EXTRAS = {  # the extra: its distributions, and what it gives
    "fast": (("numba", "threadpoolctl"), "kernels compiled for this processor, and --threads"),
    "cuda12": (("cupy-cuda12x",), "--device cuda with CUDA 12"),
    "cuda13": (("cupy-cuda13x",), "--device cuda with CUDA 13"),
    "onnx": (("onnx", "onnxruntime"), "convert to .onnx"),
    "keras": (("keras", "jax"), "convert to .keras"),
    "report": (("jinja2", "matplotlib"), "pages: look, report, compare"),
    "tensorboard": (("tensorboard",), "train --tensorboard"),
    "mpi": (("mpi4py", "mpich"), "train by mpiexec"),
}
TORCH_GIVES = "convert from .pt, and proof of the .py that it writes"

FAILED = 1

Facts = dict[str, Any]


@click.command()
@click.option("--backup", default="backup", show_default=True, metavar="DIR",
              help="The folder to try to write into.")  # fmt: skip
@click.option("--json", "as_json", is_flag=True, help="One JSON object.")
def doctor(backup: str, as_json: bool) -> None:
    """Tell what is installed, what works and what would bring the rest.

    \b
    minidark doctor
    minidark doctor --backup runs/books
    minidark doctor --json

    Nothing is left behind, and no machine's or person's name is told. Ends with 1 where something
    fails that training needs: the shipped files, or writing into DIR.
    """
    facts: Facts = {name: examine(backup) for name, examine in EXAMINED.items()}
    facts["ok"] = not _failures(facts)
    if as_json:
        say_json(facts)
    else:
        say("\n".join(_lines(facts)))
    raise SystemExit(0 if facts["ok"] else FAILED)


# --- what is looked at --------------------------------------------------------------------


def _versions(backup: str) -> Facts:
    return {
        "minidark": __version__,
        "installed_in": shortened(Path(minidark.__file__).parent),
        "python": f"{platform.python_implementation()} {platform.python_version()}",
        "system": f"{platform.system()} {platform.machine()}",
        **{name: _version(name) for name in CORE},
    }


def _extras(backup: str) -> Facts:
    return {
        extra: {
            "gives": gives,
            "installed": all(map(_version, names)),
            "packages": {name: _version(name) for name in names},
        }
        for extra, (names, gives) in EXTRAS.items()
    }


def _torch(backup: str) -> Facts:
    """No extra of minidark's: the build for CPUs is to be chosen by who installs it."""
    return {"version": _version("torch")}


def _version(name: str) -> str | None:
    try:
        return version(name)
    except PackageNotFoundError:
        return None


def _blas(backup: str) -> Facts:
    return {
        **_blas_library(),
        "threads": thread_count(),
        "processors": os.cpu_count(),
        "set": {name: os.environ[name] for name in BLAS_VARIABLES if name in os.environ},
    }


def _blas_library() -> Facts:
    """What is loaded, where threadpoolctl can tell; else what numpy was built with."""
    try:
        found = import_module("threadpoolctl").threadpool_info()
    except ImportError:
        built = np.show_config(mode="dicts")
        blas = (built or {}).get("Build Dependencies", {}).get("blas", {})
        return {"library": blas.get("name"), "version": blas.get("version"), "blas_threads": None}
    library: Facts = next((lib for lib in found if lib.get("user_api") == "blas"), {})
    return {
        "library": library.get("internal_api"),
        "version": library.get("version"),
        "blas_threads": library.get("num_threads"),
    }


def _cuda(backup: str) -> Facts:
    """A product of two small matrices on it, which is what fails where anything is amiss."""
    try:
        get_backend("cuda")
    except BackendError as error:
        return {"works": False, "why": nameless(str(error))}
    return {"works": True, "why": None}


def _kernels(backup: str) -> Facts:
    try:
        backend = get_backend("cpu", kernels="fast")
    except BackendError as error:
        return {"fast": False, "kept": False, "compiled": [], "to_compile": [],
                "why": nameless(str(error))}  # fmt: skip
    types = [name for name in LAYER_TYPES if name in backend.kernels.PROBES]
    kept = [name for name in types if backend.kernels.are_kept([name])]
    left = [name for name in types if name not in kept]
    return {"fast": True, "kept": not left, "compiled": kept, "to_compile": left, "why": None}


def _files(backup: str) -> Facts:
    """Whether a run could write into its folder, which need not be there; what is made is gone
    afterwards."""
    folder = Path(backup)
    there = next((p for p in (folder, *folder.absolute().parents) if p.exists()), folder)
    facts = {
        "folder": shortened(folder),
        "tried_in": shortened(there),
        "writable": True,
        "why": None,
    }
    try:
        with tempfile.TemporaryDirectory(prefix=".minidark.", dir=there) as made:
            write_atomically(Path(made, "probe"), [b"minidark"])
    except (OSError, SaveError) as error:
        reason = error.__cause__ or error
        facts |= {"writable": False, "why": getattr(reason, "strerror", None) or str(reason)}
    return facts


def _shipped(backup: str) -> Facts:
    """Whether what travels with the package is there: its default network loads."""
    try:
        from minidark.network.parser import load_network

        weights = shipped.folder("weights") / "rnn.weights"
        load_network(shipped.find_cfg("rnn"), weights, kernels="numpy")
    except MinidarkError as error:
        return {"loads": False, "why": nameless(str(error))}
    return {"loads": True, "why": None}


def _terminal(backup: str) -> Facts:
    return {
        "stdout_is_a_terminal": _is_terminal(sys.stdout),
        "stderr_is_a_terminal": _is_terminal(sys.stderr),
        "encoding": getattr(sys.stdout, "encoding", None),
        "colour": _is_terminal(sys.stderr) and "NO_COLOR" not in os.environ,
        "TERM": os.environ.get("TERM"),
    }


def _is_terminal(stream: Any) -> bool:
    return bool(stream.isatty())


EXAMINED: dict[str, Callable[[str], Facts]] = {
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


def shortened(path: Path) -> str:
    """Absolute, with ~ for the home folder."""
    whole = path.absolute()
    try:
        return str(Path("~") / whole.relative_to(Path.home()))
    except (ValueError, RuntimeError):  # lies elsewhere; there is no home
        return str(whole)


def nameless(text: str) -> str:
    """A message with ~ for the home folder, wherever it stands."""
    home = os.path.expanduser("~")
    return text.replace(home, "~") if len(home) > 1 else text


# --- how it is shown ----------------------------------------------------------------------


def _failures(facts: Facts) -> list[str]:
    """What training cannot do without."""
    return [
        name
        for name, key in (("files", "writable"), ("shipped", "loads"))
        if not facts[name][key]
    ]  # fmt: skip


def _lines(facts: Facts) -> list[str]:
    versions, blas, kernels, files = (
        facts[name] for name in ("versions", "blas", "kernels", "files")
    )
    terminal, torch = facts["terminal"], facts["torch"]["version"]
    core = ", ".join(f"{name} {versions[name] or 'missing'}" for name in CORE)
    where = versions["installed_in"]
    return [
        _line(True, "minidark", f"{versions['minidark']} in {where}, {versions['python']}, "
              f"{versions['system']}"),
        _line(all(versions[name] for name in CORE), "core", core),
        *(_extra(name, extra) for name, extra in facts["extras"].items()),
        _line(bool(torch), "PyTorch", f"{TORCH_GIVES} (torch {torch})" if torch else
              f"{TORCH_GIVES}: pip install torch"),
        _line(True, "BLAS", _blas_said(blas)),
        _line(kernels["fast"], "kernels", _kernels_said(kernels)),
        _line(facts["cuda"]["works"], "cuda", facts["cuda"]["why"] or "works"),
        _line(files["writable"], "backup", _files_said(files)),
        _line(facts["shipped"]["loads"], "shipped", facts["shipped"]["why"] or "rnn loads"),
        _line(True, "terminal", f"standard error {_tty(terminal['stderr_is_a_terminal'])}, "
              f"encoding {terminal['encoding']}, "
              f"{'colours' if terminal['colour'] else 'no colours'}"),
    ]  # fmt: skip


def _line(good: bool, name: str, said: str) -> str:
    return f"{'ok' if good else '--':4}{name:13}{said}"


def _extra(name: str, extra: Facts) -> str:
    there = ", ".join(f"{n} {v}" for n, v in extra["packages"].items() if v)
    if extra["installed"]:
        return _line(True, name, f"{extra['gives']} ({there})")
    return _line(False, name, f"{extra['gives']}: pip install 'minidark[{name}]'")


def _blas_said(blas: Facts) -> str:
    library = f"{blas['library'] or 'unknown'} {blas['version'] or ''}".strip()
    set_ = ", ".join(f"{name}={value}" for name, value in blas["set"].items())
    said = f"{library}; {_threads(blas['threads'])} for the fast kernels"
    if blas["blas_threads"] is not None:
        said += f", {_threads(blas['blas_threads'])} for numpy's products"
    return said + (f" ({set_})" if set_ else "")


def _threads(count: int) -> str:
    return f"{count} thread{'' if count == 1 else 's'}"


def _kernels_said(kernels: Facts) -> str:
    """By the layers that they are for: each kind is compiled once on a machine."""
    if not kernels["fast"]:
        return str(kernels["why"])
    compiled, left = (_sections(kernels[name]) for name in ("compiled", "to_compile"))
    parts = [f"compiled for {compiled}"] if compiled else []
    parts += [f"to be compiled by the first long run with {left}"] if left else []
    return f"fast: {'; '.join(parts)}"


def _sections(types: list[str]) -> str:
    return " ".join(f"[{name}]" for name in types)


def _files_said(files: Facts) -> str:
    if files["writable"]:
        return f"{files['folder']} can be written"
    return f"{files['tried_in']}: cannot write: {files['why']}"


def _tty(is_one: bool) -> str:
    return "is a terminal" if is_one else "is no terminal"
