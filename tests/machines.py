"""Runs the numeric tests as on other machines: `python -m tests.machines [--short]`.

Each row stands for a machine: another BLAS kernel, numba target, instruction set of numpy's loops,
number of threads, or version of Python and of minidark's dependencies. A row is green, red, or
explains why it cannot run here. The exit code is 1 if any row is red.

Logs, environments and compiled kernels stay in build/machines for the next run.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import re
import shutil
import subprocess
import sys
import time
import tomllib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parent.parent
BUILD = ROOT / "build" / "machines"
NUMERIC = ("tests/backend", "tests/layers", "tests/test_golden.py", "tests/inference/test_valid.py",
           "tests/network/test_network.py")  # fmt: skip
# Tests of code that uses click, PyYAML, rich and safetensors, for rows with other versions of them.
OTHER_DEPENDENCIES = ("tests/cfg", "tests/test_main.py", "tests/weights/test_named.py",
                      "tests/cli/test_cli.py", "tests/cli/commands/test_check.py",
                      "tests/cli/output/test_display.py", "tests/cli/options/test_overrides.py",
                      "tests/cli/commands/test_weights_verbs.py")  # fmt: skip
CORETYPE, CPU_NAME, CPU_FEATURES = "OPENBLAS_CORETYPE", "NUMBA_CPU_NAME", "NUMBA_CPU_FEATURES"
NUMPY_WITHOUT = "NPY_DISABLE_CPU_FEATURES"
THREADS = ("OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "OMP_NUM_THREADS", "NUMBA_NUM_THREADS")
# Variables that affect this machine's rounding. No row inherits them.
KNOBS = (CORETYPE, "OPENBLAS_L2_SIZE", CPU_NAME, CPU_FEATURES, "NUMBA_ENABLE_AVX",
         "NUMBA_CACHE_DIR", NUMPY_WITHOUT, *THREADS)  # fmt: skip

CORETYPES = ("Prescott", "Nehalem", "Sandybridge", "Haswell", "SkylakeX")
# OpenBLAS has several names for its oldest kernel and reports the first (driver/others/dynamic.c).
ALIASES = {"Prescott": "Katmai"}
PYTHONS = ("3.11", "3.12", "3.13", "3.14")
TOOLS = ("pytest", "pytest-timeout", "hypothesis")  # the part of the extra dev that tests need

CANNOT_RUN = 77  # a row's exit code, as in automake


@dataclass(frozen=True)
class Target:
    """A numba target. A name alone would keep this machine's features."""

    name: str
    features: str
    needed: tuple[str, ...]  # features that this processor must have

    @property
    def environment(self) -> dict[str, str]:
        return {CPU_NAME: self.name, CPU_FEATURES: self.features}


OLD = Target("x86-64-v2", "-avx", ("sse4.2",))
SANDYBRIDGE = Target("sandybridge", "+avx,-avx2,-fma,-avx512f", ("avx",))
HASWELL = Target("haswell", "+avx2,+fma,-avx512f", ("avx2", "fma"))
ZEN4 = Target("znver4", "+avx512f,+avx512bf16", ("avx512_bf16",))


@dataclass(frozen=True)
class Row:
    """One simulated machine. A row with `versions` gets an environment of its own."""

    name: str
    environment: Mapping[str, str] = field(default_factory=dict)
    target: Target | None = None
    versions: tuple[str, str] | None = None  # Python's version, and "newest" or "oldest"


class CannotRunError(Exception):
    """A row cannot run here; the message is the reason."""


# --- the matrix ---------------------------------------------------------------------------


def short() -> Iterator[Row]:
    """Three machines that differ in BLAS kernel and numba target from the one of make test-all."""
    for coretype, target in (("Nehalem", OLD), ("Sandybridge", OLD), ("Haswell", HASWELL)):
        yield Row(f"BLAS {coretype}, numba for {target.name}", {CORETYPE: coretype}, target)


def full() -> Iterator[Row]:
    """One difference at a time."""
    yield Row("BLAS and numba for the host")
    for coretype in CORETYPES:
        yield Row(f"BLAS {coretype}", {CORETYPE: coretype})
    for target in (OLD, SANDYBRIDGE, HASWELL, ZEN4):
        yield Row(f"numba for {target.name}", target=target)
    yield Row("numpy's loops at its baseline", {NUMPY_WITHOUT: " ".join(numpys_features())})
    for count in "12":
        yield Row(f"threads {count}", dict.fromkeys(THREADS, count))
    for python in PYTHONS:
        yield Row(f"Python {python}, newest dependencies", versions=(python, "newest"))
    yield Row(f"Python {PYTHONS[0]}, oldest dependencies", versions=(PYTHONS[0], "oldest"))


