"""Runs an ONNX model in onnxruntime: python onnx_worker.py FOLDER.

It reads model.onnx, plan.json and calls.npz in FOLDER and writes outputs.npz there. The model is
untrusted, so the process limits its CPU time and memory.
"""

from __future__ import annotations

import contextlib
import json
import runpy
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

SECONDS = 60  # of CPU time


def fail(code: int, why: object) -> None:
    print((str(why).splitlines() or [""])[0], file=sys.stderr)
    sys.exit(code)


try:
    import onnxruntime
except ImportError:
    fail(3, "onnxruntime is not installed: pip install 'minidark[onnx]'")


def load(folder: Path) -> Any:
    """The session. A model that this onnxruntime does not support is one without a program."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    options.log_severity_level = 4
    data = (folder / "model.onnx").read_bytes()
    try:
        return onnxruntime.InferenceSession(data, options, providers=["CPUExecutionProvider"])
    except Exception as error:  # onnxruntime's errors share no base class
        return fail(3, f"onnxruntime: {error}")


def outputs(session: Any, plan: dict[str, Any], calls: Any) -> Iterator[Any]:
    """The output of each call. Each run begins with states of zero."""
    keys = iter(calls.files)
    names = {value.name for value in session.get_inputs()}
    for count in plan["calls"]:
        states = {
            name: np.zeros(shape, np.float32)
            for name, shape in plan["states"].items()
            if name in names
        }
        for _ in range(count):
            x = calls[next(keys)].astype(np.int64)
            if plan["width"]:
                x = np.eye(plan["width"])[x]
            y, *after = session.run(plan["outputs"], {plan["x"]: x.astype(plan["dtype"]), **states})
            states |= dict(zip(plan["after"], after, strict=True))
            yield y


def limit(size: int) -> None:
    """Set the limits for a model of `size` bytes, where the platform supports them."""
    with contextlib.suppress(ImportError):
        import resource

        limits = runpy.run_path(str(Path(__file__).with_name("state_worker.py")))
        limits["limit_memory"](size)
        resource.setrlimit(resource.RLIMIT_CPU, (SECONDS, SECONDS))


def main(folder: Path) -> None:
    plan = json.loads((folder / "plan.json").read_text())
    limit((folder / "model.onnx").stat().st_size)
    session = load(folder)
    with np.load(folder / "calls.npz") as calls:
        try:
            np.savez(folder / "outputs.npz", *outputs(session, plan, calls))
        except Exception as error:  # onnxruntime's errors share no base class
            fail(1, f"onnxruntime: {error}")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
