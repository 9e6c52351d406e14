"""A mutation loop: bounds on time and memory, and nothing else opened than what is read."""

from __future__ import annotations

import time
from pathlib import Path

from tests.bounds import MEMORY, SECONDS, usage
from tests.fuzz import seeds
from tests.fuzz.mutation import corpus
from tests.fuzz.targets import HDF5, TARGETS
from tests.opened import audited

# The files that the targets write for their readers, and the one beside an ONNX model.
READ = {
    "onnx": {seeds.BESIDE},
    "keras": {HDF5},
    "h5": {HDF5},
    "checkpoint": {"x.ckpt"},
    "run": {"run.json", "log.jsonl"},
    "log": {"run.json", "log.jsonl"},
}
SECRETS = ("secret.bin", "secret.h5")  # beside it, for words of the mutations to name


class Loop:
    """Inputs of one kind, in the working folder. Good ones come first, which import and make what
    is needed, and what they open is not looked at."""

    def __init__(self, kind: str):
        self.kind, self.target = kind, TARGETS[kind]
        Path(seeds.BESIDE).write_bytes(bytes(48))
        for secret in SECRETS:
            Path(secret).write_bytes(bytes(48))
        for data in [*(path.read_bytes() for path in corpus(kind)), *seeds.made(kind)]:
            self.target(data)
        self.allowed = {("open", name) for name in READ.get(kind, ())}
        self.peak = usage().peak

    def run(self, data: bytes) -> None:
        """One input, against the clock."""
        began = time.process_time()
        try:
            with audited() as events:
                self.target(data)
            assert time.process_time() - began < SECONDS
            assert events <= self.allowed, events - self.allowed
        except BaseException as error:
            error.add_note(f"keep this in tests/corpus/{self.kind}: {data[:2000]!r}")
            raise

    def end(self) -> None:
        """All inputs together stayed within the memory that each may take."""
        assert usage().peak - self.peak < MEMORY