@cache
def numpys_features() -> list[str]:
    """The instruction sets of this processor, beyond numpy's baseline, that numpy has loops for."""
    code = (
        "import json, numpy._core._multiarray_umath as m\n"
        "print(json.dumps([f for f in m.__cpu_dispatch__ if m.__cpu_features__[f]]))"
    )
    features: list[str] = json.loads(_output(sys.executable, "-c", code))
    return features


# --- one row, in its own process ----------------------------------------------------------


def child(paths: list[str]) -> int:
    """Print the actual kernels, then run the tests, or print why they cannot run."""
    import pytest

    facts = really()
    print(json.dumps(facts), flush=True)
    wanted = os.environ.get(CORETYPE)
    if wanted and facts["blas"] not in (wanted, ALIASES.get(wanted)):
        print(f"numpy's BLAS uses {facts['blas']} instead: {wanted} does not support this "
              "processor, or is not in this BLAS")  # fmt: skip
        return CANNOT_RUN
    # The timeout allows for a target's first row, which compiles its kernels during the tests.
    selection = ["-m", "not long and not gpu"]  # includes slow tests
    return pytest.main(["-q", "-p", "no:cacheprovider", "--timeout=900", *selection, *paths])


def really() -> dict[str, Any]:
    """The BLAS kernel, its threads, and the tile of this process."""
    import numpy
    import threadpoolctl

    from minidark.backend.compiled import kernel

    libraries: list[dict[str, Any]] = threadpoolctl.threadpool_info()
    blas = next((lib for lib in libraries if lib["user_api"] == "blas"), {})
    form = kernel.FORM
    half = "matrix" if form.matrix else "vector" if form.half else ""
    tile = f"{form.vectors} x {form.width}{'' if form.fused else ' unfused'}"
    return {
        "python": platform.python_version(),
        "numpy": numpy.__version__,
        "blas": str(blas.get("architecture") or blas.get("internal_api") or "unknown"),
        "threads": blas.get("num_threads", 0),
        "tile": f"{tile}, bf16 by {half}" if half else tile,
    }


# --- one row, from the parent process -----------------------------------------------------


@dataclass
class Result:
    """facts: the result of `really`, or empty if no process was started."""

    status: str
    remark: str
    seconds: float = 0
    facts: dict[str, Any] = field(default_factory=dict)


def run(row: Row, paths: Sequence[str]) -> Result:
    """Run the tests in `paths`. Their output goes to a log in build/machines."""
    began = time.monotonic()
    log = BUILD / f"{_slug(row.name)}.log"
    try:
        if row.target:
            check_processor(row.target)
        python = environment(*row.versions) if row.versions else sys.executable
    except CannotRunError as reason:
        return Result("cannot run", str(reason))
    command = [python, "-m", "tests.machines", "--child", *paths]
    with log.open("w+") as output:
        done = subprocess.run(
            command, cwd=ROOT, env=surroundings(row), stdout=output, stderr=subprocess.STDOUT
        )
        output.seek(0)
        lines = output.read().splitlines()
    facts: dict[str, Any] = next(
        (json.loads(line) for line in lines if line.startswith('{"python"')), {}
    )
    last = lines[-1] if lines else ""
    seconds = time.monotonic() - began
    if done.returncode == CANNOT_RUN:
        return Result("cannot run", last, seconds, facts)
    if done.returncode == 0 and facts:
        return Result("green", last, seconds, facts)
    failed = [line.split(" ")[1] for line in lines if line.startswith(("FAILED ", "ERROR "))]
    why = ", ".join(failed) or f"exit code {done.returncode}: {last}"
    return Result("RED", f"{why}; see {os.path.relpath(log, ROOT)}", seconds, facts)


def surroundings(row: Row) -> dict[str, str]:
    """The environment variables of a row. Each target and each numba has its own kernel cache."""
    result = {name: value for name, value in os.environ.items() if name not in KNOBS}
    target = row.target.environment if row.target else {}
    kernels = _slug(" ".join((*(row.versions or ("this",)), *target.values())))
    return {
        **result,
        **row.environment,
        **target,
        "NUMBA_CACHE_DIR": str(BUILD / "kernels" / kernels),
        "PYTHONPATH": str(ROOT),
    }


