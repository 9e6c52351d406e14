"""Runs another program's library in a separate process, which exchanges files through a folder.

minidark's own process never imports that library, so the library cannot affect it.
"""

from __future__ import annotations

import io
import json
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path

import numpy as np

from minidark.backend import Array
from minidark.errors import BackendError, MinidarkError, SaveError, WeightsError, bare

# A worker's exit codes. It prints the reason.
MISSING = 3  # its library cannot be imported
REFUSED = 4  # the input file is refused
FULL = 5  # the result cannot be written
KINDS: dict[int, type[MinidarkError]] = {
    MISSING: BackendError, REFUSED: WeightsError, FULL: SaveError,
}  # fmt: skip
UNWRITABLE = "cannot write into the folder for temporary files (TMPDIR)"


def run_worker(
    script: str,
    files: Mapping[str, bytes],
    calls: Sequence[Array],
    made: str,
    limit: float | None = None,
) -> tuple[bytes, list[Array]]:
    """Run a worker of this package on files and on the inputs of some calls.

    Returns the bytes of the file `made`, and the outputs of each call. Raises BackendError if the
    worker's library is missing, SaveError if the temporary folder cannot be written, WeightsError
    if the worker takes longer than `limit` seconds, and MinidarkError if it fails.
    """
    packed = io.BytesIO()
    np.savez(packed, *calls)
    with _folder({**files, "calls.npz": packed.getvalue()}) as folder:
        _run(script, str(folder), limit=limit)
        with np.load(io.BytesIO((folder / "outputs.npz").read_bytes())) as outputs:
            return (folder / made).read_bytes(), [outputs[key] for key in outputs.files]


def read_arrays(
    reader: str, file: str, data: bytes, path: Path | str, form: str, limit: float
) -> dict[str, Array]:
    """The arrays that the script `reader` reads from `data`, the bytes of `path`.

    file: the name that the reader expects. form: the name of the format. Raises WeightsError if the
    reader refuses the data, crashes, or takes longer than `limit` seconds; BackendError and
    SaveError as `run_worker` does.
    """
    try:
        with _folder({file: data}) as folder:
            _run("state_worker.py", reader, str(folder), limit=limit)
            made = (folder / "arrays.npz").read_bytes()
    except (BackendError, SaveError, WeightsError) as error:
        raise type(error)(f"{path}: {error}") from error
    except MinidarkError as error:
        raise WeightsError(f"{path}: not a {form}, or damaged") from error
    with np.load(io.BytesIO(made)) as arrays:
        names = json.loads(str(arrays["names"]))
        return {name: arrays[str(i)] for i, name in enumerate(names)}


@contextmanager
def _folder(files: Mapping[str, bytes]) -> Iterator[Path]:
    """A temporary folder with these files. Raises SaveError if it cannot be written."""
    with ExitStack() as stack:
        try:
            made = tempfile.TemporaryDirectory(ignore_cleanup_errors=True)
            folder = Path(stack.enter_context(made))
            for name, data in files.items():
                (folder / name).write_bytes(data)
        except OSError as error:
            raise SaveError(f"{UNWRITABLE}: {error.strerror or error}") from error
        yield folder


def _run(script: str, *args: str, limit: float | None = None) -> None:
    # -P keeps Python from importing modules from the working folder.
    command = [sys.executable, "-P", str(Path(__file__).with_name(script)), *args]
    try:
        done = subprocess.run(command, capture_output=True, check=False, timeout=limit)
    except subprocess.TimeoutExpired as error:
        raise WeightsError(f"{args[0]} took longer than {limit} seconds") from error
    if done.returncode:
        errors = done.stderr.decode(errors="replace").strip().splitlines()
        last = bare(errors[-1] if errors else f"exit code {done.returncode}", 300)
        if done.returncode == FULL:
            last = f"{UNWRITABLE}: {last}"
        raise KINDS.get(done.returncode, MinidarkError)(last)
