"""Coverage-guided fuzzing: python -m tests.fuzz.with_atheris cfg|weights [libFuzzer's flags]."""

from __future__ import annotations

import logging
import sys

import atheris

with atheris.instrument_imports(include=["minidark"]):
    from tests.fuzz.targets import TARGETS

if __name__ == "__main__":
    logging.disable()  # doubts are many, and nobody reads them
    kind = sys.argv.pop(1)
    atheris.Setup(sys.argv, TARGETS[kind])
    atheris.Fuzz()