def check_processor(target: Target) -> None:
    """Raise CannotRunError if this processor lacks features. Their code would crash the process."""
    if platform.machine().lower() not in ("x86_64", "amd64"):
        raise CannotRunError(f"{target.name} is x86-64; this is {platform.machine()}")
    import llvmlite.binding as llvm

    features = llvm.get_host_cpu_features()
    missing = [name for name in target.needed if not features.get(name)]
    if missing:
        raise CannotRunError(f"this processor has no {', '.join(missing)}")


# --- environments -------------------------------------------------------------------------


def environment(python: str, age: str) -> str:
    """Create an environment for the tests and return its interpreter. Raises CannotRunError."""
    folder = BUILD / f"python{python}-{age}"
    inside = folder / ("Scripts/python.exe" if os.name == "nt" else "bin/python")
    wanted = requirements(age)
    stamp = folder / "requirements.txt"
    if stamp.exists() and stamp.read_text() == "\n".join(wanted):
        return str(inside)
    shutil.rmtree(folder, ignore_errors=True)
    _succeed(interpreter(python), "-m", "venv", str(folder))
    _succeed(str(inside), "-m", "pip", "install", "--quiet", "--only-binary", ":all:", *wanted)
    stamp.write_text("\n".join(wanted))
    return str(inside)


def requirements(age: str) -> list[str]:
    """The dependencies of minidark and of the extra `fast`, with newest or oldest versions, and the
    newest tools.

    minidark itself is imported from this folder.
    """
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    extras = project["optional-dependencies"]
    needed = [*project["dependencies"], *extras["fast"]]
    if age == "oldest":
        needed = [requirement.replace(">=", "==") for requirement in needed]
    return [*needed, *(r for r in extras["dev"] if re.split("[><=]", r)[0] in TOOLS)]


def interpreter(version: str) -> str:
    """A Python of this version: this one, one on PATH, or one of pyenv's."""
    for candidate in _candidates(version):
        try:
            own = _output(candidate, "-c", "import ensurepip, sys; print(*sys.version_info[:2])")
        except (OSError, subprocess.CalledProcessError):
            continue  # pyenv's shims on PATH fail for versions that are not active
        if own.split() == version.split("."):
            return candidate
    raise CannotRunError(f"no python{version} on PATH or in pyenv's versions")


def _candidates(version: str) -> Iterator[str]:
    yield sys.executable
    if on_path := shutil.which(f"python{version}"):
        yield on_path
    pyenv = Path(os.environ.get("PYENV_ROOT") or Path.home() / ".pyenv")
    for folder in sorted(pyenv.glob(f"versions/{version}.*[0-9]"), reverse=True):
        yield str(folder / "bin" / "python")


def _output(*command: str) -> str:
    return subprocess.run(command, check=True, capture_output=True, text=True, cwd=ROOT).stdout


def _succeed(*command: str) -> None:
    done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT)
    if done.returncode:
        errors = re.findall("^ERROR: (.*)", done.stderr, re.MULTILINE)
        raise CannotRunError(" ".join(errors)[:300] or f"{command} failed: {done.stderr[-300:]}")


def _slug(text: str) -> str:
    return re.sub(r"[^\w.+-]+", "-", text)


# --- all rows -----------------------------------------------------------------------------


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "--short", action="store_true", help="run only three machines (some minutes)"
    )
    parser.add_argument(
        "--only", metavar="WORD", default="", help="run only rows whose name contains WORD"
    )
    parser.add_argument("--child", nargs="+", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.child:
        return child(arguments.child)
    matrix: Callable[[], Iterator[Row]] = short if arguments.short else full
    rows = [row for row in matrix() if arguments.only in row.name]
    if not rows:
        parser.error(f"no row contains {arguments.only!r}")
    BUILD.mkdir(parents=True, exist_ok=True)
    red = False
    for row in rows:
        result = run(row, [*NUMERIC, *(OTHER_DEPENDENCIES if row.versions else ())])
        red |= result.status == "RED"
        print(_line(row, result), flush=True)
    return int(red)


def _line(row: Row, result: Result) -> str:
    facts = result.facts
    versions = ""
    if facts:
        versions = (f"Python {facts['python']}, numpy {facts['numpy']}, BLAS {facts['blas']} with "
                    f"{facts['threads']} threads, tile {facts['tile']}")  # fmt: skip
    first = f"{result.status:10} {row.name:41} {result.seconds:4.0f} s  {versions}".rstrip()
    return f"{first}\n{'':11}{result.remark}"


if __name__ == "__main__":
    sys.exit(main())
