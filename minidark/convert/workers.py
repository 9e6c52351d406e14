"""Another program's code in a process of its own, which gets a folder and leaves files in it.

So nothing of that program is imported here, whatever it does to the process it runs in.
"""

from __future__ import annotations

import io
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from minidark.backend import Array
from minidark.errors import BackendError, MinidarkError, bare

MISSING = 3  # what a worker exits with where its library cannot be imported; it prints which


def run_worker(
    script: str,
    files: Mapping[str, bytes],
    calls: Sequence[Array],
    made: str,
    limit: float | None = None,
) -> tuple[bytes, list[Array]]:
    """Run a worker of this package on files and on the inputs of some calls: the file of the name
    `made`, and what it gives for each call. Raises BackendError where its library is missing,
    MinidarkError where it fails or takes longer than `limit` seconds."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for file, data in files.items():
            (folder / file).write_bytes(data)
        np.savez(folder / "calls.npz", *calls)
        # -P: what lies in the working folder is not imported, whatever its name
        command = [sys.executable, "-P", str(Path(__file__).with_name(script)), name]
        try:
            done = subprocess.run(command, capture_output=True, check=False, timeout=limit)
        except subprocess.TimeoutExpired as error:
            raise MinidarkError(f"{script} took longer than {limit} seconds") from error
        if done.returncode:
            said = done.stderr.decode(errors="replace").strip().splitlines()
            last = bare(said[-1] if said else f"exit code {done.returncode}", 300)
            raise BackendError(last) if done.returncode == MISSING else MinidarkError(last)
        with np.load(io.BytesIO((folder / "outputs.npz").read_bytes())) as outputs:
            return (folder / made).read_bytes(), [outputs[key] for key in outputs.files]
