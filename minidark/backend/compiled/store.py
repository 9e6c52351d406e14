"""Stores compiled kernels on disk.

numba's own cache stops a run if one of its files is damaged or not writable. This one never does: a
kernel that cannot be read is compiled again, and one that cannot be written stays in memory. Each
kernel has one file. A digest at its beginning detects damage that unpickling would not, such as a
flipped bit of machine code.
"""

from __future__ import annotations

import hashlib
import io
import logging
import os
import pickle
import uuid
from collections.abc import Callable
from pathlib import Path
from typing import Any

from numba.core.caching import FunctionCache
from numba.core.serialize import dumps

log = logging.getLogger(__name__)

DIGEST = hashlib.sha256().digest_size
COMPILING = "compiling fast kernels, once on this machine; this can take 10 seconds"
_logged: set[str] = set()


def warn_once(message: str, *values: object) -> None:
    """Log a warning only once per process."""
    _log_once(logging.WARNING, message, *values)


def _log_once(level: int, message: str, *values: object) -> None:
    if message not in _logged:
        _logged.add(message)
        log.log(level, message, *values)


class KernelFile:
    """The compiled forms of one kernel, by numba's keys.

    stamp: everything that they depend on. A file with another stamp counts as empty.
    """

    def __init__(self, path: Path, stamp: object):
        self.path = path
        self.stamp = stamp

    def load(self, key: object) -> Any:
        """The form saved under this key, or None."""
        return self.read().get(key)

    def save(self, key: object, compiled: Any) -> None:
        """Add or replace one form. The file is replaced atomically. Raises OSError."""
        try:
            forms = self.read()
        except Exception:  # damaged; `load_overload` has already logged it
            forms = {}
        content = dumps(self.stamp) + dumps({**forms, key: compiled})
        part = self.path.with_name(f"{self.path.name}.{uuid.uuid4().hex[:16]}")
        try:
            part.write_bytes(hashlib.sha256(content).digest() + content)
            os.replace(part, self.path)
        except BaseException:  # includes a signal that ends the process
            part.unlink(missing_ok=True)
            raise

    def read(self) -> dict[object, Any]:
        """All forms; empty if the file does not exist. Raises ValueError or unpickling's errors if
        the file is damaged, and OSError if it cannot be read."""
        try:
            data = self.path.read_bytes()
        except FileNotFoundError:
            return {}
        digest, content = data[:DIGEST], data[DIGEST:]
        if hashlib.sha256(content).digest() != digest:
            raise ValueError("its digest is wrong")
        stream = io.BytesIO(content)
        if pickle.load(stream) != self.stamp:  # forms of another numba may not unpickle
            return {}
        forms: dict[object, Any] = pickle.load(stream)
        return forms

    def flush(self) -> None:
        """Delete all forms."""
        self.path.unlink(missing_ok=True)


class KernelCache(FunctionCache):
    """numba's cache of one function, stored in a `KernelFile`.

    A form that is not there is compiled next. The first one is announced, because only here is it
    known what a run needs: it depends on the layers' options, on the precision and on numba's
    target, and sampling needs other kernels than training.

    before_loading: called before machine code is read, to define symbols that it may refer to.
    """

    def __init__(
        self, function: Callable[..., Any], stamp: str, before_loading: Callable[[], None]
    ):
        super().__init__(function)
        self.before_loading = before_loading
        path = Path(self.cache_path, f"{self._impl.filename_base}.kernel")
        self._cache_file = KernelFile(path, (self._impl.locator.get_source_stamp(), stamp))

    def load_overload(self, sig: Any, target_context: Any) -> Any:
        self.before_loading()
        try:
            stored = super().load_overload(sig, target_context)
        except Exception as error:  # unpickling or linking damaged bytes raises errors of any type
            warn_once(
                "%s: a stored kernel cannot be read (%s); compiling again",
                self.cache_path, _reason(error),
            )  # fmt: skip
            return None
        if stored is None:
            _log_once(logging.INFO, COMPILING)
        return stored

    def save_overload(self, sig: Any, data: Any) -> None:
        try:
            super().save_overload(sig, data)
        except OSError as error:
            warn_once(
                "%s: compiled kernels cannot be written (%s), so every process compiles them "
                "again; free space there, or set NUMBA_CACHE_DIR to another folder",
                self.cache_path, _reason(error),
            )  # fmt: skip

    def stored_forms(self, target: tuple[str, ...]) -> list[tuple[Any, ...]]:
        """The arguments' types of each form that is stored on disk for this target (a "magic
        tuple" of numba), if they are of the current sources."""
        keys: list[Any]
        try:
            keys = [*self._cache_file.read()]
        except Exception:  # damaged or not readable
            return []
        return [taken for taken, compiled_for, _ in keys if compiled_for == target]


def _reason(error: Exception) -> str:
    return getattr(error, "strerror", None) or str(error) or type(error).__name__
