"""NVIDIA's runtime compiler, which needs neither a GPU nor its driver: CUDA C to PTX."""

from __future__ import annotations

import ctypes
import importlib.util
from pathlib import Path

ARCHITECTURES = (60, 61, 70, 75, 80, 86, 89, 90, 100, 120)  # Pascal to Blackwell


def library() -> Path | None:
    """The compiler from the wheel nvidia-cuda-nvrtc-cu12, where it is installed."""
    if importlib.util.find_spec("nvidia") is None:
        return None
    spec = importlib.util.find_spec("nvidia.cuda_nvrtc")
    folders = spec.submodule_search_locations if spec else None
    found = [path for folder in folders or () for path in Path(folder).glob("lib/libnvrtc.so.*")]
    return next((path for path in found if "alt" not in path.name), None)


def ptx(source: str, options: tuple[str, ...], architecture: int) -> str:
    """What the compiler makes of it; RuntimeError with its log where it refuses."""
    nvrtc = ctypes.CDLL(str(library()))
    program = ctypes.c_void_p()
    created = nvrtc.nvrtcCreateProgram(
        ctypes.byref(program), source.encode(), b"kernels.cu", 0, None, None
    )
    assert created == 0
    try:
        given = [f"--gpu-architecture=compute_{architecture}", *options]
        strings = (ctypes.c_char_p * len(given))(*(option.encode() for option in given))
        if nvrtc.nvrtcCompileProgram(program, len(given), strings):
            raise RuntimeError(_text(nvrtc, "ProgramLog", program))
        return _text(nvrtc, "PTX", program)
    finally:
        nvrtc.nvrtcDestroyProgram(ctypes.byref(program))


def _text(nvrtc: ctypes.CDLL, what: str, program: ctypes.c_void_p) -> str:
    size = ctypes.c_size_t()
    getattr(nvrtc, f"nvrtcGet{what}Size")(program, ctypes.byref(size))
    buffer = ctypes.create_string_buffer(size.value)
    getattr(nvrtc, f"nvrtcGet{what}")(program, buffer)
    return buffer.value.decode()
