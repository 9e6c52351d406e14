"""Write cupy_api.json: the names of cupy and of its arrays, and the keywords that each takes.

Run where cupy 14 and NCCL are installed (no GPU is needed), once for each new cupy:

    python tests/gpu_proof/dump_cupy_api.py
"""

from __future__ import annotations

import inspect
import json
import re
from collections.abc import Iterable
from pathlib import Path
from typing import Any

API = Path(__file__).with_name("cupy_api.json")
UFUNC_KEYWORDS = ["casting", "dtype", "out"]  # all that cupy's own ufuncs take
NO_CALL = None  # what a value, a module or an attribute has in place of keywords


def dump() -> dict[str, Any]:
    import cupy
    from cupy.cuda import nccl

    if not nccl.available:
        raise SystemExit("libnccl.so.2 is missing: pip install nvidia-nccl-cu12, LD_LIBRARY_PATH")
    communicator = nccl.NcclCommunicator
    return {
        "version": cupy.__version__,
        "cupy": keywords(cupy, public(cupy)),
        "cupy.cuda": keywords(cupy.cuda, public(cupy.cuda)),
        "cupy.cuda.Device": keywords(cupy.cuda.Device, public(cupy.cuda.Device)),
        "cupy.cuda.Event": keywords(cupy.cuda.Event, public(cupy.cuda.Event)),
        "cupy.cuda.Stream": keywords(cupy.cuda.Stream, public(cupy.cuda.Stream)),
        "cupy.cuda.nccl": keywords(nccl, public(nccl)),
        "cupy.cuda.nccl.NcclCommunicator": keywords(communicator, public(communicator)),
        "cupy.ndarray": keywords(cupy.ndarray, dir(cupy.ndarray)),
        "cupy.RawModule": keywords(cupy.RawModule, public(cupy.RawModule)),
    }


def public(of: object) -> list[str]:
    return [name for name in dir(of) if not name.startswith("_")]


def keywords(of: object, names: Iterable[str]) -> dict[str, list[str] | None]:
    return {name: keywords_of(getattr(of, name)) for name in names}


def keywords_of(thing: Any) -> list[str] | None:
    if type(thing).__name__ == "ufunc":
        return UFUNC_KEYWORDS
    if inspect.ismodule(thing) or not callable(thing):
        return NO_CALL
    try:
        parameters = inspect.signature(thing).parameters.values()
        return sorted(p.name for p in parameters if p.kind is not p.POSITIONAL_ONLY)
    except (TypeError, ValueError):  # compiled: the first line of its docstring is its signature
        line = (thing.__doc__ or "").partition("\n")[0]
        inside = re.match(r"[\w.]+\((.*)\)", line)
        named = re.findall(r"(?:^|[,(] ?)(?:[\w.]+ )?(\w+)(?==|,|$)", inside[1]) if inside else []
        return sorted(set(named) - {"self"})


if __name__ == "__main__":
    API.write_text(json.dumps(dump(), indent=0, sort_keys=True) + "\n")
