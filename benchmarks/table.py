"""The table of all benchmarks: work, goal and measurement."""

from __future__ import annotations

import platform
from collections.abc import Iterable
from dataclasses import dataclass
from importlib import import_module, metadata
from pathlib import Path

from rich.console import Console
from rich.table import Table

PACKAGES = ("numpy", "numba", "torch", "onnxruntime")


@dataclass(frozen=True, slots=True)
class Row:
    """A measurement in `unit`. It should be at least `goal`, or, with `less`, at most `goal`."""

    work: str
    measured: float
    goal: float | None = None
    unit: str = "x"
    less: bool = False
    remark: str = ""

    @property
    def met(self) -> bool | None:
        if self.goal is None:
            return None
        return self.measured <= self.goal if self.less else self.measured >= self.goal


def machine() -> str:
    """The processor and the versions of packages, and on a second line the BLAS kernel."""
    lines = Path("/proc/cpuinfo").read_text() if Path("/proc/cpuinfo").exists() else ""
    names = [line.partition(":")[2].strip() for line in lines.splitlines() if "model name" in line]
    cpu = f"{names[0]}, {len(names)} cores" if names else platform.machine()
    versions = [f"Python {platform.python_version()}"]
    for package in PACKAGES:
        try:
            versions.append(f"{package} {metadata.version(package)}")
        except metadata.PackageNotFoundError:
            versions.append(f"{package} not installed")
    return f"{cpu}; {', '.join(versions)}\n{blas()}"


def blas() -> str:
    """The BLAS kernel of numpy's products."""
    import_module("numpy")
    try:
        libraries = import_module("threadpoolctl").threadpool_info()
    except ImportError:
        return "BLAS kernel: unknown, because threadpoolctl is not installed"
    library: dict[str, str] = next((lib for lib in libraries if lib["user_api"] == "blas"), {})
    kernel = library.get("architecture", "unknown")
    return f"BLAS kernel: {kernel}, of {library.get('internal_api')} {library.get('version')}"


def show(title: str, rows: Iterable[Row]) -> None:
    """Print the table at a fixed width, whatever the terminal's."""
    table = Table(title=title, title_justify="left")
    for name in ("work", "goal", "measured", "met", "remark"):
        table.add_column(name, justify="right" if name in ("goal", "measured") else "left")
    for row in rows:
        sign = "<=" if row.less else ">="
        goal = "" if row.goal is None else f"{sign} {row.goal:g} {row.unit}"
        met = {None: "", True: "yes", False: "NO"}[row.met]
        table.add_row(row.work, goal, f"{row.measured:.3g} {row.unit}", met, row.remark)
    Console(width=150).print(table)
