"""Writes a run's figures for TensorBoard, into `tensorboard/` in its folder.

The package `tensorboard` makes the records and their checksums. Its own file writers pass events to
a thread, which would report a full disk too late, and put the machine's name in file names; torch's
writer would require torch. So this module writes the files itself: one each time the run starts or
resumes. Its start event makes TensorBoard drop the batches that are repeated.
"""

from __future__ import annotations

import contextlib
import textwrap
import time
from importlib import import_module
from pathlib import Path
from types import ModuleType
from typing import Any

from minidark.errors import BackendError, SaveError
from minidark.training.report import StepReport

FOLDER = "tensorboard"
MARK = "minidark.tfevents"  # in our file names; TensorBoard looks for "tfevents"
STRING = 7  # DT_STRING, a tensor's dtype


class Events:
    """Adds reports to a file in `folder`/tensorboard.

    after: the batch that the run resumes from, with its symbols and seconds. 0 means a new run,
    which removes the files of an earlier one. Raises BackendError without the extra `tensorboard`,
    and SaveError if the file cannot be written; unwritten events are written with the next one.
    """

    def __init__(self, folder: Path, after: int = 0, symbols: int = 0, seconds: float = 0):
        records = _needed("tensorboard.summary.writer.record_writer")
        self._event = _needed("tensorboard.compat.proto.event_pb2")
        self._before = symbols, seconds  # of the previous report
        self.path = folder / FOLDER / f"{MARK}.{after:08d}.{time.time_ns()}"
        try:
            self.path.parent.mkdir(exist_ok=True)
            if not after:
                for old in self.path.parent.glob(f"{MARK}.*"):
                    old.unlink()
            self._file = open(self.path, "ab")  # noqa: SIM115  closed by `close`
        except OSError as reason:
            raise SaveError(f"{self.path}: cannot write: {reason.strerror}") from reason
        self._writer = records.RecordWriter(self._file)
        self._add(file_version="brain.Event:2")
        self._add(step=after + 1, session_log={"status": "START"})

    def add(self, report: StepReport) -> None:
        """Write a batch's figures and its sample."""
        values = [{"tag": tag, "simple_value": x} for tag, x in self._scalars(report).items()]
        if report.sample is not None:
            values.append(_text("sample", report.sample))
        self._add(step=report.batch, summary={"value": values})
        self._before = (report.symbols, report.seconds)

    def close(self) -> None:
        with contextlib.suppress(OSError):
            self._file.close()

    def _scalars(self, report: StepReport) -> dict[str, float]:
        symbols, seconds = self._before
        elapsed = report.seconds - seconds
        norms = report.gradient_norms or {}
        figures: dict[str, float | None] = {
            "loss/batch": report.loss,
            "loss/average": report.average,
            "loss/validation": report.valid_loss,
            "rate": report.rate,
            "characters_per_second": (report.symbols - symbols) / elapsed if elapsed > 0 else None,
            **{f"gradient_norm/{name}": norm for name, norm in norms.items()},
        }
        return {tag: figure for tag, figure in figures.items() if figure is not None}

    def _add(self, **fields: Any) -> None:
        event = self._event.Event(wall_time=time.time(), **fields)
        try:
            self._writer.write(event.SerializeToString())
            self._writer.flush()
        except OSError as reason:
            raise SaveError(f"{self.path}: cannot write: {reason.strerror}") from reason


def _text(tag: str, text: str) -> dict[str, Any]:
    """A value that TensorBoard shows as plain text instead of Markdown."""
    return {
        "tag": tag,
        "metadata": {"plugin_data": {"plugin_name": "text"}},
        "tensor": {
            "dtype": STRING,
            "string_val": [textwrap.indent(text, "    ").encode(errors="replace")],
            "tensor_shape": {"dim": [{"size": 1}]},
        },
    }


def _needed(module: str) -> ModuleType:
    try:
        return import_module(module)
    except ImportError as error:
        raise BackendError(
            "--tensorboard needs tensorboard: pip install 'minidark[tensorboard]'"
        ) from error
